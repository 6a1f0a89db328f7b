"""Sending one checkpoint to a witness: C2SP `tlog-witness`, `add-checkpoint`, over HTTP/1.1 (Trio).

Promises one request a connection, an answer of at most 16 KiB, no redirects and no proxies. Believes nothing: what an
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
    host = prefix.hostname or ""
    try:
        if prefix.scheme == "https":
            context = ssl.create_default_context()
            stream: trio.abc.Stream = await trio.open_ssl_over_tcp_stream(
                host, prefix.port or 443, ssl_context=context, https_compatible=True
            )
        else:
            stream = await trio.open_tcp_stream(host, prefix.port or 80)
        async with stream:
            return await _converse(stream, prefix, body)
    except (OSError, trio.BrokenResourceError, ssl.SSLError) as fault:
        cause = fault.__cause__ if isinstance(fault, trio.BrokenResourceError) and fault.__cause__ else fault
        raise WitnessFault(f"cannot be reached: {' '.join(str(cause).split()) or type(cause).__name__}") from None
    except UnicodeError:
        raise WitnessFault("its host's name is none") from None
    except h11.RemoteProtocolError:
        raise WitnessFault("its answer is no HTTP") from None


async def _converse(stream: trio.abc.Stream, prefix: SplitResult, body: bytes) -> Answer:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=LIMIT)
    headers = [("host", prefix.netloc.rpartition("@")[2]), ("content-length", str(len(body))), ("connection", "close")]
    request = h11.Request(method="POST", target=f"{prefix.path.rstrip('/')}/add-checkpoint", headers=headers)
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
                if len(found) > LIMIT:
                    raise WitnessFault("its answer is too long")
            case h11.EndOfMessage():
                return Answer(status, bytes(found))
            case h11.InformationalResponse():
                continue
            case _:
                raise WitnessFault("it hung up")
