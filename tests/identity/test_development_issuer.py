"""The development issuer over real HTTP on this machine: Keycloak's layout, its limits, and its files."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
import subprocess
import sys
import urllib.parse
from pathlib import Path
from typing import Any

import pytest
import trio
from developing import issuer_in, serving, verifier_of
from forging import HandClock
from keycloak import KeycloakOpenID

from gateway.errors import ConfigurationFault, LoginRefused
from gateway.identity import http_server
from gateway.identity.development import MAX_TTL_SECONDS, DevelopmentIssuer
from gateway.identity.development_clients import DevelopmentClient
from gateway.identity.issuer import keys_of
from gateway.model import Micros, Principal

SECRET = "correct horse: battery+staple"
CLIENT = DevelopmentClient(
    "agent-7", hashlib.sha256(SECRET.encode()).digest(), "sub-of-agent-7", groups=("reporting",), owner="dana"
)


def address(issuer: DevelopmentIssuer) -> tuple[str, int]:
    url = urllib.parse.urlsplit(issuer.issuer_url)
    assert url.hostname
    assert url.port
    return url.hostname, url.port


async def exchange(issuer: DevelopmentIssuer, sent: bytes) -> bytes:
    """Send bytes on a connection of one's own; return everything that comes back until the server hangs up."""
    received = b""
    with trio.fail_after(10):
        async with await trio.open_tcp_stream(*address(issuer)) as stream:
            await stream.send_all(sent)
            while chunk := await stream.receive_some():
                received += chunk
    return received


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def body_of(answer: bytes) -> dict[str, Any]:
    found = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert isinstance(found, dict)
    return found


def post(path: str, form: dict[str, str] | bytes, *headers: str) -> bytes:
    body = form if isinstance(form, bytes) else urllib.parse.urlencode(form).encode()
    head = "\r\n".join([f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers])
    return head.encode() + b"\r\n\r\n" + body


TOKEN = "/realms/hoop/protocol/openid-connect/token"


