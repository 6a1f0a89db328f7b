"""Targets that are down, hang, speak nonsense, or want the password: one line, in time, no secret in it."""

from __future__ import annotations

import base64
import socket
import struct
from pathlib import Path

import pytest
import trio
from authority import Authority, connection, fake_target
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ConfigurationFault, TargetFault
from gateway.listener.stream import PlainStream
from gateway.pgwire.backend import AUTHENTICATION_CLEARTEXT, AUTHENTICATION_OK, error_response, ready_for_query
from gateway.pgwire.framing import message
from gateway.target.connect import SYSTEM_ENTROPY, BackendKey, CancelRoute, cancel_target, connect_target
from gateway.target.login import Credentials, log_in

PASSWORD = b"hunter2 and more"


async def connect(port: int, sslmode: str = "disable", root: Path | None = None, seconds: float = 20) -> None:
    wanted = connection("localhost", port, sslmode=sslmode, root=root)
    session = await connect_target(wanted, {}, PASSWORD, trio.current_time() + seconds)
    await session.stream.aclose()


def authentication(method: int, rest: bytes = b"") -> bytes:
    return message(b"R", struct.pack("!I", method) + rest)


SASL = authentication(10, b"SCRAM-SHA-256\0\0")

SCRIPTS = {
    "silence and goodbye": ([], "closed the connection"),
    "http": ([b"HTTP/1.1 400 Bad Request\r\n\r\n" + b" " * 400], "does not speak"),
    "ssh": ([b"SSH-2.0-OpenSSH_9.2p1\r\n" * 20], "does not speak"),
    "zeros": ([bytes(64)], "does not speak"),
    "a length without end": ([b"R" + b"\xff" * 4], "does not speak"),
    "a length below its own": ([b"R\0\0\0\3"], "does not speak"),
    "a message without end": ([b"E\0\1\0\0" + b"M" * 70000], "does not speak"),
    "an error that is cut off": ([message(b"E", b"SFATAL\0C28")], "does not speak"),
    "ready before authentication": ([ready_for_query(b"I")], "unexpected message b'Z'"),
    "an unknown method": ([authentication(7)], "method 7"),
    "an empty authentication": ([message(b"R")], "does not speak"),
    "a salt that is cut off": ([authentication(5, b"ab")], "does not speak"),
    "no mechanism": ([authentication(10, b"\0")], "mechanism"),
    "an unknown mechanism": ([authentication(10, b"OAUTHBEARER\0\0")], "mechanism"),
    "a challenge before the exchange": ([authentication(11, b"r=x,s=x,i=1")], "method 11"),
    "proof before the exchange": ([authentication(12, b"v=x")], "method 12"),
    "SCRAM twice": ([SASL, SASL], "method 10"),
    "SCRAM cut short by OK": ([SASL, AUTHENTICATION_OK], "without proving"),
    "SCRAM with another nonce": ([SASL, authentication(11, b"r=x,s=c2FsdA==,i=4096")], "nonce"),
    "garbage after OK": ([AUTHENTICATION_OK + message(b"T", b"\0\0")], "unexpected message b'T'"),
    "a bad cancel key": ([AUTHENTICATION_OK + message(b"K", b"\0\0\0\1\0")], "cancel key"),
    "an error in parts": ([error_response("53300", "too many clients", severity="FATAL")], "too many clients.*53300"),
    "an odd SQLSTATE": ([error_response("a\nb", "x\x1b[2Jy\r\n", severity="FATAL")], r"x\?\[2Jy\?\? \(XX000\)"),
    "notices without end": ([message(b"N", b"\0") * 2000], "does not end"),
    "parameters without end": ([AUTHENTICATION_OK + message(b"S", b"a\0b\0") * 2000], "does not end"),
}


@pytest.mark.parametrize("script", SCRIPTS)
async def test_nonsense_is_a_target_fault(script: str) -> None:
    pieces, words = SCRIPTS[script]

    async def behave(stream: trio.SocketStream) -> None:
        for piece in pieces:
            await stream.receive_some()
            await stream.send_all(piece)
        await stream.receive_some()

    async with fake_target(behave) as port:
        with pytest.raises(TargetFault, match=words) as caught:
            await connect(port)
    assert "hunter2" not in str(caught.value)
    assert str(caught.value).isprintable()


