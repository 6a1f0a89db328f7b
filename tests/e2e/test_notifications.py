"""A held statement is told at once to a webhook, signed, without a value; and so is what was decided."""

from __future__ import annotations

import base64
import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from operating import approve
from running import connection_table, running
from standardwebhooks import Webhook
from wire_client import errors, eventually, through

from gateway.demo.postgres import PostgresServer
from gateway.pgwire.frontend import query

SECRET = "whsec_" + base64.b64encode(b"a secret of the right length").decode()
CANARY = "4111111111111111"


@contextmanager
def receiver() -> Iterator[tuple[str, queue.Queue[dict[str, Any]]]]:
    """A webhook's other end, which refuses what is not signed; the first request fails, to be sent again."""
    got: queue.Queue[dict[str, Any]] = queue.Queue()
    failures = [503]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            told = Webhook(SECRET).verify(body, {name.lower(): value for name, value in self.headers.items()})
            status = failures.pop() if failures else 204
            if status == 204:
                got.put(told | {"raw": body.decode()})
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hooks", got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


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
