"""What of an agent's statements may be recorded and shown: literals that meet marked columns, or secrets, are withheld.

Promises that a withheld literal or parameter stands as `$masked_k` in everything that a session records or tells, its
later answers included, that the exact text is handed out for sealing alone, and that what is withheld is counted. Pure
but for what it remembers of its session. Never touches what is forwarded, hashed or judged.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from gateway.evidence.originals_content import encode_told
from gateway.evidence.values import text as as_text
from gateway.evidence.values import wire
from gateway.model import Json, Outcome, Parameter, Statement
from gateway.pgwire.judgement import Judgement
from gateway.pgwire.notes import Answer, CopyChunk, Execution, Note, Preparation, Request
from gateway.policy.literals import Literals, unread

_SHORTEST = 4
"""Characters of a value that is looked for outside its place, where it could be anything else as well."""
_REMEMBERED = 6
"""Characters of a value that is looked for in the session's later answers too."""
_MOST, _MOST_TEXT = 256, 1 << 18
"""Values remembered, and their characters in all."""
_OPERATIONS = 8192


@dataclass(frozen=True, slots=True)
class Told:
    """A statement as it may be told. `exact` is what it was, where something is withheld, `values` what that is."""

    statement: Statement
    exact: Statement | None = None
    values: tuple[str, ...] = ()

    @property
    def content(self) -> bytes | None:
        """Return what is to be sealed; None: nothing was withheld."""
        if self.exact is None:
            return None
        told: dict[str, Json] = {"sql": wire(self.exact.sql)}
        if self.exact.parameters:
            told["parameters"] = [wire(one.value) for one in self.exact.parameters]
            told["types"] = [one.type_oid for one in self.exact.parameters]
            told["formats"] = [one.format for one in self.exact.parameters]
        return encode_told("statement", told)


@dataclass(frozen=True, slots=True)
class ToldNote:
    """A note as it may be recorded, what is to be sealed beside it, and how much was withheld."""

    note: Note
    content: bytes | None = None
    withheld: int = 0


def withhold(statement: Statement, literals: Literals) -> Told:
    """Return `statement` with each withheld literal and parameter as `$masked_k`, counted from 1."""
    if literals.spans == () and literals.kept is None:
        return Told(statement)
    sql, values = _without(statement.sql, _spans(statement.sql, literals))
    bound: list[Parameter] = []
    for place, one in enumerate(statement.parameters, 1):
        if one.value is None or literals.kept is None or place in literals.kept:
            bound.append(one)
            continue
        values.append(one.value.decode("utf-8", "replace"))
        bound.append(replace(one, value=_name(len(values)).encode()))
    if not values:
        return Told(statement)
    return Told(replace(statement, sql=sql, parameters=tuple(bound)), statement, tuple(values))


def _spans(sql: bytes, literals: Literals) -> Iterator[tuple[int, int, str]]:
    for one in unread(sql):
        if literals.spans is None or (one.start, one.end) in literals.spans:
            yield one.start, one.end, one.value


def _without(sql: bytes, spans: Iterable[tuple[int, int, str]]) -> tuple[bytes, list[str]]:
    """Cut the spans out, and their values wherever else they stand: in a comment, say."""
    between, values, position = [], list[str](), 0
    for start, end, value in spans:
        between.append(sql[position:start])
        values.append(value)
        position = end
    between.append(sql[position:])
    known = {value.encode(): _name(place).encode() for place, value in enumerate(values, 1) if len(value) >= _SHORTEST}
    if known:
        form = re.compile(b"|".join(map(re.escape, sorted(known, key=len, reverse=True))))
        between = [form.sub(lambda found: known[found[0]], one) for one in between]
    pieces = [between[0]]
    for place, one in enumerate(between[1:], 1):
        pieces += (_name(place).encode(), one)
    return b"".join(pieces), values


def _name(place: int) -> str:
    return f"$masked_{place}"


