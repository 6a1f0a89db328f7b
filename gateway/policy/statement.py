"""What policy knows of a statement, as frozen values: session state in, facts and acts out.

`Facts` describe one string an agent sent, `StatementFacts` one statement of it, an `Act` one thing that this statement
would do: the unit that a rule matches. Pure; no parsing and no judging here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from gateway.masking.carried import Carried
from gateway.masking.copy_out import CopyOut
from gateway.masking.flow import Output
from gateway.masking.written import CopyInto, Written
from gateway.model import NameEffect
from gateway.policy.catalog import Catalog
from gateway.policy.literals import ALL, Literals, together


@dataclass(frozen=True, slots=True)
class SessionState:
    """What the gateway mirrors of a session, as of the moment before the statement runs.

    `prepared` and `cursors` map a name to the text that made it: a protocol-level Parse's statement, or the whole
    text of a PREPARE or DECLARE. `status` is ReadyForQuery's: `I` idle, `T` in a transaction, `E` in a failed one.
    """

    prepared: Mapping[str, bytes] = field(default_factory=dict)
    cursors: Mapping[str, bytes] = field(default_factory=dict)
    status: str = "I"
    search_path: tuple[str, ...] = ()
    """The connection's pinned path; empty: the catalog's."""


@dataclass(frozen=True, slots=True)
class Discarded:
    """DISCARD ALL: prepared statements, cursors, settings and temporary objects are gone."""


StateEffect: TypeAlias = NameEffect | Discarded
"""What a statement changes of the session's state if it succeeds; the wire applies it then."""


class Transaction(StrEnum):
    """What a statement does to the transaction."""

    NONE = "none"
    BEGIN = "begin"
    COMMIT = "commit"
    ROLLBACK = "rollback"
    ROLLBACK_TO = "rollback-to"
    SAVEPOINT = "savepoint"
    RELEASE = "release"
    TWO_PHASE = "two-phase"


ANY = "*"
"""Stands among an act's relations for those that it reaches without naming them."""


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that a statement would do: the unit that a rule matches.

    `what` is a word of `gateway.policy.presets`; `target` what it is done to (`public.users`, a function, a setting);
    `within` the wrappers around it, outermost first (`explain`, `prepare`, `cte`); `value` a setting's new value, None
    where it is not a constant. `relations` are those that it is done to, by full name, as written where the catalog
    does not show them; `ANY` where it may reach others that are not named (CASCADE, a schema). `most` is how many rows
    it changes at most, where a key proves it. `because` is what is said of it beside its rule.
    """

    what: str
    target: str = ""
    within: tuple[str, ...] = ()
    value: str | None = None
    relations: tuple[str, ...] = ()
    most: int | None = None
    because: str = ""

    def __str__(self) -> str:
        inside = f" inside {', '.join(self.within)}" if self.within else ""
        return f"{self.what} {self.target}".rstrip() + inside


@dataclass(frozen=True, slots=True)
class SyntaxFault:
    """PostgreSQL's own words for a syntax error, and its 1-based character position."""

    message: str
    position: int | None


