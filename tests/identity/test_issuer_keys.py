"""The key cache: one fetch for a storm, bounded trust in old keys, and an issuer that fails, stalls or lies."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import pytest
import trio
from forging import AUDIENCE, ISSUER, OTHER_RSA_KEY, RSA_KEY, HandClock, good_claims, jwk, key_set, token

from gateway.errors import ConfigurationFault, IssuerFault, LoginRefused
from gateway.identity.issuer import MAX_ANSWER_BYTES, is_loopback, keys_of, realm_address
from gateway.identity.jws import PinnedKey, pinned_keys
from gateway.identity.keys import (
    FETCH_SECONDS,
    FRESH_SECONDS,
    PAUSE_SECONDS,
    USABLE_SECONDS,
    IssuerKeys,
)
from gateway.identity.verifier import TokenVerifier


class Issuer:
    """Publishes keys, counts who asks, and is away, slow or new-keyed when the test says so."""

    def __init__(self) -> None:
        self.keys: Mapping[str, PinnedKey] = key_set(jwk("k1", RSA_KEY))
        self.asked = 0
        self.at_once = 0
        self.away = False
        self.go_on = trio.Event()
        self.go_on.set()

    async def fetch(self) -> Mapping[str, PinnedKey]:
        self.asked += 1
        self.at_once += 1
        try:
            assert self.at_once == 1, "two fetches at a time"
            await self.go_on.wait()
            await trio.lowlevel.checkpoint()
        finally:
            self.at_once -= 1
        if self.away:
            raise IssuerFault("the identity issuer could not be reached (ConnectError)")
        return self.keys


async def test_keys_are_fetched_once_and_then_kept() -> None:
    issuer, clock = Issuer(), HandClock()
    keys = IssuerKeys(issuer.fetch, clock)
    for _ in range(50):
        assert await keys.find("k1") is issuer.keys["k1"]
    clock.pass_seconds(FRESH_SECONDS - 1)
    assert await keys.find("k1")
    assert issuer.asked == 1


async def test_a_storm_of_unknown_kids_makes_one_fetch() -> None:
    issuer, clock = Issuer(), HandClock()
    keys = IssuerKeys(issuer.fetch, clock)
    door = TokenVerifier(ISSUER, AUDIENCE, "groups", True, clock, keys)
    await door.verify(token())
    clock.pass_seconds(PAUSE_SECONDS)
    issuer.go_on = trio.Event()
    refused = 0

    async def knock(number: int) -> None:
        nonlocal refused
        with pytest.raises(LoginRefused):
            await door.verify(token(kid=f"forged-{number}", key=OTHER_RSA_KEY))
        refused += 1

    async with trio.open_nursery() as nursery:
        for number in range(200):
            nursery.start_soon(knock, number)
        await trio.testing.wait_all_tasks_blocked()
        assert await door.verify(token()), "known keys do not wait for the storm"
        issuer.go_on.set()
    assert refused == 200
    assert issuer.asked == 2
    for number in range(200):
        await knock(number)
    assert issuer.asked == 2, "and none more until the pause is over"


async def test_the_first_visitors_share_one_fetch() -> None:
    issuer, clock = Issuer(), HandClock()
    keys = IssuerKeys(issuer.fetch, clock)
    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(keys.find, "k1")
    assert issuer.asked == 1


async def test_a_rotated_key_is_found_after_the_pause_and_the_old_one_is_dropped() -> None:
    issuer, clock = Issuer(), HandClock()
    door = TokenVerifier(ISSUER, AUDIENCE, "groups", True, clock, IssuerKeys(issuer.fetch, clock))
    assert await door.verify(token())
    issuer.keys = key_set(jwk("k2", OTHER_RSA_KEY))
    rotated = token(kid="k2", key=OTHER_RSA_KEY)
    with pytest.raises(LoginRefused):
        await door.verify(rotated)
    clock.pass_seconds(PAUSE_SECONDS)
    assert await door.verify(rotated)
    with pytest.raises(LoginRefused):
        await door.verify(token())
    with pytest.raises(LoginRefused):  # the new key under the old name
        await door.verify(token(kid="k1", key=OTHER_RSA_KEY))


async def test_a_withdrawn_key_is_believed_no_longer_than_stated() -> None:
    issuer, clock = Issuer(), HandClock()
    keys = IssuerKeys(issuer.fetch, clock)
    assert await keys.find("k1")
    issuer.keys = key_set(jwk("k2", OTHER_RSA_KEY))
    clock.pass_seconds(FRESH_SECONDS)
    assert await keys.find("k1") is None


async def test_while_the_issuer_is_away_keys_are_used_for_a_bounded_time() -> None:
    issuer, clock = Issuer(), HandClock()
    keys = IssuerKeys(issuer.fetch, clock)
    assert await keys.find("k1")
    issuer.away = True
    clock.pass_seconds(USABLE_SECONDS - 1)
    assert await keys.find("k1")
    with pytest.raises(IssuerFault, match="could not be reached"):  # an unknown key could be a new one
        await keys.find("k2")
    clock.pass_seconds(1)
    with pytest.raises(IssuerFault, match="could not be reached"):
        await keys.find("k1")
    assert issuer.asked == 2, "an issuer in trouble is left alone for the pause"
    issuer.away = False
    clock.pass_seconds(PAUSE_SECONDS)
    assert await keys.find("k1")


async def test_without_ever_having_had_keys_nobody_is_believed() -> None:
    issuer, clock = Issuer(), HandClock()
    issuer.away = True
    keys = IssuerKeys(issuer.fetch, clock)
    for _ in range(3):
        with pytest.raises(IssuerFault):
            await keys.find("k1")
        with pytest.raises(IssuerFault):
            await keys.check()
    assert issuer.asked == 1


async def test_a_clock_set_back_or_forth_changes_nothing() -> None:
    issuer, clock = Issuer(), HandClock()
    keys = IssuerKeys(issuer.fetch, clock)
    assert await keys.find("k1")
    clock.seconds -= 10 * USABLE_SECONDS
    assert await keys.find("k1")
    clock.seconds += 20 * USABLE_SECONDS
    assert await keys.find("k1")
    assert issuer.asked == 1


async def test_a_visitor_who_leaves_does_not_waste_the_fetch_of_the_others() -> None:
    issuer, clock = Issuer(), HandClock()
    issuer.go_on = trio.Event()
    keys = IssuerKeys(issuer.fetch, clock)
    found: list[PinnedKey | None] = []

    async def stay() -> None:
        found.append(await keys.find("k1"))

    async with trio.open_nursery() as nursery:
        leaving = trio.CancelScope()

        async def leave() -> None:
            with leaving:
                await keys.find("k1")

        nursery.start_soon(leave)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(stay)
        leaving.cancel()
        await trio.testing.wait_all_tasks_blocked()
        issuer.go_on.set()
    assert found == [issuer.keys["k1"]]
    assert issuer.asked == 1


def test_an_issuer_that_never_answers_is_given_up() -> None:
    async def main() -> None:
        issuer = Issuer()
        issuer.go_on = trio.Event()
        keys = IssuerKeys(issuer.fetch, HandClock())
        started = trio.current_time()
        with pytest.raises(IssuerFault, match=f"did not answer within {FETCH_SECONDS} s"):
            await keys.check()
        assert trio.current_time() - started == pytest.approx(FETCH_SECONDS)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.01))


# --- the real thing: python-keycloak over real sockets, against issuers of every kind


@asynccontextmanager
async def raw_issuer(answer: Callable[[str, str], bytes]) -> AsyncIterator[tuple[str, list[str]]]:
    """Serve raw HTTP bytes on a free port: `answer(issuer URL, path)`; yields the issuer's URL and the paths asked."""
    asked: list[str] = []
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/realms/hoop"

    async def handle(stream: trio.SocketStream) -> None:
        async with stream:
            head = b""
            while b"\r\n\r\n" not in head:
                chunk = await stream.receive_some()
                if not chunk:
                    return
                head += chunk
            asked.append(head.split(b" ")[1].decode())
            try:
                await stream.send_all(answer(url, asked[-1]))
            except trio.BrokenResourceError:
                return  # the client had read enough

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, handle, [listener])
        yield url, asked
        nursery.cancel_scope.cancel()


