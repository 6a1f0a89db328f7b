"""The gateway's own queries on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trio
from authority import connection, fake_target

from gateway.demo.postgres import PostgresServer
from gateway.errors import TargetFault
from gateway.pgwire.backend import AUTHENTICATION_OK, backend_key_data, ready_for_query
from gateway.pgwire.framing import message
from gateway.target.connect import connect_target
from gateway.target.query import QueryClient, QueryFailed

WELCOME = AUTHENTICATION_OK + backend_key_data(1, b"1234") + ready_for_query(b"I")


async def open_client(port: int, user: str, password: str, **how: int) -> QueryClient:
    wanted = connection("127.0.0.1", port, user)
    session = await connect_target(wanted, {}, password.encode(), trio.current_time() + 20)
    return QueryClient(session, **how)


@pytest.fixture
async def client(postgres: PostgresServer) -> AsyncIterator[QueryClient]:
    opened = await open_client(postgres.port, postgres.user, postgres.password)
    yield opened
    await opened.aclose()


async def test_several_statements_give_several_results(client: QueryClient) -> None:
    results = await client.run(
        "SELECT 1 AS one, NULL, 'ü'; CREATE TEMP TABLE t (a int); INSERT INTO t SELECT generate_series(1, 3);"
        "SELECT a FROM t ORDER BY a"
    )
    assert [result.tag for result in results] == ["SELECT 1", "CREATE TABLE", "INSERT 0 3", "SELECT 3"]
    assert results[0].rows == (("1", None, "ü"),)
    assert [column.name for column in results[0].columns] == ["one", "?column?", "?column?"]
    assert results[3].rows == (("1",), ("2",), ("3",))


async def test_nothing_asked(client: QueryClient) -> None:
    assert await client.run("") == ()


async def test_after_an_error_the_session_goes_on(client: QueryClient) -> None:
    with pytest.raises(QueryFailed, match="division by zero") as caught:
        await client.run("SELECT 1; SELECT 1/0; SELECT 2")
    assert caught.value.sqlstate == "22012"
    assert (await client.run("SELECT 3"))[0].rows == (("3",),)


async def test_notices_copies_and_notifications_do_not_confuse(client: QueryClient) -> None:
    await client.run("CREATE TEMP TABLE c (a text); LISTEN edges; NOTIFY edges, 'x'")
    await client.run("DO $$ BEGIN RAISE NOTICE 'hello'; END $$; COPY c TO STDOUT; SET TimeZone = 'Asia/Tokyo'")
    with pytest.raises(QueryFailed, match="no data here"):
        await client.run("COPY c FROM STDIN")
    assert (await client.run("SELECT count(*) FROM c"))[0].rows == (("0",),)


async def test_a_large_answer(client: QueryClient) -> None:
    (result,) = await client.run("SELECT repeat('x', 1000) FROM generate_series(1, 20000)")
    assert len(result.rows) == 20000
    assert result.rows[-1] == ("x" * 1000,)


async def test_an_answer_beyond_the_limit(postgres: PostgresServer) -> None:
    client = await open_client(postgres.port, postgres.user, postgres.password, result_limit=10_000)
    with pytest.raises(TargetFault, match="larger than 10000"):
        await client.run("SELECT repeat('x', 1000) FROM generate_series(1, 20)")
    assert not client.usable
    with pytest.raises(TargetFault, match="cut off"):
        await client.run("SELECT 1")
    await client.aclose()


async def test_a_cancelled_query_is_not_continued(postgres: PostgresServer) -> None:
    client = await open_client(postgres.port, postgres.user, postgres.password)
    with trio.move_on_after(0.05) as scope:
        await client.run("SELECT pg_sleep(60)")
    assert scope.cancelled_caught
    assert not client.usable
    await client.aclose()


async def test_a_session_that_is_ended(postgres: PostgresServer) -> None:
    client = await open_client(postgres.port, postgres.user, postgres.password)
    with pytest.raises(QueryFailed) as caught:
        await client.run("SELECT pg_terminate_backend(pg_backend_pid())")
    assert caught.value.sqlstate == "57P01"
    assert not client.usable
    await client.aclose()


def _then(answer: bytes) -> Callable[[trio.SocketStream], Awaitable[None]]:
    async def behave(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(WELCOME)
        await stream.receive_some()
        await stream.send_all(answer)

    return behave


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "closed"),
        (b"garbage that is no message", "does not speak"),
        (message(b"T", b"\0\1"), "does not speak"),
        (message(b"D", b"\0\1\0\0\0\5abc"), "does not speak"),
        (message(b"R", b"\0\0\0\0"), "unexpected message b'R'"),
    ],
)
async def test_nonsense_is_a_target_fault(answer: bytes, words: str) -> None:
    async with fake_target(_then(answer)) as port:
        client = await open_client(port, "agent", "")
        with pytest.raises(TargetFault, match=words):
            await client.run("SELECT 1")
        assert not client.usable
        await client.aclose()


async def test_what_followed_the_login_is_not_lost() -> None:
    async def eager(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(WELCOME + message(b"C", b"SELECT 0\0") + ready_for_query(b"I"))
        await stream.receive_some()

    async with fake_target(eager) as port:
        client = await open_client(port, "agent", "")
        assert [result.tag for result in await client.run("SELECT")] == ["SELECT 0"]
        await client.aclose()
