"""Counts what a process does to the files of a directory, and kills the process at one of these operations.

`watch` puts itself before the calls of `os` that change files: the gateway, the archiver and the commands use no
others, except for what DuckDB writes by itself, which an operation before and one after enclose. The kill is a real
one: nothing of the process runs any more, no buffer is flushed, no `finally` is entered.
"""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

_CHANGING = ("rename", "replace", "link", "unlink", "remove", "mkdir", "rmdir", "chmod")
_MOVING = ("rename", "replace", "link")
_BY_DESCRIPTOR = ("fsync", "fdatasync", "ftruncate", "pwrite", "write")
_SAME = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|(?<=\.)[0-9a-z_]{8}\b|\d+")


class _Watch:
    """Where the process stands: how many operations it has come to."""

    def __init__(self, root: str, tell: Callable[[str], None], die_at: int | None, half: bool) -> None:
        self._root, self._tell, self._die_at, self._half = root, tell, die_at, half
        self._count, self._one = 0, threading.RLock()

    def meet(self, name: str, path: str, torn: Callable[[], object] | None = None) -> None:
        """Tell and count an operation; `torn` does half of it."""
        if not path.startswith(self._root):
            return
        with self._one:
            self._tell(f"{name} {_SAME.sub('#', path[len(self._root) :].lstrip('/'))}")
            if self._count == self._die_at:
                if self._half and torn is not None:
                    torn()
                os.kill(os.getpid(), signal.SIGKILL)
            self._count += 1

    def by_name(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *arguments: Any, **named: Any) -> Any:
            self.meet(name, _absolute(arguments[0] if name in _MOVING else path))
            return real(path, *arguments, **named)

        return call

    def by_descriptor(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(descriptor: int, *arguments: Any) -> Any:
            half = [bytes(one)[: len(one) // 2] for one in arguments[:1] if "write" in name]
            self.meet(name, _path(descriptor), lambda: real(descriptor, *half, *arguments[1:]))
            return real(descriptor, *arguments)

        return call

    def opened(self, real: Callable[..., int]) -> Callable[..., int]:
        def call(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
            if flags & os.O_CREAT and not os.path.lexists(path):
                self.meet("create", _absolute(path))
            return real(path, flags, *arguments, **named)

        return call


def watch(root: str, tell: Callable[[str], None], die_at: int | None, half: bool) -> None:
    """Tell each operation below `root`; at number `die_at`, counted from 0, die before it.

    With `half`, a write takes half of its bytes first.
    """
    all_ = _Watch(root, tell, die_at, half)
    for name in _CHANGING:
        setattr(os, name, all_.by_name(name, getattr(os, name)))
    for name in _BY_DESCRIPTOR:
        setattr(os, name, all_.by_descriptor(name, getattr(os, name)))
    os.open = all_.opened(os.open)


def _absolute(path: Any) -> str:
    return str(Path(os.fsdecode(path)).absolute()) if isinstance(path, str | bytes | os.PathLike) else ""


def _path(descriptor: int) -> str:
    try:
        return str(Path(f"/proc/self/fd/{descriptor}").readlink())
    except OSError:
        return ""
