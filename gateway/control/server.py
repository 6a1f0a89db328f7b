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
from collections.abc import Mapping, Sequence
from pathlib import Path

import trio

from gateway.approval.waiting import Approvals
from gateway.control.deciding import Caller, Deciding
from gateway.control.events import Events
from gateway.control.logins import Logins
from gateway.control.messages import Failure, encode
from gateway.control.methods import ControlBackend, Methods
from gateway.control.operators import Operator, recognise
from gateway.control.peer import Greeting, Peer
from gateway.control.seat import seat_of
from gateway.errors import ConfigurationFault
from gateway.model import Clock, Json

__all__ = ["ControlBackend", "ControlServer"]

MAX_PEERS = 32
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
        logins: Logins,
        deciding: Deciding,
        clock: Clock,
    ) -> None:
        self.path = path
        self._events = events
        self._greeting = Greeting(gateway, version, deciding.assurance, clock)
        self._methods = Methods(backend, approvals, logins, deciding)
        self._operators = tuple(operators)
        self._development = development
        self._peers = 0

    def publish(self, event: str, data: Mapping[str, Json]) -> None:
        """Tell every console that subscribed; never waits."""
        self._events.publish(event, data)

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
            seat = seat_of(sock)
            operator = self.operator(seat.uid)
            if operator is None:
                words = (
                    f"user id {seat.uid} is no operator of this gateway; an [[operator]] entry with uid = {seat.uid}"
                    " makes one"
                )
                await _farewell(stream, Failure(None, "forbidden", words))
                return
            await Peer(self._greeting, self._methods, self._events, stream, Caller(operator, seat)).run()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the peer is gone, which is its right
        except Exception:  # noqa: BLE001  a border: one peer must not end the gateway
            _log.exception("a control connection failed")
        finally:
            self._peers -= 1
            await trio.aclose_forcefully(stream)


async def _farewell(stream: trio.SocketStream, failure: Failure) -> None:
    with trio.move_on_after(1):
        await stream.send_all(encode(failure))


def _listen(path: Path) -> trio.socket.SocketType:
    """Make the socket: its mode is set before it listens, so that there is no moment in which others may connect."""
    try:
        make_socket_directory(path)
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


def make_socket_directory(path: Path) -> None:
    """Make the directory of the socket `path`, 0750: operators reach the socket by their group. One that exists stays.

    To be called before anything else is made beneath it, such as the evidence, whose directories are 0700.
    """
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True)
        path.parent.chmod(0o750)  # whatever the umask says


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
