"""The kernel's own account of the order: write and sync of the journal, and only then the target's socket."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from crash.scene import Target, serving
from e2e.running import connection_table, write_home

from requires import requires

CALLS = "pwrite64,pwritev,pwritev2,write,writev,fdatasync,fsync,sendto,sendmsg"
OPTIONS = ["-D", "-f", "--seccomp-bpf", "-yy", "-s", "1000000", "-e", f"trace={CALLS}", "-e", "signal=none"]
"""-D: the gateway stays our child and takes our signals. --seccomp-bpf: only the calls asked for are stopped."""

pytestmark = pytest.mark.crash


@dataclass(frozen=True)
class Call:
    """One system call that succeeded: at which lines of the trace it began and ended."""

    name: str
    arguments: str
    began: int
    ended: int


def tracer() -> str:
    """Return strace; skip where this machine does not let it trace."""
    strace = requires("strace")
    tried = subprocess.run([strace, *OPTIONS, "-o", "/dev/null", "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"needs ptrace, which is not permitted here: {tried.stderr.strip()}")
    return strace


def read(trace: Path) -> Iterator[Call]:
    """Join the halves of calls that other threads interrupted."""
    halves: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(trace.read_text(errors="replace").splitlines()):
        pid, _, said = line.partition(" ")
        said = said.strip()
        if said.endswith("<unfinished ...>"):
            halves[pid] = number, said.removesuffix("<unfinished ...>")
            continue
        began = number
        if resumed := re.match(r"<\.\.\. \w+ resumed>", said):
            began, first = halves.pop(pid)
            said = first + said[resumed.end() :]
        if (found := re.match(r"(\w+)\((.*)\)\s+= (-?\d+)", said)) and int(found[3]) >= 0:
            yield Call(found[1], found[2], began, number)


def test_the_journal_is_synced_before_the_target_is_sent_to(target: Target, tmp_path: Path) -> None:
    strace, trace = tracer(), tmp_path / "trace"
    target.ask("CREATE TABLE written (id text)")
    write_home(tmp_path, target.server.password, [connection_table("target", target.server, target.database)])
    with serving(tmp_path, [strace, *OPTIONS, "-o", str(trace)]) as gateway:
        token = gateway.token()
        with psycopg.connect(**gateway.connect_arguments("target", token), autocommit=True) as connection:
            for number in range(4):
                connection.execute(f"INSERT INTO written VALUES ('<simple.{number}>')".encode())
                connection.execute("INSERT INTO written VALUES (%s)", (f"<extended.{number}>",))
                with connection.cursor().copy("COPY written FROM STDIN") as copy:
                    copy.write_row((f"<copied.{number}>",))
        assert gateway.stop() == 0, gateway.log

    calls = list(read(trace))
    written = set(target.ask("SELECT id FROM written"))
    assert len(written) == 12
    for mark in written:
        sent = [call for call in calls if mark in call.arguments and f":{target.server.port}]" in call.arguments]
        assert sent, f"{mark}: the trace does not show the target's socket"
        assert recorded_before(calls, mark, sent[0]), f"{mark}: sent before its record was on disk"


def recorded_before(calls: list[Call], mark: str, sent: Call) -> bool:
    """Whether a write of the mark to a journal had ended, then a sync of that file begun and ended, before `sent`."""
    return any(
        write.ended < sync.began and sync.ended < sent.began
        for write in calls
        if "write" in write.name and mark in write.arguments and "/logs/w1/journal/" in write.arguments
        for sync in calls
        if sync.name in ("fdatasync", "fsync") and sync.arguments == write.arguments.partition(",")[0]
    )
