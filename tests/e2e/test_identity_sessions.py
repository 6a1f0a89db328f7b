"""A session's identity while it lives: renewed in place, revoked, struck by an operator, through a whole gateway."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import httpx
import pg8000.dbapi
import psycopg
import pytest
from operating import approve, ask, pending
from running import RunningGateway, connection_table, running, start
from wire_client import Wire, error, errors, eventually, kinds, notices, rows, shown, status, through

from gateway.demo.postgres import PostgresServer
from gateway.evidence.storage import SystemClock, SystemEntropy
from gateway.identity.development import DevelopmentIssuer
from gateway.pgwire.frontend import query

CLIENT = "reporting-agent"
SUBJECT = "7a1b9e44-31c8-4f0f-8d55-6f2f0c1aa002"
OWNER = "0d2f6c1e-6a52-4b0e-9a41-52f3d9b6a001"


@pytest.fixture(scope="module")
def watched(
    postgres: PostgresServer, orders: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    """A gateway that asks about live tokens five times a second."""
    connections = [
        connection_table("plain", postgres, orders),
        connection_table("reports", postgres, orders, agents=["group:reporting"]),
    ]
    keys = 'introspect_every = "200ms"\n'
    with running(tmp_path_factory.mktemp("watched"), postgres, connections, keys) as found:
        yield found


@pytest.fixture(scope="module")
def unwatched(
    postgres: PostgresServer, orders: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    """A gateway that asks about live tokens once an hour: whatever notices a revocation there did so by itself."""
    keys = 'introspect_every = "1h"\n'
    with running(
        tmp_path_factory.mktemp("unwatched"), postgres, [connection_table("plain", postgres, orders)], keys
    ) as found:
        yield found


def issuer(gateway: RunningGateway) -> str:
    place = gateway.home / "state" / "development-issuer" / "issuer.json"
    return str(json.loads(place.read_text())["issuer"])


def secret(gateway: RunningGateway, client: str = CLIENT) -> Path:
    return gateway.home / "state" / "development-issuer" / "clients" / client


def mint(gateway: RunningGateway, subject: str, seconds: int = 3000) -> str:
    """A token of the gateway's own issuer, at once: the command takes long where seconds count."""
    place = DevelopmentIssuer.load_or_create(
        gateway.home / "state", audience="hoop-gateway", clock=SystemClock(), entropy=SystemEntropy()
    )
    return place.mint(subject, ttl_seconds=seconds)


def post(gateway: RunningGateway, endpoint: str, **form: str) -> httpx.Response:
    auth = (CLIENT, secret(gateway).read_text().strip())
    return httpx.post(
        f"{issuer(gateway)}/protocol/openid-connect/{endpoint}", data=form, auth=auth, trust_env=False, timeout=20
    )


def grant(gateway: RunningGateway) -> str:
    return str(post(gateway, "token", grant_type="client_credentials").json()["access_token"])


def revoke(gateway: RunningGateway, token: str) -> None:
    assert post(gateway, "revoke", token=token).status_code == 200


def fatal(wire: Wire) -> str:
    """The words of the FATAL that ends this session."""
    (found,) = errors(wire.rest())
    assert (found.severity, found.sqlstate) == ("FATAL", "57P01")
    return found.get("M") or ""


def refused(gateway: RunningGateway, token: str, connection: str = "plain") -> str:
    """The words with which a login is refused."""
    with pytest.raises(psycopg.OperationalError) as why:
        psycopg.connect(**gateway.connect_arguments(connection, token))
    return str(why.value)


def nowhere(gateway: RunningGateway, token: str) -> None:
    """Neither the evidence nor the log nor the state holds a token, or one of its parts that names something."""
    for path in gateway.home.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            for part in token.split("."):
                assert part.encode() not in content or part == token.split(".", maxsplit=1)[0], path


def test_a_token_by_client_credentials_carries_owner_and_groups_into_the_evidence(watched: RunningGateway) -> None:
    with through(watched, "reports", grant(watched), application_name="granted") as wire:
        assert wire.rows("SELECT 1") == [("1",)]
        wire.leave()
    eventually(
        lambda: (
            watched.query(
                "SELECT subject, owner FROM sessions WHERE agent_application = 'granted' AND end_reason = 'client'"
            )
            == [{"subject": SUBJECT, "owner": OWNER}]
        )
    )


