"""`SELECT hoop.renew('token')`: an agent's session goes on with a new token. Answered here, in both protocols.

It is recognised before anything is parsed, so that the token's text is never judged, recorded, forwarded or logged.
A text that only resembles it is refused, and recorded without its words. It touches neither the target nor the
transaction; a renewal that is refused fails the transaction, as any error does. A token is kept no longer than from
its Parse or Bind to its Execute or the next Sync (a statement with the token in its text: until its name is closed).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol, TypeAlias

from gateway.errors import OurBug
from gateway.model import Statement, Verdict, VerdictKind, WireProtocol
from gateway.pgwire.actions import Refused, Renew, Renewed, Token
from gateway.pgwire.backend import (
    ColumnDescription,
    Report,
    encode_data_row,
    encode_row_description,
    ready_for_query,
    report,
)
from gateway.pgwire.exchange import Exchange
from gateway.pgwire.framing import UINT16, UINT32, Message, cstring, message
from gateway.pgwire.frontend import Bind, Execute, Named, Parse, decode_query, format_at
from gateway.pgwire.judgement import Judgement

HIDDEN = b"SELECT hoop.renew('...')"
"""What stands in the record for a text that was refused for resembling a renewal."""

_ABOUT = re.compile(rb'hoop"?\s*\.\s*"?renew"?\s*\(', re.IGNORECASE)
_SHAPE = re.compile(
    rb"""\s* select \s+ hoop \s*\.\s* renew \s* \( \s* (?: '(?P<token>[^'\\]*)' | \$1 ) \s*
    (?: :: \s* (?:text|varchar) \s* )? \) (?: \s+ as \s+ "?(?P<alias>[a-z_][a-z0-9_]{0,62})"? )? \s* (?: ; \s* )?""",
    re.IGNORECASE | re.VERBOSE,
)
_TEXT_OID = 25
_LONGEST = 64 << 10
"""Bytes of a text, or of a token bound to one, that may be a renewal; the greatest token is far below."""
_MOST = 16
"""Names that may stand for renewals at once, since what each keeps is not counted with the session's other names."""

Steps: TypeAlias = Generator[Any, object, bool]


@dataclass(frozen=True, slots=True)
class Renewal:
    """A statement that renews: by the `token` in its text, or None for `$1`; `column` is the answer's name."""

    token: bytes | None = field(repr=False)
    column: str


@dataclass(slots=True)
class _Portal:
    renewal: Renewal
    token: bytes | None = field(repr=False)
    format: int
    done: bool = False


class Abort(Protocol):
    """Leaves the target where an error of its own would."""

    def __call__(self, *, simple: bool) -> Generator[Any, object, None]:
        """Do it; `simple`: for the simple protocol."""


@dataclass(frozen=True, slots=True)
class Wire:
    """What a renewal needs of the client's side: its steps, a fresh token for a question, and how to wait for it."""

    settle: Callable[[], Generator[Any, object, None]]
    abort: Abort
    deny: Callable[[Statement, Judgement], Generator[Any, object, None]]
    ask: Callable[[], Token]
    answer: Enum


def recognise(sql: bytes) -> Renewal | bool:
    """Return the renewal that `sql` is, True where it only resembles one, else False."""
    if b"renew" not in sql.lower() or _ABOUT.search(sql) is None:
        return False
    found = _SHAPE.fullmatch(sql)
    if found is None or len(sql) > _LONGEST:
        return True
    return Renewal(found["token"], (found["alias"] or b"renew").decode("ascii"))


