"""Check this evidence without its maker's software: `pip install blake3 cryptography duckdb`, then `python3 verify.py`.

`python3 verify.py [DIR [NOTES]]`: NOTES is a file of signed notes that a witness or a sink kept. Reads only. Exit code
0: intact; 1: not, with the first thing that is wrong in each log. VERIFY.md says what is checked. Compare the keys that
it prints with those that you were given on another way.
"""

import glob
import json
import re
import sys
from base64 import b64decode, b64encode
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
AGAIN = {"archive", "decision", "erasure", "gap", "key", "quote", "sc", "witness"}  # kinds, fields: looked at again
NOTE = re.compile(
    r"((\S+)\n([0-9]+)\n([A-Za-z0-9+/]{43}=)\n)\n((?:\u2014 \S+ [A-Za-z0-9+/]+=*\n)+)"
)  # text: origin, size, root
KEY = re.compile(r"([^+\s]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+=*)")  # name, id, algorithm and key in base64
FOREIGN = re.compile(rb'"[^"\\]*[\x80-\xff][^"\\]*":')  # a key that is not ASCII: in texts quotation marks are escaped
SEEN = re.compile(r"journal/.*[.]tsv|(entries|payload)/seg-.*[.]parquet|checkpoints/0[.]note")  # what views read too
OWN = re.compile(r"(journal/|(entries|payload)/seg-)(?!0{8})[0-9]{8}[.](tsv|parquet)")  # and what may hold records
TOLD = [  # which kind of record tells of which file beside the log, and by which field of its digest
    ("archive", "entries/{segment}.parquet", "blake3"), ("archive", "payload/{segment}.parquet", "payload"),
    ("archive", "entries/{segment}.json", "frontier"), ("archive", "originals/{segment}.sealed", "originals"),
    ("key", "keyring/{sid}.age", "blake3"), ("torn", "torn/{file}", "blake3"),
]  # fmt: skip
ROWS = """SELECT chain, salt, entry, payload, told.* EXCLUDE (chain, entry, file_row_number)
    REPLACE (strftime(ts, '%Y-%m-%dT%H:%M:%S.%fZ') AS ts)
    FROM read_parquet($1, file_row_number = true) AS told FULL JOIN {} AS kept USING (seq, segment, kind)
    ORDER BY told.file_row_number NULLS LAST"""  # records with their payloads, at last payloads of no record
NO_PAYLOADS = "(SELECT 0 AS seq, '' AS segment, '' AS kind, '' AS salt, '' AS payload LIMIT 0)"
ENDED = 1 << 53  # no record's `n` is larger


def must(holds: Any, what: str) -> Any:
    """Go no further in this log unless something holds; return it."""
    if not holds:
        raise ValueError(what)
    return holds


def read(path: Path) -> bytes:
    """Return what a file holds; nothing where there is none."""
    return path.read_bytes() if path.is_file() else b""


def whole(text: str) -> int:
    """Return the number that an entry may hold."""
    return int(text) if abs(int(text)) < 1 << 53 else int(must(False, "a number that is too large"))


def key(line: str) -> tuple[str, bytes, Ed25519PublicKey]:
    """Return the name, id and key that a line tells of."""
    name, known, told = must(KEY.fullmatch(line.strip()), "a line that is no key").groups()
    must(sha256(f"{name}\n".encode() + b64decode(told)).hexdigest().startswith(known), "a key whose id is not its own")
    return name, bytes.fromhex(known), Ed25519PublicKey.from_public_bytes(b64decode(told)[1:])


def root(peaks: list[bytes]) -> bytes:
    """Return the root of a tree from those of its whole subtrees, the largest first (RFC 6962)."""
    found = peaks[-1]
    for left in peaks[-2::-1]:
        found = sha256(b"\1" + left + found).digest()
    return found


