"""`hashicorp:` references against the two requests that a key-value store of Vault or OpenBao answers.

The servers themselves are not to be had as packages; this speaks their HTTP API (api-docs/secret/kv) on loopback.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from gateway.errors import ConfigurationFault
from gateway.target import hashicorp
from gateway.target.credentials import fetch, obtain

TOKEN = "hvs.root-Sesame"
SECRET = "hunter2-Sesame"


class KeyValue(BaseHTTPRequestHandler):
    """Mounts `secret/` (version 2) and `old/` (version 1); an AppRole `role` gets a token of its own."""

    seen: list[str]
    tokens: set[str]

    def do_GET(self) -> None:
        self.seen.append(self.path)
        if self.headers.get("X-Vault-Token") not in self.tokens:
            self.answer(403, {"errors": ["permission denied"]})
            return
        mounts = "/v1/sys/internal/ui/mounts/"
        if self.path.startswith(mounts + "secret/"):
            self.answer(200, {"data": {"path": "secret/", "options": {"version": "2"}}})
        elif self.path.startswith(mounts + "old/"):
            self.answer(200, {"data": {"path": "old/", "options": None}})
        elif self.path == "/v1/secret/data/team/orders":
            self.answer(200, {"data": {"data": {"password": SECRET, "port": 5432}, "metadata": {}}})
        elif self.path == "/v1/old/orders":
            self.answer(200, {"data": {"password": SECRET}})
        elif self.path == "/v1/old/odd":
            self.answer(200, {"unexpected": []})
        else:
            self.answer(404, {"errors": []})

    def do_POST(self) -> None:
        self.seen.append(self.path)
        asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        if self.path == "/v1/auth/approle/login" and asked == {"role_id": "role", "secret_id": "shh"}:
            self.tokens.add("hvs.short")
            self.answer(200, {"auth": {"client_token": "hvs.short"}})
        elif self.path == "/v1/auth/token/revoke-self":
            self.tokens.discard(str(self.headers.get("X-Vault-Token")))
            self.answer(204, None)
        else:
            self.answer(400, {"errors": ["invalid role or secret ID"]})

    def answer(self, status: int, body: Any) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        """Nobody reads it."""


@contextmanager
def serving() -> Iterator[tuple[str, type[KeyValue]]]:
    handler = type("Handler", (KeyValue,), {"seen": [], "tokens": {TOKEN}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[KeyValue]]:
    for name in ("VAULT_TOKEN", "VAULT_ROLE_ID", "VAULT_SECRET_ID", "VAULT_NAMESPACE", "VAULT_CACERT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as (address, handler):
        monkeypatch.setenv("VAULT_ADDR", address)
        yield handler


async def test_both_versions_of_the_store(store: type[KeyValue], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_TOKEN", TOKEN)
    assert (await obtain("hashicorp:secret/team/orders#password")).reveal() == SECRET.encode()
    assert fetch("hashicorp:old/orders#password").reveal() == SECRET.encode()


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("secret/team/none#password", "no such secret"),
        ("elsewhere/orders#password", "no such secret"),
        ("secret/team/orders#name", "no text in the field name"),
        ("secret/team/orders#port", "no text in the field port"),
        ("old/odd#password", "not a vault's"),
    ],
)
def test_what_is_not_there(store: type[KeyValue], place: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_TOKEN", TOKEN)
    with pytest.raises(ConfigurationFault, match=words) as caught:
        hashicorp.read(place)
    assert "Sesame" not in str(caught.value)


def test_an_approle_logs_in_and_leaves_no_token_behind(store: type[KeyValue], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_ROLE_ID", "role")
    monkeypatch.setenv("VAULT_SECRET_ID", "shh")
    assert hashicorp.read("secret/team/orders#password") == SECRET.encode()
    assert store.tokens == {TOKEN}
    assert store.seen[-1] == "/v1/auth/token/revoke-self"
    monkeypatch.setenv("VAULT_SECRET_ID", "wrong")
    with pytest.raises(ConfigurationFault, match="cannot be asked"):
        hashicorp.read("secret/team/orders#password")


def test_a_bad_token_and_a_vault_that_is_away(store: type[KeyValue], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "hvs.wrong-Sesame")
    with pytest.raises(ConfigurationFault, match="does not let") as caught:
        hashicorp.read("secret/team/orders#password")
    assert "Sesame" not in str(caught.value)
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:1")
    with pytest.raises(ConfigurationFault, match="cannot be asked"):
        hashicorp.read("secret/team/orders#password")
    monkeypatch.delenv("VAULT_ADDR")
    with pytest.raises(ConfigurationFault, match="VAULT_ADDR"):
        hashicorp.read("secret/team/orders#password")
