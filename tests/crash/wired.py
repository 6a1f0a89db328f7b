"""Real sessions on socket pairs, over journals whose disk a test rules: every byte for a target is checked.

`World` is one worker: an evidence directory, a control log, a worker log, approvals with somebody who approves
everything. Each session has an agent that follows a script and a target that answers as PostgreSQL would.
"""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio
from approving import DANA
from evidence_double import DoubleStorage

from gateway.approval.ledger import Ledger
from gateway.approval.waiting import Approvals
from gateway.control.messages import Refusal
from gateway.errors import EvidenceFault
from gateway.evidence import record
from gateway.evidence.commit import GroupCommit
from gateway.evidence.entry import parse, parse_line
from gateway.evidence.journal import Journal
from gateway.evidence.storage import SystemClock, SystemEntropy
from gateway.identity.admission import Credential
from gateway.listener.arrival import Arrival
from gateway.listener.stream import PlainStream
from gateway.model import (
    DecisionKind,
    Impact,
    LogName,
    Principal,
    SessionId,
    SessionInfo,
    Statement,
    Verdict,
    VerdictKind,
)
from gateway.pgwire.actions import Analyse, Hold, Limits
from gateway.pgwire.backend import ready_for_query
from gateway.pgwire.framing import Message, MessageReader, cstring, message
from gateway.pgwire.frontend import Bind, Execute, Parse
from gateway.pgwire.judgement import Judgement, Names
from gateway.target.connect import BackendKey, CancelRoute, TargetSession
from gateway.worker.agent_session import AgentSession
from gateway.worker.holding import Holding, HoldOptions
from gateway.worker.live import LiveSessions
from gateway.worker.outbox import AT_ONCE
from gateway.worker.reactor import Reactor
from gateway.worker.sealing import SealingTerms
from gateway.worker.standing import Outage, Standing
from gateway.worker.surroundings import Surroundings

CLOCK, ENTROPY = SystemClock(), SystemEntropy()
LIMIT = 1 << 20


class Disk(DoubleStorage):
    """A disk whose syncs take as many turns of the event loop as `turns` says, where they run in a thread."""

    def __init__(self) -> None:
        super().__init__()
        self.turns: Iterator[int] = iter(())
        self.on_sync = self._take_turns
        self._until_failure: int | None = None

    def fail(self, what: str, after: int) -> None:
        """Fail writes after so many bytes, or the sync after so many syncs."""
        if what == "write":
            self.room = after
        else:
            self._until_failure = after

    def calm(self) -> None:
        """Behave from now on."""
        self.room = self.sync_error = self._until_failure = None

    def _take_turns(self) -> None:
        if self._until_failure is not None:
            if self._until_failure == 0:
                self.sync_error = OSError(5, "Input/output error")
            self._until_failure -= 1
        if threading.current_thread() is not threading.main_thread():
            trio.from_thread.run(_idle, next(self.turns, 0))


async def _idle(turns: int) -> None:
    for _ in range(turns):
        await trio.lowlevel.checkpoint()


class OnDisk:
    """What completed syncs cover of one log, as records; looks only at what is new since the last look."""

    def __init__(self, disk: Disk, journal: Path) -> None:
        self._disk, self._journal = disk, journal
        self._seen = 0
        self.records: list[tuple[dict[str, Any], bytes]] = []

    def look(self) -> list[tuple[dict[str, Any], bytes]]:
        """Return (entry, payload) of every record that a power cut would leave."""
        new = self._disk.covered(self._journal)[self._seen :].rstrip(b"\0")
        for line in new.splitlines(keepends=True):
            assert line.endswith(b"\n"), "a sync covered half a line"
            fields = parse_line(line[:-1])
            self.records.append((parse(fields.entry), fields.payload))
            self._seen += len(line)
        return self.records

    def of(self, session: SessionId, *kinds: str) -> list[tuple[dict[str, Any], bytes]]:
        return [one for one in self.look() if one[0].get("sid") == session and one[0]["kind"] in kinds]


class Words:
    """A policy by first word: `drop` is denied, `delete` held, `copy` takes data, `slow` must be waited for."""

    def known(self, _statement: Statement, _names: Names) -> Judgement | None:
        """Remember nothing."""

    def judge(self, action: Analyse, _: Principal) -> Judgement | None:
        return None if action.statement.sql.startswith(b"slow") else _judgement(action.statement.sql)

    async def analyse(self, action: Analyse, _: Principal) -> Judgement:
        await _idle(3)
        return _judgement(action.statement.sql)

    def expire(self) -> None:
        raise AssertionError("no statement here changes the catalog")


