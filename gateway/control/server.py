"""The control socket (Trio): who is there, by the kernel's word, and what they ask.

Promises that a slow, broken or hostile console never delays or harms anybody else: every peer has its own nursery, its
own bounded queues and deadlines; what is malformed gets an error. The socket is 0660 from its first moment. Whoever is
no operator is told so and gets nothing.
"""

from __future__ import annotations

import errno
import logging
import os
import pwd
import socket
import stat
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import trio

from gateway.approval.waiting import Approvals
from gateway.control.events import Events, Subscriber
from gateway.control.framing import Lines
from gateway.control.messages import (
    TOPICS,
    VERSION,
    Failure,
    Hello,
    Malformed,
    Request,
    Response,
    ServerMessage,
    Welcome,
    decode_client,
    encode,
)
from gateway.control.methods import ControlBackend, Methods
from gateway.control.operators import Operator, recognise
from gateway.errors import ConfigurationFault
from gateway.model import Clock, Json, format_time

__all__ = ["ControlBackend", "ControlServer"]

HELLO_SECONDS = 10
SEND_SECONDS = 30
"""A peer that takes nothing for so long is disconnected."""
MAX_PEERS = 32
MAX_RUNNING = 16
"""Requests of one peer that are worked on at the same time."""
MAX_MALFORMED = 20
_READ = 65_536
_log = logging.getLogger(__name__)


