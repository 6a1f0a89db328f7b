"""Check this evidence without its maker's software: `pip install blake3 cryptography duckdb`, then `python3 verify.py`.

`python3 verify.py [DIR [NOTES]]`: NOTES is a file of signed notes that a witness or a sink kept. Reads only. Exit code
0: intact; 1: not, with the first thing that is wrong in each log. VERIFY.md says what is checked. Compare the keys that
it prints with those that you were given on another way.
"""

import base64
import glob
import json
import re
import sys
from collections import defaultdict
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import duckdb
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

CHAIN_KEY = blake3(b"", derive_key_context="hoop-tui 2026-11 evidence chain v1").digest()
KINDS = """start shutdown config login login_refused session_start session_end prepare request execute data decision
    release result masked cancel kill grant alarm archive key erasure witness access gap""".split()
KEPT = {"start", "decision", "archive", "key", "erasure", "gap", "witness", "sc", "quote"}  # what matters at the end
FILES = {"blake3": "entries/{}.parquet", "payload": "payload/{}.parquet", "frontier": "entries/{}.json"}
FILES["originals"] = "originals/{}.sealed"  # of a segment, by the field of its `archive` record that holds the digest
NOTE = re.compile(rb"[^\n]+\n[0-9]+\n[^\n]+\n\n(?:\xe2\x80\x94 [^\n]+\n)+")  # a signed note
KEY = re.compile(r"^([^+\n]+)\+([0-9a-f]{8})\+(\S+)$", re.MULTILINE)  # name, id, algorithm and key in base64
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def must(holds: object, what: str) -> None:
    """Go no further in this log unless `holds`."""
    if not holds:
        raise ValueError(what)


def digest(path: Path) -> str:
    """Return the BLAKE3 of a file; empty where there is none."""
    return blake3(path.read_bytes()).hexdigest() if path.is_file() else ""


def keys(file: Path) -> dict[str, tuple[bytes, Ed25519PublicKey]]:
    """Return the keys in a file by their names, each with its id."""
    found = {}
    for name, key_id, encoded in KEY.findall(file.read_text()) if file.is_file() else ():
        key = base64.b64decode(encoded, validate=True)
        if sha256(name.encode() + b"\n" + key).hexdigest().startswith(key_id):
            found[name] = bytes.fromhex(key_id), Ed25519PublicKey.from_public_bytes(key[1:])
    return found


