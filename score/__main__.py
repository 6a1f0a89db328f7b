"""`python -m score`: play both corpora, print leaks, wrong verdicts and speed; exit code 1 where a goal is missed."""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from gateway.demo.postgres import PostgresServer
from score.canaries import pieces
from score.corpus import Case, read_corpus, read_schema
from score.playing import ALONE, Played, plain, play
from score.speed import Speed, measure
from score.wire import Answer, Mode, PlayFault
from score.world import World, world

HINDERED = 0.02
"""Share of ordinary statements that may be hindered."""
_SHOWN = 40
_MEASURES = re.compile(r"^EXPLAIN\b.*\bANALYZE\b", re.IGNORECASE)
_PASSING = re.compile(r"pg_settings|_size\b")
"""Settings that the gateway's session has otherwise, and sizes, which grow while cases are played."""


def main() -> int:
    """Play; 0 where every goal is met, 1 where not, 2 where the stage could not be set."""
    parser = argparse.ArgumentParser(prog="python -m score", description=__doc__)
    parser.add_argument("--no-speed", action="store_true", help="leave the measurements out")
    parser.add_argument("--verbose", action="store_true", help="print every case that went wrong")
    arguments = parser.parse_args()
    try:
        with (
            PostgresServer(fast=True) as server,
            tempfile.TemporaryDirectory(prefix="hoop-score-") as home,
            world(read_schema(), Path(home), server) as stage,
        ):
            return _score(stage, speed=not arguments.no_speed, verbose=arguments.verbose)
    except PlayFault as fault:
        print(f"score: {fault}", file=sys.stderr)
        return 2


def _score(stage: World, *, speed: bool, verbose: bool) -> int:
    hostile, ordinary = read_corpus("hostile"), read_corpus("ordinary")
    needles = pieces(stage.schema.canaries)
    print(f"{len(hostile)} hostile and {len(ordinary)} ordinary cases on PostgreSQL "
          f"{'.'.join(map(str, stage.server.binaries.version))}")  # fmt: skip
    attacks = play(stage, hostile, Mode, needles)
    approved = play(stage, hostile, (Mode.SIMPLE, Mode.BINARY), needles, "relaxed", undone=True)
    inside = [case for case in hostile if not ALONE.search(" ".join(case.steps))]
    observed = play(stage, inside, (Mode.SIMPLE, Mode.BINARY), needles, "observed", undone=True)
    works = play(stage, ordinary, (Mode.SIMPLE, Mode.BINARY), needles, undone=True)
    changed = _changed(stage, ordinary, works)
    leaks = [one for one in (*attacks, *approved, *observed, *works) if one.leak]
    mild = [one for one in attacks if one.too_mild]
    strict = [one for one in works if one.too_strict]
    hindered = {one.case.name for one in strict}
    share = len(hindered) / max(len(ordinary), 1)
    _show("leaks", leaks, 0)
    _show("wrongly allowed", mild, 0)
    _show(f"wrongly hindered ({share:.1%} of ordinary cases, goal under {HINDERED:.0%})", strict, None)
    _show("ordinary results changed", changed, 0)
    if verbose:
        _show("hostile cases judged more strictly than expected", [one for one in attacks if one.too_strict], None)
    measured = measure(stage, [case.sql for case in (*hostile, *ordinary)]) if speed else None
    if measured is not None:
        _speeds(measured)
    return int(bool(leaks or mild or changed) or share >= HINDERED)


def _changed(stage: World, cases: Sequence[Case], played: Sequence[Played]) -> list[Played]:
    """Return ordinary cases whose rows differ from the server's own, where two sessions of its own agree.

    What EXPLAIN ANALYZE measured is no result: it is another with each run.
    """
    found = []
    for mode in (Mode.SIMPLE, Mode.BINARY):
        once, twice = plain(stage, cases, mode), plain(stage, cases, mode)
        for one, first, second in zip((p for p in played if p.mode is mode), once, twice, strict=True):
            rows = _rows(first)
            unmasked = one.verdict is not None and one.verdict.value == "allow"
            if (
                unmasked
                and not _MEASURES.search(one.case.sql)
                and not _PASSING.search(one.case.sql)
                and rows == _rows(second)
                and rows != _rows(one.answers)
            ):
                found.append(one)
    return found


def _rows(answers: Sequence[Answer]) -> list[list[bytes]]:
    """Return the rows of each answer; their order is nobody's promise."""
    return [sorted(answer.rows) for answer in answers]


def _show(what: str, found: Sequence[Played], goal: int | None) -> None:
    print(f"{what}: {len(found)}{'' if goal is None else f' (goal {goal})'}")
    for one in found[:_SHOWN]:
        verdict = one.verdict.value if one.verdict is not None else "not recorded"
        leak = f", leaked {one.leak}" if one.leak else ""
        sql = " ".join(one.case.sql.split())[:150]
        where = f"{one.case.name} {one.connection} {one.mode}"
        print(f"  {where}: {verdict} by {one.rule}, expected {one.case.expected}{leak}: {sql}")


def _speeds(found: Speed) -> None:
    print(f"a decision, cold: p50 {found.cold_p50:,.0f} µs (goal 400), p95 {found.cold_p95:,.0f} µs")
    print(f"a decision, warm: p50 {found.warm:.1f} µs (goal 5)")
    print(f"a catalog of 10,000 columns: {found.catalog:,.0f} ms (goal 500)")


if __name__ == "__main__":
    sys.exit(main())
