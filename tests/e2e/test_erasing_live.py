"""Erasing beside a running gateway: it archives and records, and goes on; what it recorded since is all there."""

from __future__ import annotations

import json
from pathlib import Path

from keeping import Kept


def test_a_payload_and_a_session_are_erased_while_agents_work(kept: Kept, tmp_path: Path) -> None:
    gateway = kept.gateway
    with kept.wire() as wire:
        wire.rows("SELECT card FROM payments WHERE id = 5 AND 'erase' = 'erase'")
        (found,) = gateway.query("SELECT log, seq, session_id FROM statements WHERE sql LIKE '%''erase'' = ''erase''%'")
        erase = ("evidence", "erase", "-c", str(gateway.config), "--basis", "GDPR 17", "--json")
        told = json.loads(gateway.command(*erase, "--record", f"{found['log']}:{found['seq']}").stdout)
        assert told["records"] == [f"{found['log']}:{found['seq']}"]
        assert wire.rows("SELECT 1 AS afterwards") == [("1",)]
        shredded = json.loads(gateway.command(*erase, "--session", found["session_id"]).stdout)
        assert shredded["records"] == [f"session:{found['session_id']}"]
        assert wire.rows("SELECT card FROM payments WHERE id = 6") == [("***",)]
    assert gateway.query(f"SELECT sql FROM statements WHERE log = '{found['log']}' AND seq = {found['seq']}") == [
        {"sql": None}
    ]
    done = gateway.command("evidence", "verify", str(gateway.evidence), check=False)
    assert done.returncode == 0, done.stdout
    opened = kept.unseal(tmp_path / "out", "--session", found["session_id"], check=False)
    assert opened["envelopes"] == 0
    assert {one["what"] for one in opened["findings"]} == {
        f"the wrapped key of session {found['session_id']} is gone: it was erased, or is missing"
    }
    entries = gateway.query("SELECT entry FROM records WHERE kind = 'erasure' ORDER BY ts")
    assert [json.loads(one["entry"])["by"] != "" for one in entries] == [True, True]
