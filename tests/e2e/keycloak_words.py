"""What agents, people and gateways say to a real Keycloak: tokens, revocations, logins in a browser."""

from __future__ import annotations

import base64
import html
import json
import re
import socket
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from running import RunningGateway, serving, write_home

from gateway.demo.postgres import PostgresServer
from keycloak_server import Keycloak

AGENT = "reporting-agent"


def token_of(keycloak: Keycloak, client: str = AGENT, realm: str = "hoop", **form: str) -> str:
    """A token as Keycloak gives it for credentials."""
    answer = httpx.post(
        f"{keycloak.issuer(realm)}/protocol/openid-connect/token",
        data={"grant_type": "client_credentials", **form},
        auth=(client, keycloak.secret(client, realm)),
        trust_env=False,
        timeout=20,
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


def claims_of(token: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    return found


def revoke(keycloak: Keycloak, token: str, client: str = AGENT) -> None:
    answer = httpx.post(
        f"{keycloak.issuer()}/protocol/openid-connect/revoke",
        data={"token": token},
        auth=(client, keycloak.secret(client)),
        trust_env=False,
        timeout=20,
    )
    assert answer.status_code == 200


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def believing(
    home: Path,
    keycloak: Keycloak,
    server: PostgresServer,
    connections: Sequence[str],
    identity: str,
    tables: str,
    environment: Mapping[str, str] | None = None,
) -> Iterator[RunningGateway]:
    """A gateway that believes Keycloak alone, for the time of a block; `identity` is the rest of that table.

    The secret of the gateway's client lies in the file `secret`. Who runs the test is an operator by `tables`.
    """
    write_home(home, server.password, connections, tables, identity_keys=identity)
    (home / "secret").write_text(keycloak.secret("hoop-gateway"))
    config = home / "gateway.toml"
    config.write_text(config.read_text().replace("development = true\n", f'issuer = "{keycloak.issuer()}"\n'))
    with serving(home, environment) as gateway:
        yield gateway


def confirm_in_a_browser(whole: str, user: str, password: str) -> None:
    """Do at Keycloak's own pages what a person does: log in, and say yes to the device."""
    cookies: dict[str, str] = {}

    def keep(answer: httpx.Response) -> None:
        for each in answer.headers.get_list("set-cookie"):
            name, _, value = each.partition(";")[0].partition("=")
            cookies[name] = value

    def bring(question: httpx.Request) -> None:
        """Also those marked Secure: to a browser this machine is as good as https."""
        question.headers["cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items() if value)

    hooks: dict[str, list[Any]] = {"request": [bring], "response": [keep]}
    with httpx.Client(trust_env=False, follow_redirects=True, timeout=20, event_hooks=hooks) as browser:
        page = browser.get(whole)
        for fields in ({"username": user, "password": password}, {"accept": "Yes"}):
            form = re.search(r'action="([^"]+)"', page.text)
            assert form, page.text
            hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page.text))
            place = urllib.parse.urljoin(str(page.url), html.unescape(form[1]))
            page = browser.post(place, data={**hidden, **fields})
            assert page.status_code == 200, page.text
            if "Device Login Successful" in page.text:
                return
        assert "Device Login Successful" in page.text, page.text


def log_in(gateway: RunningGateway, user: str) -> subprocess.CompletedProcess[str]:
    """`hoop-gateway login`, confirmed in a browser as `user`."""
    command = [sys.executable, "-m", "gateway", "login", "--json", "-c", str(gateway.config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as begun:
        try:
            assert begun.stdout is not None
            confirm_in_a_browser(json.loads(begun.stdout.readline())["verification_uri_complete"], user, "pw")
            out, err = begun.communicate(timeout=60)
        except BaseException:
            begun.kill()
            raise
    return subprocess.CompletedProcess(command, begun.returncode, out, err)
