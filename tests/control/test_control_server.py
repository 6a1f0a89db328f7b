"""The control socket with real sockets, a real journal, and clients of every temper."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from approving import DANA, HASH, hold
from controlling import OpenHouse

from gateway.control import peer, server
from gateway.control.client import Unreachable, connect
from gateway.control.messages import MAX_FRAME, Event, Failure, Hello, Refusal, Request, Response, encode
from gateway.control.operators import Operator, recognise
from gateway.errors import ConfigurationFault
from gateway.model import DecisionKind

UID = os.geteuid()


def code(message: object) -> str:
    assert isinstance(message, Failure), message
    return message.code


def result(message: object) -> Any:
    assert isinstance(message, Response), message
    return message.result


async def test_hello_says_who_you_are(open_house: OpenHouse) -> None:
    async with open_house() as house:
        welcome = await (await house.connect()).greet()
        assert (welcome.gateway, welcome.server, welcome.assurance) == ("gw-1", "0.1.0", "uid")
        assert (welcome.operator, welcome.subject, welcome.roles) == ("dana", "sub-dana", ("watch", "decide"))
        assert (welcome.next, welcome.gap, welcome.restarted) == (house.events.next, None, False)
        assert stat.S_IMODE(house.path.stat().st_mode) == 0o660
        assert stat.S_IMODE(house.path.parent.stat().st_mode) == 0o750
    assert not house.path.exists()


OTHER = Operator("erin", UID + 1)
WHO = [
    ((), True, UID, True, ("watch", "decide", "audit", "admin")),
    ((), True, 0, True, ("watch", "decide", "audit", "admin")),
    ((), True, UID + 1, False, ()),
    ((), False, UID, False, ()),
    ((OTHER,), True, UID, False, ()),
    ((OTHER,), True, UID + 1, True, ("watch",)),
]


@pytest.mark.parametrize(("operators", "development", "uid", "known", "roles"), WHO)
def test_who_is_known(
    operators: tuple[Operator, ...], development: bool, uid: int, known: bool, roles: tuple[str, ...]
) -> None:
    found = recognise(uid, operators, development=development, own_uid=UID, user_name="me")
    assert (found is not None) == known
    if found is not None:
        assert found.roles == roles


async def test_nobody_gets_nothing(open_house: OpenHouse) -> None:
    async with open_house((OTHER,)) as house:
        stranger = await house.connect()
        assert code(await stranger.hear()) == "forbidden"
        assert await stranger.hear() is None
        with pytest.raises(Refusal) as refusal:
            async with connect(house.path):
                raise AssertionError("let in")
        assert refusal.value.code == "forbidden"


async def test_a_watcher_sees_and_decides_nothing(open_house: OpenHouse) -> None:
    async with open_house((Operator("wanda", UID),)) as house:
        await house.desk.approvals.ask(hold(reviewers=()))
        client = await house.client()
        assert [each["id"] for each in result(await client.ask("approvals.list"))] == ["a1"]
        for method in ("approvals.approve", "approvals.deny", "sessions.kill"):
            assert code(await client.ask(method, id="a1", hash=HASH, reason="because")) == "forbidden"
        assert len(house.desk.approvals.pending()) == 1


async def test_approve_deny_and_wait(open_house: OpenHouse) -> None:
    async with open_house() as house, trio.open_nursery() as nursery:
        for name in ("a1", "a2"):
            await house.desk.approvals.ask(hold(name, operation_hash=HASH[:62] + name))
        client, waiter = await house.client(), await house.client()
        waited: list[Any] = []

        async def wait() -> None:
            waited.append(result(await waiter.ask("approvals.wait", id="a1")))

        nursery.start_soon(wait)
        wrong = [
            ({"id": "a9", "hash": HASH, "reason": "x"}, "not_found"),
            ({"id": "a1", "hash": "deadbee", "reason": "x"}, "bad_request"),
            ({"id": "a1", "hash": "0" * 8, "reason": "x"}, "stale_hash"),
            ({"id": "a1", "reason": "x"}, "bad_request"),
            ({"id": "a1", "hash": HASH[:8]}, "bad_request"),
            ({"id": "a1", "hash": HASH[:8], "reason": " "}, "bad_request"),
            ({"id": 1, "hash": HASH[:8], "reason": "x"}, "bad_request"),
        ]
        for params, expected in wrong:
            assert code(await client.ask("approvals.approve", **params)) == expected, params
        approved = result(await client.ask("approvals.approve", id="a1", hash="DEADBEEF", reason="fine"))
        assert (approved["state"], approved["approver"], approved["assurance"]) == ("approved", "dana", "uid")
        denied = result(await client.ask("approvals.deny", id="a2", reason="no"))
        assert (denied["state"], denied["decision_reason"]) == ("refused", "no")
        assert code(await client.ask("approvals.deny", id="a1", reason="no")) == "already_decided"
        assert result(await client.ask("approvals.list")) == []
        decided = result(await client.ask("approvals.list", decided=True))
        assert {each["id"] for each in decided} == {"a1", "a2"}
    assert [each["state"] for each in waited] == ["approved"]


async def test_what_may_be_asked_besides(open_house: OpenHouse) -> None:
    async with open_house() as house:
        client = await house.client()
        house.backend.live = [{"id": f"s{number}", "started": f"{number:04}"} for number in range(1200)]
        assert result(await client.ask("status")) == {"healthy": True, "version": "0.1.0"}
        assert result(await client.ask("sessions.kill", id="s1", reason="stop\nit")) == {"id": "s1", "killed": True}
        assert house.backend.killed == [("s1", "dana", "stop it")]
        assert code(await client.ask("sessions.kill", id="none", reason="x")) == "not_found"
        assert code(await client.ask("sessions.kill", id="s1", reason="")) == "bad_request"
        assert result(await client.ask("replay.sessions")) == {"limit": 100, "before": None}
        assert result(await client.ask("replay.sessions", limit=9**9, before="b")) == {"limit": 500, "before": "b"}
        assert result(await client.ask("replay.transcript", session_id="s", after_seq=3))["items"] == ["s", 3, 100]
        assert code(await client.ask("replay.transcript", session_id="s", after_seq=-1)) == "bad_request"
        assert code(await client.ask("replay.sessions", before="huge")) == "unavailable"
        assert code(await client.ask("replay.sessions", before="fault")) == "unavailable"
        assert code(await client.ask("nonsense")) == "unknown_method"
        assert code(await client.ask("subscribe", topics=["everything"])) == "bad_request"
        async with connect(house.path) as command:
            found = await command.call_all("sessions.list")
        assert [each["id"] for each in found] == [f"s{number}" for number in range(1200)]  # type: ignore[index,call-overload]


async def test_a_long_statement_is_cut_and_says_so(open_house: OpenHouse) -> None:
    async with open_house() as house:
        await house.desk.approvals.ask(hold("short", statement="x" * 300_000, operation_hash="1" * 64))
        await house.desk.approvals.ask(hold("long", statement="\x01" * 2**20, operation_hash="2" * 64))
        client = await house.client()
        for listed in result(await client.ask("approvals.list")):
            assert len(listed["statement"]) == 2000
            assert listed["statement_cut"]
        whole = result(await client.ask("approvals.get", id="short"))
        assert (len(whole["statement"]), whole["statement_cut"], whole["warnings"]) == (300_000, False, [])
        cut = result(await client.ask("approvals.get", id="long"))
        assert (cut["statement_length"], cut["statement_cut"]) == (2**20, True)
        assert any("too long" in warning for warning in cut["warnings"])


async def test_events_reach_who_subscribed_and_those_who_come_back(open_house: OpenHouse) -> None:
    async with open_house() as house:
        client = await house.client()
        assert result(await client.ask("subscribe", topics=["approvals"])) == {"topics": ["approvals"]}
        house.events.publish("record", {"n": 1})
        await house.desk.approvals.ask(hold())
        event = await client.hear()
        assert isinstance(event, Event)
        assert (event.event, event.data["id"], event.data["hash"]) == ("approval.pending", "a1", HASH)
        await client.stream.aclose()
        await house.desk.approvals.decide(hold().approval, None, DANA, DecisionKind.REFUSED, "no")
        again = await house.connect()
        welcome = await again.greet(resume=event.number)
        assert welcome.gap is None
        await again.say(encode(Request(1, "subscribe", {"topics": ["approvals"]})))
        changed = [message for message in (await again.hear(), await again.hear()) if isinstance(message, Event)]
        assert [(each.event, each.data["state"]) for each in changed] == [("approval.changed", "refused")]


MALFORMED = [
    b"\n\n{\n",
    b"\xff\n",
    b'{"type":"request","id":1,"method":"status","params":{"a":1.5}}\n',
    b"[" * 50_000 + b"\n",
    encode(Hello("again")),
]


@pytest.mark.parametrize("garbage", MALFORMED, ids=range(len(MALFORMED)))
async def test_malformed_input_gets_an_error_and_the_next_request_an_answer(
    open_house: OpenHouse, garbage: bytes
) -> None:
    async with open_house() as house:
        client = await house.client()
        await client.say(garbage)
        assert code(await client.hear()) == "bad_request"
        assert result(await client.ask("status"))["healthy"]


async def test_who_never_stops_sending_garbage_is_disconnected(open_house: OpenHouse) -> None:
    async with open_house() as house:
        client = await house.client()
        await client.say(b"{\n" * peer.MAX_MALFORMED)
        for _ in range(peer.MAX_MALFORMED):
            assert code(await client.hear()) == "bad_request"
        assert await client.hear() is None


HELLOS = [
    b"GET / HTTP/1.1\r\n\r\n",
    encode(Request(1, "status")),
    encode(Hello("x", version=2)),
    b"x" * (MAX_FRAME + 1),
]


@pytest.mark.parametrize("first", HELLOS, ids=["http", "request", "version", "long"])
async def test_a_wrong_first_message_ends_the_connection(open_house: OpenHouse, first: bytes) -> None:
    async with open_house() as house:
        client = await house.connect()
        async with trio.open_nursery() as nursery:

            async def say() -> None:
                with suppress(trio.BrokenResourceError):
                    await client.say(first)

            nursery.start_soon(say)
            assert code(await client.hear()) == "bad_request"
        assert await client.hear() is None


async def test_too_long_a_line_ends_the_connection_and_no_other(open_house: OpenHouse) -> None:
    async with open_house() as house:
        client, other = await house.client(), await house.client()
        with suppress(trio.BrokenResourceError):
            await client.say(b"x" * (MAX_FRAME + 1))
        assert code(await client.hear()) == "bad_request"
        assert await client.hear() is None
        assert result(await other.ask("status"))["healthy"]


async def test_a_crash_in_a_request_is_contained_and_tells_nothing(
    open_house: OpenHouse, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_house() as house:
        client = await house.client()
        failure = await client.ask("sessions.kill", id="crash", reason="x")
        assert code(failure) == "unavailable"
        assert "secret detail" not in str(failure)
        assert "sessions.kill failed" in caplog.text
        assert result(await client.ask("status"))["healthy"]


async def test_a_console_that_reads_nothing_delays_nobody(open_house: OpenHouse) -> None:
    async with open_house() as house:
        stuck, quick = await house.client(), await house.client()
        for client in (stuck, quick):
            assert result(await client.ask("subscribe", topics=["records", "approvals"]))
        heard = 0
        with trio.fail_after(20):
            for _ in range(100):
                for number in range(100):
                    house.events.publish("record", {"n": number, "text": "x" * 1000})
                while heard < (house.events.next - house.events.first):
                    assert isinstance(await quick.hear(), Event)
                    heard += 1
            assert result(await quick.ask("status"))["healthy"]
        # Now the other one reads: what it can still get is in order, and what it missed is announced.
        seen = []
        while not seen or seen[-1].number < house.events.next - 1:
            event = await stuck.hear()
            assert isinstance(event, Event)
            seen.append(event)
        (gap,) = [event for event in seen if event.event == "gap"]
        records = [event.number for event in seen if event.event == "record"]
        assert len(records) + gap.data["to"] - gap.data["from"] + 1 == 10_000  # type: ignore[operator]
        assert records == sorted(records)


async def test_requests_of_one_peer_are_bounded(open_house: OpenHouse) -> None:
    async with open_house() as house:
        await house.desk.approvals.ask(hold())
        client = await house.client()
        for number in range(peer.MAX_RUNNING):
            await client.say(encode(Request(number, "approvals.wait", {"id": "a1"})))
        assert code(await client.ask("status", number=99)) == "unavailable"
        await house.desk.approvals.decide(hold().approval, None, DANA, DecisionKind.REFUSED, "no")
        answered = [await client.hear() for _ in range(peer.MAX_RUNNING)]
        assert {result(each)["state"] for each in answered} == {"refused"}
        assert result(await client.ask("status"))["healthy"]


async def test_who_says_nothing_is_disconnected(open_house: OpenHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer, "HELLO_SECONDS", 0.05)
    async with open_house() as house:
        silent = await house.connect()
        assert await silent.hear() is None


async def test_who_takes_nothing_is_disconnected_in_the_end(
    open_house: OpenHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer, "SEND_SECONDS", 0.05)
    async with open_house() as house:
        client = await house.client()
        assert result(await client.ask("subscribe"))
        for number in range(4000):
            house.events.publish("record", {"n": number, "text": "x" * 1000})
        with trio.fail_after(5):
            while house.server._peers:
                await trio.sleep(0.01)
        assert result(await (await house.client()).ask("status"))["healthy"]


async def test_connections_are_bounded(open_house: OpenHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_PEERS", 2)
    async with open_house() as house:
        first, _second = await house.client(), await house.client()
        third = await house.connect()
        assert code(await third.hear()) == "unavailable"
        await first.stream.aclose()
        with trio.fail_after(5):
            while True:
                again = await house.connect()
                await again.say(encode(Hello("x")))
                if not isinstance(await again.hear(), Failure):
                    break


async def test_a_killed_gateways_socket_is_replaced_and_a_living_ones_is_not(
    open_house: OpenHouse, tmp_path: Path
) -> None:
    path = tmp_path / "run" / "control.sock"
    path.parent.mkdir()
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    async with open_house() as house:
        with pytest.raises(ConfigurationFault, match="another gateway"):
            server._listen(house.path)
        assert (await (await house.connect()).greet()).gateway == "gw-1"
    path.write_text("precious")
    with pytest.raises(ConfigurationFault, match="no socket"):
        server._listen(path)
    assert path.read_text() == "precious"
    with pytest.raises(ConfigurationFault, match=r"gateway\.control_socket"):
        server._listen(path / "beneath")


async def test_commands_say_in_words_why_nobody_answers(tmp_path: Path) -> None:
    silent = socket.socket(socket.AF_UNIX)
    silent.bind(str(tmp_path / "silent"))
    (tmp_path / "file").write_text("")
    for path, words in [
        (tmp_path / "none", "does not exist"),
        (tmp_path / "silent", "no gateway listens"),
        (tmp_path / "file", "no gateway listens"),
        (tmp_path / ("x" * 200), "too long"),
    ]:
        with pytest.raises(Unreachable, match=words):
            async with connect(path):
                raise AssertionError("connected")
    silent.close()
