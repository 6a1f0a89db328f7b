"""A real time-stamping authority: `openssl ts` with keys of its own, behind HTTP."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.identity.http_server import Request, Response, serve_http
from requires import requires

_CONFIGURATION = """
[tsa]
default_tsa = one
[one]
serial = serial
signer_cert = tsa.crt
signer_key = tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
ess_cert_id_alg = sha256
"""


@dataclass
class Authority:
    """Its keys and files, in a directory; `tsa.pem` is what others check its stamps with."""

    place: Path
    asked: int = 0

    @property
    def certificates(self) -> Path:
        return self.place / "tsa.pem"

    def answer(self, request: Request) -> Response:
        self.asked += 1
        return Response(200, self.stamp(request.body), kind="application/timestamp-reply")

    def stamp(self, query: bytes) -> bytes:
        (self.place / "query").write_bytes(query)
        command = [requires("openssl"), "ts", "-reply", "-config", "ts.cnf", "-queryfile", "query", "-out", "reply"]
        subprocess.run(command, cwd=self.place, check=True, capture_output=True)
        return (self.place / "reply").read_bytes()


def make_authority(
    place: Path, *, purpose: x509.ObjectIdentifier = x509.ExtendedKeyUsageOID.TIME_STAMPING
) -> Authority:
    """Make the keys: a root, and beneath it a certificate for time stamping."""
    requires("openssl")
    place.mkdir()
    root, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "root of the test")])
    own = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "stamps of the test")])
    ca = _certificate(name, name, root, root).add_extension(x509.BasicConstraints(True, None), critical=True)
    leaf = _certificate(own, name, key, root).add_extension(x509.ExtendedKeyUsage([purpose]), critical=True)
    leaf = leaf.add_extension(x509.BasicConstraints(False, None), critical=True)
    signed = [one.sign(root, hashes.SHA256()).public_bytes(Encoding.PEM) for one in (ca, leaf)]
    (place / "tsa.pem").write_bytes(signed[0])
    (place / "tsa.crt").write_bytes(signed[1])
    (place / "tsa.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (place / "serial").write_text("01\n")
    (place / "ts.cnf").write_text(_CONFIGURATION)
    return Authority(place)


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, by: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    made = made.serial_number(x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=2))
    identifier = x509.SubjectKeyIdentifier.from_public_key(by.public_key())
    return made.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
    ).add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)


@asynccontextmanager
async def stamping(authority: Authority) -> AsyncIterator[str]:
    """The authority at work for the time of a block; gives its URL."""
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(serve_http, listener, authority.answer)
        yield f"http://127.0.0.1:{listener.socket.getsockname()[1]}/tsr"
        nursery.cancel_scope.cancel()
