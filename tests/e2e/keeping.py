"""A gateway that keeps originals, and auditors who can open them, for tests of what is sealed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyrage
from running import RunningGateway, connection_table, running
from wire_client import Wire, through

from gateway.demo.postgres import PostgresServer

SCHEMA = """
CREATE TABLE payments (id int PRIMARY KEY, card text, amount numeric, raw bytea);
INSERT INTO payments SELECT i, CASE WHEN i % 10 = 0 THEN NULL ELSE 'card-' || i || repeat('x', 40) END, i,
    decode(md5(i::text), 'hex') FROM generate_series(1, 3000) i;
"""


@dataclass
class Kept:
    """A gateway that keeps originals, and two auditors who can open them."""

    gateway: RunningGateway
    identities: list[Path]
    token: str

    def wire(self) -> Wire:
        return through(self.gateway, "payments", self.token)

    def unseal(self, out: Path, *more: str, which: int = 0, check: bool = True) -> dict[str, Any]:
        done = self.gateway.command(
            "evidence", "unseal", str(self.gateway.evidence), str(out), "--identity", str(self.identities[which]),
            "--reason", "a test", "--json", *more, check=check,
        )  # fmt: skip
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@contextmanager
def keeping(postgres: PostgresServer, home: Path, place: Path) -> Iterator[Kept]:
    """The gateway in `place`, the auditors' identities in `home`."""
    postgres.create_database("payments")
    postgres.execute(SCHEMA, "payments")
    identities, recipients = [], []
    for number in range(2):
        identity = pyrage.x25519.Identity.generate()
        path = home / f"auditor-{number}"
        path.write_text(f"{identity}\n")
        identities.append(path)
        recipients.append(str(identity.to_public()))
    marks = ["public.payments.card", "public.payments.raw"]
    table = f'[evidence]\nrecipients = ["{recipients[0]}", "{recipients[1]}"]\noriginals = "first:1000"\n'
    tables = [connection_table("payments", postgres, "payments", mask=marks)]
    with running(place, postgres, tables, table) as gateway:
        yield Kept(gateway, identities, gateway.token())
    done = gateway.command("evidence", "verify", str(gateway.evidence), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in gateway.log, gateway.log
