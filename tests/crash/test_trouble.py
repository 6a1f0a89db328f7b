"""Starts that cannot be: one clear line, exit 2, nothing left behind, and the next start works."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from crash.scene import serving
from e2e.running import connection_table, write_home

from gateway.demo.postgres import PostgresServer

SECONDS = 30
PASSWORD = "correct horse"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A configuration that works, for a target that is not there."""

    class Nowhere(PostgresServer):
        def __init__(self) -> None:
            self.port, self.password = 1, PASSWORD

    write_home(tmp_path, PASSWORD, [connection_table("target", Nowhere(), "db")])
    return tmp_path


def refused(home: Path) -> str:
    """Start a gateway that must not start; return its one line."""
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "serve", "-c", str(home / "gateway.toml")],
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("hoop-gateway: ")]
    assert done.stderr.splitlines()[-1] == line
    assert PASSWORD not in done.stderr
    return line


def change(home: Path, old: str, new: str) -> None:
    config = home / "gateway.toml"
    assert old in config.read_text()
    config.write_text(config.read_text().replace(old, new))


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


Trouble = Callable[[Path, ExitStack], None]


def _unknown_key(home: Path, _: ExitStack) -> None:
    change(home, "[postgres]", "[postgres]\nlisten_on = 1")


def _no_certificate(home: Path, _: ExitStack) -> None:
    (home / "state" / "tls" / "cert.pem").unlink()


def _key_of_another(home: Path, _: ExitStack) -> None:
    from gateway.listener.certificate import make_self_signed

    key = home / "state" / "tls" / "key.pem"
    key.unlink()
    make_self_signed(home / "other.pem", key, ["localhost"])


def _port_in_use(home: Path, stack: ExitStack) -> None:
    change(home, "127.0.0.1:0", f"127.0.0.1:{stack.enter_context(taken_port())}")


def _address_of_another_host(home: Path, _: ExitStack) -> None:
    change(home, "127.0.0.1:0", "192.0.2.1:0")


def _issuer_port_in_use(home: Path, stack: ExitStack) -> None:
    port = stack.enter_context(taken_port())
    change(home, "development = true", f'development = true\nissuer = "http://127.0.0.1:{port}/realms/hoop"')


def _control_socket_in_use(home: Path, stack: ExitStack) -> None:
    taken = stack.enter_context(socket.socket(socket.AF_UNIX))
    taken.bind(str(home / "state" / "control.sock"))
    taken.listen()


def _control_socket_is_a_file(home: Path, _: ExitStack) -> None:
    (home / "state" / "control.sock").write_text("something else")


def _evidence_is_a_file(home: Path, _: ExitStack) -> None:
    (home / "state" / "evidence").write_text("something else")


def _read_only_disk(home: Path, stack: ExitStack) -> None:
    place = home / "state" / "evidence"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", place], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"needs the right to mount a tmpfs, as root has it: {mounted.stderr.splitlines()[0]}")
    stack.callback(subprocess.run, ["umount", place], check=True)


def _another_gateway(home: Path, stack: ExitStack) -> None:
    stack.enter_context(serving(home))


def _changed_journal(home: Path, _: ExitStack) -> None:
    """Somebody edited a record in the middle of the journal."""
    with serving(home) as gateway:
        assert gateway.stop() == 0
    journal = gateway.evidence / "logs" / "control" / "journal" / "00000001.tsv"
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[0] = lines[0].replace(b'"kind":"start"', b'"kind":"stort"')
    journal.write_bytes(b"".join(lines))


TROUBLE: list[tuple[Trouble, str]] = [
    (_unknown_key, "listen_on"),
    (_no_certificate, "cert.pem"),
    (_key_of_another, "tls"),
    (_port_in_use, "port is in use"),
    (_address_of_another_host, "192.0.2.1"),
    (_issuer_port_in_use, "issuer"),
    (_control_socket_in_use, "control.sock"),
    (_control_socket_is_a_file, "control.sock"),
    (_evidence_is_a_file, "evidence"),
    (_read_only_disk, "Read-only file system"),
    (_another_gateway, "another gateway"),
    (_changed_journal, "gw-1/control"),
]


@pytest.mark.parametrize(("trouble", "words"), TROUBLE, ids=[one.__name__.lstrip("_") for one, _ in TROUBLE])
def test_a_start_that_cannot_be_is_one_line(home: Path, trouble: Trouble, words: str) -> None:
    with ExitStack() as stack:
        trouble(home, stack)
        assert words in refused(home)
