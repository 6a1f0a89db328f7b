"""Originals of what the agent saw masked: sealed before it is sent, up to the limit, and opened by auditors."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyrage
import pytest
from keeping import Kept
from wire_client import bind, kinds, prepare, rows

from gateway.pgwire.frontend import FLUSH, SYNC, execute


def session_of(kept: Kept, column: str, text: str) -> str:
    (found,) = kept.gateway.query(f"SELECT session_id FROM statements WHERE {column} LIKE '%{text}%'")
    return str(found["session_id"])


def opened(out: Path, session: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each row that was opened: its number, and its values by column."""
    for line in (out / f"{session}.jsonl").read_text().splitlines():
        told = json.loads(line)
        if told["kind"] != "rows":
            continue
        columns = {one["column"]: one["values"] for one in told["columns"]}
        for place, values in enumerate(zip(*columns.values(), strict=True)):
            yield told["from"] + place, dict(zip(columns, values, strict=True))


def card(number: int) -> dict[str, str] | None:
    return None if number % 10 == 0 else {"t": f"card-{number}{'x' * 40}"}


def test_what_the_agent_saw_masked_the_auditor_reads(kept: Kept, tmp_path: Path) -> None:
    with kept.wire() as wire:
        shown = wire.rows("SELECT card, amount, raw FROM payments WHERE 'one' = 'one' AND id <= 3000 ORDER BY id")
    assert len(shown) == 3000
    assert {one[0] for one in shown} == {"***", None}
    assert {one[2] for one in shown} == {None}
    session = session_of(kept, "sql", "''one'' = ''one''")
    found = kept.unseal(tmp_path / "out", "--session", session)
    assert (found["values"], found["findings"], found["sessions"]) == (900 + 1000, [], [session])
    originals = list(opened(tmp_path / "out", session))
    assert [number for number, _ in originals] == list(range(1, 1001))
    for number, values in originals:
        assert values["card"] == card(number)
        assert values["raw"] == {"t": f"\\x{hashlib.md5(str(number).encode()).hexdigest()}"}
    counts = kept.gateway.query(f"SELECT * FROM masked WHERE session_id = '{session}' ORDER BY column_name")
    assert [(one["column_name"], one["values_masked"], one["values_sealed"]) for one in counts] == [
        ("card", 2700, 900), ("raw", 3000, 1000),
    ]  # fmt: skip


