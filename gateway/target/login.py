"""Logs in to a target over a stream that is already connected (and inside TLS, where that is wanted).

Promises: the target is believed only as far as its authentication method goes: a SCRAM exchange counts once the server
proved itself; a password goes in clear text only inside TLS, to this same machine, or where `sslmode=disable` accepts
that; sizes and message counts are bounded; errors carry the target's words, cleaned, and never a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import trio

from gateway.errors import ClientFault, TargetFault
from gateway.listener.tls_stream import Stream, TlsStream
from gateway.model import Entropy
from gateway.pgwire.backend import Report
from gateway.pgwire.framing import INT32, BodyReader, Message, MessageReader, cstring, message
from gateway.pgwire.frontend import password as password_message
from gateway.pgwire.frontend import startup
from gateway.pgwire.scram import NONCE_BYTES, ScramClient, md5_response
from gateway.target.tls import server_end_point

LOGIN_MESSAGE_LIMIT = 64 * 1024
LOGIN_MESSAGES = 1000
_WORDS = 300


class LoginRejected(TargetFault):
    """The target answered the login with an error; `sqlstate` is its code."""

    def __init__(self, words: str, sqlstate: str) -> None:
        super().__init__(words)
        self.sqlstate = sqlstate


@dataclass
class LoggedIn:
    """What the target said until its first ReadyForQuery."""

    parameters: dict[str, str] = field(default_factory=dict)
    pid: int = 0
    key: bytes = field(default=b"", repr=False)
    leftover: bytes = b""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who logs in; `clear_text` says whether the password may be sent as it is."""

    user: str
    password: bytes | None = field(repr=False)
    clear_text: bool


async def log_in(stream: Stream, parameters: Mapping[str, str], credentials: Credentials, entropy: Entropy) -> LoggedIn:
    """Send the StartupMessage with exactly these parameters and go on to ReadyForQuery.

    Raises LoginRejected, or TargetFault where the target is gone or breaks the protocol. The caller sets the deadline.
    """
    try:
        login = _Login(stream, credentials, entropy)
        await stream.send_all(startup(parameters))
        return await login.run()
    except ClientFault as fault:  # the wire module's word for malformed bytes; here they are the target's
        raise TargetFault(f"the target does not speak the PostgreSQL protocol: {fault}") from None
    except trio.BrokenResourceError as error:
        raise TargetFault(f"the connection to the target broke during login: {error}") from None


class _Login:
    def __init__(self, stream: Stream, credentials: Credentials, entropy: Entropy) -> None:
        self._stream = stream
        self._credentials = credentials
        self._entropy = entropy
        self._reader = MessageReader(LOGIN_MESSAGE_LIMIT)
        self._last = b""
        self._scram: ScramClient | None = None
        self._authenticated = False
        self._result = LoggedIn()

    async def run(self) -> LoggedIn:
        for _ in range(LOGIN_MESSAGES):
            found = await self._receive()
            if not self._authenticated:
                await self._authenticate(found)
            elif self._settle(found):
                # What is still held came with the last piece: before it, this message was not whole.
                self._result.leftover = self._last[len(self._last) - self._reader.pending :]
                return self._result
        raise TargetFault("the target's login does not end")

    async def _receive(self) -> Message:
        while (found := self._reader.next()) is None:
            self._last = await self._stream.receive_some()
            if not self._last:
                raise TargetFault("the target closed the connection during login")
            self._reader.feed(self._last)
        if found.kind == b"E":
            raise self._rejected(Report.decode(found.body))
        return found

    def _settle(self, found: Message) -> bool:
        """Take one message between authentication and ReadyForQuery; True at the latter."""
        body = BodyReader(found.body)
        match found.kind:
            case b"S":
                name, value = body.cstring(), body.cstring()
                self._result.parameters[name.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
            case b"K":
                self._result.pid, self._result.key = body.int32(), body.rest
                if not 4 <= len(self._result.key) <= 256:
                    raise ClientFault("invalid length of cancel key")
            case b"N":
                pass  # a notice at login is for the gateway's operator at most
            case b"Z":
                return True
            case _:
                raise ClientFault(f"unexpected message {found.kind!r} after authentication")
        return False

    async def _authenticate(self, found: Message) -> None:
        if found.kind == b"N":
            return
        if found.kind != b"R":
            raise ClientFault(f"unexpected message {found.kind!r} during authentication")
        body = BodyReader(found.body)
        match body.int32():
            case 0:
                if self._scram is not None and not self._scram.finished:
                    raise TargetFault("the target ended the SCRAM exchange without proving that it knows the password")
                self._authenticated = True
            case 3:
                if not self._credentials.clear_text:
                    raise TargetFault(
                        "the target asks for the password in clear text over an unencrypted connection; "
                        "set sslmode=verify-full (or require)"
                    )
                await self._stream.send_all(password_message(self._password()))
            case 5:
                answer = md5_response(self._credentials.user.encode(), self._password(), body.take(4))
                await self._stream.send_all(password_message(answer))
            case 10 if self._scram is None:
                await self._begin_scram(body.rest)
            case 11 if self._scram is not None:
                # Hashing takes as long as the target says: in a thread, where it delays nobody.
                final = await trio.to_thread.run_sync(self._scram.final, body.rest, abandon_on_cancel=True)
                await self._stream.send_all(message(b"p", final))
            case 12 if self._scram is not None:
                self._scram.finish(body.rest)
            case method:
                raise TargetFault(f"the target asks for authentication method {method}, which is not supported here")

    async def _begin_scram(self, offer: bytes) -> None:
        offered = [name.decode("latin-1") for name in offer.split(b"\0") if name]
        certificate = self._stream.peer_certificate if isinstance(self._stream, TlsStream) else None
        binding = server_end_point(certificate) if certificate else None
        self._scram = ScramClient(self._password(), offered, self._entropy.bytes(NONCE_BYTES), binding)
        first = self._scram.first()
        answer = cstring(self._scram.mechanism.encode()) + INT32.pack(len(first)) + first
        await self._stream.send_all(message(b"p", answer))

    def _password(self) -> bytes:
        if self._credentials.password is None:
            raise TargetFault("the target asks for a password and the connection has none configured")
        return self._credentials.password

    def _rejected(self, said: Report) -> LoginRejected:
        words = said.get("M") or ""
        secret = self._credentials.password
        if secret and secret.decode("utf-8", "surrogateescape") in words:
            words = "(the target's words held the password)"  # a target may be hostile, or log verbosely
        sqlstate = said.sqlstate if said.sqlstate.isalnum() and len(said.sqlstate) == 5 else "XX000"
        return LoginRejected(f"the target refused the login: {clean(words)} ({sqlstate})", sqlstate)


def clean(words: str) -> str:
    """Return a target's words fit for a log line or a terminal: printable, and not too many."""
    return "".join(char if char.isprintable() else "?" for char in words)[:_WORDS]