def _judgement(sql: bytes) -> Judgement:
    word = sql.split()[0].decode()
    kind = {"drop": VerdictKind.DENY, "delete": VerdictKind.APPROVE}.get(word, VerdictKind.ALLOW)
    verdict = Verdict(kind, f"standard/{word}", "by its first word", word, reviewers=("group:oncall",))
    return Judgement(verdict, "hash", copy_in=word == "copy")


async def nothing_known(_: Hold) -> Impact:
    """There is no target that could be asked."""
    return Impact()


class Anybody:
    """Every token is good."""

    async def stands(self, _credential: Credential, _max_age: float = 1) -> None:
        await trio.lowlevel.checkpoint()


async def no_renewal(session: AgentSession, token: str) -> Any:
    raise AssertionError("nobody renews here")


class Wire(PlainStream):
    """A stream that shows what is sent before it is sent, and keeps what the check said of it."""

    def __init__(self, connected: socket.socket, check: Any, violations: list[str]) -> None:
        super().__init__(connected)
        self._check, self._violations = check, violations

    def send_now(self, data: bytes | memoryview) -> bool:
        self._show(bytes(data))
        return super().send_now(data)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self._show(bytes(data))
        await super().send_all(data)

    def _show(self, data: bytes) -> None:
        try:
            self._check(data)
        except Exception as fault:  # a session's border would swallow it
            self._violations.append(f"{type(fault).__name__}: {fault}")
            raise


SILENT = b"silent "
"""A target never answers a statement that holds this."""
STUCK = b"stuck "
"""A target that reads this reads nothing more before the gateway has let go of it."""


@dataclass
class Seen:
    """One session: what its target and its agent were sent."""

    info: SessionInfo
    to_target: list[Message] = field(default_factory=list)
    to_agent: list[Message] = field(default_factory=list)
    forwarded: Counter[bytes] = field(default_factory=Counter)
    raw: bytearray = field(default_factory=bytearray)
    """What reached the target."""
    stuck: trio.Event = field(default_factory=trio.Event)
    """The target reads no further."""
    let_go: trio.Event = field(default_factory=trio.Event)
    """The gateway closed its side."""
    left: bool = False
    """The target saw the end of the session."""

    @property
    def fatal(self) -> bytes | None:
        """The words of the FATAL that the agent was told."""
        found = [one.body for one in self.to_agent if one.kind == b"E" and b"VFATAL\0" in one.body]
        return found[0] if found else None


