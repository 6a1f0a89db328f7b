"""A whole gateway against a real Keycloak: bootstrap, logins, revocation, logout, and the issuer going away.

All in one module, since each worker of a run that needed a Keycloak would wait half a minute for one of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from holds import held
from keycloak_words import AGENT, believing, claims_of, free_port, log_in, revoke, token_of
from operating import ask, pending
from running import RunningGateway, connection_table
from wire_client import Wire, errors, eventually, through
from workers_seen import WORKERS, log_of

from gateway.demo.postgres import PostgresServer
from gateway.errors import IssuerFault, LoginRefused
from gateway.evidence.storage import SystemClock
from gateway.identity.issuer import ClientCredentials, Issuer, keys_of
from gateway.identity.keys import PAUSE_SECONDS, IssuerKeys
from gateway.identity.verifier import TokenVerifier
from gateway.pgwire.frontend import query
from keycloak_server import REALM_FILE, Keycloak


@pytest.fixture(scope="module")
def house(
    keycloak: Keycloak, postgres: PostgresServer, orders: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    """A gateway of two workers that believes Keycloak alone; it is told of logouts on its own port (`logout.port`)."""
    home = tmp_path_factory.mktemp("keycloak-gateway") / "home"
    connections = [
        connection_table("reports", postgres, orders, agents=["group:reporting"]),
        connection_table("plain", postgres, orders),
    ]
    port = free_port()
    identity = (
        'client_secret = "file:secret"\nintrospect_every = "300ms"\nissuer_grace = "2s"\n'
        f'logout_listen = "127.0.0.1:{port}"\n'
    )
    operator = f'[[operator]]\nname = "dana"\nuid = {os.getuid()}\nroles = ["watch", "decide"]\n'
    with believing(home, keycloak, postgres, connections, identity, operator, WORKERS) as gateway:
        (home / "logout.port").write_text(str(port))
        yield gateway


def fatal(wire: Wire) -> str:
    (found,) = errors(wire.rest())
    assert (found.severity, found.sqlstate) == ("FATAL", "57P01")
    return found.get("M") or ""


def test_check_reaches_keycloak_with_the_gateways_own_credentials(house: RunningGateway) -> None:
    done = house.command("check", "-c", str(house.config), check=False)
    assert done.returncode == 0, done.stdout
    (house.home / "wrong").write_text("guess")
    wrong = house.home / "wrong.toml"
    wrong.write_text(house.config.read_text().replace("file:secret", "file:wrong"))
    done = house.command("check", "-c", str(wrong), check=False)
    assert done.returncode == 1
    assert "fault: identity.introspection: the identity issuer answered with status 401" in done.stdout


def test_a_service_account_logs_in_with_its_groups_and_owner(house: RunningGateway, keycloak: Keycloak) -> None:
    token = token_of(keycloak)
    with psycopg.connect(**house.connect_arguments("reports", token)) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    claims = claims_of(token)
    eventually(
        lambda: (
            house.query(f"SELECT subject, owner, issuer FROM sessions WHERE jti = '{claims['jti']}'")
            == [
                {"subject": claims["sub"], "owner": "0d2f6c1e-6a52-4b0e-9a41-52f3d9b6a001", "issuer": keycloak.issuer()}
            ]
        )
    )


def test_revocation_at_keycloak_cuts_the_session_within_seconds(house: RunningGateway, keycloak: Keycloak) -> None:
    token = token_of(keycloak)
    with through(house, "plain", token) as wire:
        assert wire.rows("SELECT 1") == [("1",)]
        revoke(keycloak, token)
        assert fatal(wire) == "hoop: the session was cut: the token was revoked"
    with pytest.raises(psycopg.OperationalError, match="no longer active"):
        psycopg.connect(**house.connect_arguments("plain", token))


def test_a_disabled_agent_is_cut_and_not_renewed(house: RunningGateway, keycloak: Keycloak) -> None:
    api = keycloak.api()
    api.create_client({"clientId": "doomed", "serviceAccountsEnabled": True, "defaultClientScopes": ["hoop"]})
    with through(house, "plain", token_of(keycloak, "doomed")) as wire:
        assert wire.rows("SELECT 1") == [("1",)]
        api.delete_client(api.get_client_id("doomed"))
        assert fatal(wire) == "hoop: the session was cut: the token was revoked"


def test_a_session_is_renewed_with_keycloaks_next_token(house: RunningGateway, keycloak: Keycloak) -> None:
    api = keycloak.api()
    api.update_realm("hoop", {"accessTokenLifespan": 60})
    short = token_of(keycloak)
    api.update_realm("hoop", {"accessTokenLifespan": 300})
    with psycopg.connect(**house.connect_arguments("plain", short)) as connection:
        row = connection.execute("SELECT hoop.renew(%s)", (token_of(keycloak),)).fetchone()
        assert row is not None
        assert row[0].startswith("renewed until")
        revoke(keycloak, short)
        assert connection.execute("SELECT 1 FROM pg_sleep(1)").fetchone() == (1,), "the old token matters no more"


def test_back_channel_logout_cuts_the_sessions_of_that_login_and_refuses_its_tokens(
    house: RunningGateway, keycloak: Keycloak
) -> None:
    api = keycloak.api()
    url = f"http://127.0.0.1:{(house.home / 'logout.port').read_text()}/backchannel-logout"
    attributes = {"backchannel.logout.url": url, "backchannel.logout.session.required": "true"}
    api.create_client(
        {
            "clientId": "desk",
            "directAccessGrantsEnabled": True,
            "defaultClientScopes": ["hoop"],
            "attributes": attributes,
        }
    )
    user = api.create_user({"username": "eve", "enabled": True, "email": "eve@example.test", "emailVerified": True,
                            "firstName": "E", "lastName": "E",
                            "credentials": [{"type": "password", "value": "pw", "temporary": False}]})  # fmt: skip
    token = token_of(keycloak, "desk", grant_type="password", username="eve", password="pw")
    other = token_of(keycloak)
    with (
        through(house, "plain", token) as wire,
        through(house, "plain", token) as elsewhere,
        through(house, "plain", other) as bystander,
    ):
        assert {log_of(house, each) for each in (wire, elsewhere)} == {"gw-1/w1", "gw-1/w2"}
        api.user_logout(user)
        for each in (wire, elsewhere):  # by the logout, or by a question about the token, whichever came first
            assert fatal(each).removeprefix("hoop: the session was cut: ") in {
                "revoked by issuer: logged out at the issuer", "the token was revoked",
            }  # fmt: skip
        assert bystander.rows("SELECT 1") == [("1",)]
    entries = eventually(lambda: [each for each in ask(house, "kill_list.list") if each["by"] == "issuer"])
    assert isinstance(entries, list)
    assert entries[0]["reason"] == "logged out at the issuer"
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(**house.connect_arguments("plain", token))


def test_agent_run_with_keycloak(house: RunningGateway, keycloak: Keycloak, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(keycloak.secret(AGENT))
    program = "import psycopg; print(psycopg.connect().execute('SELECT 41 + 1').fetchone()[0])"
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "agent", "run", "--gateway", f"127.0.0.1:{house.port}",
         "--connection", "reports", "--issuer", keycloak.issuer(), "--client-id", AGENT,
         "--client-secret", f"file:{tmp_path / 'secret'}", "--ca", str(house.root_certificate), "--",
         sys.executable, "-c", program],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == "42\n", done.stderr


# --- what is wrong with a token, as Keycloak really makes them -----------------------------------------------------


@pytest.fixture(scope="module")
def hostile(keycloak: Keycloak) -> dict[str, tuple[str, str]]:
    """Tokens that Keycloak signed and the gateway must refuse: by name, the token and the reason."""
    api = keycloak.api()
    api.create_client({"clientId": "elsewhere", "serviceAccountsEnabled": True, "defaultClientScopes": ["basic"]})
    api.create_client(
        {"clientId": "people", "directAccessGrantsEnabled": True, "defaultClientScopes": ["hoop"],
         "protocolMappers": [{"name": "aud", "protocol": "openid-connect", "protocolMapper": "oidc-audience-mapper",
                              "config": {"included.client.audience": "hoop-gateway", "id.token.claim": "true",
                                         "access.token.claim": "true"}}]}
    )  # fmt: skip
    api.create_user({"username": "pat", "enabled": True, "email": "pat@example.test", "emailVerified": True,
                     "firstName": "P", "lastName": "P",
                     "credentials": [{"type": "password", "value": "pw", "temporary": False}]})  # fmt: skip
    answer = httpx.post(
        f"{keycloak.issuer()}/protocol/openid-connect/token",
        data={"grant_type": "password", "username": "pat", "password": "pw", "scope": "openid"},
        auth=("people", keycloak.secret("people")), trust_env=False, timeout=20,
    ).json()  # fmt: skip
    master = keycloak.api("master")
    master.connection.get_token()
    return {
        "another audience": (token_of(keycloak, "elsewhere"), "audience"),
        "another realm": (master.connection.token["access_token"], "key that the issuer does not publish"),
        "an ID token": (answer["id_token"], "not an access token"),
        "a refresh token": (answer["refresh_token"], "key that the issuer does not publish"),
    }


@pytest.mark.parametrize("name", ["another audience", "another realm", "an ID token", "a refresh token"])
def test_keycloaks_other_tokens_open_nothing(
    name: str, hostile: dict[str, tuple[str, str]], house: RunningGateway
) -> None:
    token, reason = hostile[name]
    with pytest.raises(psycopg.OperationalError, match="the access token was not accepted"):
        psycopg.connect(**house.connect_arguments("plain", token))
    reasons = [each["reason"] for each in house.query("SELECT reason FROM logins WHERE kind = 'login_refused'")]
    assert any(reason in each for each in reasons), reasons


class Ahead(SystemClock):
    """The machine's clock, and what a test adds."""

    more = 0

    def monotonic(self) -> int:
        return super().monotonic() + self.more


