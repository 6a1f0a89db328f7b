"""Check this evidence without its maker's software: `pip install blake3 cryptography duckdb`, then `python3 verify.py`.

`python3 verify.py [DIR [NOTES]]`: NOTES is a file of signed notes that a witness or a sink kept. Reads only. Exit code
0: intact; 1: not, with the first thing that is wrong in each log. VERIFY.md says what is checked. Compare the keys that
it prints with those that you were given on another way.
"""

import base64
import hashlib
import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

CHAIN_KEY = blake3(b"", derive_key_context="hoop-tui 2026-11 evidence chain v1").digest()
KINDS = """start shutdown config login login_refused session_start session_end prepare request execute data decision
    release result masked cancel kill grant alarm archive key erasure witness access gap""".split()
NOTE = re.compile(rb"[^\n]+\n[0-9]+\n[^\n]+\n\n(?:\xe2\x80\x94 [^\n]+\n)+")  # a signed note
KEPT = {"start", "decision", "archive", "key", "erasure", "gap", "witness", "sc", "quote"}  # what matters at the end


def must(holds: object, what: str) -> None:
    """Go no further in this log unless `holds`."""
    if not holds:
        raise ValueError(what)


def digest(path: Path) -> str:
    """Return the BLAKE3 of a file; empty where there is none."""
    return blake3(path.read_bytes()).hexdigest() if path.is_file() else ""