def http(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers])
    return head.encode() + b"\r\n\r\n" + body


def honest(url: str, path: str) -> bytes:
    well_known = {"issuer": url, "jwks_uri": f"{url}/protocol/openid-connect/certs"}
    certs = {"keys": [jwk("enc", RSA_KEY, use="enc", alg="RSA-OAEP"), jwk("k1", RSA_KEY)]}
    return http(json.dumps(well_known if "well-known" in path else certs).encode())


async def test_a_keycloak_realm_gives_its_keys() -> None:
    async with raw_issuer(honest) as (url, asked):
        clock = HandClock()
        door = TokenVerifier(url, AUDIENCE, "groups", True, clock, IssuerKeys(keys_of(url), clock))
        for _ in range(3):
            assert (await door.verify(token(good_claims(iss=url)))).issuer == url
        with pytest.raises(LoginRefused):
            await door.verify(token(good_claims(iss=url), kid="enc"))
        assert asked == [
            "/realms/hoop/.well-known/openid-configuration",
            "/realms/hoop/protocol/openid-connect/certs",
        ]


async def test_an_issuer_on_this_machine_is_never_asked_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    async with raw_issuer(honest) as (url, _):
        assert set(await keys_of(url)()) == {"k1"}


def answering(body: bytes, status: str = "200 OK", *headers: str) -> Callable[[str, str], bytes]:
    return lambda _url, _path: http(body, status, *headers)


