"""How long a decision takes, cold and warm, and a catalog of 10,000 columns, in this process. Prints nothing."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import trio

from gateway.masking.marks import bind
from gateway.model import Connection, Micros, Principal, Statement, WireProtocol
from gateway.pgwire.actions import Analyse, Token
from gateway.pgwire.judgement import Names
from gateway.policy.catalog import Catalog
from gateway.policy.decide import Context, decide
from gateway.policy.facts import SessionState, facts
from gateway.policy.rules import compile_rules
from gateway.target.catalog import CatalogReader
from gateway.worker.judging import Judge
from score.world import World

_TABLES, _WIDTH = 500, 20
_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Speed:
    """Microseconds of a decision, milliseconds of a catalog."""

    cold_p50: float
    cold_p95: float
    warm: float
    catalog: float


class _Clock:
    """The machine's clocks."""

    def now(self) -> Micros:
        """Return the wall clock."""
        return Micros(time.time_ns() // 1000)

    def monotonic(self) -> int:
        """Return microseconds since boot."""
        return time.monotonic_ns() // 1000


def load(connection: Connection) -> Catalog:
    """Read a connection's catalog and bind its marks."""

    async def read() -> Catalog:
        reader = CatalogReader(connection)
        try:
            return bind(await reader.load(), connection).catalog
        finally:
            await reader.aclose()

    return trio.run(read)


def measure(world: World, statements: Sequence[str]) -> Speed:
    """Measure with the corpora's own statements: each decision anew, then each from the cache."""
    connection = world.connection()
    catalog, rules = load(connection), compile_rules(connection)
    texts = [sql.encode() for sql in statements]
    cold = [
        min(_microseconds(lambda text=text: decide(facts(text, SessionState(), catalog), rules, Context("agent")))  # type: ignore[misc]
            for _ in range(_ROUNDS))
        for text in texts
    ]  # fmt: skip
    return Speed(
        statistics.median(cold), statistics.quantiles(cold, n=20)[-1], _warm(connection, catalog, texts),
        _catalog(world, connection),
    )  # fmt: skip


def _microseconds(work: Callable[[], object]) -> float:
    began = time.perf_counter_ns()
    work()
    return (time.perf_counter_ns() - began) / 1000


def _warm(connection: Connection, catalog: Catalog, texts: Sequence[bytes]) -> float:
    async def again() -> Catalog:
        return catalog

    judge = Judge(compile_rules(connection), again, _Clock())
    trio.run(judge.refresh)
    principal = Principal("score", "score", "score", Micros(1 << 60))
    names = Names({}, {}, "I")
    actions = [Analyse(Token(0), Statement(text, WireProtocol.SIMPLE), names) for text in texts]
    known = [action for action in actions if judge.judge(action, principal) is not None]
    times = [
        min(_microseconds(lambda action=action: judge.judge(action, principal)) for _ in range(_ROUNDS))  # type: ignore[misc]
        for action in known
    ]
    return statistics.median(times)


def _catalog(world: World, connection: Connection) -> float:
    """Milliseconds to read and bind a catalog of 10,000 columns beside PostgreSQL's own."""
    name = f"wide_{os.getpid()}"
    columns = ", ".join(f"c{place} text" for place in range(_WIDTH))
    world.server.create_database(name)
    try:
        world.server.execute(";".join(f"CREATE TABLE t{place} ({columns})" for place in range(_TABLES)), name)
        target = replace(connection.target, database=name)
        marks = tuple(replace(mark, schema="public", relation="t7", column="c3") for mark in connection.marks[:1])
        wide = replace(connection, target=target, marks=marks)
        return min(_microseconds(lambda: load(wide)) for _ in range(_ROUNDS)) / 1000
    finally:
        world.server.drop_database(name)
