from __future__ import annotations

from dataclasses import replace

import pytest
from fake_gateway import EPOCH, make_approval, make_item, make_record
from greeted import GATEWAY
from hypothesis import given
from hypothesis import strategies as st

from gateway.model import Micros
from hoop_tui import held, intake
from hoop_tui.glyphs import PLAIN, RICH, Glyphs
from hoop_tui.happenings import Greeted, Lost
from hoop_tui.known import Approval, Attempt, AttemptPhase, Gap, Link, Phase
from hoop_tui.lines import Line, text_of, width_of
from hoop_tui.paint.answer import paint_answer
from hoop_tui.paint.card import Surroundings, paint_card
from hoop_tui.paint.status import paint_status, paint_tabs
from hoop_tui.paint.tail import paint_tail
from hoop_tui.paint.transcript import paint_item, paint_timeline
from hoop_tui.player import Player, compose
from hoop_tui.risk import high_risk
from hoop_tui.sanitize import scrub_message
from hoop_tui.screens.replay import intake_item
from hoop_tui.state import State, reduce

AROUND = Surroundings(Micros(EPOCH), GATEWAY, None, live=True)


def approval(**changes: object) -> Approval:
    read = held.approval(scrub_message(make_approval(**changes)))
    assert read is not None
    return read


def text(lines: tuple[Line, ...]) -> str:
    return "\n".join(map(text_of, lines))


def test_the_card_stands_in_the_order_of_the_decision() -> None:
    request = approval(parameters=["2020-01-01", None], warnings=["not reversible"])
    shown = text(paint_card(request, AROUND, 79, RICH).lines)
    order = ["HELD", "expires in 04:12", "who ", "where ", "rule ", "impact ", "STATEMENT", "PARAMETERS", "WARNINGS",
             "LATELY", "SAME TEXT BEFORE", "IF YOU DO NOTHING", "IF YOU APPROVE"]  # fmt: skip
    places = [shown.index(word) for word in order]
    assert places == sorted(places)
    for fact in ("report-bot", "for erin", "token valid 41 min", "orders", "10.0.0.5:5432/orders", "as app",
                 "standard/delete", "public.orders", "$1", "NULL", "not reversible", request.hash):  # fmt: skip
        assert fact in shown


IMPACT = {"rows": 0, "changed": 12_000, "transaction_ms": 61_000, "writes": True, "blocks": 2, "locks": ["public.t X"]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ["rows not estimated", "no transaction open"]),
        ({"impact": {"rows": None, "changed": None}}, ["rows not estimated"]),
        ({"impact": {"rows": 1_234, "changed": 0}}, ["about 1,234 rows (the planner's estimate)"]),
        ({"impact": IMPACT}, ["about 12,000 rows changed", "holds public.t X"]),
        ({"impact": IMPACT, "in_transaction": True}, ["IN A TRANSACTION of", "has written, 2 sessions wait"]),
        ({"impact": {"rows": "many", "changed": [], "locks": "x", "blocks": -1}}, ["rows not estimated"]),
    ],
)
def test_what_the_gateway_found_out_is_told(changes: dict[str, object], words: list[str]) -> None:
    shown = " ".join(text(paint_card(approval(**changes), AROUND, 120, RICH).lines).split())
    for word in words:
        assert word in shown


EFFECT = {
    "rows": 2,
    "relations": [
        {"relation": "public.orders", "inserted": 0, "updated": 2, "deleted": 0},
        {"relation": "public.log", "inserted": 2, "updated": 0, "deleted": 0},
    ],
    "more": 0,
    "sample": {
        "relation": "public.orders",
        "columns": ["id", "email", "state", "a_name_that_is_longer_than_its_column"],
        "masked": ["email"],
        "rows": [{"before": ["1", "***", "open", None], "after": ["1", "***", "sent", "x"]}],
    },
    "no_sample": "",
    "lasting": [],
}