async def test_the_password_never_comes_back_in_an_error() -> None:
    async def echo(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(AUTHENTICATION_CLEARTEXT)
        said = await stream.receive_some()
        await stream.send_all(error_response("28P01", f"bad password {said[5:-1].decode()}", severity="FATAL"))
        await stream.receive_some()

    async with fake_target(echo) as port:
        with pytest.raises(TargetFault) as caught:
            await connect(port)
    assert "hunter2" not in str(caught.value)
    assert "28P01" in str(caught.value)


async def test_the_password_is_not_sent_in_clear_over_a_network() -> None:
    """A false target on the way to one with sslmode=prefer would only have to ask."""
    ours, theirs = socket.socketpair()
    stream = PlainStream(ours)
    with theirs:
        theirs.sendall(AUTHENTICATION_CLEARTEXT)
        with pytest.raises(TargetFault, match="clear text"):
            await log_in(stream, {"user": "a"}, Credentials("a", PASSWORD, clear_text=False), SYSTEM_ENTROPY)
        await stream.aclose()
        assert PASSWORD not in theirs.recv(1000)


async def test_a_proof_of_the_wrong_password_is_refused() -> None:
    async def pretend(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(SASL)
        first = await stream.receive_some()
        nonce = first.split(b"r=")[1]
        await stream.send_all(authentication(11, b"r=" + nonce + b"x,s=c2FsdA==,i=4096"))
        await stream.receive_some()
        await stream.send_all(authentication(12, b"v=" + base64.b64encode(bytes(32))) + AUTHENTICATION_OK)
        await stream.receive_some()

    async with fake_target(pretend) as port:
        with pytest.raises(TargetFault, match="did not prove"):
            await connect(port)


async def test_a_target_that_is_down() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(TargetFault, match=rf"target localhost:{port}/postgres: cannot be reached: connection refused"):
        await connect(port)


@pytest.mark.parametrize("host", ["/nonexistent", "a" * 300, "host with blanks.invalid", "/" + "x" * 200])
async def test_a_host_that_is_none(host: str) -> None:
    with pytest.raises(TargetFault, match="cannot be reached"):
        await connect_target(connection(host, 1), {}, None, trio.current_time() + 20)


@pytest.mark.parametrize("step", ["tls", "authentication", "ready"])
async def test_a_target_that_hangs_is_given_up_at_the_deadline(step: str) -> None:
    gone = trio.Event()

    async def hang(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        if step == "ready":
            await stream.send_all(AUTHENTICATION_OK)
        while await stream.receive_some():
            pass
        gone.set()

    async with fake_target(hang) as port:
        with pytest.raises(TargetFault, match="no answer in time"):
            await connect(port, "require" if step == "tls" else "disable", seconds=0.1)
        with trio.fail_after(10):
            await gone.wait()  # the connection is closed, not left behind


@pytest.mark.parametrize("answer", [b"N", b"E", b"", b"X"])
@pytest.mark.parametrize("sslmode", ["require", "verify-ca", "verify-full"])
async def test_tls_that_is_demanded_is_not_waived(answer: bytes, sslmode: str) -> None:
    heard: list[bytes] = []

    async def refuse(stream: trio.SocketStream) -> None:
        heard.append(await stream.receive_some())
        await stream.send_all(answer)
        if answer:
            heard.append(await stream.receive_some())

    async with fake_target(refuse) as port:
        with pytest.raises(TargetFault, match=r"TLS|does not speak"):
            await connect(port, sslmode)
    assert b"".join(heard) == bytes.fromhex("0000000804d2162f")


async def test_bytes_before_tls_are_not_taken_for_ones_inside() -> None:
    async def inject(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"S" + AUTHENTICATION_OK + ready_for_query(b"I"))
        await stream.receive_some()

    async with fake_target(inject) as port:
        with pytest.raises(TargetFault, match="TLS failed"):
            await connect(port, "require")


@pytest.mark.parametrize(
    ("sslmode", "hosts", "trusted", "days", "words"),
    [
        ("verify-full", ["localhost"], True, 1, None),
        ("verify-ca", ["db.example"], True, 1, None),
        ("require", ["db.example"], None, -5, None),
        ("verify-full", ["db.example"], True, 1, "[Hh]ostname mismatch"),
        ("verify-full", ["*.localhost", "127.0.0.1"], True, 1, "[Hh]ostname mismatch"),
        ("verify-full", ["localhost"], False, 1, "verification failed"),
        ("verify-ca", ["localhost"], False, 1, "verification failed"),
        ("verify-full", ["localhost"], True, -1, "expired"),
        ("verify-full", ["localhost"], None, 1, "verification failed"),  # the system's store does not know ours
        ("require", ["localhost"], False, 1, "verification failed"),  # as libpq: a root certificate is used
    ],
)
async def test_certificates_are_verified_as_sslmode_says(
    tmp_path: Path, sslmode: str, hosts: list[str], trusted: bool | None, days: int, words: str | None
) -> None:
    authority, stranger = Authority.new(), Authority.new("stranger")
    context = authority.server_context(tmp_path, hosts, days=days)
    root = None if trusted is None else (authority if trusted else stranger).save(tmp_path / "root.pem")
    heard: list[bytes] = []

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some(8)
        await stream.send_all(b"S")
        inside = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        heard.append(await inside.receive_some())
        await inside.send_all(error_response("53300", "inside", severity="FATAL"))
        await inside.receive_some()

    async with fake_target(serve) as port:
        with pytest.raises(TargetFault, match=words or "inside"):
            await connect(port, sslmode, root)
    if words:
        assert not any(heard), "a target that was not verified learned something"


async def test_a_root_certificate_that_is_missing(tmp_path: Path) -> None:
    async def agree(stream: trio.SocketStream) -> None:
        await stream.receive_some()

    (tmp_path / "empty.pem").write_text("nothing")
    async with fake_target(agree) as port:
        for name in ("absent.pem", "empty.pem"):
            with pytest.raises(ConfigurationFault, match=f"sslrootcert.*{name}"):
                await connect(port, "verify-full", tmp_path / name)
        with pytest.raises(ConfigurationFault, match="goes with sslmode=verify-full"):
            await connect(port, "require", Path("system"))


async def test_a_root_certificate_that_is_replaced(tmp_path: Path) -> None:
    authority = Authority.new()
    context = authority.server_context(tmp_path, ["localhost"])
    root = Authority.new("stranger").save(tmp_path / "root.pem")

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some(8)
        await stream.send_all(b"S")
        inside = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        await inside.receive_some()
        await inside.send_all(error_response("53300", "inside", severity="FATAL"))

    async with fake_target(serve) as port:
        with pytest.raises(TargetFault, match="verification failed"):
            await connect(port, "verify-full", root)
        authority.save(root)
        with pytest.raises(TargetFault, match="inside"):
            await connect(port, "verify-full", root)


async def test_an_unknown_sslmode() -> None:
    with pytest.raises(ConfigurationFault, match="sslmode 'yes'"):
        await connect(1, "yes")


async def test_a_cancel_that_cannot_be_delivered() -> None:
    async def hang(stream: trio.SocketStream) -> None:
        while await stream.receive_some():
            pass
        await trio.sleep_forever()

    async with fake_target(hang) as port:
        route = CancelRoute(connection("localhost", port).target, "127.0.0.1", False, BackendKey(1, b"key!"))
        with pytest.raises(TargetFault, match="no answer in time"):
            await cancel_target(route, trio.current_time() + 0.1)
    with pytest.raises(TargetFault, match="cannot be reached"):
        await cancel_target(route, trio.current_time() + 5)
    assert "key!" not in repr(route)


@given(
    st.lists(
        st.binary(max_size=60) | st.sampled_from([SASL, AUTHENTICATION_OK, message(b"R", b"\0\0\0\5salt")]), max_size=4
    )
)
def test_whatever_a_target_says_is_at_most_a_target_fault(said: list[bytes]) -> None:
    async def talk() -> None:
        ours, theirs = socket.socketpair()
        stream = PlainStream(ours)
        with theirs:
            theirs.sendall(b"".join(said))
            theirs.shutdown(socket.SHUT_WR)
            try:
                await log_in(stream, {"user": "a"}, Credentials("a", PASSWORD, clear_text=True), SYSTEM_ENTROPY)
            except TargetFault as fault:
                assert "hunter2" not in str(fault)  # noqa: PT017  any other error is the test's failure
            await stream.aclose()

    trio.run(talk)
