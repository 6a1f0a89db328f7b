"""Real clients find their way in: psql, psycopg, asyncpg and pg8000, each verifying our own certificate."""

from __future__ import annotations

import os
import ssl
import subprocess
from pathlib import Path

import asyncpg
import pg8000.native
import psycopg
import pytest
import trio
from clients import TOKEN, gate

from requires import requires

Pair = tuple[Path, Path]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_psql(certificate: Pair, host: str) -> None:
    psql = requires("psql")
    async with gate(certificate) as door:
        dsn = f"host={host} port={door.port} user=agent dbname=orders sslmode=verify-full sslrootcert={certificate[0]}"
        environment = {"PATH": os.defpath, "PGPASSWORD": TOKEN, "PGCONNECT_TIMEOUT": "10"}

        def run() -> subprocess.CompletedProcess[str]:
            command = [psql, "-Xw", dsn, "-c", "anything"]
            return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)

        done = await trio.to_thread.run_sync(run)
        assert (done.returncode, done.stderr) == (0, "")
        assert [(arrival.database, arrival.token) for arrival in door.arrivals] == [("orders", TOKEN)]


async def test_psql_without_tls_and_with_nobody_to_ask(certificate: Pair) -> None:
    psql = requires("psql")
    async with gate(certificate) as door:
        environment = {"PATH": os.defpath, "PGCONNECT_TIMEOUT": "10"}

        def run(sslmode: str) -> str:
            command = [psql, "-Xw", f"host=127.0.0.1 port={door.port} user=agent sslmode={sslmode}", "-c", "x"]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
            assert done.returncode == 2
            return done.stderr

        assert "hoop: TLS is required" in await trio.to_thread.run_sync(run, "disable")
        assert "no password supplied" in await trio.to_thread.run_sync(run, "require")
        assert [refusal.reason for refusal in door.refusals] == ["no TLS"]


@pytest.mark.parametrize("extra", ["", " sslnegotiation=direct", " gssencmode=disable", " channel_binding=disable"])
async def test_psycopg(certificate: Pair, extra: str) -> None:
    if "sslnegotiation" in extra and psycopg.pq.version() < 170000:
        pytest.skip("libpq before 17 knows no direct TLS")
    async with gate(certificate) as door:
        dsn = (
            f"host=localhost port={door.port} user=agent dbname=orders sslmode=verify-full sslrootcert={certificate[0]}"
        )

        def run() -> int:
            with psycopg.connect(dsn + extra, password=TOKEN, autocommit=True) as connection:
                return connection.info.server_version

        assert await trio.to_thread.run_sync(run) == 180000
        assert door.arrivals[0].token == TOKEN


@pytest.mark.parametrize("version", ["3.0", "3.2", "latest"])
async def test_psycopg_asks_for_versions(certificate: Pair, version: str) -> None:
    if psycopg.pq.version() < 180000:
        pytest.skip("libpq before 18 speaks protocol 3.0 only")
    async with gate(certificate) as door:
        dsn = f"host=localhost port={door.port} user=agent dbname=orders sslmode=require max_protocol_version={version}"

        def run() -> None:
            psycopg.connect(dsn, password=TOKEN).close()

        await trio.to_thread.run_sync(run)
        assert door.arrivals[0].protocol_minor == (0 if version == "3.0" else 2)


@pytest.mark.parametrize("direct", [False, True])
async def test_asyncpg(certificate: Pair, direct: bool) -> None:
    import asyncio

    context = ssl.create_default_context(cafile=str(certificate[0]))
    async with gate(certificate) as door:

        async def connect() -> None:
            connection = await asyncpg.connect(
                host="localhost", port=door.port, user="agent", password=TOKEN, database="orders", ssl=context,
                direct_tls=direct,
            )  # fmt: skip
            connection.terminate()

        if direct:
            context.set_alpn_protocols(["postgresql"])
        await trio.to_thread.run_sync(lambda: asyncio.run(connect()))
        assert door.arrivals[0].database == "orders"


async def test_pg8000(certificate: Pair) -> None:
    context = ssl.create_default_context(cafile=str(certificate[0]))
    async with gate(certificate) as door:

        def run() -> None:
            pg8000.native.Connection(
                "agent", host="localhost", port=door.port, database="orders", password=TOKEN, ssl_context=context
            ).close()

        await trio.to_thread.run_sync(run)
        assert door.arrivals[0].user == "agent"
