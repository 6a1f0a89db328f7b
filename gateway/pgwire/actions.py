"""What a session asks its driver to do, and what it is told: frozen values between the state machine and the I/O.

The machine never waits and never does I/O. A driver performs the actions in the order in which they came:
whatever stands after a `Record` that must be durable may leave the process only once that record is on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, NewType, Protocol, TypeAlias

from gateway.approval.operation_hash import Definition
from gateway.model import (
    Decision,
    OperationHash,
    Outcome,
    Parameter,
    ShownEffect,
    Statement,
    Verdict,
    VerdictKind,
)
from gateway.pgwire.backend import ColumnDescription, Report
from gateway.policy.literals import ALL, Literals

if TYPE_CHECKING:
    from gateway.masking.carried import Carried
    from gateway.masking.copy_out import CopyOut
    from gateway.policy.effects import EffectPlan

Token = NewType("Token", int)
"""Names one question of the machine; its answer comes by `Session.resume(token, …)`."""


class Source(Enum):
    """Which side of the session bytes came from."""

    CLIENT = "client"
    TARGET = "target"


# --- what policy says to the wire -------------------------------------------------------------------------------


class Replacement(Protocol):
    """How one output column is masked: `replacement` stands in for every value but NULL; None makes it NULL."""

    @property
    def column_name(self) -> str:
        """Name of the output column."""

    @property
    def source_columns(self) -> tuple[str, ...]:
        """The marked columns it may be made of."""

    @property
    def style(self) -> str:
        """The mask style."""

    @property
    def replacement(self) -> bytes | None:
        """What stands in for every value."""

    @property
    def rewrite(self) -> Callable[[bytes], bytes | None] | None:
        """Makes what stands in for a value from that value; None: `replacement` does, for all of them."""

    @property
    def guard(self) -> Callable[[bytes, bytes], bytes | None] | None:
        """Set for a column that is not masked but watched.

        Given a value and what the agent itself sent, it returns that value where it may pass, else what stands in.
        """


class Plan(Protocol):
    """The masked columns of one result: a `Replacement` or None for each column, in order."""

    @property
    def columns(self) -> tuple[Replacement | None, ...]:
        """One for each column of the result."""

    @property
    def disagreement(self) -> str:
        """Where the target names a marked column that lineage called clean: what to tell people."""


class Planner(Protocol):
    """Makes the mask plan of one result from its RowDescription; pure."""

    def __call__(self, index: int, row: tuple[ColumnDescription, ...], *, encoding: str = "utf-8") -> Plan:
        """Plan the result of statement `index` (from 0) of the string, whose values are in `encoding`."""


@dataclass(frozen=True, slots=True)
class Columns:
    """A plan made of two."""

    columns: tuple[Replacement | None, ...]
    disagreement: str = ""


def _stricter(first: Replacement | None, second: Replacement | None) -> Replacement | None:
    """Return the one that shows less: masked before watched, whole before a part of the value."""
    given = [each for each in (first, second) if each is not None]
    return min(given, key=lambda each: (each.guard is not None, each.rewrite is not None), default=None)


@dataclass(frozen=True, slots=True)
class Stricter:
    """A planner that masks what either of two masks."""

    one: Planner
    other: Planner

    def __call__(self, index: int, row: tuple[ColumnDescription, ...], *, encoding: str = "utf-8") -> Plan:
        """Plan the result by both."""
        one, other = (planner(index, row, encoding=encoding) for planner in (self.one, self.other))
        both = zip(one.columns, other.columns, strict=True)
        return Columns(
            tuple(_stricter(first, second) for first, second in both), one.disagreement or other.disagreement
        )


class Scanner(Protocol):
    """Looks through COPY data from the client."""

    def feed(self, data: bytes) -> str:
        """Take data; return the marked column that would receive a masked value, or the empty text."""


Scan: TypeAlias = Callable[[], Scanner]


@dataclass(frozen=True, slots=True)
class Prepared:
    """PREPARE succeeded, or is to: `name` stands for `sql`."""

    name: str
    sql: bytes


@dataclass(frozen=True, slots=True)
class Declared:
    """DECLARE succeeded, or is to: cursor `name` reads `sql`; `hold`: it outlives its transaction."""

    name: str
    sql: bytes
    hold: bool = False


@dataclass(frozen=True, slots=True)
class Deallocated:
    """DEALLOCATE of one prepared statement; None: of all."""

    name: str | None


@dataclass(frozen=True, slots=True)
class Closed:
    """CLOSE of one cursor; None: of all."""

    name: str | None


NameEffect: TypeAlias = Prepared | Declared | Deallocated | Closed


COUNTED = "counted"
"""Stands in the reason of a bound's verdict for what the count is to say."""