@dataclass(frozen=True, slots=True)
class StatementFacts:
    """One statement of a string: what it does, what it reads and writes, and where marked columns flow."""

    operation: str
    """The policy's word for the outermost statement: `select`, `update`, `copy-out`, `explain`, …"""
    acts: tuple[Act, ...] = ()
    start: int = 0
    """Byte offset within the string; `end` likewise."""
    end: int = 0
    transaction: Transaction = Transaction.NONE
    effects: tuple[StateEffect, ...] = ()
    relations_read: tuple[str, ...] = ()
    relations_written: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    """Functions and procedures that it may call by name, `(x).f` included: wider than `functions`, for rules."""
    columns: tuple[str, ...] = ()
    """Columns that rules of the connection name and this statement mentions, through views and by stars too."""
    marks_in_reach: tuple[str, ...] = ()
    """Marked columns that the relations named here can lead to, through views and inheritance."""
    touches_marks: bool = False
    """A marked relation is in reach, or this cannot be decided: errors and notices may hold marked values."""
    predicate_touch: tuple[str, ...] = ()
    """Marked columns in WHERE, JOIN, ORDER BY, GROUP BY or HAVING: their values may be inferred."""
    outputs: tuple[Output, ...] | None = ()
    """Result columns by lineage, in order. None: undecidable, so that every column is masked."""
    depends_on_state: bool = False
    sets_off: tuple[str, ...] = ()
    """What runs with its writes and is not in its text: triggers, rules, foreign keys' actions, defaults that call."""
    analyses: bool = False
    """EXPLAIN ANALYZE: it runs what it explains, and its tag does not count the rows."""
    ddl: bool = False
    copy_out: CopyOut | None = None
    """COPY … TO on a connection with marks, whose data can be masked."""
    copy_into: CopyInto | None = None
    """COPY … FROM STDIN into marked columns, whose data can be looked through for masked values."""
    writes: tuple[Written, ...] = ()
    """What it puts into marked columns and could be a masked value."""
    carries: tuple[Carried, ...] = ()
    """Columns that it fills from marked ones, and that are not marked yet."""
    literals: Literals = ALL
    """What of its literals and parameters must not be recorded in clear."""
    passes_failed: bool = False
    """PostgreSQL runs it in a failed transaction too: COMMIT, ROLLBACK, ROLLBACK TO."""
    alarm: str = ""
    """The two readers differ about its columns."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything policy, masking and the wire need to know of one string that an agent sent.

    `wants` names texts that are too large to be parsed inside a process that carries sessions; `gateway.parsing` parses
    them in a disposable one and asks again. While it is not empty, `not_understood` is set.
    """

    text: bytes
    statements: tuple[StatementFacts, ...] = ()
    syntax_error: SyntaxFault | None = None
    not_understood: str | None = None
    failed_transaction: bool = False
    """PostgreSQL itself answers with 25P02 (session status `E`): recorded and forwarded without a verdict."""
    wants: tuple[bytes, ...] = ()
    alarm: str = ""
    """Something that should become an alarm record: a parser died, a deadline passed."""
    catalog: Catalog | None = field(default=None, repr=False, compare=False)

    @property
    def literals(self) -> Literals:
        """What of the string's literals and parameters must not be recorded in clear: all, where nobody read it."""
        if self.not_understood is not None or self.syntax_error is not None:
            return ALL
        return together(statement.literals for statement in self.statements)

    @property
    def depends_on_state(self) -> bool:
        """Some statement runs what a name stands for (EXECUTE, FETCH, DEALLOCATE): judge it on a quiet session."""
        return any(statement.depends_on_state for statement in self.statements)

    @property
    def effects(self) -> tuple[StateEffect, ...]:
        """All statements' effects on the session's state, in order."""
        return tuple(effect for statement in self.statements for effect in statement.effects)

    @property
    def touches_marks(self) -> bool:
        """Marked values may be met: scrub errors and notices, flag the record. True where it cannot be decided."""
        marked = self.catalog is not None and self.catalog.has_marks
        return (marked and self.not_understood is not None) or any(s.touches_marks for s in self.statements)

    @property
    def marks_in_reach(self) -> tuple[str, ...]:
        """Marked columns in reach of any statement, by name, sorted."""
        return tuple(sorted({mark for statement in self.statements for mark in statement.marks_in_reach}))

    @property
    def predicate_touch(self) -> tuple[str, ...]:
        """Marked columns that some statement compares, joins, groups or orders by, sorted."""
        return tuple(sorted({mark for statement in self.statements for mark in statement.predicate_touch}))

    @property
    def sets_off(self) -> tuple[str, ...]:
        """What the writes of the string set off, sorted."""
        return tuple(sorted({words for statement in self.statements for words in statement.sets_off}))

    @property
    def ddl(self) -> bool:
        """The catalog must be read again after this string."""
        return any(statement.ddl for statement in self.statements)

    @property
    def transaction(self) -> Transaction:
        """What the last statement that touches the transaction does to it."""
        last = Transaction.NONE
        for statement in self.statements:
            if statement.transaction is not Transaction.NONE:
                last = statement.transaction
        return last

    @property
    def operation(self) -> str:
        """The policy's word for the string: its only statement's, or `several`, or `empty`."""
        if self.syntax_error is not None or self.not_understood is not None:
            return "unknown"
        if not self.statements:
            return "empty"
        words = {statement.operation for statement in self.statements}
        return words.pop() if len(words) == 1 else "several"

    @property
    def relations(self) -> tuple[str, ...]:
        """Every relation that is read or written, sorted."""
        return tuple(sorted({r for s in self.statements for r in (*s.relations_read, *s.relations_written)}))
