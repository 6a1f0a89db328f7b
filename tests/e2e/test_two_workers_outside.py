"""Two workers and whoever sees their logs from outside: an authority that stamps, a witness, a file and a directory.

Three logs (control and one of each worker), each brought by the process that writes it. One home and one life for all:
the authority is well, silent, and wrong in turn; a worker is killed; all of it is checked after the stop.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from e2e.test_witnessed import free_port, witnessing
from operating import ask
from running import RunningGateway, connection_table, serving, write_home
from time_stamping import Authority, make_authority
from wire_client import Wire, eventually, through
from workers_seen import WORKERS, log_of, workers

from gateway.__main__ import main
from gateway.demo.postgres import PostgresServer
from gateway.evidence import stamp, standalone
from requires import requires

LOGS = ("gw-1/control", "gw-1/w1", "gw-1/w2")
PATIENCE = 60.0
"""Seconds: one that failed for a while is asked again after as long."""


@dataclass
class Outside:
    """An authority at a port of its own: what it answers now, and who else looks."""

    home: Path
    authority: Authority
    port: int
    ask: Callable[[bytes], bytes]
    """From the query to the answer."""
    sinks: list[Path] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"rfc3161:127.0.0.1:{self.port}/tsr"


@contextmanager
def at_work(outside: Outside) -> Iterator[None]:
    """The authority for the time of a block; one question at a time, since `openssl ts` counts in a file."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found = outside.ask(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", str(len(found)))
            self.end_headers()
            self.wfile.write(found)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", outside.port), Answer) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def outside(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Outside:
    place = tmp_path_factory.mktemp("outside")
    authority = make_authority(place / "tsa")
    return Outside(place / "home", authority, free_port(), authority.stamp)


@pytest.fixture(scope="module")
def gateway(
    outside: Outside, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    place, port = tmp_path_factory.mktemp("witness") / "w", free_port()
    assert main(["witness", "init", str(place), "--name", "witness.test/w1"]) == 0
    key = (place / "witness.pub").read_text().strip()
    directory, file = place.parent / "objects", place.parent / "notes"
    directory.mkdir()
    outside.sinks += [place / "notes", file, directory]
    table = (
        f'[evidence.timestamp]\nurl = "http://127.0.0.1:{outside.port}/tsr"\nevery = "1s"\n'
        f'certificate = "{outside.authority.certificates}"\n'
        f'[[evidence.witness]]\nurl = "http://127.0.0.1:{port}"\nkey = "{key}"\n'
        f'[[evidence.sink]]\nfile = "{file}"\nevery = "1s"\n'
        f'[[evidence.sink]]\ndirectory = "{directory}"\nevery = "1s"\n'
    )
    write_home(outside.home, postgres.password, [connection_table("out", postgres, "postgres")], table)
    with at_work(outside), serving(outside.home, WORKERS) as first:
        pass  # makes the logs' keys, which the witness must know
    with witnessing(place, port, first.evidence), serving(outside.home, WORKERS) as found:
        yield found
        assert "Traceback" not in found.log, found.log


@pytest.fixture(scope="module")
def token(gateway: RunningGateway) -> str:
    return gateway.token("agent-two", ttl="5h")


def spoken(gateway: RunningGateway, token: str) -> None:
    """A statement through each worker."""
    eventually(lambda: ask(gateway, "status")["sessions"] == 0)
    with through(gateway, "out", token) as one, through(gateway, "out", token) as other:
        found: dict[str, Wire] = {log_of(gateway, wire): wire for wire in (one, other)}
        assert set(found) == {"gw-1/w1", "gw-1/w2"}
        for log, wire in found.items():
            assert wire.rows(f"SELECT '{log}'") == [(log,)]


def told(gateway: RunningGateway, name: str) -> dict[str, Any]:
    """What `status` says of one witness, sink or authority."""
    done = gateway.command("status", "-c", str(gateway.config), "--json", check=False)
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["healthy"] is True, found
    (one,) = (each for each in found["witnesses"] if each["name"] == name)
    return dict(one)


def sizes(gateway: RunningGateway, outside: Outside) -> dict[str, int]:
    return {log: one["size"] or 0 for log, one in told(gateway, outside.name)["logs"].items()}


def grown(gateway: RunningGateway, outside: Outside, before: dict[str, int]) -> bool:
    """Whether every log was stamped further than `before`, and nothing is wrong."""
    now = sizes(gateway, outside)
    assert set(now) == set(LOGS)
    return all(now[log] > before.get(log, 0) for log in LOGS) and told(gateway, outside.name)["fault"] is None


def failing(gateway: RunningGateway, outside: Outside, words: str) -> bool:
    """Whether `status` says of every log that it could not be stamped, and why."""
    fault = told(gateway, outside.name)["fault"] or ""
    return all(f"{log}: {words}" in fault for log in LOGS)


def test_every_log_is_stamped_and_seen(gateway: RunningGateway, outside: Outside, token: str) -> None:
    with at_work(outside):
        eventually(lambda: grown(gateway, outside, {}), PATIENCE)
        before = sizes(gateway, outside)
        spoken(gateway, token)
        eventually(lambda: grown(gateway, outside, before), PATIENCE)
        heads = ask(gateway, "status")["evidence"]
        assert set(heads) == set(LOGS)
        eventually(
            lambda: all(
                one["witnessed"] and not one["unwitnessed"] for one in ask(gateway, "status")["evidence"].values()
            ),
            PATIENCE,
        )


def test_an_authority_that_is_silent_is_named_for_each_log_and_catches_up(
    gateway: RunningGateway, outside: Outside, token: str
) -> None:
    before = sizes(gateway, outside)
    spoken(gateway, token)
    eventually(lambda: failing(gateway, outside, "cannot be reached"), PATIENCE)
    assert sizes(gateway, outside) == before
    with at_work(outside):
        eventually(lambda: grown(gateway, outside, before), PATIENCE)


def another_digest(outside: Outside) -> Callable[[bytes], bytes]:
    """Stamp something else, and answer the question that was asked: its nonce is the right one."""

    def answer(query: bytes) -> bytes:
        at = query.index(b"\x04\x20") + 2  # an octet string of 32 bytes: the digest
        return outside.authority.stamp(query[:at] + bytes(32) + query[at + 32 :])

    return answer


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda _outside: lambda _query: b"<html>\x1b[2J", "it is no answer of RFC 3161"),
        (another_digest, "the stamp does not hold: it is over something else"),
    ],
    ids=["nonsense", "another digest"],
)
def test_what_it_answers_is_not_believed_and_is_asked_again(
    gateway: RunningGateway,
    outside: Outside,
    token: str,
    wrong: Callable[[Outside], Callable[[bytes], bytes]],
    words: str,
) -> None:
    before, kept = sizes(gateway, outside), stamps(gateway)
    outside.ask = wrong(outside)
    with at_work(outside):
        spoken(gateway, token)
        eventually(lambda: failing(gateway, outside, words), PATIENCE)
        assert (sizes(gateway, outside), stamps(gateway)) == (before, kept)
        outside.ask = outside.authority.stamp
        eventually(lambda: grown(gateway, outside, before), PATIENCE)