async def test_a_rotated_key_is_learnt_and_a_withdrawn_one_forgotten(keycloak: Keycloak) -> None:
    api, clock = keycloak.api(), Ahead()
    asked: list[int] = []
    fetch = keys_of(keycloak.issuer())

    async def counted() -> Any:
        asked.append(1)
        return await fetch()

    verifier = TokenVerifier(
        keycloak.issuer(), "hoop-gateway", "groups", False, clock, IssuerKeys(counted, clock)
    )  # fmt: skip
    old = token_of(keycloak)
    assert (await verifier.verify(old)).client == AGENT
    realm = api.get_realm("hoop")["id"]
    config = {"priority": ["200"], "algorithm": ["RS256"], "keySize": ["2048"]}
    provider = {"name": "next", "providerId": "rsa-generated", "providerType": "org.keycloak.keys.KeyProvider",
                "parentId": realm, "config": config}  # fmt: skip
    component = api.create_component(provider)
    new = token_of(keycloak)
    with pytest.raises(LoginRefused):
        await verifier.verify(new)
    clock.more += PAUSE_SECONDS * 1_000_000
    assert (await verifier.verify(new)).client == AGENT
    assert (await verifier.verify(old)).client == AGENT
    assert len(asked) == 2
    api.delete_component(component)
    clock.more += 301 * 1_000_000
    with pytest.raises(LoginRefused):
        await verifier.verify(new)


