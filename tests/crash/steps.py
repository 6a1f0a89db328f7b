"""What the gateway and its commands do to files, step by step, each as a function that a mortal process runs.

They are the product's own functions in the product's order; only what it does in processes of its own (the views, the
archiver, retention) is done in this one, so that it can be killed there too.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import trio
from crash.mortal import Tell
from evidence_samples import request, result, session

import gateway.logs
from gateway import archiving
from gateway.__main__ import main
from gateway.authority import Authority
from gateway.evidence import journal, record, standalone
from gateway.evidence.archiver import KEPT, archive
from gateway.evidence.checkpoints import sizes
from gateway.evidence.cosignature import CosignerKey
from gateway.evidence.erasure import archiver_kept_out, unfinished
from gateway.evidence.export_check import check_export
from gateway.evidence.journal import Journal
from gateway.evidence.note import Verifier, parse_note
from gateway.evidence.originals_content import encode_told
from gateway.evidence.reader import opened
from gateway.evidence.regrowth import prove_growth
from gateway.evidence.retention import Term, plan, remove, tidy
from gateway.evidence.sinks import DirectorySink, FileSink
from gateway.evidence.storage import DiskStorage, SystemClock, SystemEntropy
from gateway.evidence.tree import TreeState
from gateway.evidence.unseal import open_originals, read_identity
from gateway.evidence.verify import verify
from gateway.evidence.views import NAME, write_views
from gateway.evidence.witness import Submission
from gateway.evidence.witness_service import WitnessService, make_witness
from gateway.identity.http_server import Request
from gateway.keepers import Errand, Standing, WitnessKeeper
from gateway.logs import Logs, open_logs
from gateway.model import Micros
from gateway.people import People
from gateway.pgwire.notes import OriginalColumn, Originals
from gateway.settings import Settings, load
from gateway.worker.keeping import Keeping
from gateway.worker.sealing import SealingTerms, SessionSealing

FILE_RECORDS = 30
"""Records after which a journal file is closed here."""
LATER = 2 * KEPT
NOTES = 3
FULL = "the record cannot be written: No space left on device"


def _evidence(home: Path) -> Path:
    return home / "state" / "evidence"


def _worker_log(home: Path) -> Path:
    return _evidence(home) / "logs" / "w1"


def _settings(home: Path, *, views: bool = False) -> Settings:
    there = (_evidence(home) / NAME).exists()
    gateway.logs.write_views = _write_views if views or not there else _leave_views  # in this process
    journal.ROTATE_RECORDS = FILE_RECORDS  # type: ignore[misc]
    return load(home / "gateway.toml", {})


def _write_views(evidence: Path) -> None:
    write_views(evidence)


def _leave_views(_: Path) -> None:
    """They are there; that they are written anew at each start is a matter of starts."""


class _Later(SystemClock):
    """The clock of an archiver that runs when the kept journal files' time has come."""

    def now(self) -> Micros:
        return Micros(super().now() + LATER)


@contextlib.contextmanager
def _open(home: Path, tell: Tell, *, views: bool = False) -> Iterator[Logs]:
    with open_logs(_settings(home, views=views), SystemClock(), SystemEntropy(), accept_loss=False) as logs:
        tell("opened", True)
        yield logs


# --- the gateway's own life ----------------------------------------------------------------------------------------


def start(home: Path, tell: Tell, *, views: bool = False) -> None:
    """Start as the supervisor does, and stop: the issuer's keys, the logs, their keys, the views, what was cut."""
    settings, clock, entropy = _settings(home), SystemClock(), SystemEntropy()
    authority = Authority(settings, clock, entropy)
    Keeping(settings.gateway.state_dir, entropy)
    People(settings, authority, clock, entropy)
    with _open(home, tell, views=views):
        storage = DiskStorage()
        with archiver_kept_out(_evidence(home), storage):
            for file in unfinished(_evidence(home), storage):
                tell("finished", file)


