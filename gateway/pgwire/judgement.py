"""What policy says to the wire about one statement: whether it runs, how its answer is masked, which guards hold.

Frozen, and pure but for what a guard is asked as rows pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, TypeAlias

from gateway.approval.operation_hash import Definition
from gateway.model import (
    NameEffect,
    Verdict,
    VerdictKind,
)
from gateway.pgwire.backend import ColumnDescription
from gateway.policy.literals import ALL, Literals

if TYPE_CHECKING:
    from gateway.masking.carried import Carried
    from gateway.masking.copy_out import CopyOut
    from gateway.policy.effects import EffectPlan


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
