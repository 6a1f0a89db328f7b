"""Sessions, records and small journals for the evidence tests."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from evidence_double import CountedEntropy, DoubleStorage, StepClock

from gateway.evidence import record
from gateway.evidence.findings import Report
from gateway.evidence.following import Following
from gateway.evidence.journal import Journal
from gateway.evidence.note import Checkpoint, Signer
from gateway.evidence.segments import journal_path, numbers_in
from gateway.evidence.sources import journal_lines
from gateway.evidence.storage import DiskStorage
from gateway.evidence.verify import verify
from gateway.model import (
    ApprovalId,
    Draft,
    LogName,
    Micros,
    Outcome,
    Parameter,
    Principal,
    SessionId,
    SessionInfo,
    Statement,
    Verdict,
    VerdictKind,
    WireProtocol,
)

CONTROL, WORKER = LogName("gw-1/control"), LogName("gw-1/w1")
POLICY = "p" * 64


def session(sid: str = "s-1", **changes: object) -> SessionInfo:
    principal = Principal(
        issuer="http://issuer.test/realms/hoop",
        subject="agent-7",
        token_id="token-1",
        expires=Micros(1_767_229_200_000_000),
        groups=("reporting",),
        owner="dana",
        development=True,
    )
    values: dict[str, object] = {
        "id": SessionId(sid),
        "principal": principal,
        "connection": "orders",
        "target": "db.test:5432/orders",
        "client_address": "127.0.0.1:40000",
        "user": "whoever",
        "application": "psql",
        "started": Micros(1_767_225_600_000_000),
        "target_role": "app",
        "target_pid": 4242,
    }
    return SessionInfo(**{**values, **changes})  # type: ignore[arg-type]


def statement(sql: str = "SELECT 1", *parameters: Parameter) -> Statement:
    return Statement(sql.encode(), WireProtocol.EXTENDED if parameters else WireProtocol.SIMPLE, parameters)


def verdict(kind: VerdictKind = VerdictKind.ALLOW) -> Verdict:
    return Verdict(kind, "standard/select", "reads unmarked columns", "select")


def request(
    n: int,
    sql: str = "SELECT 1",
    *parameters: Parameter,
    who: SessionInfo | None = None,
    kind: VerdictKind = VerdictKind.ALLOW,
    approval: ApprovalId | None = None,
) -> Draft:
    return record.request(
        who or session(),
        n,
        statement(sql, *parameters),
        verdict(kind),
        POLICY,
        operation_hash="ab" * 32,
        approval=approval,
        touches_marks=False,
    )


def result(n: int, of: int, text: str = "1", *, who: SessionInfo | None = None, rows: int = 1) -> Draft:
    return record.result(
        who or session(),
        n,
        of,
        outcome=Outcome.OK,
        sqlstate=None,
        message=None,
        rows=rows,
        bytes_=len(text),
        duration_us=250,
        masked_columns=(),
        text=text,
        truncated=False,
        digest="cd" * 32,
        salt=bytes(range(32)),
        touches_marks=False,
    )


def open_journal(evidence: Path, log: LogName = WORKER, storage: DiskStorage | None = None, **options: bool) -> Journal:
    """Open a log below `evidence` on the double with a clock that rises, also over restarts."""
    directory = evidence / "logs" / log.rpartition("/")[2]
    clock = StepClock(step=1)
    clock.at += sum(path.stat().st_size for path in directory.glob("journal/*"))
    return Journal.open(directory, log, storage or DoubleStorage(), clock, CountedEntropy(), **options)


def fill(evidence: Path, count: int = 3) -> None:
    """Write a log with one whole session of `count` statements."""
    journal = open_journal(evidence)
    journal.append(record.start("gw-1", "0.1"))
    journal.append(record.session_start(session()))
    for index in range(count):
        journal.append(request(2 * index + 1, f"SELECT {index}"))
        journal.append(result(2 * index + 2, 2 * index + 1, f"row {index}"))
    end = record.session_end(
        session(), n=2 * count + 1, reason="client left", statements=count, denied=0, held=0, rows=count
    )
    journal.append(end)
    journal.append(record.shutdown("asked to"))
    journal.close()


def journal_file(evidence: Path, number: int = 1, log: str = "w1") -> Path:
    return evidence / "logs" / log / "journal" / f"{number:08}.tsv"


def sign(evidence: Path) -> Path:
    """Sign each log without a key as it stands now, whatever became of it: what is found then is the log's own fault.

    Again after it changed; a log with a key of its own keeps it.
    """
    for directory in sorted((evidence / "logs").glob("*")):
        key = Ed25519PrivateKey.from_private_bytes(sha256(directory.name.encode()).digest())
        state = Following(directory)
        for number in numbers_in(directory)[1]:
            for raw, whole in journal_lines(journal_path(directory, number)):
                if whole:
                    state.line(raw)
        signer, public, notes = Signer(f"gw-1/{directory.name}", key), directory / "log.pub", directory / "checkpoints"
        foreign = public.read_text() != f"{signer.verifier}\n" if public.exists() else any(notes.glob("[1-9]*.note"))
        if foreign or not state.expected:
            continue
        notes.mkdir(exist_ok=True)
        for path in notes.glob("[1-9]*.note"):
            path.unlink()
        public.write_text(f"{signer.verifier}\n")
        note = signer.sign(Checkpoint(signer.verifier.name, state.expected, state.tree.root))
        (notes / f"{state.expected}.note").write_bytes(note)
    return evidence


def verify_signed(evidence: Path, quick: bool = False, **options: Any) -> Report:
    """Sign what nobody signed, then check it."""
    return verify(sign(evidence), quick, **options)
