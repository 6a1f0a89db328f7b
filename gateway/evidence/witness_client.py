"""Sending one checkpoint to a witness (C2SP `tlog-witness`) or a time-stamping authority, over HTTP/1.1 (Trio).

Promises one request a connection, an answer of bounded length, no redirects and no proxies. Believes nothing: what an
answer is worth, its signature says. The caller sets the deadline.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from urllib.parse import SplitResult

import h11
import trio

from gateway.errors import GatewayError

LIMIT = 16 << 10


class WitnessFault(GatewayError):
    """The witness could not be asked, or its answer is no answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a witness answered: HTTP's status and the body."""

    status: int
    body: bytes


async def add_checkpoint(prefix: SplitResult, body: bytes) -> Answer:
    """Send a submission to the witness at URL `prefix`. Raises `WitnessFault`."""
    return await post(prefix, f"{prefix.path.rstrip('/')}/add-checkpoint", body)


async def post(url: SplitResult, target: str, body: bytes, kind: str = "", limit: int = LIMIT) -> Answer:
    """Send `body` to path `target` of the server in `url`, as media type `kind`. Raises `WitnessFault`.

    `limit`: bytes of the answer, at most.
    """
    host = url.hostname or ""
    headers = [("host", url.netloc.rpartition("@")[2]), ("content-length", str(len(body))), ("connection", "close")]
    headers += [("content-type", kind)] if kind else []
    request = h11.Request(method="POST", target=target, headers=headers)
    try:
        if url.scheme == "https":
            context = ssl.create_default_context()
            stream: trio.abc.Stream = await trio.open_ssl_over_tcp_stream(
                host, url.port or 443, ssl_context=context, https_compatible=True
            )
        else:
            stream = await trio.open_tcp_stream(host, url.port or 80)
        async with stream:
            return await _converse(stream, request, body, limit)
    except (OSError, trio.BrokenResourceError, ssl.SSLError) as fault:
        cause = fault.__cause__ if isinstance(fault, trio.BrokenResourceError) and fault.__cause__ else fault
        raise WitnessFault(f"cannot be reached: {' '.join(str(cause).split()) or type(cause).__name__}") from None
    except UnicodeError:
        raise WitnessFault("its host's name is none") from None
    except h11.RemoteProtocolError:
        raise WitnessFault("its answer is no HTTP") from None


async def _converse(stream: trio.abc.Stream, request: h11.Request, body: bytes, limit: int) -> Answer:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=LIMIT)
    parts = [connection.send(request), connection.send(h11.Data(data=body)), connection.send(h11.EndOfMessage())]
    await stream.send_all(b"".join(part or b"" for part in parts))
    status, found = 0, bytearray()
    while True:
        match connection.next_event():
            case h11.NEED_DATA:
                connection.receive_data(bytes(await stream.receive_some(LIMIT)))
            case h11.Response(status_code=code):
                status = code
            case h11.Data(data=data):
                found += data
                if len(found) > limit:
                    raise WitnessFault("its answer is too long")
            case h11.EndOfMessage():
                return Answer(status, bytes(found))
            case h11.InformationalResponse():
                continue
            case _:
                raise WitnessFault("it hung up")