async def test_a_minted_token_is_believed_by_a_verifier_that_knows_only_the_url(tmp_path: Path) -> None:
    clock = HandClock()
    issuer = issuer_in(tmp_path, clock, fresh=True)
    minted = issuer.mint("agent-7", ["/reporting", "oncall"], 900, owner="dana")
    async with serving(issuer) as url:
        assert url == issuer.issuer_url
        assert await verifier_of(issuer, clock).verify(minted) == Principal(
            issuer=url,
            subject="agent-7",
            token_id=f"{1:032x}",
            expires=Micros(clock.now() + 900_000_000),
            groups=("reporting", "oncall"),
            owner="dana",
            development=True,
            issued=Micros(clock.now() // 1_000_000 * 1_000_000),
            client="development",
        )


async def test_python_keycloak_reads_it_as_a_keycloak(tmp_path: Path) -> None:
    issuer = issuer_in(tmp_path)
    async with serving(issuer) as url:
        server = url.removesuffix("realms/hoop")
        client = KeycloakOpenID(server_url=server, realm_name="hoop", client_id="any")
        try:
            well_known, certs = await client.a_well_known(), await client.a_certs()
        finally:
            await client.connection.aclose()
    assert well_known["issuer"] == url
    assert well_known["jwks_uri"] == f"{url}/protocol/openid-connect/certs"
    (key,) = certs["keys"]
    assert (key["kty"], key["alg"], key["use"]) == ("RSA", "RS256", "sig")
    assert not key.keys() & {"d", "p", "q", "dp", "dq", "qi"}


async def test_two_issuers_run_beside_each_other_and_do_not_believe_each_other(tmp_path: Path) -> None:
    clock = HandClock()
    first, second = issuer_in(tmp_path / "a", clock), issuer_in(tmp_path / "b", clock)
    assert first.issuer_url != second.issuer_url
    async with serving(first), serving(second):
        assert await verifier_of(second, clock).verify(second.mint("x"))
        with pytest.raises(LoginRefused):
            await verifier_of(second, clock).verify(first.mint("x"))


async def test_a_restart_keeps_key_and_url(tmp_path: Path) -> None:
    clock = HandClock()
    minted = issuer_in(tmp_path, clock).mint("agent-7")
    again = issuer_in(tmp_path, clock)
    async with serving(again):
        assert (await verifier_of(again, clock).verify(minted)).subject == "agent-7"
    async with serving(issuer_in(tmp_path, clock)) as url:  # and the port is free at once
        assert url == again.issuer_url


async def test_the_groups_stand_where_the_configuration_says(tmp_path: Path) -> None:
    clock = HandClock()
    issuer = issuer_in(tmp_path, clock, groups_claim="roles")
    async with serving(issuer):
        assert (await verifier_of(issuer, clock, "roles").verify(issuer.mint("x", ["a"]))).groups == ("a",)


@pytest.mark.parametrize("claim", ["sub", "aud", "owner", "exp", "typ", "azp"])
def test_a_groups_claim_that_means_something_else_is_refused(tmp_path: Path, claim: str) -> None:
    with pytest.raises(ConfigurationFault, match=r"identity\.groups_claim"):
        issuer_in(tmp_path, groups_claim=claim).mint("x", ["a"])


@pytest.mark.parametrize(
    ("subject", "groups", "ttl", "owner"),
    [
        ("", [], 60, None),
        ("a\nb", [], 60, None),
        ("a", [""], 60, None),
        ("a", [], 60, ""),
        ("a", [], 0, None),
        ("a", [], -5, None),
        ("a", [], MAX_TTL_SECONDS + 1, None),
        ("a", [f"group-{n:0200}" for n in range(100)], 60, None),
    ],
)
def test_what_the_verifier_would_refuse_is_not_minted(
    tmp_path: Path, subject: str, groups: list[str], ttl: int, owner: str | None
) -> None:
    with pytest.raises(ConfigurationFault):
        issuer_in(tmp_path).mint(subject, groups, ttl, owner)


async def test_a_client_it_knows_gets_a_token_by_its_credentials(tmp_path: Path) -> None:
    clock = HandClock()
    issuer = issuer_in(tmp_path, clock, clients=[CLIENT])
    form = {"grant_type": "client_credentials"}
    basic = base64.b64encode(f"agent-7:{urllib.parse.quote_plus(SECRET)}".encode()).decode()
    async with serving(issuer):
        in_body = await exchange(issuer, post(TOKEN, form | {"client_id": "agent-7", "client_secret": SECRET}))
        in_head = await exchange(issuer, post(TOKEN, form, f"Authorization: Basic {basic}"))
        for answer in (in_body, in_head):
            assert status_of(answer) == 200
            assert b"cache-control: no-store" in answer.lower()
            granted = body_of(answer)
            assert (granted["token_type"], granted["expires_in"]) == ("Bearer", 3600)
            who = await verifier_of(issuer, clock).verify(granted["access_token"])
            assert (who.subject, who.groups, who.owner) == ("sub-of-agent-7", ("reporting",), "dana")


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({}, 400, "unsupported_grant_type"),
        ({"grant_type": "password", "client_id": "agent-7"}, 400, "unsupported_grant_type"),
        ({"grant_type": "client_credentials"}, 401, "invalid_client"),
        ({"grant_type": "client_credentials", "client_id": "agent-7"}, 401, "invalid_client"),
        ({"grant_type": "client_credentials", "client_id": "agent-7", "client_secret": "x"}, 401, "invalid_client"),
        ({"grant_type": "client_credentials", "client_id": "eve", "client_secret": SECRET}, 401, "invalid_client"),
        (b"grant_type=client_credentials&grant_type=client_credentials", 400, "invalid_request"),
        (b"\xff\xfe", 400, "invalid_request"),
        (b"&".join(b"a%d=1" % n for n in range(50)), 400, "invalid_request"),
    ],
)
async def test_a_client_it_does_not_know_gets_none(
    tmp_path: Path, form: dict[str, str] | bytes, status: int, error: str
) -> None:
    issuer = issuer_in(tmp_path, clients=[CLIENT])
    async with serving(issuer):
        answer = await exchange(issuer, post(TOKEN, form))
    assert (status_of(answer), body_of(answer)) == (status, {"error": error})


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /realms/other/protocol/openid-connect/certs HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /realms/hoop/../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (f"GET {TOKEN} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), 405),
        (b"POST /realms/hoop/protocol/openid-connect/certs HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405),
        (b"GET /realms/hoop/protocol/openid-connect/certs?x=1 HTTP/1.0\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * (http_server.MAX_HEAD_BYTES + 1), 400),
        (post(TOKEN, b"a" * (http_server.MAX_BODY_BYTES + 1)), 413),
        (post(TOKEN, b"grant_type=x", "Expect: 100-continue"), 400),
    ],
)
async def test_requests_of_every_kind_get_an_answer_and_the_issuer_goes_on(
    tmp_path: Path, sent: bytes, status: int
) -> None:
    issuer = issuer_in(tmp_path)
    async with serving(issuer):
        assert status_of((await exchange(issuer, sent)).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")) == status
        assert await keys_of(issuer.issuer_url)()


async def test_a_client_that_waits_before_it_sends_its_body_is_told_to_go_on(tmp_path: Path) -> None:
    issuer = issuer_in(tmp_path)
    head, gap, body = post(TOKEN, b"grant_type=x", "Expect: 100-continue").partition(b"\r\n\r\n")
    async with serving(issuer), await trio.open_tcp_stream(*address(issuer)) as stream:
        await stream.send_all(head + gap)
        with trio.fail_after(2):
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 100 ")
            await stream.send_all(body)
            assert status_of(await stream.receive_some()) == 400


async def test_silent_clients_do_not_keep_others_waiting(tmp_path: Path) -> None:
    issuer = issuer_in(tmp_path)
    async with serving(issuer):
        silent = [await trio.open_tcp_stream(*address(issuer)) for _ in range(http_server.MAX_CONNECTIONS + 10)]
        started = trio.current_time()
        assert await keys_of(issuer.issuer_url)()
        assert trio.current_time() - started < http_server.REQUEST_SECONDS / 2
        with trio.fail_after(http_server.REQUEST_SECONDS / 2):
            assert await silent[0].receive_some() == b"", "the oldest gave way"
        for stream in silent:
            await stream.aclose()


async def test_a_slow_client_is_given_up_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "REQUEST_SECONDS", 0.2)
    issuer = issuer_in(tmp_path)
    async with serving(issuer):
        assert await exchange(issuer, b"GET /realms/hoop") == b""
        assert await exchange(issuer, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab") == b""


async def test_a_port_in_use_is_said_in_one_line(tmp_path: Path) -> None:
    issuer = issuer_in(tmp_path)
    async with serving(issuer):
        with pytest.raises(ConfigurationFault, match=r"cannot listen on 127\.0\.0\.1") as fault:
            await issuer_in(tmp_path).serve()
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://0.0.0.0:20998/realms/hoop",
        "http://10.0.0.5:20998/realms/hoop",
        "http://idp.example:20998/realms/hoop",
        "https://127.0.0.1:20998/realms/hoop",
        "http://127.0.0.1/realms/hoop",
        "http://127.0.0.1:0/realms/hoop",
        "http://127.0.0.1:70000/realms/hoop",
        "http://127.0.0.1:20998/auth/realms/hoop",
        "http://127.0.0.1:20998/",
    ],
)
def test_it_serves_this_machine_only(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigurationFault, match=r"identity\.issuer"):
        issuer_in(tmp_path, issuer_url=url)
    assert not (tmp_path / "development-issuer").exists(), "nothing is made for an address that cannot be"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost"])
