"""Frozen values that every stage shares.

This module promises plain, immutable values and names from the glossary (docs/architecture.md). It performs no I/O,
reads no clock and imports nothing of ours, so that every stage, the console included, may depend on it.
Times are microseconds since the Unix epoch, UTC (`Micros`), unless a name says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum, StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple, NewType, Protocol, TypeAlias

SessionId = NewType("SessionId", str)
"""Names one agent session; unique across restarts."""
ApprovalId = NewType("ApprovalId", str)
"""Names one held operation."""
OperationHash = NewType("OperationHash", str)
"""Lower-case hex BLAKE3 of what will run (SEMANTICS.md, "Holding")."""
LogName = NewType("LogName", str)
"""Origin of a log: `gw-1/control`, `gw-1/w1`."""
Micros = NewType("Micros", int)
"""Microseconds since the Unix epoch, UTC."""

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""As configuration writes them; Monday is 0."""

Json: TypeAlias = "str | int | bool | None | list[Json] | dict[str, Json]"
"""What an entry or payload may hold: no floats (EVIDENCE.md, "Entry")."""


def format_time(at: Micros) -> str:
    """Return `at` as `YYYY-MM-DDThh:mm:ss.ffffffZ`, the only form in entries and on the control socket."""
    return f"{_second(at // 1_000_000)}.{at % 1_000_000:06d}Z"


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    """Most times that are written within a second are of that second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


class Clock(Protocol):
    """Where time comes from; an argument everywhere, so that tests own it."""

    def now(self) -> Micros:
        """Return the wall clock, UTC."""

    def monotonic(self) -> int:
        """Return microseconds since boot; comparable within one boot only."""


class Entropy(Protocol):
    """Where randomness comes from; an argument everywhere, so that tests own it."""

    def bytes(self, count: int) -> bytes:
        """Return `count` unpredictable bytes."""


class VerdictKind(StrEnum):
    """What policy says of an operation, from mild to strict."""

    ALLOW = "allow"
    MASK = "mask"
    APPROVE = "approve"
    DENY = "deny"

    @property
    def strictness(self) -> int:
        """Order of strictness: the strictest match wins."""
        return list(VerdictKind).index(self)


class Outcome(StrEnum):
    """How a recorded operation ended."""

    OK = "ok"
    ERROR = "error"
    DENIED = "denied"
    REFUSED = "refused"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who an agent proved to be: the verified claims of its access token, never the token itself."""

    issuer: str
    subject: str
    token_id: str
    expires: Micros
    groups: tuple[str, ...] = ()
    owner: str | None = None
    development: bool = False
    issued: Micros | None = None
    client: str | None = None
    """The client that the token was issued to (`azp`)."""
    bound_to: str | None = None
    """The thumbprint of the TLS client certificate that the token is good with alone (`cnf`, `x5t#S256`)."""
    issuer_session: str | None = None
    """The issuer's own session behind the token (`sid`): what a back-channel logout names."""


class MaskStyle(StrEnum):
    """How a masked value looks (INTERFACE.md, "Mask styles")."""

    REDACT = "redact"
    LAST4 = "last4"
    PSEUDONYM = "pseudonym"
    ZERO = "zero"
    NULL = "null"


@dataclass(frozen=True, slots=True)
class Mark:
    """A column marked sensitive. Names are as PostgreSQL folds them: unquoted parts in lower case."""

    schema: str
    relation: str
    column: str
    style: MaskStyle = MaskStyle.REDACT

    def __str__(self) -> str:
        return f"{self.schema}.{self.relation}.{self.column}"


@dataclass(frozen=True, slots=True)
class TargetAddress:
    """Where a target listens; `host` may be a directory that holds a Unix socket."""

    host: str
    port: int
    database: str
    sslmode: str = "prefer"
    sslrootcert: str | None = None

    def __str__(self) -> str:
        return f"{self.host}:{self.port}/{self.database}"


