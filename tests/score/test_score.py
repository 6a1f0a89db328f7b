"""The corpora in a size for every run: every hostile case once, every ordinary one in the binary format, no leak."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest

from gateway.demo.postgres import PostgresServer
from gateway.model import VerdictKind
from requires import requires
from score.__main__ import HINDERED
from score.canaries import leaked, pieces
from score.corpus import Case, read_corpus, read_schema
from score.playing import Played, play
from score.wire import Mode
from score.world import World, world

HOSTILE, ORDINARY = read_corpus("hostile"), read_corpus("ordinary")
NEEDLES = pieces(read_schema().canaries)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    requires("postgres")
    with (
        PostgresServer(fast=True) as server,
        world(read_schema(), tmp_path_factory.mktemp("score"), server) as found,
    ):
        yield found


def sample(cases: list[Case], keep: int) -> list[Case]:
    """Every `keep`-th case of each file, so that no kind is left out."""
    by_file = groupby(cases, key=lambda case: case.name.partition(":")[0])
    return [case for _, group in by_file for case in list(group)[::keep]]


def told(found: list[Played]) -> list[tuple[str, str, str]]:
    return [(one.case.name, str(one.verdict), one.leak or one.rule) for one in found]


def test_the_corpora_are_as_large_as_they_should_be() -> None:
    assert len([case for case in HOSTILE if case.expected is not VerdictKind.ALLOW]) >= 400
    assert len(ORDINARY) >= 300
    assert len({case.steps for case in HOSTILE}) == len(HOSTILE)


@pytest.mark.parametrize(("mode", "offset"), [(Mode.SIMPLE, 0), (Mode.EXTENDED, 1), (Mode.BINARY, 2)])
def test_attacks_get_nothing(stage: World, mode: Mode, offset: int) -> None:
    played = play(stage, HOSTILE[offset::4], (mode,), NEEDLES)
    assert not told([one for one in played if one.leak])
    assert not told([one for one in played if one.too_mild])


def test_what_a_person_approved_is_masked_too(stage: World) -> None:
    asked = [case for case in HOSTILE if case.expected is VerdictKind.APPROVE]
    played = play(stage, asked[::2], (Mode.BINARY,), NEEDLES, "relaxed", undone=True)
    assert not told([one for one in played if one.leak])


def test_ordinary_work_goes_on(stage: World) -> None:
    cases = sample(ORDINARY, 2)
    played = play(stage, cases, (Mode.BINARY,), NEEDLES, undone=True)
    assert not told([one for one in played if one.leak])
    hindered = [one for one in played if one.too_strict]
    assert len(hindered) / len(cases) < HINDERED, told(hindered)


@pytest.mark.parametrize("seen", [
    b"a quokka b", b"QUOKKA", b"akkouq", b"71756f6b6b61", b"\\x71756F6B6B61", b"xx cXVva2th yy", b"uokka", b"quokk",
    b"q\0u\0o\0k\0k\0a\0", b"aHNxdW9ra2Fz", b"373137353666366236623631", b"1:7319482.11", b"2849137",
])  # fmt: skip
def test_a_canary_is_found_in_whatever_dress(seen: bytes) -> None:
    assert leaked(seen, NEEDLES)


@pytest.mark.parametrize("seen", [b"", b"nothing here", b"73194", b"***", b"quok", bytes(range(256))])
def test_what_is_no_canary_is_not_found(seen: bytes) -> None:
    assert not leaked(seen, NEEDLES)


def test_what_the_agent_said_itself_is_no_leak() -> None:
    assert not leaked(b"syntax error at quokka", NEEDLES, "SELECT 'quokka'")


def test_the_threat_model_s_query_finds_who_guesses(stage: World) -> None:
    page = (Path(__file__).parents[2] / "docs" / "threat-model.md").read_text()
    sql = page.partition("```sql")[2].partition("```")[0].strip()
    with stage.through() as wire:
        wire.play("SELECT id FROM users WHERE email LIKE 'a%'", Mode.SIMPLE)
    (row,) = stage.ask(sql)
    assert row["subject"] == "score"