def test_a_revoked_token_cuts_its_session_with_a_reason_and_lets_nobody_in(watched: RunningGateway) -> None:
    token = grant(watched)
    with through(watched, "plain", token, application_name="revoked") as wire:
        assert wire.rows("SELECT 1") == [("1",)]
        revoke(watched, token)
        assert fatal(wire) == "hoop: the session was cut: the token was revoked"
    assert "28P01" in refused(watched, token) or "no longer active" in refused(watched, token)
    eventually(
        lambda: (
            watched.query("SELECT end_reason FROM sessions WHERE agent_application = 'revoked'")
            == [{"end_reason": "token revoked"}]
        )
    )
    reasons = [each["reason"] for each in watched.query("SELECT reason FROM logins WHERE kind = 'login_refused'")]
    assert "the issuer says that it is no longer active (revoked)" in reasons


def test_a_running_statement_is_cancelled_when_its_token_is_revoked(watched: RunningGateway) -> None:
    token = grant(watched)
    with through(watched, "plain", token) as wire:
        wire.send(query(b"SELECT pg_sleep(60)"))
        revoke(watched, token)
        found = errors(wire.rest())
        assert [each.sqlstate for each in found][-1] == "57P01", found


def test_an_approved_operation_does_not_run_once_its_token_is_revoked(unwatched: RunningGateway, scratch: Wire) -> None:
    scratch.rows("INSERT INTO scratch VALUES (1)")
    token = grant(unwatched)
    with through(unwatched, "plain", token) as wire:
        wire.send(query(b"DELETE FROM scratch WHERE id = 1"))
        words = notices([wire.expect("N")])[0].get("M") or ""
        approval = words.split()[4]
        eventually(lambda: pending(unwatched, approval))
        revoke(unwatched, token)
        approve(unwatched, approval)
        found = wire.until()
        assert error(found) == ("42501", "hoop: refused"), shown(found)
        assert errors(found)[0].get("D") == "the token was revoked"
    assert scratch.rows("SELECT id FROM scratch") == [("1",)]


@pytest.mark.parametrize("opening", ["", "BEGIN", "BEGIN; SELECT 1/0"])
def test_renewal_moves_the_end_of_the_session_also_in_a_transaction(unwatched: RunningGateway, opening: str) -> None:
    short, long = mint(unwatched, "agent-r", 2), mint(unwatched, "agent-r", 900)
    with through(unwatched, "plain", short) as wire:
        before = status(wire.query(opening)) if opening else "I"
        found = wire.query(f"SELECT hoop.renew('{long}')")
        assert kinds(found) == "TDCZ", shown(found)
        assert (rows(found)[0][0] or "").startswith("renewed until ")
        assert status(found) == before
        if opening:
            wire.query("ROLLBACK")
        # Longer than the first token lasted.
        assert wire.rows("SELECT 'there still' FROM pg_sleep(2.2)") == [("there still",)]
    logins = unwatched.query("SELECT reason FROM logins WHERE subject = 'agent-r' AND kind = 'login'")
    assert {"reason": "renewal"} in logins
    nowhere(unwatched, long)
    nowhere(unwatched, short)


def test_without_renewal_the_session_ends_with_its_token(unwatched: RunningGateway) -> None:
    with through(unwatched, "plain", mint(unwatched, "agent-e", 1)) as wire:
        assert fatal(wire) == "hoop: the session was cut: the token expired"


def test_the_new_tokens_id_stands_in_the_records_from_then_on(unwatched: RunningGateway) -> None:
    with through(unwatched, "plain", mint(unwatched, "agent-j", 300)) as wire:
        wire.rows("SELECT 'one'")
        assert not errors(wire.query(f"SELECT hoop.renew('{unwatched.token('agent-j')}')"))
        wire.rows("SELECT 'two'")
        wire.leave()
    ids = unwatched.query(
        "SELECT DISTINCT json_extract_string(entry, '$.jti') AS jti, kind FROM records"
        " WHERE subject = 'agent-j' AND kind IN ('login', 'request') ORDER BY ALL"
    )
    assert len({each["jti"] for each in ids}) == 2
    assert len(ids) == 4, "two logins, and a request under each token"