async def test_introspection_and_client_credentials_through_our_own_issuer(keycloak: Keycloak) -> None:
    secret = keycloak.secret("hoop-gateway").encode()
    gateway = Issuer(keycloak.issuer(), ClientCredentials("hoop-gateway", lambda: secret))
    stranger = Issuer(keycloak.issuer(), ClientCredentials("hoop-gateway", lambda: b"guess"))
    token = token_of(keycloak)
    assert (await gateway.introspect(token))["active"] is True
    revoke(keycloak, token)
    assert (await gateway.introspect(token))["active"] is False
    with pytest.raises(IssuerFault, match="status 40"):
        await stranger.introspect(token)
    await gateway.aclose()
    await stranger.aclose()


# --- operators ------------------------------------------------------------------------------------------------------


ONCALL = f'[approvals]\nreviewers = ["group:oncall"]\n[[operator]]\nname = "ops"\nuid = {os.getuid()}\n'


def decides(name: str, subject: str) -> str:
    return f'[[operator]]\nname = "{name}"\nsubject = "{subject}"\ngroups_from = "token"\nroles = ["decide"]\n'


@pytest.fixture(scope="module")
def people(
    keycloak: Keycloak, postgres: PostgresServer, orders: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    """A gateway whose operators log in at Keycloak; dana of the realm file owns the agent, frank is on call."""
    api = keycloak.api()
    dana = api.get_user_id("dana")
    frank = api.create_user({"username": "frank", "enabled": True, "email": "frank@example.test", "emailVerified": True,
                             "firstName": "F", "lastName": "F", "groups": ["/oncall"]})  # fmt: skip
    assert dana
    for user in (dana, frank):
        api.set_user_password(user, "pw", temporary=False)
    api.update_user(dana, {"email": "dana@example.test", "emailVerified": True, "firstName": "D", "lastName": "D"})
    home = tmp_path_factory.mktemp("keycloak-people") / "home"
    tables = ONCALL + decides("dana", dana) + decides("frank", frank)
    plain = [connection_table("plain", postgres, orders)]
    with believing(home, keycloak, postgres, plain, 'client_secret = "file:secret"\n', tables) as gateway:
        yield gateway


@pytest.fixture
def public(
    keycloak: Keycloak, postgres: PostgresServer, orders: str, tmp_path: Path, people: RunningGateway
) -> Iterator[RunningGateway]:
    """A gateway that is a public client at Keycloak: it has no secret, and asks nobody about tokens."""
    api = keycloak.api()
    mappers = api.get_client(api.get_client_id("hoop-gateway"))["protocolMappers"]
    kept = [{name: each[name] for name in each if name != "id"} for each in mappers]
    api.create_client(
        {
            "clientId": "hoop-people",
            "publicClient": True,
            "standardFlowEnabled": False,
            "attributes": {"oauth2.device.authorization.grant.enabled": "true"},
            "protocolMappers": kept,
        }
    )
    tables = ONCALL + decides("frank", api.get_user_id("frank"))
    plain = [connection_table("plain", postgres, orders)]
    identity = 'client_id = "hoop-people"\nintrospection = "off"\n'
    try:
        with believing(tmp_path / "home", keycloak, postgres, plain, identity, tables) as gateway:
            yield gateway
    finally:
        api.delete_client(api.get_client_id("hoop-people"))


def test_operators_log_in_at_keycloak_and_decide_without_the_development_issuer(
    people: RunningGateway, keycloak: Keycloak, scratch: Wire
) -> None:
    checked = people.command("check", "-c", str(people.config), check=False)
    assert checked.returncode == 0, checked.stdout
    assert "approvals.assurance" not in checked.stdout
    scratch.rows("INSERT INTO scratch SELECT generate_series(1, 2)")
    with through(people, "plain", token_of(keycloak)) as wire:
        wire.send(query(b"DELETE FROM scratch WHERE id = 1"))
        asked = pending(people, held(wire))
        assert asked is not None
        decide = ["approvals", "approve", asked["id"], "--hash", asked["hash"][:8], "--reason", "fine"]
        decide += ["-c", str(people.config)]
        assert "deciding needs a login" in people.command(*decide, check=False).stderr
        owner = log_in(people, "dana")
        assert owner.returncode == 0, owner.stderr
        assert json.loads(owner.stdout)["groups"] == ["oncall"]
        done = people.command(*decide, check=False)
        assert (done.returncode, "this agent acts for you" in done.stderr) == (1, True), done.stderr
        other = log_in(people, "frank")
        assert other.returncode == 0, other.stderr
        assert (json.loads(other.stdout)["operator"], json.loads(other.stdout)["name"]) == ("frank", "frank")
        done = people.command(*decide, check=False)
        assert done.returncode == 0, done.stderr
        wire.until()
    assert scratch.rows("SELECT id FROM scratch") == [("2",)]
    (found,) = people.query(f"SELECT approver, assurance, receipt FROM approvals WHERE approval_id = '{asked['id']}'")
    assert (found["approver"], found["assurance"]) == ("frank", "oidc")
    receipt = json.loads(found["receipt"])
    assert receipt["approver"]["issuer"] == keycloak.issuer()
    assert receipt["requester"]["owner"] == keycloak.api().get_user_id("dana")


def test_a_public_client_logs_its_operators_in_and_they_decide(
    public: RunningGateway, keycloak: Keycloak, scratch: Wire
) -> None:
    checked = public.command("check", "-c", str(public.config), check=False)
    assert checked.returncode == 0, checked.stdout
    scratch.rows("INSERT INTO scratch SELECT generate_series(1, 2)")
    with through(public, "plain", token_of(keycloak)) as wire:
        wire.send(query(b"DELETE FROM scratch WHERE id = 1"))
        asked = pending(public, held(wire))
        assert asked is not None
        stranger = log_in(public, "dana")  # she is nobody here
        assert (stranger.returncode, "no operator has your subject" in stranger.stderr) == (1, True), stranger.stderr
        done = log_in(public, "frank")
        assert done.returncode == 0, done.stderr
        assert (json.loads(done.stdout)["operator"], json.loads(done.stdout)["groups"]) == ("frank", ["oncall"])
        decide = ["approvals", "approve", asked["id"], "--hash", asked["hash"][:8], "--reason", "fine"]
        told = public.command(*decide, "-c", str(public.config), check=False)
        assert told.returncode == 0, told.stderr
        wire.until()
    assert scratch.rows("SELECT id FROM scratch") == [("2",)]
    (found,) = public.query(f"SELECT approver, assurance, receipt FROM approvals WHERE approval_id = '{asked['id']}'")
    assert (found["approver"], found["assurance"]) == ("frank", "oidc")
    assert json.loads(found["receipt"])["approver"]["issuer"] == keycloak.issuer()


def test_check_says_where_keycloaks_client_lets_nobody_log_in(people: RunningGateway, keycloak: Keycloak) -> None:
    api = keycloak.api()
    client = api.get_client_id("hoop-gateway")
    assert client
    switch = "oauth2.device.authorization.grant.enabled"
    api.update_client(client, {"attributes": {switch: "false"}})
    try:
        checked = people.command("check", "-c", str(people.config), check=False)
        assert checked.returncode == 1
        assert "fault: identity.client_id: operators cannot log in: " in checked.stdout
    finally:
        api.update_client(client, {"attributes": {switch: "true"}})


def test_who_is_disabled_at_keycloak_decides_no_more(people: RunningGateway, keycloak: Keycloak, scratch: Wire) -> None:
    scratch.rows("INSERT INTO scratch VALUES (1)")
    api = keycloak.api()
    with through(people, "plain", token_of(keycloak)) as wire:
        wire.send(query(b"DELETE FROM scratch WHERE id = 1"))
        asked = pending(people, held(wire))
        assert asked is not None
        assert log_in(people, "frank").returncode == 0
        frank = api.get_user_id("frank")
        assert frank
        api.update_user(frank, {"enabled": False})
        try:
            done = people.command("approvals", "approve", asked["id"], "--hash", asked["hash"][:8], "--reason", "x",
                                  "-c", str(people.config), check=False)  # fmt: skip
            assert (done.returncode, "your login is no longer good" in done.stderr) == (1, True), done.stderr
        finally:
            api.update_user(frank, {"enabled": True})
    assert scratch.rows("SELECT id FROM scratch") == [("1",)]


# --- bootstrap ------------------------------------------------------------------------------------------------------


@pytest.fixture
def bootstrap(keycloak: Keycloak, tmp_path: Path) -> Callable[..., str]:
    (tmp_path / "admin").write_text(keycloak.admin)

    def run(realm: str, *more: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "gateway", "idp", "bootstrap", "--issuer", keycloak.issuer(realm),
             "--admin-password", f"file:{tmp_path / 'admin'}", "--secrets", str(tmp_path / "secrets"), *more],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_bootstrap_makes_a_realm_whose_tokens_the_gateway_believes(
    bootstrap: Callable[..., str], keycloak: Keycloak, tmp_path: Path
) -> None:
    first = bootstrap("made", "--realm", str(REALM_FILE))
    again = bootstrap("made", "--realm", str(REALM_FILE), "--agent", "second", "--owner", "dana", "--groups", "oncall")
    assert first.splitlines()[1:3] == again.splitlines()[1:3], "what was there stays as it is"
    api = keycloak.api("made")
    dana = api.get_user_id("dana")
    for client, groups in (("reporting-agent", ["/reporting"]), ("second", ["/oncall"])):
        secret = (tmp_path / "secrets" / client).read_text().strip()
        assert secret == keycloak.secret(client, "made")
        assert secret not in again
        assert (tmp_path / "secrets" / client).stat().st_mode & 0o777 == 0o600
        claims = claims_of(token_of(keycloak, client, "made"))
        assert (claims["aud"], claims["owner"], claims["groups"]) == ("hoop-gateway", dana, groups)
    assert f'issuer = "{keycloak.issuer("made")}"' in again


def test_bootstrap_puts_right_what_was_changed_and_keeps_what_is_not_its_own(
    bootstrap: Callable[..., str], keycloak: Keycloak
) -> None:
    bootstrap("made", "--agent", "bot", "--groups", "reporting")  # the realm of the test before, if that ran
    api = keycloak.api("made")
    scope = next(each for each in api.get_client_scopes() if each["name"] == "hoop")
    mapper = next(each for each in scope["protocolMappers"] if each["name"] == "audience")
    api.update_mapper_in_client_scope(
        scope["id"], mapper["id"], {**mapper, "config": {**mapper["config"], "included.client.audience": "other"}}
    )
    api.create_client({"clientId": "not-ours"})
    bootstrap("made", "--agent", "bot", "--groups", "oncall", "--logout-url", "http://127.0.0.1:9/backchannel-logout")
    assert claims_of(token_of(keycloak, "bot", "made"))["aud"] == "hoop-gateway"
    assert claims_of(token_of(keycloak, "bot", "made"))["groups"] == ["/oncall", "/reporting"]
    assert api.get_client_id("not-ours")
    attributes = api.get_client(api.get_client_id("bot"))["attributes"]
    assert attributes["backchannel.logout.url"] == "http://127.0.0.1:9/backchannel-logout"


def test_bootstrap_says_what_it_cannot_do_in_one_line(keycloak: Keycloak, tmp_path: Path) -> None:
    (tmp_path / "admin").write_text("guess")
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "idp", "bootstrap", "--issuer", keycloak.issuer(), "--admin-password",
         f"file:{tmp_path / 'admin'}", "--secrets", str(tmp_path / "secrets")],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "401" in done.stderr


