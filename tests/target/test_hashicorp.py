"""`hashicorp:` references against a real OpenBao, whose API is Vault's: both stores, AppRoles, and what is refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

import openbao_server
from gateway.errors import ConfigurationFault
from gateway.target import hashicorp
from gateway.target.credentials import fetch, obtain
from openbao_server import OpenBao
from requires import requires

SECRET, ROTATED = "hunter2-Sesame", "another-Sesame"
POLICY = 'path "secret/data/team/*" { capabilities = ["read"] }'


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    """Mounts `secret/` (version 2) and `old/` (version 1); the AppRole `hoop` may read `secret/team/`."""
    home = tmp_path_factory.mktemp("openbao")
    server = openbao_server.start(requires("openbao"), home / "log", home)
    try:
        server.ask("POST", "sys/mounts/old", {"type": "kv", "options": {"version": "1"}})
        server.ask("POST", "old/orders", {"password": SECRET})
        server.put("team/orders", password=SECRET, port=5432)
        server.put("others/orders", password=SECRET)
        server.ask("POST", "sys/policies/acl/team", {"policy": POLICY})
        server.ask("POST", "sys/auth/approle", {"type": "approle"})
        server.ask("POST", "auth/approle/role/hoop", {"token_policies": ["team"]})
        yield server
    finally:
        server.stop()


@pytest.fixture
def store(bao: OpenBao, monkeypatch: pytest.MonkeyPatch) -> OpenBao:
    """The server, named in the environment; who logs in there is up to the test."""
    for name in ("VAULT_TOKEN", "VAULT_ROLE_ID", "VAULT_SECRET_ID", "VAULT_NAMESPACE", "VAULT_CACERT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("VAULT_ADDR", bao.address)
    return bao


async def test_both_versions_of_the_store_as_they_are_now(store: OpenBao, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_TOKEN", store.token)
    store.put("team/rotated", password=SECRET)
    assert (await obtain("hashicorp:secret/team/rotated#password")).reveal() == SECRET.encode()
    store.put("team/rotated", password=ROTATED)
    assert (await obtain("hashicorp:secret/team/rotated#password")).reveal() == ROTATED.encode()
    assert fetch("hashicorp:old/orders#password").reveal() == SECRET.encode()


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("secret/team/none#password", "no such secret"),
        ("old/none#password", "no such secret"),
        ("elsewhere/orders#password", "does not let this gateway read it"),
        ("secret/team/orders#name", "no text in the field name"),
        ("secret/team/orders#port", "no text in the field port"),
    ],
)
def test_what_is_not_there(store: OpenBao, place: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_TOKEN", store.token)
    with pytest.raises(ConfigurationFault, match=words) as caught:
        hashicorp.read(place)
    assert "Sesame" not in str(caught.value)


def test_a_deleted_secret_is_none(store: OpenBao, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_TOKEN", store.token)
    store.put("team/deleted", password=SECRET)
    store.ask("DELETE", "secret/data/team/deleted")
    with pytest.raises(ConfigurationFault, match="no such secret"):
        hashicorp.read("secret/team/deleted#password")


def test_an_approle_reads_what_it_may_and_leaves_no_token_behind(
    store: OpenBao, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_ROLE_ID", store.ask("GET", "auth/approle/role/hoop/role-id")["data"]["role_id"])
    secret_id = store.ask("POST", "auth/approle/role/hoop/secret-id")["data"]["secret_id"]
    monkeypatch.setenv("VAULT_SECRET_ID", secret_id)
    before = set(store.ask("LIST", "auth/token/accessors")["data"]["keys"])
    assert hashicorp.read("secret/team/orders#password") == SECRET.encode()
    with pytest.raises(ConfigurationFault, match="does not let"):
        hashicorp.read("secret/others/orders#password")
    assert set(store.ask("LIST", "auth/token/accessors")["data"]["keys"]) == before
    monkeypatch.setenv("VAULT_SECRET_ID", "wrong-Sesame")
    with pytest.raises(ConfigurationFault, match="cannot be asked") as caught:
        hashicorp.read("secret/team/orders#password")
    assert "Sesame" not in str(caught.value)


def test_a_bad_token_and_a_vault_that_is_away(store: OpenBao, monkeypatch: pytest.MonkeyPatch) -> None:
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


class _Nonsense(BaseHTTPRequestHandler):
    """What answers at the vault's address, and is none."""

    def do_GET(self) -> None:
        content = b'{"unexpected": "Sesame"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        """Nobody reads it."""


@contextmanager
def nonsense() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Nonsense)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_answer_that_is_not_a_vaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("VAULT_TOKEN", "hvs.any")
    with nonsense() as address:
        monkeypatch.setenv("VAULT_ADDR", address)
        with pytest.raises(ConfigurationFault, match="not a vault's") as caught:
            hashicorp.read("secret/team/orders#password")
    assert "Sesame" not in str(caught.value)