class Log:
    """One log, followed from its first record to its last."""

    def __init__(self, path: Path) -> None:
        self.path, self.name, self.size, self.first, self.part = path, path.name, 0, 0, (1, 1)
        self.chain, self.time, self.unsigned, self.closed, self.newest = bytes(32), "", "", False, 0
        self.peaks, self.signed = list[bytes](), {0: b""}  # roots: of whole subtrees; of checkpoints, by size
        self.sessions, self.stale = dict[str, tuple[int, Any]](), set[str]()  # by id: the last `n`, and what was asked
        self.said, self.gone = defaultdict[str, list[Any]](list), list[tuple[int, str]]()  # to be looked at again

    def places(self) -> None:
        """Check that each file is one, and that nothing lies where views read but the log's own."""
        for one in [*self.path.glob("*/*"), *(self.path.parents[1] / name for name in ("witness.pub", "tsa.pem"))]:
            name, segment = f"{one.parent.name}/{one.name}", f"{self.path.name}/{one.stem[4:]}"
            must(one.is_file() or not (one.exists() or one.is_symlink()), f"{name} is no file")
            if OWN.fullmatch(name) and (one.parent.name != "payload" or (self.path / "entries" / one.name).exists()):
                continue
            if SEEN.fullmatch(name) and one.suffix == ".parquet":
                others = f"FROM read_parquet($1) WHERE {not OWN.fullmatch(name)} OR segment IS DISTINCT FROM $2 LIMIT 1"
                empty = not duckdb.execute(others, [glob.escape(str(one)), segment]).fetchall()
            else:
                empty = not (SEEN.fullmatch(name) and read(one).strip(b"\0"))
            must(empty, f"{name} is none of the log's own, and views read it")

    def checkpoints(self, kept: str | None) -> str:
        """Take the roots that the log's key signed, here and in the notes `kept` elsewhere; return the key."""
        line = read(self.path / "log.pub").decode().strip()
        name, key_id, public = key(line)
        files = [one for one in self.path.glob("checkpoints/*.note") if one.name != "0.note"]
        notes = [(one[0], f"{one[3]}.note") for one in NOTE.finditer(kept or "") if one[2] == name]
        must(notes or kept is None, "no witness saw this log")
        for note, file in [*((read(one)[: 1 << 16].decode(), one.name) for one in files), *notes]:
            text, origin, size, signed, signatures = must(NOTE.fullmatch(note), f"{file} is no note").groups()
            must((origin, f"{size}.note") == (name, file), f"{file} is of another log or size")
            blobs = [b64decode(blob) for blob in re.findall(f"\u2014 {re.escape(name)} (.+)", signatures)]
            public.verify(next((blob[4:] for blob in blobs if blob[:4] == key_id), b""), text.encode())
            must(self.signed.setdefault(int(size), b64decode(signed)) == b64decode(signed), f"a fork at {size}")
        self.newest = max(self.signed)
        return line

    def follow(self, kept: str | None) -> str:
        """Follow everything: segments, then the journal files that are not archived."""
        self.places()
        line = self.checkpoints(kept) if (self.path / "log.pub").is_file() else ""
        segments = sorted(one.stem for one in self.path.glob("entries/seg-*[1-9]*.parquet"))
        journals = sorted(f"seg-{one.stem}" for one in self.path.glob("journal/*[1-9]*.tsv"))
        self.before = f"seg-{int(min(segments, default='seg-1')[4:]) - 1:08}"
        frontier = self.path / f"entries/{self.before}.json"
        if self.before != "seg-00000000" and (told := json.loads(read(frontier) or "0")):  # what came before was pruned
            self.name, self.size, self.first = told["log"], told["size"], told["size"]
            self.chain, self.peaks = bytes.fromhex(told["chain"]), [bytes.fromhex(one) for one in told["peaks"]]
            self.sessions = {one["sid"]: (one["counts"]["n"], None) for one in told["open"]}
            self.gone.append((-1, f"entries/{self.before}.parquet"))
            must(root(self.peaks) == self.signed.get(self.size), "what was pruned is not what was signed")
        for name in [*segments, *(one for one in journals if one not in segments)]:
            beside = self.path / f"journal/{name[4:]}.tsv"  # stays for a while after it was archived
            live = self.live(beside, last=name == max(journals)) if name in journals else iter(())
            for row in self.archived(name) if name in segments else live:
                same = name not in segments or name not in journals or next(live, ())[:4] == row[:4]
                must(same or not beside.exists(), f"{beside.name} is not what was archived from it")
                self.record(name, *row)
            must(next(live, None) is None, f"{beside.name} holds more than was archived from it")
            self.originals(name)
        self.made = [f"entries/{name}.parquet" for name in segments if name not in journals]
        must(line or not self.size, "nobody signed this log: log.pub is missing")
        return f"{self.size} records, the last with {self.chain.hex()}, signed by {line}"

    def archived(self, name: str) -> Any:
        """Yield chain value, salt, entry, payload, and the columns beside them, of each record of a segment."""
        files = [self.path / kind / f"{name}.parquet" for kind in ("entries", "payload")]
        there = [glob.escape(str(one)) for one in files if one.is_file()]
        db = duckdb.connect()
        db.execute("SET enable_progress_bar = false")  # it would show on standard output
        rows = db.execute(ROWS.format("read_parquet($2)" if there[1:] else NO_PAYLOADS), there)
        names = [one for one, *_ in rows.description]
        for row in iter(rows.fetchone, None):
            columns = dict(zip(names[4:], row[4:], strict=True))
            here = columns.pop("segment") == f"{self.path.name}/{name[4:]}"
            must(here, "a row of another segment, or a payload of no record")
            yield *((one or "").encode() for one in row[:4]), columns

    def live(self, file: Path, *, last: bool) -> Any:
        """Yield the same of each line of a journal file, without columns; the last line may be half written."""
        content, nul, rest = read(file).partition(b"\0")
        *lines, tail = content.split(b"\n")
        if last and not rest.strip(b"\0") and (found := re.fullmatch(rb"[^\t]*\t([^\t]*)\t({[^\t]*})\t([^\t]*)", tail)):
            plen = int((re.findall(rb'"plen":([0-9]+)', found[2]) or [0])[0])
            if len(found[3]) == plen or not (found[1] or found[3]):  # it lacks its line feed alone: views show it
                lines, tail = [*lines, tail], b""
        yield from ((*line.split(b"\t"), {}) for line in lines)
        rest = (tail + nul + rest).strip(b"\0")
        must(not rest or (last and not {10, 13} & {*rest}), f"{file.name} goes on after a broken line")

    def record(self, file: str, chain: bytes, salt: bytes, entry: bytes, payload: bytes, columns: Any) -> None:
        """Check one record: form, place, columns, chain, time, payload, parts, session, tree."""
        e = json.loads(entry, parse_float=lambda text: must(False, f"a float: {text}"), parse_int=whole)
        kind, seq, (part, parts) = e["kind"], self.size, (e.get("part", 1), e.get("parts", 1))
        self.name = e["log"] if seq == 0 and e["log"].split("/")[-1] == self.path.name else self.name
        canonical = json.dumps(e, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        must(canonical.encode() == entry and e["v"] == 1 and kind in KINDS, "it is not of the format")
        must(
            not FOREIGN.search(entry) and re.fullmatch(rb"([0-9a-f]{64})?", salt), "its keys or its salt are not ASCII"
        )
        must(len(entry) + len(payload) + len(chain) + len(salt) + 4 <= 1 << 20, "it is longer than any of ours")
        must((e["log"], e["seq"]) == (self.name, seq), f"record {e['seq']} of {e['log']} stands here")
        must(all(e.get(name) == value for name, value in columns.items()), "a column is not what its entry says")
        self.chain = blake3(self.chain + entry, key=CHAIN_KEY).digest()
        must(self.chain.hex().encode() == chain, "it does not follow from the record before and its own bytes")
        must(datetime.fromisoformat(e["ts"]) and re.fullmatch("[-0-9]{10}T[:0-9]{8}[.][0-9]{6}Z", e["ts"]), "no time")
        must((e["ts"] < self.time) == (e.get("clk") == "back"), "its time and what it says of the clock do not agree")
        if "pc" in e and not payload:
            self.gone.append((seq, f"payload/{file}.parquet"))
        elif "pc" in e or payload:
            made = blake3(payload, key=bytes.fromhex(salt.decode())).hexdigest()
            must((made, len(payload)) == (e["pc"], e["plen"]), "its payload is another")
        must((part, parts) == (self.part if self.part[0] > 1 else (1, parts)), "parts are out of order")
        self.part, self.time, self.closed = (part % parts + 1, parts), e["ts"], kind == "shutdown"
        if "sid" in e and "n" in e and part == 1:
            self.session(kind, e["sid"], e["n"], e.get("of"))
        for name in {kind, *e} & AGAIN:
            self.said[name].append({**e, "chain": chain.decode()})
        self.said["torn"] += e.get("torn", [])
        self.stale = set(self.sessions) if kind == "start" else self.stale  # nothing of an earlier process goes on
        leaf, self.size = sha256(b"\0" + entry).digest(), seq + 1
        while seq & 1:  # the tree of RFC 6962
            leaf, seq = sha256(b"\1" + self.peaks.pop() + leaf).digest(), seq >> 1
        self.peaks.append(leaf)
        if self.size in self.signed:
            must(root(self.peaks) == self.signed[self.size], "the records up to here are not those signed")
        self.unsigned = self.time if self.size == self.newest + 1 else self.unsigned

    def session(self, kind: str, sid: str, n: int, of: int | None) -> None:
        """Check that a session begins, counts up, refers to what it holds, and ends."""
        must((sid in self.sessions) != (kind == "session_start"), "its session did not begin, or began before")
        last, asked = self.sessions.get(sid, (-1, {None}))  # None: nobody knows what was asked in pruned records
        must(n > last and (asked is None or of in asked), "its n does not rise, or what it belongs to is not there")
        if asked and kind in {"request", "prepare", "execute"}:
            asked.add(n)
        self.sessions[sid] = (ENDED if kind == "session_end" else n, asked)

    def originals(self, name: str) -> None:
        """Check that each sealed original that was named is there: four bytes of length, an envelope, and so on."""
        content, there, at = read(self.path / f"originals/{name}.sealed"), set(), 0
        while length := int.from_bytes(content[at : at + 4], "big"):
            there.add(blake3(content[at + 4 : at + 4 + length]).hexdigest())
            at += 4 + length
        for e in self.said.pop("sc", ()):
            must(not content or e["sc"] in there, f"the sealed original of record {e['seq']} was changed or is missing")
            self.gone += [] if content else [(e["seq"], f"originals/{name}.sealed")]

    def finish(self, logs: list[Any], evidence: Path) -> str:
        """Check the log's end, then the files beside it, the decisions that it quotes, and what witnesses signed."""
        must(self.part[0] == 1 and not self.said["gap"], "parts are missing at its end, or records were given up")
        left = [sid for sid, (n, _) in self.sessions.items() if n < ENDED and (self.closed or sid in self.stale)]
        must(not left, f"no end of {', '.join(left)}")
        must(self.newest <= self.size, f"{self.newest} records were signed and {self.size} are there")
        if self.newest < self.size:
            since = datetime.fromisoformat(self.time) - datetime.fromisoformat(self.unsigned)
            must(not self.closed and since.total_seconds() <= 60, f"only {self.newest} records are signed")
        self.files(sorted((e for log in logs for e in log.said["erasure"]), key=lambda e: e["ts"]))
        decisions = {(log.name, e["seq"]): e for log in logs for e in log.said["decision"]}
        for e in self.said["quote"]:
            log, seq, chain = (e["quote"][name] for name in ("log", "seq", "chain"))
            due = {"chain": chain, "decision": "approved"} | {name: e[name] for name in ("approval", "oh") if name in e}
            pruned = 0 <= seq < max((one.first for one in logs if one.name == log), default=0)
            must(pruned or due.items() <= decisions.get((log, seq), {}).items(), f"{e['seq']} was not approved")
        for e in self.said["witness"]:
            blob, seen = b64decode(e["cosignature"]), bytes.fromhex(e["root"])
            for log in [one for one in logs if one.name == e["origin"]]:
                same = e["size"] <= log.size and log.signed.get(e["size"], seen) == seen
                must(same, f"{e['seq']} tells of another log than {log.name} is")
                stamp = blake3(read(log.path / f"checkpoints/{e['size']}.tsr")).hexdigest()
                must(e.get("stamp", stamp) == stamp or e["size"] < log.first, f"{e['seq']} tells of another time stamp")
            known = read(evidence / "witness.pub").decode(errors="replace").splitlines()
            for name, key_id, public in [key(line) for line in known if line.startswith(f"{e['witness']}+")]:
                text = f"cosignature/v1\ntime {int.from_bytes(blob[4:12], 'big')}\n{e['origin']}\n{e['size']}\n"
                must(blob[:4] == key_id, f"{e['seq']} is signed by another key than that of {name}")
                public.verify(blob[12:], f"{text}{b64encode(seen).decode()}\n".encode())
        return "nothing is missing"

    def files(self, erasures: list[Any]) -> None:
        """Check that each file is the one that was recorded, or since erased, and that what is gone was erased."""
        place, erased = f"logs/{self.path.name}/", {one for e in erasures for one in e["records"]}
        changes = [(one["file"].removeprefix(place), one["old"], one["new"]) for e in erasures for one in e["files"]]
        removed = {file for file, _, new in changes if not new}
        for seq, file in self.gone:
            known = f"{self.name}:{seq}" in erased or file in removed
            must(known, f"what record {seq} has in {file} is gone and nothing says so")
        told = [(path.format(**e), e.get(field, "")) for kind, path, field in TOLD for e in self.said[kind]]
        due = {file: value for file, value in told if not (file.endswith(".json") and Path(file).stem <= self.before)}
        for file, old, new in changes:
            due |= {file: new} if due.get(file) == old else {}
        must(due.keys() >= set(self.made), "no record says that a segment was made")
        left = [one for one in erased if one[:8] == "session:" and (self.path / f"keyring/{one[8:]}.age").exists()]
        must(not left, f"the wrapped key of {left} was erased and is still there")
        for file, digest in due.items():
            still = not digest and f"session:{Path(file).stem}" not in erased  # it may be there a while yet
            content = read(self.path / file)
            found = blake3(content).hexdigest() if content else ""
            same = found == digest or (still and found in {old for one, old, _ in changes if one == file})
            must(same, f"{file} is not what was recorded, or erased since")
            part = not file.startswith("torn/") or b"\n" not in content or b"\0" in content.split(b"\n")[0]
            must(part, f"{file} holds a whole line: a crash leaves a part of one")


def main(evidence: Path, kept: str | None = None) -> int:
    """Check all logs, then what one says of another; `kept`: signed notes that were kept elsewhere."""
    logs, wrong = [Log(path) for path in sorted((evidence / "logs").glob("*")) if path.is_dir()], list[str]()
    for step, beside in ((Log.follow, (kept,)), (Log.finish, (logs, evidence))):
        for log in logs if not wrong else ():
            try:
                tell(f"{log.name}: {step(log, *beside)}")
            except Exception as fault:
                wrong.append(f"{log.name}:{log.size}: {fault or type(fault).__name__}")
    here, seen = {log.name for log in logs}, {one[2] for one in NOTE.finditer(kept or "")}
    gone = {one for one in seen - here if one.rpartition("/")[0] in {name.rpartition("/")[0] for name in here}}
    wrong += [f"{name} was seen elsewhere and is not here" for name in sorted(gone)]
    for line in wrong or ["intact" if logs else f"{evidence} holds no log"]:
        tell(line)
    return 1 if wrong or not logs else 0


def tell(line: str) -> None:
    """Print a line; whatever a terminal might take for a command becomes a question mark."""
    print(re.sub(r"[^ -~]", "?", line))


if __name__ == "__main__":
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent
    sys.exit(main(directory, *(Path(one).read_bytes().decode(errors="replace") for one in sys.argv[2:3])))
