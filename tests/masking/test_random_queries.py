"""Random queries on a real PostgreSQL: over marked columns nothing leaks, over others nothing changes.

Each query runs in two databases that differ in marked values only. What an agent would see must be the same in both:
not only is no value left, nothing at all depends on one. `just fuzz 20000 tests/masking` for longer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest
import trio
from hypothesis import given
from random_sql import MARKED, UNMARKED, queries

from gateway.demo.postgres import PostgresServer
from gateway.masking.marks import bind
from gateway.masking.plan import plan
from gateway.model import Connection, TargetAddress, VerdictKind
from gateway.pgwire.backend import ColumnDescription
from gateway.policy.catalog import Catalog
from gateway.policy.decide import Context, decide
from gateway.policy.facts import SessionState, facts
from gateway.policy.rules import compile_rules
from gateway.target.catalog import CatalogReader
from requires import requires
from score.canaries import leaked, pieces
from score.corpus import FUNCTIONS, read_schema

SCHEMA = read_schema()
NEEDLES = pieces(SCHEMA.canaries)
Rows = list[tuple[bytes | None, ...]]


@dataclass
class Twin:
    """One of two databases, its catalog, and a session."""

    connection: Connection
    catalog: Catalog
    session: psycopg.Connection

    def seen(self, sql: str, *, binary: bool) -> tuple[VerdictKind, Rows, Rows] | None:
        """Return the verdict, what an agent would see and what the server said; None where the query fails."""
        found = facts(sql.encode(), SessionState(), self.catalog)
        verdict = decide(found, compile_rules(self.connection), Context("agent"))
        if verdict.rule == "standard/syntax-error":
            return None
        assert verdict.kind in {VerdictKind.ALLOW, VerdictKind.MASK}, (verdict, sql)
        try:
            result = self.session.execute(sql.encode(), binary=binary).pgresult
        except psycopg.Error:
            return None
        finally:
            self.session.rollback()
        assert result is not None
        row = tuple(
            ColumnDescription((result.fname(n) or b"").decode(), result.ftable(n), result.ftablecol(n), result.ftype(n),
                              result.fsize(n), result.fmod(n), result.fformat(n))
            for n in range(result.nfields)
        )  # fmt: skip
        masks = plan(found, 0, row).columns
        raw = [tuple(result.get_value(line, n) for n in range(result.nfields)) for line in range(result.ntuples)]
        return verdict.kind, [tuple(v if m is None else m.replacement for v, m in zip(r, masks, strict=True))
                              for r in raw], raw  # fmt: skip


@pytest.fixture(scope="module")
def twins(postgres: PostgresServer) -> Iterator[tuple[Twin, Twin]]:
    requires("postgres")
    made = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWINS_PASSWORD", postgres.password)
        for name, sql in (("twin_a", SCHEMA.sql), ("twin_b", SCHEMA.other)):
            postgres.create_database(name)
            postgres.execute(sql, name)
            address = TargetAddress(postgres.host, postgres.port, name, "disable")
            connection = Connection(name, address, postgres.user, "env:TWINS_PASSWORD", ("any",), marks=SCHEMA.marks,
                                    functions=FUNCTIONS)  # fmt: skip
            session = psycopg.connect(postgres.dsn(name), options="-c statement_timeout=3s -c search_path=public")
            made.append(Twin(connection, trio.run(_catalog, connection), session))
    yield made[0], made[1]
    for twin in made:
        twin.session.close()
        postgres.drop_database(twin.connection.name)


async def _catalog(connection: Connection) -> Catalog:
    reader = CatalogReader(connection)
    try:
        return bind(await reader.load(), connection).catalog
    finally:
        await reader.aclose()


@pytest.mark.fuzz
@given(queries({**MARKED, **UNMARKED}))
def test_what_is_seen_does_not_depend_on_marked_values(twins: tuple[Twin, Twin], sql: str) -> None:
    binary = len(sql) % 2 == 0
    one, other = (twin.seen(sql, binary=binary) for twin in twins)
    if one is None or other is None:
        return
    seen = b"\n".join(value or b"" for row in one[1] for value in row)
    assert not leaked(seen, NEEDLES, sql), sql
    assert Counter(one[1]) == Counter(other[1]), sql


@pytest.mark.fuzz
@given(queries(UNMARKED))
def test_a_query_over_unmarked_columns_never_changes(twins: tuple[Twin, Twin], sql: str) -> None:
    found = twins[0].seen(sql, binary=len(sql) % 2 == 0)
    if found is None:
        return
    verdict, seen, raw = found
    assert verdict is VerdictKind.ALLOW, sql
    assert seen == raw, sql


def test_most_random_queries_run(twins: tuple[Twin, Twin]) -> None:
    """The grammar makes queries that PostgreSQL accepts, and that touch marks: else the properties would say little."""
    ran, masked, total = 0, 0, 0

    @given(queries({**MARKED, **UNMARKED}))
    def count(sql: str) -> None:
        nonlocal ran, masked, total
        found = twins[0].seen(sql, binary=False)
        total += 1
        ran += found is not None
        masked += found is not None and found[0] is VerdictKind.MASK

    count()
    assert ran > total * 0.6
    assert masked > total * 0.3
