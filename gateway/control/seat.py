"""Where a peer of the control socket sits: its user, and its session on this host, by the kernel's word.

A login is good for one seat: the same user id in the same session of the kernel (setsid(2)), such as one terminal, one
tmux window, or one `ssh -L`. In a container that somebody entered from outside, the leader of the session may stand in
no process table that we see, and getsid(2) answers 0; sessions pass from parent to child, so the eldest ancestor of
which that is true tells the session as well as its leader would. Promises that a seat whose session cannot be told is
like no other, so that nobody takes over a login by coming from somewhere else.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Protocol

_UNKNOWN = count(1)
_PARENT, _START = 1, 19
"""Fields of proc(5) stat, counted from the state on."""


class _Socket(Protocol):
    def getsockopt(self, level: int, option: int, size: int, /) -> bytes:
        """See `socket.socket`."""


@dataclass(frozen=True, slots=True)
class Seat:
    """A user id and a session: the id of its leader, and when that process began (clock ticks since boot, proc(5)).

    Where the leader cannot be seen, its eldest descendant that can be; a negative session was not to be told at all.
    """

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
    if session == 0 and pid > 0:  # its leader is in a name space of processes that encloses ours
        session = eldest_unseen(pid, _parent, os.getsid)
    if session <= 0:  # gone already, or in another name space of processes
        return Seat(uid, -next(_UNKNOWN))
    return Seat(uid, session, _began(session))


def eldest_unseen(pid: int, parent_of: Callable[[int], int], session_of: Callable[[int], int]) -> int:
    """Return the eldest ancestor that, like this process and all between them, has a session whose leader is unseen.

    0 where one of them is gone meanwhile: a chain with a hole tells nothing.
    """
    try:
        while (parent := parent_of(pid)) > 0 and session_of(parent) == 0:
            pid = parent
    except (OSError, ValueError, IndexError):
        return 0
    return pid


def _parent(pid: int) -> int:
    return int(_stat(pid)[_PARENT])


def _began(pid: int) -> int:
    """Return when a process began, 0 where it is gone: ids of processes are used again, this tells them apart."""
    try:
        return int(_stat(pid)[_START])
    except (OSError, ValueError, IndexError):
        return 0


def _stat(pid: int) -> list[bytes]:
    """Return what the kernel says of a process, from its state on: the name before it may hold blanks (proc(5))."""
    return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
