"""The tamper matrix: evidence with everything in it, the attacks on it, and the table of what was found."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import duckdb
import pyrage
from added_files import (
    OTHER_TEXT,
    add_checkpoint,
    add_line,
    add_log,
    add_rows,
    add_signed_log,
    add_to_key,
    archive_unrecorded,
    put_before,
    take_log,
    take_signatures,
)
from evidence_double import CountedEntropy, StepClock
from evidence_samples import CONTROL, POLICY, WORKER, request, result, session
from test_archiving import CLOCK, opened, record_archived, run
from test_originals import note

from gateway.evidence import journal, record, views
from gateway.evidence.archiver import KEPT
from gateway.evidence.chain import Chain
from gateway.evidence.checkpoints import Checkpoints, load_key
from gateway.evidence.entry import Line, canonical, parse_line, parse_loosely
from gateway.evidence.frontier import Frontier, read_frontier
from gateway.evidence.journal import Journal
from gateway.evidence.note import Signer
from gateway.evidence.retention import Part, Term, plan, remove
from gateway.evidence.segments import frontier_path, numbers_in
from gateway.evidence.sources import log_lines
from gateway.evidence.storage import DiskStorage
from gateway.evidence.tree import Tree
from gateway.model import ApprovalId, Decision, DecisionKind, HoldRequest, Json, Micros, OperationHash, Quote
from gateway.worker.sealing import SealingTerms, SessionSealing

HASH = OperationHash("0f" * 32)
AUDITORS = tuple(str(pyrage.x25519.Identity.generate().to_public()) for _ in range(2))


def build(place: Path) -> Path:
    """Write two logs below `place/evidence`: decisions and releases, sealed originals, segments, and a live tail."""
    rotate, journal.ROTATE_RECORDS = journal.ROTATE_RECORDS, 12
    try:
        control, worker = opened(place, CONTROL), opened(place)
        _session(control, worker, "s-1", 17)
        for number in range(12):  # so that its end is archived too
            worker.append(record.alarm(None, None, "test", str(number)))
            worker.flush()
        worker.close()
    finally:
        journal.ROTATE_RECORDS = rotate
    views.write_views(place / "evidence")
    assert record_archived(place) >= 3
    worker = opened(place)
    _session(control, worker, "s-2", 3)
    worker.append(record.shutdown("asked to"))
    control.append(record.shutdown("asked to"))
    worker.close()
    control.close()
    assert run(place, StepClock(CLOCK.at + KEPT + 1_000_000)) == []
    return place / "evidence"


def _session(control: Journal, worker: Journal, sid: str, statements: int) -> None:
    who, approval = session(sid), ApprovalId(f"a-{sid}")
    hold = HoldRequest(approval, who, HASH, "DELETE", (), "delete", "r", "", (), Micros(1), Micros(2))
    control.append(record.requested(hold))
    place = control.append(record.decision(hold, DecisionKind.APPROVED, approver="dana", assurance="uid", reason="ok"))
    worker.append(record.session_start(who))
    worker.append(request(1, who=who, approval=approval))
    control.flush()
    made = Decision(approval, DecisionKind.APPROVED, HASH, quote=Quote(place.log, place.seq, place.chain))
    worker.append(record.release(who, 2, 1, made, HASH, POLICY))
    sealing = SessionSealing(SealingTerms(AUDITORS), CountedEntropy())
    for draft in sealing.rows(who, note(3, 1, [b"4000-1234"])):
        worker.append(draft)
    for n in range(10, 10 + 2 * statements, 2):
        worker.append(request(n, f"SELECT {n}", who=who))
        worker.append(result(n + 1, n, f"row {n}", who=who))
        worker.flush()
        worker.checkpoint()
    counts = {"statements": statements + 1, "denied": 0, "held": 1, "rows": statements}
    worker.append(record.session_end(who, n=99, reason="client left", **counts))


def log(evidence: Path) -> Path:
    return evidence / "logs" / "w1"


def live(evidence: Path) -> Path:
    """The worker's last journal file: it is not archived."""
    return max((log(evidence) / "journal").glob("*.tsv"))


def segment(evidence: Path, number: int = 2, kind: str = "entries") -> Path:
    return log(evidence) / kind / f"seg-{number:08}.parquet"


