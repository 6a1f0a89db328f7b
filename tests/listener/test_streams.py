"""Streams over a socket pair: all bytes arrive, in both directions at once; ends are ends; nothing grows."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from clients import trusting
from trio.testing import wait_all_tasks_blocked

from gateway.listener.stream import PlainStream, keep_alive
from gateway.listener.tls import server_context
from gateway.listener.tls_stream import TlsStream

Streams = tuple[PlainStream | TlsStream, PlainStream | TlsStream]


@pytest.fixture(params=["plain", "tls"])
async def pair(request: pytest.FixtureRequest, certificate: tuple[Path, Path]) -> AsyncIterator[Streams]:
    one, two = socket.socketpair()
    near, far = PlainStream(one), PlainStream(two)
    if request.param == "plain":
        yield near, far
    else:
        yield await secured(near, far, certificate)
    near.close_now()
    far.close_now()


async def secured(near: PlainStream, far: PlainStream, certificate: tuple[Path, Path]) -> tuple[TlsStream, TlsStream]:
    inside = TlsStream(near, server_context(*certificate), server_side=True)
    outside = TlsStream(far, trusting(), server_hostname="localhost")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(inside.do_handshake)
        nursery.start_soon(outside.do_handshake)
    return inside, outside


async def read_all(stream: PlainStream | TlsStream, count: int, piece: int | None = None) -> bytes:
    found = b""
    while len(found) < count:
        data = await stream.receive_some(piece)
        assert data, "the end came too early"
        found += data
    return found


@pytest.mark.parametrize("size", [0, 1, 16384, 65536, 262144, 262145, 3_000_001])
async def test_all_bytes_arrive_both_ways_at_once(pair: Streams, size: int) -> None:
    near, far = pair
    there, back = os.urandom(size), bytearray(os.urandom(size))
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(near.send_all, there)
            nursery.start_soon(far.send_all, memoryview(back))
            found: dict[str, bytes] = {}

            async def collect(name: str, stream: PlainStream | TlsStream) -> None:
                found[name] = await read_all(stream, size, 7777 if size < 100_000 else None)

            nursery.start_soon(collect, "near", near)
            nursery.start_soon(collect, "far", far)
    assert (found["far"], found["near"]) == (there, bytes(back))


async def test_no_more_than_asked_for(pair: Streams) -> None:
    near, far = pair
    await near.send_all(b"abcdef")
    assert await far.receive_some(4) == b"abcd"
    assert await far.receive_some(4) == b"ef"


async def test_the_end(pair: Streams) -> None:
    near, far = pair
    await near.send_all(b"last words")
    await near.aclose()
    assert await read_all(far, 10) == b"last words"
    assert await far.receive_some() == b""
    assert await far.receive_some() == b""
    with pytest.raises(trio.ClosedResourceError):
        await near.receive_some()
    with pytest.raises((trio.ClosedResourceError, trio.BrokenResourceError)):
        await near.send_all(b"x")
    await near.aclose()


async def test_a_peer_that_vanishes(pair: Streams) -> None:
    near, far = pair
    near.socket.shutdown(socket.SHUT_RDWR)
    near.socket.close()
    assert await far.receive_some() == b""
    with pytest.raises(trio.BrokenResourceError):
        await far.send_all(b"x" * 100)


async def test_one_sender_at_a_time(pair: Streams) -> None:
    near, _ = pair
    async with trio.open_nursery() as nursery:
        nursery.start_soon(near.send_all, bytes(10_000_000))
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await near.send_all(b"x")
        with pytest.raises(trio.BusyResourceError):
            await near.wait_send_all_might_not_block()
        nursery.cancel_scope.cancel()


async def test_closing_wakes_who_waits(pair: Streams) -> None:
    near, _ = pair

    async def wait() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await near.receive_some()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        await near.aclose()


async def test_a_stream_that_always_has_bytes_lets_others_run(pair: Streams) -> None:
    near, far = pair
    ran = trio.Event()

    async def other() -> None:
        ran.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        for _ in range(100):
            await near.send_all(b"x")
            await far.receive_some()
            if ran.is_set():
                break
    assert ran.is_set()
    with trio.move_on_after(0) as scope:
        while True:
            await near.send_all(b"x")
            await far.receive_some()
    assert scope.cancelled_caught


async def test_waiting_for_room(pair: Streams) -> None:
    near, far = pair
    await near.wait_send_all_might_not_block()
    with trio.move_on_after(0.05):
        await near.send_all(bytes(10_000_000))
    with trio.move_on_after(0.05) as scope:
        await near.wait_send_all_might_not_block()
    assert scope.cancelled_caught
    await read_all(far, 1_000)


async def test_parting_lets_the_last_message_arrive(pair: Streams) -> None:
    """Closed with bytes unread, TCP would reset the connection and could drop what was sent."""
    near, far = pair
    await far.send_all(b"never read " * 100)
    await near.send_all(b"goodbye")

    async def leave() -> None:
        assert await read_all(far, 7) == b"goodbye"
        assert await far.receive_some() == b""
        await far.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(leave)
        await near.part()
    assert near.socket.fileno() == -1


async def test_parting_from_one_who_stays(pair: Streams) -> None:
    near, _ = pair
    with trio.fail_after(5):
        await near.part()
    assert near.socket.fileno() == -1


async def test_tls_cut_off_in_a_send_sends_no_more(certificate: tuple[Path, Path]) -> None:
    one, two = socket.socketpair()
    far = PlainStream(two)
    near, _ = await secured(PlainStream(one), far, certificate)
    with trio.move_on_after(0.05) as scope:
        await near.send_all(bytes(10_000_000))
    assert scope.cancelled_caught
    with pytest.raises(trio.BrokenResourceError, match="cut off"):
        await near.send_all(b"x")
    with trio.fail_after(0.5):  # nor waits for a peer that does not read, to say goodbye
        await near.aclose()
    far.close_now()


async def test_what_is_no_tls(certificate: tuple[Path, Path]) -> None:
    one, two = socket.socketpair()
    near = TlsStream(PlainStream(one), server_context(*certificate), server_side=True)
    with two:
        two.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(trio.BrokenResourceError, match="http request"):
            await near.do_handshake()
        await near.aclose()


async def test_a_record_that_was_tampered_with(certificate: tuple[Path, Path]) -> None:
    one, two = socket.socketpair()
    wire = PlainStream(two)
    near, far = await secured(PlainStream(one), wire, certificate)
    await far.send_all(b"fine")
    assert await near.receive_some() == b"fine"
    await wire.send_all(bytes.fromhex("1703030020") + bytes(32))
    with pytest.raises(trio.BrokenResourceError, match=r"bad record mac|decryption failed"):
        await near.receive_some()
    await near.aclose()
    await far.aclose()


async def test_the_first_bytes_may_have_been_read_already(certificate: tuple[Path, Path]) -> None:
    one, two = socket.socketpair()
    near, far = PlainStream(one), PlainStream(two)
    outside = TlsStream(far, trusting("postgresql"), server_hostname="localhost")

    async def serve() -> None:
        inside = TlsStream(near, server_context(*certificate), server_side=True, received=await near.receive_some(100))
        await inside.do_handshake()
        await inside.send_all(b"hello")
        await inside.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        await outside.do_handshake()
    assert (outside.alpn, outside.version) == ("postgresql", "TLSv1.3")
    assert ssl.DER_cert_to_PEM_cert(outside.peer_certificate or b"") == certificate[0].read_text()
    assert await outside.receive_some() == b"hello"
    assert await outside.receive_some() == b""
    await outside.aclose()


async def test_sockets_are_prompt_and_notice_the_dead() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        keep_alive(client)
        assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
    one, two = socket.socketpair()
    with one, two:
        keep_alive(one)  # nothing to set on a Unix socket
