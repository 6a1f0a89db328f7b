"""Where a peer of the control socket sits: its user, and its session on this host, by the kernel's word.

A login is good for one seat: the same user id in the same session of the kernel (setsid(2)), such as one terminal, one
tmux window, or one `ssh -L`. Promises that a seat whose session cannot be told is like no other, so that nobody takes
over a login by coming from somewhere else.
"""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Protocol

_UNKNOWN = count(1)


class _Socket(Protocol):
    def getsockopt(self, level: int, option: int, size: int, /) -> bytes:
        """See `socket.socket`."""


@dataclass(frozen=True, slots=True)
class Seat:
    """A user id and a session: the id of its leader, and when that process began (clock ticks since boot, proc(5))."""

    uid: int
    session: int
    began: int = 0

    def __str__(self) -> str:
        return f"uid {self.uid}, session {self.session}" if self.session > 0 else f"uid {self.uid}"


def seat_of(sock: _Socket) -> Seat:
    """Return the seat of the process that connected, as it was then (SO_PEERCRED, unix(7))."""
    pid, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    try:
        session = os.getsid(pid) if pid > 0 else 0
    except OSError:
        session = 0
    if session <= 0:  # gone already, or in another name space of processes
        return Seat(uid, -next(_UNKNOWN))
    return Seat(uid, session, _began(session))


def _began(pid: int) -> int:
    """Return when a process began, 0 where it is gone: ids of processes are used again, this tells them apart."""
    try:
        line = Path(f"/proc/{pid}/stat").read_bytes()
        return int(line.rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0