def on_lines(change: Callable[[list[bytes]], None]) -> Callable[[Path], None]:
    """Change lines of the live file, each without its line feed."""

    def attack(evidence: Path) -> None:
        path = live(evidence)
        lines = path.read_bytes().rstrip(b"\0")[:-1].split(b"\n")
        change(lines)
        path.write_bytes(b"".join(line + b"\n" for line in lines))

    return attack


def on_segment(sql: str, kind: str = "entries", number: int = 2) -> Callable[[Path], None]:
    """Write an archived file anew, with what `sql` selects from `told`, its rows with their number in `place`."""

    def attack(evidence: Path) -> None:
        path = segment(evidence, number, kind)
        with duckdb.connect() as database:
            database.execute(
                f"CREATE TABLE told AS SELECT *, row_number() OVER () AS place FROM read_parquet('{path}')"
            )
            database.execute(
                f"COPY (SELECT * EXCLUDE (place) FROM ({sql}) ORDER BY place) TO '{path}' (FORMAT parquet)"
            )

    return attack


def at(lines: list[bytes], kind: str = "request", count: int = 1) -> int:
    """Return the place of the record of this kind, the `count`th from the end."""
    return [place for place, line in enumerate(lines) if f'"kind":"{kind}"'.encode() in line][-count]


def swap(lines: list[bytes]) -> None:
    place = at(lines)
    lines[place], lines[place + 1] = lines[place + 1], lines[place]


def repeat(lines: list[bytes]) -> None:
    lines.insert(at(lines), lines[at(lines)])


def replace(old: bytes, new: bytes) -> Callable[[Path], None]:
    """Change bytes of the last request in the live file."""

    def change(lines: list[bytes]) -> None:
        assert old in lines[at(lines)]
        lines[at(lines)] = lines[at(lines)].replace(old, new)

    return on_lines(change)


def forge(of: str, /, **fields: Json) -> Callable[[Path], None]:
    """Change an entry of the live file and compute every chain value after it anew: that needs no key."""

    def attack(evidence: Path) -> None:
        frontier = read_frontier(log(evidence), int(live(evidence).stem) - 1)
        assert frontier is not None

        def change(lines: list[bytes]) -> None:
            chain, place = Chain(frontier.chain), at(lines, of)
            for index, raw in enumerate(lines):
                line = parse_line(raw)
                entry = parse_loosely(line.entry)
                if index == place:
                    entry.update(fields)
                encoded = canonical(entry)
                lines[index] = Line(chain.link(encoded), line.salt, encoded, line.payload).encode()[:-1]

        on_lines(change)(evidence)

    return attack


def drop_payload(lines: list[bytes]) -> None:
    chain, _, entry, _ = lines[at(lines)].split(b"\t")
    lines[at(lines)] = b"\t".join((chain, b"", entry, b""))


def edit_sealed(evidence: Path) -> None:
    path = min((log(evidence) / "originals").glob("*.sealed"))
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    path.write_bytes(content)


def edit_key(evidence: Path) -> None:
    path = min((log(evidence) / "keyring").glob("*.age"))
    path.write_bytes(path.read_bytes() + b"\n")


def swap_segments(evidence: Path) -> None:
    for kind in ("entries", "payload"):
        one, other = segment(evidence, 1, kind), segment(evidence, 2, kind)
        beside = one.with_name("beside")
        one.rename(beside)
        other.rename(one)
        beside.rename(other)


def remove_segment(evidence: Path) -> None:
    for kind in ("entries", "payload"):
        segment(evidence, 1, kind).unlink()


def prune(*parts: Part, recorded: bool = True) -> Callable[[Path], None]:
    """Let old parts go as the gateway does, or forget the record of it, as nobody of ours does."""

    def attack(evidence: Path) -> None:
        worker = opened(evidence.parent)
        gone = plan(evidence, [Term(part, age=1) for part in parts], Micros(CLOCK.at + 10**15))
        for one in [one for one in gone if one.log == WORKER]:
            if recorded:
                part = "" if one.part == "entries" else f" {one.part}"
                files = [(file, digest, "") for file, digest in one.files]
                worker.append(record.erasure([f"{one.log}:{one.first}-{one.last}{part}"], one.why, "gateway", files))
                worker.flush()
            remove(evidence, [file for file, _ in one.files], DiskStorage())
        worker.append(record.shutdown("asked to"))
        worker.close()

    return attack