@pytest.mark.parametrize("width", [79, 120])
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ["public.orders: 2 updated", "public.log: 2 inserted", "open → sent", "NULL → x",
              "unchanged id 1", "not shown email",
              "4 rows changed in 2 relations, not committed", "IT HAS RUN", "It is rolled back at",
              "What it did stays"]),
        ({"sample": None, "no_sample": "the table has no key"}, ["No sample: the table has no key."]),
        ({"sample": None}, ["its rows are asked for"]),
        ({"relations": None}, ["track_counts is off", "2 rows reported, the target does not count them"]),
        ({"relations": [], "rows": 0}, ["No row was changed.", "reported 0 rows"]),
        ({"sample": {**EFFECT["sample"], "rows": [{"before": ["1", "***", "open", None], "after": None}]}},
         ["deleted row 1 of 1", "NULL"]),
        ({"sample": {"columns": "x", "rows": [1, {"before": 3}]}, "rows": "many"}, ["row 1 of 1"]),
    ],
)  # fmt: skip
def test_what_ran_already_is_shown_by_what_it_did(changes: dict[str, object], words: list[str], width: int) -> None:
    request = approval(effect={**EFFECT, **changes})
    card = paint_card(request, AROUND, width, RICH)
    assert all(width_of(line) <= width for line in card.lines)
    shown = " ".join(text(card.lines).split())
    for word in words:
        assert word in shown
    assert request.cut is (changes == {"sample": None})
    assert shown.index("WHAT IT DID") < shown.index("STATEMENT")


def test_a_card_without_an_effect_says_nothing_of_one() -> None:
    assert "WHAT IT DID" not in text(paint_card(approval(), AROUND, 79, RICH).lines)


def test_the_facts_are_there_before_anything_scrolls() -> None:
    first = text(paint_card(approval(), AROUND, 79, RICH).lines[:8])
    for word in ("HELD", "report-bot", "orders", "standard/delete", "STATEMENT"):
        assert word in first


@given(
    st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=400),
    st.sampled_from([RICH, PLAIN]),
    st.integers(40, 120),
)
def test_every_character_of_the_statement_is_on_the_card(statement: str, glyphs: Glyphs, width: int) -> None:
    request = approval(statement=statement)
    card = paint_card(request, AROUND, width, glyphs)
    begin = next(n for n, line in enumerate(card.lines) if text_of(line).startswith("STATEMENT"))
    rows = [line for line in card.lines[begin + 1 :] if len(line) > 1 and line[-1].role == "sql"]
    shown = "".join(text_of(line[1:]) for line in rows)
    assert shown == "".join(part.expandtabs(4) for part in request.statement.split("\n"))
    assert all(width_of(line) <= width for line in rows)


def test_what_must_be_seen_ends_with_the_warnings() -> None:
    card = paint_card(approval(warnings=["not reversible"]), AROUND, 79, RICH)
    assert "high risk" in text_of(card.lines[card.must_see - 1])


def test_hidden_characters_are_counted_on_the_card() -> None:
    shown = text(paint_card(approval(statement="SELECT '\u202e\x1b'"), AROUND, 79, RICH).lines)
    assert "2 hidden characters" in shown
    assert "<U+202E><U+001B>" in shown


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"operation": "select"}, []),
        ({"operation": "delete"}, []),
        ({"operation": "alter-table"}, ["definitions"]),
        ({"operation": "call", "statement": "CALL f(); DROP TABLE x"}, ["definitions"]),
        ({"connection": "orders-prod"}, ["production"]),
        ({"target": "db.production.example:5432/x"}, ["production"]),
        ({"connection": "products"}, []),
        ({"warnings": ["it does not restrict"]}, ["warns"]),
        ({"warnings": ["development identity"]}, []),
        ({"statement": "SELECT \u200b1"}, ["hidden"]),
    ],
)
def test_high_risk(changes: dict[str, object], words: list[str]) -> None:
    why = high_risk(approval(**changes))
    assert len(why) == len(words)
    assert all(word in reason for word, reason in zip(words, why, strict=True))


def answer(request: Approval, attempt: Attempt | None = None) -> str:
    line = paint_answer(request, attempt, GATEWAY, RICH)
    return "" if line is None else text_of(line)


