"""When nobody answers: a second group decides, or one person breaks the glass, as loud as promised; a whole gateway."""

from __future__ import annotations

import json
import queue
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from holds import ask_for, ids
from operating import ask, pending
from running import RunningGateway, connection_table, running, start, write_home
from seats import Seat
from staff import PEOPLE, rule, table
from webhooks import SECRET, receiver
from wire_client import Wire, error, eventually, kinds, through
from workers_seen import WORKERS

from gateway.demo.postgres import PostgresServer
from gateway.pgwire.frontend import query

OLGA, LEE, IRA, IVO = "sub-olga", "sub-lee", "sub-ira", "sub-ivo"
WHY = "INC-7: the shop is down"
MORE = "".join(
    [
        table("operator", name="lee", subject=LEE, groups=["leads"], roles=["decide"]),
        table("operator", name="ira", subject=IRA, groups=["incident"], roles=["decide"]),
        table("operator", name="ivo", subject=IVO, groups=["incident"], roles=["watch"]),
    ]
)
APPROVALS = (
    '[approvals]\nassurance = "oidc"\nreviewers = ["group:oncall"]\n'
    '[approvals.break_glass]\nreviewers = ["group:incident"]\n'
)
ESCALATION = '[approvals.escalation]\nafter = "2s"\nreviewers = ["group:leads"]\n'


@dataclass
class House:
    """A gateway, and what its webhook was told."""

    gateway: RunningGateway
    told: queue.Queue[dict[str, Any]]

    def hear(self, kind: str, approval: str) -> dict[str, Any]:
        """What was told of an approval under this type."""
        while True:
            told = self.told.get(timeout=30)
            if (told["type"], told["data"]["id"]) == (kind, approval):
                return told