class RenewalSide:
    """Takes the client's messages that are about renewals; all others are left alone."""

    def __init__(self, exchange: Exchange, wire: Wire) -> None:
        self._x, self._wire = exchange, wire
        self._prepared: dict[bytes, Renewal] = {}
        self._portals: dict[bytes, _Portal] = {}
        self._handlers: dict[bytes, Callable[[Message], Steps]] = {
            b"Q": self._query,
            b"P": self._parse,
            b"B": self._bind,
            b"D": self._describe,
            b"E": self._execute,
            b"C": self._close,
        }

    def concerns(self, found: Message) -> bool:
        """Say at once whether `found` may be about a renewal or end what is kept of one; else leave `takes` out."""
        if self._prepared or self._portals:
            return True
        return found.kind in b"QP" and b"renew" in found.body.lower()

    def may_concern(self, first: bytes) -> bool:
        """Say whether a turn that begins with this Query or Parse may be about a renewal, or end one that is kept."""
        return bool(self._prepared or self._portals) or b"renew" in first.lower()

    def takes(self, found: Message) -> Steps:
        """Handle `found` where it is about a renewal; returns whether it was."""
        if found.kind == b"S":
            self._portals.clear()
        handler = self._handlers.get(found.kind)
        if handler is None or not (found.kind in b"QP" or self._prepared or self._portals):
            return False
        return (yield from handler(found))

    def _query(self, found: Message) -> Steps:
        renewal = recognise(decode_query(found.body))
        if renewal is False:
            self._prepared.pop(b"", None)  # a simple query ends the unnamed ones
            self._portals.pop(b"", None)
            return False
        yield from self._wire.settle()
        if self._x.skip_until_sync:
            return True
        if not isinstance(renewal, Renewal) or renewal.token is None:
            yield from self._resembles(WireProtocol.SIMPLE)
            return True
        answer = yield from self._renew(renewal.token)
        if isinstance(answer, Report):
            yield from self._wire.abort(simple=True)
            self._x.to_client(answer.encode(b"E"))
        else:
            self._x.to_client(_row_description(renewal, 0) + _result(answer))
        self._x.to_client(ready_for_query(self._x.status))
        return True

    def _parse(self, found: Message) -> Steps:
        parse = Parse.decode(found.body)
        renewal = recognise(parse.sql)
        self._prepared.pop(parse.name, None)
        if renewal is False:
            return False
        yield from self._wire.settle()
        if self._x.skip_until_sync:
            return True
        if not isinstance(renewal, Renewal) or len(self._prepared) >= _MOST:
            yield from self._resembles(WireProtocol.EXTENDED)
            return True
        self._prepared[parse.name] = renewal
        self._x.to_client(message(b"1"))
        return True

    def _bind(self, found: Message) -> Steps:
        bind = Bind.decode(found.body)
        renewal = self._prepared.get(bind.statement)
        self._portals.pop(bind.portal, None)
        if renewal is None:
            return False
        yield from self._wire.settle()
        if self._x.skip_until_sync:
            return True
        wanted = 1 if renewal.token is None else 0
        if len(bind.values) != wanted:
            words = f"bind message supplies {len(bind.values)} parameters, but hoop.renew needs {wanted}"
            yield from self._fail(report("ERROR", "08P01", words))
            return True
        token = renewal.token if renewal.token is not None else bind.values[0]
        if len(token or b"") > _LONGEST or len(self._portals) >= _MOST:
            yield from self._fail(report("ERROR", "54000", "hoop: renewal refused: too large, or too many at once"))
            return True
        self._portals[bind.portal] = _Portal(renewal, token, format_at(bind.result_formats, 0))
        self._x.to_client(message(b"2"))
        return True

    def _describe(self, found: Message) -> Steps:
        wanted = Named.decode(found.body)
        portal = self._portals.get(wanted.name) if wanted.target == b"P" else None
        renewal = portal.renewal if portal is not None else self._prepared.get(wanted.name)
        if renewal is None or (wanted.target == b"P" and portal is None):
            return False
        yield from self._wire.settle()
        if self._x.skip_until_sync:
            return True
        if wanted.target == b"S":
            types = [_TEXT_OID] if renewal.token is None else []
            self._x.to_client(message(b"t", UINT16.pack(len(types)) + b"".join(map(UINT32.pack, types))))
        self._x.to_client(_row_description(renewal, portal.format if portal is not None else 0))
        return True

    def _execute(self, found: Message) -> Steps:
        portal = self._portals.get(Execute.decode(found.body).portal)
        if portal is None:
            return False
        yield from self._wire.settle()
        if self._x.skip_until_sync:
            return True
        if portal.done:
            self._x.to_client(_complete(0))
            return True
        token, portal.token, portal.done = portal.token, None, True
        answer = yield from self._renew(token or b"")
        if isinstance(answer, Report):
            yield from self._fail(answer)
        else:
            self._x.to_client(_result(answer))
        return True

    def _close(self, found: Message) -> Steps:
        wanted = Named.decode(found.body)
        names: dict[bytes, Renewal] | dict[bytes, _Portal]
        names = self._prepared if wanted.target == b"S" else self._portals
        if names.pop(wanted.name, None) is None:
            return False
        yield from self._wire.settle()
        if not self._x.skip_until_sync:
            self._x.to_client(message(b"3"))
        return True

    def _renew(self, token: bytes) -> Generator[Any, object, Renewed | Report]:
        """Ask whether the session may go on with `token`."""
        self._x.actions.append(Renew(self._wire.ask(), token))
        answer = yield self._wire.answer
        if isinstance(answer, Renewed):
            return answer
        if not isinstance(answer, Refused):
            raise OurBug("a renewal was answered by something else")
        return answer.report

    def _fail(self, error: Report) -> Generator[Any, object, None]:
        yield from self._wire.abort(simple=False)
        self._x.to_client(error.encode(b"E"))
        self._x.skip_until_sync = True

    def _resembles(self, protocol: WireProtocol) -> Generator[Any, object, None]:
        verdict = Verdict(
            VerdictKind.DENY,
            "gateway/renew",
            "a text with hoop.renew( in it may hold a token, and is not looked into",
            "renew",
            hint="Write SELECT hoop.renew('<token>') or SELECT hoop.renew($1), and nothing else, as one statement.",
        )
        yield from self._wire.deny(Statement(HIDDEN, protocol), Judgement(verdict, ""))


def _row_description(renewal: Renewal, wire_format: int) -> bytes:
    return encode_row_description([ColumnDescription(renewal.column, 0, 0, _TEXT_OID, -1, -1, wire_format)])


def _result(answer: Renewed) -> bytes:
    """One row of text, the same bytes in both formats."""
    return encode_data_row([answer.words.encode()]) + _complete(1)


def _complete(rows: int) -> bytes:
    return message(b"C", cstring(f"SELECT {rows}".encode()))
