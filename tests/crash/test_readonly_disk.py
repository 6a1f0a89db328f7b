"""A disk that turns read-only under a running gateway, as the kernel does after an error: as with a full one.

A real ext4 in a file, mounted `errors=remount-ro` and then told that it has an error. Its repair is that of an
operator: unmounted, checked, mounted again, while the gateway runs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from crash.scene import Target, assert_intact, serving
from crash.test_full_disk import healthy, insert, stop
from e2e.running import RunningGateway, connection_table, write_home

from requires import requires

SIZE = 64 << 20


class FailingDisk:
    """The disk below the evidence."""

    def __init__(self, home: Path) -> None:
        self.place = home / "state" / "evidence"
        self.image = home / "disk"
        self.place.mkdir(parents=True, exist_ok=True)
        with self.image.open("wb") as file:
            file.truncate(SIZE)
        subprocess.run([requires("mkfs.ext4"), "-q", "-F", self.image], check=True, capture_output=True)
        self.mount()
        self.trigger = Path("/sys/fs/ext4", self.device(), "trigger_fs_error")
        if not os.access(self.trigger, os.W_OK):
            self.end()
            pytest.skip(f"needs the right to tell a file system that it has an error: {self.trigger}")
        (self.place / "lost+found").rmdir()

    def mount(self) -> None:
        options = ["-o", "loop,errors=remount-ro", str(self.image), str(self.place)]
        mounted = subprocess.run(["mount", *options], capture_output=True, text=True)
        if mounted.returncode:
            pytest.skip(f"needs the right to mount a file, as root has it: {mounted.stderr.splitlines()[0]}")
        self.place.chmod(0o700)

    def device(self) -> str:
        for line in Path("/proc/self/mounts").read_text().splitlines():
            source, place, *_ = line.split()
            if place == str(self.place):
                return Path(source).name
        raise AssertionError(self.place)

    def fail(self) -> None:
        """From here on it is read-only, also for who has a file open to write."""
        self.trigger.write_text("1")

    def repair(self) -> None:
        """What was on it, checked, on a disk that takes writes."""
        subprocess.run(["umount", "--lazy", self.place], check=True)
        repaired = self.image.with_name("repaired")
        shutil.copyfile(self.image, repaired)
        self.image = repaired
        checked = subprocess.run([requires("e2fsck"), "-f", "-y", repaired], capture_output=True)
        assert checked.returncode in {0, 1}, checked.stdout
        self.mount()

    def end(self) -> None:
        subprocess.run(["umount", "--lazy", self.place], capture_output=True)


@pytest.fixture
def disk(tmp_path: Path, target: Target) -> Iterator[FailingDisk]:
    write_home(tmp_path, target.server.password, [connection_table("target", target.server, target.database)])
    found = FailingDisk(tmp_path)
    yield found
    found.end()


def taken_again(gateway: RunningGateway, arguments: dict[str, Any]) -> psycopg.Connection[Any]:
    """Log in as soon as that works: the supervisor's log may be the last to notice that its disk is another now."""
    deadline = time.monotonic() + 90
    while True:
        try:
            return psycopg.connect(**arguments, autocommit=True)
        except psycopg.OperationalError as fault:
            if "hoop: the record cannot be written" not in str(fault):
                raise
            assert time.monotonic() < deadline, gateway.log


def test_a_disk_that_turns_read_only_stops_forwarding_until_it_takes_writes_again(
    disk: FailingDisk, target: Target, tmp_path: Path
) -> None:
    target.ask("CREATE TABLE written (id text PRIMARY KEY, filler text)")
    with serving(tmp_path, []) as gateway:
        arguments = gateway.connect_arguments("target", gateway.token())
        idle = psycopg.connect(**arguments, autocommit=True)
        with psycopg.connect(**arguments, autocommit=True) as agent:
            insert(agent, "<before>")
            disk.fail()
            with pytest.raises(psycopg.Error, match="hoop: the record cannot be written") as told:
                insert(agent, "<during>")
            assert (told.value.sqlstate, told.value.diag.severity) == ("58030", "FATAL")
        with pytest.raises(psycopg.Error, match="hoop: the record cannot be written"):
            idle.execute("INSERT INTO written VALUES ('<idle>', '')")
        idle.close()
        with pytest.raises(psycopg.OperationalError, match="hoop: the record cannot be written"):
            psycopg.connect(**arguments)
        assert not healthy(gateway)
        said = gateway.command("status", "-c", str(gateway.config), check=False).stdout
        assert "Read-only file system" in said
        assert set(target.ask("SELECT id FROM written")) == {"<before>"}

        disk.repair()
        with taken_again(gateway, arguments) as agent:
            insert(agent, "<again>")
        assert healthy(gateway)
        assert_intact(gateway)
        stop(gateway)
        assert_intact(gateway)
    broken = [line for line in gateway.log.splitlines() if "gw-1/w1: nothing is recorded any more" in line]
    assert len(broken) == 1, gateway.log
    assert broken[0].endswith("the record cannot be written: Read-only file system")
    tries = [line for line in gateway.log.splitlines() if "gw-1/w1: cannot be opened again" in line]
    assert len(tries) <= 1, "it is said once, not at each try"
    assert set(target.ask("SELECT id FROM written")) == {"<before>", "<again>"}
    recorded = {row["id"] for row in gateway.query("SELECT parameters[1] AS id FROM statements")}
    assert {"<before>", "<again>"} <= recorded