def after(*attacks: Callable[[Path], None]) -> Callable[[Path], None]:
    """Do one after the other."""

    def attack(evidence: Path) -> None:
        for one in attacks:
            one(evidence)

    return attack


def newest(evidence: Path) -> int:
    """Return the number of the newest segment: retention leaves it."""
    return numbers_in(log(evidence))[0][-1]


def edit_newest(evidence: Path) -> None:
    on_segment(
        "SELECT * REPLACE (replace(entry, 'standard/select', 'standard/insert') AS entry) FROM told",
        number=newest(evidence),
    )(evidence)


def edit_frontier(evidence: Path) -> None:
    """Let the log go on from another tree than the one that was pruned."""
    path = frontier_path(log(evidence), newest(evidence) - 1)
    found = Frontier.parse(path.read_bytes())
    path.write_bytes(dataclasses.replace(found, peaks=(bytes(32), *found.peaks[1:])).encode())


def forge_again(evidence: Path) -> None:
    """Take what a quick check looks at again away from where it looks."""
    path = frontier_path(log(evidence), 1)
    path.write_bytes(dataclasses.replace(Frontier.parse(path.read_bytes()), again=()).encode())


def remove_key(evidence: Path) -> None:
    min((log(evidence) / "keyring").glob("*.age")).unlink()


def remove_originals(evidence: Path) -> None:
    min((log(evidence) / "originals").glob("*.sealed")).unlink()


def remove_payloads(evidence: Path) -> None:
    segment(evidence, 2, "payload").unlink()


def drop_checkpoints(evidence: Path) -> None:
    for path in (log(evidence) / "checkpoints").glob("[1-9]*.note"):
        path.unlink()


def cut_with_checkpoints(evidence: Path) -> None:
    """Cut the end off, with the checkpoints that cover it: what is left was signed as it is."""
    size = max(int(one.stem) for one in (log(evidence) / "checkpoints").glob("*.note"))
    cut(evidence)
    (log(evidence) / "checkpoints" / f"{size}.note").unlink()


def cut(evidence: Path) -> None:
    """Cut the end off, back to an earlier checkpoint."""
    sizes = sorted(int(one.stem) for one in (log(evidence) / "checkpoints").glob("*.note"))

    def change(lines: list[bytes]) -> None:
        del lines[sizes[-2] - sizes[-1] :]

    on_lines(change)(evidence)


def strange_key(evidence: Path) -> None:
    """The public key of another log, which did not sign these checkpoints."""
    shutil.copyfile(evidence / "logs" / "control" / "log.pub", log(evidence) / "log.pub")


def rewrite_with_key(evidence: Path) -> None:
    """Root writes another history under the same key, and signs it."""
    shutil.rmtree(log(evidence))
    other = opened(evidence.parent, WORKER)
    other.append(record.session_start(session()))
    for n in range(1, 11, 2):
        other.append(request(n))
        other.append(result(n + 1, n))
    other.append(record.session_end(session(), n=99, reason="client left", statements=5, denied=0, held=0, rows=5))
    other.append(record.shutdown("asked to"))
    other.close()


def fork(evidence: Path) -> None:
    """Root writes the same number of records with other words under the same key; the witness saw the first ones."""
    directory = log(evidence)
    size = max(int(one.stem) for one in (directory / "checkpoints").glob("*.note"))
    forge("request", verdict="deny")(evidence)
    tree = Tree()
    with duckdb.connect() as database:
        for raw in log_lines(database, directory):
            tree.append(parse_line(raw).entry)
    for path in (directory / "checkpoints").glob("[1-9]*.note"):
        if int(path.stem) > read_size(directory):
            path.unlink()
    signer = Signer("gw-1/w1", load_key(DiskStorage(), evidence.parent / "keys" / "log-w1.pem"))
    Checkpoints(directory, DiskStorage(), signer).write(tree.state())
    assert tree.size == size


def read_size(directory: Path) -> int:
    """Return how many records are archived."""
    number = max(int(path.stem[4:]) for path in (directory / "entries").glob("*.json"))
    frontier = read_frontier(directory, number)
    assert frontier is not None
    return frontier.size


def kept(evidence: Path) -> bytes:
    """Return all notes of all logs, one after the other, as a file sink keeps them."""
    return b"".join(path.read_bytes() for path in sorted(evidence.glob("logs/*/checkpoints/[1-9]*.note")))