class Log:
    """One log, followed from its first record to its last."""

    def __init__(self, path: Path) -> None:
        self.path, self.name, self.again = path, path.name, defaultdict[str, list[Any]](list)
        self.chain, self.size, self.first, self.time, self.unsigned = bytes(32), 0, 0, "", ""
        self.peaks, self.signed = list[bytes](), dict[int, bytes]()  # roots: of whole subtrees, largest first; by size
        self.sessions, self.part, self.closed = dict[str, Any](), (1, 1), False

    def read(self, kept: bytes) -> str:
        """Follow everything: segments, then the journal files that are not archived."""
        self.checkpoints(kept)
        self.segments = sorted(one.stem[4:] for one in self.path.glob("entries/seg-*[1-9]*.parquet"))
        before = self.path / f"entries/seg-{int(min(self.segments, default='1')) - 1:08}.json"
        if before.is_file():  # what came before was pruned: begin with the tree that was signed there
            told = json.loads(before.read_bytes())
            self.name, self.size, self.first = told["log"], told["size"], told["size"]
            self.peaks, self.chain = [bytes.fromhex(one) for one in told["peaks"]], bytes.fromhex(told["chain"])
            self.sessions = {one["sid"]: {"n": one["counts"]["n"], "asked": None} for one in told["open"]}
            self.again["pruned"] = [before.with_suffix(".parquet").name]
            must(self.root() == self.signed.get(self.size), "what was pruned is not what was signed")
        for number in self.segments:
            self.segment(number)
        files = sorted(one for one in self.path.glob("journal/*[1-9]*.tsv") if one.stem not in self.segments)
        for file in files:
            content, nul, rest = file.read_bytes().partition(b"\0")
            *lines, tail = content.split(b"\n")
            for line in lines:
                chain, salt, entry, payload = line.split(b"\t")
                self.record(chain, salt, entry, payload)
            rest = (tail + nul + rest).strip(b"\0")  # the last line may be half written
            must(not rest or (file == files[-1] and b"\n" not in rest), f"{file.name} goes on after a broken line")
            self.originals(file.stem)
        return f"{self.size} records, the last with {self.chain.hex()}"

    def checkpoints(self, kept: bytes) -> None:
        """Take the roots that the log's key signed, here and in the notes `kept` elsewhere."""
        notes = [(one.name, one.read_bytes()) for one in self.path.glob("checkpoints/*.note") if one.name != "0.note"]
        for name, (key_id, key) in keys(self.path / "log.pub").items():
            print(f"{name}: signed by the key in {(self.path / 'log.pub').read_text().strip()}")
            self.signed[0] = b""
            notes += [("", one) for one in NOTE.findall(kept) if one.startswith(name.encode() + b"\n")]
            for file, note in notes:
                text, signatures = note.decode().split("\n\n")
                origin, size, root = text.split("\n")
                must(origin == name and file in {f"{size}.note", ""}, f"{file} is of another log or size")
                lines = [one.split(" ") for one in signatures.splitlines()]
                blobs = [base64.b64decode(blob, validate=True) for _, signer, blob in lines if signer == name]
                key.verify(next((one[4:] for one in blobs if one[:4] == key_id), b""), f"{text}\n".encode())
                signed = base64.b64decode(root, validate=True)
                must(self.signed.setdefault(int(size), signed) == signed, f"a fork: two logs of {size} were signed")
        must(self.signed or not (notes or (self.path / "log.pub").exists()), "log.pub holds no key")

    def segment(self, number: str) -> None:
        """Follow an archived journal file; the columns beside each entry must say what the entry says."""
        entries, payloads = (self.path / kind / f"seg-{number}.parquet" for kind in ("entries", "payload"))
        db, place, paid = duckdb.connect(), f"{self.path.name}/{number}", dict[int, Any]()
        db.execute("SET enable_progress_bar = false")  # it would show on standard output
        if payloads.is_file():
            sql = "SELECT seq, segment, kind, salt, payload FROM read_parquet(?)"
            paid = {seq: fields for seq, *fields in db.execute(sql, [glob.escape(str(payloads))]).fetchall()}
        sql = "SELECT * REPLACE (strftime(ts, '%Y-%m-%dT%H:%M:%S.%fZ') AS ts) FROM read_parquet(?)"
        rows = db.execute(sql, [glob.escape(str(entries))])
        names = [name for name, *_ in rows.description]
        for row in iter(rows.fetchone, None):
            columns = dict(zip(names, row, strict=True))
            segment, chain, entry = (columns.pop(name) for name in ("segment", "chain", "entry"))
            of, kind, salt, payload = paid.pop(columns["seq"], (place, columns["kind"], None, None))
            salt, payload = (salt or "").encode(), (payload or "").encode()
            self.record(chain.encode(), salt, entry.encode(), payload, columns, payloads.name)
            must((segment, of, kind) == (place, place, columns["kind"]), "it is said to be of another segment or kind")
        must(not paid, f"payload/{payloads.name} holds payloads of no record")
        self.originals(number)

    def record(
        self, chain: bytes, salt: bytes, entry: bytes, payload: bytes, columns: Any = (), file: str = ""
    ) -> None:
        """Check one record: form, place, columns, chain, tree, time, payload, parts, and its session."""
        e = json.loads(entry, parse_float=lambda text: must(False, f"a float: {text}"))
        kind, seq, (part, parts) = e["kind"], self.size, (e.get("part", 1), e.get("parts", 1))
        self.name = e["log"] if seq == 0 and e["log"].split("/")[-1] == self.path.name else self.name
        canonical = json.dumps(e, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        must(canonical.encode() == entry and e["v"] == 1 and kind in KINDS, "it is not of the format")
        must((e["log"], e["seq"]) == (self.name, seq), f"record {e['seq']} of {e['log']} stands here")
        must(all(e.get(name) == columns[name] for name in columns), "a column is not what its entry says")
        self.chain = blake3(self.chain + entry, key=CHAIN_KEY).digest()
        must(self.chain.hex().encode() == chain, "it does not follow from the record before and its own bytes")
        must(TIME.fullmatch(e["ts"]) and datetime.fromisoformat(e["ts"]), "its time is none")
        must((e["ts"] < self.time) == (e.get("clk") == "back"), "its time and what it says of the clock do not agree")
        if "pc" in e and not payload:
            self.again["gone"].append((seq, f"payload/{file}"))
        elif "pc" in e or payload:
            made = blake3(payload, key=bytes.fromhex(salt.decode())).hexdigest()
            must((made, len(payload)) == (e["pc"], e["plen"]), "its payload is another")
        must((part, parts) == (self.part if self.part[0] > 1 else (1, parts)), "parts are out of order")
        self.part, self.time, self.closed = (part % parts + 1, parts), e["ts"], kind == "shutdown"
        for name in {kind, *({"sc", "quote"} & e.keys())} & KEPT:
            self.again[name].append({**e, "chain": chain.decode()})
        for session in self.sessions.values() if kind == "start" else ():
            session["stale"] = True  # nothing of an earlier process goes on
        if "sid" in e and part == 1 and ("n" in e or kind == "session_end"):
            self.session(kind, e["sid"], e.get("n"), e.get("of"))
        leaf, self.size = sha256(b"\0" + entry).digest(), seq + 1
        while seq & 1:  # the tree of RFC 6962
            leaf, seq = sha256(b"\1" + self.peaks.pop() + leaf).digest(), seq >> 1
        self.peaks.append(leaf)
        must(self.root() == self.signed.get(self.size, self.root()), "the records up to here are not those signed")
        self.unsigned = self.time if self.size == max(self.signed, default=-1) + 1 else self.unsigned

    def root(self) -> bytes:
        """Return the root of the tree as it stands."""
        root = self.peaks[-1]
        for left in self.peaks[-2::-1]:
            root = sha256(b"\1" + left + root).digest()
        return root

    def session(self, kind: str, sid: str, n: int | None, of: int | None) -> None:
        """Check that a session begins, counts up, refers to what it holds, and ends."""
        if kind == "session_start":
            must(sid not in self.sessions, "its session began before")
            self.sessions[sid] = {"n": -1, "asked": set()}
        session = self.sessions.get(sid, {"end": True})
        must("end" not in session, "it is of a session outside its start and end")
        must(n is None or n > session["n"], "its n does not rise")
        must(of is None or session["asked"] is None or of in session["asked"], "what it belongs to is not there")
        session["n"] = session["n"] if n is None else n
        if kind in {"request", "prepare", "execute"} and session["asked"] is not None:
            session["asked"].add(n)
        if kind == "session_end":
            self.sessions[sid] = {"end": True}

    def originals(self, number: str) -> None:
        """Check that each sealed original that was named is there: four bytes of length, an envelope, and so on."""
        file, there, at = self.path / f"originals/seg-{number}.sealed", set(), 0
        content = file.read_bytes() if file.is_file() else b""
        while length := int.from_bytes(content[at : at + 4], "big"):
            there.add(blake3(content[at + 4 : at + 4 + length]).hexdigest())
            at += 4 + length
        for e in self.again.pop("sc", ()):
            must(not content or e["sc"] in there, f"the sealed original of record {e['seq']} was changed or is missing")
            self.again["gone"] += [] if content else [(e["seq"], f"originals/{file.name}")]

    def due(self) -> dict[str, str]:
        """Return the digest of each file beside the records, as they tell it."""
        made, there = {e["segment"]: e for e in self.again["archive"]}, [f"seg-{one}" for one in self.segments]
        for name in {*there, *(one for one in made if one >= min(there, default=one))}:
            live = (self.path / f"journal/{name[4:]}.tsv").is_file()
            must(live or (name in there and name in made), f"segment {name} is missing, or no record says what made it")
        found = {FILES[one].format(name): made[name].get(one, "") for name in there if name in made for one in FILES}
        for e in self.again["key"]:
            must(re.fullmatch("[0-9A-Za-z-]+", e["sid"]), "a key of no session")
            found[f"keyring/{e['sid']}.age"] = e["blake3"]
        for one in [one for e in self.again["start"] for one in e["torn"]]:
            found[f"torn/{Path(one['file']).name}"] = one["blake3"]
            first, whole, _ = (self.path / "torn" / Path(one["file"]).name).read_bytes().partition(b"\n")
            must(not whole or b"\0" in first, f"torn/{one['file']} holds a whole line: a crash leaves part of one")
        return {f"logs/{self.path.name}/{name}": value for name, value in found.items()}

    def finish(self, erased: set[str], changed: list[Any], logs: list[Any], evidence: Path) -> str:
        """Check the end, what lies beside the records, and what this log says of others."""
        must(self.part[0] == 1 and not self.again["gap"], "parts are missing at its end, or records were given up")
        left = [sid for sid, one in self.sessions.items() if "end" not in one and (self.closed or "stale" in one)]
        must(not left, f"no end of {', '.join(left)}")
        newest = max(self.signed, default=self.size)
        must(newest <= self.size, f"{newest} records were signed and {self.size} are there")
        if newest < self.size:
            since = datetime.fromisoformat(self.time) - datetime.fromisoformat(self.unsigned)
            must(not self.closed and since.total_seconds() <= 60, f"only {newest} records are signed")
        due, place = self.due(), f"logs/{self.path.name}"
        for file, old, new in changed:
            due |= {file: new} if due.get(file) == old else {}
        for name in self.again["pruned"]:
            told = any(file == f"{place}/entries/{name}" and not new for file, _, new in changed)
            must(told, f"{name} is gone and nothing says so")
        for seq, file in self.again["gone"]:
            told = f"{self.name}:{seq}" in erased or due.get(f"{place}/{file}") == ""
            must(told, f"what record {seq} has in {file} is gone and nothing says so")
        for file, value in due.items():
            still = not value and f"session:{Path(file).stem}" not in erased  # an old segment may be there a while yet
            left = [old for one, old, _ in changed if one == file and still]
            must(digest(evidence / file) in {value, *left}, f"{file} is not what was recorded, or erased since")
        decisions = (
            {(log.name, e["seq"]): e for log in logs for e in log.again["decision"]} if self.again["quote"] else {}
        )
        for e in self.again["quote"]:
            quote, begin = e["quote"], next((log.first for log in logs if log.name == e["quote"]["log"]), 0)
            said = decisions.get((quote["log"], quote["seq"]), {})
            same = said and all(e[name] == said[name] for name in ("approval", "oh") if name in e)
            approved = same and (said["chain"], said["decision"]) == (quote["chain"], "approved")
            pruned = not said and 0 <= quote["seq"] < begin
            must(approved or pruned, f"record {e['seq']} is not of what was approved")
        for e in self.again["witness"]:
            self.cosigned(e, keys(evidence / "witness.pub"), logs)
        return "nothing is missing"

    def cosigned(self, e: dict[str, Any], witnesses: dict[str, Any], logs: list[Any]) -> None:
        """Check that what a witness signed is what is here."""
        blob, root = base64.b64decode(e["cosignature"], validate=True), bytes.fromhex(e["root"])
        for other in [one for one in logs if one.name == e["origin"]]:
            same = e["size"] <= other.size and other.signed.get(e["size"], root) == root
            must(same, f"{e['seq']} tells of another log than {other.name} is")
        if e["witness"] in witnesses:
            key_id, key = witnesses[e["witness"]]
            text = f"cosignature/v1\ntime {int.from_bytes(blob[4:12], 'big')}\n{e['origin']}\n{e['size']}\n"
            must(blob[:4] == key_id, f"{e['seq']} is signed by another key than that of {e['witness']}")
            key.verify(blob[12:], f"{text}{base64.b64encode(root).decode()}\n".encode())


def main(evidence: Path, kept: bytes = b"") -> int:
    """Check all logs, then what one says of another; `kept`: signed notes that were kept elsewhere."""
    logs, wrong = [Log(path) for path in sorted((evidence / "logs").glob("*")) if path.is_dir()], list[str]()
    beside: tuple[Any, ...] = ()
    for step in (Log.read, Log.finish):
        for log in logs if not wrong else ():
            try:
                print(f"{log.name}: {step(log, *(beside or (kept,)))}")
            except Exception as fault:
                wrong.append(f"{log.name}:{log.size}: {fault or type(fault).__name__}")
        erasures = sorted((e for log in logs for e in log.again["erasure"]), key=lambda e: e["ts"])
        changed = [(one["file"], one["old"], one["new"]) for e in erasures for one in e["files"]]
        beside = {one for e in erasures for one in e["records"]}, changed, logs, evidence
    print("\n".join(wrong) or ("intact" if logs else f"{evidence} holds no log"))
    return 1 if wrong or not logs else 0


if __name__ == "__main__":
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent
    sys.exit(main(directory, *(Path(one).read_bytes() for one in sys.argv[2:3])))
