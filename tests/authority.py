"""A certificate authority for tests, and targets that are not PostgreSQL."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.model import Connection, TargetAddress

SHA256 = hashes.SHA256()
PASSWORD = "pä ss,word="


def connection(
    host: str, port: int, user: str = "agent", *, sslmode: str = "disable", root: Path | str | None = None
) -> Connection:
    address = TargetAddress(host, port, "postgres", sslmode, None if root is None else str(root))
    return Connection(name="orders", target=address, username=user, password=None, agents=("any",))


@dataclass
class Authority:
    """Signs certificates for servers."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def new(cls, name: str = "test authority") -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            _builder(subject, subject, key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, SHA256)
        )
        return cls(key, certificate)

    def save(self, path: Path) -> Path:
        path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        return path

    def issue(self, hosts: Sequence[str], key: Any, *, days: int = 1) -> bytes:
        """Return a certificate (PEM) for `hosts` with `key`'s public half."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
        signed = (
            _builder(subject, self.certificate.subject, key.public_key(), days)
            .add_extension(x509.SubjectAlternativeName([_name(host) for host in hosts]), critical=False)
            .sign(self.key, SHA256)
        )
        return signed.public_bytes(serialization.Encoding.PEM)

    def server_context(self, folder: Path, hosts: Sequence[str], *, days: int = 1) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        (folder / "fake-cert.pem").write_bytes(self.issue(hosts, key, days=days))
        (folder / "fake-key.pem").write_bytes(private_pem(key))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "fake-cert.pem", folder / "fake-key.pem")
        return context


def self_signed(key: Any, algorithm: hashes.HashAlgorithm | None, **how: Any) -> bytes:
    """Return a certificate (PEM) for localhost, signed by its own key with that hash (None for Ed25519)."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
    builder = _builder(subject, subject, key.public_key()).add_extension(
        x509.SubjectAlternativeName([_name("localhost"), _name("127.0.0.1")]), critical=False
    )
    return builder.sign(key, algorithm, **how).public_bytes(serialization.Encoding.PEM)


def private_pem(key: Any) -> bytes:
    pem: bytes = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem


def _builder(subject: x509.Name, issuer: x509.Name, public: Any, days: int = 1) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    first = min(now, now + dt.timedelta(days=days)) - dt.timedelta(days=1)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(first).not_valid_after(now + dt.timedelta(days=days))


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


@asynccontextmanager
async def fake_target(behave: Callable[[trio.SocketStream], Awaitable[None]]) -> AsyncIterator[int]:
    """Serve `behave` on a loopback port; a client that goes away is no error."""

    async def serve(stream: trio.SocketStream) -> None:
        try:
            async with stream:
                await behave(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(
            lambda task_status: trio.serve_tcp(serve, 0, host="127.0.0.1", task_status=task_status)
        )
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()
