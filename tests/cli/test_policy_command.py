"""`policy test` and the tests of a configuration, with a target's catalog and without."""

from __future__ import annotations

import json
from pathlib import Path

from commanding import hoop_gateway

from gateway.demo.postgres import PostgresServer

RULES = """
mask = ["public.users.email"]
[[connection.rule]]
name = "notes-ask"
column = "public.orders.note"
group = "reporting"
hours = "mon-fri 09:00-18:00"
action = "approve"
reviewers = ["group:dba"]
"""
TESTS = """
[[connection.test]]
sql = "SELECT words FROM renamed"
verdict = "{verdict}"
rule = "notes-ask"
groups = ["reporting"]
[[connection.test]]
sql = "SELECT words FROM renamed"
verdict = "allow"
groups = ["reporting"]
at = "mon 18:00"
"""
SCHEMA = """
CREATE TABLE users (id int, email text);
CREATE TABLE orders (id int, note text);
CREATE VIEW renamed AS SELECT id, note AS words FROM orders;
"""


async def write(tmp_path: Path, port: int, database: str, user: str, rest: str) -> Path:
    """Write a configuration with one connection `o`."""
    await hoop_gateway("init", tmp_path / "g")
    config = tmp_path / "g" / "gateway.toml"
    target = f"postgresql://127.0.0.1:{port}/{database}"
    config.write_text(
        f"{config.read_text()}\n[[connection]]\nname = 'o'\ntarget = '{target}'\nusername = '{user}'\n"
        f"password = 'env:TARGET_PASSWORD'\n{rest}"
    )
    return config


async def test_the_targets_catalog_is_used(postgres: PostgresServer, database: str, tmp_path: Path) -> None:
    postgres.execute(SCHEMA, database)
    config = await write(tmp_path, postgres.port, database, postgres.user, RULES + TESTS.format(verdict="approve"))
    secret = {"TARGET_PASSWORD": postgres.password}
    ask = ("policy", "test", "-c", config, "--connection", "o", "--json", "--groups", "reporting")

    done = await hoop_gateway(*ask, "SELECT words FROM renamed", "--at", "mon 10:00", **secret)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert (found["verdict"], found["rule"], found["reviewers"]) == ("approve", "notes-ask", ["group:dba"])
    assert found["where"].startswith("gateway.toml: connection.0.rule.0")
    assert "public.orders.note" in found["reason"]
    assert found["catalog"] == "read from the target"

    found = json.loads((await hoop_gateway(*ask, "TABLE users", "--at", "sat 10:00", **secret)).stdout)
    assert (found["verdict"], found["rule"], found["where"]) == ("mask", "standard/masked", "preset standard")
    assert found["masked_columns"] == ["email"]
    told = await hoop_gateway(*ask[:6], "DROP TABLE users", **secret)
    assert "verdict:        deny\n" in told.stdout.replace("verdict:   ", "verdict:        ")
    assert "standard/drop" in told.stdout

    done = await hoop_gateway("check", "-c", config, **secret)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    wrong = config.read_text().replace('verdict = "approve"', 'verdict = "deny"')
    config.write_text(wrong.replace('column = "public.orders.note"', 'relation = ["public.orders", "public.nobody"]'))
    done = await hoop_gateway("check", "-c", config, **secret)
    assert done.returncode == 1
    assert "note: connection o: rule notes-ask: public.nobody is not in" in done.stdout
    expected = (
        "fault: connection o: test: gateway.toml: connection.0.test.0: expected deny by notes-ask, but it is approve"
    )
    assert expected in done.stdout
    assert done.stdout.count("fault:") == 1


async def test_without_a_catalog_it_says_so(tmp_path: Path) -> None:
    config = await write(tmp_path, 1, "nowhere", "app", RULES)
    ask = ("policy", "test", "-c", config, "--connection", "o")
    done = await hoop_gateway(*ask, "SELECT a FROM anything", "--json", TARGET_PASSWORD="hunter2-Sesame")
    found = json.loads(done.stdout)
    assert (found["verdict"], found["masked_columns"]) == ("mask", ["a"])
    assert "not read" in found["catalog"]
    assert "unknown" in found["catalog"]
    done = await hoop_gateway(*ask, "DROP TABLE users", TARGET_PASSWORD="hunter2-Sesame")
    assert "not read" in done.stdout
    assert "standard/drop" in done.stdout
    assert "hunter2" not in done.stdout + done.stderr

    done = await hoop_gateway("policy", "test", "-c", config, "--connection", "nobody", "SELECT 1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no such connection; there are: o" in done.stderr
    done = await hoop_gateway(*ask, "SELECT 1", "--at", "noon")
    assert done.returncode == 2
    assert "mon 22:15" in done.stderr


async def test_approval_by_effect_is_a_verdict_of_its_own(
    postgres: PostgresServer, database: str, tmp_path: Path
) -> None:
    postgres.execute(SCHEMA, database)
    rule = "[[connection.rule]]\nname = 'seen'\nreplaces = 'standard/delete'\naction = 'approve-effect'\n"
    test = "[[connection.test]]\nsql = 'DELETE FROM orders WHERE id = 1'\nverdict = '{}'\n"
    config = await write(tmp_path, postgres.port, database, postgres.user, rule + test.format("approve-effect"))
    secret = {"TARGET_PASSWORD": postgres.password}
    ask = ("policy", "test", "-c", config, "--connection", "o", "--json")
    found = json.loads((await hoop_gateway(*ask, "DELETE FROM orders WHERE id = 1", **secret)).stdout)
    assert (found["verdict"], found["rule"]) == ("approve-effect", "seen")
    found = json.loads((await hoop_gateway(*ask, "EXPLAIN ANALYZE DELETE FROM orders WHERE id = 1", **secret)).stdout)
    assert (found["verdict"], "held before it runs" in found["reason"]) == ("approve", True)
    assert (await hoop_gateway("check", "-c", config, **secret)).returncode == 0
    config.write_text(config.read_text().replace("verdict = 'approve-effect'", "verdict = 'approve'"))
    done = await hoop_gateway("check", "-c", config, **secret)
    assert "expected approve, but it is approve-effect by seen" in done.stdout
