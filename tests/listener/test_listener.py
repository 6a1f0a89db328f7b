"""The listener on a real socket: the login conversation, its limits, and clients that mean ill."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import struct
from pathlib import Path

import pytest
import trio
from clients import DISK_FULL, HELLO, TOKEN, gate, trusting

from gateway.errors import ConfigurationFault
from gateway.listener.arrival import ListenerOptions
from gateway.listener.serve import Doorstep, serve_postgres
from gateway.listener.tls import server_context
from gateway.listener.tls_stream import TlsStream
from gateway.pgwire.framing import Message, message
from gateway.pgwire.frontend import GSSENC_REQUEST, cancel_request, password, ssl_request, startup

Pair = tuple[Path, Path]


async def test_a_client_comes_in(certificate: Pair) -> None:
    async with gate(certificate) as door:
        client = await door.connect()
        await client.ask_for_tls()
        await client.send(startup({**HELLO, "application_name": "é", "_pq_.new": "1"}, 3 << 16 | 2))
        assert await client.message() == Message(b"v", struct.pack("!II", 3 << 16 | 2, 1) + b"_pq_.new\0")
        assert await client.message() == Message(b"R", b"\0\0\0\3")
        await client.send(password(TOKEN.encode()) + message(b"X"))
        assert await client.message() == Message(b"R", b"\0\0\0\0")
        (arrival,) = door.arrivals
        assert isinstance(arrival.stream, TlsStream)
        assert arrival.startup_parameters == {**HELLO, "application_name": "é"}
        assert (arrival.user, arrival.database, arrival.protocol_minor) == ("agent", "orders", 2)
        assert (arrival.token, arrival.leftover) == (TOKEN, message(b"X"))
        host, _, port = arrival.client_address.partition(":")
        assert (host, int(port)) == client.stream.socket.getsockname()
        assert TOKEN not in repr(arrival)
    assert door.refusals == []


async def test_in_the_smallest_pieces(certificate: Pair) -> None:
    async with gate(certificate) as door:
        client = await door.connect()
        for byte in ssl_request():
            await client.send(bytes([byte]))
        assert await client.stream.receive_some(1) == b"S"
        await client.secure()
        for byte in startup({"user": "orders"}) + password(TOKEN.encode()):
            await client.send(bytes([byte]))
        assert await client.message() == Message(b"R", b"\0\0\0\3")
        assert await client.message() == Message(b"R", b"\0\0\0\0")
        assert door.arrivals[0].database == "orders"
        await client.stream.aclose()


async def test_direct_tls(certificate: Pair) -> None:
    async with gate(certificate) as door:
        client = await door.connect()
        await client.secure("h2", "postgresql")
        assert isinstance(client.stream, TlsStream)
        assert client.stream.alpn == "postgresql"
        await client.send(startup(HELLO))
        assert await client.message() == Message(b"R", b"\0\0\0\3")
        await client.stream.aclose()


@pytest.mark.parametrize("protocols", [(), ("h2", "http/1.1")])
async def test_direct_tls_of_other_protocols_is_refused(certificate: Pair, protocols: tuple[str, ...]) -> None:
    async with gate(certificate) as door:
        client = await door.connect()
        await client.secure(*protocols)
        with contextlib.suppress(trio.BrokenResourceError):
            await client.send(b"GET / HTTP/1.1\r\n\r\n")
        assert await client.stream.receive_some() == b""
        assert [refusal.reason for refusal in door.refusals] == ["direct TLS without the ALPN protocol postgresql"]


async def test_gssapi_is_declined_and_tls_may_follow(certificate: Pair) -> None:
    async with gate(certificate) as door:
        client = await door.connect()
        await client.send(struct.pack("!II", 8, GSSENC_REQUEST))
        assert await client.stream.receive_some() == b"N"
        await client.log_in()
        assert await client.message() == Message(b"R", b"\0\0\0\0")
        await client.stream.aclose()


async def test_plain_text_is_refused_before_a_password_is_asked_for(certificate: Pair) -> None:
    async with gate(certificate) as door:
        client = await door.connect()
        await client.send(startup(HELLO))
        severity, sqlstate, words = await client.error()
        assert (severity, sqlstate) == ("FATAL", "28000")
        assert "TLS" in words
        (refusal,) = door.refusals
        assert (refusal.reason, refusal.user, refusal.database) == ("no TLS", "agent", "orders")


@pytest.mark.parametrize(
    "early",
    [startup(HELLO), password(b"x"), b"\x16\x03\x01\x02\x00", b"\0"],
    ids=["startup", "password", "hello", "nul"],
)
async def test_what_was_sent_before_tls_is_not_taken_for_inside(certificate: Pair, early: bytes) -> None:
    async with gate(certificate) as door:
        client = await door.connect()
        await client.send(ssl_request() + early)
        assert (await client.error())[:2] == ("FATAL", "08P01")
        assert door.refusals[0].reason == "received unencrypted data after a request for encryption"


@pytest.mark.parametrize(
    ("data", "sqlstate"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "08P01"),
        (struct.pack("!I", 10_001) + bytes(9997), "08P01"),
        (startup(HELLO, 2 << 16), "0A000"),
        (bytes(4), "08P01"),
    ],
)
@pytest.mark.parametrize("inside", [False, True])
async def test_what_is_no_greeting(certificate: Pair, data: bytes, sqlstate: str, inside: bool) -> None:
    async with gate(certificate) as door:
        client = await door.connect()
        if inside:
            await client.ask_for_tls()
        await client.send(data)
        assert (await client.error())[:2] == ("FATAL", sqlstate)
        assert len(door.refusals) == 1


@pytest.mark.parametrize(
    ("answer", "sqlstate"),
    [
        (password(b""), "28P01"),
        (password(b"t" * 65), "28P01"),
        (message(b"p", bytes(1 << 19))[:40], "28P01"),
        (password("tökän".encode()), "28P01"),
        (message(b"p", b"unterminated"), "08P01"),
        (message(b"p", b"two\0strings\0"), "08P01"),
        (message(b"Q", b"SELECT 1\0"), "08P01"),
        (b"p\0\0\0\3", "08P01"),
    ],
)
async def test_what_is_no_token(certificate: Pair, answer: bytes, sqlstate: str) -> None:
    async with gate(certificate, token_bytes=64) as door:
        client = await door.connect()
        await client.ask_for_tls()
        await client.send(startup(HELLO))
        await client.message()
        await client.send(answer)
        severity, found, words = await client.error()
        assert (severity, found) == ("FATAL", sqlstate)
        assert "tttt" not in words + door.refusals[0].reason
        assert (door.arrivals, door.refusals[0].user) == ([], "agent")


async def test_a_token_of_the_largest_size(certificate: Pair) -> None:
    async with gate(certificate, token_bytes=64) as door:
        client = await door.connect()
        await client.log_in("t" * 64)
        assert await client.message() == Message(b"R", b"\0\0\0\0")
        assert door.arrivals[0].token == "t" * 64
        await client.stream.aclose()


async def test_a_user_must_be_named(certificate: Pair) -> None:
    async with gate(certificate) as door:
        client = await door.connect()
        await client.ask_for_tls()
        await client.send(startup({"database": "orders"}))
        assert (await client.error())[:2] == ("FATAL", "28000")
        assert len(door.refusals) == 1


@pytest.mark.parametrize("key", [b"1234", b"k" * 32, b"k" * 256])
@pytest.mark.parametrize("way", ["plain", "asked", "direct"])
async def test_a_cancel_is_taken_with_and_without_tls(certificate: Pair, way: str, key: bytes) -> None:
    async with gate(certificate) as door:
        client = await door.connect()
        if way == "asked":
            await client.ask_for_tls()
        elif way == "direct":
            await client.secure("postgresql")
        await client.send(cancel_request(-5, key))
        assert await client.stream.receive_some() == b""
        assert (door.cancels, door.refusals) == ([(-5, key)], [])


def _session_of_openssl(port: int, data: bytes) -> bytes:
    """Read to the end with a client that takes an end of file without close_notify for an attack."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as plain:
        plain.sendall(ssl_request())
        assert plain.recv(1) == b"S"
        with trusting().wrap_socket(plain, suppress_ragged_eofs=False) as inside:
            inside.sendall(data)
            found = b""
            while piece := inside.recv(4096):
                found += piece
            return found


