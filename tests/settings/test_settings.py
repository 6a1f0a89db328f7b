"""The configuration: what it gives."""

from __future__ import annotations

from pathlib import Path

import pytest
from configurations import (
    CONNECTION,
    HEAD,
    Write,
    rules,
)

from gateway.model import (
    ConnectionRule,
    ConnectionTest,
    Hours,
    Mark,
    MaskStyle,
    RelationPattern,
    TargetAddress,
    VerdictKind,
)
from gateway.settings import Endpoint, load
from gateway.settings.notes import notes


def test_defaults_are_those_of_the_interface(write: Write, tmp_path: Path) -> None:
    settings = load(write(HEAD), {})
    gateway = settings.gateway
    assert (gateway.name, gateway.workers) == ("gw-1", 1)
    assert gateway.state_dir == tmp_path / "state"
    assert gateway.control_socket == tmp_path / "state" / "control.sock"
    assert settings.evidence_dir == tmp_path / "state" / "evidence"
    assert settings.postgres.listen == Endpoint("127.0.0.1", 6432)
    assert settings.postgres.tls_key == tmp_path / "state" / "tls" / "key.pem"
    assert (settings.identity.audience, settings.identity.groups_claim) == ("hoop-gateway", "groups")
    approvals, limits, evidence = settings.approvals, settings.limits, settings.evidence
    assert (approvals.timeout, approvals.in_transaction_timeout, approvals.linger) == (900e6, 60e6, 300e6)
    assert settings.assurance == "uid"
    assert (limits.statement, limits.message, limits.startup, limits.login) == (2**20, 2**26 + 1024, 10_000, 10e6)
    assert (evidence.results, evidence.payload_limit, evidence.originals) == ("grouped", 65_536, "first:1000")
    assert settings.connections() == ()
    assert settings.operators() == ()


def test_a_connection_becomes_the_models_value(write: Write) -> None:
    marks = """mask = ["Public.Users.Email", 'crm."Contact List"."E-Mail"', { column = "a.b.c", style = "null" }]\n"""
    rest = 'functions = ["Public.Net_Price"]\nsettings = ["MyApp.Tenant"]\nhold = "refuse"\nsearch_path = []\n'
    text = f'{HEAD}[approvals]\nreviewers = ["group:/oncall"]\n{CONNECTION}{marks}{rest}'
    (connection,) = load(write(text), {}).connections()
    assert connection.target == TargetAddress("db.example", 5433, "orders", "verify-full")
    assert connection.agents == ("group:reporting", "sub:x", "any")
    assert connection.marks == (
        Mark("public", "users", "email"),
        Mark("crm", "Contact List", "E-Mail"),
        Mark("a", "b", "c", MaskStyle.NULL),
    )
    assert (connection.functions, connection.settings) == (("public.net_price",), ("myapp.tenant",))
    assert (connection.hold, connection.search_path, connection.policy) == ("refuse", (), "standard")
    assert connection.reviewers == ("group:oncall",)
    assert connection.password == "env:ORDERS_PASSWORD"


def test_rules_become_the_models_values(write: Write) -> None:
    text = """
[[connection.rule]]
name = "bulk"
operation = ["copy-out", "select"]
relation = ["Public.Users", 'crm."Odd.Name"', "scratch.*"]
function = ["Public.F", "ext.*"]
column = 'crm."Contact List"."E-Mail"'
hours = ["mon-fri 22:00-06:00", "09:00-10:00"]
subject = "sub:agent-7"
group = ["/reporting", "group:bi"]
action = "approve"
reviewers = ["group:/oncall"]
approvals = 1

[[connection.rule]]
name = "drops"
replaces = "standard/drop"
action = "allow"
accept_risk = "a copy"

[[connection.test]]
sql = "DROP TABLE x"
verdict = "allow"
rule = "drops"
groups = ["/bi"]
at = "tue 01:00"
"""
    settings = load(write(HEAD + CONNECTION + text), {})
    (connection,) = settings.connections()
    bulk, drops = connection.rules
    assert bulk == ConnectionRule(
        name="bulk",
        action=VerdictKind.APPROVE,
        operations=("copy-out", "select"),
        relations=(
            RelationPattern("public", "users"),
            RelationPattern("crm", "Odd.Name"),
            RelationPattern("scratch", None),
        ),
        functions=("public.f", "ext.*"),
        columns=(Mark("crm", "Contact List", "E-Mail"),),
        hours=(Hours(frozenset(range(5)), 22 * 60, 6 * 60), Hours(frozenset(range(7)), 9 * 60, 10 * 60)),
        subjects=("agent-7",),
        groups=("reporting", "bi"),
        reviewers=("group:oncall",),
        where="gateway.toml: connection.0.rule.0",
    )
    assert (drops.replaces, drops.accept_risk) == ("standard/drop", "a copy")
    assert drops.where == "gateway.toml: connection.0.rule.1"
    (test,) = connection.tests
    at = (
        test.at
        - load(write(HEAD + CONNECTION + text.replace("tue 01:00", "mon 01:00")), {}).connections()[0].tests[0].at
    )
    assert at == 24 * 3600 * 1_000_000
    assert test == ConnectionTest(
        "DROP TABLE x", VerdictKind.ALLOW, "drops", "agent", ("bi",), test.at, "gateway.toml: connection.0.test.0"
    )
    said = list(notes(settings))
    assert "connection orders: rule drops: allow for standard/drop: a copy" in said
    assert not any("relaxes nothing" in line for line in said)
    said = list(notes(load(write(rules("", action="allow")), {})))
    assert any(line.startswith("connection orders: rule x: relaxes nothing") for line in said)


def test_paths_are_relative_to_the_file(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pw", "ca.pem"):
        (tmp_path / name).write_text("")
    text = HEAD + CONNECTION.replace("env:ORDERS_PASSWORD", "file:pw").replace("full", "full&sslrootcert=ca.pem")
    path = write(text)
    monkeypatch.chdir("/")
    (connection,) = load(path, {}).connections()
    assert connection.password == f"file:{tmp_path}/pw"
    assert connection.target.sslrootcert == f"{tmp_path}/ca.pem"


def test_sinks_are_relative_to_the_file(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(HEAD + "[[evidence.sink]]\nfile = 'a'\n[[evidence.sink]]\ndirectory = 'b'\nevery = '1m'\n")
    monkeypatch.chdir("/")
    file, directory = load(path, {}).evidence.sink
    assert (file.file, file.directory, file.every) == (tmp_path / "a", None, 5_000_000)
    assert (directory.file, directory.directory, directory.every) == (None, tmp_path / "b", 60_000_000)


def test_settings_cannot_be_changed(write: Write) -> None:
    settings = load(write(HEAD), {})
    with pytest.raises(ValueError, match="frozen"):
        settings.gateway.name = "x"  # type: ignore[misc]
