"""A gateway for the console to talk to: the real protocol over a real Unix socket, content by the test.

Run as a program (`python tests/console/fake_gateway.py SOCKET`) it plays a lively gateway to look at the console with.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.control.framing import Lines
from gateway.control.messages import (
    Event,
    Failure,
    Hello,
    Refusal,
    Request,
    Response,
    Welcome,
    decode_client,
    encode,
)
from gateway.model import Micros, format_time

EPOCH = 1_793_416_149_000_000
HASH = "3f9ac41278de" + "0" * 52
SECOND = 1_000_000

Answer = Callable[[dict[str, Any]], Any]


def at(seconds: float) -> str:
    return format_time(Micros(EPOCH + int(seconds * SECOND)))


def make_session(id_: str = "s-0001", **changes: Any) -> dict[str, Any]:
    return {
        "id": id_,
        "subject": "report-bot",
        "issuer": "https://idp.example/realms/prod",
        "owner": "dana",
        "connection": "orders",
        "target": "10.0.0.5:5432/orders",
        "client_address": "10.0.0.8:51822",
        "application": "psycopg",
        "user": "agent",
        "started": at(-300),
        "statements": 41,
        "denied": 0,
        "held": 1,
        "rows": 18_234,
        "state": "running",
        "current": "SELECT id, total\n  FROM public.orders\n WHERE created > now() - interval '1 day'",
        **changes,
    }


def make_approval(id_: str = "ap-0001", **changes: Any) -> dict[str, Any]:
    statement = str(changes.get("statement", "DELETE FROM public.orders\n WHERE created < '2020-01-01'"))
    return {
        "id": id_,
        "hash": HASH,
        "state": "pending",
        "subject": "report-bot",
        "issuer": "https://idp.example/realms/prod",
        "owner": "erin",
        "connection": "orders",
        "target": "10.0.0.5:5432/orders",
        "role": "app",
        "session_id": "s-0001",
        "statement": statement,
        "statement_length": len(statement),
        "statement_cut": False,
        "parameters": [],
        "operation": "delete",
        "rule": "standard/delete",
        "reason": "DELETE with a WHERE that restricts is held for a person",
        "reviewers": ["group:oncall"],
        "relations": ["public.orders"],
        "requested": at(-30),
        "expires": at(252),
        "in_transaction": False,
        "development": False,
        "token_expires": at(2460),
        "client_address": "10.0.0.8:51822",
        "approver": None,
        "decided": None,
        "decision_reason": None,
        "result": None,
        "warnings": [],
        **changes,
    }


def make_record(seq: int, **changes: Any) -> dict[str, Any]:
    return {
        "log": "gw-1/w1",
        "seq": seq,
        "ts": at(seq / 10),
        "session_id": "s-0001",
        "n": seq,
        "kind": "request",
        "subject": "report-bot",
        "connection": "orders",
        "verdict": "allow",
        "rule": "standard/select",
        "operation": "select",
        "text": f"SELECT {seq}",
        "outcome": None,
        "rows": None,
        "duration_us": None,
        "sqlstate": None,
        **changes,
    }


def make_item(seq: int, seconds: float, **changes: Any) -> dict[str, Any]:
    return {
        "log": "gw-1/w1",
        "seq": seq,
        "session_id": "s-0001",
        "n": seq,
        "ts": at(seconds),
        "direction": "in",
        "kind": "request",
        "text": f"SELECT {seq}",
        "truncated": False,
        "verdict": "allow",
        "outcome": None,
        "rows": None,
        "duration_us": None,
        **changes,
    }


class FakeGateway:
    """Serves what is put into its fields; `answers` replaces a method, `mute` leaves a method unanswered."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sessions: dict[str, dict[str, Any]] = {}
        self.approvals: dict[str, dict[str, Any]] = {}
        self.recordings: list[dict[str, Any]] = []
        self.transcripts: dict[str, list[dict[str, Any]]] = {}
        self.answers: dict[str, Answer] = {}
        self.mute: set[str] = set()
        self.roles: tuple[str, ...] = ("watch", "decide")
        self.assurance = "uid"
        self.login: dict[str, Any] | None = None
        self.grants: list[dict[str, Any]] = []
        self.groups: tuple[str, ...] = ("oncall",)
        self.broken: list[dict[str, Any]] = []
        self.gap: tuple[int, int] | None = None
        self.requests: list[Request] = []
        self.hellos: list[Hello] = []
        self.numbers = itertools.count(1000)
        self.time = EPOCH
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._client, str(self.path))

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self.hang_up()
            self._server = None
        self.path.unlink(missing_ok=True)

    async def hang_up(self) -> None:
        for writer in list(self._writers):
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        self._writers.clear()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def publish(self, event: str, data: dict[str, Any]) -> None:
        frame = encode(Event(next(self.numbers), event, data))
        for writer in self._writers:
            writer.write(frame)

    def write_raw(self, frame: bytes) -> None:
        for writer in self._writers:
            writer.write(frame)

    def put(self, approval: dict[str, Any], event: str = "approval.pending") -> None:
        self.approvals[approval["id"]] = approval
        self.publish(event, approval)

    def called(self, method: str) -> list[dict[str, Any]]:
        return [dict(request.params) for request in self.requests if request.method == method]

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        lines = Lines()
        try:
            while chunk := await reader.read(65536):
                for line in lines.feed(chunk):
                    self._answer(decode_client(line), writer)
                    await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    def _answer(self, message: Hello | Request, writer: asyncio.StreamWriter) -> None:
        if isinstance(message, Hello):
            self.hellos.append(message)
            following = next(self.numbers)
            welcome = Welcome(
                "gw-1", "0.1.0", "dana", "dana-sub", self.roles, self.groups, self.assurance, following, self.gap,
                format_time(Micros(self.time)),
            )  # fmt: skip
            writer.write(encode(welcome))
            self._writers.add(writer)
            return
        self.requests.append(message)
        if message.method in self.mute:
            return
        try:
            result = self._result(message.method, dict(message.params))
        except Refusal as refusal:
            writer.write(encode(Failure(message.id, refusal.code, str(refusal))))
        else:
            writer.write(encode(Response(message.id, result)))

    def reply(self, method: str, result: Any) -> None:
        """Answer the latest request of a method that was muted."""
        message = next(each for each in reversed(self.requests) if each.method == method)
        answer = Failure(message.id, result.code, str(result)) if isinstance(result, Refusal) else None
        for writer in self._writers:
            writer.write(encode(answer or Response(message.id, result)))

    def _result(self, method: str, params: dict[str, Any]) -> Any:
        if method in self.answers:
            return self.answers[method](params)
        if method.startswith(("login.", "grants.")):
            return self._people(method, params)
        match method:
            case "subscribe":
                return {"topics": params["topics"]}
            case "status":
                evidence = {"gw-1/w1": {"seq": 48_211, "chain": "ab"}}
                return {"healthy": True, "fault": None, "evidence": evidence, "break_glass": self.broken}
            case "sessions.list":
                return list(self.sessions.values())
            case "approvals.list":
                return [a for a in self.approvals.values() if (a["state"] != "pending") == params["decided"]]
            case "approvals.get":
                return self._approval(params["id"])
            case "approvals.approve" | "approvals.deny":
                return self._decide(method.endswith("approve"), params)
            case "sessions.kill":
                session = self.sessions.pop(params["id"])
                self.publish("session.closed", session)
                return {"id": params["id"], "killed": True}
            case "replay.sessions":
                return {"items": self.recordings, "next_before": None}
            case "replay.transcript":
                items = [i for i in self.transcripts[params["session_id"]] if i["seq"] > (params["after_seq"] or -1)]
                page, rest = items[: params["limit"]], items[params["limit"] :]
                return {"items": page, "next_after": page[-1]["seq"] if rest else None}
            case _:
                raise Refusal("unknown_method", method)

    def _people(self, method: str, params: dict[str, Any]) -> Any:
        match method:
            case "login.show":
                return {"operator": "dana", "roles": list(self.roles), "login": self.login}
            case "login.start":
                return {"user_code": "WDJB-MJHT", "verification_uri": "https://idp.example/device",
                        "verification_uri_complete": None, "seconds": 600}  # fmt: skip
            case "login.end":
                self.login = None
                return {"ended": True}
            case "grants.withdraw":
                self.grants = [each for each in self.grants if each["id"] != params["id"]]
                return {"id": params["id"]}
            case _:
                return self.grants

    def _approval(self, id_: str) -> dict[str, Any]:
        if id_ not in self.approvals:
            raise Refusal("not_found", "no such request")
        return self.approvals[id_]

    def _decide(self, approve: bool, params: dict[str, Any]) -> dict[str, Any]:
        approval = self._approval(params["id"])
        if approval["state"] != "pending":
            raise Refusal("already_decided", f"already {approval['state']}")
        if approve and params["hash"] != approval["hash"]:
            raise Refusal("stale_hash", "the request is not what was shown")
        decided = {
            **approval,
            "state": "approved" if approve else "refused",
            "approver": "dana",
            "decided": at(0),
            "decision_reason": params["reason"],
            "break_glass": params.get("break_glass", False),
        }
        if decided["break_glass"]:  # `status` tells of it from then on, as the real one's does
            told = {"id": decided["id"], "at": decided["decided"], "by": decided["approver"], "rule": decided["rule"]}
            self.broken.append({**told, "subject": decided["subject"], "connection": decided["connection"]})
        self.put(decided, "approval.changed")
        return decided


