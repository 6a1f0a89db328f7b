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
    """One operation's answer so far. `draw` gives the salt that keys the digest; times are monotonic microseconds."""

    draw: Callable[[], bytes]
    limit: int
    started: int
    rows: int = 0
    size: int = 0
    sqlstate: str | None = None
    message: str | None = None
    truncated: bool = False
    _lines: list[str] = field(default_factory=list)
    _text_size: int = 0
    _salt: bytes = b""
    _hasher: blake3 | None = None
    """Made with the first bytes: of many a collector nothing is ever asked."""
    _masked: dict[tuple[str, tuple[str, ...], str], int] = field(default_factory=dict)
    _sealed: dict[tuple[str, tuple[str, ...], str], int] = field(default_factory=dict)

    def sent(self, data: bytes | memoryview) -> None:
        """Bytes went to the agent."""
        self.size += len(data)
        if self._hasher is None:
            self._salt = self.draw()
            self._hasher = blake3(data, key=self._salt)
        else:
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
        lines = [] if header is None else [header]
        lines += [show_row(values, columns) for values in rows]
        lines.append(tag.decode("utf-8", "replace"))
        text = "\n".join(lines)
        if text.isascii() and self._text_size + len(text) < self.limit and not self.truncated:
            self._lines.append(text)
            self._text_size += len(text) + 1
        else:
            for each in lines:
                self.line(each)
        self.sent(sent)
        self._count(tag, len(rows))

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
        self._count(tag, seen)
        self.line(tag.decode("utf-8", "replace"))

    def _count(self, tag: bytes, seen: int) -> None:
        _, space, last = tag.rpartition(b" ")
        self.rows += max(seen, int(last)) if space and last.isdigit() else seen

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
        if self._hasher is None:
            self.sent(b"")
        assert self._hasher is not None  # noqa: S101  made just now
        lines = self._lines
        text = "\n".join(lines) + "\n" if lines else ""
        return Answer(
            next_n(),
            of,
            outcome,
            self.sqlstate,
            self.message,
            self.rows,
            self.size,
            max(0, now - self.started),
            masked,
            text if text.isascii() else text.encode("utf-8", "replace").decode(),
            self.truncated,
            self._hasher.digest().hex(),
            self._salt,
            touches_marks,
        )
