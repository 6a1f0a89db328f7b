"""Checking evidence again from its bytes alone, without the journal's code that wrote it and without DuckDB.

Promises one finding for each thing wrong, with log, sequence number and what: a changed, missing, repeated or moved
entry, a payload that is not the one committed to, a quote that points nowhere, a session without an end. Reads only,
from any copy, and never trusts a value for memory or path. What was written after the last line it read is not covered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from blake3 import blake3

from gateway.errors import EvidenceFault
from gateway.evidence.chain import Chain, commitment
from gateway.evidence.entry import MAX_LINE, Line, Malformed, canonical, parse_line, parse_loosely, parse_time
from gateway.evidence.note import Checkpoint, Verifier, open_note
from gateway.evidence.record import KINDS
from gateway.evidence.tree import Tree
from gateway.model import Json

Grade: TypeAlias = Literal["tampered", "incomplete", "note"]
Progress: TypeAlias = Callable[[int, int], None]
"""Called with bytes done and bytes in all."""
READ = 4 << 20
UNSIGNED = 60_000_000
"""Microseconds after which records without a checkpoint are a finding; one is due after five seconds."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be: where, and what. Notes are worth knowing and prove nothing wrong."""

    grade: Grade
    log: str
    seq: int | None
    what: str

    def __str__(self) -> str:
        place = self.log if self.seq is None else f"{self.log}:{self.seq}"
        return f"{self.grade}: {place}: {self.what}"


@dataclass(slots=True)
class Report:
    """What `verify` found, and the head of each log: how many records, and the last chain value."""

    findings: list[Finding] = field(default_factory=list)
    heads: dict[str, tuple[int, str]] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    """By log, its verifier key: compare it with the one that you were given."""
    signed: dict[str, int] = field(default_factory=dict)
    """By log, how many records the newest checkpoint covers."""
    records: int = 0

    @property
    def intact(self) -> bool:
        """Say whether nothing is tampered with or incomplete."""
        return all(one.grade == "note" for one in self.findings)


@dataclass(slots=True)
class _Log:
    """One log as far as it was read."""

    name: str
    directory: Path
    chain: Chain = field(default_factory=Chain)
    tree: Tree = field(default_factory=Tree)
    checkpoints: dict[int, Checkpoint] = field(default_factory=dict)
    """Signed checkpoints by size; those that the log reached are taken out."""
    signed: int | None = None
    """Records that the newest checkpoint covers; None where the log has no key."""
    unsigned_ts: int = 0
    """Time of the first record that no checkpoint covers."""
    broken: bool = False
    """An entry could not be put into the tree: no checkpoint after it can hold."""
    expected: int = 0
    known: bool = True
    """The chain value before the next line is known; not after a line that could not be read."""
    last_ts: int = 0
    open: dict[str, int] = field(default_factory=dict)
    last_n: dict[str, int] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    stale: set[str] = field(default_factory=set)
    """Open sessions of a process that is gone."""
    asked: dict[str, set[int]] = field(default_factory=dict)
    """By open session, the n of what a later record may belong to."""
    parts: tuple[int, int] | None = None
    torn: dict[str, tuple[int, str]] = field(default_factory=dict)
    gap: bool = False
    closed: bool = False


def verify(directory: Path, quick: bool = False, progress: Progress | None = None) -> Report:
    """Check the evidence directory, or a copy of it.

    `quick` checks chain and order and leaves out commitments to payloads. Raises `EvidenceFault` where there is
    nothing to check or it cannot be read.
    """
    try:
        return _Check(directory, quick, progress).run()
    except OSError as fault:
        raise EvidenceFault(f"{directory} cannot be read: {fault.strerror or fault}") from fault