def seconds(time: str) -> float:
    """Read the one form of time that entries have."""
    must(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", time), "not a time")
    return datetime.fromisoformat(time).timestamp()


class Log:
    """One log, followed from its first record to its last."""

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, path.name
        self.again: dict[str, list[Any]] = defaultdict(list)  # what matters once all was read
        self.chain, self.size, self.time, self.unsigned = bytes(32), 0, 0.0, 0.0
        self.peaks: list[bytes] = []  # roots of the tree's whole subtrees, the largest first
        self.open: dict[str, Any] = {}  # session -> its last n, and what later records may belong to
        self.ended: set[str] = set()
        self.due, self.closed, self.pruned, self.paid = (1, 0), False, "", True
        self.first = 0  # records before it were pruned
        self.unsealed: list[str] = []  # files of sealed originals that are not there

    def read(self, kept: bytes) -> str:
        """Follow everything: segments, then the journal files that are not archived."""
        self.signed, self.segments = self.checkpoints(kept), sorted(self.path.glob("entries/seg-*[1-9]*.parquet"))
        archived = [one.stem[4:] for one in self.segments]
        before = self.path / f"entries/seg-{int(min(archived, default='1')) - 1:08}.json"
        if before.is_file():
            self.go_on(json.loads(before.read_bytes()), before)
        for file in self.segments:
            for fields in self.segment(file):
                self.record(*fields)
            self.originals(file.stem[4:])
        files = sorted(one for one in self.path.glob("journal/*[1-9]*.tsv") if one.stem not in archived)
        for file in files:
            content, nul, rest = file.read_bytes().partition(b"\0")
            *lines, tail = content.split(b"\n")
            rest = (tail + nul + rest).strip(b"\0")  # the last line may be half written
            for line in lines:
                self.record(*line.split(b"\t"))
            must(not rest or (file == files[-1] and b"\n" not in rest), f"{file.name} goes on after a broken line")
            self.originals(file.stem)
        return f"{self.size} records, the last with {self.chain.hex()}"

    def go_on(self, told: Any, file: Path) -> None:
        """Begin where pruned segments ended: the tree there must be the one that was signed."""
        self.name, self.size, self.chain, self.time = told["log"], told["size"], bytes.fromhex(told["chain"]), 0.0
        self.peaks, self.pruned = [bytes.fromhex(one) for one in told["peaks"]], file.with_suffix(".parquet").name
        self.first = self.size
        self.open = {one["sid"]: {"n": one["counts"]["n"], "asked": None} for one in told["open"]}
        must(self.root() == self.signed.get(self.size), "what was pruned is not what was signed")

    def segment(self, file: Path) -> Iterator[list[bytes]]:
        """Yield the lines of an archived journal file; the columns beside each entry must say what it says."""
        db, kept, place = duckdb.connect(), self.path / "payload" / file.name, f"{self.path.name}/{file.stem[4:]}"
        db.execute("SET enable_progress_bar = false")  # it would show on standard output
        quoted = [re.sub(r"([*?[])", r"[\1]", str(one)).replace("'", "''") for one in (file, kept)]
        sql = f"SELECT seq, segment, kind, salt, payload FROM read_parquet('{quoted[1]}')"
        self.paid = kept.is_file()  # else an erasure must say so
        paid = {seq: fields for seq, *fields in db.execute(sql).fetchall()} if self.paid else {}
        must(all(segment == place for segment, *_ in paid.values()), f"payload/{file.name} is of another segment")
        names = [name for name, *_ in db.execute(f"DESCRIBE FROM read_parquet('{quoted[0]}')").fetchall()]
        names = ["ts", *(name for name in names if name not in {"segment", "ts", "chain", "entry"})]
        told = "json_extract_string(entry, [" + ", ".join(f"'$.{name}'" for name in names) + "])"
        typed = ", ".join(["strftime(ts, '%Y-%m-%dT%H:%M:%S.%fZ')", *(f'"{name}"::VARCHAR' for name in names[1:])])
        true = f"segment = '{place}' AND {told} IS NOT DISTINCT FROM [{typed}]"
        sql = f"SELECT seq, {true}, kind, chain, entry FROM read_parquet('{quoted[0]}')"
        for seq, same, kind, *line in db.execute(sql).fetchall():
            must(same, f"a column of record {seq} is not what its entry says")
            _, kept_kind, salt, payload = paid.pop(seq, (place, kind, "", ""))
            must(kept_kind == kind, f"the payload of record {seq} is said to be of another kind")
            yield [(one or "").encode() for one in (line[0], salt, line[1], payload)]
        must(not paid, f"payload/{file.name} holds payloads of no record")
        self.paid = True

    def checkpoints(self, kept: bytes) -> dict[int, bytes]:
        """Return the roots that the log's key signed, by size, here and in the notes `kept` elsewhere."""
        notes = [one for one in self.path.glob("checkpoints/*.note") if one.name != "0.note"]
        if not (self.path / "log.pub").exists():
            must(not notes, "there are checkpoints and no log.pub")
            return {}
        name, identity, encoded = (self.path / "log.pub").read_text().strip().split("+", 2)
        key = base64.b64decode(encoded, validate=True)
        key_id, found = hashlib.sha256(name.encode() + b"\n" + key).digest()[:4], {0: b""}
        must(key[0] == 1 and key_id.hex() == identity, "log.pub is no Ed25519 key under its own id")
        print(f"{name}: signed by key {identity}, {encoded}")
        elsewhere = [one for one in NOTE.findall(kept) if one.startswith(name.encode() + b"\n")]
        for file, note in [*((one.name, one.read_bytes()) for one in notes), *(("", one) for one in elsewhere)]:
            text, signatures = note.decode().split("\n\n")
            origin, size, root = text.split("\n")
            signed = [one.split(" ") for one in signatures.splitlines()]
            blobs = [base64.b64decode(blob, validate=True) for _, signer, blob in signed if signer == name]
            must(origin == name and file in {f"{size}.note", ""}, f"{file} is of another log or size")
            signature = next((one[4:] for one in blobs if one[:4] == key_id), b"")
            Ed25519PublicKey.from_public_bytes(key[1:]).verify(signature, f"{text}\n".encode())
            same = found.setdefault(int(size), base64.b64decode(root, validate=True)) == base64.b64decode(root)
            must(same, f"a fork: two logs of {size} records were signed")
        return found

    def record(self, chain: bytes, salt: bytes, entry: bytes, payload: bytes) -> None:
        """Check one record: form, place, chain, tree, time, payload, parts, and its session."""
        e = json.loads(entry, parse_float=lambda text: must(False, f"a float: {text}"))
        kind, part, time = e["kind"], (e.get("part", 1), e.get("parts", 1)), seconds(e["ts"])
        self.name = e["log"] if self.size == 0 and e["log"].split("/")[-1] == self.path.name else self.name
        canonical = json.dumps(e, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        must(canonical.encode() == entry and e["v"] == 1 and kind in KINDS, "it is not of the format")
        must((e["log"], e["seq"]) == (self.name, self.size), f"record {e['seq']} of {e['log']} stands here")
        self.chain = blake3(self.chain + entry, key=CHAIN_KEY).digest()
        must(self.chain.hex().encode() == chain, "it does not follow from the record before and its own bytes")
        must((time < self.time) == (e.get("clk") == "back"), "its time and what it says of the clock do not agree")
        if "pc" in e and not payload:
            self.again["emptied"] += [e] if self.paid else []
        elif "pc" in e or payload:
            must(blake3(payload, key=bytes.fromhex(salt.decode())).hexdigest() == e["pc"], "its payload is another")
            must(len(payload) == e["plen"], "its payload has another length")
        must(len(chain + salt + entry + payload) + 3 < 1 << 20, "it is longer than any of ours")
        must(part == (self.due if self.due[0] > 1 else (1, part[1])), "parts are out of order")
        self.due, self.time, self.closed = (part[0] % part[1] + 1, part[1]), time, kind == "shutdown"
        for name in {kind, *({"sc", "quote"} & e.keys())} & KEPT:
            self.again[name].append({**e, "chain": chain.decode()})
        for session in self.open.values() if kind == "start" else ():
            session["stale"] = True
        if "sid" in e and part[0] == 1 and ("n" in e or kind == "session_end"):
            self.session(kind, e["sid"], e.get("n"), e.get("of"))
        self.size += 1
        self.grow(hashlib.sha256(b"\0" + entry).digest())

    def session(self, kind: str, sid: str, n: int | None, of: int | None) -> None:
        """Check that a session begins, counts up, refers to what it holds, and ends."""
        if kind == "session_start":
            must(sid not in self.open and sid not in self.ended, "its session began before")
            self.open[sid] = {"n": -1, "asked": set()}
        must(sid in self.open, "it is of a session outside its start and end")
        session = self.open[sid]
        must(n is None or n > session["n"], "its n does not rise")
        must(of is None or session["asked"] is None or of in session["asked"], "what it belongs to is not there")
        if kind in {"request", "prepare", "execute"} and session["asked"] is not None:
            session["asked"].add(n)
        session["n"] = session["n"] if n is None else n
        if kind == "session_end":
            self.ended.add(sid)
            del self.open[sid]

    def grow(self, leaf: bytes) -> None:
        """Put a leaf into the tree of RFC 6962, and compare its root where a checkpoint tells it."""
        rest = self.size - 1
        while rest & 1:
            leaf, rest = hashlib.sha256(b"\1" + self.peaks.pop() + leaf).digest(), rest >> 1
        self.peaks.append(leaf)
        must(self.root() == self.signed.get(self.size, self.root()), "the records up to here are not those signed")
        self.unsigned = self.time if self.size == max(self.signed, default=0) + 1 else self.unsigned

    def root(self) -> bytes:
        """Return the root over the roots of whole subtrees, the largest first."""
        root = self.peaks[-1]
        for left in self.peaks[-2::-1]:
            root = hashlib.sha256(b"\1" + left + root).digest()
        return root

    def originals(self, number: str) -> None:
        """Check that each sealed original that was named is there: four bytes of length, an envelope, and so on."""
        file, there, at = self.path / f"originals/seg-{number}.sealed", set(), 0
        content = file.read_bytes() if file.is_file() else b""
        while length := int.from_bytes(content[at : at + 4], "big"):
            there.add(blake3(content[at + 4 : at + 4 + length]).hexdigest())
            at += 4 + length
        sealed = self.again.pop("sc", [])
        self.unsealed += [file.name] if sealed and not file.is_file() else []
        for e in sealed if file.is_file() else ():
            must(e["sc"] in there, f"the sealed original of record {e['seq']} was changed or is missing")

    def finish(
        self, erased: set[str], changed: list[tuple[str, str, str]], decisions: dict[Any, Any], begins: dict[str, int]
    ) -> str:
        """Check the end, quotes, and what lies beside the records, now that all erasures and decisions are known."""
        must(self.due[0] == 1, "the last record's parts are missing")
        must(not self.again["gap"], "records were given up")
        must(not any(self.closed or "stale" in one for one in self.open.values()), f"no end of {', '.join(self.open)}")
        newest = max(self.signed, default=self.size)
        must(newest <= self.size, f"{newest} records were signed and {self.size} are there")
        must(newest == self.size or not (self.closed or self.time - self.unsigned > 60), f"{newest} records are signed")
        for e in self.again["emptied"]:
            must(f"{self.name}:{e['seq']}" in erased, f"the payload of record {e['seq']} is gone and nothing says so")
        for e in self.again["key"]:
            must(re.fullmatch("[0-9A-Za-z-]+", e["sid"]), "a key of no session")
            due = "" if f"session:{e['sid']}" in erased else e["blake3"]
            must(digest(self.path / f"keyring/{e['sid']}.age") == due, f"the key of session {e['sid']} is another")
        for one in [one for e in self.again["start"] for one in e["torn"]]:
            file = self.path / "torn" / one["file"]
            must(file.parent.name == "torn" and digest(file) == one["blake3"], f"torn/{file.name} is another")
            first, whole, _ = file.read_bytes().partition(b"\n")
            must(not whole or b"\0" in first, f"torn/{file.name} holds a whole line: a crash leaves part of one")
        for e in self.again["quote"]:
            quote = e["quote"] if isinstance(e["quote"], dict) else {}
            said = decisions.get((quote.get("log"), quote.get("seq")), {})
            if not said and 0 <= quote.get("seq", -1) < begins.get(quote.get("log", ""), 0):
                continue  # pruned, with the beginning of that log
            must(
                said.get("chain") == quote.get("chain") and said.get("decision") == "approved",
                f"{e['seq']} is unapproved",
            )
            must(
                all(e[name] == said.get(name) for name in ("approval", "oh") if name in e), f"{e['seq']} is unapproved"
            )
        self.files(changed)
        return "nothing is missing"

    def files(self, changed: list[tuple[str, str, str]]) -> None:
        """Check that each file of a segment is the one that was recorded when it was made, or erased since."""
        made, there = {e["segment"]: e for e in self.again["archive"]}, [one.stem for one in self.segments]
        gone = [file for file, _, new in changed if not new]
        must(not self.pruned or f"logs/{self.path.name}/entries/{self.pruned}" in gone, f"{self.pruned} is gone")
        for name in self.unsealed:
            must(f"logs/{self.path.name}/originals/{name}" in gone, f"originals/{name} is missing")
        for name in sorted({*there, *(one for one in made if one >= min(there, default=one))}):
            must(name in there or (self.path / f"journal/{name[4:]}.tsv").is_file(), f"segment {name} is missing")
            must(name in made or (self.path / f"journal/{name[4:]}.tsv").is_file(), f"no record says what made {name}")
            places = {"blake3": "entries/{}.parquet", "payload": "payload/{}.parquet"}
            places |= {"frontier": "entries/{}.json", "originals": "originals/{}.sealed"}
            for field, place in places.items() if name in made and name in there else ():
                file, due = place.format(name), made[name].get(field, "")
                for changed_file, old, new in changed:
                    if changed_file == f"logs/{self.path.name}/{file}" and old == due:
                        due = new or (old if (self.path / file).is_file() else "")  # or not yet removed
                must(digest(self.path / file) == due, f"{file} is not the file that was recorded, or erased since")


def tell(log: Log, step: Callable[..., str], *arguments: object) -> str:
    """Take one step with a log; return where it stopped and what is wrong, empty if nothing is."""
    try:
        print(f"{log.name}: {step(*arguments)}")
        return ""
    except Exception as fault:
        return f"{log.name}:{log.size}: {fault or type(fault).__name__}"


def cosigned(log: Log, evidence: Path, logs: list[Log]) -> str:
    """Check that what witnesses signed is what is here, by the keys in witness.pub."""
    file = evidence / "witness.pub"
    keys = dict(one.split("+", 1) for one in file.read_text().splitlines()) if file.is_file() else {}
    for e in log.again["witness"]:
        blob, root = base64.b64decode(e["cosignature"], validate=True), bytes.fromhex(e["root"])
        for other in [one for one in logs if one.name == e["origin"]]:
            same = e["size"] <= other.size and other.signed.get(e["size"], root) == root
            must(same, f"{e['seq']} tells of another log than {other.name} is")
        if e["witness"] in keys:
            key = base64.b64decode(keys[e["witness"]].split("+", 1)[1], validate=True)
            text = f"cosignature/v1\ntime {int.from_bytes(blob[4:12], 'big')}\n{e['origin']}\n{e['size']}\n"
            message = f"{text}{base64.b64encode(root).decode()}\n".encode()
            must(blob[:4] == hashlib.sha256(e["witness"].encode() + b"\n" + key).digest()[:4], "another witness's key")
            Ed25519PublicKey.from_public_bytes(key[1:]).verify(blob[12:], message)
    return f"{len(log.again['witness'])} cosignatures"


def main(evidence: Path, kept: bytes = b"") -> int:
    """Check all logs, then what one says of another; `kept`: signed notes that were kept elsewhere."""
    logs = [Log(path) for path in sorted((evidence / "logs").glob("*")) if path.is_dir()]
    wrong = [tell(log, log.read, kept) for log in logs] or [f"{evidence} holds no log"]
    erasures = sorted((e for log in logs for e in log.again["erasure"]), key=lambda e: e["ts"])
    erased, changed = {one for e in erasures for one in e["records"]}, [one for e in erasures for one in e["files"]]
    changed = [(one["file"], one["old"], one["new"]) for one in changed]
    decisions = {(log.name, e["seq"]): e for log in logs for e in log.again["decision"]}
    begins = {log.name: log.first for log in logs}
    wrong += [tell(log, log.finish, erased, changed, decisions, begins) for log in logs if not any(wrong)]
    wrong += [tell(log, cosigned, log, evidence, logs) for log in logs if not any(wrong)]
    print("\n".join(filter(None, wrong)) or "intact")
    return 1 if any(wrong) else 0


if __name__ == "__main__":
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent
    sys.exit(main(directory, *(Path(one).read_bytes() for one in sys.argv[2:3])))
