"""One realm file, as Keycloak exports it: what the development issuer reads in it, and does as Keycloak would."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from developing import issuer_in, serving, verifier_of
from forging import AUDIENCE, HandClock

from gateway.errors import ConfigurationFault, IssuerFault, LoginRefused
from gateway.identity.development_clients import secret_file
from gateway.identity.issuer import ClientCredentials, Issuer
from gateway.identity.realm import read_representation, realm_of

OWN = read_representation(None)
AGENT = "7a1b9e44-31c8-4f0f-8d55-6f2f0c1aa002"
DANA = "0d2f6c1e-6a52-4b0e-9a41-52f3d9b6a001"


def asking(url: str, state: Path, client: str, secret: bytes | None = None) -> Issuer:
    read = secret_file(state, client).read_bytes().strip() if secret is None else secret
    return Issuer(url, ClientCredentials(client, lambda: read))


def test_the_file_that_comes_with_the_gateway_names_an_agent_its_owner_and_its_groups() -> None:
    realm = realm_of(OWN)
    gateway, agent = realm.clients
    assert (realm.name, realm.token_seconds) == ("hoop", 300)
    assert (gateway.client_id, gateway.subject) == ("hoop-gateway", None)
    assert (agent.client_id, agent.subject, agent.owner) == ("reporting-agent", AGENT, DANA)
    assert (agent.groups, agent.audience) == (("reporting",), ("hoop-gateway",))


async def test_client_credentials_introspection_and_revocation_work_as_with_keycloak(tmp_path: Path) -> None:
    clock = HandClock()
    issuer = issuer_in(tmp_path, clock, realm=realm_of(OWN))
    assert secret_file(tmp_path, "reporting-agent").stat().st_mode & 0o777 == 0o600
    async with serving(issuer) as url:
        agent, gateway = asking(url, tmp_path, "reporting-agent"), asking(url, tmp_path, "hoop-gateway")
        granted = await agent.grant()
        assert granted.seconds == 300
        assert granted.token not in repr(granted)
        who = await verifier_of(issuer, clock).verify(granted.token)
        assert (who.subject, who.groups, who.owner, who.client) == (AGENT, ("reporting",), DANA, "reporting-agent")
        found = await gateway.introspect(granted.token)
        assert (found["active"], found["sub"], found["jti"]) == (True, AGENT, who.token_id)
        assert await gateway.introspect("junk") == {"active": False}
        assert await gateway.introspect(granted.token[:-4] + "AAAA") == {"active": False}
        revoke = f"{url}/protocol/openid-connect/revoke"
        secret = secret_file(tmp_path, "reporting-agent").read_text().strip()
        other = secret_file(tmp_path, "hoop-gateway").read_text().strip()
        async with httpx.AsyncClient() as http:
            foreign = await http.post(revoke, data={"token": granted.token}, auth=("hoop-gateway", other))
            assert foreign.status_code == 400
            assert (await gateway.introspect(granted.token))["active"]
            own = await http.post(revoke, data={"token": granted.token}, auth=("reporting-agent", secret))
            assert own.status_code == 200
        assert await gateway.introspect(granted.token) == {"active": False}
        clock.pass_seconds(1)
        with pytest.raises(IssuerFault, match="status 400"):
            await gateway.grant()
        for each in (agent, gateway):
            await each.aclose()
    again = issuer_in(tmp_path, clock, realm=realm_of(OWN))
    assert again.introspect(granted.token) == {"active": False}, "also after a restart"


@pytest.mark.parametrize(("client", "secret"), [("reporting-agent", b"guess"), ("nobody", b"x"), ("", b"")])
async def test_who_proves_to_be_no_client_is_told_nothing(client: str, secret: bytes, tmp_path: Path) -> None:
    issuer = issuer_in(tmp_path, realm=realm_of(OWN))
    async with serving(issuer) as url:
        stranger = asking(url, tmp_path, client, secret)
        for question in (stranger.grant, stranger.check):
            with pytest.raises(IssuerFault, match="status 401"):
                await question()
        await stranger.aclose()


def changed(**changes: Any) -> dict[str, Any]:
    found = copy.deepcopy(OWN)
    found["clients"][1].update(changes)
    return found


async def test_a_client_without_the_audience_gets_tokens_that_the_gateway_refuses(tmp_path: Path) -> None:
    clock = HandClock()
    issuer = issuer_in(tmp_path, clock, realm=realm_of(changed(defaultClientScopes=[])))
    async with serving(issuer) as url:
        agent = asking(url, tmp_path, "reporting-agent")
        with pytest.raises(LoginRefused, match="audience"):
            await verifier_of(issuer, clock).verify((await agent.grant()).token)
        await agent.aclose()


def test_a_secret_may_come_from_the_environment_or_stand_there_and_a_masked_one_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AGENT_SECRET", "s3")
    for value, secret in (("${AGENT_SECRET}", "s3"), ("${env.AGENT_SECRET}", "s3"), ("plain", "plain")):
        assert realm_of(changed(secret=value)).clients[1].secret == secret
    for value in ("**********", "", None, "${AGENT_UNSET}"):
        assert realm_of(changed(secret=value)).clients[1].secret is None
    assert "plain" not in repr(realm_of(changed(secret="plain")))


def test_public_disabled_and_bearer_only_clients_are_left_out() -> None:
    for change in ({"publicClient": True}, {"enabled": False}, {"bearerOnly": True}):
        assert [each.client_id for each in realm_of(changed(**change)).clients] == ["hoop-gateway"]


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"realm": 1}', b'{"realm": "x", "clients": [{}]}', b'{"realm": "x", "clients": 1}',
                b'{"realm": "x", "accessTokenLifespan": 0}', b'{"realm": "x", "accessTokenLifespan": "soon"}']
)  # fmt: skip
def test_what_is_no_realm_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "realm.json").write_bytes(content)
    with pytest.raises(ConfigurationFault):
        realm_of(read_representation(tmp_path / "realm.json"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationFault, match=r"away\.json"):
        read_representation(tmp_path / "away.json")


def test_a_client_whose_name_is_a_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationFault, match="cannot be a file's name"):
        issuer_in(tmp_path, realm=realm_of(changed(clientId="../../x")))


def test_the_realms_name_is_the_issuers(tmp_path: Path) -> None:
    representation = changed()
    representation["realm"] = "trial"
    issuer = issuer_in(tmp_path, realm=realm_of(representation))
    assert issuer.issuer_url.endswith("/realms/trial")
    with pytest.raises(ConfigurationFault, match="the issuer's URL names another"):
        issuer_in(tmp_path, realm=realm_of(OWN))


def test_the_file_is_plain_json_without_secrets() -> None:
    assert "secret" not in {key for client in OWN["clients"] for key in client}
    assert AUDIENCE in json.dumps(OWN)
