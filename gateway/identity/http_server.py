"""A very small HTTP/1.1 server: one request a connection, everything bounded.

It promises that a request has at most 16 KiB of head and 32 KiB of body and five seconds to arrive and be answered,
that no connection waits for another, and that silent ones give way to new ones. It never shows an exception to a
client. Without TLS the caller's listener must be on a loopback address.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import h11
import trio

MAX_HEAD_BYTES = 16 * 1024
MAX_BODY_BYTES = 32 * 1024
REQUEST_SECONDS = 5
MAX_CONNECTIONS = 64
_READ_SIZE = 16 * 1024
_REASONS = {200: b"OK", 400: b"Bad Request", 401: b"Unauthorized", 403: b"Forbidden", 404: b"Not Found",
            405: b"Method Not Allowed", 409: b"Conflict", 413: b"Content Too Large", 422: b"Unprocessable Content",
            500: b"Internal Server Error", 503: b"Service Unavailable"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Request:
    """A whole request; the body and the headers may hold a client's secret, so its repr hides them."""

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer, JSON unless `kind` says otherwise; the body may hold a token, so its repr hides it."""

    status: int
    body: bytes = field(repr=False)
    headers: tuple[tuple[str, str], ...] = ()
    kind: str = "application/json"


Answer: TypeAlias = "Callable[[Request], Response | Awaitable[Response]]"
"""Answers one request."""
Stream: TypeAlias = "trio.SocketStream | trio.SSLStream[trio.SocketStream]"
Listener: TypeAlias = "trio.SocketListener | trio.SSLListener[trio.SocketStream]"


class _Refused(Exception):
    """The request cannot be taken; the status says why."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


async def serve_http(listener: Listener, answer: Answer) -> None:
    """Serve `answer` on `listener` until cancelled; closes the listener and every connection then."""
    places: dict[trio.CancelScope, None] = {}

    async def handle(stream: Stream) -> None:
        if len(places) >= MAX_CONNECTIONS:
            oldest = next(iter(places))
            places.pop(oldest)
            oldest.cancel()  # whoever has been quiet longest gives way
        with trio.move_on_after(REQUEST_SECONDS) as place:
            places[place] = None
            try:
                await _converse(stream, answer)
            finally:
                places.pop(place, None)
                await trio.aclose_forcefully(stream)

    await trio.serve_listeners(handle, [listener])


async def _converse(stream: Stream, answer: Answer) -> None:
    """Read one request, answer it, and close so that the client has read the whole answer."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
    try:
        try:
            response = await _answer(await _read(stream, connection), answer)
        except _Refused as refused:
            response = _refusal(refused.status)
        except h11.RemoteProtocolError as fault:
            response = _refusal(fault.error_status_hint)
        await stream.send_all(_encode(connection, response))
        if isinstance(stream, trio.SSLStream):
            await stream.aclose()
            return
        await stream.send_eof()
        while await stream.receive_some(_READ_SIZE):  # until the client hangs up, else it may lose our answer
            pass
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return  # the client left: nobody is there to be answered


async def _read(stream: Stream, connection: h11.Connection) -> Request:
    head: h11.Request | None = None
    body = bytearray()
    while True:
        match connection.next_event():
            case h11.NEED_DATA:
                if connection.they_are_waiting_for_100_continue:
                    go_on = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
                    await stream.send_all(connection.send(go_on) or b"")
                connection.receive_data(bytes(await stream.receive_some(_READ_SIZE)))
            case h11.Request() as event:
                head = event
            case h11.Data(data=data):
                body += data
                if len(body) > MAX_BODY_BYTES:
                    raise _Refused(413)
            case h11.EndOfMessage() if head is not None:
                return _request(head, bytes(body))
            case _:
                raise trio.BrokenResourceError  # closed before a whole request


def _request(head: h11.Request, body: bytes) -> Request:
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in head.headers}
    return Request(head.method.decode("ascii"), head.target.decode("latin-1"), headers, body)


async def _answer(request: Request, answer: Answer) -> Response:
    try:
        found = answer(request)
        return found if isinstance(found, Response) else await found
    except Exception:  # noqa: BLE001  a server's border: one bad request must not end the service
        return _refusal(500)


def _refusal(status: int) -> Response:
    return Response(status if status in _REASONS else 400, b'{"error":"invalid_request"}')


def _encode(connection: h11.Connection, response: Response) -> bytes:
    """Return the answer's bytes. A connection in error still accepts a response, which then ends it."""
    headers = [
        ("content-type", response.kind),
        ("content-length", str(len(response.body))),
        ("cache-control", "no-store"),
        ("connection", "close"),
        *response.headers,
    ]
    head = h11.Response(status_code=response.status, headers=headers, reason=_REASONS[response.status])
    parts = [connection.send(head), connection.send(h11.Data(data=response.body)), connection.send(h11.EndOfMessage())]
    return b"".join(part or b"" for part in parts)
