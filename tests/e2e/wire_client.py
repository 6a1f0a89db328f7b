"""A PostgreSQL client that sends exactly the messages it is told to, in any order, and hides nothing of the answer.

Blocking sockets with deadlines. Speaks to the gateway (TLS, a token) and to a server directly (SCRAM), so that the
same bytes can be sent both ways and the answers compared.
"""

from __future__ import annotations

import os
import socket
import ssl
import struct
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from running import RunningGateway

from gateway.demo.postgres import PostgresServer
from gateway.pgwire.backend import Report, decode_data_row
from gateway.pgwire.framing import Message, MessageReader, cstring, message
from gateway.pgwire.frontend import (
    PROTOCOL_3_0,
    TERMINATE,
    Bind,
    Parse,
    cancel_request,
    execute,
    password,
    query,
    ssl_request,
    startup,
)
from gateway.pgwire.scram import ScramClient

PATIENCE = 20.0
"""Seconds after which an answer that is due is missing."""


@dataclass
class Wire:
    """One connection. `received` is every byte that ever came inside it."""

    stream: socket.socket
    received: bytearray = field(default_factory=bytearray)
    parameters: dict[str, str] = field(default_factory=dict)
    pid: int = 0
    key: bytes = b""

    def __post_init__(self) -> None:
        self._reader = MessageReader(1 << 30)
        self.stream.settimeout(PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stream.close()

    # --- sending and receiving ---------------------------------------------------------------------------------------

    def send(self, *data: bytes) -> Self:
        self.stream.sendall(b"".join(data))
        return self

    def message(self) -> Message | None:
        """Return the next message; None at end of file."""
        while (found := self._reader.next()) is None:
            data = self.stream.recv(1 << 18)
            if not data:
                assert self._reader.pending == 0, "the connection ended inside a message"
                return None
            self.received += data
            self._reader.feed(data)
        return found

    def expect(self, kind: str) -> Message:
        """Return the next message, which must be of this kind."""
        found = self.message()
        assert found is not None, f"the connection ended where {kind} was due"
        assert found.kind == kind.encode(), shown([found])
        return found

    def until(self, kind: str = "Z", count: int = 1) -> list[Message]:
        """Return messages up to the `count`-th of this kind."""
        found: list[Message] = []
        while count:
            new = self.message()
            assert new is not None, f"the connection ended where {kind} was due, after {shown(found)}"
            found.append(new)
            count -= new.kind == kind.encode()
        return found

    def rest(self) -> list[Message]:
        """Return everything up to the end of the connection."""
        return list(iter(self.message, None))

    def silent(self, seconds: float) -> bool:
        """Whether nothing comes for that long. Only for what must not come at all."""
        if self._reader.peek() is not None:
            return False
        self.stream.settimeout(seconds)
        try:
            data = self.stream.recv(1 << 16)
        except TimeoutError:
            return True
        finally:
            self.stream.settimeout(PATIENCE)
        self._reader.feed(data)
        return False

    def query(self, sql: str) -> list[Message]:
        """Run a simple Query to its ReadyForQuery."""
        return self.send(query(sql.encode())).until()

    def rows(self, sql: str) -> list[tuple[str | None, ...]]:
        """Return the rows of a simple Query that must succeed."""
        found = self.query(sql)
        assert not errors(found), shown(found)
        return rows(found)

    def leave(self) -> None:
        """Say goodbye as clients do."""
        self.send(TERMINATE)
        self.rest()
        self.stream.close()

    # --- coming in ---------------------------------------------------------------------------------------------------

    def log_in(self, parameters: Mapping[str, str], secret: str, protocol: int = PROTOCOL_3_0) -> Self:
        """Send a StartupMessage and a password or token, and read to the first ReadyForQuery."""
        self.send(startup(parameters, protocol))
        self.authenticate(secret)
        for found in self.until():
            match found.kind:
                case b"S":
                    name, value = found.body.split(b"\0")[:2]
                    self.parameters[name.decode()] = value.decode()
                case b"K":
                    self.pid, self.key = struct.unpack("!i", found.body[:4])[0], found.body[4:]
        return self

    def authenticate(self, secret: str) -> None:
        """Answer whatever is asked for until AuthenticationOk. An error fails the test with its words."""
        scram: ScramClient | None = None
        while True:
            found = self.message()
            assert found is not None, "the connection ended during login"
            if found.kind == b"v":
                continue
            assert found.kind == b"R", shown([found])
            code, rest = struct.unpack("!i", found.body[:4])[0], found.body[4:]
            if code == 0:
                return
            if code == 3:
                self.send(password(secret.encode()))
            elif code == 10:
                scram = ScramClient(secret.encode(), ["SCRAM-SHA-256"], os.urandom(18))
                first = scram.first()
                self.send(message(b"p", cstring(b"SCRAM-SHA-256") + struct.pack("!i", len(first)) + first))
            elif code == 11 and scram is not None:
                self.send(message(b"p", scram.final(rest)))
            elif code == 12 and scram is not None:
                scram.finish(rest)
            else:
                raise AssertionError(f"authentication {code} was asked for")


def plain(port: int) -> socket.socket:
    """Connect without a word."""
    connected = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connected


def secure(gateway: RunningGateway, *, direct: bool = False, alpn: str | None = "postgresql") -> ssl.SSLSocket:
    """Connect with verified TLS, by SSLRequest or at once."""
    context = ssl.create_default_context(cafile=str(gateway.root_certificate))
    if alpn:
        context.set_alpn_protocols([alpn])
    connected = plain(gateway.port)
    if not direct:
        connected.sendall(ssl_request())
        assert connected.recv(1) == b"S"
    return context.wrap_socket(connected, server_hostname="127.0.0.1", suppress_ragged_eofs=False)


def through(
    gateway: RunningGateway, connection: str, token: str, *, protocol: int = PROTOCOL_3_0, **parameters: str
) -> Wire:
    """Return a session through the gateway, ready for queries."""
    wire = Wire(secure(gateway))
    return wire.log_in({"user": "agent", "database": connection, **parameters}, token, protocol)


def direct(server: PostgresServer, database: str, **parameters: str) -> Wire:
    """Return a session with the server itself."""
    wire = Wire(plain(server.port))
    return wire.log_in({"user": server.user, "database": database, **parameters}, server.password)


def send_cancel(gateway: RunningGateway, wire: Wire, *, tls: bool = False, key: bytes | None = None) -> bytes:
    """Send a CancelRequest for `wire`; return what came back before the end (nothing, one hopes).

    Inside TLS an end without close_notify raises `ssl.SSLEOFError`.
    """
    with secure(gateway) if tls else plain(gateway.port) as connected:
        connected.sendall(cancel_request(wire.pid, wire.key if key is None else key))
        return connected.recv(100)


# --- messages ---------------------------------------------------------------------------------------------------------


def prepare(sql: str, name: str = "", types: Iterable[int] = ()) -> bytes:
    return Parse(name.encode(), sql.encode(), tuple(types)).encode()


def bind(
    *values: bytes | None, statement: str = "", portal: str = "", formats: tuple[int, ...] = (), results: int = 0
) -> bytes:
    body = cstring(portal.encode()) + cstring(statement.encode())
    body += struct.pack(f"!H{len(formats)}H", len(formats), *formats) + struct.pack("!H", len(values))
    for value in values:
        body += struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value
    found = message(b"B", body + struct.pack("!HH", 1, results))
    Bind.decode(found[5:])
    return found


def run(sql: str, *values: bytes | None, portal: str = "", max_rows: int = 0) -> bytes:
    """Parse, Bind and Execute of an unnamed statement, without Sync."""
    return prepare(sql) + bind(*values, portal=portal) + execute(portal.encode(), max_rows)


def copy_data(data: bytes) -> bytes:
    return message(b"d", data)


COPY_DONE = message(b"c")


def copy_fail(words: str) -> bytes:
    return message(b"f", cstring(words.encode()))


# --- answers ----------------------------------------------------------------------------------------------------------


def kinds(found: Iterable[Message]) -> str:
    return "".join(each.kind.decode() for each in found)


def errors(found: Iterable[Message]) -> list[Report]:
    return [Report.decode(each.body) for each in found if each.kind == b"E"]


def notices(found: Iterable[Message]) -> list[Report]:
    return [Report.decode(each.body) for each in found if each.kind == b"N"]


def error(found: Iterable[Message]) -> tuple[str, str]:
    """SQLSTATE and message of the one error there is."""
    (said,) = errors(found)
    return said.sqlstate, said.get("M") or ""


def rows(found: Iterable[Message]) -> list[tuple[str | None, ...]]:
    values = (decode_data_row(each.body) for each in found if each.kind == b"D")
    return [tuple(None if value is None else value.decode() for value in row) for row in values]


def status(found: list[Message]) -> str:
    """The transaction status of the ReadyForQuery at the end."""
    assert found[-1].kind == b"Z", shown(found)
    return found[-1].body.decode()


def shown(found: Iterable[Message]) -> str:
    """Messages for a failing test's eyes."""
    return " ".join(
        f"{each.kind.decode()}{Report.decode(each.body).fields}" if each.kind in (b"E", b"N") else repr(each)[:200]
        for each in found
    )


def comparable(found: Iterable[Message]) -> list[object]:
    """Messages as they must be equal both ways; an error of the gateway's own names no C source."""
    return [
        (each.kind, [(code, value) for code, value in Report.decode(each.body).fields if code not in "FLR"])
        if each.kind in (b"E", b"N")
        else (each.kind, each.body)
        for each in found
    ]


def eventually(what: object, seconds: float = PATIENCE) -> object:
    """Ask again and again until the answer is true; return it."""
    deadline = time.monotonic() + seconds
    while True:
        found = what()  # type: ignore[operator]
        if found:
            return found
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def flood(wire: Wire, data: bytes, most: int) -> int:
    """Send `data` again and again until nobody takes it any more, or `most` bytes were taken; return how many."""
    wire.stream.settimeout(0.5)
    taken = 0
    try:
        while taken < most:
            wire.stream.sendall(data)
            taken += len(data)
    except TimeoutError:
        return taken
    finally:
        wire.stream.settimeout(PATIENCE)
    return taken


def memory(gateway: RunningGateway) -> int:
    """Resident bytes of the gateway's process."""
    return int(Path(f"/proc/{gateway.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
