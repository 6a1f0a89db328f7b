"""The payload of a judged statement: its text, the reason, and what it binds; at once, or in pieces where it is large.

Promises the canonical bytes, whichever way. Pure; never decides what is sensitive.
"""

from __future__ import annotations

from base64 import b64encode
from codecs import getincrementaldecoder
from collections.abc import Iterator
from functools import lru_cache

from gateway.evidence.form import quoted
from gateway.evidence.values import parameter, text
from gateway.model import Json, Parameter, Statement, Verdict

_KEPT = 1024
"""Texts that are kept encoded."""
PIECE = 192 << 10
"""Bytes of a value that are encoded in one piece; a multiple of three, for base64."""
_FEW = 50
"""Parameters of a statement that is encoded by what stands around them, at most."""
_OFTEN = 2000
"""Bytes of a prepared statement's text that is kept encoded, at most, and of what is encoded in one piece."""
_decoder = getincrementaldecoder("utf-8")


def judged_payload(statement: Statement, verdict: Verdict, predicate_touch: tuple[str, ...] = ()) -> bytes:
    """Return the canonical payload of a judged statement: its text, the reason, and what it binds."""
    bound = statement.parameters
    if len(statement.sql) <= _OFTEN and not predicate_touch:
        if not (bound or statement.name):
            return f'{{{_reason(verdict.reason)},"sql":{_wired(statement.sql)}}}'.encode()
        values = _short(bound)
        if values is not None and len(statement.name) <= _OFTEN:
            types = tuple([each.type_oid for each in bound])
            before, after = _around(statement.name, len(bound), verdict.reason, statement.sql, types)
            return f"{before}{values}{after}".encode()
    return b"".join(judged_pieces(statement, verdict, predicate_touch))


def judged_pieces(statement: Statement, verdict: Verdict, predicate_touch: tuple[str, ...] = ()) -> Iterator[bytes]:
    """Yield the canonical payload of a judged statement in pieces, none of which takes more than a millisecond or two.

    A piece may be empty: then the time went into looking at what comes.
    """
    bound, told = statement.parameters, "{"
    if bound:
        told += f'"formats":[{",".join([str(each.format) for each in bound])}],'
    if statement.name:
        told += f'"name":{quoted(text(statement.name))},'
    yield told.encode()
    for place, each in enumerate(bound):
        yield b"," if place else b'"parameters":['
        if len(each.value or b"") > PIECE:
            yield from _wired_pieces(each.value or b"")
        else:
            yield (_wired(each.value) if each.format == 0 else _member(parameter(each))).encode()
    told = "]," if bound else ""
    if predicate_touch:
        told += f'"predicate_touch":[{",".join([quoted(text(mark)) for mark in predicate_touch])}],'
    yield f'{told}{_reason(verdict.reason)},"sql":'.encode()
    sql = statement.sql
    if len(sql) > PIECE:
        yield from _wired_pieces(sql)
    else:
        yield (_often(sql) if len(sql) <= _OFTEN else _wired(sql)).encode()
    types = ",".join([str(each.type_oid) for each in bound])
    yield (f',"types":[{types}]}}' if bound else "}").encode()


def _short(bound: tuple[Parameter, ...]) -> str | None:
    """Encode parameters that are all short and in text format; None: they are not, or too many."""
    if len(bound) > _FEW:
        return None
    shown = []
    for each in bound:
        if each.format or len(each.value or b"") > _OFTEN:
            return None
        shown.append(_wired(each.value))
    return ",".join(shown)


@lru_cache(maxsize=_KEPT)
def _around(statement: str, count: int, reason: str, sql: bytes, types: tuple[int, ...]) -> tuple[str, str]:
    """Return what stands in a payload before and after `count` parameters in text format."""
    before, after = "{", f'{_reason(reason)},"sql":{_wired(sql)}'
    if count:
        before += f'"formats":[{",".join(["0"] * count)}],'
    if statement:
        before += f'"name":{quoted(text(statement))},'
    if count:
        before += '"parameters":['
        after = f'],{after},"types":[{",".join(map(str, types))}]'
    return before, after + "}"


@lru_cache(maxsize=_KEPT)
def _reason(reason: str) -> str:
    return f'"reason":{quoted(text(reason))}'


@lru_cache(maxsize=_KEPT)
def _often(sql: bytes) -> str:
    return _wired(sql)


def _wired(value: bytes | None) -> str:
    """Encode `wire(value)`."""
    if value is None:
        return "null"
    if b"\0" not in value:
        try:
            return f'{{"t":{quoted(value.decode())}}}'
        except UnicodeDecodeError:
            pass  # not text: told in base64 below
    return f'{{"b":"{b64encode(value).decode()}"}}'


def _wired_pieces(value: bytes) -> Iterator[bytes]:
    """Encode `wire(value)` piece by piece."""
    pieces = [slice(place, place + PIECE) for place in range(0, len(value), PIECE)]
    is_text, decode = b"\0" not in value, _decoder().decode
    try:
        for piece in pieces if is_text else ():
            decode(value[piece])
            yield b""
        decode(b"", final=True)
    except UnicodeDecodeError:
        is_text = False
    if not is_text:
        yield b'{"b":"'
        for piece in pieces:
            yield b64encode(value[piece])  # a piece is a whole number of its groups of three
    else:
        yield b'{"t":"'
        decode = _decoder().decode
        for piece in pieces:
            yield quoted(decode(value[piece]))[1:-1].encode()
    yield b'"}'


def _member(value: Json) -> str:
    """Encode what `parameter` gives: NULL, or an object of one or two texts."""
    if not isinstance(value, dict):
        return "null"
    return "{" + ",".join([f'"{key}":{quoted(str(value[key]))}' for key in sorted(value)]) + "}"
