"""The greeting machine: (bytes, events) tables, and fuzzing by arbitrary bytes in arbitrary pieces."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ClientFault, OurBug
from gateway.pgwire.framing import message
from gateway.pgwire.frontend import GSSENC_REQUEST, cancel_request, ssl_request, startup
from gateway.pgwire.startup import (
    STARTUP_LIMIT,
    CancelRequested,
    DirectTls,
    Greeting,
    GreetingEvent,
    GssencRequested,
    SslRequested,
    StartupReceived,
)

SSL = ssl_request()
GSSENC = struct.pack("!II", 8, GSSENC_REQUEST)
HELLO = {"user": "agent", "database": "orders"}


def packet(body: bytes) -> bytes:
    return struct.pack("!I", len(body) + 4) + body


def greet(data: bytes, piece: int = 1 << 20) -> tuple[list[GreetingEvent], bytes]:
    """Feed like a driver that answers every request at once; return the events and what is left."""
    machine = Greeting()
    events: list[GreetingEvent] = []
    while data:
        found = machine.feed(data[:piece])
        data = data[piece:]
        events += found
        if found and isinstance(found[-1], SslRequested | DirectTls):
            machine.secured()
        if found and isinstance(found[-1], CancelRequested | StartupReceived):
            return events, machine.leftover + data
    return events, b""


@pytest.mark.parametrize(
    ("data", "event"),
    [
        (SSL, SslRequested()),
        (GSSENC, GssencRequested()),
        (b"\x16\x03\x01", DirectTls(b"\x16\x03\x01")),
        (cancel_request(7, b"1234"), CancelRequested(7, b"1234")),
        (cancel_request(-7, b"k" * 256), CancelRequested(-7, b"k" * 256)),
        (startup(HELLO), StartupReceived(0, HELLO)),
        (startup(HELLO, 3 << 16 | 2), StartupReceived(2, HELLO)),
        (startup({"user": "é", "options": ""}), StartupReceived(0, {"user": "é", "options": ""})),
        (startup({}), StartupReceived(0, {})),
        (
            startup({"_pq_.a": "1", **HELLO, "_pq_.b": ""}, 3 << 16 | 9999),
            StartupReceived(9999, HELLO, ("_pq_.a", "_pq_.b")),
        ),
    ],
)
def test_each_greeting_is_understood(data: bytes, event: GreetingEvent) -> None:
    assert greet(data)[0] == [event]


@pytest.mark.parametrize(
    ("data", "sqlstate", "words"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "08P01", "length"),
        (struct.pack("!I", 7) + b"abc", "08P01", "length"),
        (struct.pack("!I", STARTUP_LIMIT + 1), "08P01", "length"),
        (SSL + b"\x16", "08P01", "unencrypted"),
        (SSL + startup(HELLO), "08P01", "unencrypted"),
        (GSSENC + SSL, "08P01", "unencrypted"),
        (struct.pack("!II", 9, GSSENC_REQUEST) + b"x", "08P01", "length of GSSAPI"),
        (cancel_request(1, b"abc"), "08P01", "cancel key"),
        (cancel_request(1, b"k" * 257), "08P01", "cancel key"),
        (startup(HELLO, 2 << 16), "0A000", "protocol 2.0"),
        (startup(HELLO, 4 << 16), "0A000", "protocol 4.0"),
        (packet(struct.pack("!I", 3 << 16) + b"user\0agent\0"), "08P01", "terminated"),
        (packet(struct.pack("!I", 3 << 16) + b"user\0agent"), "08P01", "terminated"),
        (packet(struct.pack("!I", 3 << 16) + b"user\0agent\0\0x"), "08P01", "terminator"),
        (packet(struct.pack("!I", 3 << 16) + b"user\0a\0user\0b\0\0"), "08P01", "twice"),
        (packet(struct.pack("!I", 3 << 16) + b"user\0\xff\0\0"), "22021", "UTF8"),
    ],
)
def test_whatever_breaks_the_protocol_is_the_clients_fault(data: bytes, sqlstate: str, words: str) -> None:
    with pytest.raises(ClientFault, match=words) as caught:
        greet(data)
    assert caught.value.sqlstate == sqlstate


def test_tls_is_asked_for_once_and_only_in_plain_text() -> None:
    machine = Greeting()
    assert machine.feed(SSL) == [SslRequested()]
    with pytest.raises(OurBug):
        machine.feed(b"x")
    machine.secured()
    assert machine.is_secured
    with pytest.raises(ClientFault, match=r"1234\.5679"):
        machine.feed(SSL)


def test_a_client_may_fall_back_from_gssapi_to_tls_but_not_ask_twice() -> None:
    machine = Greeting()
    assert machine.feed(GSSENC) == [GssencRequested()]
    assert machine.feed(SSL) == [SslRequested()]
    again = Greeting()
    again.feed(GSSENC)
    with pytest.raises(ClientFault, match=r"1234\.5680"):
        again.feed(GSSENC)


def test_a_handshake_after_the_first_byte_is_no_direct_tls() -> None:
    machine = Greeting()
    machine.feed(GSSENC)
    with pytest.raises(ClientFault):
        machine.feed(b"\x16\x03\x01\x02\x00")


@pytest.mark.parametrize(
    ("minor", "options", "answer"),
    [
        (0, (), b""),
        (2, (), b""),
        (3, (), message(b"v", struct.pack("!II", 3 << 16 | 2, 0))),
        (0, ("_pq_.x",), message(b"v", struct.pack("!II", 3 << 16, 1) + b"_pq_.x\0")),
        (9999, ("_pq_.x", "_pq_.y"), message(b"v", struct.pack("!II", 3 << 16 | 2, 2) + b"_pq_.x\0_pq_.y\0")),
    ],
)
def test_newer_minors_and_unknown_options_are_negotiated(minor: int, options: tuple[str, ...], answer: bytes) -> None:
    assert StartupReceived(minor, HELLO, options).negotiation() == answer


def test_what_follows_the_startup_message_is_kept() -> None:
    assert greet(startup(HELLO) + b"rest") == ([StartupReceived(0, HELLO)], b"rest")


_names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
_values = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=50)


@given(
    parameters=st.dictionaries(_names.filter(lambda name: not name.startswith("_pq_.")), _values, max_size=8),
    minor=st.integers(0, 0xFFFF),
    piece=st.integers(1, 40),
    rest=st.binary(max_size=20),
)
def test_a_startup_message_survives_any_cutting(
    parameters: dict[str, str], minor: int, piece: int, rest: bytes
) -> None:
    data = startup(parameters, 3 << 16 | minor) + rest
    assert greet(data, piece) == ([StartupReceived(minor, parameters)], rest)


_codes = st.sampled_from([3 << 16, 3 << 16 | 2, 1234 << 16 | 5678, 1234 << 16 | 5679, 1234 << 16 | 5680, 2 << 16])
_likely = st.builds(lambda code, body: packet(struct.pack("!I", code) + body), _codes, st.binary(max_size=300))


@given(st.lists(_likely | st.binary(max_size=40), max_size=4), st.integers(1, 64))
def test_nothing_a_client_sends_is_more_than_a_client_fault(packets: list[bytes], piece: int) -> None:
    data = b"".join(packets)
    try:
        events, leftover = greet(data, piece)
    except ClientFault:
        return
    assert len(events) <= 4
    assert data.endswith(leftover)


@given(st.binary(max_size=200))
def test_no_byte_before_tls_is_taken_for_one_inside(injected: bytes) -> None:
    machine = Greeting()
    if injected:
        with pytest.raises(ClientFault):
            machine.feed(SSL + injected)
    else:
        assert machine.feed(SSL) == [SslRequested()]
