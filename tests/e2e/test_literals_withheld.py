"""Literals that meet a marked column are in clear at the target alone: not in evidence, events, lists or cards."""

from __future__ import annotations

import base64
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from keeping import Kept
from operating import approve, ask
from running import RunningGateway
from wire_client import COPY_DONE, bind, copy_data, eventually, prepare, rows, shown, through

from gateway.pgwire.framing import Message
from gateway.pgwire.frontend import SYNC, execute, query

SECRETS = [
    "needle-simple", "needle-bound", "needle-binary", "needle-update", "needle-insert", "needle-copied", "needle-typo",
    "needle-explain", "needle-role", "needle-held", "needle-parsed", "needle-execute", "needle-returned",
    "needle-comment",
]  # fmt: skip
"""Each is sent once, next to a marked column or as a secret."""


@pytest.fixture(scope="module")
def events(kept: Kept) -> Iterator[list[bytes]]:
    """Everything that the control socket told a console, from the first statement on."""
    told: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as connected:
        connected.settimeout(5)
        connected.connect(str(kept.gateway.home / "state" / "control.sock"))
        for message in (
            {"type": "hello", "version": 1, "client": "test", "resume": None},
            {
                "type": "request",
                "id": 1,
                "method": "subscribe",
                "params": {"topics": ["sessions", "records", "approvals"]},
            },
        ):
            connected.sendall(json.dumps(message).encode() + b"\n")
        yield told
        connected.settimeout(1)
        try:
            while data := connected.recv(1 << 16):
                told.append(data)
        except TimeoutError:
            pass
        found = b"".join(told)
        assert found.count(b'"record"') > 10
        assert not [one for one in SECRETS if one.encode() in found]


@pytest.fixture(scope="module")
def session(kept: Kept, events: list[bytes]) -> str:
    """The session that sent all of them; returns its id."""
    approvals = ask(kept.gateway, "approvals.list")
    with kept.wire() as wire:
        wire.rows("SELECT 4711 AS marker")
        wire.rows("SELECT amount FROM payments WHERE card = 'needle-simple' AND id = 4242")
        wire.send(prepare("SELECT amount FROM payments WHERE card = $1 AND id = $2"), bind(b"needle-bound", b"77"))
        wire.send(execute(b"", 0), SYNC)
        wire.until()
        wire.send(prepare("SELECT amount FROM payments WHERE card = $1"), bind(b"needle-binary", formats=(1,)))
        wire.send(execute(b"", 0), SYNC)
        wire.until()
        wire.send(prepare("SELECT amount FROM payments WHERE card = 'needle-parsed'", "p"), SYNC)
        wire.until()
        plan = rows(wire.query("EXPLAIN SELECT amount FROM payments WHERE card = 'needle-explain'"))
        assert any("needle-explain" in str(row) for row in plan)  # the agent's own words come back to it
        wire.query("SELECT amount FROM payments WHERE card = 'needle-typo' AND AND")
        wire.query("ALTER ROLE nobody PASSWORD 'needle-role'")
        wire.query("PREPARE e AS SELECT amount FROM payments WHERE card = $1")
        wire.query("EXECUTE e('needle-execute')")
        wire.rows("SELECT amount FROM payments WHERE card = 'needle-comment' -- needle-comment")
        wire.rows("SELECT 'needle-returned', 1 FROM payments WHERE card = 'needle-returned' OR id = 1")
        for held in (
            "UPDATE payments SET card = 'needle-update' WHERE id = 2901",
            "INSERT INTO payments (id, card) VALUES (9001, 'needle-insert')",
            "DELETE FROM payments WHERE card = 'needle-held' AND id = 9001",
        ):
            wire.send(query(held.encode()))
            approval = held_as(wire.expect("N"))
            card = ask(kept.gateway, "approvals.get", id=approval)
            assert "$masked_1" in card["statement"]
            assert "needle" not in json.dumps(
                [card, ask(kept.gateway, "sessions.list"), ask(kept.gateway, "approvals.list")]
            )
            if "DELETE" in held:
                reveal(kept, approval)
            approve(kept.gateway, approval)
            wire.until()
        wire.send(query(b"COPY payments (id, card) FROM STDIN"))
        approve(kept.gateway, held_as(wire.expect("N")))
        wire.until("G")
        wire.send(copy_data(b"9002\tneedle-copied\n"), COPY_DONE)
        wire.until()
        assert wire.rows("SELECT count(*) FROM payments WHERE id >= 9000") == [("2",)]
    assert approvals == []
    (found,) = kept.gateway.query("SELECT session_id FROM statements WHERE sql LIKE '%4711 AS marker%'")
    name = str(found["session_id"])
    assert eventually(lambda: kept.gateway.query(f"FROM sessions WHERE session_id = '{name}' AND ended IS NOT NULL"))
    return name


