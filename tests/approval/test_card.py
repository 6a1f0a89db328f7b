"""What people are shown fits a frame whatever the agent wrote, and says what it leaves out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from approving import NOON, hold, of

from gateway.approval.card import card
from gateway.approval.ledger import Approval, Ran
from gateway.control.messages import MAX_FRAME, Event, Response, decode_server, encode
from gateway.evidence.shown_effect import effect_digest
from gateway.model import HoldRequest, HoldState, Impact, OperationHash, RelationEffect, Sample, SampledRow, ShownEffect
from gateway.pgwire.effecting import RELATIONS
from gateway.policy.sampling import COLUMNS, TEXT


def pending(request: HoldRequest) -> Approval:
    return Approval(request, HoldState.PENDING, request.expires, waiting=True)


@pytest.mark.parametrize("character", ["\x01", "\x7f", "世", "👍", '"', "\ud800"])
def test_the_worst_an_agent_can_write_fits_a_frame(character: str) -> None:
    request = of(hold(statement=character * 2**20), subject=character * 2000, owner=character * 2000, issuer="i" * 9999)
    request = replace(
        request,
        parameters=(character * 2**16,) * 1000,
        relations=(character * 63,) * 1000,
        reason=character * 10_000,
        session=replace(request.session, user=character * 3000, application=character * 3000),
    )
    for whole in (True, False):
        shown = card(pending(request), whole=whole)
        assert decode_server(encode(Event(1, "approval.pending", shown))) == Event(1, "approval.pending", shown)
        assert len(encode(Response(1, shown))) < MAX_FRAME
        assert shown["statement_cut"] is True
        assert shown["statement_length"] == 2**20
    warnings = card(pending(request), whole=True)["warnings"]
    assert isinstance(warnings, list)
    assert sum("refuse what you cannot read" in str(warning) for warning in warnings) == 2


WARNED = [
    ({}, {}, 0),
    ({"in_transaction": True}, {}, 1),
    ({}, {"development": True}, 1),
    ({"address": "127.0.0.1:4000"}, {}, 1),
    ({"address": "127.0.0.1"}, {}, 1),
    ({"address": "[::1]:4000"}, {}, 1),
    ({"address": "::1"}, {}, 1),
    ({"address": "10.1.2.3:4"}, {}, 0),
    ({"address": "[2001:db8::1]:4"}, {}, 0),
]


@pytest.mark.parametrize(("about", "principal", "count"), WARNED)
def test_what_a_reviewer_is_warned_of(about: dict[str, object], principal: dict[str, object], count: int) -> None:
    request = of(hold(), **principal)
    address = str(about.get("address", request.session.client_address))
    request = replace(
        request,
        session=replace(request.session, client_address=address),
        in_transaction=bool(about.get("in_transaction", False)),
    )
    assert len(card(pending(request))["warnings"]) == count  # type: ignore[arg-type]


def test_a_result_is_shown_with_what_ran() -> None:
    ran = Ran(OperationHash("ab" * 32), "ok", 182_340, 2_100_000)
    shown = card(replace(pending(hold()), state=HoldState.EXECUTED, decided=NOON, approver="dana", ran=ran))
    assert shown["state"] == "executed"
    assert shown["result"] == {"outcome": "ok", "rows": 182_340, "duration_us": 2_100_000, "executed_hash": "ab" * 32}


def test_what_is_known_of_its_effect_is_shown() -> None:
    assert card(pending(hold()))["impact"] is None
    impact = Impact(
        rows=0, changed=12_000, transaction_ms=900, writes=True, blocks=2, locks=(("public.t", "ShareLock"),)
    )
    shown = card(replace(pending(hold()), impact=impact))
    assert shown["impact"] == {
        "rows": 0, "changed": 12_000, "transaction_ms": 900, "writes": True, "blocks": 2,
        "locks": ["public.t ShareLock"],
    }  # fmt: skip
    assert "2 other sessions wait for the agent's transaction" in shown["warnings"]  # type: ignore[operator]


def ran_already(value: str = "open", rows: int = 1, columns: int = 2) -> ShownEffect:
    names = tuple(f"{value}{place}"[:63] for place in range(columns))
    row = SampledRow((value,) * columns, (value,) * columns)
    return ShownEffect(
        rows=3,
        relations=(RelationEffect("public.orders", 0, 3, 0),),
        sample=Sample("public.orders", names, (False,) * columns, (row,) * rows),
        lasting=("trigger t calls public.f",),
    )


def test_what_ran_already_is_shown_with_its_rows_where_all_is_asked_for() -> None:
    request = replace(hold(), effect=ran_already(), in_transaction=True)
    shown, listed = card(pending(request), whole=True)["effect"], card(pending(request))["effect"]
    assert isinstance(shown, dict)
    assert isinstance(listed, dict)
    assert shown["sample"] is not None
    assert listed["sample"] is None
    assert shown["digest"] == listed["digest"] == effect_digest(ran_already())
    assert effect_digest(ran_already()) != effect_digest(ran_already("sent"))
    warnings = card(pending(request), whole=True)["warnings"]
    assert isinstance(warnings, list)
    assert sum("not undone" in str(warning) for warning in warnings) == 1
    assert card(pending(hold()))["effect"] is None


@pytest.mark.parametrize("character", ["\x01", "👍"])
def test_the_largest_sample_fits_a_frame(character: str) -> None:
    effect = replace(
        ran_already(character * TEXT + "…", rows=10, columns=COLUMNS),
        relations=(RelationEffect(character * 130, 1, 1, 1),) * RELATIONS,
        lasting=(character * 500,) * 20,
    )
    request = replace(hold(statement=character * 2**20), effect=effect, parameters=(character * 2**16,) * 1000)
    shown = card(pending(request), whole=True)
    assert len(encode(Response(1, shown))) < MAX_FRAME