class ControlServer:
    """Serves one gateway's control socket."""

    def __init__(
        self,
        path: Path,
        backend: ControlBackend,
        approvals: Approvals,
        events: Events,
        *,
        gateway: str,
        version: str,
        operators: Sequence[Operator],
        development: bool,
        assurance: str,
        clock: Clock,
    ) -> None:
        self.path = path
        self.events = events
        self.gateway = gateway
        self.version = version
        self.assurance = assurance
        self.clock = clock
        self.methods = Methods(backend, approvals, assurance)
        self._operators = tuple(operators)
        self._development = development
        self._peers = 0

    def publish(self, event: str, data: Mapping[str, Json]) -> None:
        """Tell every console that subscribed; never waits."""
        self.events.publish(event, data)

    async def serve(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen until cancelled. Raises ConfigurationFault where the socket cannot be made."""
        listener = _listen(self.path)
        ours = os.lstat(self.path).st_ino
        try:
            async with trio.open_nursery() as nursery:
                task_status.started()
                while True:
                    try:
                        peer, _ = await listener.accept()
                    except OSError as fault:
                        if fault.errno not in {errno.EMFILE, errno.ENFILE, errno.ECONNABORTED, errno.ENOMEM}:
                            raise
                        await trio.sleep(0.1)
                        continue
                    nursery.start_soon(self._serve_peer, peer)
        finally:
            listener.close()
            if self.path.exists() and os.lstat(self.path).st_ino == ours:
                self.path.unlink()

    def operator(self, uid: int) -> Operator | None:
        """Return who the user `uid` of this host is to this gateway."""
        return recognise(
            uid, self._operators, development=self._development, own_uid=os.geteuid(), user_name=_user_name(uid)
        )

    async def _serve_peer(self, sock: trio.socket.SocketType) -> None:
        stream = trio.SocketStream(sock)
        self._peers += 1
        try:
            if self._peers > MAX_PEERS:
                await _farewell(stream, Failure(None, "unavailable", f"{MAX_PEERS} consoles are connected already"))
                return
            _, uid, _ = struct.unpack(
                "3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            )
            operator = self.operator(uid)
            if operator is None:
                words = (
                    f"user id {uid} is no operator of this gateway; an [[operator]] entry with uid = {uid} makes one"
                )
                await _farewell(stream, Failure(None, "forbidden", words))
                return
            await Peer(self, stream, operator).run()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the peer is gone, which is its right
        except Exception:  # noqa: BLE001  a border: one peer must not end the gateway
            _log.exception("a control connection failed")
        finally:
            self._peers -= 1
            await trio.aclose_forcefully(stream)


class Peer:
    """One connected console or command."""

    def __init__(self, server: ControlServer, stream: trio.SocketStream, operator: Operator) -> None:
        self._server = server
        self._stream = stream
        self._operator = operator
        self._lines = Lines()
        self._inbox: list[bytes] = []
        self._wake = trio.Event()
        self._subscriber = Subscriber(self._woken)
        self._resume: int | None = None
        self._sending = trio.Lock()
        self._running = 0
        self._malformed = 0

    async def run(self) -> None:
        """Greet, then answer and tell until the peer leaves."""
        with trio.move_on_after(HELLO_SECONDS) as patience:
            greeted = await self._greet()
        if patience.cancelled_caught or not greeted:
            return
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._tell, nursery.cancel_scope)
                await self._listen(nursery)
                nursery.cancel_scope.cancel()
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the peer is gone, which is its right
        finally:
            self._server.events.leave(self._subscriber)

    async def _greet(self) -> bool:
        try:
            line = await self._line()
            if line is None:
                return False
            hello = _hello(line)
        except Malformed as fault:
            await self._send(Failure(None, "bad_request", str(fault)))
            return False
        events, self._resume = self._server.events, hello.resume
        await self._send(
            Welcome(
                gateway=self._server.gateway,
                server=self._server.version,
                operator=self._operator.name,
                subject=self._operator.subject,
                roles=self._operator.roles,
                groups=self._operator.groups,
                assurance=self._server.assurance,
                next=events.next,
                gap=events.missed(hello.resume),
                time=format_time(self._server.clock.now()),
                restarted=events.restarted(hello.resume),
            )
        )
        return True

    async def _listen(self, nursery: trio.Nursery) -> None:
        while True:
            try:
                line = await self._line()
            except Malformed as fault:  # too long: where the next message begins cannot be known
                await self._send(Failure(None, "bad_request", str(fault)))
                return
            if line is None:
                return
            try:
                message = decode_client(line)
            except Malformed as fault:
                self._malformed += 1
                await self._send(Failure(None, "bad_request", str(fault)))
                if self._malformed >= MAX_MALFORMED:
                    return
                continue
            if isinstance(message, Hello):
                await self._send(Failure(None, "bad_request", "hello was said already"))
            elif self._running >= MAX_RUNNING:
                await self._send(Failure(message.id, "unavailable", f"{MAX_RUNNING} requests of yours are running"))
            elif message.method == "subscribe":
                await self._send(self._subscribe(message))
            else:
                self._running += 1
                nursery.start_soon(self._answer, message)

    async def _answer(self, request: Request) -> None:
        try:
            await self._send(await self._server.methods.answer(self._operator, request))
        finally:
            self._running -= 1

    def _subscribe(self, request: Request) -> ServerMessage:
        topics = request.params.get("topics", list(TOPICS))
        if not isinstance(topics, list) or not all(topic in TOPICS for topic in topics):
            return Failure(request.id, "bad_request", f"topics: a list of {', '.join(TOPICS)}")
        self._server.events.join(self._subscriber, [str(topic) for topic in topics], self._resume)
        self._resume = None
        return Response(request.id, {"topics": topics})

    async def _tell(self, scope: trio.CancelScope) -> None:
        """Send what happened; give up a peer that even approvals overran."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            while not self._subscriber.overrun and (data := self._subscriber.take()):
                await self._write(data)
            if self._subscriber.overrun:
                scope.cancel()

    def _woken(self) -> None:
        self._wake.set()

    async def _line(self) -> bytes | None:
        """Return the next line, None at the end. Raises Malformed."""
        while not self._inbox:
            data = await self._stream.receive_some(_READ)
            if not data:
                return None
            self._inbox = self._lines.feed(bytes(data))[::-1]
        return self._inbox.pop()

    async def _send(self, message: ServerMessage) -> None:
        await self._write(encode(message))

    async def _write(self, data: bytes) -> None:
        async with self._sending:
            with trio.move_on_after(SEND_SECONDS) as patience:
                await self._stream.send_all(data)
        if patience.cancelled_caught:
            raise trio.BrokenResourceError("the peer takes nothing")


def _hello(line: bytes) -> Hello:
    hello = decode_client(line)
    if not isinstance(hello, Hello):
        raise Malformed("the first message is hello")
    if hello.version != VERSION:
        raise Malformed(f"this gateway speaks version {VERSION} of the protocol; use its own console")
    return hello


def _peer_uid(sock: trio.socket.SocketType) -> int:
    """Return the user id of the process that connected, as the kernel saw it then (SO_PEERCRED, unix(7))."""
    _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return int(uid)


async def _farewell(stream: trio.SocketStream, failure: Failure) -> None:
    with trio.move_on_after(1):
        await stream.send_all(encode(failure))


def _listen(path: Path) -> trio.socket.SocketType:
    """Make the socket: its mode is set before it listens, so that there is no moment in which others may connect."""
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        _remove_stale(path)
        plain = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            plain.bind(str(path))
            path.chmod(0o660)
            plain.listen(64)
            plain.setblocking(False)
            return trio.socket.from_stdlib_socket(plain)
        except BaseException:
            plain.close()
            raise
    except OSError as fault:
        raise ConfigurationFault(f"gateway.control_socket: cannot listen on {path}: {fault.strerror}") from fault


def _remove_stale(path: Path) -> None:
    """Remove the socket that a killed gateway left behind; raises ConfigurationFault where anything else is there."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigurationFault(f"gateway.control_socket: {path} exists and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass  # its queue is full, so somebody listens
    raise ConfigurationFault(f"gateway.control_socket: another gateway already listens on {path}")


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid-{uid}"