@pytest.mark.parametrize("other", ["another subject", "the same token", "junk"])
def test_a_renewal_that_does_not_fit_is_refused_recorded_and_changes_nothing(
    unwatched: RunningGateway, other: str
) -> None:
    token = mint(unwatched, "agent-f", 600)
    presented = {"another subject": mint(unwatched, "agent-g"), "the same token": token, "junk": "junk"}[other]
    with through(unwatched, "plain", token) as wire:
        found = wire.query(f"SELECT hoop.renew('{presented}')")
        assert errors(found)[0].sqlstate == "28P01"
        assert (errors(found)[0].get("M") or "").startswith("hoop: renewal refused")
        assert wire.rows("SELECT 1") == [("1",)]
    reasons = unwatched.query("SELECT reason FROM logins WHERE kind = 'login_refused' AND subject = 'agent-f'")
    assert all(each["reason"].startswith("renewal: ") for each in reasons)
    assert reasons


def test_every_driver_renews_with_a_parameter(unwatched: RunningGateway) -> None:
    fresh = iter([mint(unwatched, "agent-d", minutes * 60) for minutes in (20, 30, 40, 50, 59)])
    arguments = unwatched.connect_arguments("plain", mint(unwatched, "agent-d", 600))
    with psycopg.connect(**arguments) as connection:
        for _ in range(2):
            row = connection.execute("SELECT hoop.renew(%s)", (next(fresh),)).fetchone()
            assert row is not None
            assert row[0].startswith("renewed until")
        assert connection.execute("SELECT 1").fetchone() == (1,)

    async def by_asyncpg() -> None:
        import ssl

        context = ssl.create_default_context(cafile=str(unwatched.root_certificate))
        connected = await asyncpg.connect(
            host="127.0.0.1", port=unwatched.port, user="agent", database="plain", ssl=context,
            password=arguments["password"],
        )  # fmt: skip
        assert (await connected.fetchval("SELECT hoop.renew($1)", next(fresh))).startswith("renewed until")
        assert await connected.fetchval("SELECT 1") == 1
        await connected.close()

    asyncio.run(by_asyncpg())
    import ssl

    pg = pg8000.dbapi.connect(
        host="127.0.0.1", port=unwatched.port, user="agent", database="plain", password=arguments["password"],
        ssl_context=ssl.create_default_context(cafile=str(unwatched.root_certificate)),
    )  # fmt: skip
    cursor = pg.cursor()
    cursor.execute("SELECT hoop.renew(%s)", (next(fresh),))
    assert cursor.fetchone()[0].startswith("renewed until")
    pg.close()


def test_a_blocked_subject_is_cut_kept_out_also_after_a_restart_and_let_in_again(
    postgres: PostgresServer, orders: str, tmp_path: Path
) -> None:
    with running(tmp_path / "first", postgres, [connection_table("plain", postgres, orders)]) as gateway:
        token = mint(gateway, "agent-b")
        with through(gateway, "plain", token) as wire, through(gateway, "plain", mint(gateway, "agent-c")) as other:
            words = gateway.command(
                "sessions", "block", "--subject", "agent-b", "--reason", "leaked key", "-c", str(gateway.config)
            ).stdout
            assert words == "blocked subject agent-b (1 sessions cut)\n"
            assert "leaked key" in fatal(wire)
            assert other.rows("SELECT 1") == [("1",)]
        assert "revoked" in refused(gateway, token)
        assert gateway.stop() == 0
        again = start(gateway.home)
        try:
            assert "revoked" in refused(again, token)
            (entry,) = json.loads(again.command("sessions", "blocked", "--json", "-c", str(again.config)).stdout)
            assert (entry["kind"], entry["value"], entry["reason"]) == ("subject", "agent-b", "leaked key")
            again.command("sessions", "unblock", "--subject", "agent-b", "--reason", "rotated", "-c", str(again.config))
            with psycopg.connect(**again.connect_arguments("plain", token)) as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)
            orders_given = again.query("SELECT entry FROM records WHERE kind = 'kill' ORDER BY seq")
            assert [json.loads(each["entry"]).get("what") for each in orders_given] == [
                "subject:agent-b", None, "subject:agent-b removed",
            ]  # fmt: skip
        finally:
            again.stop()
            assert again.process.stdout is not None
            again.process.stdout.close()


