"""Every command of the documentation is run, page by page, in the order in which a reader would.

A real gateway stands before a real PostgreSQL in the directory where the commands run. What a page cannot know (an
approval's id, a port, a session) is put in its place; what cannot run here (another program's server, a browser, an
installation) says by which test it is run instead.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from docs_commands import PAGES, ROOT, commands
from operating import ask
from pyrage import x25519
from running import RunningGateway, connection_table, running
from wire_client import Wire, eventually, notices, through

from gateway.demo.postgres import PostgresServer
from gateway.pgwire.frontend import query
from requires import requires

ELSEWHERE = {
    r"hoop-gateway demo$": "tests/e2e/test_demo.py",
    r"-m pytest$": ".ci/run, word for word",
    r"pip install": ".ci/run",
    r"just |pytest tests/": "CONTRIBUTING's verbs; tests/docs/test_docs_commands.py asks just what it would do",
    r"idp bootstrap": "tests/e2e/test_keycloak.py",
    r"agent run": "tests/e2e/test_keycloak.py",
    r"hoop-gateway login": "tests/e2e/test_operators.py",
    r"--key ~": "tests/e2e/test_operators.py",
    r"--break-glass": "tests/e2e/test_approval_overrides.py",
    r"witness serve": "tests/evidence/test_witnessing.py",
    r"^duckdb ": "tests/evidence/test_evidence_views.py",
}
"""Commands that are run by something else: a pattern, and by what."""
SCHEMA = """
CREATE TABLE users (id int PRIMARY KEY, name text, email text);
INSERT INTO users SELECT i, 'name ' || i, 'person' || i || '@secret.example' FROM generate_series(1, 20) i;
CREATE TABLE orders (id int PRIMARY KEY);
INSERT INTO orders SELECT generate_series(1, 100);
"""


@dataclass
class Reader:
    """Somebody who follows the documentation, in the directory `home`."""

    gateway: RunningGateway
    wires: list[Wire] = field(default_factory=list)
    approved: str = ""
    held: int = 0

    def hold(self, connection: str, *, withheld: bool = False) -> dict[str, Any]:
        """Have a statement held, one with a withheld literal or another; return its approval."""
        self.held += 1
        wire = through(self.gateway, connection, self.gateway.token())
        self.wires.append(wire)
        marked = f"UPDATE users SET email = 'new' WHERE id = {self.held}"
        wire.send(query((marked if withheld else f"DELETE FROM orders WHERE id = {self.held}").encode()))
        (said,) = notices(wire.until("N"))
        approval = (said.get("M") or "").split(": ")[2].split()[0]
        found = ask(self.gateway, "approvals.get", id=approval)
        assert isinstance(found, dict)
        return found

    def filled(self, line: str) -> str:
        """Put what a page cannot know into a command."""
        home = self.gateway.home
        line = line.replace("/tmp/opened", f"{home}/opened-{time.monotonic_ns()}")
        line = line.replace(".venv/bin/", "").replace("DIR/", f"{home}/").replace("PORT", str(self.gateway.port))
        if "--session" in line:
            sessions = self.gateway.query("SELECT session_id FROM sessions ORDER BY started")
            line = re.sub(r"--session \S+", f"--session {sessions[0]['session_id']}", line)
        if re.search(r"ap-[0-9a-f]{12}", line) is None:
            return line
        if re.search(r"approvals (receipt|withdraw)", line):
            return re.sub(r"ap-[0-9a-f]{12}", self.approved, line)
        cleaning = "--json" in line or "the right rows" in line
        connection = "visits" if "--for" in line else "cleaning" if cleaning else "orders"
        card = self.hold(connection, withheld="--literals" in line)
        if "approve " in line:
            self.approved = str(card["id"])
        return re.sub(r"--hash \w+", f"--hash {card['hash'][:8]}", re.sub(r"ap-[0-9a-f]{12}", str(card["id"]), line))

    def run(self, line: str, cwd: Path) -> None:
        """Run one command as a shell would; it must end as the page says."""
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=cwd,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=120,
            check=False,
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PSQLRC": os.devnull},
        )
        assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        assert "Traceback" not in done.stderr
        if "recovery-key" in line:  # the page says to name it in the configuration
            config = cwd / "gateway" / "gateway.toml"
            config.write_text(config.read_text().replace("# recovery = []", f'recovery = ["{done.stdout.strip()}"]'))


@pytest.fixture(scope="module")
def reader(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """A gateway with something in its evidence, and the files that pages name lying beside it."""
    requires("psql")
    postgres.create_database("documented")
    postgres.execute(SCHEMA, "documented")
    home = tmp_path_factory.mktemp("documented") / "home"
    keys = [x25519.Identity.generate() for _ in range(2)]
    tables = f"[evidence]\nrecipients = {[str(key.to_public()) for key in keys]}\n".replace("'", '"')
    visits = '[[connection.rule]]\nname = "visit"\noperation = ["delete"]\nreplaces = "standard/delete"\n'
    connections = [
        connection_table(name, postgres, "documented", mask=["public.users.email"]) for name in ("orders", "shop")
    ]
    connections += [
        connection_table(name, postgres, "documented") + visits + f'action = "{action}"\n'
        for name, action in (("visits", "approve-session"), ("cleaning", "approve-effect"))
    ]
    with running(home, postgres, connections, tables) as gateway:
        with through(gateway, "orders", gateway.token()) as wire:
            for number in range(1, 12):
                wire.rows(f"SELECT id, email FROM users WHERE id = {number}")
        (home / "gateway").symlink_to(home)
        (home / "auditor.key").write_text(f"{keys[0]}\n")
        (home / "password.txt").write_text("a password\n")
        for log in ("control", "w1"):
            for name in ("log.pub", f"{log}.pub"):
                shutil.copy(home / "state" / "evidence" / "logs" / log / "log.pub", home / name)
        found = Reader(gateway)
        yield found
        for wire in found.wires:
            wire.stream.close()


@pytest.fixture
def beside(reader: Reader, tmp_path: Path) -> Callable[[Path], Path]:
    """Where a page's commands run: beside the gateway, or in an empty directory where the page makes one itself."""
    home = reader.gateway.home

    def prepared(page: Path) -> Path:
        if page.name == "configuration.md":
            (tmp_path / "password.txt").write_text("a password\n")
            return tmp_path
        if page.name == "evidence.md":
            shutil.copytree(home / "state" / "evidence", home / "copy" / "evidence")
            (home / "witness").mkdir()
            notes = sorted((home / "state" / "evidence" / "logs").glob("*/checkpoints/[1-9]*.note"))
            eventually(lambda: notes)
            (home / "witness" / "notes").write_bytes(b"".join(note.read_bytes() for note in notes))
        return home

    return prepared


def elsewhere(line: str) -> bool:
    return any(re.search(pattern, line) for pattern in ELSEWHERE)


RUN = [page for page in PAGES if any(not elsewhere(line) for line in commands(page))]


@pytest.mark.parametrize("page", RUN, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_pages_commands_run(page: Path, reader: Reader, beside: Callable[[Path], Path]) -> None:
    cwd = beside(page)
    for line in commands(page):
        if elsewhere(line):
            continue
        if "witness init" in line:
            shutil.rmtree(cwd / "witness")
        reader.run(reader.filled(line), cwd)


def test_what_is_run_elsewhere_is_named_for_a_reason() -> None:
    lines = [line for page in PAGES for line in commands(page)]
    assert [pattern for pattern in ELSEWHERE if not any(re.search(pattern, line) for line in lines)] == []
    for where in ELSEWHERE.values():
        name = where.split(",")[0].split(";")[0]
        assert " " in name or (ROOT / name).exists(), where