class Withholding:
    """What one session withholds. `seals`: `[evidence] literals` is `seal`; else everything is told as it was sent."""

    def __init__(self, *, seals: bool) -> None:
        self._seals = seals
        self._operations: OrderedDict[int, tuple[str, ...]] = OrderedDict()
        self._explains: set[int] = set()
        self._remembered: OrderedDict[str, None] = OrderedDict()
        self._size = 0
        self._form: re.Pattern[str] | None = None

    def told(self, n: int, statement: Statement, judgement: Judgement) -> Told:
        """Return the statement of request `n` as it may be told, and remember what that withholds."""
        if not self._seals or not judgement.literals.any:
            return Told(statement)
        told = withhold(statement, judgement.literals)
        if told.values:
            self._operations[n] = told.values
            if b"explain" in statement.sql.lower():
                self._explains.add(n)
            if len(self._operations) > _OPERATIONS:
                self._explains.discard(self._operations.popitem(last=False)[0])
            self._remember(told.values)
        return told

    def reason(self, n: int, judgement: Judgement) -> Judgement:
        """Return the judgement with a reason that repeats nothing withheld."""
        values = self._operations.get(n)
        if values is None:
            return judgement
        verdict = judgement.verdict
        return replace(judgement, verdict=replace(verdict, reason=_scrubbed(verdict.reason, values, 1)))

    def spares(self, note: Note) -> bool:
        """Say at once that `note` gives `note` as it is; else it has to be looked at."""
        if isinstance(note, (Request, Preparation)):
            return not (self._seals and note.judgement.literals.any)
        if isinstance(note, Answer):
            return not (self._operations or self._remembered or self._explains)
        return isinstance(note, Execution)

    def note(self, note: Note) -> ToldNote:
        """Return `note` as it may be recorded."""
        match note:
            case Preparation(n, statement, judgement) | Request(n, statement, judgement):
                told = self.told(n, statement, judgement)
                if told.exact is None:
                    return ToldNote(note)
                shown = note._replace(statement=told.statement, judgement=self.reason(n, judgement))
                return ToldNote(shown, told.content, len(told.values))
            case CopyChunk() if note.withheld and self._seals:
                content = encode_told("data", {"of": note.of, "content": wire(note.data)})
                return ToldNote(note, content, 1)
            case Answer():
                return self._answer(note)
        return ToldNote(replace(note, withheld=False) if isinstance(note, CopyChunk) else note)

    def _answer(self, note: Answer) -> ToldNote:
        """Return an answer without what is withheld; the salt of its digest is sealed, lest that be found by trying."""
        values = self._operations.pop(note.of, ())
        explains = note.of in self._explains
        self._explains.discard(note.of)
        if not values and not self._remembered:
            return ToldNote(note)
        shortest = 1 if explains or note.outcome is Outcome.DENIED else _SHORTEST
        text, message = self._clean(_plan(note.text) if explains else note.text, values, shortest), note.message
        if message is not None:
            message = self._clean(message, values, shortest)
        if (text, message) == (note.text, note.message):
            return ToldNote(note)
        told: dict[str, Json] = {"of": note.of, "salt": note.salt.hex(), "text": as_text(note.text)}
        return ToldNote(note._replace(text=text, message=message, salt=b""), encode_told("answer", told))

    def _clean(self, text: str, values: tuple[str, ...], shortest: int) -> str:
        text = _scrubbed(text, values, shortest)
        if self._remembered and self._form is None:
            self._form = _form(self._remembered)
        return text if self._form is None else self._form.sub("$masked", text)

    def _remember(self, values: Iterable[str]) -> None:
        for value in values:
            if len(value) >= _REMEMBERED and value not in self._remembered and len(value) <= _MOST_TEXT:
                self._remembered[value] = None
                self._size += len(value)
                self._form = None
        while len(self._remembered) > _MOST or self._size > _MOST_TEXT:
            self._size -= len(self._remembered.popitem(last=False)[0])


def _scrubbed(text: str, values: Iterable[str], shortest: int) -> str:
    """Return `text` with `$masked_k` for each of `values` that has so many characters."""
    places = {value: place for place, value in reversed(list(enumerate(values, 1))) if len(value) >= shortest}
    if not places:
        return text
    named = {form: _name(place) for value, place in places.items() for form in _forms(value)}
    return _form(places).sub(lambda found: named[found[0]], text)


def _plan(text: str) -> str:
    """Return a plan without its conditions: PostgreSQL folds constants, so that no value need stand there as sent."""
    return "\n".join(line if _NODE.fullmatch(line) else _LABEL.sub(r"\1 $masked", line) for line in text.split("\n"))


_NODE = re.compile(
    r"|QUERY PLAN|EXPLAIN|(Planning|Execution) Time: [0-9.]+ ms|(ERROR|NOTICE|DETAIL|HINT): .*"
    r"| *(-> *)?[A-Z][A-Za-z -]+?( using \w+)?( on [\w.]+( \w+)?)? +\((cost|actual)=[a-z0-9.= ()]*\)"
)
"""Lines of a plan that hold no expression, and those that are no plan."""
_LABEL = re.compile(r"""^([\s"'<-]*[A-Za-z][A-Za-z ]*[A-Za-z]["']?[:>]|).*$""")


def _forms(value: str) -> set[str]:
    """How a value may stand in a text: as it is, quoted for SQL or JSON, or escaped as transcripts do."""
    found = {value, value.replace("'", "''"), json.dumps(value, ensure_ascii=False)[1:-1]}
    return found | {one.translate(_TRANSCRIPT) for one in found}


_TRANSCRIPT = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def _form(values: Iterable[str]) -> re.Pattern[str]:
    forms = {form for value in values for form in _forms(value)}
    words = (re.escape(form) for form in sorted(forms, key=len, reverse=True))
    return re.compile(rf"(?<![0-9A-Za-z_])(?:{'|'.join(words)})(?![0-9A-Za-z_])")
