"""Startup parameters: what goes on, what is pinned, what is refused and how."""

# ruff: noqa: E501  tables of cases
from __future__ import annotations

import pytest
from policy_sample import connection, judge

from gateway.errors import LoginRefused
from gateway.policy.parameters import join_search_path, split_search_path
from gateway.policy.startup import check_startup

PINS = {"client_encoding": "UTF8", "search_path": "public", "standard_conforming_strings": "on"}


@pytest.mark.parametrize(("given", "forwarded"), [
    ({"user": "x", "database": "orders"}, {}),
    ({"application_name": "psql", "client_encoding": "UTF8"}, {"application_name": "psql"}),
    ({"client_encoding": "'utf-8'"}, {}),
    ({"DateStyle": "ISO", "TimeZone": "UTC", "IntervalStyle": "iso_8601", "extra_float_digits": "2"},
     {"DateStyle": "ISO", "TimeZone": "UTC", "IntervalStyle": "iso_8601", "extra_float_digits": "2"}),
    ({"options": "-c statement_timeout=5s -clock_timeout=1s"}, {"statement_timeout": "5s", "lock_timeout": "1s"}),
    ({"options": r"-c application_name=a\ b"}, {"application_name": "a b"}),
    ({"options": "  "}, {}),
    ({"options": ""}, {}),
    ({"options": "-c hoop.hold=refuse"}, {}),
])  # fmt: skip
def test_listed_parameters_go_on(given: dict[str, str], forwarded: dict[str, str]) -> None:
    plan = check_startup(given, connection())
    assert plan.forwarded == forwarded
    assert plan.parameters == {**forwarded, **PINS}


@pytest.mark.parametrize(("given", "sqlstate"), [
    ({"replication": "true"}, "28000"), ({"replication": "database"}, "28000"), ({"replication": "off"}, "28000"),
    ({"REPLICATION": "1"}, "28000"), ({"options": "-c replication=1"}, "28000"),
    ({"client_encoding": "SJIS"}, "22023"), ({"client_encoding": ""}, "22023"), ({"options": "-c client_encoding=LATIN1"}, "22023"),
    ({"search_path": "evil"}, "22023"), ({"options": "-c search_path=evil"}, "22023"),
    ({"options": "--search_path=evil"}, "22023"), ({"options": "-c session_authorization=postgres"}, "22023"),
    ({"role": "x"}, "22023"), ({"options": "-c"}, "22023"), ({"options": "-c x"}, "22023"), ({"options": "-d 5"}, "22023"),
    ({"options": "-c =x"}, "22023"), ({"standard_conforming_strings": "off"}, "22023"), ({"hoop.hold": "wait"}, "22023"),
    ({"options": "-c hoop.hold=never"}, "22023"), ({"options": "-c standard-conforming-strings=off"}, "22023"),
    ({"": "x"}, "22023"), ({"options": "x -c statement_timeout=1"}, "22023"), ({"session_preload_libraries": "x"}, "22023"),
])  # fmt: skip
def test_others_are_refused(given: dict[str, str], sqlstate: str) -> None:
    with pytest.raises(LoginRefused) as refused:
        check_startup(given, connection())
    assert refused.value.sqlstate == sqlstate
    assert refused.value.reason


def test_the_refusal_names_the_parameter_without_its_control_characters() -> None:
    with pytest.raises(LoginRefused, match=r'startup parameter "a\?\[31mb"'):
        check_startup({"a\x1b[31mb": "x"}, connection())


@pytest.mark.parametrize("choice", ["wait", "refuse"])
def test_a_session_chooses_how_it_is_held(choice: str) -> None:
    assert check_startup({"options": f"-c hoop.hold={choice}"}, connection()).hold == choice
    assert check_startup({}, connection()).hold is None


def test_unknown_protocol_options_are_named() -> None:
    assert check_startup({"_pq_.command_tag_format": "x"}, connection()).declined == ("_pq_.command_tag_format",)


def test_read_only_access_is_pinned() -> None:
    assert check_startup({}, connection(access="read-only")).pins["default_transaction_read_only"] == "on"


def test_observe_without_marks_pins_nothing_but_never_replicates() -> None:
    free = connection(policy="observe", marks=())
    assert check_startup({"client_encoding": "SJIS", "search_path": "x"}, free).parameters == {
        "client_encoding": "SJIS", "search_path": "x",
    }  # fmt: skip
    with pytest.raises(LoginRefused):
        check_startup({"replication": "1"}, free)
    assert check_startup({}, connection(policy="observe")).pins == PINS


@pytest.mark.parametrize(("text", "schemas"), [
    ("public", ("public",)), ("Public", ("public",)), ('"Public"', ("Public",)), ('a, "b, c" ,d', ("a", "b, c", "d")),
    ('"a""b"', ('a"b',)), ("", ()), ('""', ("",)), ("a,", None), ("a b", None), ('"a', None), (",", None),
    ('"$user", public', ("$user", "public")),
])  # fmt: skip
def test_search_paths_are_split_as_postgresql_splits_them(text: str, schemas: tuple[str, ...] | None) -> None:
    assert split_search_path(text) == schemas
    if schemas:
        assert split_search_path(join_search_path(schemas)) == schemas


@pytest.mark.parametrize(("given", "expected"), [
    ({}, "30000"), ({"statement_timeout": "5s"}, "5000"), ({"statement_timeout": "0"}, "30000"),
    ({"statement_timeout": "1h"}, "30000"), ({"Statement_Timeout": "0"}, "30000"), ({"statement_timeout": "0x7530"}, "30000"),
    ({"options": "-c statement_timeout=0"}, "30000"), ({"options": "-c Statement_timeout=1500"}, "1500"),
    ({"statement_timeout": "-1"}, "30000"), ({"statement_timeout": "0.4ms"}, "30000"), ({"statement_timeout": "x"}, "30000"),
])  # fmt: skip
def test_a_bounded_statement_timeout_can_only_be_lowered(given: dict[str, str], expected: str) -> None:
    for policy in ("standard", "observe"):
        plan = check_startup(given, connection(statement_timeout=30_000, policy=policy, marks=()))
        assert [value for name, value in plan.parameters.items() if name.lower() == "statement_timeout"] == [expected]


@pytest.mark.parametrize(("value", "expected"), [
    ("'29s'", "setting"), ("30000", "setting"), ("'0.5min'", "setting"), ("' 100 ms '", "setting"), ("'1000us'", "setting"),
    ("0", "pinned-setting"), ("30001", "pinned-setting"), ("'1h'", "pinned-setting"), ("'0.4ms'", "pinned-setting"),
    ("'1e9'", "pinned-setting"), ("'-1'", "pinned-setting"), ("'0x0'", "pinned-setting"), ("''", "pinned-setting"),
])  # fmt: skip
def test_set_stays_below_the_bound(value: str, expected: str) -> None:
    for sql in (f"SET statement_timeout = {value}", f"SET LOCAL statement_timeout TO {value}",
                f"SELECT set_config('statement_timeout', {value}::text, false)"):  # fmt: skip
        assert judge(sql, statement_timeout=30_000).rule == f"standard/{expected}", sql
    assert judge("SET statement_timeout = 0").rule == "standard/setting"
    assert judge("RESET statement_timeout", statement_timeout=30_000).rule == "standard/setting"
    assert judge("SELECT set_config('statement_timeout', $1, false)", statement_timeout=30_000).rule == (
        "standard/pinned-setting"
    )