class Meter(Protocol):
    """Counts what passes, over all sessions of a subject, under the rules that limit it."""

    def take(self, rows: int, size: int) -> Verdict | None:
        """Count rows and bytes that are about to pass; where they may not, count nothing and return the refusal."""


@dataclass(frozen=True, slots=True)
class Bound:
    """Statement `index` of the string may change `rows` rows; over that, `verdict` says what it is."""

    index: int
    rows: int
    verdict: Verdict
    relations: tuple[int, ...] = ()
    """Where no command tag counts them: the relations (oids) whose statistics do."""

    def refusal(self, changed: int | None) -> Verdict:
        """Return the refusal of a statement that changed so many rows; None: that cannot be counted."""
        what = "the rows it changed cannot be counted" if changed is None else f"it changed {changed} rows"
        said = self.verdict.reason.rstrip(".").removesuffix(f": {COUNTED}")
        reason = f"{said}: {what}, and {self.rows} is the most that restricts."
        return replace(self.verdict, kind=VerdictKind.DENY, reason=reason)


@dataclass(frozen=True, slots=True)
class Guard:
    """What is counted while an operation runs and before it may be committed."""

    bounds: tuple[Bound, ...] = ()
    """By command tag."""
    counts: tuple[Bound, ...] = ()
    """By the target's statistics."""
    meter: Meter | None = None
    wraps: bool = False
    """Outside a transaction a simple query must run inside one of the gateway's."""
    writes: bool = False
    """It changes rows that the meter counts."""
    effect: EffectPlan | None = None
    """A person decides after it ran: its answer and its COMMIT wait."""

    @property
    def changes(self) -> bool:
        """Whether what it changes is counted."""
        return bool(self.bounds or self.counts or self.writes)

    def in_parts(self) -> Verdict:
        """Return the refusal of a portal whose rows are asked for in parts."""
        for bound in (*self.bounds, *self.counts):
            said = bound.verdict.reason.rstrip(".").removesuffix(f": {COUNTED}")
            reason = f"{said}: fetched in parts, the rows it changes cannot be counted."
            return replace(bound.verdict, kind=VerdictKind.DENY, reason=reason, hint="Fetch all its rows at once.")
        reason = "Fetched in parts, the rows it changes cannot be counted."
        return Verdict(VerdictKind.DENY, "gateway/in-parts", reason, "write", hint="Fetch all its rows at once.")


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the wire must know of a judged statement."""

    verdict: Verdict
    policy_hash: str
    touches_marks: bool = False
    """A marked relation is in reach: errors are scrubbed, notices dropped, results planned afresh."""
    marks_in_reach: tuple[str, ...] = ()
    predicate_touch: tuple[str, ...] = ()
    relations: tuple[str, ...] = ()
    definitions: tuple[Definition, ...] = ()
    """What its names resolved to, where a person has to decide."""
    planner: Planner | None = None
    """None: the connection has no marks, results pass untouched."""
    writes: bool = False
    """It writes a relation: triggers and foreign keys' actions may read, and print, others that it does not name."""
    copy_in: bool = False
    copy_out: bool = False
    copies: tuple[tuple[int, CopyOut], ...] = ()
    """COPY … TO STDOUT with a marked column in reach: (index of the statement in the string, what is known of it)."""
    copy_into: tuple[tuple[int, Scan], ...] = ()
    """COPY … FROM STDIN into marked columns: (index, what makes a scanner of its data)."""
    carries: tuple[Carried, ...] = ()
    """Columns that receive values of marked ones: they are marked before it is forwarded."""
    depends_on_values: bool = False
    """Its parameters may hold masked values."""
    depends_on_state: bool = False
    """EXECUTE, FETCH and the like: judged again once the session is quiet, since names may still change."""
    effects: tuple[tuple[int, NameEffect], ...] = ()
    """What succeeds with statement `index` of the string: (index, effect)."""
    changes_catalog: bool = False
    guard: Guard | None = None
    epoch: int = 0
    """The catalog's epoch that it was judged in."""
    literals: Literals = ALL
    """What of its literals and parameters must not be recorded in clear: all, where nobody read it."""
    alarm: str = ""
    """What became an alarm while judging: a parser died, a deadline passed."""
    plain: bool = field(init=False, compare=False)
    """Nothing but its verdict, its planner and what it writes is to be heeded: no mark, name, state, guard or COPY."""

    def __post_init__(self) -> None:
        heeded = (
            self.touches_marks, self.copy_in, self.copy_out, self.copies, self.copy_into, self.carries,
            self.depends_on_values, self.depends_on_state, self.effects, self.changes_catalog, self.guard, self.alarm,
        )  # fmt: skip
        object.__setattr__(self, "plain", not any(heeded))


