"""The configuration: what it gives, what it refuses and by which name, and that it never repeats a value."""

from __future__ import annotations

from pathlib import Path

import pyrage
import pytest

from gateway.errors import ConfigurationFault
from gateway.evidence.cosignature import CosignerKey
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
from gateway.settings import Endpoint, SettingsFault, load
from gateway.settings.notes import notes

SECRET = "hunter2-Sesame"
IDENTITIES = tuple(pyrage.x25519.Identity.generate() for _ in range(3))
AUDITORS = tuple(str(one.to_public()) for one in IDENTITIES)
OWN = str(IDENTITIES[2])
HEAD = "[identity]\ndevelopment = true\n"
CONNECTION = """
[[connection]]
name = "orders"
target = "postgresql://db.example:5433/orders?sslmode=verify-full"
username = "app"
password = "env:ORDERS_PASSWORD"
agents = ["group:/reporting", "sub:x", "any"]
"""


@pytest.fixture
def write(tmp_path: Path) -> object:
    """Write a configuration whose files all exist."""
    tls = tmp_path / "state" / "tls"
    tls.mkdir(parents=True)
    for name in ("cert.pem", "key.pem"):
        (tls / name).write_text("")

    def written(text: str) -> Path:
        path = tmp_path / "gateway.toml"
        path.write_text(text)
        return path

    return written


def faults(path: Path, environ: dict[str, str] | None = None) -> tuple[str, ...]:
    with pytest.raises(SettingsFault) as fault:
        load(path, environ or {})
    assert str(path) in str(fault.value)
    assert "\n" not in str(fault.value)
    for line in (*fault.value.faults, str(fault.value), repr(fault.value)):
        assert SECRET not in line
    assert fault.value.__cause__ is None
    return fault.value.faults


