"""An export beside a running gateway: recorded in its log, signed up to that record, and whole by itself."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
from keeping import Kept


def test_an_export_is_recorded_and_proves_itself(kept: Kept, tmp_path: Path) -> None:
    gateway, out = kept.gateway, tmp_path / "out.duckdb"
    with kept.wire() as wire:
        wire.rows("SELECT 'exported' AS mark, card FROM payments WHERE id = 3")
        (found,) = gateway.query("SELECT session_id FROM statements WHERE sql LIKE '%exported%'")
        export = ("evidence", "export", str(gateway.evidence))
        told = json.loads(gateway.command(*export, str(out), "--reason", "audit", "--json").stdout)
        assert told["rows"]["statements"] > 0
        one = tmp_path / "one.duckdb"
        shown = gateway.command(*export, str(one), "--session", found["session_id"], "--from", "2020-01-01").stdout
        assert "recorded as" in shown
        assert "statements" in shown
    keys = [f"--key={gateway.evidence / 'logs' / log / 'log.pub'}" for log in ("control", "w1")]
    for path in (out, one):
        done = gateway.command("evidence", "check-export", str(path), *keys, check=False)
        assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "holds"), done.stdout + done.stderr
    with duckdb.connect(str(out), read_only=True) as database:
        looks = database.execute("SELECT what, reason FROM access WHERE reason = 'audit'").fetchall()
        assert looks == [("export of everything to out.duckdb", "audit")]
        assert database.execute("SELECT count(*) FROM statements WHERE sql LIKE '%exported%'").fetchall() == [(1,)]
    with duckdb.connect(str(one), read_only=True) as database:
        assert database.execute("SELECT DISTINCT session_id FROM statements").fetchall() == [(found["session_id"],)]
        masked = database.execute("SELECT column_name, values_masked, values_sealed FROM masked").fetchall()
        assert masked == [("card", 1, 1)]
    again = gateway.command(*export, str(out), check=False)
    assert (again.returncode, "there already" in again.stderr) == (2, True)
    inside = gateway.command(*export, str(gateway.evidence / "x.duckdb"), check=False)
    assert (inside.returncode, "elsewhere" in inside.stderr) == (2, True)
    wrong = gateway.command(*export, str(tmp_path / "y.duckdb"), "--from", "yesterday", check=False)
    assert (wrong.returncode, "2026-11-25" in wrong.stderr) == (2, True)
