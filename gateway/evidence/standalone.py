"""Check this evidence without its maker's software: `python3 verify.py [DIR]`, after `pip install blake3 cryptography`.

Needs `duckdb` too, to read what was archived. Reads only. Prints one line for each thing that is wrong; exit code 0:
intact, 1: not. VERIFY.md says what is checked, and how to check much of it by hand. Compare the keys it prints with
those that you were given on another way.
"""

import base64
import hashlib
import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from blake3 import blake3
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

CHAIN_KEY = blake3(b"", derive_key_context="hoop-tui 2026-11 evidence chain v1").digest()
KINDS = """start shutdown config login login_refused session_start session_end prepare request execute data decision
    release result masked cancel kill grant alarm archive key erasure witness access gap"""
BROKEN = (ValueError, KeyError, TypeError, AttributeError, IndexError, StopIteration, RecursionError, InvalidSignature)
wrong: list[str] = []
decisions: dict[tuple[str, int], dict[str, Any]] = {}  # log and sequence number -> entry, with its chain value
quoting: list[tuple[str, dict[str, Any]]] = []
erased: set[str] = set()  # records and sessions that erasures name
rewritten: list[tuple[str, str, str]] = []  # file, digest before, digest after


def check(holds: object, where: object, what: str) -> None:
    """Note `what` is wrong unless it holds."""
    if not holds:
        wrong.append(f"{where}: {what}")


def canonical(value: Any) -> bytes:
    """RFC 8785, as far as entries go: sorted keys, no spaces, no floats (a float fails the comparison or `int`)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def quoted(path: Path) -> str:
    """A path as SQL text; DuckDB would take these characters for a pattern."""
    return "'" + "".join(f"[{one}]" if one in "*?[" else one for one in str(path)).replace("'", "''") + "'"


def refuse(number: str) -> None:
    """Entries hold no floats."""
    raise ValueError(number)


def seconds(time: str) -> float:
    """An entry's time as a number; only the one form passes."""
    return datetime.strptime(time, "%Y-%m-%dT%H:%M:%S.%f%z").timestamp() if len(time) == 27 else float(time)


