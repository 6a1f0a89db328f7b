"""Coming in: TLS in every form, tokens of every kind, startup parameters, and what each refusal sounds like."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from contextlib import closing, suppress

import pytest
from running import RunningGateway
from wire_client import Wire, errors, eventually, kinds, plain, secure, shown, through

from gateway.demo.postgres import PostgresServer
from gateway.pgwire.backend import Report
from gateway.pgwire.frontend import PROTOCOL_3_0, PROTOCOL_3_2, password, query, ssl_request, startup


def turned_away(wire: Wire) -> Report:
    """Read the one FATAL error that must be all there is, and the end."""
    with wire:
        found = wire.rest()
    assert kinds(found) == "E", shown(found)
    (said,) = errors(found)
    assert said.severity == "FATAL"
    return said


def knock(
    gateway: RunningGateway, token: str, database: str = "plain", protocol: int = PROTOCOL_3_0, **parameters: str
) -> Wire:
    """Say everything up to the token; what comes then is for the test to read."""
    wire = Wire(secure(gateway))
    wire.send(startup({"user": "agent", "database": database, **parameters}, protocol))
    assert wire.expect("R").body == b"\0\0\0\3"
    return wire.send(password(token.encode()))


def logins(gateway: RunningGateway, reason: str) -> list[dict[str, object]]:
    return gateway.query(f"SELECT kind, subject, connection, outcome FROM logins WHERE reason LIKE '%{reason}%'")


def test_plain_text_is_refused_before_a_password(gateway: RunningGateway, token: str) -> None:
    wire = Wire(plain(gateway.port)).send(startup({"user": "agent", "database": "plain"}), password(token.encode()))
    said = turned_away(wire)
    assert said.sqlstate == "28000"
    assert "TLS" in (said.get("M") or "")


@pytest.mark.parametrize("protocol", [PROTOCOL_3_0, PROTOCOL_3_2])
def test_direct_tls_with_alpn(gateway: RunningGateway, token: str, protocol: int) -> None:
    with Wire(secure(gateway, direct=True)) as wire:
        wire.log_in({"user": "agent", "database": "plain"}, token, protocol)
        assert wire.rows("SELECT 1") == [("1",)]
        wire.leave()


@pytest.mark.parametrize("alpn", [None, "http/1.1"])
def test_direct_tls_without_the_right_alpn_is_refused(gateway: RunningGateway, alpn: str | None) -> None:
    try:
        connected = secure(gateway, direct=True, alpn=alpn)
    except ssl.SSLError:
        return  # refused within the handshake
    with Wire(connected) as wire, suppress(ssl.SSLError, ConnectionError):
        wire.send(startup({"user": "agent", "database": "plain"}))
        assert wire.rest() == []


def test_what_was_sent_before_tls_is_never_obeyed(gateway: RunningGateway) -> None:
    connected = plain(gateway.port)
    connected.sendall(ssl_request() + startup({"user": "agent", "database": "plain"}))
    wire = Wire(connected)
    assert turned_away(wire).sqlstate == "08P01"


def test_a_newer_protocol_is_negotiated_down(gateway: RunningGateway, token: str) -> None:
    wire = Wire(secure(gateway))
    wire.send(startup({"user": "agent", "database": "plain", "_pq_.fancy": "on"}, 3 << 16 | 9))
    assert wire.expect("v").body == b"\0\3\0\2" + b"\0\0\0\1" + b"_pq_.fancy\0"
    wire.authenticate(token)
    assert len(next(each for each in wire.until() if each.kind == b"K").body) == 4 + 32
    assert wire.rows("SELECT 1") == [("1",)]
    wire.leave()


def test_the_parameters_are_those_of_the_target(
    gateway: RunningGateway, agent: Callable[..., Wire], admin: Wire
) -> None:
    own = agent("plain", application_name="admin").parameters
    assert own == admin.parameters
    given = {"application_name": "mine", "DateStyle": "German", "TimeZone": "Asia/Tokyo", "client_encoding": "utf-8"}
    found = agent("plain", **given, options="-c statement_timeout=1234 -c extra_float_digits=0").parameters
    assert (found["application_name"], found["TimeZone"]) == ("mine", "Asia/Tokyo")
    assert (found["DateStyle"], found["client_encoding"]) == ("German, DMY", "UTF8")
    assert agent("plain", options="-c statement_timeout=1234").rows("SHOW statement_timeout") == [("1234ms",)]


@pytest.mark.parametrize(
    ("parameters", "sqlstate"),
    [
        ({"replication": "true"}, "28000"),
        ({"replication": "database"}, "28000"),
        ({"replication": "off"}, "28000"),
        ({"options": "-c replication=database"}, "28000"),
        ({"search_path": "pg_temp"}, "22023"),
        ({"session_authorization": "x"}, "22023"),
        ({"role": "postgres"}, "22023"),
        ({"client_encoding": "SJIS"}, "22023"),
        ({"options": "-c client_encoding=LATIN1"}, "22023"),
        ({"options": "-c standard_conforming_strings=off"}, "22023"),
        ({"options": "--search_path=x"}, "22023"),
        ({"options": "-W 5"}, "22023"),
        ({"options": "-c hoop.hold=perhaps"}, "22023"),
        ({"hoop.hold": "refuse"}, "22023"),
        ({"session_preload_libraries": "x"}, "22023"),
    ],
)
def test_startup_parameters_off_the_list(
    gateway: RunningGateway, token: str, parameters: dict[str, str], sqlstate: str
) -> None:
    with knock(gateway, token, **parameters) as wire:
        assert turned_away(wire).sqlstate == sqlstate


def test_bad_tokens(gateway: RunningGateway, token: str) -> None:
    head, claims, signature = token.split(".")
    flipped = ("A" if signature[10] != "A" else "B").join((signature[:10], signature[11:]))
    bad = ["nonsense", "a.b.c", f"{head}.{claims}.", f"{head}.{claims}.{flipped}", token + "x", token[:-40], "x" * 9000]
    for each in bad:
        with knock(gateway, each) as wire:
            assert turned_away(wire).sqlstate == "28P01"


def test_an_expired_token(gateway: RunningGateway) -> None:
    token = gateway.token("late", ttl="1s")

    def refused() -> bool:
        with knock(gateway, token) as wire:
            found = wire.message()
            return found is not None and found.kind == b"E"

    eventually(refused)
    with knock(gateway, token) as wire:
        said = turned_away(wire)
    assert said.sqlstate == "28P01"
    assert eventually(lambda: logins(gateway, "exp"))


def test_a_token_of_another_gateway(gateway: RunningGateway, postgres: PostgresServer, token: str) -> None:
    """Signed by a key this issuer never had."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    head, claims, _ = token.split(".")
    signature = ec.generate_private_key(ec.SECP256R1()).sign(f"{head}.{claims}".encode(), ec.ECDSA(hashes.SHA256()))
    with knock(gateway, f"{head}.{claims}.{signature[:64].hex()}") as wire:
        assert turned_away(wire).sqlstate == "28P01"


