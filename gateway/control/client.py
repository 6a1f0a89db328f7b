"""A client of the control socket for the commands (Trio): one call after the other, no events.

Promises that every fault is one line that says what to do: nobody listens, no permission, another version, refused.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import trio

from gateway import __version__
from gateway.control.framing import Lines
from gateway.control.messages import (
    Event,
    Failure,
    Hello,
    Malformed,
    Refusal,
    Request,
    Response,
    ServerMessage,
    Welcome,
    decode_server,
    encode,
)
from gateway.errors import GatewayError
from gateway.model import Json

PATIENCE = 30
"""Seconds for any answer but that of `approvals.wait`."""


class Unreachable(GatewayError):
    """No gateway answers at the control socket."""


class ControlClient:
    """A greeted connection; made by `connect`."""

    def __init__(self, stream: trio.SocketStream, path: Path) -> None:
        self._stream = stream
        self._path = path
        self._lines = Lines()
        self._inbox: list[bytes] = []
        self._last = 0

    async def greet(self) -> Welcome:
        """Say hello. Raises Unreachable and Refusal."""
        await self._send(encode(Hello(f"hoop-gateway {__version__}")))
        with _patience(PATIENCE, self._path):
            message = await self._message()
        if isinstance(message, Failure):
            raise Refusal(message.code, message.message)
        if not isinstance(message, Welcome):
            raise Unreachable(f"what listens on {self._path} is no gateway of this version")
        return message

    async def call(self, method: str, params: Mapping[str, Json] | None = None, patience: float = PATIENCE) -> Response:
        """Return the answer. Raises Refusal with the gateway's code and words, and Unreachable."""
        self._last += 1
        await self._send(encode(Request(self._last, method, params or {})))
        with _patience(patience, self._path):
            while True:
                match await self._message():
                    case Response(number) as response if number == self._last:
                        return response
                    case Failure(number, code, words) if number in {self._last, None}:
                        raise Refusal(code, words)
                    case Event() | Response() | Failure() | Welcome():
                        continue

    async def call_all(self, method: str, params: Mapping[str, Json] | None = None) -> list[Json]:
        """Return a whole list, page by page."""
        found: list[Json] = []
        after: dict[str, Json] = {}
        while True:
            response = await self.call(method, {**(params or {}), **after})
            found += response.result if isinstance(response.result, list) else []
            if response.next is None:
                return found
            after = {"after": response.next}

    async def _send(self, line: bytes) -> None:
        with suppress(trio.BrokenResourceError):  # why may stand in the receiving half; reading tells
            await self._stream.send_all(line)

    async def _message(self) -> ServerMessage:
        try:
            while not self._inbox:
                data = await self._stream.receive_some(65_536)
                if not data:
                    raise Unreachable(f"the gateway at {self._path} closed the connection")
                self._inbox = self._lines.feed(bytes(data))[::-1]
            return decode_server(self._inbox.pop())
        except trio.BrokenResourceError:
            raise Unreachable(f"the gateway at {self._path} closed the connection") from None
        except Malformed as fault:
            raise Unreachable(f"what listens on {self._path} is no gateway of this version: {fault}") from None


@asynccontextmanager
async def connect(path: Path) -> AsyncIterator[ControlClient]:
    """Connect and greet. Raises Unreachable and Refusal."""
    try:
        with _patience(PATIENCE, path):
            stream = await trio.open_unix_socket(str(path))
    except FileNotFoundError:
        raise Unreachable(f"no gateway runs here: {path} does not exist; start it with `hoop-gateway serve`") from None
    except ConnectionRefusedError:
        raise Unreachable(f"no gateway listens on {path}; start it with `hoop-gateway serve`") from None
    except PermissionError:
        raise Unreachable(f"you may not open {path}: your user must be in the group of that socket") from None
    except (OSError, ValueError) as fault:
        raise Unreachable(f"{path} cannot be opened: {getattr(fault, 'strerror', None) or fault}") from None
    async with stream:
        client = ControlClient(stream, path)
        await client.greet()
        yield client


@contextmanager
def _patience(seconds: float, path: Path) -> Iterator[None]:
    """A deadline whose end is a fault in words."""
    with trio.move_on_after(seconds) as scope:
        yield
    if scope.cancelled_caught:
        raise Unreachable(f"the gateway at {path} does not answer")
