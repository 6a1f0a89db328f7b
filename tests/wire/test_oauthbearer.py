"""OAUTHBEARER's messages as tables: what yields a token, what asks for the issuer, and what is refused."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ClientFault
from gateway.pgwire.framing import MessageReader
from gateway.pgwire.oauthbearer import initial_token, longest, no_token, offer


def initial(said: bytes | None, mechanism: bytes = b"OAUTHBEARER") -> bytes:
    length = -1 if said is None else len(said)
    return mechanism + b"\0" + struct.pack("!i", length) + (said or b"")


@pytest.mark.parametrize(
    ("said", "token"),
    [
        (b"n,,\x01auth=Bearer a.b.c\x01\x01", "a.b.c"),
        (b"y,,\x01auth=bearer a-b_c~/+==\x01\x01", "a-b_c~/+=="),
        (b"n,,\x01host=db\x01port=5432\x01auth=Bearer  a.b.c \x01\x01", "a.b.c"),
        (b"n,,\x01auth=\x01\x01", None),
    ],
)
def test_what_yields_a_token_or_asks(said: bytes, token: str | None) -> None:
    assert initial_token(initial(said)) == token


@pytest.mark.parametrize(
    "body",
    [
        b"",
        initial(None),
        initial(b""),
        initial(b"n,,\x01\x01"),
        initial(b"n,,\x01auth=Bearer a.b.c\x01"),
        initial(b"n,,\x01auth=Bearer a.b.c"),
        initial(b"p=tls-exporter,,\x01auth=Bearer a.b.c\x01\x01"),
        initial(b"n,a=other,\x01auth=Bearer a.b.c\x01\x01"),
        initial(b"n,,\x01auth=Basic a.b.c\x01\x01"),
        initial(b"n,,\x01auth=Bearer\x01\x01"),
        initial(b"n,,\x01auth=Bearer a b\x01\x01"),
        initial(b"n,,\x01auth=Bearer \xc3\xa4\x01\x01"),
        initial(b"n,,\x01auth=Bearer a\0b\x01\x01"),
        initial(b"n,,\x01auth=Bearer a\x01auth=Bearer b\x01\x01"),
        initial(b"n,,\x01host\x01auth=Bearer a\x01\x01"),
        initial(b"n,,\x01=x\x01auth=Bearer a\x01\x01"),
        initial(b"n,,\x01auth=Bearer a\x01\x01", b"SCRAM-SHA-256"),
        initial(b"n,,\x01auth=Bearer a\x01\x01") + b"x",
        initial(b"n,,\x01auth=Bearer a\x01\x01")[:-1],
    ],
)
def test_what_is_refused_without_being_repeated(body: bytes) -> None:
    with pytest.raises(ClientFault) as caught:
        initial_token(body)
    assert "Bearer" not in str(caught.value)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_token_a_question_or_a_fault(said: bytes) -> None:
    try:
        token = initial_token(initial(b"n,,\x01auth=" + said + b"\x01\x01"))
    except ClientFault:
        return
    assert token is None or (token.isascii() and token.isprintable() and " " not in token)


def test_what_the_server_says() -> None:
    reader = MessageReader(1 << 16)
    reader.feed(offer() + no_token("https://idp.example/.well-known/openid-configuration"))
    asked, told = reader
    assert asked.body == struct.pack("!i", 10) + b"OAUTHBEARER\0\0"
    assert told.body[:4] == struct.pack("!i", 11)
    assert json.loads(told.body[4:])["openid-configuration"].startswith("https://idp.example/")
    assert longest(100) > 100 + len(initial(b"n,,\x01auth=Bearer \x01\x01"))