@pytest.mark.parametrize(
    "data", [cancel_request(1, b"1234"), startup({}), startup(HELLO) + password(TOKEN.encode()) + message(b"X")]
)
async def test_tls_always_ends_with_close_notify(certificate: Pair, data: bytes) -> None:
    """After a cancel, a refusal, and a session."""
    async with gate(certificate) as door:
        await trio.to_thread.run_sync(_session_of_openssl, door.port, data)


async def test_silent_slow_and_hostile_clients_delay_nobody(certificate: Pair) -> None:
    async with gate(certificate) as door:
        for _ in range(20):
            await door.connect()
        halfway = [await door.connect() for _ in range(20)]
        for client in halfway:
            await client.send(ssl_request()[:5])
        in_handshake = [await door.connect() for _ in range(20)]
        for client in in_handshake:
            await client.send(ssl_request())
        deaf = [await door.connect() for _ in range(20)]
        for client in deaf:
            await client.ask_for_tls()
        with trio.fail_after(5):
            await door.session()


@pytest.mark.parametrize("stage", ["nothing", "half a request", "in the handshake", "no startup", "no token"])
async def test_login_takes_only_so_long(certificate: Pair, stage: str) -> None:
    async with gate(certificate, login_seconds=0.2) as door:
        client = await door.connect()
        if stage == "half a request":
            await client.send(ssl_request()[:5])
        elif stage == "in the handshake":
            await client.send(ssl_request())
            assert await client.stream.receive_some(1) == b"S"
        elif stage in ("no startup", "no token"):
            await client.ask_for_tls()
        if stage == "no token":
            await client.send(startup(HELLO))
            await client.message()
        if stage == "in the handshake":
            assert await client.stream.receive_some() == b""  # in the middle of TLS there is nothing one could say
        else:
            assert (await client.error())[:2] == ("FATAL", "57014")
        assert [refusal.reason for refusal in door.refusals] == ["login timeout"]