@dataclass(frozen=True, slots=True)
class Hours:
    """A stretch of every week, UTC: `start` to `end` in minutes after midnight of each of `days` (0: Monday).

    The end is not part of it; a stretch whose end is not after its start goes on into the next day.
    """

    days: frozenset[int]
    start: int
    end: int

    def covers(self, at: Micros) -> bool:
        """Say whether the moment `at` lies in it."""
        moment = datetime.fromtimestamp(at // 1_000_000, UTC)
        minute, day = moment.hour * 60 + moment.minute, moment.weekday()
        if self.start < self.end:
            return day in self.days and self.start <= minute < self.end
        return (day in self.days and minute >= self.start) or ((day - 1) % 7 in self.days and minute < self.end)

    def __str__(self) -> str:
        span = "-".join(f"{minute // 60:02}:{minute % 60:02}" for minute in (self.start, self.end))
        days = ",".join(WEEKDAYS[day] for day in sorted(self.days))
        return span if len(self.days) == len(WEEKDAYS) else f"{days} {span}"


@dataclass(frozen=True, slots=True)
class RelationPattern:
    """A relation that a rule names, or all of a schema (`name` None). Names are as PostgreSQL folds them."""

    schema: str
    name: str | None

    def __str__(self) -> str:
        return f"{self.schema}.{self.name if self.name is not None else '*'}"


@dataclass(frozen=True, slots=True)
class ConnectionRule:
    """One `[[connection.rule]]`: every kind of condition that is given must hold, each by any of its values."""

    name: str
    action: VerdictKind
    operations: tuple[str, ...] = ()
    relations: tuple[RelationPattern, ...] = ()
    functions: tuple[str, ...] = ()
    """`schema.function`, or `schema.*`."""
    columns: tuple[Mark, ...] = ()
    hours: tuple[Hours, ...] = ()
    subjects: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    reviewers: tuple[str, ...] = ()
    approvals: int = 1
    """How many of the reviewers must approve; 0: one for each entry of `reviewers`."""
    session: bool = False
    """`approve-session`: a reviewer may let the agent through for a period."""
    effect: bool = False
    """`approve-effect`: it runs first, in a transaction that waits for the decision; milder than `approve`."""
    rows_over: int | None = None
    """It matches only where a subject would read or change more rows than that within `window`; likewise bytes."""
    bytes_over: int | None = None
    window: int = 3_600_000_000
    """Microseconds."""
    replaces: str | None = None
    """The line of the preset that it stands for where it matches."""
    accept_risk: str | None = None
    where: str = ""
    """Where it is written: file and key."""


@dataclass(frozen=True, slots=True)
class ConnectionTest:
    """One `[[connection.test]]`: what the rules should say of a statement."""

    sql: str
    verdict: VerdictKind
    rule: str | None = None
    subject: str = "agent"
    groups: tuple[str, ...] = ()
    at: Micros = Micros(0)
    where: str = ""
    effect: bool = False
    """It is to be held after it ran."""


@dataclass(frozen=True, slots=True)
class Connection:
    """A named way to one target, as configured: who may use it, with which credential, marks and policy.

    `password` is a reference (`env:NAME`, `file:PATH`) or None; the secret itself is fetched at connecting and kept
    nowhere else.
    """

    name: str
    target: TargetAddress
    username: str
    password: str | None
    agents: tuple[str, ...]
    search_path: tuple[str, ...] = ("public",)
    marks: tuple[Mark, ...] = ()
    policy: str = "standard"
    access: str = "read-write"
    statement_timeout: int | None = None
    """Milliseconds that a statement may run at most; the agent may ask for less."""
    hold: str = "wait"
    functions: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    reviewers: tuple[str, ...] = ()
    rules: tuple[ConnectionRule, ...] = ()
    tests: tuple[ConnectionTest, ...] = ()

    def admits(self, principal: Principal) -> bool:
        """Say whether `principal` may connect: `agents` has `any`, `sub:SUBJECT` or `group:GROUP` of its token."""
        allowed = set(self.agents)
        return (
            "any" in allowed
            or f"sub:{principal.subject}" in allowed
            or any(f"group:{group}" in allowed for group in principal.groups)
        )


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """One agent session as the gateway sees it: the identity and path that every record of it carries."""

    id: SessionId
    principal: Principal
    connection: str
    target: str
    client_address: str
    user: str
    application: str
    started: Micros
    target_role: str = ""
    target_pid: int | None = None


@dataclass(frozen=True, slots=True)
class Parameter:
    """One bound value: its type (0: unspecified), wire format (0 text, 1 binary) and bytes; None is NULL."""

    type_oid: int
    format: int
    value: bytes | None


class WireProtocol(StrEnum):
    """By which PostgreSQL sub-protocol a statement came (`statements.protocol`)."""

    SIMPLE = "simple"
    EXTENDED = "extended"


@dataclass(frozen=True, slots=True)
class Statement:
    """What an agent asks to run: exact bytes as sent, and bound parameters once they are known."""

    sql: bytes
    protocol: WireProtocol
    parameters: tuple[Parameter, ...] = ()
    name: str = ""
    """Prepared statement's name in the extended protocol."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Approvals that a held operation needs: by `count` different people, each among `reviewers` (empty: anyone)."""

    reviewers: tuple[str, ...] = ()
    count: int = 1

    def __str__(self) -> str:
        people = ", ".join(self.reviewers) or "anyone who may decide"
        return people if self.count == 1 else f"{self.count} of {people}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What policy decided of a statement, by which rule, and the fact that matched, in one sentence."""

    kind: VerdictKind
    rule: str
    reason: str
    operation: str
    """What the statement does, in the policy's words: `select`, `delete`, `copy-out`, …"""
    hint: str = ""
    would: VerdictKind | None = None
    """Under `observe`: what `standard` would have said."""
    reviewers: tuple[str, ...] = ()
    sqlstate: str = "42501"
    """SQLSTATE of the refusal: 42501, or PostgreSQL's own for a syntax error (then `reason` is PostgreSQL's words)."""
    position: int | None = None
    """Character position of a syntax error, from 1."""
    where: str = ""
    """Where `rule` is written: a preset, or file and key."""
    asks: tuple[Ask, ...] = ()
    """Whose approvals are needed, all of them, each by another person; empty: one, by any of `reviewers`."""
    sessions: tuple[str, ...] = ()
    """Rules with `action = "approve-session"`, where no other rule holds it: a grant for these lets it through."""
    effect: bool = False
    """It is held after it ran, before its answer and its COMMIT: rules with `approve-effect` alone hold it."""


class DecisionKind(Enum):
    """How a hold ended."""

    APPROVED = "approved"
    REFUSED = "refused"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Quote:
    """Names one entry of another log by place and chain hash, so that `verify` can check the order across logs."""

    log: LogName
    seq: int
    chain: str


@dataclass(frozen=True, slots=True)
class Decision:
    """The end of a hold: what was decided, by whom, and the quote of its durable record in the control log."""

    approval: ApprovalId
    kind: DecisionKind
    operation_hash: OperationHash
    approver: str | None = None
    assurance: str | None = None
    reason: str = ""
    quote: Quote | None = None
    receipt: str | None = None
    """SHA-256 of the receipt, lower-case hex."""
    granted: bool = False
    """It is leave for a period, given with another operation of the same agent's."""


@dataclass(frozen=True, slots=True)
class Exact:
    """A statement's text and parameters as they were sent, withheld literals among them: for one look of a reviewer."""

    statement: str = field(repr=False)
    parameters: tuple[str | None, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class RelationEffect:
    """Rows of one relation that an operation and what it set off have changed, by the target's statistics."""

    relation: str
    inserted: int
    updated: int
    deleted: int


@dataclass(frozen=True, slots=True)
class SampledRow:
    """One changed row as text, cut, column by column: before and after; None where it is not there."""

    before: tuple[str | None, ...] | None
    after: tuple[str | None, ...] | None


@dataclass(frozen=True, slots=True)
class Sample:
    """Some rows that an operation has changed. A masked column's values never left the target: they stand as `***`."""

    relation: str
    columns: tuple[str, ...]
    masked: tuple[bool, ...]
    """One for each column."""
    rows: tuple[SampledRow, ...]


@dataclass(frozen=True, slots=True)
class ShownEffect:
    """What an operation did in its transaction, which is not committed: what a person decides about."""

    rows: int | None
    """Rows that it reported, by its command tags; None: it has not, since its rows are fetched in parts."""
    relations: tuple[RelationEffect, ...] | None
    """None: the target does not count them (`track_counts` is off)."""
    more: int = 0
    """Relations that were changed beside those."""
    sample: Sample | None = None
    no_sample: str = ""
    """Why there is none."""
    lasting: tuple[str, ...] = ()
    """What a rollback does not undo."""


@dataclass(frozen=True, slots=True)
class HoldRequest:
    """A worker asks for a person: everything a reviewer needs, and the hash of exactly what will run."""

    approval: ApprovalId
    session: SessionInfo
    operation_hash: OperationHash
    statement: str
    """The statement's text as a reviewer may see it."""
    parameters: tuple[str | None, ...]
    operation: str
    rule: str
    reason: str
    reviewers: tuple[str, ...]
    requested: Micros
    expires: Micros
    relations: tuple[str, ...] = ()
    in_transaction: bool = False
    exact: Exact | None = field(default=None, repr=False)
    """What was sent, where `statement` and `parameters` withhold something of it."""
    asks: tuple[Ask, ...] = ()
    """As of the verdict; `asked` is never empty."""
    policy: str = ""
    """Hash of the policy by which it was held."""
    sessions: tuple[str, ...] = ()
    """As of the verdict: what a reviewer may grant for a period."""
    effect: ShownEffect | None = field(default=None, repr=False)
    """What it did already, where it is held after it ran."""

    @property
    def asked(self) -> tuple[Ask, ...]:
        """Whose approvals are needed."""
        return self.asks or (Ask(self.reviewers),)


@dataclass(frozen=True, slots=True)
class BrokenGlass:
    """Once, `by` approved an operation of `subject`'s in the place of everybody who was missing."""

    approval: ApprovalId
    at: Micros
    by: str
    subject: str
    connection: str
    rule: str


@dataclass(frozen=True, slots=True)
class Impact:
    """What is known of a held operation beside its text, at the moment it was asked about; None: not known."""

    rows: int | None = None
    """Rows that the target's planner expects to come out."""
    changed: int | None = None
    """Rows that it expects to be changed."""
    transaction_ms: int | None = None
    """Age of the transaction that the session has open; None also where none is."""
    writes: bool | None = None
    """That transaction has changed something already."""
    blocks: int | None = None
    """Sessions that wait for it."""
    locks: tuple[tuple[str, str], ...] = ()
    """What it holds: (relation, lock mode)."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """One sealed envelope, and what its record says of it: `oc`, `sc` and `kid` (EVIDENCE.md, "Entry")."""

    content: str
    digest: str
    key: str
    envelope: bytes = field(repr=False)


class Alike(Protocol):
    """What is the same in many drafts."""

    @property
    def fields(self) -> Mapping[str, Json]:
        """The fields that are the same."""

    @property
    def varying(self) -> tuple[str, ...]:
        """The names of those that are not."""


class Draft(NamedTuple):
    """A record before the journal gives it its place.

    `fields` holds what the kind needs beyond the session's own fields; built only by `gateway.evidence.record`.
    `payload` is stored beside the entry and committed to by `pc`; `salt` is given where a digest was keyed with it
    before the record was complete. `seal` makes the envelope that belongs to the record, from log and sequence number;
    `wrapped` is the session's wrapped key, where this record tells of it. Both are on disk before the record is.
    A `form` holds the rest of the fields where many records have them alike; a payload of bytes is in canonical form
    already.
    """

    kind: str
    session: SessionInfo | None = None
    n: int | None = None
    fields: Mapping[str, Json] = MappingProxyType({})
    payload: Mapping[str, Json] | bytes | None = None
    salt: bytes | None = None
    form: Alike | None = None
    seal: Callable[[LogName, int], Sealed] | None = None
    wrapped: bytes | None = None

    def __repr__(self) -> str:
        return f"<Draft {self.kind} n={self.n}>"
