"""Collects what one operation's answer was, for its result record: counts, digest, and the transcript up to a limit.

Promises bounded memory: text is kept up to `limit` bytes, everything else is only counted and digested.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from blake3 import blake3

from gateway.model import Outcome
from gateway.pgwire.backend import ColumnDescription, Report
from gateway.pgwire.judgement import Plan
from gateway.pgwire.notes import Answer, MaskedColumn
from gateway.pgwire.transcript import show_header, show_row


@dataclass(slots=True)
class Collector:
    """One operation's answer so far. `salt` (32 bytes) keys the digest; times are monotonic microseconds."""

    salt: bytes
    limit: int
    started: int
    rows: int = 0
    size: int = 0
    sqlstate: str | None = None
    message: str | None = None
    truncated: bool = False
    _lines: list[str] = field(default_factory=list)
    _text_size: int = 0
    _hasher: blake3 = field(init=False)
    _masked: dict[tuple[str, tuple[str, ...], str], int] = field(default_factory=dict)
    _sealed: dict[tuple[str, tuple[str, ...], str], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._hasher = blake3(key=self.salt)

    def sent(self, data: bytes | memoryview) -> None:
        """Bytes went to the agent."""
        self.size += len(data)
        self._hasher.update(data)

    @property
    def wants_text(self) -> bool:
        """Whether the transcript still has room."""
        return not self.truncated

    def line(self, text: str) -> None:
        """Add a line to the transcript, or note that it no longer fits."""
        if self.truncated:
            return
        size = (len(text) if text.isascii() else len(text.encode("utf-8", "replace"))) + 1
        if self._text_size + size > self.limit:
            self.truncated = True
            return
        self._lines.append(text)
        self._text_size += size

    def header(self, columns: Sequence[ColumnDescription]) -> None:
        """Add the line of column names."""
        self.line(show_header(columns))

    def row(self, values: Sequence[bytes | None], columns: Sequence[ColumnDescription]) -> None:
        """Add one row as the agent saw it."""
        self.line(show_row(values, columns))

    def whole(
        self,
        header: str | None,
        rows: Sequence[Sequence[bytes | None]],
        columns: Sequence[ColumnDescription],
        tag: bytes,
        sent: bytes,
    ) -> None:
        """Take a whole answer, as `line`, `row`, `sent` and `completed` would take it piece by piece."""
        if header is not None:
            self.line(header)
        for values in rows:
            if self.truncated:
                break
            self.line(show_row(values, columns))
        self.size += len(sent)
        self._hasher.update(sent)
        self.completed(tag, len(rows))

    def masked(self, plan: Plan, index: int, *, sealed: bool = False) -> None:
        """Count one replaced value of output column `index`; `sealed`: its original is kept."""
        column = plan.columns[index]
        if column is not None:
            key = (column.column_name, column.source_columns, str(column.style))
            self._masked[key] = self._masked.get(key, 0) + 1
            if sealed:
                self._sealed[key] = self._sealed.get(key, 0) + 1

    def planned(self, plan: Plan) -> None:
        """A result with this plan begins: its masked columns are named even if no row comes."""
        for column in plan.columns:
            if column is not None and column.guard is None:
                self._masked.setdefault((column.column_name, column.source_columns, str(column.style)), 0)

    def completed(self, tag: bytes, seen: int) -> None:
        """A command completed after `seen` rows: count what its tag says (`INSERT 0 1`) or what was seen."""
        last = tag.rsplit(b" ", 1)[-1]
        self.rows += max(seen, int(last)) if last.isdigit() and b" " in tag else seen
        self.line(tag.decode("utf-8", "replace"))

    def suspended(self, seen: int) -> None:
        """A portal was suspended after `seen` rows."""
        self.rows += seen
        self.line("-- suspended")

    def failed(self, error: Report) -> None:
        """An error was sent to the agent."""
        self.sqlstate, self.message = error.sqlstate, error.get("M")
        self.line(f"{error.severity}: {error.sqlstate}: {self.message}")
        for code, label in (("D", "DETAIL"), ("H", "HINT")):
            if value := error.get(code):
                self.line(f"{label}: {value}")

    def noticed(self, notice: Report) -> None:
        """A notice was sent to the agent."""
        self.line(f"{notice.severity}: {notice.get('M')}")

    def answer(self, next_n: Callable[[], int], of: int, outcome: Outcome, now: int, *, touches_marks: bool) -> Answer:
        """Build the note of how it ended; `now` is monotonic microseconds. Its masked columns are numbered first."""
        masked: tuple[MaskedColumn, ...] = ()
        if self._masked:
            masked = tuple(
                MaskedColumn(next_n(), *key, count, self._sealed.get(key, 0)) for key, count in self._masked.items()
            )
        text = "\n".join((*self._lines, ""))
        return Answer(
            n=next_n(),
            of=of,
            outcome=outcome,
            sqlstate=self.sqlstate,
            message=self.message,
            rows=self.rows,
            size=self.size,
            duration_us=max(0, now - self.started),
            masked=masked,
            text=text if text.isascii() else text.encode("utf-8", "replace").decode(),
            truncated=self.truncated,
            digest=self._hasher.hexdigest(),
            salt=self.salt,
            touches_marks=touches_marks,
        )