# --- the issuer goes away: last, since it stops Keycloak for a while ------------------------------------------------


def stopped(pid: int) -> bool:
    """Whether every thread of a process stands still: SIGSTOP reaches them one after the other."""
    states = [path.read_text().rpartition(")")[2].split()[0] for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    return set(states) == {"T"}


def test_while_keycloak_is_away_sessions_go_on_for_the_grace_and_nobody_new_comes_in(
    house: RunningGateway, keycloak: Keycloak
) -> None:
    token, unseen = token_of(keycloak), token_of(keycloak)
    with through(house, "plain", token, application_name="patient") as wire:
        keycloak.process.send_signal(signal.SIGSTOP)
        try:
            eventually(lambda: stopped(keycloak.process.pid))
            assert wire.rows("SELECT 1") == [("1",)]
            with pytest.raises(psycopg.OperationalError, match="issuer cannot be reached"):
                psycopg.connect(**house.connect_arguments("plain", unseen))
            assert fatal(wire) == "hoop: the session was cut: the identity issuer could not be asked for too long"
        finally:
            keycloak.process.send_signal(signal.SIGCONT)
    alarms = house.query("SELECT alarm FROM alarms WHERE alarm = 'issuer-away'")
    assert alarms
    assert house.query("SELECT end_reason FROM sessions WHERE agent_application = 'patient'") == [
        {"end_reason": "issuer away"}
    ]

    def back() -> bool:
        try:
            with psycopg.connect(**house.connect_arguments("plain", token)) as connection:
                return connection.execute("SELECT 1").fetchone() == (1,)
        except psycopg.OperationalError:
            return False

    assert eventually(back)
