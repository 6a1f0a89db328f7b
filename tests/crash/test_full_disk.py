"""A disk that is full: nothing is forwarded, agents are told, a stop is a stop, and all is well once there is room.

Freed while the gateway runs, it records again by itself; freed while it is down, after its start.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from crash.scene import Target, assert_intact, serving
from e2e.running import RunningGateway, connection_table, write_home

LIMIT = (2 << 20) + 300_000
FILLER = "x" * 100_000
LIMITED = f"""
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, ({LIMIT}, resource.RLIM_INFINITY))
os.execv(sys.argv[1], sys.argv[1:])
"""


class Shortage:
    """Room for about twenty records of a hundred kilobytes. `wrap` goes before the gateway's command."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.wrap: list[str] = []

    def begin(self) -> None:
        """Before the gateway starts."""

    def relieve(self, gateway: RunningGateway) -> None:
        """There is room again, for `gateway` and for those who come after it."""

    def end(self) -> None:
        """Put everything back."""


class FileSizeLimit(Shortage):
    """The kernel refuses to let any file grow past a limit: works for every user."""

    def begin(self) -> None:
        self.wrap = [sys.executable, "-c", LIMITED]

    def relieve(self, gateway: RunningGateway) -> None:
        self.wrap = []
        if gateway.process.poll() is None:
            infinite = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE, infinite)


class SmallDisk(Shortage):
    """A file system of a few megabytes: only root can mount one."""

    def begin(self) -> None:
        self.place = self.home / "state"
        options = ["-t", "tmpfs", "-o", f"size=12m,uid={os.getuid()},mode=700", "tmpfs", str(self.place)]
        (self.home / "state").rename(self.home / "aside")
        self.place.mkdir()
        mounted = subprocess.run(["mount", *options], capture_output=True, text=True)
        if mounted.returncode:
            pytest.skip(f"needs the right to mount a tmpfs, as root has it: {mounted.stderr.splitlines()[0]}")
        for each in (self.home / "aside").iterdir():
            subprocess.run(["cp", "-a", each, self.place], check=True)
        (self.place / "filler").write_bytes(bytes(7 << 20))

    def relieve(self, _: RunningGateway) -> None:
        (self.place / "filler").unlink()

    def end(self) -> None:
        subprocess.run(["umount", self.place], capture_output=True)


@pytest.fixture(params=[FileSizeLimit, SmallDisk])
def shortage(request: pytest.FixtureRequest, tmp_path: Path, target: Target) -> Iterator[Shortage]:
    write_home(tmp_path, target.server.password, [connection_table("target", target.server, target.database)])
    found: Shortage = request.param(tmp_path)
    found.begin()
    yield found
    found.end()


def insert(connection: psycopg.Connection[Any], mark: str) -> None:
    connection.execute("INSERT INTO written VALUES (%s, %s)", (mark, FILLER))


def fill(connection: psycopg.Connection[Any], acknowledged: list[str]) -> None:
    for number in range(200):
        insert(connection, f"<{number}>")
        acknowledged.append(f"<{number}>")


def stop(gateway: RunningGateway) -> None:
    assert gateway.stop() == 0, gateway.log
    assert "Traceback" not in gateway.log


def test_a_full_disk_stops_forwarding_and_nothing_else(shortage: Shortage, target: Target) -> None:
    target.ask("CREATE TABLE written (id text PRIMARY KEY, filler text)")
    with serving(shortage.home, shortage.wrap) as gateway:
        arguments = gateway.connect_arguments("target", gateway.token())
        acknowledged: list[str] = []
        idle = psycopg.connect(**arguments, autocommit=True)
        block = psycopg.connect(**arguments)
        block.execute("INSERT INTO written VALUES ('<block>', '')")

        with psycopg.connect(**arguments, autocommit=True) as agent:
            with pytest.raises(psycopg.Error) as told:
                fill(agent, acknowledged)
            assert told.value.sqlstate == "58030"
            assert "FATAL" in str(told.value.diag.severity)
            assert "hoop: the record cannot be written" in str(told.value)
        assert len(acknowledged) > 5
        with pytest.raises(psycopg.Error, match="hoop: the record cannot be written"):
            idle.execute("INSERT INTO written VALUES ('<idle>', '')")
        with pytest.raises(psycopg.Error, match="hoop: the record cannot be written"):
            block.commit()
        with pytest.raises(psycopg.OperationalError, match="hoop: the record cannot be written"):
            psycopg.connect(**arguments)
        for connection in (idle, block):
            connection.close()
        status = json.loads(gateway.command("status", "-c", str(gateway.config), "--json", check=False).stdout)
        assert status["healthy"] is False
        assert status["sessions"] == 0

        stop(gateway)
    target.wait_until_left()
    written = set(target.ask("SELECT id FROM written"))
    assert written == set(acknowledged)
    recorded = {row["id"] for row in gateway.query("SELECT parameters[1] AS id FROM statements")}
    assert not written - recorded

    shortage.relieve(gateway)
    with serving(shortage.home, shortage.wrap) as gateway:
        with psycopg.connect(**gateway.connect_arguments("target", gateway.token()), autocommit=True) as agent:
            insert(agent, "<again>")
        assert_intact(gateway)
        reasons = {row["end_reason"] for row in gateway.query("SELECT end_reason FROM sessions")}
        assert reasons == {"lost", "client"}
        stop(gateway)


def healthy(gateway: RunningGateway) -> bool:
    told = gateway.command("status", "-c", str(gateway.config), "--json", check=False).stdout
    return json.loads(told)["healthy"] is True


def test_once_the_disk_is_freed_the_gateway_records_again_by_itself(shortage: Shortage, target: Target) -> None:
    target.ask("CREATE TABLE written (id text PRIMARY KEY, filler text)")
    with serving(shortage.home, shortage.wrap) as gateway:
        arguments = gateway.connect_arguments("target", gateway.token())
        acknowledged: list[str] = []
        idle = psycopg.connect(**arguments, autocommit=True)
        with (
            psycopg.connect(**arguments, autocommit=True) as agent,
            pytest.raises(psycopg.Error, match="the record cannot"),
        ):
            fill(agent, acknowledged)
        with pytest.raises(psycopg.OperationalError, match="hoop: the record cannot be written"):
            psycopg.connect(**arguments)
        assert not healthy(gateway)

        shortage.relieve(gateway)
        deadline = time.monotonic() + 60
        while not healthy(gateway):
            assert time.monotonic() < deadline, gateway.log
        with pytest.raises(psycopg.Error, match="hoop: the record cannot be written"):
            idle.execute("INSERT INTO written VALUES ('<idle>', '')")
        idle.close()
        with psycopg.connect(**arguments, autocommit=True) as agent:
            insert(agent, "<again>")
        assert_intact(gateway)
        starts = "SELECT json_extract_string(entry, '$.resumed') AS why FROM records WHERE kind = 'start'"
        (resumed,) = gateway.query(f"SELECT why FROM ({starts} AND log = 'gw-1/w1') WHERE why IS NOT NULL")
        assert resumed["why"].startswith("the record cannot be written: ")
        stop(gateway)
        assert_intact(gateway)
    written = set(target.ask("SELECT id FROM written"))
    assert written == {*acknowledged, "<again>"}
    assert not written - {row["id"] for row in gateway.query("SELECT parameters[1] AS id FROM statements")}
    reasons = {row["end_reason"] for row in gateway.query("SELECT end_reason FROM sessions")}
    assert reasons == {"lost", "client"}