class World:
    """One worker. `results_wait` is `[evidence] results = "durable"`."""

    def __init__(self, directory: Path, *, results_wait: bool, timer: Any) -> None:
        self.directory = directory
        self.disks = {"control": Disk(), "w1": Disk()}
        self.on_disk: dict[str, OnDisk] = {}
        self.logs: dict[str, GroupCommit] = {}
        for name, disk in self.disks.items():
            log = directory / "logs" / name
            journal = Journal.open(log, LogName(f"gw-1/{name}"), disk, CLOCK, ENTROPY)
            journal.append(record.start("gw-1", "0"))
            journal.flush()
            self.logs[name] = GroupCommit(journal, timer)
            self.on_disk[name] = OnDisk(disk, log / "journal" / "00000001.tsv")
        self.approvals = Approvals(Ledger(), self.logs["control"], CLOCK, self._publish)
        self.around = Surroundings(
            log=self.logs["w1"], live=LiveSessions(), publish=self._publish, clock=CLOCK, entropy=ENTROPY,
            limits=Limits(), reactor=Reactor(self.logs["w1"]), results_wait=results_wait,
            sealing=SealingTerms(literals=False),
        )  # fmt: skip
        self.sessions: list[Seen] = []
        self.violations: list[str] = []
        self._pending, self._to_approve = trio.open_memory_channel[str](100)

    @property
    def broken(self) -> bool:
        return any(log.journal.broken is not None for log in self.logs.values())

    async def run(self, scripts: Sequence[Any]) -> None:
        """Let an agent run each script, all at once; returns once every session is over.

        A script is made of bytes to send, waits with the `kind` of message to wait for, and functions of the world.
        """
        async with trio.open_nursery() as nursery:
            for log in self.logs.values():
                nursery.start_soon(log.run)
            nursery.start_soon(self.around.reactor.run)
            nursery.start_soon(self._settle)
            nursery.start_soon(self._approve)
            async with trio.open_nursery() as sessions:
                for number, script in enumerate(scripts):
                    sessions.start_soon(self._session, number, script)
            nursery.cancel_scope.cancel()

    def calm(self) -> None:
        for disk in self.disks.values():
            disk.calm()

    def close(self) -> None:
        for log in self.logs.values():
            log.journal.close()

    def _publish(self, event: str, data: Any) -> None:
        if event == "approval.pending":
            self._pending.send_nowait(data["id"])

    async def _settle(self) -> None:
        with suppress(EvidenceFault):
            await self.approvals.run()

    async def _approve(self) -> None:
        async for approval in self._to_approve:
            with suppress(EvidenceFault, Refusal):
                digits = self.approvals.get(approval).request.operation_hash
                await self.approvals.decide(approval, digits, DANA, DecisionKind.APPROVED, "as planned")

    async def _session(self, number: int, script: Any) -> None:
        principal = Principal("https://idp", f"agent-{number}", "jti", CLOCK.now() + 600_000_000)
        seen = Seen(SessionInfo(SessionId(f"s{number}"), principal, "c", "t", "127.0.0.1:1", "u", "", CLOCK.now()))
        self.sessions.append(seen)
        agent_end, gateway_agent = socket.socketpair()
        target_end, gateway_target = socket.socketpair()
        to_agent = Wire(gateway_agent, self._to_agent(seen), self.violations)
        arrival = Arrival(to_agent, {}, "u", "c", "", 0, "127.0.0.1:1")  # type: ignore[arg-type]
        route = CancelRoute(None, "", False, BackendKey(1, b"1234"))  # type: ignore[arg-type]
        to_target = Wire(gateway_target, self._to_target(seen), self.violations)
        target = TargetSession(to_target, {}, BackendKey(1, b"1234"), "role", route)
        options = HoldOptions(900_000_000, 900_000_000, waits=True, search_path=("public",), salt=b"salt")

        def holding(session: AgentSession) -> Holding:
            return Holding(
                session.session, session.info, self.around.log, self.approvals, session.append, session.analyse,
                session.notify, session.standing.why_not, nothing_known, options, CLOCK, ENTROPY,
            )  # fmt: skip

        async with AsyncExitStack() as stack:
            ends = PlainStream(target_end), PlainStream(agent_end)
            for each in (*ends, to_agent, to_target):
                stack.callback(each.close_now)
            nursery = await stack.enter_async_context(trio.open_nursery())
            nursery.start_soon(answer, ends[0], seen)
            nursery.start_soon(self._agent, ends[1], script)
            standing = Standing(Anybody(), Credential(principal, ""), Outage(print), every=60, grace=60)  # type: ignore[arg-type]
            session = AgentSession(
                self.around,
                arrival,
                seen.info,
                Words(),
                target,
                {},
                standing,
                no_renewal,
                holding,  # type: ignore[arg-type]
                read_rows=no_rows,
            )
            await session.run()
            seen.let_go.set()
            await to_agent.aclose()
        seen.left = True

    async def _agent(self, stream: Any, script: Any) -> None:
        reader = MessageReader(LIMIT)
        with suppress(trio.BrokenResourceError):
            for part in script:
                if isinstance(part, bytes):
                    await stream.send_all(part)
                    continue
                if not hasattr(part, "kind"):
                    await part(self)
                    continue
                awaited: bytes = part.kind
                while (found := reader.next()) is None or found.kind != awaited:
                    if found is None:
                        data = await stream.receive_some()
                        if not data:
                            return
                        reader.feed(data)
            await stream.send_all(message(b"X"))

    # -- what every byte must keep to --------------------------------------------------------------------------------

    def _to_target(self, seen: Seen) -> Any:
        reader = MessageReader(LIMIT)
        disk, sid = self.on_disk["w1"], seen.info.id

        def check(data: bytes) -> None:
            reader.feed(data)
            for found in reader:
                seen.to_target.append(found)
                if found.kind != b"X":
                    assert self.logs["w1"].journal.broken is None, f"forwarded after the disk failed: {found}"
                self._must_be_recorded(seen, disk, sid, found)
            assert len(data) > AT_ONCE // 2 or not reader.pending, "half a message was sent"

        return check

    def _must_be_recorded(self, seen: Seen, disk: OnDisk, sid: SessionId, found: Message) -> None:
        match found.kind:
            case b"Q":
                entry = _with(disk.of(sid, "request"), marks(found.body))
                assert entry["verdict"] != "deny"
                if entry["verdict"] == "approve":
                    released = [one for one, _ in disk.of(sid, "release") if one["of"] == entry["n"]]
                    assert released, "forwarded without its release"
                    quoted = [one["seq"] for one, _ in self.on_disk["control"].look() if one["kind"] == "decision"]
                    assert released[0]["quote"]["seq"] in quoted, "released before its decision was on disk"
            case b"P":
                _with(disk.of(sid, "prepare"), marks(found.body))
            case b"B":
                entry = _with(disk.of(sid, "request"), marks(found.body))
                assert entry["verdict"] == "allow"
            case b"E" if not Execute.decode(found.body).portal:
                seen.forwarded[b"E"] += 1
                assert len(disk.of(sid, "execute")) >= seen.forwarded[b"E"], "executed without its record"
            case b"d":
                _with(disk.of(sid, "data"), marks(found.body))

    def _to_agent(self, seen: Seen) -> Any:
        reader = MessageReader(LIMIT)
        disk, sid, told = self.on_disk["w1"], seen.info.id, Counter[str]()

        def check(data: bytes) -> None:
            reader.feed(data)
            for found in reader:
                seen.to_agent.append(found)
                if found.kind == b"E" and b"Mhoop: denied" in found.body:
                    told["denied"] += 1
                    denials = [one for one, _ in disk.of(sid, "request") if one["verdict"] == "deny"]
                    assert len(denials) >= told["denied"], "an agent heard of a denial that is not on disk"
                if found.kind == b"C" and self.around.results_wait:
                    told["answered"] += 1
                    results = disk.of(sid, "result")
                    assert len(results) >= told["answered"], "answered before the result was on disk"

        return check


