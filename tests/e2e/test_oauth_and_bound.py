"""Tokens by OAUTHBEARER from a real libpq 18, and tokens bound to a client certificate, through a whole gateway."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import psycopg.pq
import pytest
from authority import Authority, private_pem
from cryptography.hazmat.primitives.asymmetric import ec
from running import RunningGateway, connection_table, running
from wire_client import Wire, error, secure
from workers_seen import WORKERS

from gateway.demo.postgres import PostgresServer
from gateway.pgwire.framing import message
from gateway.pgwire.frontend import startup


@dataclass(frozen=True)
class Strict:
    """A gateway with both ports and an authority for clients."""

    gateway: RunningGateway
    oauth: RunningGateway
    folder: Path

    def certificate(self, name: str, authority: Authority) -> dict[str, str]:
        """Make a client certificate; return libpq's parameters for it."""
        key = ec.generate_private_key(ec.SECP256R1())
        paths = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        paths[0].write_bytes(authority.issue([name], key))
        paths[1].write_bytes(private_pem(key))
        paths[1].chmod(0o600)
        return {"sslcert": str(paths[0]), "sslkey": str(paths[1])}


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.new("clients")


@pytest.fixture(scope="module")
def strict(
    postgres: PostgresServer, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Strict]:
    folder = tmp_path_factory.mktemp("strict")
    ca = authority.save(folder / "ca.pem")
    with _two_ports(folder / "home", postgres, f'client_ca = "{ca}"') as (gateway, oauth):
        yield Strict(gateway, oauth, folder)


@contextmanager
def _two_ports(home: Path, postgres: PostgresServer, keys: str) -> Iterator[tuple[RunningGateway, RunningGateway]]:
    """A gateway of two workers, and it again as found by its second port: the logins go on in the workers."""
    table = connection_table("orders", postgres, "postgres")
    keys = f'oauth_listen = "127.0.0.1:0"\n{keys}\n'
    with running(home, postgres, [table], environment=WORKERS, postgres_keys=keys) as gateway:
        found = re.search(r"OAUTHBEARER at 127\.0\.0\.1:(\d+)", gateway.log)
        assert found
        yield gateway, RunningGateway(gateway.home, int(found[1]), gateway.process, gateway.environment)


def issuer(token: str) -> str:
    """The address of the development issuer, as its tokens name it."""
    payload = token.split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["iss"])


def libpq(strict: Strict, token: str, issuer_url: str) -> str:
    """Run the client; return what it printed."""
    dsn = (
        f"host=127.0.0.1 port={strict.oauth.port} dbname=orders user=agent sslmode=verify-full "
        f"sslrootcert={strict.gateway.root_certificate} oauth_issuer={issuer_url} oauth_client_id=test"
    )
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("libpq_oauth.py")), dsn],
        env={**os.environ, "HOOK_TOKEN": token, "PGOAUTHDEBUG": "UNSAFE"},  # the development issuer speaks http
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert token not in done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(psycopg.pq.version() < 180000, reason="needs libpq 18: pip install 'psycopg[binary]>=3.3'")
def test_libpq_18_brings_its_token_by_oauthbearer(strict: Strict) -> None:
    address = issuer(strict.gateway.token())
    known = f"{address}/.well-known/openid-configuration"
    assert libpq(strict, strict.gateway.token(), known).splitlines() == [f"asked: {known}", "answer: 42"]
    # Without the document's address it asks the gateway first, and comes again.
    assert libpq(strict, strict.gateway.token(), address).splitlines() == [f"asked: {known}", "answer: 42"]
    refused = libpq(strict, strict.gateway.token()[:-4] + "AAAA", known)
    assert refused.splitlines()[-1].endswith("hoop: the access token was not accepted")
    rows = strict.gateway.query("SELECT outcome, reason FROM logins ORDER BY ts")
    assert {row["outcome"] for row in rows} == {"ok", "refused"}
    assert any("where tokens come from" in str(row["reason"]) for row in rows)


def test_a_password_is_not_taken_on_the_second_port(strict: Strict) -> None:
    with Wire(secure(strict.oauth)) as wire:
        wire.send(startup({"user": "agent", "database": "orders"}))
        assert b"OAUTHBEARER" in wire.expect("R").body
        wire.send(message(b"p", strict.gateway.token().encode() + b"\0"))
        assert error(wire.rest())[0] == "08P01"


def test_a_bound_token_is_good_beside_its_certificate_alone(strict: Strict, authority: Authority) -> None:
    ours, theirs = strict.certificate("ours", authority), strict.certificate("theirs", authority)
    stranger = strict.certificate("stranger", Authority.new("others"))
    command = ("token", "-c", str(strict.gateway.config), "--subject", "a", "--certificate", ours["sslcert"])
    token = strict.gateway.command(*command).stdout.strip()
    arguments = strict.gateway.connect_arguments("orders", token)
    with psycopg.connect(**arguments, **ours) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    for shown, words in ((theirs, "which was not shown"), ({}, "which was not shown"), (stranger, "alert|closed|SSL")):
        with pytest.raises(psycopg.OperationalError, match=words):
            psycopg.connect(**arguments, **shown)
    with psycopg.connect(**strict.gateway.connect_arguments("orders", strict.gateway.token())) as unbound:
        assert unbound.execute("SELECT 1").fetchone() == (1,)


def test_where_all_must_be_bound(postgres: PostgresServer, authority: Authority, tmp_path: Path) -> None:
    ca = authority.save(tmp_path / "ca.pem")
    with (
        running(
            tmp_path / "home",
            postgres,
            [connection_table("orders", postgres, "postgres")],
            postgres_keys=f'client_ca = "{ca}"\n',
            identity_keys='binding = "required"\n',
        ) as gateway,
        pytest.raises(psycopg.OperationalError, match="bound to no client certificate"),
    ):
        psycopg.connect(**gateway.connect_arguments("orders", gateway.token()))
