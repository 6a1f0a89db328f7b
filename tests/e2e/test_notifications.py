"""A held statement is told at once to a webhook, signed, without a value; and so is what was decided."""

from __future__ import annotations

import json
from pathlib import Path

from operating import approve
from running import connection_table, running
from webhooks import SECRET, receiver
from wire_client import errors, eventually, through

from gateway.demo.postgres import PostgresServer
from gateway.pgwire.frontend import query

CANARY = "4111111111111111"


def test_a_held_statement_is_told_and_its_decision(postgres: PostgresServer, tmp_path: Path) -> None:
    postgres.create_database("told")
    postgres.execute("CREATE TABLE cards (number text)", "told")
    (tmp_path / "hook").write_text(SECRET)
    with receiver() as (url, got):
        table = f'[[approvals.webhook]]\nurl = "{url}"\nsecret = "file:{tmp_path}/hook"\n'
        with running(tmp_path / "home", postgres, [connection_table("told", postgres, "told")], table) as gateway:
            with through(gateway, "told", gateway.token(), application_name=CANARY) as wire:
                wire.send(query(f"DELETE FROM cards WHERE number = '{CANARY}'".encode()))
                asked = got.get(timeout=30)
                assert (asked["type"], asked["data"]["rule"]) == ("approval.requested", "standard/delete")
                assert asked["data"]["relations"] == ["public.cards"]
                approve(gateway, asked["data"]["id"], f"because of {CANARY}")
                assert not errors(wire.until())
            decided = got.get(timeout=30)
            assert (decided["type"], decided["data"]["state"]) == ("approval.decided", "approved")
            # The parcel goes once the answer was read, which is after the receiver gave it.
            eventually(lambda: not list((gateway.home / "state" / "outbox").iterdir()))
        for told in (asked, decided):
            assert CANARY not in json.dumps(told)
        assert got.empty()