class Attack(NamedTuple):
    name: str
    """What it does, as the table says it."""
    attack: Callable[[Path], None]
    grade: str
    words: str
    """What the finding that names it says, a regular expression."""
    quick: bool = True
    """`--quick` finds it too."""
    witness: bool = False
    """Only what a witness kept shows it."""


CHAIN, PAYLOAD = "chain value does not follow", "not the one that the entry commits to"
COLUMN, GONE = "a column of .* is not what its entry says", "payload is gone and no erasure says so"
TWICE, MISSING = "repeated or out of order", "records are missing"
STRAY, UNSIGNED = "none of the log's own, and views read it", "nobody signed this log"
ATTACKS = [
    Attack("an entry edited, live", replace(b"allow", b"denyx"), "tampered", CHAIN),
    Attack(
        "an entry edited, archived",
        on_segment("SELECT * REPLACE (replace(entry, 'standard/select', 'standard/insert') AS entry) FROM told"),
        "tampered",
        CHAIN,
    ),
    Attack("a payload edited, live", replace(b"SELECT 1", b"SELECT 9"), "tampered", PAYLOAD, quick=False),
    Attack(
        "a payload edited, archived",
        on_segment("SELECT * REPLACE (replace(payload, 'SELECT', 'DELETE') AS payload) FROM told", "payload"),
        "tampered",
        PAYLOAD,
    ),
    Attack(
        "a typed column edited",
        on_segment("SELECT * REPLACE (CASE verdict WHEN 'allow' THEN 'deny' ELSE verdict END AS verdict) FROM told"),
        "tampered",
        COLUMN,
    ),
    Attack(
        "a time column edited",
        on_segment("SELECT * REPLACE (ts + INTERVAL 1 SECOND AS ts) FROM told"),
        "tampered",
        COLUMN,
    ),
    Attack(
        "a quote edited, chain computed anew",
        forge("release", quote={"log": "gw-1/control", "seq": 2, "chain": "00" * 32}),
        "tampered",
        "not the approval of what it released",
    ),
    Attack("a sealed original edited", edit_sealed, "tampered", "sealed original was changed"),
    Attack("a wrapped key edited", edit_key, "tampered", "not the key that was recorded"),
    Attack("a record deleted, live", on_lines(lambda lines: lines.pop(at(lines)) and None), "tampered", MISSING),
    Attack("a record deleted, archived", on_segment("SELECT * FROM told WHERE place <> 3"), "tampered", MISSING),
    Attack("a record inserted", on_lines(lambda lines: lines.insert(at(lines), lines[0])), "tampered", TWICE),
    Attack("a record repeated, live", on_lines(repeat), "tampered", TWICE),
    Attack(
        "a record repeated, archived",
        on_segment("SELECT * FROM told UNION ALL SELECT * FROM told WHERE place = 3"),
        "tampered",
        TWICE,
    ),
    Attack("records reordered, live", on_lines(swap), "tampered", MISSING),
    Attack(
        "records reordered, archived",
        on_segment("SELECT * REPLACE (CASE place WHEN 3 THEN 4 WHEN 4 THEN 3 ELSE place END AS place) FROM told"),
        "tampered",
        MISSING,
    ),
    Attack("the tail cut off", cut, "tampered", "its end is cut off"),
    Attack("the checkpoints dropped", drop_checkpoints, "incomplete", "covered by no checkpoint"),
    Attack(
        "the tail cut off with its checkpoints",
        cut_with_checkpoints,
        "tampered",
        "the witness's .* its end is cut off",
        witness=True,
    ),
    Attack(
        "an entry edited, chain computed anew", forge("request", verdict="deny"), "tampered", "those that checkpoint"
    ),
    Attack(
        "everything rewritten and signed",
        rewrite_with_key,
        "tampered",
        "not those that the witness saw|its end is cut off",
        witness=True,
    ),
    Attack("a fork: two logs signed", fork, "tampered", "not those that the witness saw", witness=True),
    Attack("the key exchanged", strange_key, "tampered", "not signed by the log's key"),
    Attack("a clock set back, unmarked", forge("result", ts="2020-01-01T00:00:00.000000Z"), "tampered", "clock do not"),
    Attack("a session without its end", forge("session_end", kind="login"), "incomplete", "has no end"),
    Attack("a payload erased without its erasure, live", on_lines(drop_payload), "tampered", GONE),
    Attack(
        "a payload erased without its erasure, archived",
        on_segment("SELECT * FROM told WHERE place <> 2", "payload"),
        "tampered",
        GONE,
    ),
    Attack("a file of payloads removed", remove_payloads, "tampered", "is missing and no erasure says so"),
    Attack("segments swapped", swap_segments, "tampered", MISSING),
    Attack("a segment removed", remove_segment, "incomplete", "segments? .* missing"),
    Attack("what lies beside a segment edited", forge_again, "tampered", "not the file that was recorded"),
    Attack("a wrapped key removed", remove_key, "tampered", "missing and no erasure"),
    Attack("a file of sealed originals removed", remove_originals, "tampered", "missing and no erasure"),
    Attack(
        "old segments removed as retention does, without its record",
        prune("entries", recorded=False),
        "incomplete",
        "no record says that they were pruned",
    ),
    Attack("a segment that no record tells of", archive_unrecorded, "incomplete", "no record says that it was made"),
    Attack("rows in the file that keeps an empty place", add_rows("seg-empty.parquet"), "tampered", STRAY),
    Attack("rows in a segment under a name of no segment", add_rows("seg-9.parquet"), "tampered", STRAY),
    Attack("rows in a segment under a name without a number", add_rows("seg-x.parquet"), "tampered", STRAY),
    Attack(
        "payloads in a file of no segment",
        add_rows("seg-00000099.parquet", "payload", OTHER_TEXT),
        "tampered",
        STRAY,
    ),
    Attack(
        "payloads in a file of no segment's name", add_rows("seg-x.parquet", "payload", OTHER_TEXT), "tampered", STRAY
    ),
    Attack("lines in the journal file that keeps an empty place", add_line("00000000.tsv"), "tampered", STRAY),
    Attack("lines in a journal file without a number", add_line("x.tsv"), "tampered", STRAY),
    Attack("lines in a journal file under a shorter number", add_line("99.tsv"), "tampered", STRAY),
    Attack("a checkpoint in the file that keeps an empty place", add_checkpoint, "tampered", STRAY),
    Attack("a journal file put before its segment", put_before, "tampered", "is not what was archived from it"),
    Attack("another line in the key's file", add_to_key, "tampered", "log.pub: "),
    Attack("the key and all that it signed taken away", take_signatures, "incomplete", UNSIGNED),
    Attack(
        "the same, and an entry edited, chain computed anew",
        after(take_signatures, forge("request", verdict="deny")),
        "incomplete",
        UNSIGNED,
    ),
    Attack("a log added that nobody signed", add_log, "incomplete", UNSIGNED),
    Attack("a log added under another key", add_signed_log, "incomplete", "no witness saw it", witness=True),
    Attack("a whole log taken away", take_log, "tampered", "the witness saw this log, and it is not", witness=True),
    Attack("a record after pruned ones edited", after(prune("entries"), edit_newest), "tampered", CHAIN),
    Attack(
        "the tree that pruned segments left edited",
        after(prune("entries"), edit_frontier),
        "tampered",
        "those that checkpoint",
    ),
    Attack("no attack: old segments let go by retention", prune("entries"), "note", "were pruned; .* records before"),
    Attack("no attack: old payloads let go by retention", prune("payloads"), "note", "was pruned"),
    Attack(
        "no attack: old originals and keys let go by retention",
        prune("originals"),
        "note",
        "wrapped keys were let go",
    ),
]


class Seen(NamedTuple):
    """What checking one attacked copy showed."""

    attack: Attack
    place: str
    alone: bool
    """`verify.py` says that it is not intact."""
    quick: bool


def table(seen: list[Seen]) -> str:
    """Return the table of docs/evidence.md."""
    yes = {True: "yes", False: "no"}
    head = "| attack | found as | names | found by `--quick` | by `verify.py` | needs a witness |\n"
    return f"{head}|---|---|---|---|---|---|\n" + "".join(
        f"| {one.attack.name} | {one.attack.grade} | {one.place} | {yes[one.quick]} | {yes[one.alone]} |"
        f" {yes[one.attack.witness]} |\n"
        for one in seen
    )
