"""Handing a client that connected from the supervisor to a worker: its socket over theirs (Trio).

Promises that a client is in one process only, that the supervisor never waits for a worker, and that a socket which
cannot be handed over is closed. Source: unix(7), SCM_RIGHTS; one packet for each client.
"""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Callable

import trio

logger = logging.getLogger(__name__)

_PACKET = 4096


def pair() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a new line for clients."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for each in ends:
        each.setblocking(False)
    return ends


def hand_over(line: socket.socket, door: int, client: socket.socket, address: tuple[str, int]) -> bool:
    """Give `client`, who came by the door of that place, away; False where the worker takes none now."""
    packet = json.dumps([door, address[0], address[1]]).encode("ascii")
    try:
        socket.send_fds(line, [packet], [client.fileno()])
    except OSError:
        return False
    client.close()
    return True


async def receive_clients(
    line: socket.socket, take: Callable[[int, socket.socket, tuple[str, int]], None], lost: Callable[[], None]
) -> None:
    """Give who is handed over to `take`, until the other end is closed; `lost` where no file descriptor is free."""
    while True:
        try:
            packet, files, _, _ = socket.recv_fds(line, _PACKET, 1)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(line)
            continue
        if not packet:
            return
        if not files:
            logger.warning("cannot take a client over: no file descriptor is free")
            lost()
            continue
        door, host, port = json.loads(packet)
        take(door, socket.socket(fileno=files[0]), (host, port))
