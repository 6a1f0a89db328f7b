from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from fake_gateway import FakeGateway, make_approval, make_record, make_session
from hand_clock import HandClock

from gateway.control.messages import MAX_FRAME, Refusal
from hoop_tui.client import BACKOFF_SECONDS, ControlClient, LineLost
from hoop_tui.happenings import (
    ApprovalChanged,
    ApprovalsListed,
    Greeted,
    Happening,
    HealthSeen,
    Lost,
    SessionsListed,
    TailSeen,
)
from hoop_tui.known import Gap, Tail


class Line:
    """A client, what it delivered, and pauses that last until the test ends them."""

    def __init__(self, path: Path) -> None:
        self.seen: list[Happening] = []
        self.waits: list[float] = []
        self.client = ControlClient(path, HandClock(), self.seen.append, pause=self._pause)
        self._go = asyncio.Event()

    async def _pause(self, seconds: float) -> None:
        self.waits.append(seconds)
        await self._go.wait()
        self._go.clear()

    def go_on(self) -> None:
        self._go.set()

    def of(self, kind: type) -> list[Any]:
        return [happening for happening in self.seen if isinstance(happening, kind)]

    async def until(self, true: Callable[[], object]) -> None:
        async with asyncio.timeout(5):
            while not true():
                await asyncio.sleep(0.001)


@asynccontextmanager
async def running(path: Path) -> AsyncIterator[Line]:
    line = Line(path)
    task = asyncio.create_task(line.client.run())
    try:
        yield line
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_greets_subscribes_and_lists(fake: FakeGateway) -> None:
    fake.sessions["s-1"] = make_session("s-1")
    fake.approvals = {"a": make_approval("a"), "b": make_approval("b", state="refused")}
    async with running(fake.path) as line:
        await line.until(lambda: line.of(HealthSeen))
        assert line.of(Greeted)[0].gateway.operator == "dana"
        assert {one.id for one in line.of(ApprovalsListed)[0].approvals} == {"a", "b"}
        assert [one.id for one in line.of(SessionsListed)[0].sessions] == ["s-1"]
        assert line.of(HealthSeen)[0].head == "w1:48211"
        assert fake.called("subscribe") == [{"topics": ["sessions", "records", "approvals"]}]
        assert fake.hellos[0].resume is None


async def test_events_come_scrubbed_and_in_order(fake: FakeGateway) -> None:
    async with running(fake.path) as line:
        await line.until(lambda: line.of(HealthSeen))
        for seq in range(500):
            fake.publish("record", make_record(seq, text=f"{seq} \x1b[2J"))
        await line.until(lambda: len(line.of(TailSeen)) == 500)
        items = [happening.item for happening in line.of(TailSeen)]
        assert [item.seq for item in items] == list(range(500))
        assert items[7].text == "7 <U+001B>[2J"


async def test_comes_back_with_the_last_number_and_shows_the_gap(fake: FakeGateway) -> None:
    async with running(fake.path) as line:
        await line.until(lambda: line.of(HealthSeen))
        fake.publish("record", make_record(1))
        await line.until(lambda: line.of(TailSeen))
        fake.gap = (1001, 1040)
        await fake.hang_up()
        await line.until(lambda: line.of(Lost))
        assert "closed the line" in line.of(Lost)[0].why
        line.go_on()
        await line.until(lambda: len(line.of(ApprovalsListed)) == 2)
        assert fake.hellos[1].resume == 1001
        gaps = [happening.item for happening in line.of(TailSeen) if isinstance(happening.item, Gap)]
        assert gaps == [Gap(1001, 1040, "while the console was away")]


async def test_a_dropped_tail_is_a_gap_and_holes_in_numbers_are_not(fake: FakeGateway) -> None:
    async with running(fake.path) as line:
        await line.until(lambda: line.of(HealthSeen))
        next(fake.numbers)
        fake.publish("record", make_record(1))
        fake.publish("gap", {"from": 1002, "to": 1010})
        await line.until(lambda: len(line.of(TailSeen)) == 2)
        first, second = (happening.item for happening in line.of(TailSeen))
        assert isinstance(first, Tail)
        assert (second.first, second.last) == (1002, 1010)


async def test_waits_longer_each_time(tmp_path: Path) -> None:
    async with running(tmp_path / "none.sock") as line:
        for tries in range(1, 8):
            await line.until(lambda: len(line.of(Lost)) == tries)  # noqa: B023  awaited at once
            line.go_on()
        assert "no socket at" in line.of(Lost)[0].why
        assert line.waits[:7] == [*BACKOFF_SECONDS[1:], 5.0, 5.0, 5.0]