def only_certs(body: bytes) -> Callable[[str, str], bytes]:
    return lambda url, path: honest(url, path) if "well-known" in path else http(body)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        pytest.param(answering(b"{}", "500 Internal Server Error"), "answered with status 500", id="500"),
        pytest.param(answering(b'{"message": "x"}', "401 Unauthorized"), "answered with status 401", id="401"),
        pytest.param(answering(b"[]", "404 Not Found"), "answered with status 404", id="404-with-a-list"),
        pytest.param(
            answering(b"", "302 Found", "Location: http://127.0.0.1:9/"), "answered with status 302", id="redirect"
        ),
        pytest.param(answering(b"<html>"), "could not be understood", id="html"),
        pytest.param(answering(b"[1]"), "could not be understood", id="list"),
        pytest.param(answering(b"null"), "could not be understood", id="null"),
        pytest.param(answering(b"", "204 No Content"), "answered with status 204", id="no-content"),
        pytest.param(answering(b'{"issuer": "http://127.0.0.1/realms/other"}'), "another name", id="other-issuer"),
        pytest.param(answering(b"{}"), "another name", id="no-issuer"),
        pytest.param(lambda _url, _path: b"SSH-2.0-OpenSSH\r\n", "could not be reached", id="not-http"),
        pytest.param(lambda _url, _path: b"", "could not be reached", id="hangs-up"),
        pytest.param(
            answering(gzip.compress(b"{}"), "200 OK", "Content-Encoding: gzip"), "could not be reached", id="compressed"
        ),
        pytest.param(only_certs(b'{"keys": []}'), "no usable signature key", id="no-keys"),
        pytest.param(only_certs(b"{}"), "no usable signature key", id="no-key-list"),
        pytest.param(
            only_certs(json.dumps({"keys": [jwk("s", b"secret")]}).encode()), "no usable signature key", id="symmetric"
        ),
    ],
)
async def test_an_issuer_in_trouble_is_named_in_one_line(answer: Callable[[str, str], bytes], words: str) -> None:
    async with raw_issuer(answer) as (url, _):
        with pytest.raises(IssuerFault, match=words) as fault:
            await IssuerKeys(keys_of(url), HandClock()).check()
        assert "\n" not in str(fault.value)


@pytest.mark.parametrize(
    "sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"], ids=["nothing", "half-a-body"]
)
async def test_an_issuer_that_stalls_is_given_up_and_nothing_stays_open(
    sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.identity.keys.FETCH_SECONDS", 0.2)
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    hung_up = trio.Event()

    async def stall(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.send_all(sent)
            try:
                while await stream.receive_some():
                    pass
            except trio.BrokenResourceError:
                pass  # a reset is a hang-up too
            hung_up.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, stall, [listener])
        url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/realms/hoop"
        with pytest.raises(IssuerFault, match=r"could not be reached|did not answer"):
            await IssuerKeys(keys_of(url), HandClock()).check()
        with trio.fail_after(5):
            await hung_up.wait()
        nursery.cancel_scope.cancel()


async def test_an_issuer_without_end_is_read_no_further_than_stated() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    listener.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_SNDBUF, 64 * 1024)
    sent = 0

    async def pour(stream: trio.SocketStream) -> None:
        nonlocal sent
        async with stream:
            try:
                await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
                while True:
                    await stream.send_all(b"[" * 65536)
                    sent += 65536
            except trio.BrokenResourceError:
                return

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, pour, [listener])
        url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/realms/hoop"
        with pytest.raises(IssuerFault, match="could not be reached"):
            await IssuerKeys(keys_of(url), HandClock()).check()
        nursery.cancel_scope.cancel()
    assert sent < MAX_ANSWER_BYTES + 16 * 1024 * 1024, "what the kernel's buffers hold beyond it, and no more"


