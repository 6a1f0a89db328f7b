"""Cutting psql scripts into statements, and the regression runner on a script of our own."""

from __future__ import annotations

from pathlib import Path

import pytest

from score.regression import judge_all, read
from score.scripts import statements

CUT = [
    ("SELECT 1; SELECT 2;", ["SELECT 1", "SELECT 2"]),
    ("SELECT ';'; SELECT E'\\';'; SELECT 'it''s;';", ["SELECT ';'", "SELECT E'\\';'", "SELECT 'it''s;'"]),
    ('SELECT "a;b";', ['SELECT "a;b"']),
    ("DO $$ BEGIN; END $$; SELECT $x$ $$ ; $x$;", ["DO $$ BEGIN; END $$", "SELECT $x$ $$ ; $x$"]),
    ("-- a; b\nSELECT 1 -- c;\n;", ["-- a; b\nSELECT 1 -- c;"]),
    ("/* a; /* b; */ c; */ SELECT 1;", ["/* a; /* b; */ c; */ SELECT 1"]),
    ("CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2); SELECT 3;",
     ["CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)", "SELECT 3"]),
    ("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END; SELECT 3;",
     ["CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END", "SELECT 3"]),
    ("\\set x 1\nSELECT 1;\n\\d t\nSELECT 2;", ["SELECT 1", "SELECT 2"]),
    ("SELECT 1 \\gset\nSELECT 2 \\g\n", ["SELECT 1", "SELECT 2"]),
    ("COPY t FROM stdin;\n1;2\n'\n\\.\nSELECT 1;", ["COPY t FROM stdin", "SELECT 1"]),
    ("-- only a comment;\n", []),
    ("SELECT 1", []),
]  # fmt: skip


@pytest.mark.parametrize(("script", "expected"), CUT)
def test_cutting(script: str, expected: list[str]) -> None:
    assert list(statements(script)) == expected


async def test_every_statement_gets_a_verdict(tmp_path: Path) -> None:
    folder = tmp_path / "src" / "test" / "regress" / "sql"
    folder.mkdir(parents=True)
    (folder / "some.sql").write_text(
        "SELECT 1; SELEC 2; SELECT stringu1 FROM tenk1; CREATE TABLE t (a int); SELECT 'a\0b';"
    )
    outcome = await judge_all(dict(read(tmp_path)))
    assert outcome.count == 5
    assert sum(outcome.verdicts.values()) == 5
    assert outcome.verdicts["mask by standard/masked"] == 1
    assert outcome.not_understood.total() == 1
    assert not outcome.failed