def test_the_opening_is_recorded_before_it_happens(kept: Kept, tmp_path: Path) -> None:
    with kept.wire() as wire:
        assert wire.rows("SELECT card FROM payments WHERE id = 7") == [("***",)]
    before = len(kept.gateway.query("SELECT * FROM access"))
    kept.unseal(tmp_path / "out", which=1, check=False)  # another test may have erased a session: a finding
    *_, last = kept.gateway.query("SELECT * FROM access ORDER BY ts")
    assert len(kept.gateway.query("SELECT * FROM access")) == before + 1
    recipient = str(pyrage.x25519.Identity.from_str(kept.identities[1].read_text().strip()).to_public())
    assert (last["reason"], recipient in last["what"]) == ("a test", True)
    assert not (tmp_path / "out" / "access.jsonl").exists()
    for arguments in (["--socket", str(tmp_path / "absent")], ["--reason", " "]):
        done = kept.gateway.command(
            "evidence", "unseal", str(kept.gateway.evidence), str(tmp_path / "no"), "--identity",
            str(kept.identities[0]), "--reason", "x", *arguments, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (2, "")
        assert not (tmp_path / "no").exists()


def test_a_copy_is_opened_with_a_note_beside_it(kept: Kept, tmp_path: Path) -> None:
    with kept.wire() as wire:
        wire.rows("SELECT card FROM payments WHERE id = 8")
    copy, out = tmp_path / "copy", tmp_path / "out"
    shutil.copytree(kept.gateway.evidence, copy)
    done = kept.gateway.command(
        "evidence", "unseal", str(copy), str(out), "--identity", str(kept.identities[0]), "--reason", "a copy",
        check=False,  # as above
    )  # fmt: skip
    assert "access.jsonl" in done.stdout
    (note,) = [json.loads(line) for line in (out / "access.jsonl").read_text().splitlines()]
    recipient = str(pyrage.x25519.Identity.from_str(kept.identities[0].read_text().strip()).to_public())
    assert (note["recipient"], note["reason"]) == (recipient, "a copy")
    assert {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {0o600}
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    assert str(kept.identities[0].read_text().strip()) not in done.stdout + done.stderr
    inside = kept.gateway.command(
        "evidence", "unseal", str(copy), str(copy / "out"), "--identity", str(kept.identities[0]), "--reason", "x",
        check=False,
    )  # fmt: skip
    assert inside.returncode == 2
    assert not (copy / "out").exists()


def test_binary_results_portals_in_parts_and_several_statements(kept: Kept, tmp_path: Path) -> None:
    with kept.wire() as wire:
        wire.rows("SELECT 1 AS parts")
        wire.send(prepare("SELECT raw, card FROM payments ORDER BY id LIMIT 5", "s"), bind(statement="s", results=1))
        wire.send(execute(b"", 2), FLUSH)
        assert rows(wire.until("s")) == [(None, "***"), (None, "***")]
        wire.send(execute(b"", 0), SYNC)
        assert rows(wire.until("Z")) == [(None, "***")] * 3
        found = wire.query("SELECT card FROM payments WHERE id < 3 ORDER BY id; SELECT raw FROM payments WHERE id = 4")
        assert rows(found) == [("***",), ("***",), (None,)]
    name = session_of(kept, "sql", "AS parts")
    kept.unseal(tmp_path / "out", "--session", name)
    told = [json.loads(line) for line in (tmp_path / "out" / f"{name}.jsonl").read_text().splitlines()]
    told = [one for one in told if one["kind"] == "rows"]
    assert [(one["index"], one["from"], one["to"]) for one in told] == [(0, 1, 2), (0, 3, 5), (0, 1, 2), (1, 1, 1)]
    raw = told[0]["columns"][0]
    assert (raw["column"], raw["format"]) == ("raw", 1)
    value = raw["values"][0]
    exact = base64.b64decode(value["b"]) if "b" in value else value["t"].encode()
    assert exact == hashlib.md5(b"1").digest()


def test_no_original_lies_in_the_state_of_the_gateway_or_in_its_log(kept: Kept) -> None:
    with kept.wire() as wire:
        wire.rows("SELECT card FROM payments")
    form = re.compile(rb"card-[0-9]+xxxx")
    for path in kept.gateway.home.rglob("*"):
        if path.is_file():
            assert not form.search(path.read_bytes()), path
    assert any((kept.gateway.evidence / "logs" / "w1" / "originals").iterdir())


@pytest.mark.parametrize("form", ["text", "csv", "binary"])
def test_rows_copied_out_are_kept_under_their_numbers(kept: Kept, tmp_path: Path, form: str) -> None:
    with kept.wire() as wire:
        wire.rows(f"SELECT 'copied-{form}' AS mark")
        query = "SELECT id, card FROM payments WHERE id <= 1200 ORDER BY id"
        found = wire.query(f"COPY ({query}) TO STDOUT (FORMAT {form})")
        assert kinds(found).endswith("cCZ")
        assert b"card-" not in b"".join(each.body for each in found)
    session = session_of(kept, "sql", f"copied-{form}")
    kept.unseal(tmp_path / "out", "--session", session)
    originals = {number: values["card"] for number, values in opened(tmp_path / "out", session)}
    assert {number: value for number, value in originals.items() if value} == {
        number: card(number) for number in range(1, 1001) if number % 10
    }
    (counts,) = kept.gateway.query(f"FROM masked WHERE session_id = '{session}'")
    assert (counts["values_masked"], counts["values_sealed"]) == (1080, 900)
