"""The listener's certificate and key: made well, kept from others, and every trouble in one line."""

from __future__ import annotations

import os
import ssl
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.errors import ConfigurationFault
from gateway.listener.certificate import VALID_DAYS, make_self_signed
from gateway.listener.tls import server_context

Pair = tuple[Path, Path]


@pytest.fixture
def fresh(tmp_path: Path) -> Pair:
    pair = tmp_path / "cert.pem", tmp_path / "key.pem"
    make_self_signed(*pair, ["gate.example", "127.0.0.1", "::1"], now=datetime(2026, 11, 1, tzinfo=UTC))
    return pair


def test_what_is_made(fresh: Pair) -> None:
    certificate = x509.load_pem_x509_certificate(fresh[0].read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["gate.example"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert (certificate.not_valid_after_utc - datetime(2026, 11, 1, tzinfo=UTC)).days == VALID_DAYS
    assert stat.S_IMODE(fresh[1].stat().st_mode) == 0o600


def test_strict_clients_accept_it(certificate: Pair) -> None:
    """Two state machines and no network: Python's default context, and its strictest one."""
    for strict in (False, True):
        context = ssl.create_default_context(cafile=str(certificate[0]))
        if strict:
            context.verify_flags |= ssl.VERIFY_X509_STRICT
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = context.wrap_bio(to_client, to_server, server_hostname="localhost")
        server = server_context(*certificate).wrap_bio(to_server, to_client, server_side=True)
        for side in (client, server, client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
        assert client.getpeercert()


def test_nothing_is_overwritten(fresh: Pair) -> None:
    before = [path.read_bytes() for path in fresh]
    with pytest.raises(ConfigurationFault, match="exists"):
        make_self_signed(*fresh, ["x"])
    fresh[0].unlink()
    with pytest.raises(ConfigurationFault, match="exists"):
        make_self_signed(*fresh, ["x"])
    assert fresh[1].read_bytes() == before[1]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationFault, match="No such file"):
        make_self_signed(tmp_path / "no" / "cert.pem", tmp_path / "no" / "key.pem", ["x"])


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o601])
def test_a_key_that_others_may_read(fresh: Pair, mode: int) -> None:
    fresh[1].chmod(mode)
    with pytest.raises(ConfigurationFault, match="chmod 0600"):
        server_context(*fresh)


def test_a_key_of_somebody_else(fresh: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = fresh[1].stat().st_uid
    if owner == 0:
        os.chown(fresh[1], 12345, 12345)
    else:  # only root can give a file away; so somebody else is the gateway
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(ConfigurationFault, match="must belong"):
        server_context(*fresh)


def test_an_encrypted_key_asks_nobody(fresh: Pair) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    locked = serialization.BestAvailableEncryption(b"secret")
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
    fresh[1].write_bytes(pem)
    with pytest.raises(ConfigurationFault, match="encrypted"):
        server_context(*fresh)


def test_files_that_are_none(fresh: Pair, tmp_path: Path) -> None:
    for pair, words in (
        ((fresh[0], tmp_path / "absent"), "tls_key: .*No such file"),
        ((tmp_path / "absent", fresh[1]), "tls_cert: .*does not exist"),
        ((fresh[0], tmp_path), "is not a file"),
        ((tmp_path, fresh[1]), "tls_cert"),
        ((fresh[1], fresh[1]), "tls_cert"),
    ):
        with pytest.raises(ConfigurationFault, match=words):
            server_context(*pair)
    key = fresh[1].read_bytes()
    fresh[1].write_text("garbage")
    with pytest.raises(ConfigurationFault, match="tls_key"):
        server_context(*fresh)
    other = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PrivateFormat.PKCS8
    fresh[1].write_bytes(other.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    with pytest.raises(ConfigurationFault, match=r"(?i)mismatch"):
        server_context(*fresh)
    assert key != fresh[1].read_bytes()
