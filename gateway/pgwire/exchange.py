"""What the two sides of one session share: the queue of answers owed, names, transaction status, and the actions.

Only `Session` makes one; only `ClientSide` and `TargetSide` change it. It keeps the counter `n` of the session's
records and builds the note that ends an operation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gateway.model import Entropy, Outcome, Statement
from gateway.pgwire.actions import (
    Action,
    CatalogChanged,
    Close,
    Counts,
    Limits,
    Record,
    SendToClient,
    SendToTarget,
    Token,
)
from gateway.pgwire.answer import Collector
from gateway.pgwire.flight import Flight, Operation
from gateway.pgwire.judgement import Judgement, Names
from gateway.pgwire.names import NameTable
from gateway.pgwire.notes import Alarm
from gateway.pgwire.spool import Spool, notified


@dataclass(frozen=True, slots=True)
class Held:
    """The operation that waits for a person."""

    token: Token
    n: int
    touches_marks: bool
    ran: bool = False
    """It ran already, and what it did is rolled back with the session: it cannot outlive it."""


@dataclass(slots=True)
class Exchange:
    """State of one session after login; `monotonic` returns microseconds."""

    limits: Limits
    entropy: Entropy
    salt: Callable[[], bytes]
    """Draws the salt of a record."""
    monotonic: Callable[[], int]
    pinned: Mapping[str, str]
    """ParameterStatus values that must never change."""
    marked: bool = False
    """Some column of the connection is marked: what others put into notifications may hold its values."""
    judge: Callable[[Statement, Names], Judgement | None] | None = None
    """Policy, at once and without a question; None of both kinds: ask by `Analyse`."""
    actions: list[Action] = field(default_factory=list)
    flight: Flight = field(default_factory=Flight)
    names: NameTable = field(default_factory=NameTable)
    status: bytes = b"I"
    tainted: bool = False
    """A marked relation was in reach earlier in this transaction: its errors are scrubbed to the end."""
    redefined: bool = False
    """A statement that may change definitions was forwarded, and its transaction is not known to have ended."""
    wrote: bool = False
    """This transaction wrote something: what it sets off, perhaps at its end, may print rows of marked relations."""
    skip_until_sync: bool = False
    """As after an error: everything up to Sync is dropped."""
    segment_dirty: bool = False
    """Something was forwarded in the extended protocol since the last Sync."""
    copy_in: Operation | None = None
    cancelling: bool = False
    stopping: bool = False
    """Nothing more is taken from the client: the session is about to be cut."""
    held: Held | None = None
    closed: bool = False
    told: list[tuple[bytes | None, ...]] = field(default_factory=list)
    """Rows of the target's answer to a statement of the gateway's own."""
    spool: Spool | None = None
    """What is kept from the agent until a person has decided; None: everything goes out."""
    waits: bool = True
    """The agent waits for decisions: a statement may run before one and be held."""
    last: Operation | None = None
    """The operation that answered last: a failing commit at Sync is its error."""
    _n: int = 0
    _counted: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    _to_client: list[bytes] = field(default_factory=list)
    _to_target: list[bytes] = field(default_factory=list)
    _ending: str | None = None
    _told: bool = False

    @property
    def in_flight(self) -> int | None:
        """The request that the target works on; where a commit is all it does, the one that answered last."""
        head = self.flight.head
        if head is not None and head.preparing is not None:
            return head.preparing.n
        if head is not None and head.operation is not None:
            return head.operation.n
        return self.last.n if self.last is not None else None

    def next_n(self) -> int:
        """Return the next number of a record of this session; 0 is the session's start."""
        self._n += 1
        return self._n

    def to_client(self, data: bytes) -> None:
        """Send to the agent, behind all that is to be recorded in this turn."""
        self._to_client.append(data)

    def to_target(self, data: bytes) -> None:
        """Send to the target, behind all that is to be recorded in this turn."""
        self._to_target.append(data)

    def take(self) -> list[Action]:
        """Return what is to be done, and begin anew: notes and questions in their order, then what is sent."""
        actions, self.actions = self.actions, []
        if self._to_target:
            actions.append(SendToTarget(b"".join(self._to_target)))
            self._to_target = []
        if self.spool is not None:
            self.spool.count(self._to_client)
        elif self._to_client:
            actions.append(SendToClient(b"".join(self._to_client)))
            self._to_client = []
        if self._ending is not None and not self._told:
            self._told = True
            actions.append(Close(self._ending))
        return actions

    def keep_back(self) -> None:
        """Keep from the agent what is sent to it from now on, until `let_out` or `throw_away`."""
        if self._to_client:
            self.actions.append(SendToClient(b"".join(self._to_client)))
            self._to_client = []
        self.spool = Spool(self.limits.spool)

    def let_out(self) -> None:
        """Send what was kept back, and whatever comes from now on."""
        self.spool = None

    def throw_away(self) -> None:
        """Forget what was kept back, but what others notified: it was not this operation's."""
        if self.spool is not None:
            self._to_client = notified(b"".join(self._to_client))
            self.spool = None

    def tell_now(self, data: bytes) -> None:
        """Send to the agent in spite of what is kept back."""
        if self.spool is None:
            self.to_client(data)
        else:
            self.actions.append(SendToClient(data))

    def alarm(self, alarm: str, detail: str) -> None:
        """Record an alarm."""
        self.actions.append(Record(Alarm(self.next_n(), alarm, detail), wait=False))

    def close(self, reason: str) -> None:
        """End the session once; later bytes are ignored."""
        if not self.closed:
            self.closed = True
            if self.redefined:
                self.actions.append(CatalogChanged())
            self._ending = reason

    def collector(self) -> Collector:
        """Start collecting an answer."""
        return Collector(self.salt, self.limits.payload, self.monotonic())

    def operation(self, n: int, statement: Statement, judgement: Judgement, portal: bytes | None = None) -> Operation:
        """Start an operation that is about to be forwarded."""
        if judgement.touches_marks:
            self.tainted = True
        if judgement.writes:
            self.wrote = True
        if judgement.changes_catalog:
            self.redefined = True
        return Operation(n, statement, judgement, self.collector(), portal)

    def committed(self) -> None:
        """No transaction is open: definitions changed in it are what the catalog shows now, whatever the outcome."""
        if not self.redefined:
            return
        pending = (entry.operation for entry in self.flight)
        if not any(each is not None and each.judgement.changes_catalog for each in pending):
            self.redefined = False
            self.actions.append(CatalogChanged())

    def replaced(self, portal: bytes) -> None:
        """A portal is gone, if there was one: what ran in it has ended."""
        for earlier in self.names.unbound(portal):
            self.end(earlier, Outcome.OK)

    def idle(self) -> None:
        """No transaction is open at the target any more."""
        flight = self.flight
        self.tainted = flight.touching > 0
        self.wrote = self.wrote and any(
            entry.operation is not None and entry.operation.judgement.writes for entry in flight
        )
        for operation in self.names.transaction_ended():
            self.end(operation, Outcome.OK)
        self.committed()

    def view(self, status: str) -> Names:
        """Return what a judgement may see of the session's state."""
        return self.names.view(status, redefined=self.redefined)

    def count(self, *, statements: int = 0, denied: int = 0, held: int = 0, rows: int = 0) -> None:
        """Add to the session's counts."""
        counted = self._counted
        counted[0] += statements
        counted[1] += denied
        counted[2] += held
        counted[3] += rows

    @property
    def counts(self) -> Counts:
        """What the session did so far."""
        return Counts(*self._counted)

    def end(self, operation: Operation, outcome: Outcome) -> None:
        """Record how an operation ended, once."""
        if operation.ended:
            return
        operation.ended = True
        guard = operation.judgement.guard
        if outcome is Outcome.OK and guard is not None and guard.effect is not None and not operation.approved:
            outcome = Outcome.CANCELLED  # bound, and never executed
        self._counted[3] += operation.collector.rows
        self.answer(operation.n, operation.collector, outcome, touches_marks=operation.judgement.touches_marks)
        self.last = operation

    def answer(self, of: int, collector: Collector, outcome: Outcome, *, touches_marks: bool) -> None:
        """Record an answer, before the message that ends the operation; durable with the next group."""
        note = collector.answer(self.next_n, of, outcome, self.monotonic(), touches_marks=touches_marks)
        self.actions.append(Record(note, wait=False))
