"""What a reviewer is told of a held statement beside its text: an estimate, the transaction, its locks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from operating import deny, pending
from running import RunningGateway
from wire_client import Wire, bind, eventually, notices, prepare

from gateway.pgwire.frontend import SYNC, execute, query


@pytest.fixture
def ask(gateway: RunningGateway) -> Callable[[Wire], dict[str, Any]]:
    """Wait for a hold and for what is known of it; refuse it then."""

    def known(wire: Wire) -> dict[str, Any]:
        (said,) = notices(wire.until("N"))
        approval = (said.get("M") or "").split(": ")[2].split()[0]

        def told() -> dict[str, Any] | None:
            found = pending(gateway, approval)
            return found if found is not None and found["impact"] is not None else None

        found = eventually(told)
        assert isinstance(found, dict)
        deny(gateway, approval)
        wire.until()
        return found

    return known


def test_an_estimate_comes_from_the_planner_and_nothing_runs(
    agent: Callable[..., Wire], scratch: Wire, ask: Callable[[Wire], dict[str, Any]]
) -> None:
    scratch.rows("INSERT INTO scratch SELECT generate_series(1, 400)")
    scratch.rows("ANALYZE scratch")
    wire = agent()
    found = ask(wire.send(query(b"DELETE FROM scratch WHERE id > 300")))
    assert 50 <= found["impact"]["changed"] <= 150
    assert found["impact"]["transaction_ms"] is None
    assert found["impact"]["locks"] == []
    assert scratch.rows("SELECT count(*) FROM scratch") == [("400",)]
    bound = prepare("DELETE FROM scratch WHERE id > $1", types=(23,)), bind(b"390"), execute(b""), SYNC
    found = ask(wire.send(*bound))
    assert 1 <= found["impact"]["changed"] <= 40


def test_the_transaction_and_its_locks_are_told(
    agent: Callable[..., Wire], scratch: Wire, ask: Callable[[Wire], dict[str, Any]]
) -> None:
    scratch.rows("INSERT INTO scratch VALUES (1)")
    wire = agent()
    wire.query("BEGIN")
    wire.query("UPDATE scratch SET note = 'x' WHERE id = 1")
    found = ask(wire.send(query(b"DELETE FROM scratch WHERE id = 1")))
    impact = found["impact"]
    assert impact["transaction_ms"] >= 0
    assert (impact["writes"], impact["blocks"]) == (True, 0)
    assert "public.scratch RowExclusiveLock" in impact["locks"]
    assert any("locks are held" in warning for warning in found["warnings"])


def test_what_would_run_code_is_not_asked_about(
    agent: Callable[..., Wire], scratch: Wire, ask: Callable[[Wire], dict[str, Any]]
) -> None:
    """The planner folds constants through immutable functions: `spends`, if it were asked, would leave a trace."""
    scratch.rows("CREATE SEQUENCE IF NOT EXISTS trace")
    scratch.rows(
        "CREATE OR REPLACE FUNCTION spends(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS "
        "$$ BEGIN RETURN nextval('trace') + $1; END $$"
    )
    wire = agent()
    found = ask(wire.send(query(b"DELETE FROM scratch WHERE id = spends(1)")))
    assert (found["impact"]["rows"], found["impact"]["changed"]) == (None, None)
    found = ask(wire.send(query(b"CREATE TABLE more (id int)")))
    assert found["impact"]["changed"] is None
    assert scratch.rows("SELECT is_called FROM trace") == [("f",)]