@dataclass(frozen=True, slots=True)
class Names:
    """The session's state that a statement may refer to, at the moment of judging."""

    prepared: Mapping[str, bytes]
    cursors: Mapping[str, bytes]
    status: str
    """Transaction status: I, T or E."""
    redefined: bool = False
    """A definition was changed in this transaction: the catalog, which others read, does not show it yet."""
    epochs: frozenset[int] = frozenset()
    """Those of the cursors that were declared with marked columns in reach: what they hold was read then."""


# --- notes: what is to be recorded ------------------------------------------------------------------------------


class Preparation(NamedTuple):
    """A Parse is about to be forwarded."""

    n: int
    statement: Statement
    judgement: Judgement


class Request(NamedTuple):
    """A statement is about to be forwarded (Query, Bind), or was denied."""

    n: int
    statement: Statement
    judgement: Judgement


class Execution(NamedTuple):
    """An Execute of the portal that request `of` made is about to be forwarded."""

    n: int
    of: int
    max_rows: int


@dataclass(frozen=True, slots=True)
class CopyChunk:
    """COPY data of request `of`, whole CopyData messages of at most 256 KiB, is about to be forwarded."""

    n: int
    of: int
    data: bytes
    touches_marks: bool
    withheld: bool = False
    """It holds a marked column: it must not be recorded in clear."""


@dataclass(frozen=True, slots=True)
class MaskedColumn:
    """One masked output column of a result and how many values of it were replaced."""

    n: int
    column_name: str
    source_columns: tuple[str, ...]
    style: str
    values: int
    sealed: int = 0
    """Of so many of them the originals were kept, sealed."""


