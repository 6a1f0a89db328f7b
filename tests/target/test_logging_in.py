"""Logging in to a real PostgreSQL, by every method and sslmode."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest
import trio
from authority import PASSWORD, connection, fake_target, private_pem, self_signed
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from gateway.demo.postgres import PostgresServer
from gateway.errors import OurBug, TargetFault
from gateway.listener.stream import PlainStream
from gateway.listener.tls_stream import TlsStream
from gateway.pgwire import frontend
from gateway.target.connect import TargetSession, cancel_target, connect_target
from gateway.target.credentials import Secret
from gateway.target.query import QueryClient, QueryFailed

SECRET = Secret(PASSWORD.encode())


def soon(seconds: float = 20) -> float:
    return trio.current_time() + seconds


async def log_in(
    server: PostgresServer, user: str, sslmode: str = "disable", secret: Secret | None = SECRET, host: str = "127.0.0.1"
) -> TargetSession:
    root = server.tls_root if sslmode.startswith("verify") else None
    wanted = connection(host, server.port, user, sslmode=sslmode, root=root)
    return await connect_target(wanted, {"application_name": "hoop"}, secret, soon())


async def ask(session: TargetSession, sql: str) -> str | None:
    client = QueryClient(session)
    try:
        return (await client.run(sql))[-1].rows[0][0]
    finally:
        await client.aclose()


@pytest.mark.parametrize("user", ["trusting", "clear", "digest", "scram"])
@pytest.mark.parametrize("sslmode", ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"])
async def test_every_method_in_every_mode(methods: PostgresServer, user: str, sslmode: str) -> None:
    session = await log_in(methods, user, sslmode)
    encrypted = sslmode not in ("disable", "allow")
    assert isinstance(session.stream, TlsStream if encrypted else PlainStream)
    assert session.role == user
    assert session.parameters["application_name"] == "hoop"
    assert session.parameters["session_authorization"] == user
    used = await ask(session, "SELECT pg_backend_pid() || ' ' || ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    assert used == f"{session.pid} {str(encrypted).lower()}"


@pytest.mark.parametrize("user", ["clear", "digest", "scram"])
@pytest.mark.parametrize("sslmode", ["disable", "verify-full"])
async def test_a_wrong_password(methods: PostgresServer, user: str, sslmode: str) -> None:
    with pytest.raises(TargetFault, match=f'password authentication failed for user "{user}".*28P01') as caught:
        await log_in(methods, user, sslmode, Secret(b"not this one"))
    assert "not this one" not in str(caught.value)


async def test_no_password_at_hand(methods: PostgresServer) -> None:
    with pytest.raises(TargetFault, match="none configured"):
        await log_in(methods, "scram", secret=None)
    session = await log_in(methods, "trusting", secret=None)
    await session.stream.aclose()


@pytest.mark.parametrize(
    ("user", "sslmode", "encrypted"),
    [
        ("tls_only", "allow", True),
        ("tls_only", "prefer", True),
        ("plain_only", "prefer", False),
        ("plain_only", "allow", False),
        ("plain_only", "require", None),
        ("tls_only", "disable", None),
    ],
)
async def test_allow_and_prefer_try_the_other_way(
    methods: PostgresServer, user: str, sslmode: str, encrypted: bool | None
) -> None:
    if encrypted is None:
        with pytest.raises(TargetFault, match="28000"):
            await log_in(methods, user, sslmode)
        return
    session = await log_in(methods, user, sslmode)
    assert isinstance(session.stream, TlsStream) is encrypted
    await session.stream.aclose()


async def test_by_name_and_by_socket(methods: PostgresServer) -> None:
    session = await log_in(methods, "scram", "verify-full", host="localhost")
    assert await ask(session, "SELECT 1") == "1"
    folder = methods.execute("SHOW unix_socket_directories")
    session = await log_in(methods, "scram", "verify-full", host=folder)  # as in libpq, sslmode is for TCP
    assert isinstance(session.stream, PlainStream)
    assert await ask(session, "SELECT inet_client_addr() IS NULL") == "t"


async def test_exactly_the_given_parameters_are_sent(methods: PostgresServer) -> None:
    wanted = connection("127.0.0.1", methods.port, "scram")
    pins = {"search_path": "public", "default_transaction_read_only": "on", "DateStyle": "German"}
    session = await connect_target(wanted, pins, SECRET, soon())
    assert session.parameters["DateStyle"] == "German, DMY"
    assert session.parameters["application_name"] == ""
    shown = "SELECT current_setting('search_path') || ' ' || current_setting('default_transaction_read_only')"
    assert await ask(session, shown) == "public on"
    with pytest.raises(OurBug):
        await connect_target(wanted, {"user": "postgres"}, SECRET, soon())


async def test_the_targets_words_reach_the_operator(methods: PostgresServer) -> None:
    with pytest.raises(TargetFault, match=r"target 127\.0\.0\.1:\d+/postgres: .*invalid value.*22023"):
        await connect_target(connection("127.0.0.1", methods.port, "scram"), {"TimeZone": "Nowhere"}, SECRET, soon())


@pytest.mark.parametrize("where", ["plain", "tls", "socket"])
async def test_a_cancel_reaches_the_session(methods: PostgresServer, where: str) -> None:
    host = methods.execute("SHOW unix_socket_directories") if where == "socket" else "localhost"
    session = await log_in(methods, "scram", "verify-full" if where == "tls" else "disable", host=host)
    client = QueryClient(session)
    async with trio.open_nursery() as nursery:

        async def cancel_until_it_counts() -> None:
            # A cancel that comes before the query runs is lost (PostgreSQL says so), hence the wait for pg_sleep.
            running = f"SELECT count(*) FROM pg_stat_activity WHERE pid = {session.pid} AND wait_event = 'PgSleep'"
            while await trio.to_thread.run_sync(methods.execute, running) == "0":
                pass
            await cancel_target(session.cancel_route, soon())

        nursery.start_soon(cancel_until_it_counts)
        with pytest.raises(QueryFailed) as caught:
            await client.run("SELECT pg_sleep(60)")
    assert caught.value.sqlstate == "57014"
    assert (await client.run("SELECT 'still here'"))[0].rows == (("still here",),)
    await client.aclose()


KEYS = {
    "rsa-sha384": (lambda: rsa.generate_private_key(65537, 2048), hashes.SHA384(), {}),
    "ec-sha512": (lambda: ec.generate_private_key(ec.SECP384R1()), hashes.SHA512(), {}),
    "pss-sha256": (
        lambda: rsa.generate_private_key(65537, 2048),
        hashes.SHA256(),
        {"rsa_padding": padding.PSS(padding.MGF1(hashes.SHA256()), 32)},
    ),
    "ed25519": (ed25519.Ed25519PrivateKey.generate, None, {}),
}


@pytest.mark.parametrize("kind", KEYS)
async def test_the_channel_is_bound_with_any_kind_of_certificate(
    methods: PostgresServer, tmp_path: Path, kind: str
) -> None:
    """A server that was sent "y" although it offers binding, or the wrong hash, refuses; Ed25519 has none to bind."""
    make, algorithm, how = KEYS[kind]
    key = make()
    folder = methods.tls_root.parent
    before = {name: (folder / name).read_bytes() for name in ("cert.pem", "key.pem")}
    try:
        pem = self_signed(key, algorithm, **how)
        await install(methods, pem, private_pem(key))
        session = await log_in(methods, "tls_only", "verify-full")
        assert isinstance(session.stream, TlsStream)
        assert ssl.DER_cert_to_PEM_cert(session.stream.peer_certificate or b"").encode() == pem
        await session.stream.aclose()
    finally:
        await install(methods, before["cert.pem"], before["key.pem"])


async def install(server: PostgresServer, certificate: bytes, key: bytes) -> None:
    """Give the server another certificate and wait until it shows it."""
    folder = server.tls_root.parent
    (folder / "cert.pem").write_bytes(certificate)
    (folder / "key.pem").write_bytes(key)
    # psql could not: libpq finds no digest for Ed25519, and gives up
    superuser = await log_in(server, "postgres", secret=Secret(server.password.encode()))
    assert await ask(superuser, "SELECT pg_reload_conf()") == "t"
    shown = b""
    with trio.fail_after(20):
        while shown != certificate:
            session = await log_in(server, "trusting", "require")
            assert isinstance(session.stream, TlsStream)
            shown = ssl.DER_cert_to_PEM_cert(session.stream.peer_certificate or b"").encode()
            await session.stream.aclose()


async def test_a_man_in_the_middle_is_found_by_channel_binding(methods: PostgresServer) -> None:
    """sslmode=require verifies no certificate, yet one who ends TLS in between and relays everything gets nowhere."""
    fresh = ec.generate_private_key(ec.SECP256R1())
    folder = Path(f"/tmp/hoop-edges-mitm-{os.getpid()}")
    folder.mkdir()
    (folder / "cert.pem").write_bytes(self_signed(fresh, hashes.SHA256()))
    (folder / "key.pem").write_bytes(private_pem(fresh))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    relayed: list[bytes] = []

    async def relay(client: trio.SocketStream) -> None:
        await client.receive_some(8)
        await client.send_all(b"S")
        inner = trio.SSLStream(client, context, server_side=True, https_compatible=True)
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        upstream = await trio.open_tcp_stream("127.0.0.1", methods.port)
        await upstream.send_all(frontend.ssl_request())
        await upstream.receive_some(1)
        outer = trio.SSLStream(upstream, trusting, server_hostname="x", https_compatible=True)

        async def copy(source: trio.SSLStream, sink: trio.SSLStream) -> None:
            while data := await source.receive_some():
                relayed.append(bytes(data))
                await sink.send_all(data)
            nursery.cancel_scope.cancel()

        async with outer, trio.open_nursery() as nursery:
            nursery.start_soon(copy, inner, outer)
            nursery.start_soon(copy, outer, inner)

    try:
        async with fake_target(relay) as port:
            with pytest.raises(TargetFault, match="channel binding"):
                await connect_target(connection("127.0.0.1", port, "scram", sslmode="require"), {}, SECRET, soon())
    finally:
        for name in ("cert.pem", "key.pem"):
            (folder / name).unlink()
        folder.rmdir()
    assert any(b"SCRAM-SHA-256-PLUS" in data for data in relayed)


@pytest.mark.parametrize("password", ["I\u00adX", "\u2168", "a\u00a0b", "\u0627\u0031", "\u0221x", "\u00aa\u0300", "ﬁ"])
async def test_passwords_that_need_preparing(methods: PostgresServer, password: str) -> None:
    methods.execute(f"DROP ROLE IF EXISTS odd; CREATE ROLE odd LOGIN PASSWORD '{password}'")
    session = await log_in(methods, "odd", secret=Secret(password.encode()))
    await session.stream.aclose()