def write(home: Path, tell: Tell) -> None:
    """Write two sessions with sealed literals and originals over several journal files."""
    with _open(home, tell) as logs:
        log = logs.worker.journal
        for _ in range(2):
            who = session(f"s-{uuid.uuid4()}")
            tell("session", who.id)
            sealing, n = SessionSealing(SealingTerms(_settings(home).evidence.recipients), SystemEntropy()), 1
            log.append(record.session_start(who))
            for one in range(4):
                sql = "SELECT card FROM payments WHERE card = $masked_1 --" + "x" * (one % 2) * 70_000
                literals = encode_told("literals", {"of": n, "text": f"card = '4000-0000-0000-{one:04}'"})
                for draft in sealing.sealed(who, request(n, sql, who=who), literals):
                    log.append(draft)
                _promise(log, tell)
                column = OriginalColumn("card", ("public.payments.card",), 25, 0, (b"4000-0000-0000-0001", None))
                for draft in sealing.rows(who, Originals(n + 1, n, 0, 1, 2, (column,))):
                    log.append(draft)
                log.append(result(n + 2, n, f"row {one}", who=who))
                _promise(log, tell)
                n += 3
            log.append(record.session_end(who, n=n, reason="client", statements=4, denied=0, held=0, rows=4))
            log.checkpoint()
            logs.control.journal.append(record.access("dana", "a test", "because"))
            _promise(logs.control.journal, tell)


def _promise(log: Journal, tell: Tell) -> None:
    log.flush()
    assert log.head is not None
    tell("promised", [log.log, log.head.seq, log.head.chain])


def resume(home: Path, tell: Tell) -> None:
    """Open both logs anew, as after a disk that was full."""
    logs = Logs(_settings(home), SystemClock(), SystemEntropy(), accept_loss=False)
    for name, lasting in (("control", logs.control), ("w1", logs.worker)):
        lasting.journal.append(record.alarm(None, None, "test", "never written"))
        lasting.journal.broken = FULL
        lasting.journal.close()
        again = logs._open(name, FULL)
        _promise(again, tell)
        again.close()


# --- archiving, retention, erasing ---------------------------------------------------------------------------------


def archive_all(home: Path, tell: Tell) -> None:
    """Close the journal files, archive them, record it, and remove them once their time has come."""
    with _open(home, tell) as logs:
        named = {str(one.log): one.journal for one in logs.all}
        for log in named.values():
            log.rotate()
        for clock in (SystemClock(), _Later()):
            for one in archive(_evidence(home), DiskStorage(), clock):
                told = {key: getattr(one, key) for key in one.__dataclass_fields__ if key != "log"}
                named[str(one.log)].append(record.archive(**told))
                _promise(named[str(one.log)], tell)


def prune(home: Path, tell: Tell, part: str) -> None:
    """Let go of one part of everything archived but the newest, recorded first."""
    storage = DiskStorage()

    async def retention(evidence: Path, asked: Any) -> bytes:
        with storage.lock(evidence / "archive.lock"):
            if "remove" in asked:
                remove(evidence, asked["remove"], storage)
                return b""
            tidy(evidence, storage)
            found = plan(evidence, [Term(**one) for one in asked["terms"]], SystemClock().now(), None)
            return b"".join(_line(one) for one in found)

    archiving._retention = retention
    with _open(home, tell) as logs:
        trio.run(archiving.prune_once, _evidence(home), logs.all, [Term(part, age=1)], None)  # type: ignore[arg-type]


def _line(one: Any) -> bytes:
    import json
    from dataclasses import asdict

    return json.dumps(asdict(one)).encode() + b"\n"


def erase(home: Path, tell: Tell, what: str, which: str) -> None:
    """Erase a session's originals or a record's payload, by the command, while no gateway runs."""
    said = _command("evidence", "erase", "-c", str(home / "gateway.toml"), "--basis", "a test", f"--{what}", which)
    tell("said", said)


def _command(*arguments: str) -> str:
    told, faults = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(faults):
        code = main(arguments)
    said = told.getvalue() + faults.getvalue()
    if code and "already" not in said:
        raise AssertionError(said)
    return said


# --- what leaves the evidence --------------------------------------------------------------------------------------


def export(home: Path, tell: Tell) -> None:
    """Write an export."""
    out = home / "export.duckdb"
    if out.exists():
        report = check_export(out)
        assert report.intact, report.findings
        out.unlink()
    _command("evidence", "export", str(_evidence(home)), str(out))
    report = check_export(out)
    assert report.intact, report.findings


def _notes(home: Path, log: str) -> list[bytes]:
    """The newest checkpoints of a log, the oldest first."""
    place = _evidence(home) / "logs" / log / "checkpoints"
    found = sorted(size for size in sizes(DiskStorage(), place) if size)
    return [(place / f"{size}.note").read_bytes() for size in found[-NOTES:]]