def test_the_logs_of_a_worker_that_was_replaced_go_on_being_stamped_and_seen(
    gateway: RunningGateway, outside: Outside, token: str
) -> None:
    with at_work(outside):
        before, killed = sizes(gateway, outside), workers(gateway)["w2"]
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: workers(gateway).get("w2") not in {None, killed})
        eventually(lambda: all(ask(gateway, "status")["evidence"].values()))
        spoken(gateway, token)
        eventually(lambda: grown(gateway, outside, before), PATIENCE)
        assert gateway.stop() == 0, gateway.log


def stamps(gateway: RunningGateway) -> list[Path]:
    return sorted(gateway.evidence.glob("logs/*/checkpoints/*.tsr"))


def test_after_the_stop_all_of_it_holds(gateway: RunningGateway, outside: Outside, tmp_path: Path) -> None:
    assert gateway.process.poll() == 0
    by_log = {log: [path for path in stamps(gateway) if path.parents[1].name == log[5:]] for log in LOGS}
    assert min(map(len, by_log.values())) >= 4, by_log
    for path in stamps(gateway):
        (tmp_path / "stamped").write_bytes(stamp.stamped(path.with_suffix(".note").read_bytes()))
        command = [requires("openssl"), "ts", "-verify", "-in", str(path), "-data", str(tmp_path / "stamped")]
        command += ["-CAfile", str(gateway.evidence / "tsa.pem")]
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode, "Verification: OK" in done.stdout + done.stderr) == (0, True), done
    recorded = gateway.query(
        "SELECT log, entry->>'origin' AS origin, entry->>'size' AS size FROM records"
        " WHERE kind = 'witness' AND starts_with(entry->>'witness', 'rfc3161:')"
    )
    assert {each["log"] for each in recorded} == {"gw-1/control"}
    named = {f"{each['origin'][5:]}/checkpoints/{each['size']}.tsr" for each in recorded}
    assert named == {str(path.relative_to(gateway.evidence / "logs")) for path in stamps(gateway)}


def test_both_checks_say_intact_with_what_each_of_them_kept(
    gateway: RunningGateway, outside: Outside, tmp_path: Path
) -> None:
    notes, file, directory = outside.sinks
    kept = tmp_path / "kept"
    kept.write_bytes(b"".join(path.read_bytes() for path in sorted(directory.rglob("*.note"))))
    assert {str(path.parent.relative_to(directory)) for path in directory.rglob("*.note")} == set(LOGS)
    for seen in (notes, file, kept):
        assert {origin for origin in LOGS if f"{origin}\n" in seen.read_text()} == set(LOGS)
        for quick in ([], ["--quick"]):
            more = ["--witness", str(seen), *quick]
            done = gateway.command("evidence", "verify", str(gateway.evidence), *more, check=False)
            assert done.returncode == 0, done.stdout
            assert len(re.findall(r" seen by a witness", done.stdout)) == len(LOGS)
            assert "time stamp" not in done.stdout
        alone = [sys.executable, "-I", str(standalone.__file__), str(gateway.evidence), str(seen)]
        found = subprocess.run(alone, capture_output=True, text=True)
        assert (found.returncode, found.stderr, found.stdout.splitlines()[-1]) == (0, "", "intact")


def test_a_stamp_of_a_worker_that_was_exchanged_is_found(
    gateway: RunningGateway, outside: Outside, tmp_path: Path
) -> None:
    by_log = {log: next(path for path in stamps(gateway) if path.parents[1].name == log[5:]) for log in LOGS}
    before = by_log["gw-1/w2"].read_bytes()
    by_log["gw-1/w2"].write_bytes(by_log["gw-1/w1"].read_bytes())
    done = gateway.command("evidence", "verify", str(gateway.evidence), check=False)
    assert (done.returncode, "of gw-1/w2 is not the one that was recorded" in done.stdout) == (1, True), done.stdout
    by_log["gw-1/w2"].write_bytes(before)