async def perform(path: Path) -> None:
    """Play a lively gateway until interrupted."""
    import time

    offset = time.time_ns() // 1000 - EPOCH

    def now(seconds: float) -> str:
        return format_time(Micros(time.time_ns() // 1000 + int(seconds * SECOND)))

    fake = FakeGateway(path)
    fake.time = EPOCH + offset
    fake.sessions = {
        "s-7f31": make_session("s-7f31", started=now(-412)),
        "s-81c0": make_session("s-81c0", subject="migrate-agent", owner="erin", state="held", statements=7, held=1,
                               connection="billing", target="10.0.0.9:5432/billing", started=now(-64),
                               current="ALTER TABLE public.invoices ADD COLUMN paid_at timestamptz"),
        "s-9a02": make_session("s-9a02", subject="rag-indexer", connection="docs", state="idle", current=None,
                               statements=12_034, denied=3, held=0, rows=1_203_400, started=now(-86_000)),
    }  # fmt: skip
    fake.approvals = {
        "ap-51": make_approval("ap-51", subject="migrate-agent", connection="billing-prod", operation="alter-table",
                               rule="standard/ddl", reason="DDL that creates or alters is held for a person",
                               statement="ALTER TABLE public.invoices\n  ADD COLUMN paid_at timestamptz,\n"
                               "  ADD COLUMN note text -- \u202ereversed \x1b[31mred", relations=["public.invoices"],
                               session_id="s-81c0", requested=now(-20), expires=now(48), in_transaction=True,
                               token_expires=now(2400), hash="c0ffee" + "1" * 58),
        "ap-52": make_approval("ap-52", requested=now(-9), expires=now(840), token_expires=now(2400),
                               parameters=["2020-01-01", None]),
        "ap-47": make_approval("ap-47", state="executed", approver="dana", decided=now(-900),
                               decision_reason="monthly cleanup, ticket 4411", requested=now(-960), expires=now(-60),
                               result={"outcome": "ok", "rows": 182_340, "duration_us": 2_100_000}),
        "ap-46": make_approval("ap-46", state="refused", approver="erin", decided=now(-1900), operation="merge",
                               decision_reason="not during the freeze", requested=now(-1960), expires=now(-60)),
        "ap-45": make_approval("ap-45", state="expired", decided=now(-2900), requested=now(-3960), expires=now(-2900)),
    }  # fmt: skip
    fake.recordings = [
        {"session_id": "s-7f31", "started": now(-412), "ended": None, "subject": "report-bot", "connection": "orders",
         "client_address": "10.0.0.8", "statements": 41, "denied": 1, "held": 1, "rows": 18_234, "end_reason": None},
        {"session_id": "s-6e11", "started": now(-9000), "ended": now(-8400), "subject": "rag-indexer",
         "connection": "docs", "client_address": "10.0.0.8", "statements": 2201, "denied": 0, "held": 0,
         "rows": 993_120, "end_reason": "client closed"},
    ]  # fmt: skip
    table = " id | email | total\n----+-------+-------\n  1 | ***   | 12.50\n  2 | ***   | 99.00\n(2 rows)"
    items: list[dict[str, Any]] = []
    moment = -400.0
    for number in range(60):
        verdict = "deny" if number % 17 == 9 else "mask" if number % 3 == 1 else "allow"
        sql = {"deny": "DROP TABLE public.users", "mask": "SELECT id, email, total\n  FROM public.orders JOIN users u"
               "sing (user_id)\n LIMIT 2", "allow": "SELECT count(*) FROM public.orders"}[verdict]  # fmt: skip
        items.append({**make_item(2 * number, 0, verdict=verdict, text=sql), "ts": now(moment)})
        outcome = "denied" if verdict == "deny" else "ok"
        text = "ERROR:  hoop: denied" if verdict == "deny" else table
        items.append({**make_item(2 * number + 1, 0, direction="out", kind="result", verdict=None, outcome=outcome,
                                  rows=2, duration_us=3100, text=text), "ts": now(moment + 0.2)})  # fmt: skip
        moment += 12 if number % 7 == 3 else 1.1
    fake.transcripts = {"s-7f31": items, "s-6e11": items}
    await fake.start()
    samples = [
        ("allow", "SELECT id, total FROM public.orders WHERE created > now() - interval '1 day'", 12, 3_100),
        ("mask", "SELECT u.email, o.total\n  FROM users u JOIN orders o USING (user_id)", 200, 14_000),
        ("allow", "INSERT INTO audit.notes VALUES ($1, $2)", 1, 900),
        ("deny", "DROP TABLE users; -- \x1b]0;owned\x07", None, None),
        ("approve", "DELETE FROM public.orders WHERE created < '2020-01-01'", None, None),
        ("allow", "SELECT 1", 1, 240),
    ]
    rate = float(sys.argv[2]) if len(sys.argv) > 2 else 3
    for seq in itertools.count(1):
        verdict, text, rows, took = samples[seq % len(samples)]
        who = ("report-bot", "migrate-agent", "rag-indexer")[seq % 3]
        fake.publish("record", {**make_record(seq, verdict=verdict, text=text, subject=who), "ts": now(0)})
        if rows is not None:
            result = make_record(seq, kind="result", verdict=None, text="", outcome="ok", rows=rows, duration_us=took)
            fake.publish("record", {**result, "subject": who, "ts": now(0), "sqlstate": "00000"})
        await asyncio.sleep(1 / rate)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(perform(Path(sys.argv[1])))