class Log:
    """One log, read from its first line to its last."""

    def __init__(self, path: Path) -> None:
        self.path, self.origin = path, path.name
        self.chain, self.seq, self.last = bytes(32), 0, 0.0
        self.peaks: list[bytes] = []  # roots of whole subtrees, the largest first
        self.signed, self.unsigned = self.checkpoints(), 0.0  # root by size; time of the first record after the last
        self.part, self.unreadable, self.closed, self.gap = (1, 1), False, False, False
        self.open: dict[str, dict[str, Any]] = {}  # session -> its last n, what later records may belong to
        self.ended: set[str] = set()
        self.torn: dict[str, dict[str, Any]] = {}
        self.archives: dict[str, dict[str, Any]] = {}  # what was recorded of each segment when it was made
        self.sealed: dict[str, str] = {}  # digest of an envelope -> the record that names it
        self.keys: list[dict[str, Any]] = []
        self.emptied: list[int] = []  # records without their payload
        segments = sorted(path.glob("entries/seg-*[1-9]*.parquet"))
        for file in segments:
            self.segment(file)
        done = {file.stem[4:] for file in segments}
        files = sorted(file for file in path.glob("journal/*.tsv") if file.stem not in done)
        for file in files:
            content, nul, rest = file.read_bytes().partition(b"\0")
            *lines, tail = content.split(b"\n")
            rest = (tail + nul + rest).strip(b"\0")
            check(not rest or (file == files[-1] and b"\n" not in rest), file, "goes on after a broken line")
            for raw in lines:
                self.line(raw)
            self.envelopes(file.stem)
        self.segments = segments
        self.finish()

    def envelopes(self, number: str) -> None:
        """Check that each sealed original that records name is there: length in four bytes, envelope, and so on."""
        file, there = self.path / "originals" / f"seg-{number}.sealed", set()
        content = file.read_bytes() if file.is_file() else b""
        while length := int.from_bytes(content[:4], "big"):
            there.add(blake3(content[4 : 4 + length]).hexdigest())
            content = content[4 + length :]
        for digest, where in self.sealed.items():
            check(digest in there, where, "its sealed original was changed or is missing")
        self.sealed = {}

    def beside(self) -> None:
        """Check what lies beside the records, now that everything that was erased is known."""
        for file in self.segments:
            told = self.archives.get(file.stem, {})
            check(told or (self.path / "journal" / f"{file.stem[4:]}.tsv").exists(), file, "no record says it was made")
            others = {"payload": self.path / "payload" / file.name, "frontier": file.with_suffix(".json")}
            others["originals"] = self.path / "originals" / f"{file.stem}.sealed"
            for name, one in {"blake3": file, **others}.items() if told else ():
                due, place = told.get(name, ""), f"logs/{self.path.name}/{one.parent.name}/{one.name}"
                for changed, old, new in rewritten:
                    due = new if changed == place and old == due else due
                there = blake3(one.read_bytes()).hexdigest() if one.is_file() else ""
                check(there == due, one, "is not the file that was recorded when it was made, or erased since")
        for seq in self.emptied:
            check(f"{self.origin}:{seq}" in erased, f"{self.origin}:{seq}", "its payload is gone and nothing says so")
        for e in self.keys:
            key, due = self.path / "keyring" / f"{e['sid']}.age", "" if f"session:{e['sid']}" in erased else e["blake3"]
            kept = key.parent == self.path / "keyring" and key.is_file()
            check((blake3(key.read_bytes()).hexdigest() if kept else "") == due, key, "is not the key of its session")

    def segment(self, file: Path) -> None:
        """Check the lines of an archived journal file, and that the columns beside each entry say what it says."""
        import duckdb

        payload = file.parent.parent / "payload" / file.name
        try:
            db = duckdb.connect()
            db.execute("CREATE VIEW e AS FROM read_parquet($1)".replace("$1", quoted(file)))
            db.execute("CREATE VIEW p AS FROM read_parquet($1)".replace("$1", quoted(payload)))
            lines = db.execute(
                "SELECT chain, salt, entry, payload FROM e LEFT JOIN p USING (segment, seq) ORDER BY seq"
            )
            while rows := lines.fetchmany(1000):
                for row in rows:
                    self.line("\t".join(one or "" for one in row).encode())
            self.envelopes(file.stem[4:])
            typed = [name for name, *_ in db.execute("DESCRIBE e").fetchall()]
            typed = [name for name in typed if name not in {"segment", "ts", "chain", "entry"}]
            wanted = ", ".join(f"'$.{name}'" for name in ["ts", *typed])
            columns = ", ".join(["strftime(ts, '%Y-%m-%dT%H:%M:%S.%fZ')", *(f'"{name}"::VARCHAR' for name in typed)])
            place = f"{self.path.name}/{file.stem[4:]}"
            test = f"segment <> '{place}' OR json_extract_string(entry, [{wanted}]) IS DISTINCT FROM [{columns}]"
            for (seq,) in db.execute(f"SELECT seq FROM e WHERE {test}").fetchall():  # noqa: S608  checked above
                check(False, f"{self.origin}:{seq}", "a column is not what the entry says")
        except (duckdb.Error, *BROKEN) as fault:
            check(False, file, f"cannot be read: {fault}")

    def checkpoints(self) -> dict[int, bytes] | None:
        """Read what the log's key signed; None where the log has no key."""
        notes, found = [one for one in self.path.glob("checkpoints/*.note") if one.name != "0.note"], {}
        if not (self.path / "log.pub").exists():
            check(not notes, self.path, "has checkpoints and no log.pub")
            return None
        try:
            name, identity, encoded = (self.path / "log.pub").read_text().strip().split("+", 2)
            key = base64.b64decode(encoded, validate=True)
            key_id = hashlib.sha256(name.encode() + b"\n" + key).digest()[:4]
            public = Ed25519PublicKey.from_public_bytes(key[1:])
            check(key[0] == 1 and key_id.hex() == identity, self.path, "log.pub is no Ed25519 key under its own id")
        except BROKEN:
            check(False, self.path, "log.pub cannot be read")
            return {}
        print(f"{name}: signed by key {identity}, {encoded}")  # noqa: T201  this is a program
        for note in notes:
            try:
                text, signatures = note.read_bytes().decode().split("\n\n")
                origin, size, root = text.split("\n")
                signature = next(one.split(" ") for one in signatures.split("\n") if one.split(" ")[1] == name)
                blob = base64.b64decode(signature[2], validate=True)
                public.verify(blob[4:], f"{text}\n".encode())
                check(blob[:4] == key_id and origin == name and note.name == f"{size}.note", note, "is of another log")
                found[int(size)] = base64.b64decode(root, validate=True)
            except BROKEN:
                check(False, note, "does not hold")
        return found

    def line(self, raw: bytes) -> None:
        """Check one line: form, place, chain, tree, payload, and what it says of its session."""
        where = f"{self.origin}:{self.seq}"
        try:
            chain, salt, entry, payload = raw.split(b"\t")
            e = json.loads(entry, parse_float=refuse)
            seq, time, kind = int(e["seq"]), seconds(e["ts"]), e["kind"]
            if self.seq == 0 and e["log"].split("/")[-1] == self.path.name:
                self.origin = e["log"]
            form = canonical(e) == entry and len(raw) < 1 << 20 and e["v"] == 1 and kind in KINDS.split()
            check(form and e["log"] == self.origin, where, "is not of the format")
            check(seq == self.seq, where, f"record {seq} stands here")
            if seq < self.seq:
                return
            h = blake3(self.chain + entry, key=CHAIN_KEY).hexdigest()
            known = seq == self.seq and not self.unreadable
            check(h.encode() == chain or not known, where, "does not follow from the record before and its bytes")
            self.chain, self.seq, self.unreadable = bytes.fromhex(chain.decode()), seq + 1, False
            self.grow(entry, time, where)
            check((time < self.last) == (e.get("clk") == "back"), where, "time and clk do not agree")
            self.last = time
            if "pc" in e and not payload:
                self.emptied.append(seq)
            elif "pc" in e or payload:
                committed = blake3(payload, key=bytes.fromhex(salt.decode())).hexdigest()
                check(committed == e["pc"] and len(payload) == e["plen"], where, "payload is not the one committed to")
            part = (e.get("part", 1), e.get("parts", 1))
            check(part == (self.part if self.part[0] > 1 else (1, part[1])), where, "parts out of order")
            self.part = (part[0] + 1, part[1]) if part[0] < part[1] else (1, 1)
            self.closed, self.gap = kind == "shutdown", self.gap or kind == "gap"
            check(kind != "gap", where, f"records were given up: {e.get('why')}")
            self.note(where, kind, {**e, "chain": chain.decode()})
            if "sid" in e and part[0] == 1:
                self.session(where, kind, e)
        except BROKEN:
            check(False, where, "cannot be read")
            self.unreadable = True

    def note(self, where: str, kind: str, e: dict[str, Any]) -> None:
        """Keep what a record says of others, and of files beside the records."""
        if kind == "decision":
            decisions[self.origin, e["seq"]] = e
        if kind == "archive":
            self.archives[e["segment"]] = e
        if kind == "erasure":
            erased.update(e["records"])
            rewritten.extend((one["file"], one["old"], one["new"]) for one in e["files"])
        if kind == "key":
            self.keys.append(e)
        if "sc" in e:
            self.sealed.setdefault(e["sc"], where)
        if "quote" in e:
            quoting.append((where, e))
        if kind == "start":
            self.torn.update({one["file"]: one for one in e["torn"]})
            for session in self.open.values():
                session["stale"] = True

    def grow(self, entry: bytes, time: float, where: str) -> None:
        """Put the entry into the RFC 6962 tree and compare the root where a checkpoint tells it."""
        peak, size = hashlib.sha256(b"\0" + entry).digest(), self.seq
        self.unsigned = time if self.signed is not None and size == max(self.signed, default=0) + 1 else self.unsigned
        while not size & 1:
            peak, size = hashlib.sha256(b"\1" + self.peaks.pop() + peak).digest(), size >> 1
        self.peaks.append(peak)
        if self.signed and self.seq in self.signed:
            root = self.peaks[-1]
            for left in self.peaks[-2::-1]:
                root = hashlib.sha256(b"\1" + left + root).digest()
            check(root == self.signed[self.seq], where, "the records up to here are not those that were signed")

    def session(self, where: str, kind: str, e: dict[str, Any]) -> None:
        """Check that a session begins, counts up, refers to what it holds, and ends."""
        sid, n = e["sid"], e.get("n")
        if kind == "session_start":
            check(sid not in self.open and sid not in self.ended, where, "its session began before")
            self.open[sid] = {"n": -1, "asked": set()}
        elif n is None and kind != "session_end":
            return
        check(sid in self.open, where, "a record of a session outside its start and end")
        session = self.open.get(sid, {"n": -1, "asked": set()})
        check(n is None or n > session["n"], where, "its n does not rise")
        check(e.get("of") is None or e["of"] in session["asked"], where, "what it belongs to is not there")
        session["n"] = session["n"] if n is None else n
        if kind in {"request", "prepare", "execute"}:
            session["asked"].add(n)
        if kind == "session_end":
            self.open.pop(sid, None)
            self.ended.add(sid)

    def finish(self) -> None:
        """Check the log's end, what crashes left behind, and that signatures reach as far as they must."""
        check(self.part == (1, 1), self.origin, "the last record's parts are missing")
        for sid, session in self.open.items():
            check(not self.closed and "stale" not in session, self.origin, f"session {sid} has no end")
        for name, one in self.torn.items():
            file = self.path / "torn" / name
            content = file.read_bytes() if file.parent == self.path / "torn" and file.is_file() else b""
            same = len(content) == one["length"] and blake3(content).hexdigest() == one["blake3"]
            first, whole, _ = content.partition(b"\n")
            check(same and (self.gap or not whole or b"\0" in first), file, "is not what a crash left behind")
        if self.signed is not None:
            newest = max(self.signed, default=0)
            late = self.closed or self.last - self.unsigned > 60
            check(newest <= self.seq, self.origin, f"{newest} records were signed and {self.seq} are there")
            check(newest >= self.seq or not late, self.origin, f"nothing is signed after record {newest}")
        print(f"{self.origin}: {self.seq} records, the last with {self.chain.hex()}")  # noqa: T201  this is a program


def main(evidence: Path) -> int:
    """Check all logs, then what one says of another."""
    logs = [Log(path) for path in sorted((evidence / "logs").glob("*")) if path.is_dir()]
    check(logs, evidence, "holds no log")
    for log in logs:
        log.beside()
    for where, e in quoting:
        quote = e["quote"] if isinstance(e["quote"], dict) else {}
        said = decisions.get((quote.get("log", ""), quote.get("seq", -1)), {})
        same = said.get("chain") == quote.get("chain") and said.get("decision") == "approved"
        same = same and all(e[name] == said.get(name) for name in ("approval", "oh") if name in e)
        check(same, where, "what it quotes is not the approval of what was released")
    print("\n".join(wrong) or "intact")  # noqa: T201  this is a program
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent))
