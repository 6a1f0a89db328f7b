"""The configuration: what variables of the environment change, and which of them name no key."""

from __future__ import annotations

import pytest
from configurations import (
    CONNECTION,
    HEAD,
    SECRET,
    Write,
    faults,
)

from gateway.model import (
    Mark,
)
from gateway.settings import Endpoint, load


def test_the_environment_wins(write: Write) -> None:
    settings = load(
        write(HEAD + CONNECTION),
        {
            "HOOP_GATEWAY__NAME": "gw-9",
            "HOOP_POSTGRES__LISTEN": "[::1]:0",
            "HOOP_APPROVALS__REVIEWERS": '["group:night"]',
            "HOOP_LIMITS__CONNECTIONS": "7",
            "HOOP_LIMITS__STATEMENT": "2MiB",
            "HOOP_CONNECTION__0__USERNAME": "other",
            "HOOP_CONNECTION__0__MASK": '["a.b.c"]',
            "HOOP_GATEWAY": "not ours",
            "HOOP_TEST_REQUIRE": "all",
            "XHOOP_GATEWAY__NAME": "no",
        },
    )
    assert settings.gateway.name == "gw-9"
    assert settings.postgres.listen == Endpoint("::1", 0)
    assert (settings.limits.connections, settings.limits.statement) == (7, 2**21)
    (connection,) = settings.connections()
    assert (connection.username, connection.reviewers) == ("other", ("group:night",))
    assert connection.marks == (Mark("a", "b", "c"),)
    assert load(write("[identity]\ndevelopment = false\n"), {"HOOP_IDENTITY__DEVELOPMENT": "true"}).identity.development


VARIABLES = [
    ("HOOP_GATEWAY__NAMES", "x"),
    ("HOOP_GATEWAYS__NAME", "x"),
    ("HOOP_GATEWAY__NAME__X", "x"),
    ("HOOP_GATEWAY__", "x"),
    ("HOOP__NAME", "x"),
    ("HOOP_CONNECTION__1__USERNAME", "x"),
    ("HOOP_CONNECTION__X__USERNAME", "x"),
    ("HOOP_CONNECTION__0", "x"),
    ("HOOP_CONNECTION__0__USER", "x"),
    ("HOOP_CONNECTION__0__TARGET__HOST", "x"),
    ("HOOP_APPROVALS__REVIEWERS", "group:a"),
    ("HOOP_CONNECTION__0__MASK", "[" * 100_000),
]


@pytest.mark.parametrize(("variable", "value"), VARIABLES, ids=[name for name, _ in VARIABLES])
def test_a_variable_that_names_no_key_is_an_error(write: Write, variable: str, value: str) -> None:
    (fault,) = faults(write(HEAD + CONNECTION), {variable: value})
    assert fault.startswith(f"{variable}:")


def test_two_spellings_of_one_variable_are_an_error(write: Write) -> None:
    (fault,) = faults(write(HEAD), {"HOOP_GATEWAY__NAME": "a", "HOOP_gateway__name": "b"})
    assert "same key" in fault


def test_a_secret_in_a_variable_is_not_repeated(write: Write) -> None:
    (fault,) = faults(write(HEAD + CONNECTION), {"HOOP_CONNECTION__0__PASSWORD": SECRET})
    assert fault.startswith("connection.0.password: ")