async def test_an_answer_comes_to_its_question(fake: FakeGateway) -> None:
    async with running(fake.path) as line:
        await line.until(lambda: line.of(HealthSeen))
        fake.approvals["a"] = make_approval("a")
        got = await asyncio.gather(line.client.request("approvals.get", id="a"), line.client.request("status"))
        assert got[0]["id"] == "a"
        assert got[1]["healthy"] is True
        with pytest.raises(Refusal) as refused:
            await line.client.request("approvals.get", id="never")
        assert refused.value.code == "not_found"


async def test_a_lost_answer_is_unknown_not_assumed(fake: FakeGateway) -> None:
    async with running(fake.path) as line:
        await line.until(lambda: line.of(HealthSeen))
        fake.mute = {"approvals.approve"}
        question = asyncio.create_task(line.client.request("approvals.approve", id="a", hash="f", reason="r"))
        await line.until(lambda: fake.called("approvals.approve"))
        await fake.hang_up()
        with pytest.raises(LineLost):
            await question
    with pytest.raises(LineLost):
        await line.client.request("status")


@pytest.mark.parametrize(
    "frame",
    [
        b"not json\n",
        b"[]\n",
        b'{"type":"event","number":1}\n',
        b'{"type":"event","number":1,"event":"record","data":{"text":"\\ud800"}}\n',
        b'{"type":"event","number":1e400,"event":"record","data":{}}\n',
        b'{"type":"event","number":1,"event":"record","data":' + b'{"a":' * 50 + b"1" + b"}" * 50 + b"}\n",
        b"x" * (MAX_FRAME + 1),
        b"\xff\xfe\n",
    ],
    ids=["text", "list", "no data", "surrogate", "float", "deep", "too long", "no utf-8"],
)
async def test_a_peer_that_talks_nonsense_is_hung_up_on(fake: FakeGateway, frame: bytes) -> None:
    async with running(fake.path) as line:
        await line.until(lambda: line.of(HealthSeen))
        fake.write_raw(frame)
        await line.until(lambda: line.of(Lost))
        line.go_on()
        await line.until(lambda: len(line.of(Greeted)) == 2)


async def test_unknown_events_and_answers_are_left_out(fake: FakeGateway) -> None:
    async with running(fake.path) as line:
        await line.until(lambda: line.of(HealthSeen))
        fake.publish("weather.changed", {"x": 1})
        fake.write_raw(b'{"type":"response","id":99999,"result":1}\n')
        fake.publish("approval.pending", make_approval("a"))
        await line.until(lambda: line.of(ApprovalChanged))
        assert not line.of(Lost)


async def test_a_gateway_that_refuses_us_is_told_in_words(tmp_path: Path) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b'{"type":"response","id":null,"error":{"code":"forbidden","message":"not an operator"}}\n')
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(refuse, str(tmp_path / "s"))
    async with server, running(tmp_path / "s") as line:
        await line.until(lambda: line.of(Lost))
        assert line.of(Lost)[0].why == "not an operator"


async def test_lists_are_followed_to_their_end(tmp_path: Path) -> None:
    pages = {None: (["a", "b"], "1"), "1": (["c"], None)}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        import json

        await reader.readline()
        hello = {"type": "hello", "version": 1, "gateway": "g", "server": "0", "operator": None, "subject": None,
                 "roles": [], "groups": [], "assurance": "uid", "next": 1, "gap": None, "time": "x"}  # fmt: skip
        writer.write(json.dumps(hello).encode() + b"\n")
        while frame := await reader.readline():
            request = json.loads(frame)
            answer: dict[str, Any] = {"type": "response", "id": request["id"], "result": None}
            if request["method"] == "sessions.list":
                ids, following = pages[request["params"].get("after")]
                answer["result"] = [make_session(id_) for id_ in ids]
                answer |= {"next": following} if following else {}
            writer.write(json.dumps(answer).encode() + b"\n")
        writer.close()

    server = await asyncio.start_unix_server(serve, str(tmp_path / "s"))
    async with server, running(tmp_path / "s") as line:
        await line.until(lambda: line.of(SessionsListed))
        assert [one.id for one in line.of(SessionsListed)[0].sessions] == ["a", "b", "c"]