async def test_no_connection_to_the_issuer_outlives_a_fetch() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/realms/hoop"
    open_now = 0
    hung_up = trio.Event()

    async def keep_alive(stream: trio.SocketStream) -> None:
        nonlocal open_now
        open_now += 1
        async with stream:
            while head := await stream.receive_some():
                answer = honest(url, head.split(b" ")[1].decode())
                await stream.send_all(answer.replace(b"Connection: close", b"Connection: keep-alive"))
        open_now -= 1
        hung_up.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, keep_alive, [listener])
        assert await keys_of(url)()
        with trio.fail_after(5):
            await hung_up.wait()
        assert open_now == 0
        nursery.cancel_scope.cancel()


async def test_an_issuer_that_is_down_is_named_in_one_line() -> None:
    with pytest.raises(IssuerFault, match="could not be reached"):
        await IssuerKeys(keys_of("http://127.0.0.1:9/realms/hoop"), HandClock()).check()


@pytest.mark.parametrize(
    ("url", "server", "realm"),
    [
        ("https://idp.example/realms/prod", "https://idp.example/", "prod"),
        ("https://idp.example:8443/auth/realms/prod", "https://idp.example:8443/auth/", "prod"),
        ("http://127.0.0.1:20999/realms/hoop", "http://127.0.0.1:20999/", "hoop"),
        ("http://localhost:8080/realms/hoop", "http://localhost:8080/", "hoop"),
        ("http://[::1]:8080/realms/hoop", "http://[::1]:8080/", "hoop"),
    ],
)
def test_a_realm_is_read_from_the_issuers_url(url: str, server: str, realm: str) -> None:
    address = realm_address(url)
    assert (address.server_url, address.realm) == (server, realm)


@pytest.mark.parametrize(
    "url",
    [
        "http://idp.example/realms/prod",
        "http://127.0.0.1.example/realms/prod",
        "http://localhost.example/realms/prod",
        "http://0.0.0.0:1/realms/prod",
        "http://[::ffff:10.0.0.1]/realms/prod",
        "ftp://idp.example/realms/prod",
        "https://idp.example/",
        "https://idp.example/realms/",
        "https://idp.example/realms/prod/",
        "https://idp.example/realms/prod?x=1",
        "https://idp.example/realms/prod#x",
        "https://user:secret@idp.example/realms/prod",
        "https://[::1/realms/prod",
        "",
    ],
)
def test_what_cannot_be_a_trusted_issuer_is_refused_by_name(url: str) -> None:
    with pytest.raises(ConfigurationFault, match=r"identity\.issuer") as fault:
        realm_address(url)
    assert "secret" not in str(fault.value)


def test_this_machine_is_loopback_and_nothing_else_is() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "127.9.9.9", "::1", "localhost"]))
    assert not any(map(is_loopback, ["", "0.0.0.0", "::", "10.0.0.1", "localhost.example", "127.1", "LOCALHOST."]))


@pytest.mark.parametrize(
    "members",
    [
        {"kty": 1},
        {"kty": "rsa"},
        {"kty": ["RSA"]},
        {"kid": ""},
        {"kid": 1},
        {"use": "enc"},
        {"use": "sig", "key_ops": ["encrypt"]},
        {"key_ops": "verify"},
        {"alg": "none"},
        {"alg": "HS256"},
        {"alg": ["RS256"]},
        {"n": None},
        {"n": "AQAB"},
        {"n": "*"},
        {"n": "é"},
        {"e": "Aw"},
        {"e": "AQAC"},
        {"d": ""},
        {"kty": "EC", "crv": "P-256"},
        {"kty": "EC", "crv": ["P-256"]},
        {"kty": "EC", "crv": "P-256", "alg": "ES256", "x": "AQ", "y": "AQ"},
        {"kty": "EC", "crv": "secp256k1", "alg": "ES256K"},
        {"kty": "OKP", "crv": "X25519", "alg": "EdDSA", "x": "AQ"},
        {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": "AQ"},
    ],
)
def test_keys_that_may_not_sign_are_left_out_and_the_others_stay(members: dict[str, object]) -> None:
    found = pinned_keys({"keys": [jwk("good", RSA_KEY), jwk("bad", OTHER_RSA_KEY) | members, "not an object"]})
    assert set(found) == {"good"}


def test_a_key_shows_its_name_and_algorithm_only() -> None:
    assert repr(key_set(jwk("k1", RSA_KEY))["k1"]) == "PinnedKey(kid='k1', algorithm='RS256')"