async def test_drops_of_bytes_do_not_prolong_the_login(certificate: Pair) -> None:
    async with gate(certificate, login_seconds=0.3) as door:
        client = await door.connect()
        began = trio.current_time()
        with pytest.raises(trio.BrokenResourceError):  # noqa: PT012  the drops are the test
            for byte in startup({"user": "a" * 5000}):
                await client.send(bytes([byte]))
                await trio.sleep(0.01)
        assert trio.current_time() - began < 3
        assert door.arrivals == []


async def test_sessions_are_limited(certificate: Pair) -> None:
    async with gate(certificate, connections=2) as door:
        sessions = [await door.session(), await door.session()]
        late = await door.connect()
        await late.log_in()
        assert (await late.error())[:2] == ("FATAL", "53300")
        assert door.refusals[0].reason == "connection limit"
        canceller = await door.connect()
        await canceller.send(cancel_request(1, b"1234"))
        assert await canceller.stream.receive_some() == b""
        assert door.cancels  # also when the house is full
        await sessions.pop().stream.aclose()
        with trio.fail_after(10):
            while True:  # the place is free as soon as the listener notices
                again = await door.connect()
                await again.log_in()
                if (found := await again.message()) is not None and found.kind == b"R":
                    break


async def test_who_waits_at_the_door_takes_no_session(certificate: Pair) -> None:
    """Silent clients, more than there may be sessions: the oldest of them makes room for who comes."""
    async with gate(certificate, connections=5) as door:
        silent = [await door.connect() for _ in range(20)]
        await door.session()
        assert await silent[0].stream.receive_some() == b""


async def test_the_address_that_crowds_the_door_makes_room() -> None:
    doorstep = Doorstep(4)
    crowd = [trio.CancelScope() for _ in range(3)]
    guest, late = trio.CancelScope(), trio.CancelScope()
    doorstep.enter("10.0.0.9", guest)
    for scope in crowd:
        doorstep.enter("10.0.0.1", scope)
    doorstep.enter("10.0.0.7", late)
    assert [scope.cancel_called for scope in (*crowd, guest, late)] == [True, False, False, False, False]
    doorstep.leave("10.0.0.1", crowd[0])  # it notices that its place is gone
    assert len(doorstep) == 4
    for host, scope in (("10.0.0.1", crowd[1]), ("10.0.0.1", crowd[2]), ("10.0.0.9", guest), ("10.0.0.7", late)):
        doorstep.leave(host, scope)
    assert len(doorstep) == 0
    doorstep.make_room()


