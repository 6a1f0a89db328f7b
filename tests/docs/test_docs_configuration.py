"""docs/configuration.md names every key of every table with its true default, and nothing else."""

import re
import tomllib
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel, TypeAdapter

from gateway.settings import approvals, load, outside, rules, tables

TEXT = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
SECTIONS: dict[str, type[BaseModel]] = {
    "[gateway]": tables.GatewayTable,
    "[postgres]": tables.PostgresTable,
    "[ssh]": tables.SshTable,
    "[identity]": tables.IdentityTable,
    "[approvals]": approvals.ApprovalsTable,
    "[[approvals.webhook]]": approvals.WebhookTable,
    "[approvals.escalation]": approvals.EscalationTable,
    "[approvals.break_glass]": approvals.BreakGlassTable,
    "[evidence]": tables.EvidenceTable,
    "[vault]": tables.VaultTable,
    "[[evidence.witness]]": outside.WitnessTable,
    "[[evidence.sink]]": outside.SinkTable,
    "[evidence.timestamp]": outside.TimestampTable,
    "[evidence.retention]": outside.RetentionTable,
    "[limits]": tables.LimitsTable,
    "[[operator]]": tables.OperatorTable,
    "[[connection]]": tables.ConnectionTable,
    "[[connection.rule]]": rules.RuleTable,
    "[[connection.test]]": rules.TestTable,
}


def rows(section: str) -> dict[str, str]:
    """Key and default of a section's table, as written."""
    body = TEXT.split(f"## `{section}`\n", 1)[1].split("\n## ", 1)[0]
    return dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", body, re.MULTILINE))


def test_every_table_has_its_section() -> None:
    assert set(re.findall(r"^## `(.+)`$", TEXT, re.MULTILINE)) == set(SECTIONS)
    assert {name.strip("[]").partition(".")[0] for name in SECTIONS} == set(tables.Settings.model_fields)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_stands_there_with_its_default(section: str) -> None:
    table = SECTIONS[section]
    written = rows(section)
    assert list(written) == list(table.model_fields)
    for key, default in written.items():
        field = table.model_fields[key]
        if default == "required":
            assert field.is_required(), key
        elif default == "none":
            assert field.default is None, key
        else:
            value = tomllib.loads(f"key = {default.strip('`')}")["key"]
            annotation = field.annotation
            for part in field.metadata:
                annotation = Annotated[annotation, part]
            assert TypeAdapter(annotation).validate_python(value) == field.default, key


def test_the_example_is_accepted(tmp_path: Path) -> None:
    example = re.search(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    assert example
    for name in ("cert.pem", "key.pem"):
        (tmp_path / "state" / "tls").mkdir(parents=True, exist_ok=True)
        (tmp_path / "state" / "tls" / name).touch()
    (tmp_path / "gateway.toml").write_text(example[1])
    settings = load(tmp_path / "gateway.toml", {"HOOP_GATEWAY__NAME": "gw-2", "HOOP_CONNECTION__0__USERNAME": "other"})
    assert settings.gateway.name == "gw-2"
    assert settings.connections()[0].username == "other"


def test_what_is_called_not_built_is_refused(tmp_path: Path) -> None:
    cases = {
        "ssh": 'listen = "127.0.0.1:6422"',
    }  # fmt: skip
    for name in ("cert.pem", "key.pem"):
        (tmp_path / "state" / "tls").mkdir(parents=True, exist_ok=True)
        (tmp_path / "state" / "tls" / name).touch()
    for table, line in cases.items():
        (tmp_path / "gateway.toml").write_text(f"[identity]\ndevelopment = true\n[{table}]\n{line}\n")
        with pytest.raises(Exception, match=f"{table}.*not built yet"):
            load(tmp_path / "gateway.toml", {})
