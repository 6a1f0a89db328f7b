"""Nothing in the repository ties it to one machine or one registry, and no secret lies in it."""

import re
import subprocess
from pathlib import Path

import pytest

from requires import requires

ROOT = Path(__file__).parents[2]

# Written so that this file does not match itself.
FORBIDDEN = {
    "a package registry's host": r"(pypi|pythonhosted|crates|npmjs|maven)\.(org|io|com)",
    "a package index": r"--(extra-)?[i]ndex-url|[^-]\b[i]ndex-url\b|--[f]ind-links|[r]egistry *= *[\"']?http",
    "a path of one machine": r"(^|[^A-Za-z0-9_.])/([w]ork|[f]arm)/|/[r]oot/|/[h]ome/[a-z]",
    "a private key": r"-----BEGIN [A-Z ]*[P]RIVATE KEY-----\n[A-Za-z0-9+/]{40}",
    "an age secret key": r"AGE-SECRET-KEY-1[0-9A-Z]{30}",
    "a token": r"\beyJ[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20,}\.",
    "a promise left open": r"\b(TO[D]O|FIX[M]E|XX[X])\b",
}
LOCKS = {
    "uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "package-lock.json", "yarn.lock", "pnpm-lock.yaml",
    "Cargo.lock", "pylock.toml",
}  # fmt: skip


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    git = requires("git")
    answer = subprocess.run([git, "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True)
    if answer.returncode:
        pytest.skip("needs a git checkout: git clone, not an archive")
    return [ROOT / name for name in answer.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_files_are_tracked(tracked: list[Path]) -> None:
    assert ROOT / "pyproject.toml" in tracked


def test_no_lock_files(tracked: list[Path]) -> None:
    assert [str(path) for path in tracked if path.name in LOCKS] == []


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_holds(what: str, tracked: list[Path]) -> None:
    pattern = re.compile(FORBIDDEN[what], re.MULTILINE)
    found = []
    for path in tracked:
        text = path.read_bytes().decode("utf-8", errors="replace")
        found += [f"{path.relative_to(ROOT)}: {match[0]!r}" for match in pattern.finditer(text)]
    assert found == []


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("a package registry's host", "see https://pyp" + "i.org/simple"),
        ("a package index", "pip install --ind" + "ex-url https://example.test"),
        ("a path of one machine", 'open("/' + 'work/main")'),
        ("a token", "eyJhbGciOiJSUzI1NiIsInR5" + ".eyJzdWIiOiJhIiwiZXhwIjox" + ".c2ln"),
        ("a promise left open", "# TO" + "DO later"),
    ],
)
def test_the_patterns_bite(what: str, line: str) -> None:
    assert re.search(FORBIDDEN[what], line)


def test_constraints_name_versions_only() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert len(pins) > 30
    assert [line for line in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line)] == []