class _Check:
    def __init__(self, directory: Path, quick: bool, progress: Progress | None) -> None:
        self._logs = sorted(path for path in (directory / "logs").glob("*") if path.is_dir())
        if not self._logs:
            raise EvidenceFault(f"{directory} holds no log; give the gateway's state_dir/evidence")
        self._quick, self._progress = quick, progress
        self._report = Report()
        self._quotes: list[tuple[str, int, dict[str, Json]]] = []
        self._decisions: dict[tuple[str, int], tuple[str, dict[str, Json]]] = {}
        self._done = 0
        self._total = sum(path.stat().st_size for one in self._logs for path in (one / "journal").glob("*.tsv"))

    def run(self) -> Report:
        for directory in self._logs:
            log = _Log(directory.name, directory)
            self._load_checkpoints(log)
            self._read(log)
            self._finish(log)
        self._check_quotes()
        return self._report

    def _find(self, grade: Grade, log: _Log, seq: int | None, what: str) -> None:
        self._report.findings.append(Finding(grade, log.name, seq, what))

    def _load_checkpoints(self, log: _Log) -> None:
        """Read the log's key and its signed checkpoints."""
        public, notes = log.directory / "log.pub", sorted((log.directory / "checkpoints").glob("*.note"))
        notes = [path for path in notes if path.name != "0.note"]
        if not public.exists():
            if notes:
                self._find("incomplete", log, None, "log.pub is missing: nothing shows who signed its checkpoints")
            return
        log.signed = 0
        try:
            verifier = Verifier.parse(public.read_bytes()[:4096].decode(errors="replace"))
        except Malformed as fault:
            self._find("tampered", log, None, f"log.pub: {fault}")
            return
        self._report.keys[verifier.name] = str(verifier)
        for path in notes:
            try:
                checkpoint = open_note(path.read_bytes()[: 1 << 16], verifier)
                if path.name != f"{checkpoint.size}.note":
                    raise Malformed(f"it is of size {checkpoint.size}")  # noqa: TRY301  one place says where
            except Malformed as fault:
                self._find("tampered", log, None, f"checkpoints/{path.name}: {fault}")
                continue
            log.checkpoints[checkpoint.size] = checkpoint
            log.signed = max(log.signed, checkpoint.size)
        self._report.signed[verifier.name] = log.signed

    def _read(self, log: _Log) -> None:
        paths = sorted((log.directory / "journal").glob("*.tsv"))
        for path in paths:
            before = self._done
            for raw, whole in _lines(path):
                self._done += len(raw) + 1
                if self._progress is not None:
                    self._progress(self._done, self._total)
                if whole:
                    self._line(log, raw)
                elif path == paths[-1] and b"\n" not in raw:
                    what = f"{path.name} ends in a line that is not whole ({len(raw)} bytes): being written, or torn"
                    self._find("note", log, log.expected, what)
                else:
                    self._find("tampered", log, log.expected, f"{path.name} goes on after a broken line")
            self._done = before + path.stat().st_size

    def _line(self, log: _Log, raw: bytes) -> None:
        try:
            line = parse_line(raw)
            loose = parse_loosely(line.entry)
        except Malformed as fault:
            self._find("tampered", log, log.expected, f"a line that cannot be read: {fault}")
            log.known, log.broken = False, True
            return
        self._report.records += 1
        if not self._order(log, line, loose):
            return
        if len(raw) >= MAX_LINE:
            self._find("tampered", log, log.expected - 1, f"a line of {len(raw)} bytes, longer than any of ours")
        try:
            if canonical(loose) != line.entry:
                raise Malformed("not in canonical form")  # noqa: TRY301  one place says where
            self._entry(log, loose, _whole_number(loose, "seq"), line)
        except Malformed as fault:
            self._find("tampered", log, log.expected - 1, f"an entry that is not of the format: {fault}")

    def _order(self, log: _Log, line: Line, entry: dict[str, Json]) -> bool:
        """Check chain and sequence; say whether the line stands in its place.

        Goes on from what the line itself says, so that one fault is one finding; a line out of place changes nothing.
        """
        seq = entry.get("seq")
        if not isinstance(seq, int) or isinstance(seq, bool):
            seq = log.expected
        origin = entry.get("log")
        if log.expected == 0 and isinstance(origin, str) and origin.rpartition("/")[2] == log.name:
            log.name = origin
        missing = seq > log.expected
        if missing:
            what = f"{seq - log.expected} records are missing before this one"
            self._find("tampered", log, seq, what)
        elif seq < log.expected:
            self._find("tampered", log, seq, "a record repeated or out of order")
            return False
        linked = log.chain.link(line.entry)
        if linked != line.chain and log.known and not missing:
            self._find("tampered", log, seq, "its chain value does not follow from the entry before and its bytes")
        log.known = True
        log.broken = log.broken or missing
        log.tree.append(line.entry)
        self._check_root(log)
        log.chain.value = line.chain
        log.expected = seq + 1
        return True

    def _check_root(self, log: _Log) -> None:
        checkpoint = log.checkpoints.pop(log.tree.size, None)
        if checkpoint is not None and not log.broken and checkpoint.root != log.tree.root:
            what = f"the records before it are not those that checkpoint {checkpoint.size} was signed over"
            self._find("tampered", log, log.tree.size, what)
            log.broken = True  # later ones would say the same

    def _entry(self, log: _Log, entry: dict[str, Json], seq: int, line: Line) -> None:
        kind, sid, n = entry.get("kind"), entry.get("sid"), entry.get("n")
        if entry.get("v") != 1 or kind not in KINDS or entry.get("log") != log.name:
            raise Malformed(f"version {entry.get('v')}, kind {kind}, log {entry.get('log')}")
        self._time(log, entry, seq)
        self._payload(log, entry, seq, line)
        first = self._part(log, entry, seq)
        log.closed = kind == "shutdown"
        if seq == log.signed:
            log.unsigned_ts = log.last_ts
        if kind == "gap":
            log.gap = True
            self._find("incomplete", log, seq, f"records were given up here: {entry.get('why')}")
        if kind == "start":
            self._started(log, entry)
        if kind == "decision":
            self._decisions[log.name, seq] = (line.chain.hex(), entry)
        if "quote" in entry:
            self._quotes.append((log.name, seq, entry))
        if isinstance(sid, str) and first:
            self._session(log, entry, str(kind), sid, n, seq)

    def _time(self, log: _Log, entry: dict[str, Json], seq: int) -> None:
        at = parse_time(str(entry.get("ts")))
        if (at < log.last_ts) != (entry.get("clk") == "back"):
            self._find("tampered", log, seq, "its time and what it says of the clock do not agree")
        elif at < log.last_ts:
            self._find("note", log, seq, "the clock was set back before it")
        log.last_ts = at

    def _payload(self, log: _Log, entry: dict[str, Json], seq: int, line: Line) -> None:
        length, committed = entry.get("plen"), entry.get("pc")
        if committed is None and not line.payload:
            return
        if not line.payload:
            self._find("tampered", log, seq, "its payload is gone and no erasure says so")
        elif len(line.payload) != length or len(line.salt) != 32:
            self._find("tampered", log, seq, f"its payload has {len(line.payload)} bytes; the entry says {length}")
        elif not self._quick and commitment(line.salt, line.payload) != committed:
            self._find("tampered", log, seq, "its payload is not the one that the entry commits to")

    def _part(self, log: _Log, entry: dict[str, Json], seq: int) -> bool:
        """Check that parts of a record follow each other; say whether this is a record's first or only line."""
        part, parts = entry.get("part", 1), entry.get("parts", 1)
        if not isinstance(part, int) or not isinstance(parts, int) or not 1 <= part <= parts:
            raise Malformed(f"part {part} of {parts}")
        due = log.parts or (1, parts)
        if (part, parts) != due:
            self._find("tampered", log, seq, f"part {part} of {parts} stands where part {due[0]} of {due[1]} belongs")
        log.parts = (part + 1, parts) if part < parts else None
        return part == 1

    def _started(self, log: _Log, entry: dict[str, Json]) -> None:
        """After a start nothing of an earlier process goes on: its sessions must be ended as lost."""
        log.stale.update(log.open)
        torn = entry.get("torn")
        for one in torn if isinstance(torn, list) else []:
            if isinstance(one, dict):
                log.torn[str(one.get("file"))] = (_whole_number(one, "length"), str(one.get("blake3")))

    def _session(self, log: _Log, entry: dict[str, Json], kind: str, sid: str, n: Json, seq: int) -> None:
        if kind == "session_start":
            if sid in log.open or sid in log.ended:
                self._find("tampered", log, seq, f"session {sid} begins twice")
            log.open[sid] = seq
        elif kind == "session_end":
            if log.open.pop(sid, None) is None:
                self._find("tampered", log, seq, f"session {sid} ends and did not begin")
            log.ended.add(sid)
            log.asked.pop(sid, None)
        elif n is not None and sid not in log.open:
            self._find("tampered", log, seq, f"a record of session {sid} outside its start and end")
        if not isinstance(n, int):
            return
        if n <= log.last_n.get(sid, -1):
            self._find("tampered", log, seq, f"n {n} of session {sid} does not rise")
        log.last_n[sid] = n
        of = entry.get("of")
        if isinstance(of, int) and of not in log.asked.get(sid, ()):
            self._find("incomplete", log, seq, f"it belongs to n {of} of its session, which is not there")
        if kind in {"request", "prepare", "execute"}:
            log.asked.setdefault(sid, set()).add(n)

    def _finish(self, log: _Log) -> None:
        self._report.heads[log.name] = (log.expected, log.chain.value.hex())
        if log.parts is not None:
            self._find("incomplete", log, log.expected - 1, f"the record's part {log.parts[0]} is missing")
        for sid, seq in log.open.items():
            if log.closed or sid in log.stale:
                self._find("incomplete", log, seq, f"session {sid} has no end, and its process has ended")
            else:
                self._find("note", log, seq, f"session {sid} has no end: it is open, or the gateway was stopped hard")
        self._torn(log)
        self._signed(log)

    def _signed(self, log: _Log) -> None:
        """Check that the log is as long as its checkpoints say, and that they go as far as the log."""
        beyond = [size for size in log.checkpoints if size > log.tree.size]
        if beyond and not log.broken:
            what = f"the log has {log.expected} records, and checkpoint {max(beyond)} covers more: its end is cut off"
            self._find("tampered", log, log.expected, what)
        if log.signed is None or log.signed >= log.expected or log.broken:
            return
        what = f"{log.expected - log.signed} records at the end are covered by no checkpoint"
        late = log.closed or log.last_ts - log.unsigned_ts > UNSIGNED
        self._find("incomplete" if late else "note", log, log.signed, what)

    def _torn(self, log: _Log) -> None:
        """Check what crashes left behind against what the starts after them said."""
        place = log.directory / "torn"
        for name, (length, digest) in log.torn.items():
            path = place / name
            if path.parent != place or not path.is_file():
                self._find("incomplete", log, None, f"torn/{name}, which a start names, is not there")
                continue
            content = path.read_bytes()
            if len(content) != length or blake3(content).hexdigest() != digest:
                self._find("tampered", log, None, f"torn/{name} is not what the start after the crash found")
            elif b"\n" in content and b"\0" not in content.split(b"\n")[0] and not log.gap:
                self._find("tampered", log, None, f"torn/{name} holds a whole line: a crash leaves only part of one")
            else:
                self._find("note", log, None, f"a crash left {length} unfinished bytes behind, kept in torn/{name}")
        names = {path.name for path in place.glob("[!.]*")} if place.is_dir() else set()
        for name in sorted(names - set(log.torn)):
            self._find("note", log, None, f"torn/{name} waits for the next start to name it")

    def _check_quotes(self) -> None:
        """Check that what was released is what was approved: the quoted entry itself, its approval and its hash."""
        for log, seq, entry in self._quotes:
            quote = entry["quote"] if isinstance(entry["quote"], dict) else {}
            number = quote.get("seq")
            place = (str(quote.get("log")), number if isinstance(number, int) else -1)
            chain, decision = self._decisions.get(place, ("", {}))
            if not decision:
                self._report.findings.append(
                    Finding("incomplete", log, seq, f"it quotes the decision {place[0]}:{place[1]}, which is not there")
                )
            elif (
                chain != quote.get("chain")
                or decision.get("decision") != "approved"
                or any(entry.get(name) != decision.get(name) for name in ("approval", "oh") if name in entry)
            ):
                self._report.findings.append(
                    Finding("tampered", log, seq, f"{place[0]}:{place[1]} is not the approval of what it released")
                )


def _whole_number(entry: dict[str, Json], name: str) -> int:
    value = entry.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise Malformed(f"{name} is not a number")
    return value


def _lines(path: Path) -> Iterator[tuple[bytes, bool]]:
    """Yield each line without its line feed, and whether it is whole; the content ends at the first NUL.

    Anything but zeros after that comes last, as one line that is not whole.
    """
    pending, ended = b"", False
    with path.open("rb") as file:
        while chunk := file.read(READ):
            pending += chunk
            if not ended:
                content, nul, rest = pending.partition(b"\0")
                *lines, tail = content.split(b"\n")
                for raw in lines:
                    yield raw, True
                ended, pending = bool(nul), tail + nul + rest
                if len(pending) > READ and not ended:  # no line of ours; do not gather it in memory
                    yield pending, True
                    pending = b""
            if ended:
                pending = pending.rstrip(b"\0") if pending.strip(b"\0") else b""
    if pending:
        yield pending, False
