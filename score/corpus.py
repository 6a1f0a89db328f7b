"""Reads the corpora in `fixtures/`: the schema with its marks and canaries, and the cases with what is expected.

A case file is plain SQL. `--@ verdict` says what is expected of the cases below it (allow, mask, approve, deny), an
empty line ends a case, `--;` stands between the messages of one session. Other comments are for people. Pure but for
reading the files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.model import Mark, MaskStyle, VerdictKind
from gateway.settings.units import parse_name

FIXTURES = Path(__file__).parent.parent / "fixtures"
FUNCTIONS = ("public.net_price", "public.shout")
"""User functions that the played connection lists."""
SETTINGS = ("app.tenant",)


@dataclass(frozen=True, slots=True)
class Case:
    """One case: the messages of a session, in order, and the verdict expected of the last one."""

    name: str
    """File and line, `hostile/casts:12`."""
    expected: VerdictKind
    steps: tuple[str, ...]

    @property
    def sql(self) -> str:
        """The message that is judged."""
        return self.steps[-1]


@dataclass(frozen=True, slots=True)
class Schema:
    """What both corpora are played on. `sql` makes the database; `other` the same one with other marked values."""

    sql: str
    other: str
    marks: tuple[Mark, ...]
    canaries: tuple[str, ...]
    """Words that stand in marked values and nowhere else."""


def read_schema(path: Path = FIXTURES / "schema.sql") -> Schema:
    """Read the schema; raise ValueError for a line that is no mark or canary."""
    sql = path.read_text()
    other, marks, canaries = sql, [], []
    for line in sql.splitlines():
        if line.startswith("-- mark: "):
            column, style = _styled(line.removeprefix("-- mark: "))
            name, relation, field = parse_name(column, 3, "schema.table.column")
            marks.append(Mark(name, relation, field, MaskStyle(style)))
        elif line.startswith("-- canary: "):
            word, replacement = line.removeprefix("-- canary: ").split()
            canaries.append(word)
            other = other.replace(word, replacement)
    return Schema(sql, other, tuple(marks), tuple(canaries))


def _styled(text: str) -> tuple[str, str]:
    """Split a style off: `public.users.email null`."""
    column, _, style = text.rpartition(" ")
    return (column, style) if style in set(MaskStyle) else (text, "redact")


def read_corpus(folder: str) -> list[Case]:
    """Read every case file of `fixtures/folder`, in the order of their names."""
    found: list[Case] = []
    for path in sorted((FIXTURES / folder).glob("*.sql")):
        found.extend(_cases(f"{folder}/{path.stem}", path.read_text()))
    return found


def _cases(name: str, text: str) -> Iterator[Case]:
    expected: VerdictKind | None = None
    lines: list[str] = []
    start = 0
    for number, line in enumerate([*text.splitlines(), ""], 1):
        if line.startswith("--@ "):
            expected = VerdictKind(line.removeprefix("--@ ").split()[0])
        elif line.startswith("-- ") and not lines:
            continue
        elif line.strip():
            start = start if lines else number
            lines.append(line)
        elif lines:
            if expected is None:
                raise ValueError(f"{name}:{start}: no line says what is expected of it")
            steps = tuple(step.strip("\n") for step in ("\n".join(lines) + "\n").split("--;\n"))
            yield Case(f"{name}:{start}", expected, steps)
            lines = []
