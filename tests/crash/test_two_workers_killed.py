"""`kill -9` of a worker and of the supervisor of two, at random moments under load, and of both at once.

What is promised of one process is promised of each log, and of all of them together: nothing was written or answered
without its record, every session is ended once, the next start needs no help, also while workers of the former
supervisor still end their sessions, and both checkers find nothing.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pyrage
import pytest
from crash.kills import ROUNDS, Kills
from crash.load import READING, SCHEMA, Load
from crash.mortal import Mortals
from crash.scene import Target, serving
from crash.test_kill import recorded
from e2e.running import RunningGateway, connection_table, write_home
from e2e.wire_client import eventually
from e2e.workers_seen import WORKERS, runs, workers

SOME = 20
"""Ids that are acknowledged, at least, between two kills of one life."""

pytestmark = pytest.mark.crash


@dataclass
class Life:
    """One gateway, from its start to the kill of its supervisor, and the agents that it has."""

    gateway: RunningGateway
    chance: random.Random
    kills: Kills
    load: Load
    orphans: set[int] = field(default_factory=set)

    def pause(self, most: float) -> None:
        """Let it work for a random time, up to so many seconds."""
        threading.Event().wait(self.chance.uniform(0, most))

    def goes_on(self) -> None:
        """Whoever is left is answered."""
        self.load.wait(len(self.load.acknowledged) + SOME)

    def kill_worker(self) -> None:
        """End one; another takes its place, and the agents of the other notice nothing."""
        before = workers(self.gateway)
        self._kill(self.chance.choice(sorted(before.values())), "a worker of two under load")
        self.goes_on()
        eventually(lambda: set(found := workers(self.gateway)) == {"w1", "w2"} and found != before)

    def kill_replacement(self) -> None:
        """End one, and the process that takes its place, wherever that is by then."""
        before = workers(self.gateway)
        place = self.chance.choice(sorted(before))
        self._kill(before[place], "a worker of two under load")
        pid = eventually(lambda: self._child(place, but=before[place]))
        self.pause(1.0)
        assert isinstance(pid, int)
        self._kill(pid, "the worker that takes its place, while it starts")
        eventually(lambda: workers(self.gateway).get(place) not in {None, pid, before[place]})

    def kill_supervisor_while_one_starts(self) -> None:
        """End a worker, and the supervisor while another takes its place: that one must end by itself, too."""
        before = workers(self.gateway)
        place = self.chance.choice(sorted(before))
        self._kill(before[place], "a worker of two under load")
        pid = eventually(lambda: self._child(place, but=before[place]))
        self.pause(1.0)
        assert isinstance(pid, int)
        self.orphans = {*before.values(), pid}
        self._kill(self.gateway.process.pid, "the supervisor while a worker starts")

    def kill_supervisor(self) -> None:
        """End the supervisor; its workers end by themselves."""
        self.orphans = set(workers(self.gateway).values())
        self.pause(0.1)
        self._kill(self.gateway.process.pid, "the supervisor of two workers")

    def kill_both(self) -> None:
        """End the supervisor and a worker at once."""
        found = workers(self.gateway)
        self.orphans = set(found.values())
        pid = self.chance.choice(sorted(found.values()))
        for each in self.chance.sample([pid, self.gateway.process.pid], 2):
            self._kill(each, "the supervisor and a worker at once")

    def kill_while_it_stops(self) -> None:
        """Ask for a stop, and end the supervisor before it is done."""
        self.orphans = set(workers(self.gateway).values())
        self.gateway.process.send_signal(signal.SIGTERM)
        self.pause(0.5)
        self._kill(self.gateway.process.pid, "the supervisor of two workers while it stops")

    def _kill(self, pid: int, what: str) -> None:
        os.kill(pid, signal.SIGKILL)
        self.kills.count(what)

    def _child(self, place: str, but: int) -> int | None:
        """A worker's process that is neither `but` nor the other's; its log may not be open yet."""
        known = {pid for name, pid in workers(self.gateway).items() if name != place}
        for task in Path(f"/proc/{self.gateway.process.pid}/task").glob("*/children"):
            for pid in map(int, task.read_text().split()):
                try:
                    command = Path(f"/proc/{pid}/cmdline").read_bytes()
                except OSError:
                    continue
                if b"gateway.workforce.process" in command and pid not in {but, *known} and runs(pid):
                    return pid
        return None


Plan = tuple[Callable[[Life], None], ...]
LIVES: tuple[Plan, ...] = (
    (Life.kill_worker, Life.kill_both),
    (Life.kill_supervisor_while_one_starts,),
)
MORE: tuple[Plan, ...] = (
    (Life.kill_worker, Life.kill_while_it_stops),
    (Life.kill_replacement, Life.kill_supervisor_while_one_starts),
    (Life.kill_replacement, Life.kill_supervisor),
    (Life.kill_supervisor,),
    (Life.kill_both,),
)
"""What is killed in one life after the other, where agents are left; more of it where many kills are asked for."""


def lives() -> list[Plan]:
    return [*LIVES, *(MORE[number % len(MORE)] for number in range(ROUNDS // 4))]


def test_two_workers_lose_nothing(target: Target, tmp_path: Path, kills: Kills, mortal: Mortals) -> None:
    target.ask(SCHEMA)
    identities = [pyrage.x25519.Identity.generate() for _ in range(2)]
    recipients = ", ".join(f'"{one.to_public()}"' for one in identities)
    connection = connection_table("target", target.server, target.database, mask=["public.cards.card"])
    write_home(tmp_path, target.server.password, [connection], f"[evidence]\nrecipients = [{recipients}]\n")
    (tmp_path / "auditor").write_text(f"{identities[0]}\n")
    evidence = tmp_path / "state" / "evidence"

    token, everything, open_, orphans = "", set[str](), set[str](), set[int]()
    for number, plan in enumerate(lives()):
        load = Load(f"r{number}")
        with serving(tmp_path, environment=WORKERS) as gateway:
            token = token or gateway.token(ttl="5h")
            load.start(gateway.connect_arguments("target", token))
            life = Life(gateway, kills.chance("two", number), kills, load)
            load.wait(life.chance.randrange(SOME, 150))
            for what in plan:
                what(life)
            gateway.process.wait()
        load.join()
        target.wait_until_left()

        written = set(target.ask(f"SELECT id FROM written WHERE id LIKE '<r{number}.%'"))
        known = recorded(evidence)
        assert not written - known.rows, "written, and not recorded"
        assert not load.acknowledged - known.rows, "answered, and not recorded"
        assert not {each for each in load.acknowledged - written if each.split(".")[1] not in READING}, "not written"
        everything |= written | load.acknowledged
        orphans |= life.orphans
        open_ |= known.sessions["open"] if not any(map(runs, life.orphans)) else set()

    eventually(lambda: not any(map(runs, orphans)))  # no worker outlives its supervisor
    with serving(tmp_path, environment=WORKERS) as gateway:
        assert gateway.stop() == 0, gateway.log
        assert "Traceback" not in gateway.log
    wrong = mortal.run("aftermath", tmp_path, promised=[], identity=str(tmp_path / "auditor"), views=True).said("wrong")
    assert not wrong, wrong
    known = recorded(evidence)
    assert not everything - known.rows, "forgotten by a restart"
    assert not known.sessions["open"]
    assert open_ <= known.sessions["lost"], "a session of a former process was not ended"
    assert known.sessions["lost"], "no session was open when its worker was killed"
    assert {each.split(".")[0] for each in everything} == {f"<r{number}" for number in range(len(lives()))}