def witness(home: Path, tell: Tell) -> None:
    """Be a witness: make it where there is none, sign what is new, and put its cosignatures into the gateway's log."""
    place, storage = home / "witness", DiskStorage()
    if not (place / "witness.pem").exists():
        make_witness(place, "witness.test/1", storage, SystemEntropy())
        tell("made", True)
    key = CosignerKey.parse((place / "witness.pub").read_text())
    with (
        _open(home, tell) as logs,
        WitnessService.open(
            place, [Verifier.parse((_worker_log(home) / "log.pub").read_text())], storage, SystemClock()
        ) as service,
    ):
        keeper = WitnessKeeper("w", None, key, logs.control, storage)  # type: ignore[arg-type]  it is asked directly
        before = service._witness.latest.get(str(logs.worker.log))
        old = 0 if before is None else before.size
        tell("knew", old)
        for note in _notes(home, "w1"):
            checkpoint, _ = parse_note(note)
            if checkpoint.size <= old:
                continue
            proof = prove_growth(_worker_log(home), old, checkpoint.size) if old else []
            body = Submission(old, tuple(proof), note).encode()
            answer = service.answer(Request("POST", "/add-checkpoint", {}, body))
            assert answer.status == 200, answer
            tell("signed", checkpoint.size)
            errand = Errand(logs.worker, TreeState(0, ()), note, Standing())
            trio.run(keeper._take, errand, answer.body)
            old = checkpoint.size


def sink(home: Path, tell: Tell) -> None:
    """Bring each checkpoint to a file and to a directory."""
    place = home / "sinks"
    place.mkdir(exist_ok=True)
    for note in (*_notes(home, "control"), *_notes(home, "w1")):
        for one in (FileSink(place / "file"), DirectorySink(place / "directory")):
            with contextlib.suppress(OSError):  # a note that was cut stays cut: nothing kept is ever rewritten
                one.take(note)
        tell("kept", parse_note(note)[0].size)


# --- afterwards ----------------------------------------------------------------------------------------------------


def torn(home: Path, tell: Tell) -> None:
    """Leave what a crash in the middle of a write leaves: half of a line."""
    files = sorted((_worker_log(home) / "journal").glob("*.tsv"))
    content = files[-1].read_bytes().rstrip(b"\0")
    files[-1].write_bytes(content + content[: 5 + content.index(b"\n") // 2])


def aftermath(
    home: Path, tell: Tell, promised: list[list[Any]], identity: str | None = None, *, views: bool = False
) -> None:
    """Tell everything that is wrong with the evidence (`wrong`), which both checkers and the views must read.

    `views`: those in the file; they are of this directory, not of one that it is a copy of.
    """
    evidence = _evidence(home)
    _verified(evidence, tell)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        if standalone.main(evidence):
            tell("wrong", f"verify.py: {said.getvalue()}")
    with duckdb.connect(str(evidence / NAME), read_only=True) if views else opened(evidence) as database:
        for name in ("sessions", "statements", "checkpoints"):
            database.execute(f"SELECT * FROM {name}").fetchall()
        rows = database.execute("SELECT log, seq, chain FROM records").fetchall()
        for (why,) in database.execute("SELECT why FROM gaps WHERE NOT contains(why, 'pruned')").fetchall():
            tell("wrong", f"gaps: {why}")
    for log in {row[0] for row in rows}:
        numbers = sorted(row[1] for row in rows if row[0] == log)
        if numbers != list(range(numbers[0], numbers[-1] + 1)):
            tell("wrong", f"records of {log}: {numbers}")
    chains, begins = {(row[0], row[1]): row[2] for row in rows}, {row[0]: row[1] for row in sorted(rows, reverse=True)}
    for log, seq, chain in promised:
        if seq >= begins.get(log, 0) and chains.get((log, seq)) != chain:
            tell("wrong", f"{log}:{seq} was promised, and is {chains.get((log, seq))}")
    if identity is not None:
        with tempfile.TemporaryDirectory() as out:
            for one in open_originals(evidence, Path(out), read_identity(Path(identity))).findings:
                if "it was erased" not in str(one):
                    tell("wrong", f"unseal: {one}")


def end(home: Path, tell: Tell) -> None:
    """Look once more, quickly, and with what a sink kept."""
    kept = home / "sinks" / "file"
    _verified(_evidence(home), tell, quick=True, witness=kept if kept.exists() else None)


def init(home: Path, tell: Tell) -> None:
    """Make a first configuration, by the command; tell what it said."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main(["init", str(home)])
    tell("init", [code, said.getvalue()])


def _verified(evidence: Path, tell: Tell, *, quick: bool = False, witness: Path | None = None) -> None:
    for finding in verify(evidence, quick, witness=witness).findings:
        if finding.grade != "note":
            tell("wrong", f"{'quick ' * quick}verify: {finding}")


STEPS: dict[str, Callable[..., None]] = {
    one.__name__: one
    for one in (
        start, write, resume, archive_all, prune, erase, export, witness, sink, torn, aftermath, end, init,
    )
}  # fmt: skip