def marks(data: bytes) -> list[bytes]:
    """The ids `<…>` in what was sent."""
    return [part.split(b">")[0] + b">" for part in data.split(b"<")[1:]]


def _with(records: list[tuple[dict[str, Any], bytes]], wanted: list[bytes]) -> dict[str, Any]:
    """The entry of a record whose payload holds every id of `wanted`, which may stand in several records."""
    assert wanted
    entry: dict[str, Any] = {}
    for mark in wanted:
        found = [one for one, payload in records if b"<" + mark in payload]
        assert found, f"{mark!r} reached the target and is not on disk"
        entry = found[0]
    return entry


async def no_rows(_: object) -> None:
    """Nothing that runs here has its rows read before."""


async def answer(stream: PlainStream, seen: Seen) -> None:
    """Be the target of one session: take every statement, and answer as PostgreSQL would."""
    reader = MessageReader(LIMIT)
    copying = failed = False
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while data := await stream.receive_some():
            seen.raw += data
            if STUCK in seen.raw:
                seen.stuck.set()
                await seen.let_go.wait()
                continue
            reader.feed(data)
            replies = b""
            for found in reader:
                match found.kind:
                    case b"Q" if found.body.startswith(b"copy"):
                        replies, copying = replies + message(b"G", b"\0\0\1\0\0"), True
                    case b"Q" if SILENT in found.body:
                        continue
                    case b"Q":
                        replies += _DONE + ready_for_query(b"I")
                    case b"c" if copying:
                        replies, copying = replies + message(b"C", cstring(b"COPY 1")) + ready_for_query(b"I"), False
                    case b"S":
                        replies, failed = replies + ready_for_query(b"I"), False
                    case b"E" if Execute.decode(found.body).portal:
                        failed = True
                        replies += message(b"E", b"SERROR\0VERROR\0C34000\0Mportal does not exist\0\0")
                    case b"P" | b"B" | b"E" | b"C" | b"D" if not failed:
                        replies += _REPLY[found.kind]
                    case b"X":
                        await stream.aclose()
                        return
            if replies:
                await stream.send_all(replies)


_DONE = message(b"C", cstring(b"INSERT 0 1"))
_REPLY = {b"P": message(b"1"), b"B": message(b"2"), b"E": _DONE, b"C": message(b"3"), b"D": message(b"n")}


def parse_message(sql: bytes, name: bytes = b"") -> bytes:
    return Parse(name, sql, ()).encode()


def bind_message(value: bytes, name: bytes = b"") -> bytes:
    size = len(value).to_bytes(4, "big")
    body = cstring(b"") + cstring(name) + b"\0\0" + b"\0\1" + size + value + b"\0\0"
    Bind.decode(body)
    return message(b"B", body)
