"""Races over one held statement, by real threads and sockets: one outcome each time, and never two executions."""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from holds import held
from operating import pending
from running import RunningGateway, connection_table, running
from wire_client import Wire, errors, eventually, send_cancel, through

from gateway.demo.postgres import PostgresServer
from gateway.pgwire.frontend import query

ROUNDS = 6
TABLES = '[approvals]\nin_transaction_timeout = "1s"\nlinger = "0s"\n'
RULE = '[[connection.rule]]\nname = "ask"\naction = "approve"\noperation = "insert"\n'
VISIT = '[[connection.rule]]\nname = "visit"\naction = "approve-session"\noperation = "insert"\n'


@pytest.fixture(scope="module")
def house(postgres: PostgresServer, orders: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    connections = [
        connection_table("plain", postgres, orders) + RULE,
        connection_table("visits", postgres, orders, hold="refuse") + VISIT,
    ]
    with running(tmp_path_factory.mktemp("races"), postgres, connections, TABLES) as found:
        yield found
        assert "Traceback" not in found.log, found.log
        done = found.command("evidence", "verify", str(found.evidence), check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def ran(admin: Wire) -> Callable[[str], int]:
    """How often the statement of one round ran."""
    admin.rows("DROP TABLE IF EXISTS races")
    admin.rows("CREATE TABLE races (round text)")

    def count(name: str) -> int:
        return int(admin.rows(f"SELECT count(*) FROM races WHERE round = '{name}'")[0][0] or 0)

    return count


def call(gateway: RunningGateway, method: str, **params: object) -> dict[str, Any]:
    """One request over a connection of its own; an error is returned as such."""
    with socket.socket(socket.AF_UNIX) as connected:
        connected.settimeout(20)
        connected.connect(str(gateway.home / "state" / "control.sock"))
        with connected.makefile("rwb") as lines:
            for words in (
                {"type": "hello", "version": 1, "client": "race", "resume": None},
                {"type": "request", "id": 1, "method": method, "params": params},
            ):
                lines.write(json.dumps(words).encode() + b"\n")
                lines.flush()
                answer: dict[str, Any] = json.loads(lines.readline())
    return answer


class Race:
    """One held statement, and everybody who wants something of it at the same moment."""

    def __init__(self, house: RunningGateway, name: str, number: int) -> None:
        self.house, self.round = house, f"{name}-{number}"
        self.subject = f"agent-{self.round}"
        self.answers: list[dict[str, Any]] = []
        self.wire = through(house, "plain", house.token(self.subject))
        if name == "expiry":
            self.wire.rows("BEGIN")
        self.wire.send(query(f"INSERT INTO races VALUES ('{self.round}')".encode()))
        self.id = held(self.wire)
        found = pending(house, self.id)
        assert found is not None
        self.hash, self.expires = found["hash"], datetime.fromisoformat(found["expires"])

    def approve(self) -> None:
        answer = call(self.house, "approvals.approve", id=self.id, hash=self.hash, reason="yes")
        self.answers.append(answer)

    def deny(self) -> None:
        self.answers.append(call(self.house, "approvals.deny", id=self.id, reason="no"))

    def cancel(self) -> None:
        send_cancel(self.house, self.wire)

    def hang_up(self) -> None:
        self.wire.stream.close()

    def revoke(self) -> None:
        call(self.house, "kill_list.add", kind="subject", value=self.subject, reason="leaked")

    def kill(self) -> None:
        for each in call(self.house, "sessions.list")["result"]:
            if each["subject"] == self.subject:
                call(self.house, "sessions.kill", id=each["id"], reason="stop")

    def expiry(self) -> None:
        """Approve as near to the deadline as can be, from one side of it or the other."""
        aim = self.expires + timedelta(milliseconds=4 * (int(self.round.rpartition("-")[2]) - ROUNDS // 2))
        threading.Event().wait((aim - datetime.now(UTC)).total_seconds())
        self.approve()

    def run(self, *contenders: Callable[[], None]) -> None:
        barrier = threading.Barrier(len(contenders))

        def at_once(act: Callable[[], None]) -> None:
            barrier.wait()
            act()

        threads = [threading.Thread(target=at_once, args=(each,)) for each in contenders]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def ended(house: RunningGateway, approval: str) -> str | None:
    """The state of an approval of which nothing more will come."""
    state = str(call(house, "approvals.get", id=approval)["result"]["state"])
    return None if state in {"pending", "approved"} else state


AGAINST = ["approve", "deny", "cancel", "revoke", "kill", "expiry", "hang_up"]


@pytest.mark.parametrize("name", AGAINST)
def test_exactly_one_outcome_and_at_most_one_execution(
    house: RunningGateway, ran: Callable[[str], int], name: str
) -> None:
    outcomes: Counter[str] = Counter()
    for number in range(ROUNDS):
        race = Race(house, name, number)
        contender = getattr(race, name)
        order = [race.approve, contender, race.approve] if number % 2 else [contender, race.approve, race.approve]
        race.run(*([race.expiry, race.expiry] if name == "expiry" else order))
        won = [each for each in race.answers if "result" in each]
        assert len(won) <= 1, "two decisions were taken"
        found = race.wire.rest() if name in {"revoke", "kill"} else None if name == "hang_up" else race.wire.until()
        if name == "expiry":
            race.wire.rows("COMMIT" if not errors(found or []) else "ROLLBACK")
        state = eventually(partial(ended, house, race.id))
        outcomes[str(state)] += 1
        times = ran(race.round)
        assert times <= 1
        race.wire.stream.close()
        if name == "hang_up":
            continue  # what was forwarded as the client left runs, or not
        if name not in {"revoke", "kill"}:
            assert times == (state == "executed"), (state, times)
            assert bool(errors(found or [])) == (state != "executed")
    ends = house.query(
        "SELECT json_extract_string(entry, '$.approval') AS id, list(json_extract_string(entry, '$.decision')) AS ends,"
        " count(*) FILTER (kind = 'release') AS releases FROM records"
        f" WHERE subject LIKE 'agent-{name}-%' AND kind IN ('decision', 'release') GROUP BY ALL"
    )
    assert len(ends) == ROUNDS
    for each in ends:
        told = Counter(each["ends"])
        assert told["requested"] == 1
        assert told["approved"] + told["refused"] + told["expired"] <= 1 + (told["expired"] and told["approved"])
        assert each["releases"] <= told["approved"]
    assert sum(outcomes.values()) == ROUNDS


def test_after_a_withdrawal_was_answered_nothing_more_is_let_through(
    house: RunningGateway, ran: Callable[[str], int]
) -> None:
    for number in range(ROUNDS):
        name = f"visit-{number}"
        insert = query(f"INSERT INTO races VALUES ('{name}')".encode())
        with through(house, "visits", house.token(f"agent-{name}")) as wire:
            (refusal,) = errors(wire.send(insert).until())
            assert refusal.get("M") == "hoop: approval needed"
            asked = call(house, "approvals.list", decided=False)["result"]
            (mine,) = [each for each in asked if each["subject"] == f"agent-{name}"]
            given = {"id": mine["id"], "hash": mine["hash"], "reason": "yes", "seconds": 60}
            assert call(house, "approvals.approve", **given)["result"]["state"] == "approved"
            over = threading.Event()

            def withdraw(id_: str = mine["id"], over: threading.Event = over) -> None:
                assert "result" in call(house, "grants.withdraw", id=id_, reason="done")
                over.set()

            thread = threading.Thread(target=withdraw)
            let_through = 0
            for turn in range(400):
                if turn == 5 + number:
                    thread.start()
                was_over = over.is_set()
                done = not errors(wire.send(insert).until())
                assert not (done and was_over), "let through after the withdrawal was answered"
                let_through += done
                if was_over:
                    break
            thread.join()
            assert over.is_set()
            assert ran(name) == let_through >= 5
