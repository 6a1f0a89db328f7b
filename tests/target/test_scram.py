"""SCRAM against an independent server of a few lines, hostile servers, and md5's known answer."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import TargetFault
from gateway.pgwire.scram import SCRAM, SCRAM_PLUS, ScramClient, md5_response, saslprep

NONCE = b"n" * 18
SALT = base64.b64encode(b"salt of sixteen!")


def first(client_first: bytes, iterations: str = "4096", salt: bytes = SALT) -> bytes:
    return client_first.split(b"r=")[1].join([b"r=", b"+server,s=" + salt + b",i=" + iterations.encode()])


def serve(client: ScramClient, password: bytes, iterations: int = 4096) -> bytes:
    """Play the server, written after RFC 5802's formulas; return the server-final-message for a right proof."""
    bare = client.first().split(b",", 2)[2]
    server_first = first(client.first(), str(iterations))
    final = client.final(server_first)
    without_proof, proof = final.rsplit(b",p=", 1)
    salted = hashlib.pbkdf2_hmac("sha256", password, base64.b64decode(SALT), iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    signed = b",".join([bare, server_first, without_proof])
    signature = hmac.digest(hashlib.sha256(client_key).digest(), signed, "sha256")
    expected = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    assert base64.b64decode(proof) == expected
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    return b"v=" + base64.b64encode(hmac.digest(server_key, signed, "sha256"))


@pytest.mark.parametrize(
    ("offered", "binding", "mechanism", "header"),
    [
        ([SCRAM], None, SCRAM, b"n,,"),
        ([SCRAM_PLUS, SCRAM], None, SCRAM, b"n,,"),
        ([SCRAM], b"hash", SCRAM, b"y,,"),
        ([SCRAM_PLUS, SCRAM], b"hash", SCRAM_PLUS, b"p=tls-server-end-point,,"),
    ],
)
def test_the_channel_is_bound_where_both_sides_can(
    offered: list[str], binding: bytes | None, mechanism: str, header: bytes
) -> None:
    client = ScramClient(b"pencil", offered, NONCE, binding)
    assert client.mechanism == mechanism
    assert client.first() == header + b"n=,r=" + base64.b64encode(NONCE)
    bound = client.final(first(client.first())).split(b",")[0]
    assert bound == b"c=" + base64.b64encode(header + (b"hash" if mechanism == SCRAM_PLUS else b""))


def test_a_server_that_knows_the_password_is_believed() -> None:
    client = ScramClient(b"pencil", [SCRAM], NONCE)
    assert not client.finished
    client.finish(serve(client, b"pencil"))
    assert client.finished


@pytest.mark.parametrize("said", [b"v=AAAA", b"v=", b"", b"v=%%%%", b"e=other-error", b"x=1"])
def test_a_server_without_proof_is_not(said: bytes) -> None:
    client = ScramClient(b"pencil", [SCRAM], NONCE)
    serve(client, b"pencil")
    with pytest.raises(TargetFault):
        client.finish(said)
    assert not client.finished


def test_a_proof_before_the_exchange_is_refused() -> None:
    with pytest.raises(TargetFault):
        ScramClient(b"pencil", [SCRAM], NONCE).finish(b"v=" + base64.b64encode(bytes(32)))


@pytest.mark.parametrize(
    "server_first",
    [
        b"",
        b"r=abc,s=" + SALT + b",i=4096",  # not our nonce
        b"r=" + base64.b64encode(NONCE) + b",s=" + SALT + b",i=4096",  # nothing added to it
        b"r=" + base64.b64encode(NONCE) + b"x,s=,i=4096",
        b"r=" + base64.b64encode(NONCE) + b"x,s=!!!!,i=4096",
        b"r=" + base64.b64encode(NONCE) + b"x,s=" + base64.b64encode(bytes(2000)) + b",i=4096",
        b"r=" + base64.b64encode(NONCE) + b"x,s=" + SALT + b",i=-4096",
        b"r=" + base64.b64encode(NONCE) + b"x,s=" + SALT + b",i=4_096",
        b"r=" + base64.b64encode(NONCE) + b"x,s=" + SALT + b",i=1",  # our answer would be cheap to guess from
        b"r=" + base64.b64encode(NONCE) + b"x,s=" + SALT + b",i=2147483647",  # hours of work
        b"r=" + base64.b64encode(NONCE) + b"x,s=" + SALT + b",i=" + b"9" * 400,
        b"m=ext,r=" + base64.b64encode(NONCE) + b"x,s=" + SALT + b",i=4096",  # a mandatory extension
    ],
)
def test_hostile_numbers_are_refused_before_any_work(server_first: bytes) -> None:
    with pytest.raises(TargetFault) as caught:
        ScramClient(b"pencil", [SCRAM], NONCE).final(server_first)
    assert "pencil" not in str(caught.value)


@given(st.binary(max_size=200))
def test_any_other_bytes_are_the_targets_fault(server_first: bytes) -> None:
    with pytest.raises(TargetFault):
        ScramClient(b"pencil", [SCRAM], NONCE).final(server_first)


@pytest.mark.parametrize("offered", [[], ["SCRAM-SHA-1"], [SCRAM_PLUS]])
def test_no_mechanism_in_common(offered: list[str]) -> None:
    with pytest.raises(TargetFault, match="mechanism"):
        ScramClient(b"pencil", offered, NONCE)


@pytest.mark.parametrize(
    ("password", "prepared"),
    [  # RFC 4013, section 3, and PostgreSQL's own deviations: what is prohibited is used as it is
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("\u0007", "\u0007"),
        ("\u0627\u0031", "\u0627\u0031"),
        ("a\u00a0b", "a b"),
        ("\u0221", "\u0221"),
        ("\u00ad", "\u00ad"),
    ],
)
def test_passwords_are_normalised(password: str, prepared: str) -> None:
    assert saslprep(password.encode()) == prepared.encode()


def test_a_password_that_is_no_text_is_taken_as_it_is() -> None:
    assert saslprep(b"\xff\xfe") == b"\xff\xfe"


def test_md5() -> None:
    # inner=$(printf secretagent | md5sum | cut -c-32); printf "${inner}salt" | md5sum
    assert md5_response(b"agent", b"secret", b"salt") == b"md5e046585f184be303bf17733d020cc5ec"
