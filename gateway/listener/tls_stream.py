"""A byte stream inside TLS, over a `PlainStream`: what sessions read and write where both sides agreed on TLS.

Promises what `stream` promises, and that closing says close_notify. An end of file without one is an end of file too:
PostgreSQL clients often leave so, and every message has its length, so that nothing can be cut unseen. Trio's SSLStream
offers the first or the second only.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import Final

import trio

from gateway.listener.stream import GOODBYE_SECONDS, RECEIVE_BYTES, PlainStream

SEND_BYTES: Final = 256 * 1024
_UNSENT_LIMIT: Final = 16 * 1024


class TlsStream(trio.abc.Stream):
    """TLS over a PlainStream; `received` are bytes of the handshake that were read before TLS was recognised.

    Call `do_handshake` first. What is not TLS, or fails in it, is a BrokenResourceError that names OpenSSL's reason.
    """

    def __init__(
        self,
        transport: PlainStream,
        context: ssl.SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        received: bytes = b"",
    ) -> None:
        self._transport = transport
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._incoming.write(received)
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_hostname
        )
        self._sending = False
        self._whole = False
        """Whether TLS records can be sent: the handshake is done and no send was cut off in the middle."""
        self.ended = False
        """`read_now` met the end of what the peer sends."""

    @property
    def socket(self) -> socket.socket:
        """The socket itself, for its addresses and options; not for reading or writing."""
        return self._transport.socket

    @property
    def alpn(self) -> str | None:
        """The protocol agreed on by ALPN."""
        return self._tls.selected_alpn_protocol()

    @property
    def version(self) -> str | None:
        """The version of TLS, such as `TLSv1.3`."""
        return self._tls.version()

    @property
    def peer_certificate(self) -> bytes | None:
        """The peer's certificate (DER), whether or not it was verified."""
        return self._tls.getpeercert(binary_form=True)

    async def do_handshake(self) -> None:
        """Run the handshake to its end."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fetch()
            except (ssl.SSLError, ssl.CertificateError) as error:
                with contextlib.suppress(trio.BrokenResourceError):
                    await self._flush()  # the alert that tells the peer why
                raise trio.BrokenResourceError(_reason(error)) from error
            else:
                self._whole = True
                await self._flush()
                return

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return what is there, at most `max_bytes` (64 KiB where None); b"" at end of file."""
        limit = max_bytes or RECEIVE_BYTES
        while (data := self._decrypt(limit)) is None:
            await self._fetch()
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send everything; waits while the peer does not read. Cancelled on the way, the stream can send no more."""
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        if not self._whole:
            raise trio.BrokenResourceError("an earlier send was cut off")
        self._sending = True
        try:
            if len(data) <= SEND_BYTES:
                await self._encrypt(data)
            else:
                with memoryview(data) as view:
                    for start in range(0, len(view), SEND_BYTES):
                        await self._encrypt(view[start : start + SEND_BYTES])
        finally:
            self._sending = False

    def fileno(self) -> int:
        """Return the number of the socket's file; -1 once it is closed."""
        return self._transport.fileno()

    def read_now(self) -> bytes | None:
        """Return what is there, about 64 KiB at most; None: nothing; b"": end of file, however it came about."""
        received = self._transport.read_now()
        if received:
            self._incoming.write(received)
        elif received is not None:
            self._incoming.write_eof()
        try:
            data = self._decrypt_all()
        except trio.BrokenResourceError:
            data = b""
        self.ended = self.ended or data == b""
        return data

    def send_now(self, data: bytes | memoryview) -> bool:
        """Send without waiting; False: the socket did not take all of it, and `push` must send the rest first."""
        if self._sending or not self._whole:
            raise trio.BrokenResourceError("an earlier send was cut off")
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            raise trio.BrokenResourceError(_reason(error)) from error
        self._whole = False  # until every byte of the records is out
        self._whole = self._transport.send_now(self._outgoing.read())
        return self._whole

    def push(self) -> bool:
        """Send what the last `send_now` left, as far as the socket takes it; True: nothing is left."""
        self._whole = self._transport.push()
        return self._whole

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the socket takes bytes again."""
        await self._transport.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Say close_notify, as far as the peer takes it within a second, and close."""
        try:
            await self._say_goodbye()
        finally:
            await self._transport.aclose()

    async def part(self) -> None:
        """Say close_notify, wait a second at most for the peer to leave, and close."""
        try:
            await self._say_goodbye()
            await self._transport.part()
        finally:
            self._transport.close_now()

    async def _say_goodbye(self) -> None:
        if self._whole and not self._sending and self.socket.fileno() >= 0:
            self._whole = False
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()
            with trio.move_on_after(GOODBYE_SECONDS), contextlib.suppress(trio.BrokenResourceError):
                await self._flush()

    async def _encrypt(self, data: bytes | bytearray | memoryview) -> None:
        try:
            if data:
                self._tls.write(data)
        except ssl.SSLError as error:
            raise trio.BrokenResourceError(_reason(error)) from error
        self._whole = False  # until every byte of the records is out
        await self._flush()
        self._whole = True

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await self._transport.send_all(self._outgoing.read())

    async def _fetch(self) -> None:
        data = await self._transport.receive_some()
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _decrypt_all(self) -> bytes | None:
        """As `_decrypt`, for `read_now`: everything held; asks OpenSSL no more often than it must."""
        tls = self._tls
        if self._outgoing.pending > _UNSENT_LIMIT:
            raise trio.BrokenResourceError("the peer asks for TLS answers without end")
        try:
            data = tls.read(RECEIVE_BYTES)
            if not data or not (self._incoming.pending or tls.pending()):
                return data
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLError:
            data = b""  # what it is comes again below
        rest = self._decrypt(2 * RECEIVE_BYTES)
        self.ended = self.ended or rest == b""
        return data + rest if rest else data or rest

    def _decrypt(self, limit: int) -> bytes | None:
        """Return plain bytes of every record held, b"" at end of file, None where more must come."""
        parts: list[bytes] = []
        try:
            while limit > 0:
                part = self._tls.read(limit)
                if not part:
                    break
                parts.append(part)
                limit -= len(part)
        except ssl.SSLWantReadError:
            # Answers that OpenSSL wants to give (no_renegotiation, key updates) travel with the next send; a peer that
            # asks for ever more of them would fill memory.
            if self._outgoing.pending > _UNSENT_LIMIT and not self._sending:
                raise trio.BrokenResourceError("the peer asks for TLS answers without end") from None
            return b"".join(parts) if parts else None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b"".join(parts)
        except ssl.SSLError as error:
            if parts:
                return b"".join(parts)  # the error comes again with the next call
            raise trio.BrokenResourceError(_reason(error)) from error
        return b"".join(parts)


Stream = PlainStream | TlsStream
"""What the gateway calls a stream: either of the two."""


def _reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verification failed: {error.verify_message}"
    if isinstance(error, ssl.SSLEOFError):
        return "the peer closed the connection during the TLS handshake"
    return (error.reason or "TLS failed").replace("_", " ").lower()