@pytest.fixture(scope="module")
def house(postgres: PostgresServer, orders: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A gateway of two workers, with a second group and a third that may break the glass."""
    home = tmp_path_factory.mktemp("overrides")
    (home / "hook").write_text(SECRET)
    connections = [
        connection_table("plain", postgres, orders),
        connection_table("pairs", postgres, orders)
        + rule(name="two", action="approve", operation=["delete"], replaces="standard/delete", approvals=2),
        connection_table("shown", postgres, orders)
        + rule(name="seen", action="approve-effect", replaces="standard/delete", approvals=2),
    ]
    with receiver() as (url, told):
        hook = f'[[approvals.webhook]]\nurl = "{url}"\nsecret = "file:{home}/hook"\n'
        settings = APPROVALS + ESCALATION + hook + PEOPLE + MORE
        with running(home / "home", postgres, connections, settings, WORKERS) as found:
            yield House(found, told)
            assert "Traceback" not in found.log, found.log
            done = found.command("evidence", "verify", str(found.evidence), check=False)
            assert done.returncode == 0, done.stdout + done.stderr


def test_after_the_set_time_the_second_group_decides(house: House, three: Wire) -> None:
    gateway = house.gateway
    with through(gateway, "plain", gateway.token(owner=OLGA)) as wire, Seat(gateway) as seat:
        asked = ask_for(gateway, wire, 1)
        assert asked["escalated"] is None
        assert asked["escalates"] is not None
        seat.who(LEE)
        told = house.hear("approval.escalated", asked["id"])
        assert told["data"]["escalated_to"] == ["group:leads"]
        shown = seat.run("approvals", "show", asked["id"]).stdout
        assert "group:leads" in next(line for line in shown.splitlines() if line.startswith("escalated_to"))
        assert seat.approve(asked).returncode == 0
        wire.until()
        assert ids(three) == [2, 3]
    (record,) = gateway.query(f"SELECT decision, approver FROM approvals WHERE approval_id = '{asked['id']}'")
    assert record == {"decision": "approved", "approver": "lee"}
    decisions = gateway.query(
        "SELECT json_extract_string(entry, '$.decision') AS word FROM records WHERE kind = 'decision'"
        f" AND json_extract_string(entry, '$.approval') = '{asked['id']}' ORDER BY seq"
    )
    assert [each["word"] for each in decisions] == ["requested", "escalated", "approved", "executed"]


def test_where_two_are_needed_two_of_the_second_group_are_not_one(house: House, three: Wire) -> None:
    gateway = house.gateway
    with through(gateway, "pairs", gateway.token(owner=OLGA)) as wire, Seat(gateway) as lead, Seat(gateway) as reviewer:
        asked = ask_for(gateway, wire, 1)
        house.hear("approval.escalated", asked["id"])
        lead.who(LEE)
        assert lead.approve(asked).stdout.startswith("pending ")
        again = lead.approve(asked)
        assert (again.returncode, "you approved it already" in again.stderr) == (1, True), again.stderr
        assert ids(three) == [1, 2, 3]
        reviewer.who("sub-dana")
        assert reviewer.approve(asked).stdout.startswith("approved ")
        wire.until()
        assert ids(three) == [2, 3]


def test_one_person_breaks_the_glass_for_two_and_everybody_hears_of_it(
    house: House, three: Wire, tmp_path: Path
) -> None:
    gateway = house.gateway
    with through(gateway, "pairs", gateway.token(owner=OLGA)) as wire:
        asked = ask_for(gateway, wire, 1)
        with Seat(gateway) as seat:
            seat.who(IRA)
            plain = seat.approve(asked)
            assert (plain.returncode, "may decide about this operation" in plain.stderr) == (1, True), plain.stderr
            short = seat.approve(asked, "--break-glass")
            assert (short.returncode, "a reason of 20 characters" in short.stderr) == (2, True), short.stderr
            assert ids(three) == [1, 2, 3]
            done = seat.approve(asked, "--break-glass", "--reason", WHY)
            assert done.stdout == f"approved {asked['id']} by ira (BREAK-GLASS): {WHY}\n", done.stderr
        wire.until()
        assert ids(three) == [2, 3]
    told = house.hear("approval.break_glass", asked["id"])
    assert (told["data"]["approver"], told["data"]["state"]) == ("ira", "approved")
    assert "shop is down" not in json.dumps(told)
    (alarm,) = gateway.query("SELECT alarm, detail FROM alarms WHERE alarm = 'break-glass'")
    assert alarm["detail"].startswith(f"{asked['id']} on pairs approved by ira in the place of group:oncall")
    assert alarm["detail"].endswith(f": {WHY}")
    (broken,) = ask(gateway, "status")["break_glass"]
    assert {name: broken[name] for name in ("id", "by", "subject", "connection")} == {
        "id": asked["id"], "by": "ira", "subject": asked["subject"], "connection": "pairs",
    }  # fmt: skip
    saved = gateway.command("evidence", "query", str(gateway.evidence), "--saved", "break-glass", "--format", "json")
    (listed,) = json.loads(saved.stdout)
    assert (listed["approver"], listed["reason"], listed["approval_id"]) == ("ira", WHY, asked["id"])
    gateway.command("approvals", "receipt", asked["id"], str(tmp_path / "out"), "-c", str(gateway.config))
    receipt = json.loads((tmp_path / "out" / "receipt-1.json").read_text())
    assert (receipt["break_glass"], receipt["approver"]["name"]) == (True, "ira")


def test_the_glass_is_broken_for_what_was_shown_in_whichever_worker(house: House, three: Wire) -> None:
    gateway, token = house.gateway, house.gateway.token(owner=OLGA)
    eventually(lambda: ask(gateway, "status")["sessions"] == 0)
    with through(gateway, "shown", token) as one, through(gateway, "shown", token) as other, Seat(gateway) as seat:
        seat.who(IRA)
        for row, wire in ((1, one), (2, other)):
            asked = ask_for(gateway, wire, row)
            shown = seat.run("approvals", "show", asked["id"]).stdout
            assert "public.scratch" in shown.partition("effect:")[2].partition("sample")[0], shown
            done = seat.approve(asked, "--break-glass", "--reason", WHY)
            assert done.stdout == f"approved {asked['id']} by ira (BREAK-GLASS): {WHY}\n", done.stderr
            assert kinds(wire.until()) == "CZ"
            assert ids(three) == list(range(row + 1, 4))
            named = f"approval_id = '{asked['id']}'"
            (alarm,) = gateway.query(f"SELECT detail FROM alarms WHERE starts_with(detail, '{asked['id']}')")
            assert alarm["detail"].endswith(f": {WHY}")
            (found,) = gateway.query(f"SELECT * FROM approvals WHERE {named}")
            assert (found["decision"], found["approver"]) == ("approved", "ira")
            assert found["executed_hash"] == found["operation_hash"]
        where = gateway.query(
            "SELECT log FROM statements WHERE connection = 'shown' AND verdict = 'approve' ORDER BY log"
        )
        assert [each["log"] for each in where] == ["gw-1/w1", "gw-1/w2"]


NEVER = [
    # agent's subject and owner, who breaks the glass, why not
    ("agent-1", OLGA, "sub-dana", "only group:incident may break the glass"),
    ("agent-2", IRA, IRA, "this agent acts for you"),
    ("agent-3", "", IRA, "the agent's token names no owner"),
    ("agent-4", OLGA, IVO, "ivo lacks the role `decide`"),
]


@pytest.mark.parametrize(("subject", "owner", "who", "words"), NEVER, ids=[row[3] for row in NEVER])
def test_who_never_breaks_it(house: House, three: Wire, subject: str, owner: str, who: str, words: str) -> None:
    gateway = house.gateway
    with through(gateway, "pairs", gateway.token(subject, owner=owner)) as wire, Seat(gateway) as seat:
        asked = ask_for(gateway, wire, 1)
        seat.who(who)
        done = seat.approve(asked, "--break-glass", "--reason", WHY)
        assert (done.returncode, words in done.stderr) == (1, True), done.stderr
        wire.stream.close()
    assert ids(three) == [1, 2, 3]


def test_nobody_breaks_it_without_a_login_and_nothing_denied_is_there_to_be_broken(house: House, three: Wire) -> None:
    gateway = house.gateway
    with through(gateway, "plain", gateway.token(owner=OLGA)) as wire:
        before = len(ask(gateway, "approvals.list", decided=False))
        wire.send(query(b"TRUNCATE scratch"))
        assert error(wire.until()) == ("42501", "hoop: denied: It truncates scratch.")
        assert len(ask(gateway, "approvals.list", decided=False)) == before
        asked = ask_for(gateway, wire, 1)
        with Seat(gateway) as seat:
            done = seat.approve(asked, "--break-glass", "--reason", WHY)
            assert (done.returncode, "deciding needs a login" in done.stderr) == (1, True), done.stderr
    assert ids(three) == [1, 2, 3]


def test_a_broken_glass_outlives_a_token_no_more_than_any_approval(house: House, three: Wire) -> None:
    """Its statement is held by who hung up, approved by one, and its agent kept out before it comes back."""
    gateway = house.gateway
    token = gateway.token("agent-9", owner=OLGA)
    wire = through(gateway, "pairs", token)
    asked = ask_for(gateway, wire, 1)
    wire.stream.close()
    eventually(lambda: not pending(gateway, asked["id"])["waiting"])  # type: ignore[index]
    with Seat(gateway) as seat:
        seat.who(IRA)
        assert seat.approve(asked, "--break-glass", "--reason", WHY).returncode == 0
        assert seat.run("sessions", "block", "--subject", "agent-9", "--reason", "leaked").returncode == 0
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(**gateway.connect_arguments("pairs", token))
    assert ids(three) == [1, 2, 3]


def test_the_glass_stays_in_sight_after_a_crash(postgres: PostgresServer, orders: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    write_home(home, postgres.password, [connection_table("plain", postgres, orders)], APPROVALS + PEOPLE + MORE)
    gateway = start(home)
    try:
        with through(gateway, "plain", gateway.token(owner=OLGA)) as wire, Seat(gateway) as seat:
            asked = ask_for(gateway, wire, 100)
            seat.who(IRA)
            assert seat.approve(asked, "--break-glass", "--reason", WHY).returncode == 0
            wire.until()
            gateway.stop(signal.SIGKILL)
        assert gateway.process.stdout is not None
        gateway.process.stdout.close()
        gateway = start(home)
        (broken,) = ask(gateway, "status")["break_glass"]
        assert (broken["id"], broken["by"]) == (asked["id"], "ira")
        with through(gateway, "plain", gateway.token(owner=OLGA)) as wire:
            again = ask_for(gateway, wire, 100)
            before = ask(gateway, "approvals.history", id=again["id"])
            (earlier,) = before["earlier"]
            assert [earlier[name] for name in ("id", "state", "approver", "reason")] == [
                asked["id"], "approved", "ira", WHY,
            ]  # fmt: skip
            statement = "DELETE FROM scratch WHERE id = 100"
            assert [(each["verdict"], each["text"]) for each in before["lately"]] == [("approve", statement)]
            shown = gateway.command("approvals", "show", again["id"], "-c", str(gateway.config)).stdout
            assert shown.count(statement) == 2
            assert f"approved  ira       {WHY}" in shown
    finally:
        assert gateway.stop() == 0, gateway.log
        assert gateway.process.stdout is not None
        gateway.process.stdout.close()
