"""Every test that the documentation names as its proof exists: a promise whose test went away is found here."""

from __future__ import annotations

import re

import pytest
from docs_commands import PAGES, ROOT

NAMED = sorted(
    {
        (page.name, file, name)
        for page in PAGES
        for file, name in re.findall(r"(tests/[\w/]+\.py)(?:::(\w+))?", page.read_text())
    }
)


def test_the_tables_name_tests() -> None:
    pages = {page for page, _, name in NAMED if name}
    assert {"approvals.md"} <= pages
    assert len([each for each in NAMED if each[0] == "approvals.md"]) >= 20


@pytest.mark.parametrize(("page", "file", "name"), NAMED)
def test_what_is_named_is_there(page: str, file: str, name: str) -> None:
    path = ROOT / file
    assert path.is_file(), f"{page} names {file}"
    defined = rf"^\s*(?:(?:async )?def|class) {name}\b|^{name} = "
    assert not name or re.search(defined, path.read_text(), re.MULTILINE), f"{page} names {file}::{name}"


def test_each_line_of_the_standard_names_a_test() -> None:
    table = (ROOT / "docs" / "approvals.md").read_text().split("## OWASP AISVS 1.0, chapter C9", 1)[1]
    rows = [[cell.strip() for cell in line.split("|")[1:5]] for line in re.findall(r"^\| 9\..*$", table, re.MULTILINE)]
    without = [line for line, _, here, tests in rows if "::" not in tests and not here.startswith("none")]
    assert len(rows) == 20
    assert without == []
