"""Runs a real PostgreSQL server for the demo, the tests and the benchmark.

Promises: TCP on 127.0.0.1 only, on a free port; passwords are checked with SCRAM-SHA-256; any number side by side;
never as root (started as root, the server runs as `postgres` or `nobody`); ready when `start` returns, because a real
connection was answered; shut down on `stop`, and also when this process dies without one, by a guard that watches
a pipe. It never leaves a process or a temporary directory behind, and never prints or shows the password.

Synchronous on purpose: pytest fixtures use it directly, Trio code through `trio.to_thread.run_sync`.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from gateway.demo.binaries import Account, Binaries, find_binaries, reachable, runnable, server_account
from gateway.errors import ConfigurationFault, TargetFault
from gateway.listener.certificate import make_self_signed

START_SECONDS = 60
STOP_SECONDS = 30

FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
"""Settings for servers whose data nobody needs after a crash."""

_BASE = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "shared_buffers": "32MB",
         "max_connections": "120", "timezone": "UTC", "log_timezone": "UTC", "password_encryption": "scram-sha-256",
         "cluster_name": "hoop"}  # fmt: skip

_HBA = ("host all all 127.0.0.1/32 scram-sha-256",)

# The pipe closes when this process dies; SIGINT is PostgreSQL's fast shutdown. After a stop in order the guard is
# killed instead. $1 is the temporary directory, if any; the wait is bounded because a zombie still takes signals.
_GUARD = """read -r _; kill -INT "$0"; n=0
while kill -0 "$0" && [ $n -lt 300 ]; do sleep 0.1; n=$((n+1)); done
[ -z "$1" ] || rm -rf "$1\""""


