"""The benchmark runs against the real thing, and its arithmetic is right."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.report import Case, document, ratios, table
from requires import requires

ROOT = Path(__file__).parents[2]
CASE = Case("simple", 32)
ROUNDS = {
    (CASE, "direct"): [1000.0, 2000.0, 1000.0],
    (CASE, "gateway"): [500.0, 500.0, 900.0],
}


def test_a_ratio_compares_neighbours_in_time() -> None:
    # Rounds give .5, .25 and .9; the second line below has .9, .95 and .1.
    assert ratios(ROUNDS, CASE, "gateway") == 0.5
    assert ratios({**ROUNDS, (CASE, "gateway"): [900.0, 1900.0, 100.0]}, CASE, "gateway") == 0.9


def test_the_table_shows_rates_and_ratios() -> None:
    lines = table(ROUNDS, [CASE], ["direct", "gateway"]).splitlines()
    assert lines[0] == "| clients | mode | direct /s | gateway /s | gateway of direct |"
    assert lines[2] == "| 32 | simple | 1,000 | 500 | 0.50 |"


def test_rounds_must_pair_up() -> None:
    with pytest.raises(ValueError, match="longer"):
        ratios({(CASE, "direct"): [1.0, 2.0], (CASE, "gateway"): [1.0]}, CASE, "gateway")


def test_the_document_says_how_it_came_about() -> None:
    assert "`just bench`" in document("| table |", {"Python": "3.11"}, "just bench")


def test_a_short_run_through_the_gateway(tmp_path: Path) -> None:
    requires("postgres")
    requires("pgbench")
    out = tmp_path / "benchmarks.md"
    command = [sys.executable, "-m", "bench", "--rounds", "1", "--seconds", "1", "--clients", "2", "--out", str(out)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert answer.returncode == 0, answer.stderr
    rows = re.findall(r"^\| 2 \| (\w+) \|.*\| ([\d.]+) \|$", out.read_text(), re.MULTILINE)
    assert [mode for mode, _ in rows] == ["simple", "extended", "prepared"]
    assert all(float(ratio) > 0 for _, ratio in rows)