def test_forbidden_and_unknown_sound_the_same(gateway: RunningGateway, token: str) -> None:
    said = []
    for database in ("closed", "no-such-connection", "template1"):
        with knock(gateway, token, database) as wire:
            said.append(turned_away(wire).fields)
    assert said[0] == said[1] == said[2]
    assert dict(said[0])["C"] == "28000"
    member = gateway.token("insider", groups="nobody")
    with through(gateway, "closed", member) as wire:
        assert wire.rows("SELECT 1") == [("1",)]
    refused = eventually(lambda: logins(gateway, "not among the connection"))
    assert {"subject": "agent-1", "connection": "closed"}.items() <= refused[0].items()  # type: ignore[index]


def test_a_cancel_may_come_in_plain_text_but_names_nothing(gateway: RunningGateway) -> None:
    from gateway.pgwire.frontend import cancel_request

    for key in (b"1234", b"k" * 32, b"k" * 256):
        with closing(plain(gateway.port)) as connected:
            connected.sendall(cancel_request(1, key))
            assert connected.recv(1) == b""


def test_silent_and_slow_clients_delay_nobody(gateway: RunningGateway, token: str, agent: Callable[..., Wire]) -> None:
    silent = [plain(gateway.port) for _ in range(20)] + [secure(gateway) for _ in range(5)]
    slow = Wire(secure(gateway))
    hello = startup({"user": "agent", "database": "plain"})
    dribbled = agent("plain")
    statement = query(b"SELECT 'slow'")
    for sent in range(max(len(hello), len(statement))):
        slow.send(hello[sent : sent + 1])
        dribbled.send(statement[sent : sent + 1])
        began = time.monotonic()
        if sent % 8 == 0:
            with through(gateway, "plain", token) as fast:
                assert fast.rows("SELECT 1") == [("1",)]
            assert time.monotonic() - began < 5
    assert kinds(dribbled.until()) == "TDCZ"
    slow.authenticate(token)
    slow.until()
    for each in (*silent, slow.stream):
        each.close()


def test_no_secret_is_in_any_log_or_record(gateway: RunningGateway, token: str, postgres: PostgresServer) -> None:
    signature = token.rsplit(".", 1)[1]
    for path in gateway.home.rglob("*"):
        if path.is_file() and path.name not in ("password", "issuer.json") and "issuer" not in path.parts:
            content = path.read_bytes()
            assert signature.encode() not in content, path
            assert postgres.password.encode() not in content, path


def test_a_client_that_hangs_up_at_every_step(gateway: RunningGateway, token: str) -> None:
    steps = [ssl_request()]
    for count in range(len(steps) + 1):
        with closing(plain(gateway.port)) as connected:
            connected.sendall(b"".join(steps[:count]))
            connected.shutdown(socket.SHUT_WR)
            connected.settimeout(10)
            while connected.recv(100):
                pass
    for said in ([], [startup({"user": "a", "database": "plain"})]):
        with Wire(secure(gateway)) as wire:
            wire.send(*said)
    with through(gateway, "plain", token) as wire:
        assert wire.rows("SELECT 1") == [("1",)]
    assert "Traceback" not in gateway.log
