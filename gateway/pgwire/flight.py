"""What the target still owes: one entry for each forwarded message that is answered, in order.

The queue attributes every backend message to the operation that caused it. Answers of the gateway's own stand in the
same queue, so that a refusal in a pipeline is told after the results of what came before it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

from gateway.masking.copying import Copier
from gateway.model import Statement, Verdict
from gateway.pgwire.actions import Refused
from gateway.pgwire.answer import Collector
from gateway.pgwire.backend import ColumnDescription, Report
from gateway.pgwire.judgement import Judgement, Names, Plan


class Await(Enum):
    """Which message of ours the target is to answer."""

    __hash__ = object.__hash__  # Enum's own is a call in Python for each look into a dictionary

    QUERY = auto()
    PARSE = auto()
    BIND = auto()
    DESCRIBE = auto()
    EXECUTE = auto()
    CLOSE = auto()
    SYNC = auto()
    ABORT = auto()
    """The gateway's own Execute of a portal that does not exist; answered by 34000 and never shown."""
    OWN = auto()
    """A statement of the gateway's around a guarded operation (`name`: its text, or what is counted); never shown."""


@dataclass(slots=True)
class Operation:
    """One recorded request on its way: a Query, or a portal from Bind to its end."""

    n: int
    statement: Statement
    judgement: Judgement
    collector: Collector
    portal: bytes | None = None
    index: int = 0
    """Which statement of the string answers now."""
    columns: tuple[ColumnDescription, ...] = ()
    plan: Plan | None = None
    """Set only where some column of the present result is masked."""
    described: bool = False
    copying_out: bool = False
    copier: Copier | None = None
    """Rewrites the COPY data that the target sends; None: nothing of it is masked."""
    refusal: Report | None = None
    """What the agent is told instead of the target's error: the gateway made its COPY fail."""
    inner: tuple[ColumnDescription, ...] = ()
    """What the target said of the query within a COPY."""
    seen: int = 0
    """Rows of the present statement so far."""
    row: int = 0
    """The last masked row of the present result, from 1, over all its parts."""
    names: Names | None = None
    """What the names meant when it was judged; kept where it depends on them."""
    disputed: bool = False
    """RowDescription named marked columns where the statement read clean."""
    own: bytes = b""
    """What the agent itself sent, where columns are masked or watched."""
    tripped: bool = False
    """A value was replaced where no vote but its pattern masked it."""
    failed: bool = False
    ended: bool = False
    stopped: Verdict | None = None
    """Why a guard stopped it: nothing more of its answer leaves, the refusal stands in its place."""
    refused: Refused | None = None
    """It ran, and nobody approved what it did: it is rolled back, and this is what the agent is told."""
    approved: bool = False
    """It ran, and what it did was approved."""
    withheld: bytes = b""
    """Its last CommandComplete, until a guard lets it go."""


@dataclass(slots=True)
class Preparing:
    """A Parse on its way: on success the name stands for the statement."""

    n: int
    name: bytes
    statement: Statement
    types: tuple[int, ...]
    judgement: Judgement
    collector: Collector


@dataclass(slots=True)
class Expected:
    """One answer owed. `hidden`: the message was the gateway's own, its answer is swallowed."""

    kind: Await
    operation: Operation | None = None
    preparing: Preparing | None = None
    name: bytes = b""
    target: bytes = b""
    hidden: bool = False
    judgement: Judgement | None = field(init=False)
    place: int = 0
    """Counts the entries of a session."""

    def __post_init__(self) -> None:
        asked = self.operation or self.preparing
        self.judgement = asked.judgement if asked is not None else None


@dataclass(slots=True)
class Flight:
    """The queue of expected answers. What is asked about it with each message takes no time that grows with it."""

    entries: deque[Expected] = field(default_factory=deque)
    running: int = 0
    """Entries of an operation."""
    touching: int = 0
    """Entries of an operation with a marked relation in reach."""
    changing: int = 0
    """Entries of an operation that may change what a name stands for."""
    _pushed: int = 0
    _synced: int = 0
    """Place of the newest Sync."""
    _bound: Expected | None = None
    _named: dict[tuple[Await, bytes], deque[Expected]] = field(default_factory=dict)
    """Each Parse and Bind on its way, by name."""

    def __bool__(self) -> bool:
        return bool(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Expected]:
        return iter(self.entries)

    @property
    def head(self) -> Expected | None:
        """The entry that the next answer belongs to."""
        return self.entries[0] if self.entries else None

    @property
    def last(self) -> Operation | None:
        """The operation whose Bind was forwarded last, where nothing but Describes followed and it is not answered."""
        bound = self._bound
        return bound.operation if bound is not None and self.entries and self.entries[0].place <= bound.place else None

    def push(self, entry: Expected) -> None:
        """Expect one more answer."""
        self._pushed += 1
        if entry.kind is not Await.DESCRIBE:
            self._bound = entry if entry.kind is Await.BIND else None
        entry.place = self._pushed
        self.entries.append(entry)
        self._count(entry, 1)
        if entry.kind is Await.SYNC:
            self._synced = entry.place
        elif entry.kind in (Await.PARSE, Await.BIND):
            self._named.setdefault((entry.kind, entry.name), deque()).append(entry)

    def pop(self) -> Expected:
        """The head was answered."""
        entry = self.entries.popleft()
        self._count(entry, -1)
        if entry.kind in (Await.PARSE, Await.BIND):
            same = self._named[entry.kind, entry.name]
            same.popleft()
            if not same:
                del self._named[entry.kind, entry.name]
        return entry

    def newest(self, kind: Await, name: bytes) -> Expected | None:
        """Return the last Parse or Bind (`kind`) of `name` on its way."""
        same = self._named.get((kind, name))
        return same[-1] if same else None

    def is_uncertain(self, kind: Await, name: bytes) -> bool:
        """Whether it is not yet known what `name` stands for.

        A statement on its way may change it; and a Parse or Bind (`kind`) of it that fails leaves the name as it was,
        for whatever comes after the next Sync.
        """
        same = self._named.get((kind, name))
        return self.changing > 0 or (same is not None and same[0].place < self._synced)

    def drop_until_sync(self) -> tuple[list[Expected], bool]:
        """After an extended error: forget what the target skips. Returns it, and whether a Sync follows."""
        dropped = []
        while self.entries and self.entries[0].kind is not Await.SYNC:
            dropped.append(self.pop())
        return dropped, bool(self.entries)

    def _count(self, entry: Expected, step: int) -> None:
        if entry.operation is not None and entry.judgement is not None:
            self.running += step
            self.touching += step * entry.judgement.touches_marks
            self.changing += step * bool(entry.judgement.effects)
