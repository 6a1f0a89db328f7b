"""Accepts PostgreSQL clients, brings each to a token within the login time, and hands it over.

Promises: each client has a task of its own from the moment of accept, so that none waits for another; those on their
way to a session (`Doorstep`) are bounded apart from sessions, and when the doorstep is full the address that crowds it
makes room, not who comes from elsewhere; every refusal is recorded before the client hears of it; every stream is
closed, inside TLS with close_notify. An exception in one session ends that session alone.
"""

from __future__ import annotations

import errno
import logging
import socket
import traceback
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TypeAlias

import trio

from gateway.errors import ClientFault, ConfigurationFault, EvidenceFault, GatewayError, LoginRefused
from gateway.listener.arrival import Arrival, Cancel, Handler, ListenerOptions, Refusal, Refused
from gateway.listener.login import Conversation, HungUp, TlsRefused
from gateway.listener.stream import PlainStream, keep_alive
from gateway.pgwire.backend import error_response
from gateway.pgwire.startup import CancelRequested

logger = logging.getLogger(__name__)

_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)

Take: TypeAlias = Callable[[socket.socket, tuple[str, int]], None]
"""Takes a client that connected, and its address; the socket is the taker's from then on."""


async def serve_postgres(
    options: ListenerOptions,
    handler: Handler,
    cancel: Cancel,
    refused: Refused,
    *,
    sessions: trio.Nursery | None = None,
    task_status: trio.TaskStatus[list[tuple[str, int]]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Listen until cancelled; `task_status` gets the addresses bound to (port 0 in the options: a free one).

    Clients' tasks live in `sessions`; with None they end when this function is cancelled. With a nursery of one's own
    this function can be cancelled first, which closes the port at once, and the sessions be ended in peace.
    Raises ConfigurationFault where the address cannot be listened on.
    """
    listeners = await listen(options.host, options.port)
    door = Door(options, handler, cancel, refused)
    try:
        async with trio.open_nursery() as accepting:
            tasks = sessions or accepting

            def take(connected: socket.socket, address: tuple[str, int]) -> None:
                tasks.start_soon(door.attend, PlainStream(connected), address)

            await accepting.start(accept_clients, listeners, take, door.doorstep.make_room)
            task_status.started([listener.socket.getsockname()[:2] for listener in listeners])
    finally:
        door.close()


async def accept_clients(
    listeners: Sequence[trio.SocketListener],
    take: Take,
    make_room: Callable[[], None],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Give each client to `take` until cancelled, then close; `make_room` is called when no more can be accepted."""
    try:
        async with trio.open_nursery() as accepting:
            for listener in listeners:
                accepting.start_soon(_accept, listener, take, make_room)
            task_status.started()
    finally:
        for listener in listeners:
            listener.socket.close()


async def listen(host: str, port: int) -> Sequence[trio.SocketListener]:
    """Listen for agents (port 0: at a free one). Raises ConfigurationFault where that cannot be had."""
    try:
        return await trio.open_tcp_listeners(port, host=host, backlog=1024)
    except OSError as error:
        reason = "the port is in use" if error.errno == errno.EADDRINUSE else error.strerror
        raise ConfigurationFault(f"postgres.listen: cannot listen on {host}:{port}: {reason}") from None


async def _accept(listener: trio.SocketListener, take: Take, make_room: Callable[[], None]) -> None:
    while True:
        try:
            accepted, address = await listener.socket.accept()
        except OSError as error:
            if error.errno in _NO_DESCRIPTORS:
                logger.warning("cannot accept a client: %s", error.strerror)
                make_room()
                await trio.sleep(0.05)
            # Anything else (ECONNABORTED, EPROTO) is about that one client, which is gone (accept(2)).
            continue
        connected = socket.socket(fileno=accepted.detach())
        try:
            keep_alive(connected)
        except OSError:  # the client is gone already
            connected.close()
        else:
            take(connected, address)


class Doorstep:
    """Who is on the way to a session: at most `limit`. When it is full, the address with most gives up its oldest."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: dict[str, OrderedDict[trio.CancelScope, None]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def enter(self, host: str, scope: trio.CancelScope) -> None:
        """Take a place, which may cost somebody else's (its scope is cancelled)."""
        if self._count >= self._limit:
            self.make_room()
        self._waiting.setdefault(host, OrderedDict())[scope] = None
        self._count += 1

    def leave(self, host: str, scope: trio.CancelScope) -> None:
        """Give the place back; nothing happens where it was taken away."""
        places = self._waiting.get(host)
        if places is not None and scope in places:
            del places[scope]
            self._count -= 1
            if not places:
                del self._waiting[host]

    def make_room(self) -> None:
        """Turn one client away, if there is any."""
        if self._waiting:
            host, places = max(self._waiting.items(), key=lambda item: len(item[1]))
            oldest = next(iter(places))
            self.leave(host, oldest)
            oldest.cancel()


class Door:
    """What every client's task shares: options, callbacks, and the two counts."""

    def __init__(self, options: ListenerOptions, handler: Handler, cancel: Cancel, refused: Refused) -> None:
        self._options = options
        self._handler = handler
        self._cancel = cancel
        self._refused = refused
        self._sessions = 0
        self.doorstep = Doorstep(options.connections if options.doorstep is None else options.doorstep)

    def close(self) -> None:
        """Turn away whoever is on the way: nobody begins a session any more."""
        while len(self.doorstep):
            self.doorstep.make_room()

    async def attend(self, plain: PlainStream, address: tuple[str, int]) -> None:
        """Serve one client from accept to close; a session's border: nothing but cancellation leaves it."""
        talk = Conversation(plain, _format(address), self._options)
        try:
            try:
                arrival = await self._at_the_door(talk, address[0])
                if arrival is not None:
                    await self._hand_over(arrival)
            finally:
                with trio.CancelScope(shield=True):
                    await talk.stream.aclose()
        except* (HungUp, trio.BrokenResourceError, trio.ClosedResourceError):
            logger.debug("%s left", talk.client_address)
        except* Exception as errors:  # noqa: BLE001  a session's border
            _log(talk.client_address, errors)

    async def _at_the_door(self, talk: Conversation, host: str) -> Arrival | None:
        """Return who may go in; None where the client wanted no session, may have none, or had to make room."""
        with trio.CancelScope() as place:
            self.doorstep.enter(host, place)
            try:
                return await self._greet(talk)
            except ClientFault as fault:
                await self._turn_away(talk, fault)
            finally:
                self.doorstep.leave(host, place)
        return None

    async def _greet(self, talk: Conversation) -> Arrival | None:
        with trio.move_on_after(self._options.login_seconds) as scope:
            arrived = await talk.run()
        if scope.cancelled_caught:
            raise LoginRefused("hoop: login took too long", "57014", "login timeout")
        if isinstance(arrived, CancelRequested):
            await self._cancel(arrived.pid, arrived.key)
            return None
        if self._sessions >= self._options.connections:
            raise LoginRefused("sorry, too many clients already", "53300", "connection limit")
        return arrived

    async def _hand_over(self, arrival: Arrival) -> None:
        # Nothing yields between the check in _greet and this line, so the limit holds.
        self._sessions += 1
        try:
            await self._handler(arrival)
        finally:
            self._sessions -= 1

    async def _turn_away(self, talk: Conversation, fault: ClientFault) -> None:
        """Record, then tell. A client that does not read is not waited for."""
        said = talk.startup.parameters if talk.startup else {}
        reason = fault.reason if isinstance(fault, LoginRefused) else str(fault)
        sqlstate, words = fault.sqlstate, str(fault)
        try:
            await self._refused(Refusal(talk.client_address, reason, sqlstate, said.get("database"), said.get("user")))
        except EvidenceFault:
            sqlstate, words = "58030", "hoop: the record cannot be written"
        if not talk.in_handshake and not isinstance(fault, TlsRefused):
            with trio.move_on_after(1):
                await talk.stream.send_all(error_response(sqlstate, words, severity="FATAL"))
        await talk.stream.part()


def _format(address: tuple[str, int]) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _log(client_address: str, errors: ExceptionGroup[Exception]) -> None:
    """Log kinds and places, and the words of our own errors only: others' may hold what an agent sent."""
    for error in errors.exceptions:
        if isinstance(error, ExceptionGroup):
            _log(client_address, error)
        elif isinstance(error, GatewayError):
            logger.error("session of %s ended: %s: %s", client_address, type(error).__name__, error)
        else:
            place = "".join(traceback.format_tb(error.__traceback__))
            logger.error("session of %s ended by %s at\n%s", client_address, type(error).__name__, place)