def test_defaults_are_those_of_the_interface(write, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
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


def test_a_connection_becomes_the_models_value(write) -> None:  # type: ignore[no-untyped-def]
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


def test_rules_become_the_models_values(write) -> None:  # type: ignore[no-untyped-def]
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


def test_paths_are_relative_to_the_file(write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    for name in ("pw", "ca.pem"):
        (tmp_path / name).write_text("")
    text = HEAD + CONNECTION.replace("env:ORDERS_PASSWORD", "file:pw").replace("full", "full&sslrootcert=ca.pem")
    path = write(text)
    monkeypatch.chdir("/")
    (connection,) = load(path, {}).connections()
    assert connection.password == f"file:{tmp_path}/pw"
    assert connection.target.sslrootcert == f"{tmp_path}/ca.pem"


def test_sinks_are_relative_to_the_file(write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    path = write(HEAD + "[[evidence.sink]]\nfile = 'a'\n[[evidence.sink]]\ndirectory = 'b'\nevery = '1m'\n")
    monkeypatch.chdir("/")
    file, directory = load(path, {}).evidence.sink
    assert (file.file, file.directory, file.every) == (tmp_path / "a", None, 5_000_000)
    assert (directory.file, directory.directory, directory.every) == (None, tmp_path / "b", 60_000_000)


def test_the_environment_wins(write) -> None:  # type: ignore[no-untyped-def]
    settings = load(
        write(HEAD + CONNECTION),
        {
            "HOOP_GATEWAY__NAME": "gw-9",
            "HOOP_POSTGRES__LISTEN": "[::1]:0",
            "HOOP_APPROVALS__REVIEWERS": '["group:night"]',
            "HOOP_LIMITS__CONNECTIONS": "7",
            "HOOP_LIMITS__STATEMENT": "2MiB",
            "HOOP_CONNECTION__0__USERNAME": "other",
            "HOOP_CONNECTION__0__MASK": '["a.b.c"]',
            "HOOP_GATEWAY": "not ours",
            "HOOP_TEST_REQUIRE": "all",
            "XHOOP_GATEWAY__NAME": "no",
        },
    )
    assert settings.gateway.name == "gw-9"
    assert settings.postgres.listen == Endpoint("::1", 0)
    assert (settings.limits.connections, settings.limits.statement) == (7, 2**21)
    (connection,) = settings.connections()
    assert (connection.username, connection.reviewers) == ("other", ("group:night",))
    assert connection.marks == (Mark("a", "b", "c"),)
    assert load(write("[identity]\ndevelopment = false\n"), {"HOOP_IDENTITY__DEVELOPMENT": "true"}).identity.development


VARIABLES = [
    ("HOOP_GATEWAY__NAMES", "x"),
    ("HOOP_GATEWAYS__NAME", "x"),
    ("HOOP_GATEWAY__NAME__X", "x"),
    ("HOOP_GATEWAY__", "x"),
    ("HOOP__NAME", "x"),
    ("HOOP_CONNECTION__1__USERNAME", "x"),
    ("HOOP_CONNECTION__X__USERNAME", "x"),
    ("HOOP_CONNECTION__0", "x"),
    ("HOOP_CONNECTION__0__USER", "x"),
    ("HOOP_CONNECTION__0__TARGET__HOST", "x"),
    ("HOOP_APPROVALS__REVIEWERS", "group:a"),
    ("HOOP_CONNECTION__0__MASK", "[" * 100_000),
]


@pytest.mark.parametrize(("variable", "value"), VARIABLES, ids=[name for name, _ in VARIABLES])
def test_a_variable_that_names_no_key_is_an_error(write, variable: str, value: str) -> None:  # type: ignore[no-untyped-def]
    (fault,) = faults(write(HEAD + CONNECTION), {variable: value})
    assert fault.startswith(f"{variable}:")


def test_two_spellings_of_one_variable_are_an_error(write) -> None:  # type: ignore[no-untyped-def]
    (fault,) = faults(write(HEAD), {"HOOP_GATEWAY__NAME": "a", "HOOP_gateway__name": "b"})
    assert "same key" in fault


def replaced(old: str, new: str) -> str:
    assert old in HEAD + CONNECTION
    return (HEAD + CONNECTION).replace(old, new)


def rules(line: str, action: str = "deny") -> str:
    return f"{HEAD}{CONNECTION}[[connection.rule]]\nname = 'x'\naction = '{action}'\n{line}\n"


def witness(**changes: str) -> str:
    key = str(CosignerKey("witness.test/w1", bytes(32)))
    told = {"url": "https://witness.test/sub", "key": key, **changes}
    return f"{HEAD}[[evidence.witness]]\n" + "".join(f"{name} = '{value}'\n" for name, value in told.items())


def tries(lines: str) -> str:
    return f"{HEAD}{CONNECTION}[[connection.test]]\nsql = 'SELECT 1'\n{lines}\n"


WRONG = [
    # (configuration, the key that is named, a word of the reason)
    (HEAD + "[gatway]\n", "gatway", "unknown key"),
    (HEAD + "[gateway]\nnmae = 'x'\n", "gateway.nmae", "unknown key"),
    (HEAD + CONNECTION + "pasword = 'x'\n", "connection.0.pasword", "unknown key"),
    (HEAD + "[gateway]\nname = 'a b'\n", "gateway.name", "letters"),
    (HEAD + "[gateway]\nname = '../x'\n", "gateway.name", "letters"),
    (HEAD + "[gateway]\nworkers = 0\n", "gateway.workers", "greater than or equal to 1"),
    (HEAD + "[gateway]\nworkers = 65\n", "gateway.workers", "less than or equal to 64"),
    (rules("rows_over = 5") + "[gateway]\nworkers = 2\n", "gateway.workers", "rows_over and bytes_over"),
    (rules("bytes_over = '1 MiB'") + "[gateway]\nworkers = 2\n", "gateway.workers", "not built yet"),
    (HEAD + f"[gateway]\ncontrol_socket = '{'x' * 108}'\n", "gateway.control_socket", "107 bytes"),
    (HEAD + "[ssh]\nlisten = '127.0.0.1:22'\n", "ssh", "not built"),
    (HEAD + "[ssh]\n", "ssh", "not built"),
    (HEAD + "[postgres]\nlisten = '6432'\n", "postgres.listen", "host:port"),
    (HEAD + "[postgres]\nlisten = '::1:6432'\n", "postgres.listen", "brackets"),
    (HEAD + "[postgres]\nlisten = 'a:70000'\n", "postgres.listen", "65535"),
    (HEAD + "[postgres]\ntls_cert = 'none.pem'\n", "postgres.tls_cert", "no such file"),
    (HEAD + "[postgres]\ntls_key = 'state/tls/key.pem/x'\n", "postgres.tls_key", "no such file"),
    ("", "identity", "missing"),
    ("[identity]\n", "identity.issuer", "missing"),
    ("[identity]\nissuer = 'http://idp.example/realms/x'\n", "identity.issuer", "https"),
    ("[identity]\nissuer = 'https://u:hunter2-Sesame@idp.example/'\n", "identity.issuer", "URL"),
    ("[identity]\nissuer = 'https://[bad/'\n", "identity.issuer", "URL"),
    (HEAD + "issuer = 'https://idp.example/realms/x'\n", "identity.issuer", "loopback"),
    (
        "[identity]\nissuer = 'https://a/realms/x'\n[approvals]\nassurance = 'uid'\n",
        "approvals.assurance",
        "development",
    ),
    (HEAD + "[approvals]\nassurance = 'none'\n", "approvals.assurance", "'uid'"),
    (HEAD + "[approvals]\ntimeout = '15'\n", "approvals.timeout", "unit"),
    (HEAD + "[approvals]\ntimeout = 15\n", "approvals.timeout", "quotes"),
    (HEAD + "[approvals]\ntimeout = '0s'\n", "approvals.timeout", "more than nothing"),
    (HEAD + "[approvals]\nreviewers = ['any']\n", "approvals.reviewers.0", "group:NAME"),
    (HEAD + f"[approvals]\nnotify = ['slack://{SECRET}']\n", "approvals.notify.0", "plain text"),
    (HEAD + "[approvals]\nnotify = ['file:absent']\n", "approvals.notify.0", "no such file"),
    (
        HEAD + "[[approvals.webhook]]\nurl = 'http://ops.example/'\nsecret = 'env:X'\n",
        "approvals.webhook.0.url",
        "https",
    ),
    (
        HEAD + "[[approvals.webhook]]\nurl = 'https://o/'\nsecret = 'whsec_x'\n",
        "approvals.webhook.0.secret",
        "reference",
    ),
    (HEAD + "[approvals.escalation]\nnotify = []\n", "approvals.escalation.after", "missing"),
    (
        HEAD + "[approvals.escalation]\nafter = '1m'\nreviewers = ['leads']\n",
        "approvals.escalation.reviewers.0",
        "group:",
    ),
    (HEAD + "[approvals.break_glass]\nreason = 30\n", "approvals.break_glass.reviewers", "missing"),
    (HEAD + "[approvals.break_glass]\nreviewers = []\n", "approvals.break_glass.reviewers", "name one"),
    (HEAD + "[approvals.break_glass]\nreviewers = ['any']\n", "approvals.break_glass.reviewers.0", "group:"),
    (HEAD + "[approvals.break_glass]\nreviewers = ['group:x']\nreason = 0\n", "approvals.break_glass.reason", "1"),
    (HEAD + "[evidence]\nrecipients = ['age1…']\n", "evidence.recipients", "no age public key"),
    (HEAD + f"[evidence]\nrecipients = ['{AUDITORS[0]}']\n", "evidence.recipients", "two different"),
    (HEAD + f"[evidence]\nrecipients = ['{AUDITORS[0]}', '{AUDITORS[0]}']\n", "evidence.recipients", "two different"),
    (HEAD + f"[evidence]\nrecipients = ['{AUDITORS[0]}', '{OWN}']\n", "evidence.recipients", "secret key"),
    (HEAD + "[evidence]\noriginals = 'first:0'\n", "evidence.originals", "first:N"),
    (HEAD + "[evidence]\noriginals = 'some'\n", "evidence.originals", "first:N"),
    (HEAD + "[evidence]\npayload_limit = '-1'\n", "evidence.payload_limit", "unit"),
    (HEAD + "[evidence]\nwitnesses = 'x'\n", "evidence.witnesses", "unknown key"),
    (witness(key="nonsense"), "evidence.witness.0.key", "verifier key"),
    (witness(url="ftp://a/"), "evidence.witness.0.url", "https://witness.example"),
    (witness(url="https://u:p@a/"), "evidence.witness.0.url", "https://witness.example"),
    (witness(url="https://a/?b"), "evidence.witness.0.url", "https://witness.example"),
    (witness(url="https://a b/"), "evidence.witness.0.url", "https://witness.example"),
    (witness() + witness().removeprefix(HEAD), "evidence.witness", "twice"),
    (HEAD + "[[evidence.sink]]\nevery = '1m'\n", "evidence.sink.0.file", "either a file"),
    (HEAD + "[[evidence.sink]]\nfile = 'a'\ndirectory = 'b'\n", "evidence.sink.0.file", "either a file"),
    (HEAD + "[[evidence.sink]]\nfile = 'a'\n[[evidence.sink]]\nfile = 'a'\n", "evidence.sink", "twice"),
    (HEAD + "[limits]\nconnections = 0\n", "limits.connections", "more than nothing"),
    (HEAD + "[[operator]]\nname = 'dana'\n", "operator.0.uid", "missing"),
    (HEAD + "[[operator]]\nname = 'dana'\nuid = -1\n", "operator.0.uid", "greater than"),
    (HEAD + "[[operator]]\nname = 'dana'\nuid = 1\nroles = ['root']\n", "operator.0.roles.0", "'watch'"),
    (HEAD + "[[operator]]\nname = 'dana'\nuid = 1\ngroups_from = 'token'\n", "operator.0.groups_from", "subject"),
    (
        HEAD + "[[operator]]\nname = 'dana'\nsubject = 's'\ngroups = ['a']\ngroups_from = 'token'\n",
        "operator.0.groups",
        "login alone",
    ),
    (HEAD + "[[operator]]\nname = 'dana'\nuid = 1\nsigners = ['ssh-ed25519 AAAA']\n", "operator.0.signers.0", ".pub"),
    (HEAD + "[approvals]\ngrant_limit = '0s'\n", "approvals.grant_limit", ""),
    (HEAD + "[[operator]]\nname = 'a'\nuid = 1\n[[operator]]\nname = 'b'\nuid = 1\n", "operator.uid", "twice"),
    (HEAD + CONNECTION + CONNECTION, "connection.name", "twice"),
    (replaced("env:ORDERS_PASSWORD", SECRET), "connection.0.password", "reference"),
    (replaced("env:ORDERS_PASSWORD", "md5:" + SECRET), "connection.0.password", "reference"),
    (replaced('"env:ORDERS_PASSWORD"', f'{{ value = "{SECRET}" }}'), "connection.0.password", "string"),
    (replaced("env:ORDERS_PASSWORD", "env:"), "connection.0.password", "does not name a secret"),
    (replaced("env:ORDERS_PASSWORD", "vault:" + SECRET + "/"), "connection.0.password", "does not name a secret"),
    (replaced("env:ORDERS_PASSWORD", "hashicorp:a#b"), "connection.0.password", "does not name a secret"),
    (HEAD + "[vault]\nrecovery = ['AGE-SECRET-KEY-1" + SECRET + "']\n", "vault.recovery.0", "public key"),
    (replaced("env:ORDERS_PASSWORD", "file:absent"), "connection.0.password", "no such file"),
    (replaced("db.example", f"app:{SECRET}@db.example"), "connection.0.target", "no user or password"),
    (replaced("db.example", "app@db.example"), "connection.0.target", "no user or password"),
    (replaced("?sslmode", f"?password={SECRET}&sslmode"), "connection.0.target", "only sslmode"),
    (replaced("?sslmode=verify-full", "?sslmode=never"), "connection.0.target", "sslmode"),
    (replaced("?sslmode=verify-full", "?sslmode=require&sslmode=disable"), "connection.0.target", "once"),
    (replaced("full", "full&sslrootcert=absent.pem"), "connection.0.target", "no such file"),
    (replaced("/orders?", "/?"), "connection.0.target", "database"),
    (replaced("postgresql:", "mysql:"), "connection.0.target", "postgresql://"),
    (replaced(":5433", ":0"), "connection.0.target", "port"),
    (replaced(":5433", ":99999"), "connection.0.target", "postgresql://"),
    (replaced('"any"', '"all"'), "connection.0.agents.2", "group:NAME"),
    (replaced('"sub:x"', '"sub:"'), "connection.0.agents.1", "group:NAME"),
    (replaced('username = "app"', ""), "connection.0.username", "missing"),
    (HEAD + CONNECTION + "kind = 'ssh'\n", "connection.0.kind", "not built"),
    (HEAD + CONNECTION + "policy = 'none'\n", "connection.0.policy", "'standard'"),
    (HEAD + CONNECTION + "[[connection.rule]]\nname = 'x'\n", "connection.0.rule.0.action", "missing"),
    (rules("relation = 'users'"), "connection.0.rule.0.relation.0", "schema.relation or schema.*"),
    (rules("relation = '*'"), "connection.0.rule.0.relation.0", "schema.relation or schema.*"),
    (rules("function = 'f'"), "connection.0.rule.0.function.0", "schema.function"),
    (rules("column = 'a.b'"), "connection.0.rule.0.column.0", "schema.table.column"),
    (rules("operation = 'selct'"), "connection.0.rule.0.operation", "no such operation"),
    (rules("hours = '9-18'"), "connection.0.rule.0.hours.0", "mon-fri 09:00-18:00"),
    (rules("hours = '09:00-09:00'"), "connection.0.rule.0.hours.0", "00:00-24:00"),
    (rules("hours = 'mo 09:00-18:00'"), "connection.0.rule.0.hours.0", "days are"),
    (rules("group = ''"), "connection.0.rule.0.group.0", "group"),
    (rules("subject = 'sub:'"), "connection.0.rule.0.subject.0", "subject"),
    (rules("window = '1h'"), "connection.0.rule.0.window", "beside rows_over"),
    (rules("rows_over = 5", action="allow"), "connection.0.rule.0.rows_over", "approve or deny"),
    (rules("bytes_over = '1MiB'\nreplaces = 'standard/drop'"), "connection.0.rule.0.bytes_over", "a rule of its own"),
    (rules("rows_over = 5", action="approve-effect"), "connection.0.rule.0.action", "use approve"),
    (f"{HEAD}[approvals]\neffect_rows = 11\n{CONNECTION}", "approvals.effect_rows", "less than or equal to 10"),
    (rules("", action="forbid"), "connection.0.rule.0.action", "'allow'"),
    (rules("approvals = 2", action="deny"), "connection.0.rule.0.approvals", "only an action of approve"),
    (rules("approvals = 'each'", action="approve"), "connection.0.rule.0.approvals", "needs reviewers"),
    (rules("approvals = 'all'", action="approve"), "connection.0.rule.0.approvals", "each"),
    (rules("approvals = 0", action="approve"), "connection.0.rule.0.approvals", "1"),
    (rules("reviewers = ['any']", action="approve"), "connection.0.rule.0.reviewers.0", "group:NAME"),
    (rules("reviewers = ['group:a']"), "connection.0.rule.0.reviewers", "approve asks reviewers"),
    (rules("replaces = 'standard/drop'", action="allow"), "connection.0.rule.0.accept_risk", "missing"),
    (rules("replaces = 'standard/server-file'", action="approve"), "connection.0.rule.0.replaces", "never relaxed"),
    (rules("replaces = 'standard/dorp'", action="approve"), "connection.0.rule.0.replaces", "no such line"),
    (rules("") + "[[connection.rule]]\nname = 'x'\naction = 'deny'\n", "connection.0.rule.1.name", "another rule"),
    (rules("relations = []"), "connection.0.rule.0.relations", "unknown key"),
    (HEAD + CONNECTION + "[[connection.test]]\nverdict = 'deny'\n", "connection.0.test.0.sql", "missing"),
    (tries("verdict = 'denied'"), "connection.0.test.0.verdict", "'deny'"),
    (tries("verdict = 'deny'\nat = 'noon'"), "connection.0.test.0.at", "mon 22:15"),
    (HEAD + CONNECTION + "mask = [{ column = 'a.b.c', style = 'last5' }]\n", "connection.0.mask.0.style", "last4"),
    (HEAD + CONNECTION + "mask = [{ column = 'a.b.c', stile = 'null' }]\n", "connection.0.mask.0.stile", "unknown key"),
    (HEAD + CONNECTION + "mask = ['users.email']\n", "connection.0.mask.0", "schema.table.column"),
    (HEAD + CONNECTION + "mask = ['a.b.c d']\n", "connection.0.mask.0", "schema.table.column"),
    (HEAD + CONNECTION + "mask = ['a.b.c.']\n", "connection.0.mask.0", "schema.table.column"),
    (HEAD + CONNECTION + f"mask = ['a.b.{'c' * 64}']\n", "connection.0.mask.0", "63 bytes"),
    (HEAD + CONNECTION + "mask = ['a.b.c', 'A.b.C']\n", "connection.0.mask", "twice"),
    (HEAD + CONNECTION + "functions = ['net_price']\n", "connection.0.functions.0", "schema.function"),
    (HEAD + CONNECTION + "search_path = ['$user']\n", "connection.0.search_path.0", "schema"),
    (HEAD + CONNECTION + "settings = ['a b']\n", "connection.0.settings.0", "setting"),
    (f"password = {SECRET}\n", "not TOML", "Invalid value"),
]


@pytest.mark.parametrize(("text", "key", "why"), WRONG, ids=[f"{key}-{n}" for n, (_, key, _) in enumerate(WRONG)])
def test_what_is_wrong_is_named_in_one_line(write, text: str, key: str, why: str) -> None:  # type: ignore[no-untyped-def]
    (fault,) = faults(write(text))
    assert fault.startswith(f"{key}:"), fault
    assert why in fault


def test_every_fault_is_told(write) -> None:  # type: ignore[no-untyped-def]
    found = faults(write(HEAD + CONNECTION + "policy = 'x'\naccess = 'y'\n[gateway]\nz = 1\n"))
    assert [fault.partition(":")[0] for fault in found] == ["gateway.z", "connection.0.policy", "connection.0.access"]


def test_a_file_that_is_none(tmp_path: Path) -> None:
    assert "no such file" in faults(tmp_path / "absent.toml")[0]
    (tmp_path / "latin.toml").write_bytes(b"a = '\xe9'")
    assert "UTF-8" in faults(tmp_path / "latin.toml")[0]
    assert "no such file" in faults(tmp_path)[0]


def test_a_secret_in_a_variable_is_not_repeated(write) -> None:  # type: ignore[no-untyped-def]
    (fault,) = faults(write(HEAD + CONNECTION), {"HOOP_CONNECTION__0__PASSWORD": SECRET})
    assert fault.startswith("connection.0.password: ")


def test_settings_cannot_be_changed(write) -> None:  # type: ignore[no-untyped-def]
    settings = load(write(HEAD), {})
    with pytest.raises(ValueError, match="frozen"):
        settings.gateway.name = "x"  # type: ignore[misc]


def test_the_real_issuer_may_be_configured_but_is_noted(write) -> None:  # type: ignore[no-untyped-def]
    settings = load(write("[identity]\nissuer = 'https://idp.example/realms/prod'\n"), {})
    assert settings.assurance == "oidc"
    assert any(note.startswith("approvals.assurance: oidc; no [[operator]] has a subject") for note in notes(settings))
    dana = "[[operator]]\nname = 'dana'\nsubject = 's'\nroles = ['decide']\n"
    settings = load(write("[identity]\nissuer = 'https://idp.example/realms/prod'\n" + dana), {})
    assert not any(note.startswith("approvals.assurance") for note in notes(settings))


def test_what_is_never_told_or_never_asked_is_said(write) -> None:  # type: ignore[no-untyped-def]
    glass = "[approvals.break_glass]\nreviewers = ['group:incident']\n"
    late = "[approvals]\ntimeout = '5m'\n[approvals.escalation]\nafter = '5m'\n"
    said = list(notes(load(write(HEAD + late + glass + CONNECTION), {})))
    assert any(note.startswith("approvals.break_glass: notify and webhook are empty") for note in said)
    assert "approvals.escalation: after is not before timeout: nothing is ever escalated" in said
    told = "[approvals]\nnotify = ['env:X']\n[approvals.escalation]\nafter = '5m'\n"
    said = list(notes(load(write(HEAD + told + glass + CONNECTION), {})))
    assert not [note for note in said if note.startswith(("approvals.break_glass", "approvals.escalation"))]


def test_what_people_cannot_do_as_configured_is_noted(write) -> None:  # type: ignore[no-untyped-def]
    dana = "[[operator]]\nname = 'dana'\nsubject = 's'\nroles = ['decide']\n"
    text = rules("approvals = 2", action="approve").replace("[[connection]]", f"{dana}[[connection]]", 1)
    said = list(notes(load(write("[approvals]\nassurance = 'signed'\n" + text), {})))
    assert any("2 different people are asked for, and 1 may decide" in note for note in said)
    assert any(note.startswith("operator dana: signers: empty") for note in said)


def test_defaults_that_are_not_built_are_said(write) -> None:  # type: ignore[no-untyped-def]
    said = list(notes(load(write(HEAD + CONNECTION.replace("verify-full", "require")), {})))
    for key in ("identity.development", "approvals.assurance", "evidence.originals", "evidence.literals", "operator"):
        assert any(note.startswith(f"{key}:") for note in said), key
    assert any("sslmode=require" in note for note in said)
    quiet = RECIPIENTS.replace("'all'", "'first:9'")
    said = list(notes(load(write(quiet + CONNECTION), {})))
    assert not any(note.startswith(("evidence.originals", "evidence.literals")) for note in said)
    said = list(notes(load(write(HEAD + '[evidence]\nliterals = "keep"\n' + CONNECTION), {})))
    assert any(note.startswith("evidence.literals: keep") for note in said)


RECIPIENTS = HEAD + f"[evidence]\noriginals = 'all'\nrecipients = ['{AUDITORS[0]}', '{AUDITORS[1]}']\n"


def test_recipients_are_auditors_whose_secret_keys_lie_elsewhere(write, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    settings = load(write(RECIPIENTS), {"HOME": "/nowhere", "OTHER": OWN})
    assert settings.evidence.recipients == AUDITORS[:2]
    assert settings.evidence.originals_kept is None
    assert not any(note.startswith("evidence.originals") for note in notes(settings))
    secret = str(IDENTITIES[1])
    assert "the variable KEY" in faults(write(RECIPIENTS), {"KEY": f"x {secret.lower()}\n"})[0]
    for place in ("vault.key", "keys/deep/one"):
        path = tmp_path / "state" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"# created\n" + secret.encode() + b"\n\xff")
        (found,) = faults(write(RECIPIENTS))
        assert found.startswith("evidence.recipients: ")
        assert str(path) in found
        assert secret not in found
        path.unlink()
    (tmp_path / "state" / "evidence").mkdir()
    (tmp_path / "state" / "evidence" / "payload").write_text(secret)
    load(write(RECIPIENTS), {})  # what an agent wrote there is not the gateway's


@pytest.mark.parametrize(("kept", "rows"), [("all", None), ("none", 0), ("first:7", 7)])
def test_originals_are_kept_as_told(write, kept: str, rows: int | None) -> None:  # type: ignore[no-untyped-def]
    assert load(write(RECIPIENTS.replace("'all'", f"'{kept}'")), {}).evidence.originals_kept == rows
    assert load(write(HEAD + f"[evidence]\noriginals = '{kept}'\n"), {}).evidence.originals_kept == 0


def test_a_missing_configuration_is_a_configuration_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationFault):
        load(tmp_path / "x.toml")
