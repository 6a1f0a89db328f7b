"""Operators of a whole gateway: logins, four eyes, signatures and grants, by the commands that people use."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from holds import ask_for, held, ids
from operating import ask, pending
from running import RunningGateway, connection_table, running, start, write_home
from seats import Seat
from staff import DANA, ERIN, EVE, OLGA, PEOPLE, ROB, rule, table
from wire_client import Wire, error, errors, eventually, through

from gateway.demo.postgres import PostgresServer
from gateway.pgwire.frontend import query
from requires import requires

APPROVALS = '[approvals]\nassurance = "oidc"\nreviewers = ["group:oncall"]\n'


@pytest.fixture(scope="module")
def house(postgres: PostgresServer, orders: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway where deciding takes a login."""
    connections = [
        connection_table("plain", postgres, orders),
        connection_table("pairs", postgres, orders)
        + rule(name="two", action="approve", operation=["delete"], replaces="standard/delete", approvals=2),
        connection_table("visits", postgres, orders)
        + rule(name="visit", action="approve-session", operation=["delete"], replaces="standard/delete")
        + rule(name="alter", action="approve-session", operation=["create"], replaces="standard/create"),
    ]
    with running(tmp_path_factory.mktemp("people"), postgres, connections, APPROVALS + PEOPLE) as found:
        yield found
        assert "Traceback" not in found.log, found.log
        done = found.command("evidence", "verify", str(found.evidence), check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def desk(house: RunningGateway) -> Iterator[Callable[..., Wire]]:
    """Open agents' sessions; the agent's owner is olga unless said otherwise."""
    opened: list[Wire] = []

    def connect(connection: str = "plain", subject: str = "agent-1", owner: str = OLGA) -> Wire:
        opened.append(through(house, connection, house.token(subject, owner=owner)))
        return opened[-1]

    yield connect
    for wire in opened:
        wire.stream.close()


def approval(house: RunningGateway, id_: str) -> dict[str, Any]:
    """The approval as an auditor finds it."""
    (found,) = house.query(f"SELECT * FROM approvals WHERE approval_id = '{id_}'")
    return found


def test_nobody_decides_without_a_login(house: RunningGateway, desk: Callable[..., Wire], three: Wire) -> None:
    wire = desk()
    asked = ask_for(house, wire, 1)
    with Seat(house) as seat:
        for done in (seat.approve(asked), seat.run("approvals", "deny", asked["id"], "--reason", "no"),
                     seat.run("sessions", "unblock", "--subject", "x", "--reason", "y")):  # fmt: skip
            assert done.returncode == 1
            assert "deciding needs a login, not older than 10 minutes" in done.stderr
        shown = seat.run("whoami")
        assert (shown.returncode, "you may watch" in shown.stderr) == (1, True)
        assert pending(house, asked["id"]) is not None


def test_who_logged_in_decides_from_that_terminal_alone_and_all_of_it_is_on_record(
    house: RunningGateway, desk: Callable[..., Wire], three: Wire
) -> None:
    wire = desk()
    asked = ask_for(house, wire, 1)
    with Seat(house) as seat, Seat(house) as other:
        login = seat.who(DANA)
        assert (login["operator"], login["subject"], login["groups"]) == ("dana", DANA, ["oncall"])
        assert json.loads(seat.run("whoami", "--json").stdout)["login"]["operator"] == "dana"
        assert other.approve(asked).returncode == 1
        done = seat.approve(asked)
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"approved {asked['id']} by dana: looks right\n"
        wire.until()
        assert ids(three) == [2, 3]
        found = eventually(lambda: [each for each in [approval(house, asked["id"])] if each["executed_hash"]])
        assert isinstance(found, list)
        assert [found[0][name] for name in ("approver", "assurance", "decision", "reason")] == [
            "dana", "oidc", "approved", "looks right",
        ]  # fmt: skip
        receipt = json.loads(found[0]["receipt"])
        assert receipt["operation_hash"] == found[0]["operation_hash"] == found[0]["executed_hash"]
        assert receipt["approver"] == {
            "name": "dana", "subject": DANA, "issuer": login["issuer"], "groups": ["oncall"],
        }  # fmt: skip
        assert (receipt["requester"]["subject"], receipt["requester"]["owner"]) == ("agent-1", OLGA)
        policies = {each["policy"] for each in house.query("SELECT policy FROM policies")}
        assert set(receipt["policy"].values()) <= policies
        assert seat.run("logout").returncode == 0
        assert seat.run("whoami").returncode == 1
        assert seat.run("logout").returncode == 1
    logins = house.query(f"SELECT subject, outcome, reason, client_address FROM logins WHERE subject = '{DANA}'")
    assert [(each["outcome"], each["reason"]) for each in logins] == [("ok", "operator"), ("ended", "operator")]
    assert logins[0]["client_address"].startswith(f"uid {os.getuid()}, session ")


STRANGERS = [
    ("sub-nobody", "no operator has your subject", "operator: no such operator"),
    ("sub-away", f"away logs in as user id {os.getuid() + 1}", "operator: no such operator"),
]


@pytest.mark.parametrize(("subject", "words", "reason"), STRANGERS)
def test_a_subject_that_is_nobody_here_is_told_so_and_recorded(
    house: RunningGateway, subject: str, words: str, reason: str
) -> None:
    with Seat(house) as seat:
        done = seat.login(subject)
        assert done.returncode == 1
        assert words in done.stderr
        assert seat.run("whoami").returncode == 1
    (found,) = house.query(f"SELECT kind, reason FROM logins WHERE subject = '{subject}'")
    assert found == {"kind": "login_refused", "reason": reason}


REFUSED = [
    # agent's subject and owner, who wants to approve, why not
    ("agent-1", OLGA, OLGA, "this agent acts for you; somebody else must decide"),
    ("agent-2", "", DANA, "the agent's token names no owner"),
    ("agent-3", OLGA, EVE, "eve lacks the role `decide`"),
    ("agent-4", OLGA, ERIN, "only group:oncall may decide"),
]


@pytest.mark.parametrize(("subject", "owner", "who", "words"), REFUSED, ids=[row[3] for row in REFUSED])
def test_who_may_not_approve_is_told_why_and_nothing_runs(
    house: RunningGateway, desk: Callable[..., Wire], three: Wire, subject: str, owner: str, who: str, words: str
) -> None:
    wire = desk("plain", subject, owner)
    asked = ask_for(house, wire, 1)
    with Seat(house) as seat:
        seat.who(who)
        done = seat.approve(asked)
        assert (done.returncode, words in done.stderr) == (1, True), done.stderr
    with Seat(house) as seat:
        seat.who(DANA)
        assert seat.run("approvals", "deny", asked["id"], "--reason", "never").returncode == 0
    assert error(wire.until()) == ("42501", "hoop: refused")
    assert ids(three) == [1, 2, 3]


def test_a_subject_that_connected_as_an_agent_decides_nothing_and_its_former_approvals_are_worth_nothing(
    house: RunningGateway, desk: Callable[..., Wire], three: Wire
) -> None:
    first, second = desk(), desk("pairs", "agent-2")
    with Seat(house) as seat:
        seat.who(ROB)
        pair = ask_for(house, second, 2)
        assert seat.approve(pair).returncode == 0, "rob is no agent yet"
        desk("plain", ROB)
        asked = ask_for(house, first, 1)
        done = seat.approve(asked)
        assert (done.returncode, "agents approve nothing" in done.stderr) == (1, True), done.stderr
    with Seat(house) as seat:
        seat.who(DANA)
        assert seat.approve(pair).returncode == 0
    refusal = errors(second.until())[0]
    assert (refusal.get("M"), refusal.get("D")) == ("hoop: refused", "rob, who approved it, connected as an agent")
    assert ids(three) == [1, 2, 3]
    assert json.dumps(ROB) in (house.home / "state" / "agents-seen.jsonl").read_text().splitlines()


def test_two_people_must_approve_and_the_second_receipt_quotes_the_first(
    house: RunningGateway, desk: Callable[..., Wire], three: Wire, tmp_path: Path
) -> None:
    wire = desk("pairs")
    asked = ask_for(house, wire, 1)
    assert (asked["approvals_needed"], asked["missing"]) == (2, ["group:oncall", "group:oncall"])
    with Seat(house) as seat:
        seat.who(DANA)
        assert seat.approve(asked).stdout.startswith("pending ")
        again = seat.approve(asked)
        assert (again.returncode, "you approved it already" in again.stderr) == (1, True)
        shown = pending(house, asked["id"])
        assert shown is not None
        assert ([each["approver"] for each in shown["votes"]], shown["missing"]) == (["dana"], ["group:oncall"])
    with Seat(house) as seat:
        assert seat.who(ERIN, "oncall")["groups"] == ["oncall"]
        assert seat.approve(asked).stdout.startswith("approved ")
    wire.until()
    assert ids(three) == [2, 3]
    done = house.command("approvals", "receipt", asked["id"], str(tmp_path / "out"), "-c", str(house.config))
    lines = done.stdout.splitlines()
    assert [line.split(": ")[1].split(",")[0] for line in lines[::3]] == [
        "agreed by dana (oidc)",
        "approved by erin (oidc)",
    ]
    assert lines[1::3] == ["  not signed by a person: a login was their proof"] * 2
    given = [line.removeprefix("  given by the gateway: ") for line in lines[2::3]]
    requires("ssh-keygen")
    for line in given:
        checked = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
        assert f'Good "hoop-gateway" signature for {house_log(house)} with ED25519 key' in checked.stdout, (
            checked.stderr
        )
    forged = tmp_path / "out" / "receipt-1.json"
    before = forged.read_bytes()
    forged.write_bytes(before.replace(b'"agreed"', b'"refused"', 1).replace(b'"approved"', b'"refused"'))
    assert subprocess.run(["bash", "-c", given[0]], capture_output=True).returncode != 0
    forged.write_bytes(before)
    texts = [(tmp_path / "out" / f"receipt-{number}.json").read_bytes() for number in (1, 2)]
    assert json.loads(texts[1])["agreed"] == [hashlib.sha256(texts[0]).hexdigest()]
    assert (approval(house, asked["id"])["approver"], approval(house, asked["id"])["decision"]) == (
        "dana, erin", "approved",
    )  # fmt: skip


def house_log(house: RunningGateway) -> str:
    """The control log's name, as an auditor finds it."""
    return (house.evidence / "logs" / "control" / "log.pub").read_text().split("+")[0]


def test_a_grant_lets_one_agent_through_for_a_while_until_it_is_withdrawn(
    house: RunningGateway, desk: Callable[..., Wire], three: Wire
) -> None:
    wire, other = desk("visits"), desk("visits", "agent-2")
    asked = ask_for(house, wire, 1)
    assert asked["sessions"] == ["visit"]
    with Seat(house) as seat:
        seat.who(DANA)
        too_long = seat.approve(asked, "--for", "9h")
        assert "the longest period here is 480 minutes" in too_long.stderr
        assert seat.approve(asked, "--for", "30m").returncode == 0
        wire.until()
        assert wire.rows("DELETE FROM scratch WHERE id = 2 RETURNING id") == [("2",)], "no question is asked"
        assert ids(three) == [3]
        (grant,) = json.loads(seat.run("approvals", "grants", "--json").stdout)
        assert [grant[name] for name in ("id", "subject", "scope", "rules", "by")] == [
            asked["id"], "agent-1", "rule", ["visit"], "dana",
        ]  # fmt: skip
        again = ask_for(house, other, 3)  # another agent is asked about
        wire.send(query(b"CREATE TABLE of_another_rule (id int)"))
        assert pending(house, held(wire)) is not None
        wire.send()
        seat.run("approvals", "deny", again["id"], "--reason", "no")
        other.until()
        assert seat.run("approvals", "withdraw", asked["id"], "--reason", "done").returncode == 0
        assert json.loads(seat.run("approvals", "grants", "--json").stdout) == []
        gone = seat.run("approvals", "withdraw", asked["id"], "--reason", "done")
        assert (gone.returncode, "no such grant" in gone.stderr) == (2, True)
    for each in ask(house, "approvals.list", decided=False):
        ask_denied(house, each["id"])
    wire.until()
    ask_for(house, wire, 3)
    found = house.query(
        f"SELECT verdict, outcome, approval_id FROM statements WHERE approval_id = '{asked['id']}' ORDER BY seq"
    )
    assert [(each["verdict"], each["outcome"]) for each in found] == [("approve", "ok"), ("approve", "ok")]
    entries = [
        json.loads(each["entry"]) for each in house.query("SELECT entry FROM records WHERE kind = 'grant' ORDER BY seq")
    ]
    mine = [each for each in entries if each["approval"] == asked["id"]]
    assert [(each["outcome"], each["by"]) for each in mine] == [("given", "dana"), ("withdrawn", "dana")]


def ask_denied(house: RunningGateway, id_: str) -> None:
    with Seat(house) as seat:
        seat.who(DANA)
        seat.run("approvals", "deny", id_, "--reason", "no")


def test_after_a_crash_what_was_pending_is_refused_and_agents_are_still_known(
    postgres: PostgresServer, orders: str, three: Wire, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    write_home(home, postgres.password, [connection_table("plain", postgres, orders)], APPROVALS + PEOPLE)
    house = start(home)
    try:
        with through(house, "plain", house.token(ROB, owner=OLGA)) as wire:
            asked = ask_for(house, wire, 1)
            house.stop(signal.SIGKILL)
        assert house.process.stdout is not None
        house.process.stdout.close()
        (home / "state" / "agents-seen.jsonl").unlink()  # the evidence says it again
        house = start(home)
        (found,) = ask(house, "approvals.list", decided=True)
        assert (found["id"], found["state"]) == (asked["id"], "refused")
        assert found["decision_reason"] == "the gateway restarted while this waited"
        with Seat(house) as seat:
            seat.who(DANA)
            late = seat.approve(asked)
            assert (late.returncode, "refused already" in late.stderr) == (1, True), late.stderr
        with through(house, "plain", house.token(owner=OLGA)) as wire, Seat(house) as seat:
            again = ask_for(house, wire, 1)
            seat.who(ROB)
            assert "agents approve nothing" in seat.approve(again).stderr
        assert ids(three) == [1, 2, 3]
    finally:
        assert house.stop() == 0, house.log
        assert house.process.stdout is not None
        house.process.stdout.close()


# --- signed --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SSH keys: dana's, fay's, and somebody else's."""
    requires("ssh-keygen")
    home = tmp_path_factory.mktemp("keys")
    for name in ("dana", "fay", "other"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(home / name)]
        subprocess.run(command, check=True)
    return home


@pytest.fixture(scope="module")
def signing(
    keys: Path, postgres: PostgresServer, orders: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    """A gateway where approving takes a signature."""
    people = "".join(
        [
            table("operator", name="ops", uid=os.getuid()),
            table("operator", name="dana", subject=DANA, groups=["oncall"], roles=["decide"],
                  signers=[(keys / "dana.pub").read_text().strip()]),
            table("operator", name="erin", subject=ERIN, groups=["oncall"], roles=["decide"]),
            table("operator", name="fay", subject="sub-fay", groups=["oncall"], roles=["decide"],
                  signers=[(keys / "fay.pub").read_text().strip()]),
        ]
    )  # fmt: skip
    approvals = APPROVALS.replace("oidc", "signed")
    connections = [
        connection_table("plain", postgres, orders),
        connection_table("pairs", postgres, orders)
        + rule(name="two", action="approve", operation=["delete"], replaces="standard/delete", approvals=2),
    ]
    with running(tmp_path_factory.mktemp("signing"), postgres, connections, approvals + people) as found:
        yield found


def test_a_signed_approval_is_checked_by_the_stock_program(
    signing: RunningGateway, keys: Path, three: Wire, tmp_path: Path
) -> None:
    with through(signing, "plain", signing.token(owner=OLGA)) as wire:
        asked = ask_for(signing, wire, 1)
        with Seat(signing) as seat:
            seat.who(DANA)
            unsigned = seat.approve(asked)
            assert (unsigned.returncode, "needs your signature" in unsigned.stderr) == (1, True)
            wrong = seat.approve(asked, "--key", str(keys / "other"))
            assert (wrong.returncode, "not among yours" in wrong.stderr) == (1, True), wrong.stderr
            missing = seat.approve(asked, "--key", str(keys / "nothing"))
            assert (missing.returncode, "did not sign" in missing.stderr) == (2, True)
            assert ids(three) == [1, 2, 3]
            done = seat.approve(asked, HOOP_SIGNING_KEY=str(keys / "dana"))
            assert done.returncode == 0, done.stderr
        wire.until()
    assert ids(three) == [2, 3]
    found = approval(signing, asked["id"])
    assert (found["assurance"], found["approver"]) == ("signed", "dana")
    # An auditor with a copy of the evidence and nothing of ours but this one command:
    out = tmp_path / "out"
    told = signing.command("approvals", "receipt", asked["id"], str(out), "--evidence", str(signing.evidence)).stdout
    (line, _) = signatures(told)
    checked = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    assert 'Good "hoop-approval" signature for dana with ED25519 key' in checked.stdout
    receipt = out / "receipt-1.json"
    assert json.loads(receipt.read_text()) == json.loads(found["receipt"])
    receipt.write_bytes(receipt.read_bytes().replace(b'"approved"', b'"refused" '))
    assert subprocess.run(["bash", "-c", line], capture_output=True).returncode != 0


def signatures(told: str) -> list[str]:
    """The commands that check what `approvals receipt` wrote, in its order."""
    return [line[line.index("ssh-keygen ") :] for line in told.splitlines() if "ssh-keygen " in line]


def test_two_people_sign_and_the_stock_program_checks_both_and_the_gateway(
    signing: RunningGateway, keys: Path, three: Wire, tmp_path: Path
) -> None:
    with through(signing, "pairs", signing.token(owner=OLGA)) as wire:
        asked = ask_for(signing, wire, 1)
        with Seat(signing) as first, Seat(signing) as second:
            first.who(DANA)
            second.who("sub-fay")
            assert first.approve(asked, "--key", str(keys / "dana")).stdout.startswith("pending ")
            twice = first.approve(asked, "--key", str(keys / "dana"))
            assert (twice.returncode, "you approved it already" in twice.stderr) == (1, True), twice.stderr
            lent = second.approve(asked, "--key", str(keys / "dana"))  # dana's key is not fay's
            assert (lent.returncode, "not among yours" in lent.stderr) == (1, True), lent.stderr
            unsigned = second.approve(asked)
            assert (unsigned.returncode, "needs your signature" in unsigned.stderr) == (1, True)
            assert ids(three) == [1, 2, 3]
            assert second.approve(asked, "--key", str(keys / "fay")).stdout.startswith("approved ")
        wire.until()
    assert ids(three) == [2, 3]
    out = tmp_path / "out"
    told = signing.command("approvals", "receipt", asked["id"], str(out), "--evidence", str(signing.evidence)).stdout
    lines = signatures(told)
    checked = [subprocess.run(["bash", "-c", line], capture_output=True, text=True) for line in lines]
    said = [each.stdout.split(" with ")[0] for each in checked]
    given = f'Good "hoop-gateway" signature for {house_log(signing)}'
    assert said == [
        'Good "hoop-approval" signature for dana', given, 'Good "hoop-approval" signature for fay', given,
    ]  # fmt: skip
    first_receipt = (out / "receipt-1.json").read_bytes()
    assert json.loads((out / "receipt-2.json").read_text())["agreed"] == [hashlib.sha256(first_receipt).hexdigest()]
    assert approval(signing, asked["id"])["assurance"] == "signed"
    assert subprocess.run(["bash", "-c", lines[0].replace(" dana ", " fay ")], capture_output=True).returncode != 0


def test_who_has_no_key_refuses_and_does_not_approve(signing: RunningGateway, keys: Path, three: Wire) -> None:
    with through(signing, "plain", signing.token(owner=OLGA)) as wire:
        asked = ask_for(signing, wire, 1)
        with Seat(signing) as seat:
            seat.who(ERIN)
            done = seat.approve(asked, "--key", str(keys / "dana"))
            assert (done.returncode, "no key signs for erin" in done.stderr) == (1, True)
            assert seat.run("approvals", "deny", asked["id"], "--reason", "no").returncode == 0
        assert error(wire.until()) == ("42501", "hoop: refused")
    assert ids(three) == [1, 2, 3]


def test_an_approval_has_no_receipt_before_anybody_decided(signing: RunningGateway, tmp_path: Path) -> None:
    done = signing.command("approvals", "receipt", "ap-none", str(tmp_path), "-c", str(signing.config), check=False)
    assert (done.returncode, "no decision by a person" in done.stderr) == (1, True)
