"""Two logs as a busy gateway writes them, for measuring: agents with sessions, statements, answers, masks, approvals.

Written by the gateway's own journal and archiver, so that what is measured is what would be there. The same number of
records gives the same log but for salts. Signs with a key of its own; nothing in it is anybody's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from blake3 import blake3

from gateway.evidence import record
from gateway.evidence.archiver import Archived, archive
from gateway.evidence.journal import Journal
from gateway.evidence.opening import first_records
from gateway.evidence.segments import entries_path
from gateway.evidence.storage import DiskStorage, SystemEntropy
from gateway.evidence.views import write_views
from gateway.model import (
    ApprovalId,
    Decision,
    DecisionKind,
    Draft,
    HoldRequest,
    LogName,
    MaskStyle,
    Micros,
    OperationHash,
    Outcome,
    Principal,
    Quote,
    SessionId,
    SessionInfo,
    Statement,
    Verdict,
    VerdictKind,
    WireProtocol,
)

BEGIN = 1_790_000_000_000_000
"""When the first record is made, in microseconds since 1970."""
STEP = 50_000
"""Microseconds between readings of the clock: ten million records span six days or more."""
STATEMENTS = 60
"""Statements of a session."""
AGENTS = 40
_POLICY = "5f" * 32
_TABLES = ("orders", "customers", "invoices", "payments", "shipments", "stock", "returns", "audit")


class SyntheticClock:
    """A clock that moves on by `STEP` at each reading."""

    def __init__(self) -> None:
        self.at = BEGIN

    def now(self) -> Micros:
        """Return the next moment."""
        self.at += STEP
        return Micros(self.at)

    def monotonic(self) -> int:
        """Return microseconds since boot."""
        return self.at - BEGIN


def write(
    place: Path,
    records: int,
    progress: Callable[[int], None] = lambda _: None,
    archiving: Callable[[Path, DiskStorage, SyntheticClock], Iterable[Archived]] = archive,
) -> Path:
    """Write logs of about `records` records below `place`, archive all but their last files; return the evidence."""
    evidence, storage, clock = place / "evidence", DiskStorage(), SyntheticClock()
    control, log = (
        Journal.open(
            evidence / "logs" / name, LogName(f"gw-1/{name}"), storage, clock, SystemEntropy(), keys=place / "keys"
        )
        for name in ("control", "w1")
    )
    for one in (control, log):
        for draft in first_records(one, "gw-1", "0.1"):
            one.append(draft)
    written, batch, number, flushed = 2, 0, log.number, 0
    for session in _forever(control):
        for draft in session:
            log.append(draft)
            batch += 1
        if batch >= 1024:
            for one in (control, log):
                one.flush()
                one.checkpoint()
            written, batch = written + batch, 0
        if log.number != number:
            number = log.number
            _archive(evidence, archiving(evidence, storage, clock), {one.log: one for one in (control, log)})
        if written // 100_000 != flushed:
            flushed = written // 100_000
            progress(written)
        if written >= records:
            break
    for one in (control, log):
        one.append(record.shutdown("written"))
        one.close()
    write_views(evidence)
    return evidence


def _archive(evidence: Path, found: Iterable[Archived], logs: Mapping[LogName, Journal]) -> None:
    """Record the segments in their logs, and remove their journal files at once instead of after ten minutes."""
    for one in found:
        digests = one.root, one.blake3, one.payload, one.frontier, one.originals
        logs[one.log].append(record.archive(one.segment, one.first, one.last, *digests))
    for log in logs.values():
        log.flush()
    for old in evidence.glob("logs/*/journal/0*.tsv"):
        if int(old.stem) and entries_path(old.parent.parent, int(old.stem)).exists():
            old.unlink()


def _forever(control: Journal) -> Iterator[Iterator[Draft]]:
    number = 0
    while True:
        yield _session(control, number)
        number += 1


def _who(number: int) -> SessionInfo:
    agent = number % AGENTS
    principal = Principal(
        issuer="https://idp.example/realms/prod",
        subject=f"3f2c7a10-agent-{agent:04}",
        token_id=f"b1946ac9-{number:08x}",
        expires=Micros(BEGIN),
        groups=("reporting",),
        owner=f"owner-{agent % 7}",
        development=False,
    )
    return SessionInfo(
        id=SessionId(blake3(number.to_bytes(8, "big")).hexdigest()[:32]),
        principal=principal,
        connection=("orders", "billing", "stock")[agent % 3],
        target="db-1.internal:5432/orders",
        client_address=f"10.0.{agent}.{number % 250}:{40000 + number % 20000}",
        user="app",
        application="psycopg",
        started=Micros(BEGIN),
        target_role="app",
        target_pid=number % 32768,
    )


def _session(control: Journal, number: int) -> Iterator[Draft]:
    who, n, rows, denied, held = _who(number), 0, 0, 0, 0
    yield record.session_start(who)
    for index in range(STATEMENTS):
        place = number * STATEMENTS + index
        random = blake3(place.to_bytes(8, "big")).digest()  # as hard to compress as the real ones
        operation = OperationHash(random.hex())
        asked, n = n + 1, n + 1
        table = _TABLES[place * 7 % 8]
        kind = VerdictKind.DENY if place % 997 == 0 else VerdictKind.MASK if place % 23 == 0 else VerdictKind.ALLOW
        kind = VerdictKind.APPROVE if place % 2003 == 1 else kind
        where = f"id = {place} AND region = 'r{place % 17}'"
        sql = f"SELECT id, status, total FROM public.{table} WHERE {where} ORDER BY id"  # noqa: S608  runs nowhere
        rule = {VerdictKind.DENY: "standard/drop", VerdictKind.APPROVE: "bulk-export"}.get(kind, "standard/select")
        verdict = Verdict(kind, rule, "reads unmarked columns", "select")
        statement = Statement(sql.encode(), WireProtocol.SIMPLE, ())
        approval = ApprovalId(f"a-{place:012x}") if kind is VerdictKind.APPROVE else None
        yield record.request(
            who, n, statement, verdict, _POLICY, operation_hash=operation, approval=approval, touches_marks=False,
            predicate_touch=(f"public.{table}.email",) if place % 5003 == 1 else (),
        )  # fmt: skip
        if kind is VerdictKind.DENY:
            denied += 1
            continue
        if approval is not None:
            held += 1
            times = Micros(BEGIN), Micros(BEGIN + 900_000_000)
            hold = HoldRequest(approval, who, operation, sql, (), "select", rule, "", ("group:oncall",), *times)
            control.append(record.requested(hold))
            said = record.decision(hold, DecisionKind.APPROVED, approver="dana", assurance="oidc", reason="fine")
            quoted = control.append(said)
            n += 1
            control.flush()
            quote = Quote(quoted.log, quoted.seq, quoted.chain)
            made = Decision(approval, DecisionKind.APPROVED, operation, quote=quote)
            yield record.release(who, n, asked, made, operation, _POLICY)
        n += 1
        yield record.result(
            who, n, asked, outcome=Outcome.OK if place % 211 else Outcome.ERROR,
            sqlstate=None if place % 211 else "42P01", message=None, rows=place % 40, bytes_=60 + place % 900,
            duration_us=300 + place * 37 % 5000, masked_columns=("email",) if kind is VerdictKind.MASK else (),
            text=f"{place}\topen\t{place % 1000}.50\n" * (1 + place % 4), truncated=False, digest=random[::-1].hex(),
            salt=random, touches_marks=kind is VerdictKind.MASK,
        )  # fmt: skip
        rows += place % 40
        if kind is VerdictKind.MASK:
            n += 1
            yield record.masked(who, n, asked, "email", (f"public.{table}.email",), MaskStyle.REDACT, place % 40)
        if place % 5003 == 0:
            n += 1
            yield record.alarm(who, n, "mask/disagreement", "RowDescription and lineage differ")
    counts = {"statements": STATEMENTS, "denied": denied, "held": held, "rows": rows}
    yield record.session_end(who, n=n + 1, reason="client left", **counts)