async def test_a_configured_address_is_used_as_it_is(tmp_path: Path, host: str) -> None:
    port = address(issuer_in(tmp_path / "free"))[1]
    url = f"http://{host}:{port}/realms/lab"
    issuer = issuer_in(tmp_path, issuer_url=url)
    async with serving(issuer):
        assert await keys_of(url)()
    assert not (tmp_path / "development-issuer" / "issuer.json").exists()


def test_its_files_are_closed_to_others_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        issuer_in(tmp_path / "state", fresh=True)
    finally:
        os.umask(before)
    directory = tmp_path / "state" / "development-issuer"
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode) for path in [directory.parent, directory, *directory.iterdir()]
    }
    assert modes == {"state": 0o700, "development-issuer": 0o700, "key.pem": 0o600, "issuer.json": 0o600}


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda d: (d / "key.pem").chmod(0o640), "closed to all others"),
        (lambda d: d.chmod(0o755), "closed to all others"),
        (lambda d: (d / "issuer.json").chmod(0o666), "closed to all others"),
        (lambda d: (d / "key.pem").write_text("x"), "not an RSA key"),
        (lambda d: (d / "key.pem").write_bytes(b"\xff" * 100_000), "not an RSA key"),
        (lambda d: (d / "issuer.json").write_text("{"), "damaged"),
        (lambda d: (d / "issuer.json").write_text("[]"), "damaged"),
        (lambda d: (d / "issuer.json").write_text('{"issuer": "http://10.0.0.5:1/realms/hoop"}'), r"identity\.issuer"),
        (lambda d: (d / "key.pem").rename(d / "k") and (d / "key.pem").symlink_to(d / "k"), "cannot use"),
        (lambda d: (d / "key.pem").unlink() or (d / "key.pem").mkdir(mode=0o700), "closed to all others|cannot use"),
    ],
)
def test_files_that_were_tampered_with_are_not_used(tmp_path: Path, spoil: Any, words: str) -> None:
    issuer_in(tmp_path)
    spoil(tmp_path / "development-issuer")
    with pytest.raises(ConfigurationFault, match=words):
        issuer_in(tmp_path)


def test_processes_that_start_together_get_the_same_key_and_url(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from gateway.identity.issuer_state import load_or_create_state as load;"
        "state = load(pathlib.Path(sys.argv[1]), None); print(state.issuer_url, state.key.kid)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "state" / "development-issuer")]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    answers = {process.communicate(timeout=60)[0] for process in started}
    assert len(answers) == 1
    assert answers.pop().startswith("http://127.0.0.1:")
    assert {path.name for path in (tmp_path / "state" / "development-issuer").iterdir()} == {"key.pem", "issuer.json"}


def test_secrets_are_in_no_repr(tmp_path: Path) -> None:
    issuer = issuer_in(tmp_path, clients=[CLIENT])
    shown = repr(
        [issuer, vars(issuer), CLIENT, http_server.Request("POST", "/", {"authorization": "Basic c2Vj"}, b"c2Vj")]
    )
    assert CLIENT.secret_sha256.hex() not in shown
    assert repr(CLIENT.secret_sha256) not in shown
    assert "c2Vj" not in shown
    assert issuer._key.private.private_numbers().d.__repr__() not in shown
