"""The configuration: what it refuses and by which name, and that it never repeats a value."""

from __future__ import annotations

from pathlib import Path

import pytest
from configurations import (
    AUDITORS,
    CONNECTION,
    HEAD,
    OWN,
    SECRET,
    Write,
    faults,
    replaced,
    rules,
    tries,
    witness,
)

from gateway.errors import ConfigurationFault
from gateway.settings import load

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
    (HEAD + "[evidence.timestamp]\nurl = 'https://a/?b'\ncertificate = 'c'\n", "evidence.timestamp.url", "authority"),
    (HEAD + "[evidence.timestamp]\nurl = 'https://a/'\n", "evidence.timestamp.certificate", "missing"),
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
def test_what_is_wrong_is_named_in_one_line(write: Write, text: str, key: str, why: str) -> None:
    (fault,) = faults(write(text))
    assert fault.startswith(f"{key}:"), fault
    assert why in fault


def test_every_fault_is_told(write: Write) -> None:
    found = faults(write(HEAD + CONNECTION + "policy = 'x'\naccess = 'y'\n[gateway]\nz = 1\n"))
    assert [fault.partition(":")[0] for fault in found] == ["gateway.z", "connection.0.policy", "connection.0.access"]


def test_a_file_that_is_none(tmp_path: Path) -> None:
    assert "no such file" in faults(tmp_path / "absent.toml")[0]
    (tmp_path / "latin.toml").write_bytes(b"a = '\xe9'")
    assert "UTF-8" in faults(tmp_path / "latin.toml")[0]
    assert "no such file" in faults(tmp_path)[0]


def test_a_missing_configuration_is_a_configuration_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationFault):
        load(tmp_path / "x.toml")
