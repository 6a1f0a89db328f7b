"""Where `hoop-gateway init` works until everything is there: `DIR/.hoop-init`.

What was made is moved to its place whole, the configuration last, so that a process which is killed leaves either a
gateway or this directory, from which the next `init` goes on. Promises to remove nothing but what `init` makes, by its
names and kinds, of this user's, in this directory; and one `init` at a time.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from gateway.errors import ConfigurationFault

NAME = ".hoop-init"
_DIRECTORIES = frozenset({"state", "state/tls", "state/evidence", "state/development-issuer"})
_FILE = re.compile(
    r"gateway\.toml|state/tls/(cert|key)\.pem"
    r"|state/development-issuer/((key\.pem|issuer\.json)|\.(key\.pem|issuer\.json)\.[0-9a-z_]{8})"
)
"""Nothing below `state/evidence`: where anything was recorded, it was no `init` that was cut."""


class HalfMade:
    """The directory beside what is being made. Make it with `half_made`."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.config, self.state = place / "gateway.toml", place / "state"

    def clear(self) -> None:
        """Empty it. Raises `ConfigurationFault`, before anything is removed, where something is not of `init`'s."""
        for path in self.place.rglob("*"):
            name, found = str(path.relative_to(self.place)), path.lstat()
            ours = name in _DIRECTORIES if stat.S_ISDIR(found.st_mode) else bool(_FILE.fullmatch(name))
            kind = stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode)
            if not (ours and kind and found.st_uid == os.geteuid()):
                raise ConfigurationFault(f"{path} is nothing that `init` makes; look at it, and remove it by hand")
        self.config.unlink(missing_ok=True)  # first: alone, it would say that the rest was moved
        for path in self.place.iterdir():
            shutil.rmtree(path)

    def move(self, config: Path, state: Path) -> None:
        """Put what was made, or is left of it, in its place. Raises `ConfigurationFault` where something is there."""
        if self.state.is_dir():
            if os.path.lexists(state):
                raise ConfigurationFault(f"{state} exists already; nothing was written")
            self.state.rename(state)
        try:
            os.link(self.config, config)
        except OSError as fault:
            if not os.path.lexists(config):  # a file system without links
                self.config.rename(config)
            elif not config.samefile(self.config):
                raise ConfigurationFault(f"{config} exists already; it was not overwritten") from fault
        shutil.rmtree(self.place)


@contextlib.contextmanager
def half_made(directory: Path) -> Iterator[HalfMade]:
    """Hold `directory/.hoop-init`, made where absent, for this process alone. Raises `ConfigurationFault`."""
    place = directory / NAME
    try:
        with contextlib.suppress(FileExistsError):
            place.mkdir(0o700)
        descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as fault:
        raise ConfigurationFault(f"{place}: {fault.strerror}") from None
    try:
        if os.fstat(descriptor).st_uid != os.geteuid():
            raise ConfigurationFault(f"{place} belongs to somebody else; nothing was written")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found, there = os.fstat(descriptor), place.stat()
            if (found.st_dev, found.st_ino) != (there.st_dev, there.st_ino):
                raise BlockingIOError
        except OSError:
            raise ConfigurationFault(f"another `init` is at work in {directory}") from None
        yield HalfMade(place)
    finally:
        with contextlib.suppress(OSError):
            place.rmdir()  # nothing is in it: nothing was begun
        os.close(descriptor)
