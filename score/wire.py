"""A client that hides nothing: it sends one message of a case after the other and keeps every byte that comes back.

Blocking sockets with deadlines; TLS to the gateway, plain SCRAM to the server itself.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from gateway.pgwire.backend import Report
from gateway.pgwire.framing import Message, MessageReader, cstring, message
from gateway.pgwire.frontend import Parse, describe, execute, password, query, ssl_request, startup
from gateway.pgwire.scram import ScramClient

SECONDS = 60.0
_PARAMETER = re.compile(r"\$(\d+)")
_SYNC = message(b"S")


class Mode(StrEnum):
    """How a statement is sent, and in which format its result is asked for."""

    SIMPLE = "simple text"
    EXTENDED = "extended text"
    BINARY = "extended binary"


class PlayFault(Exception):
    """The other side broke off, or answered what nobody asked; the message is for people."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one message: all its bytes, rows, the error's SQLSTATE and words, and a COPY's data."""

    raw: bytes
    rows: tuple[bytes, ...]
    sqlstate: str = ""
    words: str = ""
    status: str = "I"
    """The transaction's, as ReadyForQuery has it."""

    @property
    def refused(self) -> str:
        """Return what the gateway's own refusal begins with, empty for everything else."""
        return self.words if self.words.startswith("hoop: ") else ""


@dataclass
class Wire:
    """One session."""

    stream: socket.socket
    _reader: MessageReader = field(default_factory=lambda: MessageReader(1 << 30))
    _raw: bytearray = field(default_factory=bytearray)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stream.close()

    def play(self, sql: str, mode: Mode) -> Answer:
        """Send one message and read to the end of its answer; COPY FROM STDIN is answered with a failure."""
        del self._raw[:]
        if mode is Mode.SIMPLE:
            self.stream.sendall(query(sql.encode()))
        else:
            self.stream.sendall(_extended(sql, binary=mode is Mode.BINARY))
        rows: list[bytes] = []
        failure: Report | None = None
        while (found := self._next()).kind != b"Z":
            if found.kind in {b"D", b"d"}:
                rows.append(bytes(found.body))
            elif found.kind == b"E":
                failure = failure or Report.decode(found.body)
            elif found.kind == b"G":
                end = b"" if mode is Mode.SIMPLE else _SYNC
                self.stream.sendall(message(b"f", cstring(b"nothing to copy")) + end)
        return Answer(
            bytes(self._raw),
            tuple(rows),
            failure.sqlstate if failure else "",
            (failure.get("M") or "") if failure else "",
            bytes(found.body).decode("latin-1"),
        )

    def _next(self) -> Message:
        while (found := self._reader.next()) is None:
            data = self.stream.recv(1 << 18)
            if not data:
                raise PlayFault("the session ended in the middle of an answer")
            self._raw += data
            self._reader.feed(data)
        return found

    def log_in(self, parameters: Mapping[str, str], secret: str) -> Self:
        """Log in with a password or token; raise PlayFault where the other side does not want it."""
        self.stream.sendall(startup(parameters))
        scram: ScramClient | None = None
        while (found := self._next()).kind != b"Z":
            if found.kind == b"E":
                raise PlayFault(str(Report.decode(found.body).get("M")))
            if found.kind != b"R":
                continue
            code, rest = struct.unpack("!i", found.body[:4])[0], bytes(found.body[4:])
            if code == 3:
                self.stream.sendall(password(secret.encode()))
            elif code == 10:
                scram = ScramClient(secret.encode(), ["SCRAM-SHA-256"], os.urandom(18))
                first = scram.first()
                chosen = cstring(b"SCRAM-SHA-256") + struct.pack("!i", len(first)) + first
                self.stream.sendall(message(b"p", chosen))
            elif code == 11 and scram is not None:
                self.stream.sendall(message(b"p", scram.final(rest)))
        return self


def direct(port: int, user: str, database: str, secret: str, settings: Mapping[str, str]) -> Wire:
    """Return a session with the server itself, begun with `settings`."""
    return Wire(_connect(port)).log_in({"user": user, "database": database, **settings}, secret)


def through(port: int, root: Path, connection: str, token: str) -> Wire:
    """Return a session through the gateway."""
    context = ssl.create_default_context(cafile=str(root))
    context.set_alpn_protocols(["postgresql"])
    stream = _connect(port)
    stream.sendall(ssl_request())
    if stream.recv(1) != b"S":
        raise PlayFault("the gateway speaks no TLS")
    secured = context.wrap_socket(stream, server_hostname="127.0.0.1")
    return Wire(secured).log_in({"user": "agent", "database": connection}, token)


def _connect(port: int) -> socket.socket:
    stream = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return stream


def _extended(sql: str, *, binary: bool) -> bytes:
    """Parse, Bind with NULL for every parameter, Describe, Execute, Sync."""
    found = () if sql.lstrip().upper().startswith("PREPARE") else _PARAMETER.findall(sql)
    count = max(map(int, found), default=0)
    bind = cstring(b"") + cstring(b"") + struct.pack("!HH", 0, count) + struct.pack("!i", -1) * count
    bind += struct.pack("!HH", 1, int(binary))
    parse = Parse(b"", sql.encode(), ()).encode()
    return parse + message(b"B", bind) + describe(b"P", b"") + execute(b"") + _SYNC