async def test_a_client_that_leaves_is_no_refusal(certificate: Pair) -> None:
    """psql hangs up at the password request, asks its user, and comes again; health checks only connect."""
    async with gate(certificate) as door:
        for stage in range(4):
            client = await door.connect()
            if stage > 0:
                await client.ask_for_tls()
            if stage > 1:
                await client.send(startup(HELLO))
                await client.message()
            if stage > 2:
                await client.send(message(b"X"))
                assert await client.stream.receive_some() == b""
            await client.stream.aclose()
        await (await door.session()).stream.aclose()
        assert door.refusals == []


async def test_a_reset_connection_hurts_nobody(certificate: Pair) -> None:
    async with gate(certificate) as door:
        for _ in range(10):
            client = await door.connect()
            client.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await client.stream.aclose()
        await (await door.session()).stream.aclose()


async def test_a_refusal_that_cannot_be_recorded(certificate: Pair) -> None:
    async with gate(certificate) as door:
        door.refuse_with = DISK_FULL
        client = await door.connect()
        await client.send(startup(HELLO))
        assert (await client.error())[:2] == ("FATAL", "58030")


@pytest.mark.parametrize("error", [ValueError(f"odd {TOKEN}"), ExceptionGroup("g", [KeyError(TOKEN), DISK_FULL])])
async def test_an_exception_ends_one_session_alone(
    certificate: Pair, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async with gate(certificate) as door:
        good = await door.session()
        door.raise_in_session = error
        with caplog.at_level(logging.DEBUG):
            client = await door.connect()
            await client.log_in()
            assert await client.message() is None
        door.raise_in_session = None
        await (await door.session()).stream.aclose()
        await good.stream.aclose()
    assert "ended" in caplog.text
    assert TOKEN not in caplog.text


async def test_old_tls_is_refused(certificate: Pair) -> None:
    async with gate(certificate) as door:
        client = await door.connect()
        await client.send(ssl_request())
        await client.stream.receive_some(1)
        hello = (
            bytes.fromhex("160301002f0100002b0301") + bytes(32) + bytes.fromhex("00000400350 02f0100".replace(" ", ""))
        )
        await client.send(hello)
        answer = await client.stream.receive_some()
        assert answer == bytes.fromhex("15 0301 0002 02 46")  # alert: fatal, protocol_version
        assert await client.stream.receive_some() == b""
        assert door.refusals[0].reason == "TLS handshake failed: unsupported protocol"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_new_tls_is_spoken(certificate: Pair, version: ssl.TLSVersion) -> None:
    async with gate(certificate) as door:
        client = await door.connect()
        context = trusting("postgresql")
        context.minimum_version = context.maximum_version = version
        inside = TlsStream(client.stream, context, server_hostname="localhost")  # type: ignore[arg-type]
        await inside.do_handshake()
        assert inside.version == version.name.replace("_", ".")
        await inside.aclose()


async def test_a_port_in_use_is_said_in_one_line(certificate: Pair) -> None:
    async with gate(certificate) as door:
        options = ListenerOptions("127.0.0.1", door.port, server_context(*certificate))
        with pytest.raises(
            ConfigurationFault, match=rf"postgres\.listen: .*127\.0\.0\.1:{door.port}: the port is in use"
        ):
            await serve_postgres(options, door.handle, door.cancel, door.refused)


async def test_sessions_outlive_the_port(certificate: Pair) -> None:
    """Draining: the port is closed first, sessions end in their own time."""
    async with gate(certificate) as other, trio.open_nursery() as sessions:
        options = ListenerOptions("127.0.0.1", 0, server_context(*certificate))
        async with trio.open_nursery() as accepting:

            async def serve(task_status: trio.TaskStatus[list[tuple[str, int]]]) -> None:
                await serve_postgres(
                    options, other.handle, other.cancel, other.refused, sessions=sessions, task_status=task_status
                )

            ((_, other.port),) = await accepting.start(serve)
            client = await other.session()
            accepting.cancel_scope.cancel()
        with pytest.raises(OSError, match="connect"):
            await other.connect()
        await client.send(message(b"X"))
        assert await client.message() is None