def held_as(notice: Message) -> str:
    """The approval that a NOTICE names."""
    found = re.search(r"ap-[0-9a-f]+", shown([notice]))
    assert found is not None
    return found[0]


def reveal(kept: Kept, approval: str) -> None:
    """The reviewer looks at the exact text, once; the look is recorded."""
    command = ["approvals", "show", approval, "--literals", "-c", str(kept.gateway.config), "--json"]
    assert kept.gateway.command(*command, check=False).returncode == 2
    found = json.loads(kept.gateway.command(*command, "--reason", "to decide").stdout)
    assert found["statement"] == "DELETE FROM payments WHERE card = 'needle-held' AND id = 9001"
    again = kept.gateway.command(*command, "--reason", "once more", check=False)
    assert (again.returncode, "shown once" in again.stderr) == (1, True)
    looks = kept.gateway.query(f"FROM access WHERE what LIKE '%{approval}%'")
    assert [one["reason"] for one in looks] == ["to decide"]


def test_none_of_them_lies_anywhere_in_the_state_or_the_log(kept: Kept, session: str) -> None:
    found = [
        (path.name, one)
        for path in kept.gateway.home.rglob("*")
        if path.is_file()
        for one in SECRETS
        if any(form in path.read_bytes() for form in forms(one))
    ]
    assert found == []
    assert session


def forms(secret: str) -> list[bytes]:
    """A text in clear, in hexadecimal, and in base64 at each of its three places."""
    raw = secret.encode()
    encoded = [base64.b64encode(b"\0" * shift + raw)[4:-4] for shift in range(3)]
    return [raw, raw.hex().encode(), *encoded]


def test_what_is_recorded_tells_what_was_asked_but_not_for_whom(kept: Kept, session: str) -> None:
    found = kept.gateway.query(f"FROM statements WHERE session_id = '{session}' ORDER BY seq")
    texts = [one["sql"] for one in found]
    assert "SELECT amount FROM payments WHERE card = $masked_1 AND id = 4242" in texts
    assert "SELECT amount FROM payments WHERE card = $masked_1 AND AND" in texts
    assert "ALTER ROLE nobody PASSWORD $masked_1" in texts
    assert "EXECUTE e($masked_1)" in texts
    assert "SELECT amount FROM payments WHERE card = $masked_1 -- $masked_1" in texts
    assert "UPDATE payments SET card = $masked_1 WHERE id = 2901" in texts
    assert "INSERT INTO payments (id, card) VALUES (9001, $masked_1)" in texts
    bound = [one["parameters"] for one in found if "card = $1 AND id = $2" in one["sql"]]
    assert bound == [["$masked_1", "77"]]
    transcript = kept.gateway.query(f"FROM transcript WHERE session_id = '{session}' ORDER BY seq")
    assert any("Filter: $masked\n" in str(one["text"]) for one in transcript)
    counted = kept.gateway.query(
        f"SELECT sum(json_extract(entry, '$.withheld')::BIGINT) AS n FROM records WHERE session_id = '{session}'"
    )
    assert int(counted[0]["n"]) >= len(SECRETS)


def test_the_exact_text_is_in_the_sealed_originals(kept: Kept, session: str, tmp_path: Path) -> None:
    found = kept.unseal(tmp_path / "out", "--session", session)
    assert found["findings"] == []
    opened = (tmp_path / "out" / f"{session}.jsonl").read_text()
    assert [one for one in SECRETS if one not in opened] == []
    told = [json.loads(line) for line in opened.splitlines()]
    statements = [one["sql"]["t"] for one in told if one["kind"] == "statement"]
    assert "SELECT amount FROM payments WHERE card = 'needle-simple' AND id = 4242" in statements
    plans = [one["text"] for one in told if one["kind"] == "answer" and "needle-explain" in one["text"]]
    assert len(plans) == 1
    data = [one["content"]["t"] for one in told if one["kind"] == "data"]
    assert data == ["9002\tneedle-copied\n"]
    (bound,) = [one for one in told if one.get("parameters", [None])[0] == {"t": "needle-bound"}]
    assert bound["parameters"][1] == {"t": "77"}


def test_with_keep_a_statement_is_recorded_as_it_was_sent(gateway: RunningGateway, token: str) -> None:
    """The shared gateway seals: what is kept as sent there has no marked column in it."""
    with through(gateway, "orders", token) as wire:
        wire.rows("SELECT id FROM users WHERE name = 'needle-kept' AND email = 'needle-gone'")
    found: list[dict[str, Any]] = gateway.query("FROM statements WHERE sql LIKE '%needle-kept%'")
    assert [one["sql"] for one in found] == ["SELECT id FROM users WHERE name = 'needle-kept' AND email = $masked_1"]
