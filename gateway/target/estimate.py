"""What the planner expects of a statement before it runs: asked by EXPLAIN, on a session of the gateway's own.

Promises that the statement itself never runs (EXPLAIN alone, in a read-only transaction that is rolled back), that an
answer comes within `SECONDS` or not at all, and that whatever fails is "not known", never an error of the agent's.
The planner folds constants, through functions that the database calls immutable: ask only about what may run.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import trio
from blake3 import blake3

from gateway.errors import ConfigurationFault, TargetFault
from gateway.model import Connection, Parameter
from gateway.policy.parameters import join_search_path
from gateway.policy.parse import fingerprint
from gateway.target.own_session import OwnSession
from gateway.target.query import QueryClient, QueryFailed

SECONDS: Final = 2.0
"""Longest an agent waits for an estimate, the time to connect included."""
_KEPT_SECONDS: Final = 5.0
"""An estimate of a statement's shape, and of a relation's size, stands that long."""
_KEPT: Final = 1024
_EXPLAIN: Final = b"EXPLAIN (FORMAT JSON, VERBOSE) "
_SIZE: Final = (
    "SET search_path = '';"
    " SELECT sum(CASE WHEN c.reltuples > 0 THEN c.reltuples ELSE pg_stat_get_live_tuples(c.oid) END)"
    " FROM pg_class c WHERE c.oid = ANY ('{{{oids}}}'::oid[]) AND c.relkind = 'r'"
)
_CHANGES: Final = frozenset({"Update", "Delete", "Merge"})


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the planner expects: rows and bytes that come out, rows that are changed; `shape`: of another such text."""

    rows: int
    size: int
    changed: int
    inserted: int = 0
    shape: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """One statement, as sent; `prepared` is the text of the PREPARE that an EXECUTE needs first."""

    sql: bytes
    parameters: tuple[Parameter, ...] = ()
    prepared: bytes = b""


class Estimator:
    """Asks about one connection's statements. Keeps what it heard for some seconds."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._session = OwnSession(connection)
        self._kept: OrderedDict[bytes, tuple[float, Estimate | None]] = OrderedDict()
        self._sizes: dict[bytes, tuple[float, int | None]] = {}
        path = join_search_path(connection.search_path)
        self._begin = (
            "BEGIN READ ONLY; SET LOCAL statement_timeout = '1s'; SET LOCAL lock_timeout = '100ms';"
            f" SET LOCAL search_path = {path or _NOWHERE}"
        )

    async def estimate(self, question: Question, *, by_shape: bool = False) -> Estimate | None:
        """Return what is expected of `question`; None: not known.

        `by_shape`: what was heard of the same text with other constants will do; it is said to be that.
        """
        exact = _digest(question)
        known = self._recall(exact)
        if known is not None:
            return known[1]
        shape = _shape(question) if by_shape else b""
        if shape and (known := self._recall(shape)) is not None and known[1] is not None:
            found = known[1]
            return replace(found, shape=True)
        plan = await self._ask(question)
        found_now = None if plan is None else _estimate(plan)
        for key in (exact, shape) if shape else (exact,):
            self._keep(key, found_now)
        return found_now

    async def size_of(self, tables: tuple[int, ...]) -> int | None:
        """Return how many rows some tables (oids) have together, by their statistics; None: not known.

        Not what the planner would say, which grows with the pages that failed writes leave behind.
        """
        key = _hash((b"size", repr(tables).encode()))
        known = self._sizes.get(key)
        if known is not None and trio.current_time() - known[0] < _KEPT_SECONDS:
            return known[1]
        sql = _SIZE.format(oids=",".join(map(str, tables)))
        try:
            results = await self._session.ask(lambda client: client.run(sql), SECONDS)
            value = results[-1].rows[0][0] if results[-1].rows else None
        except (TargetFault, ConfigurationFault):
            value = None
        found = None if value is None else int(float(value))
        self._sizes[key] = (trio.current_time(), found)
        if len(self._sizes) > _KEPT:
            self._sizes.clear()
        return found

    def forget(self) -> None:
        """Definitions changed: what was heard is of others."""
        self._kept.clear()
        self._sizes.clear()

    async def aclose(self) -> None:
        """Close the session, if there is one."""
        await self._session.aclose()

    def _recall(self, key: bytes) -> tuple[float, Estimate | None] | None:
        kept = self._kept.get(key)
        return kept if kept is not None and trio.current_time() - kept[0] < _KEPT_SECONDS else None

    def _keep(self, key: bytes, found: Estimate | None) -> None:
        self._kept[key] = (trio.current_time(), found)
        self._kept.move_to_end(key)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)

    async def _ask(self, question: Question) -> dict[str, Any] | None:
        async def explain(client: QueryClient) -> str | None:
            await client.run(self._begin)
            try:
                if question.prepared:
                    await client.run_one(question.prepared)
                result = await client.run_one(_EXPLAIN + question.sql, question.parameters)
            except QueryFailed:
                result = None
            if client.usable:
                await client.run("ROLLBACK; DEALLOCATE ALL")
            return result.rows[0][0] if result is not None and result.rows else None

        try:
            answer = await self._session.ask(explain, SECONDS)
        except (TargetFault, ConfigurationFault):
            return None
        try:
            return dict(json.loads(answer or "")[0]["Plan"])
        except (ValueError, KeyError, TypeError, IndexError, RecursionError):
            return None


_NOWHERE: Final = "''"


def _estimate(plan: dict[str, Any]) -> Estimate | None:
    """Read a plan; None where it is not one."""
    try:
        changing = [node for node in _nodes(plan) if node.get("Operation") in _CHANGES]
        inserting = [node for node in _nodes(plan) if node.get("Operation") == "Insert"]
        size = _rows(plan) * int(plan["Plan Width"])
        return Estimate(_rows(plan), size, _taken(changing), _taken(inserting))
    except (KeyError, TypeError, ValueError):
        return None


def _taken(nodes: list[dict[str, Any]]) -> int:
    return sum(_rows(each) for node in nodes for each in _sources(node))


def _rows(node: dict[str, Any]) -> int:
    return int(node["Plan Rows"])


def _sources(node: dict[str, Any]) -> list[dict[str, Any]]:
    """What a ModifyTable changes comes from its Outer plan, or one Member for each child before PostgreSQL 14."""
    return [each for each in node.get("Plans", ()) if each.get("Parent Relationship") in {"Outer", "Member"}]


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    stack = [plan]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(node.get("Plans", ()))


def _digest(question: Question) -> bytes:
    return _hash((question.prepared, question.sql, *_encoded(question.parameters)))


def _shape(question: Question) -> bytes:
    """The statement without its constants, and the types of its parameters; empty: it has none of its own."""
    found = fingerprint(question.sql)
    types = b",".join(b"%d" % each.type_oid for each in question.parameters)
    return _hash((b"shape", question.prepared, found.encode(), types)) if found else b""


def _encoded(parameters: Sequence[Parameter]) -> Iterator[bytes]:
    for each in parameters:
        yield b"%d %d %d" % (each.type_oid, each.format, each.value is None)
        yield each.value or b""


def _hash(parts: Sequence[bytes]) -> bytes:
    hasher = blake3()
    for part in parts:
        hasher.update(len(part).to_bytes(8, "big"))
        hasher.update(part)
    return hasher.digest()
