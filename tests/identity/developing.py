"""Development issuers for tests: keys made beforehand, serving on this machine, and who believes them."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from forging import AUDIENCE, CountingEntropy, HandClock

from gateway.identity.development import DevelopmentIssuer
from gateway.identity.issuer import keys_of
from gateway.identity.keys import IssuerKeys
from gateway.identity.verifier import TokenVerifier

KEYS = [rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2)]
NUMBERS = itertools.count()


def issuer_in(state_dir: Path, clock: HandClock | None = None, **options: Any) -> DevelopmentIssuer:
    """An issuer whose key, where `options` do not say `fresh`, was made beforehand: making one takes long."""
    directory = state_dir / "development-issuer"
    if not options.pop("fresh", False) and not directory.exists() and "issuer_url" not in options:
        directory.mkdir(mode=0o700, parents=True)
        pem = KEYS[next(NUMBERS) % len(KEYS)].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (directory / "key.pem").touch(mode=0o600)
        (directory / "key.pem").write_bytes(pem)
    options.setdefault("audience", AUDIENCE)
    return DevelopmentIssuer.load_or_create(
        state_dir, clock=clock or HandClock(), entropy=options.pop("entropy", CountingEntropy()), **options
    )


def verifier_of(issuer: DevelopmentIssuer, clock: HandClock, groups_claim: str = "groups") -> TokenVerifier:
    keys = IssuerKeys(keys_of(issuer.issuer_url), clock)
    return TokenVerifier(issuer.issuer_url, AUDIENCE, groups_claim, True, clock, keys)


@asynccontextmanager
async def serving(issuer: DevelopmentIssuer) -> AsyncIterator[str]:
    async with trio.open_nursery() as nursery:
        yield await nursery.start(issuer.serve)
        nursery.cancel_scope.cancel()
