"""A replacement worker whose log cannot be opened is tried again until it can be; the other one goes on meanwhile."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from operating import ask
from running import RunningGateway, connection_table, serving, write_home
from wire_client import eventually, through
from workers_seen import WORKERS, log_of, workers

from gateway.demo.postgres import PostgresServer


@pytest.fixture
def gateway(postgres: PostgresServer, tmp_path: Path) -> Iterator[RunningGateway]:
    write_home(tmp_path / "home", postgres.password, [connection_table("retried", postgres, "postgres")])
    with serving(tmp_path / "home", WORKERS) as found:
        yield found
    assert "Traceback" not in found.log, found.log


@contextmanager
def without_its_key(home: Path) -> Iterator[None]:
    key = home / "state" / "keys" / "log-w2.pem"
    key.rename(key.with_suffix(".away"))
    yield
    key.with_suffix(".away").rename(key)


@contextmanager
def held_by_another(home: Path) -> Iterator[None]:
    """Somebody else has the log: a process of a gateway that does not end."""
    path = home / "state" / "evidence" / "logs" / "w2" / "lock"
    with path.open("rb+") as file:
        eventually(lambda: _locked(file.fileno()))
        yield


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextmanager
def unreadable(home: Path) -> Iterator[None]:
    """The journal cannot be listed: another thing has its name. A mode would not stop root, who runs tests too."""
    journal = home / "state" / "evidence" / "logs" / "w2" / "journal"
    journal.rename(journal.with_name("mislaid"))
    journal.write_bytes(b"")
    yield
    journal.unlink()
    journal.with_name("mislaid").rename(journal)


TROUBLES: list[tuple[Callable[[Path], AbstractContextManager[None]], str, int]] = [
    (without_its_key, "log-w2.pem is missing", 2),
    (held_by_another, "is in use by another gateway", 1),  # each try waits a while for whoever has it
    (unreadable, "Not a directory", 2),
]


@pytest.mark.parametrize(("trouble", "words", "tries"), TROUBLES, ids=[one[0].__name__ for one in TROUBLES])
def test_it_is_tried_again_until_its_log_can_be_opened(
    gateway: RunningGateway, trouble: Callable[[Path], AbstractContextManager[None]], words: str, tries: int
) -> None:
    token, killed = gateway.token("agent-two"), workers(gateway)["w2"]
    if trouble is held_by_another:  # only the one who holds it can let go of it
        os.kill(killed, signal.SIGKILL)
    with trouble(gateway.home):
        if trouble is not held_by_another:
            os.kill(killed, signal.SIGKILL)
        eventually(lambda: said(gateway, words) >= tries, 60)
        told = ask(gateway, "status")
        assert (told["healthy"], told["forwarding"]) == (False, True)
        assert told["fault"] == "gw-1/w2: the worker is not there"
        with through(gateway, "retried", token) as one, through(gateway, "retried", token) as other:
            assert [log_of(gateway, wire) for wire in (one, other)] == ["gw-1/w1"] * 2
    eventually(lambda: ask(gateway, "status")["healthy"], 60)
    with through(gateway, "retried", token) as one, through(gateway, "retried", token) as other:
        assert {log_of(gateway, wire) for wire in (one, other)} == {"gw-1/w1", "gw-1/w2"}
    alarms = gateway.query("SELECT alarm FROM alarms WHERE alarm LIKE 'worker%'")
    assert [each["alarm"] for each in alarms] == ["worker-ended"], "that it was tried is no end of a worker"
    done = gateway.command("evidence", "verify", str(gateway.evidence), check=False)
    assert done.returncode == 0, done.stdout


def test_a_stop_does_not_wait_for_it(gateway: RunningGateway) -> None:
    with without_its_key(gateway.home):
        os.kill(workers(gateway)["w2"], signal.SIGKILL)
        eventually(lambda: said(gateway, "log-w2.pem is missing") >= 3)  # the next try is seconds away
        assert gateway.stop() == 0


def said(gateway: RunningGateway, words: str) -> int:
    """How often the gateway said of the second worker that it could not begin."""
    return sum("gw-1/w2" in line and words in line for line in gateway.log.splitlines())