def test_a_blocked_token_is_out_and_the_subjects_other_tokens_are_not(watched: RunningGateway) -> None:
    first, second = grant(watched), grant(watched)
    with through(watched, "plain", first) as one, through(watched, "plain", second, application_name="kept") as two:
        jti = watched.query(
            "SELECT jti FROM sessions WHERE agent_application <> 'kept' AND ended IS NULL ORDER BY started DESC LIMIT 1"
        )[0]["jti"]
        assert ask(watched, "kill_list.add", kind="token", value=jti, reason="found in a log")["sessions_cut"] == 1
        assert "found in a log" in fatal(one)
        assert two.rows("SELECT 1") == [("1",)]


# --- hoop-gateway agent run ---------------------------------------------------------------------------------------

PROGRAM = """
import os, psycopg, sys
assert not [name for name in os.environ if "SECRET" in name]
with psycopg.connect(autocommit=True) as connection:
    print(connection.execute(sys.argv[1]).fetchone()[0])
"""


def agent_run(
    gateway: RunningGateway, *command: str, more: tuple[str, ...] = (), connection: str = "reports"
) -> subprocess.CompletedProcess[str]:
    """Run an unmodified program beside the gateway; its environment has the secret, the program's must not."""
    arguments = [
        "agent", "run", "--gateway", f"127.0.0.1:{gateway.port}", "--connection", connection,
        "--issuer", issuer(gateway), "--client-id", CLIENT, "--client-secret", "env:AGENT_SECRET",
        "--ca", str(gateway.root_certificate), *more, "--", *command,
    ]  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**gateway.environment, "AGENT_SECRET": secret(gateway).read_text().strip()},
    )


@pytest.mark.parametrize("more", [(), ("--tcp",)], ids=["socket", "port"])
def test_an_unmodified_program_needs_no_token_and_no_tls_settings(
    watched: RunningGateway, more: tuple[str, ...]
) -> None:
    done = agent_run(watched, sys.executable, "-c", PROGRAM, "SELECT label FROM items WHERE id = 7", more=more)
    assert (done.stdout, done.stderr, done.returncode) == ("item 7\n", "", 0)


def test_the_commands_exit_code_is_passed_on(watched: RunningGateway) -> None:
    assert agent_run(watched, "sh", "-c", "exit 7").returncode == 7
    assert agent_run(watched, "sh", "-c", "kill -9 $$").returncode == 137
    missing = agent_run(watched, "/no/such/program")
    assert (missing.returncode, len(missing.stderr.splitlines())) == (2, 1)


def test_bad_credentials_are_said_before_the_command_starts(watched: RunningGateway, tmp_path: Path) -> None:
    marker = tmp_path / "started"
    (tmp_path / "wrong").write_text("guess")
    more = ("--client-secret", f"file:{tmp_path / 'wrong'}")
    done = agent_run(watched, "touch", str(marker), more=more)
    assert done.returncode == 2
    assert done.stderr == "hoop-gateway: the identity issuer answered with status 401\n"
    assert not marker.exists()


def test_the_door_on_a_port_wants_the_commands_own_password(watched: RunningGateway) -> None:
    stranger = "import psycopg; psycopg.connect(password='guess')"
    done = agent_run(watched, sys.executable, "-c", stranger, more=("--tcp",))
    assert done.returncode == 1
    assert "not the password" in done.stderr


LONG = """
import psycopg, time
with psycopg.connect() as connection:
    for turn in range(14):
        print(connection.execute("SELECT %s FROM pg_sleep(1)", (turn,)).fetchone()[0])
"""


def test_a_long_session_is_renewed_between_its_statements_also_inside_a_transaction(
    postgres: PostgresServer, orders: str, tmp_path: Path
) -> None:
    realm = json.loads((Path(__file__).parents[2] / "gateway" / "identity" / "realm.json").read_text())
    realm["accessTokenLifespan"] = 12
    (tmp_path / "realm.json").write_text(json.dumps(realm))
    keys = f'realm = "{tmp_path / "realm.json"}"\n'
    with running(tmp_path / "home", postgres, [connection_table("reports", postgres, orders)], keys) as gateway:
        done = agent_run(gateway, sys.executable, "-c", LONG)
        assert (done.stdout.split(), done.stderr) == ([str(turn) for turn in range(14)], "")
        renewals = gateway.query("SELECT reason FROM logins WHERE reason = 'renewal'")
        assert renewals
