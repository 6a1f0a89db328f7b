"""The main path through a real gateway process, a real PostgreSQL and psycopg."""

from __future__ import annotations

import psycopg
import pytest
from running import RunningGateway


def test_rows_come_through_and_are_recorded(gateway: RunningGateway, token: str) -> None:
    with psycopg.connect(**gateway.connect_arguments("plain", token)) as connection:
        assert connection.execute("SELECT id, label AS light FROM items ORDER BY id LIMIT 2").fetchall() == [
            (1, "item 1"),
            (2, "item 2"),
        ]
    (row,) = gateway.query("SELECT subject, outcome, rows FROM statements WHERE sql LIKE 'SELECT id, label AS light%'")
    assert row == {"subject": "agent-1", "outcome": "ok", "rows": 2}


def test_a_marked_column_is_masked(gateway: RunningGateway, token: str) -> None:
    with psycopg.connect(**gateway.connect_arguments("orders", token)) as connection:
        assert connection.execute("SELECT id, email FROM users WHERE id = 1").fetchall() == [(1, "***")]


def test_a_denied_statement_is_an_error_and_the_session_goes_on(gateway: RunningGateway, token: str) -> None:
    with psycopg.connect(**gateway.connect_arguments("plain", token), autocommit=True) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"^hoop: denied"):
            connection.execute("DROP TABLE items")
        assert connection.execute("SELECT 1").fetchone() == (1,)
