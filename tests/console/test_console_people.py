"""The console and people: logging in, who decides, several approvers, signatures, and leave for a while."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_gateway import EPOCH, HASH, FakeGateway, at, make_approval
from hand_clock import HandClock
from seated import Seat, seated

from gateway.approval.signatures import read_key, verify
from gateway.control.messages import Refusal
from gateway.model import format_time
from hoop_tui.known import AttemptPhase
from hoop_tui.screens.deciding import ApproveDialog
from hoop_tui.screens.dialogs import WithdrawDialog
from hoop_tui.screens.login import LoginDialog
from requires import requires

DANA = {
    "operator": "dana",
    "subject": "sub-dana",
    "roles": ["decide"],
    "groups": ["oncall"],
    "until": format_time(EPOCH + 600_000_000),  # type: ignore[arg-type]
}


async def test_without_a_login_nothing_is_decided_and_the_way_is_shown(fake: FakeGateway, clock: HandClock) -> None:
    fake.assurance = "oidc"
    fake.approvals["ap-1"] = make_approval("ap-1")
    async with seated(fake, clock) as seat:
        await seat.shows("dana watches; to decide :login")
        await seat.open_card()
        await seat.press("a")
        await seat.shows("deciding needs a login, not older than 10 minutes: :login")
        assert fake.called("approvals.approve") == []


async def test_a_login_shows_its_code_waits_and_then_decides(fake: FakeGateway, clock: HandClock) -> None:
    fake.assurance = "oidc"
    fake.mute = {"login.wait"}
    fake.approvals["ap-1"] = make_approval("ap-1")
    async with seated(fake, clock) as seat:
        await seat.press("L")
        await seat.until(lambda: isinstance(seat.app.screen, LoginDialog))
        await seat.shows("WDJB-MJHT")
        assert "https://idp.example/device" in seat.text()
        await seat.until(lambda: fake.called("login.wait"))
        fake.login = DANA
        fake.reply("login.wait", DANA)
        await seat.shows("logged in as dana")
        assert not isinstance(seat.app.screen, LoginDialog)
        await seat.shows("dana decides (oidc) 10:00")
        await seat.open_card()
        await seat.press("a")
        await seat.until(lambda: isinstance(seat.app.screen, ApproveDialog))
        await seat.press("escape")
        seat.app.obey("logout")
        await seat.shows("to decide :login")


async def test_a_login_that_is_refused_says_why(fake: FakeGateway, clock: HandClock) -> None:
    fake.assurance = "oidc"
    fake.mute = {"login.wait"}
    async with seated(fake, clock) as seat:
        await seat.press("L")
        await seat.until(lambda: fake.called("login.wait"))
        fake.reply("login.wait", Refusal("forbidden", "not logged in: no operator has your subject\x1b[2J"))
        await seat.shows("not logged in: no operator has your subject<U+001B>[2J")


async def test_the_card_says_who_approved_and_who_is_missing(fake: FakeGateway, clock: HandClock) -> None:
    asked = make_approval("ap-1", approvals_needed=2, votes=[{"approver": "erin"}], missing=["group:oncall"])
    fake.approvals["ap-1"] = asked
    fake.answers["approvals.approve"] = lambda _: {**asked, "votes": [{"approver": "erin"}, {"approver": "dana"}],
                                                   "missing": ["group:dba"], "approvals_needed": 3}  # fmt: skip
    async with seated(fake, clock) as seat:
        await seat.press("2")
        await seat.shows("1/2")
        await seat.open_card()
        await seat.shows("1 of 2 approved: erin")
        assert "missing group:oncall" in seat.text()
        await approve(seat)
        await seat.shows("APPROVE TAKEN: others must approve too: group:dba")


async def test_who_approved_already_is_not_asked_again(fake: FakeGateway, clock: HandClock) -> None:
    fake.approvals["ap-1"] = make_approval("ap-1", approvals_needed=2, votes=[{"approver": "dana"}], missing=["x"])
    async with seated(fake, clock) as seat:
        await seat.open_card()
        await seat.press("a")
        await seat.shows("you approved it already; another person must do so too")


async def approve(seat: Seat, *more: str) -> None:
    """Fill the dialog in and send it."""
    await seat.press("a")
    await seat.until(lambda: isinstance(seat.app.screen, ApproveDialog))
    await seat.type("fine")
    await seat.press("enter")
    await seat.type(HASH[:4])
    for text in more:
        await seat.press("enter")
        await seat.type(text)
    await seat.press("ctrl+s")


@pytest.mark.parametrize(("typed", "sent"), [("30", {"seconds": 1800, "scope": "rule"}), ("", {})])
async def test_a_period_is_given_where_the_rule_lets_it_be(
    fake: FakeGateway, clock: HandClock, typed: str, sent: dict[str, Any]
) -> None:
    fake.approvals["ap-1"] = make_approval("ap-1", sessions=["visit"])
    async with seated(fake, clock) as seat:
        await seat.open_card()
        await approve(seat, typed)
        await seat.shows("APPROVED by you")
        assert fake.called("approvals.approve") == [{"id": "ap-1", "hash": HASH, "reason": "fine", **sent}]


async def test_a_grant_is_shown_and_taken_back(fake: FakeGateway, clock: HandClock) -> None:
    fake.grants = [{"id": "ap-9", "subject": "report-bot\x1b[2J", "connection": "orders", "scope": "rule",
                    "rules": ["visit"], "expires": at(600), "by": "erin"}]  # fmt: skip
    async with seated(fake, clock) as seat:
        await seat.press("2")
        await seat.shows("report-bot<U+001B>[2J on orders: visit, by erin")
        await seat.press("w")
        await seat.until(lambda: isinstance(seat.app.screen, WithdrawDialog))
        await seat.press("ctrl+s")
        assert fake.called("grants.withdraw") == [], "a reason is needed"
        await seat.type("done")
        await seat.press("ctrl+s")
        await seat.shows("withdrawn ap-9")
        assert fake.called("grants.withdraw") == [{"id": "ap-9", "reason": "done"}]
        assert seat.app.store.state.grants == ()


# --- signing -------------------------------------------------------------------------------------------------------


def receipt(**changes: Any) -> str:
    said = {"type": "hoop-approval", "approval": "ap-1", "operation_hash": HASH, "decision": "approved",
            "reason": "fine", "leave": None, "break_glass": False, "rule": "any\u202eunseen", **changes}  # fmt: skip
    return json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    requires("ssh-keygen")
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


def sign_here(fake: FakeGateway, text: Callable[[], str]) -> None:
    fake.assurance, fake.login = "signed", DANA
    fake.approvals["ap-1"] = make_approval("ap-1")
    fake.answers["approvals.receipt"] = lambda _: {"receipt": text()}


async def test_an_approval_is_signed_with_the_operators_key(fake: FakeGateway, clock: HandClock, key: Path) -> None:
    sign_here(fake, receipt)
    async with seated(fake, clock, signing_key=str(key)) as seat:
        await seat.open_card()
        await approve(seat)
        await seat.shows("APPROVED by you")
        (sent,) = fake.called("approvals.approve")
        public = read_key(key.with_name("key.pub").read_text())
        assert verify(receipt().encode(), sent["signature"], [public]) == public


LIES = [
    ({"operation_hash": "0" * 64}, "another operation"),
    ({"decision": "refused"}, "decision"),
    ({"reason": "because"}, "reason"),
    ({"approval": "ap-2"}, "approval"),
    ({"leave": {"seconds": 60, "scope": "connection"}}, "leave"),
    ({"break_glass": True}, "break_glass"),
    ({"type": "git"}, "no receipt"),
]


@pytest.mark.parametrize(("lie", "words"), LIES, ids=range(len(LIES)))
async def test_a_receipt_of_something_else_is_not_signed(
    fake: FakeGateway, clock: HandClock, key: Path, lie: dict[str, Any], words: str
) -> None:
    sign_here(fake, lambda: receipt(**lie))
    async with seated(fake, clock, signing_key=str(key)) as seat:
        await seat.open_card()
        await approve(seat)
        await seat.until(lambda: seat.phase("ap-1") is AttemptPhase.REFUSED)
        await seat.shows("NOT DONE")
        assert words in seat.text().replace("\n", " ")
        assert fake.called("approvals.approve") == []


@pytest.mark.parametrize(("name", "words"), [(None, "--key FILE"), ("missing", "ssh-keygen did not sign")])
async def test_without_a_key_that_signs_it_is_said(
    fake: FakeGateway, clock: HandClock, key: Path, name: str | None, words: str
) -> None:
    sign_here(fake, receipt)
    async with seated(fake, clock, signing_key=name and str(key.with_name(name))) as seat:
        await seat.open_card()
        await approve(seat)
        await seat.shows("NOT DONE")
        await seat.shows(words)
        assert fake.called("approvals.approve") == []