class PostgresServer:
    """One server with its own data directory; a context manager, or `start` and `stop`.

    `directory` keeps data, password and log between runs. Without one, or where it cannot be reached by the account
    that the server must run under, a private temporary directory is used and removed at `stop`. `hba` lines come
    before the SCRAM line for everyone; `settings` win over `fast`, which wins over the defaults. `tls` needs binaries
    that were built with it; `tls_root` is then the certificate to trust for 127.0.0.1 and localhost.
    """

    host = "127.0.0.1"
    user = "postgres"

    def __init__(
        self,
        directory: Path | None = None,
        *,
        binaries: Binaries | None = None,
        prefer: str | None = None,
        tls: bool = False,
        hba: Sequence[str] = (),
        settings: Mapping[str, str] | None = None,
        fast: bool = False,
    ) -> None:
        self._account = server_account()
        self.binaries = runnable(binaries or find_binaries(prefer), self._account)
        if tls and not self.binaries.tls:
            raise ConfigurationFault(f"{self.binaries.directory} was built without TLS: apt-get install postgresql")
        self._wanted = directory.resolve() if directory else None
        self._temporary: Path | None = None
        self._tls = tls
        self._hba = (*hba, *_HBA)
        self._settings = {**_BASE, **(FAST if fast else {}), **(settings or {})}
        self._server: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._home: Path | None = None
        self.password = ""
        self.port = 0

    def __repr__(self) -> str:
        return f"<PostgresServer {self.binaries.version} port={self.port} running={self.running}>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        """Whether the server process lives."""
        return self._server is not None and self._server.poll() is None

    @property
    def pid(self) -> int:
        """Process id of the postmaster."""
        if self._server is None:
            raise TargetFault("PostgreSQL is not running")
        return self._server.pid

    @property
    def home(self) -> Path:
        """Directory with `data`, `password` and `postgres.log`; only while started."""
        if self._home is None:
            raise TargetFault("PostgreSQL is not running")
        return self._home

    @property
    def tls_root(self) -> Path:
        """Certificate that a client with sslmode=verify-full must trust."""
        return self.home / "tls" / "cert.pem"

    def dsn(self, database: str = "postgres", *, user: str | None = None, password: str | None = None) -> str:
        """Return a URL for clients: with the superuser and its password, unless a user is named."""
        if user is None:
            user, password = self.user, self.password
        secret = f":{quote(password, safe='')}" if password else ""
        return f"postgresql://{quote(user, safe='')}{secret}@{self.host}:{self.port}/{quote(database, safe='')}"

    def start(self) -> None:
        """Create the data directory if it is new, start the server, wait until it answers.

        Raises TargetFault with the log's last lines where it does not start within a minute.
        """
        try:
            self._home = self._prepare_home()
            if not (self._home / "data" / "PG_VERSION").exists():
                self._initialise(self._home)
            self.password = (self._home / "password").read_text().strip()
            self._write_hba(self._home)
            if self._tls:
                self._make_certificate(self._home)
            self._launch_on_free_port(self._home)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Shut down fast, and at once where nothing is kept; kill after half a minute. Safe to call twice.

        Removes the temporary directory.
        """
        if self._server is not None:
            if self.running:
                self._server.send_signal(signal.SIGINT if self._temporary is None else signal.SIGQUIT)
            try:
                self._server.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._server.send_signal(signal.SIGQUIT)
                self._server.wait()
            self._server = None
        self._dismiss_guard()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None
        self._home = None

    def execute(self, sql: str, database: str = "postgres") -> str:
        """Run SQL as superuser through psql; return unaligned rows. Stops at the first error: TargetFault."""
        command: list[str | Path] = [self.binaries.directory / "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-f", "-"]
        environment = {
            "PGHOST": self.host, "PGPORT": str(self.port), "PGUSER": self.user, "PGPASSWORD": self.password,
            "PGDATABASE": database, "PGCONNECT_TIMEOUT": "10", "PGSSLMODE": "prefer", "PATH": os.defpath,
        }  # fmt: skip
        answer = subprocess.run(command, input=sql, capture_output=True, text=True, env=environment, check=False)
        if answer.returncode:
            raise TargetFault(f"psql: {answer.stderr.strip()}")
        return answer.stdout.rstrip("\n")

    def create_database(self, name: str, template: str | None = None) -> str:
        """Create a database, from a template where given; return its name."""
        clause = f" TEMPLATE {_identifier(template)}" if template else ""
        self.execute(f"CREATE DATABASE {_identifier(name)}{clause}")
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database and end its sessions."""
        self.execute(f"DROP DATABASE IF EXISTS {_identifier(name)} WITH (FORCE)")

    # -- starting ----------------------------------------------------------------------------------------------------

    def _prepare_home(self) -> Path:
        home = self._wanted
        if home is None or not reachable(home, self._account):
            home = self._temporary = self._temporary_directory()
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._give(home)
        return home

    def _temporary_directory(self) -> Path:
        made = Path(tempfile.mkdtemp(prefix="hoop-postgres-"))
        if reachable(made, self._account):
            return made
        made.rmdir()  # $TMPDIR is closed to the server's account
        return Path(tempfile.mkdtemp(prefix="hoop-postgres-", dir="/tmp"))

    def _initialise(self, home: Path) -> None:
        shutil.rmtree(home / "data", ignore_errors=True)  # what an interrupted initdb left
        password = home / "password"
        password.unlink(missing_ok=True)
        with os.fdopen(os.open(password, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(24))
        self._give(password)
        command: list[str | Path] = [
            self.binaries.directory / "initdb", "-D", home / "data", "-U", self.user, "--pwfile", password,
            "--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync", "--no-instructions",
        ]  # fmt: skip
        answer = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
            **self._identity(home),
        )  # fmt: skip
        if answer.returncode:
            raise TargetFault(f"initdb failed: {answer.stdout.decode(errors='replace').strip()}")

    def _write_hba(self, home: Path) -> None:
        path = home / "data" / "pg_hba.conf"
        path.write_text("\n".join(self._hba) + "\n")
        self._give(path)

    def _make_certificate(self, home: Path) -> None:
        folder = home / "tls"
        folder.mkdir(mode=0o700, exist_ok=True)
        if not (folder / "cert.pem").exists():
            make_self_signed(folder / "cert.pem", folder / "key.pem", ["localhost", "127.0.0.1"])
        for path in (folder, folder / "cert.pem", folder / "key.pem"):
            self._give(path)
        self._settings.update(ssl="on", ssl_cert_file=str(folder / "cert.pem"), ssl_key_file=str(folder / "key.pem"))

    def _launch_on_free_port(self, home: Path) -> None:
        # Between choosing a port and binding it another process may take it; then the log says so and we choose anew.
        for _ in range(10):
            self.port = _free_port()
            start = (home / "postgres.log").stat().st_size if (home / "postgres.log").exists() else 0
            self._launch(home)
            if self._wait_until_ready(time.monotonic() + START_SECONDS):
                return
            said = (home / "postgres.log").read_bytes()[start:].decode(errors="replace")
            if "Address already in use" not in said:
                raise TargetFault("PostgreSQL did not start: " + " | ".join(said.strip().splitlines()[-3:]))
        raise TargetFault("PostgreSQL did not start: every port it tried was taken")

    def _launch(self, home: Path) -> None:
        command: list[str | Path] = [self.binaries.directory / "postgres", "-D", home / "data", "-p", str(self.port)]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        with (home / "postgres.log").open("ab") as log:
            self._server = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                **self._identity(home),
            )  # fmt: skip
        pid, leftovers = str(self._server.pid), str(self._temporary or "")
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, pid, leftovers], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True, **self._identity(home),
        )  # fmt: skip

    def _wait_until_ready(self, deadline: float) -> bool:
        """Poll with real connections; False if the server ended instead."""
        while time.monotonic() < deadline:
            if not self.running:
                self._dismiss_guard()
                return False
            if _answers(self.host, self.port) and self._owns_port():
                return True
            time.sleep(0.02)
        raise TargetFault(f"PostgreSQL did not answer within {START_SECONDS} s")

    def _owns_port(self) -> bool:
        """Whether the server that answered is ours: it writes its pid and port before it accepts."""
        try:
            lines = (self.home / "data" / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 4 and lines[0] == str(self.pid) and lines[3] == str(self.port)

    def _dismiss_guard(self) -> None:
        if self._guard is not None:
            self._guard.kill()
            self._guard.wait()
            if self._guard.stdin:
                self._guard.stdin.close()
            self._guard = None

    def _identity(self, home: Path) -> dict[str, Any]:
        """Popen arguments that drop root and everything of our environment (PG* variables, secrets)."""
        common: dict[str, Any] = {"env": {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}, "cwd": home}
        account: Account | None = self._account
        if account is None:
            return common
        return {**common, "user": account.uid, "group": account.gid, "extra_groups": []}

    def _give(self, path: Path) -> None:
        if self._account is not None:
            os.chown(path, self._account.uid, self._account.gid)


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _answers(host: str, port: int) -> bool:
    """Send a StartupMessage; a server that asks for authentication ('R') is ready, one that starts says 57P03 ('E')."""
    body = struct.pack("!I", 196608) + b"user\0postgres\0database\0postgres\0\0"
    try:
        with socket.create_connection((host, port), timeout=5) as connection:
            connection.sendall(struct.pack("!I", len(body) + 4) + body)
            return connection.recv(1) == b"R"
    except OSError:
        return False