@dataclass(frozen=True, slots=True)
class OriginalColumn:
    """The originals of one masked column over a stretch of rows, as the target sent them; None is NULL."""

    column_name: str
    source_columns: tuple[str, ...]
    type_oid: int
    format: int
    values: tuple[bytes | None, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Originals:
    """A stretch of masked rows of request `of`, rows `first` to `last` of result `index`: what is to be sealed."""

    n: int
    of: int
    index: int
    first: int
    last: int
    columns: tuple[OriginalColumn, ...]


class Answer(NamedTuple):
    """How request `of` ended, and what the agent was sent; `digest` is keyed with `salt` over all its wire bytes."""

    n: int
    of: int
    outcome: Outcome
    sqlstate: str | None
    message: str | None
    rows: int
    size: int
    duration_us: int
    masked: tuple[MaskedColumn, ...]
    text: str
    truncated: bool
    digest: str
    salt: bytes
    touches_marks: bool


@dataclass(frozen=True, slots=True)
class Cancellation:
    """The client asked to cancel; `of` is the request in flight or held, None if there was none."""

    n: int
    of: int | None
    forwarded: bool


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that a person should look at."""

    n: int
    alarm: str
    detail: str


Note: TypeAlias = Preparation | Request | Execution | CopyChunk | Originals | Answer | Cancellation | Alarm


# --- actions ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SendToClient:
    """Bytes for the agent."""

    data: bytes


@dataclass(frozen=True, slots=True)
class SendToTarget:
    """Bytes for the target."""

    data: bytes


class Record(NamedTuple):
    """A note for the journal; `wait`: what follows leaves only once it is durable."""

    note: Note
    wait: bool = True


@dataclass(frozen=True, slots=True)
class Analyse:
    """Judge a statement; answer with a `Judgement`."""

    token: Token
    statement: Statement
    names: Names


@dataclass(frozen=True, slots=True)
class Hold:
    """Ask a person; answer with `Granted` or `Refused`. The driver records the request and the release."""

    token: Token
    n: int
    statement: Statement
    judgement: Judgement
    names: Names
    effect: ShownEffect | None = None
    """What it did, where it was announced and ran."""


@dataclass(frozen=True, slots=True)
class Announce:
    """A statement is about to run whose effect a person is to see: record the request, with its hash and approval.

    What follows leaves only once that is on disk.
    """

    n: int
    statement: Statement
    judgement: Judgement
    names: Names


@dataclass(frozen=True, slots=True)
class OwnStatement:
    """A statement of the gateway's own around such a one, of request `of`: record it; what follows waits for that."""

    n: int
    of: int
    sql: bytes


@dataclass(frozen=True, slots=True)
class ReadBefore:
    """Read, on a session that does not see what request `of` did, rows that it changed; answer with `Before`."""

    token: Token
    n: int
    of: int
    sql: bytes
    parameters: tuple[Parameter, ...]
    settings: tuple[tuple[str, str], ...]
    """Settings of the agent's session by which values become text."""


@dataclass(frozen=True, slots=True)
class Before:
    """Rows as they were; None: they cannot be read."""

    rows: tuple[tuple[str | None, ...], ...] | None


@dataclass(frozen=True, slots=True)
class Renew:
    """Go on with a new access token; answer with `Renewed` or `Refused`. The repr hides the token."""

    token: Token
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class EndHold:
    """The held operation is no longer wanted: cancelled by the client, or a side is gone."""

    token: Token
    cause: str
    gone: bool = False
    """The client merely hung up: the request may linger."""


@dataclass(frozen=True, slots=True)
class CancelTarget:
    """Cancel what the target runs now, then call `Session.cancel_delivered()`."""


@dataclass(frozen=True, slots=True)
class CatalogChanged:
    """A statement that may have changed the catalog succeeded."""


@dataclass(frozen=True, slots=True)
class Close:
    """The session is over; send what is queued, then close both sides."""

    reason: str


Action: TypeAlias = (
    SendToClient
    | SendToTarget
    | Record
    | Analyse
    | Hold
    | Announce
    | OwnStatement
    | ReadBefore
    | Renew
    | EndHold
    | CancelTarget
    | CatalogChanged
    | Close
)


@dataclass(frozen=True, slots=True)
class Granted:
    """A held operation may run: its release is durable, and it was judged again just now."""

    judgement: Judgement
    decision: Decision
    executed_hash: OperationHash


@dataclass(frozen=True, slots=True)
class Refused:
    """A held operation must not run; `report` is what the agent is told."""

    outcome: Outcome
    report: Report


@dataclass(frozen=True, slots=True)
class Renewed:
    """The session goes on with the new token; `words` are what the agent is told."""

    words: str


@dataclass(frozen=True, slots=True)
class Counts:
    """What a session did, for its end record and for lists."""

    statements: int = 0
    denied: int = 0
    held: int = 0
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one session; sizes in bytes."""

    statement: int = 1 << 20
    message: int = (64 << 20) + 1024
    copy_chunk: int = 256 << 10
    payload: int = 64 << 10
    flight: int = 256
    """Answers that the target may owe: before more is forwarded, these are awaited."""
    turn: int = 64
    """Messages taken from the client before other sessions have their turn."""
    names: int = 4096
    """Prepared statements, portals and cursors together: whoever wants more closes some first."""
    names_size: int = 64 << 20
    """Bytes of their texts and parameters, likewise."""
    spool: int = 8 << 20
    """Bytes of an answer that is kept back while a person decides about it."""
    sampled: int = 5
    """Rows that a person is shown of it."""
    originals: int | None = 0
    """Rows of each result whose originals are kept; None: of all."""