def test_the_answer_is_the_gateways() -> None:
    ran = {"outcome": "ok", "rows": 182_340, "duration_us": 2_100_000}
    done = {"approver": "dana", "decided": "2026-11-23T03:14:09Z"}
    assert "APPROVED by you 03:14:09 → ran, 182,340 rows, 2.1 s" in answer(
        approval(state="executed", result=ran, **done)
    )
    assert "APPROVED by erin" in answer(approval(state="approved", **{**done, "approver": "erin"}))
    assert "DENIED by you" in answer(approval(state="refused", decision_reason="no", **done))
    assert "EXPIRED" in answer(approval(state="expired"))
    assert answer(approval()) == ""


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        (AttemptPhase.SENT, "APPROVE SENT: waiting"),
        (AttemptPhase.UNKNOWN, "UNKNOWN: asking"),
        (AttemptPhase.REFUSED, "NOT DONE: stale"),
        (AttemptPhase.ACCEPTED, "APPROVE TAKEN"),
    ],
)
def test_an_attempt_is_never_shown_as_done(phase: AttemptPhase, words: str) -> None:
    shown = answer(approval(), Attempt(True, phase, "stale"))
    assert words in shown
    assert "APPROVED" not in shown


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_status_line_never_loses_the_lines_state(width: int) -> None:
    state = reduce(State(), Greeted(GATEWAY, 0))
    line = paint_status(state, Micros(EPOCH), 0, width, RICH)
    assert width_of(line) <= width
    assert "gw-1 connected" in text_of(line)
    assert "dana decides" in text_of(line)
    lost = paint_status(reduce(state, Lost("gone", 0, 3_000_000)), Micros(EPOCH), 12_000_000, width, RICH)
    assert "LOST 00:12" in text_of(lost)
    assert "STALE" in text_of(lost)


def test_connecting_is_said() -> None:
    state = State(link=Link(Phase.CONNECTING, why="no socket at x"))
    assert "LOST" in text_of(paint_status(state, None, 0, 80, RICH))
    assert "connecting" in text_of(paint_status(State(), None, 0, 80, RICH))


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"verdict": None, "outcome": "error", "sqlstate": "42P01", "kind": "result"},
        {"verdict": None, "kind": "alarm", "text": "a tripwire"},
        {"text": "x" * 3000, "subject": "s" * 300, "rows": 10**30, "duration_us": 10**20},
        {"text": "注文" * 300},
    ],
)
def test_a_record_is_one_line_that_fits(changes: dict[str, object], width: int) -> None:
    line = paint_tail(intake.tail(scrub_message(make_record(1, **changes))), width, RICH)
    limit = width if "rows" not in changes else 400
    assert width_of(line) <= limit


def test_a_gap_is_shown_as_a_gap() -> None:
    assert "GAP: 41 events not shown, too slow" in text_of(paint_tail(Gap(10, 50, "too slow"), 80, RICH))


def test_the_plain_set_is_ascii_everywhere() -> None:
    request = approval(parameters=["1", None], warnings=["w"], state="refused", decision_reason="no", approver="x")
    around = replace(AROUND, earlier=(request,), attempt=Attempt(True, AttemptPhase.UNKNOWN))
    item = intake_item(scrub_message(make_item(1, 0, verdict="deny", truncated=True, outcome="error", rows=1)))
    score = compose([0, 5_000_000], [0], [1], capped=True)
    lines = [
        *paint_card(request, around, 79, PLAIN).lines,
        *paint_card(approval(), around, 79, PLAIN).lines,
        *paint_item(item, 9_000_000, 79, PLAIN),
        paint_tail(Gap(1, 2, "x"), 80, PLAIN),
        paint_tail(intake.tail(make_record(1, outcome="ok", rows=2)), 80, PLAIN),
        paint_status(reduce(State(), Greeted(GATEWAY, 0)), None, 0, 80, PLAIN),
        paint_tabs(State(), "live", 80, PLAIN),
        paint_timeline(Player(), score, 80, PLAIN),
    ]
    assert [text_of(line) for line in lines if not text_of(line).isascii()] == []
