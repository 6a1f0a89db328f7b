"""`hoop-gateway token`: its output is a token that the gateway believes, its errors are one line."""

from __future__ import annotations

import argparse
import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import token as command
from gateway.errors import ConfigurationFault
from gateway.identity.claims import Expectations, principal
from gateway.model import Micros

CONFIGURATION = """
[gateway]
name = "gw-1"
state_dir = "state"
control_socket = "state/control.sock"

[identity]
development = true
"""


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.toml"
    path.write_text(CONFIGURATION)
    tls = tmp_path / "state" / "tls"
    tls.mkdir(parents=True)
    for name in ("cert.pem", "key.pem"):
        (tls / name).touch(mode=0o600)  # the configuration names them; this command never opens them
    return path


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.register(parser.add_subparsers())
    args = parser.parse_args(["token", *arguments])
    return int(args.run(args))


def claims_of(printed: str) -> dict[str, Any]:
    assert printed.count("\n") == 1, "one line, nothing else"
    payload = printed.split(".")[1]
    found = json.loads(base64.urlsafe_b64decode(payload + "=="))
    assert isinstance(found, dict)
    return found


def test_it_prints_a_token_with_what_was_asked_for(configuration: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["-c", str(configuration), "--subject", "agent-7", "--groups", "a, /b", "--owner", "dana", "--ttl", "15m"]
    assert run(*asked) == 0
    claims = claims_of(capsys.readouterr().out)
    now = Micros(time.time_ns() // 1000)
    who = principal(claims, Expectations(claims["iss"], "hoop-gateway"), now)
    assert (who.subject, who.groups, who.owner) == ("agent-7", ("a", "b"), "dana")
    assert claims["exp"] - claims["iat"] == 900
    assert (configuration.parent / "state" / "development-issuer" / "key.pem").exists()


def test_without_more_it_lasts_an_hour_and_has_no_groups(
    configuration: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--config", str(configuration), "--subject", "agent-7") == 0
    claims = claims_of(capsys.readouterr().out)
    assert claims["exp"] - claims["iat"] == 3600
    assert (claims["groups"], "owner" in claims) == ([], False)


def test_every_token_has_an_id_of_its_own(configuration: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = set()
    for _ in range(3):
        assert run("-c", str(configuration), "--subject", "a") == 0
        ids.add(claims_of(capsys.readouterr().out)["jti"])
    assert len(ids) == 3


@pytest.mark.parametrize("ttl", ["", "15", "0s", "-1m", "1.5h", "250ms", "15 weeks", "m"])
def test_a_wrong_ttl_is_wrong_use(configuration: Path, ttl: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run("-c", str(configuration), "--subject", "a", f"--ttl={ttl}")
    assert ended.value.code == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("groups", ["", ",", "a,,b", "a,"])
def test_a_group_without_a_name_is_wrong_use(configuration: Path, groups: str) -> None:
    with pytest.raises(SystemExit) as ended:
        run("-c", str(configuration), "--subject", "a", f"--groups={groups}")
    assert ended.value.code == 2


def test_with_a_real_issuer_it_refuses_and_makes_nothing(
    configuration: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configuration.write_text(CONFIGURATION.replace("development = true", 'issuer = "https://idp.example/realms/prod"'))
    with pytest.raises(ConfigurationFault, match=r"identity\.development"):
        run("-c", str(configuration), "--subject", "a")
    assert capsys.readouterr().out == ""
    assert not (configuration.parent / "state" / "development-issuer").exists()
