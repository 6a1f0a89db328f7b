"""`statements` made only as wide as a query needs it: the same answers, and which joins are left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from evidence_samples import fill

from gateway.errors import ClientFault
from gateway.evidence import reader
from gateway.evidence.memory_database import memory_database
from gateway.evidence.narrowing import narrowed
from gateway.evidence.views import view_sql

TEXTLESS, ENDLESS, WHOLE = "operations", "requests", "whole"
QUERIES = [
    ("SELECT outcome, count(*) FROM statements GROUP BY ALL ORDER BY 1", TEXTLESS),
    ("SELECT count(*) FROM statements", TEXTLESS),
    ("SELECT Count(Seq), max(S.TS) FROM STATEMENTS AS s WHERE verdict <> 'deny'", TEXTLESS),
    ("SELECT seq FROM statements JOIN records USING (log, seq) ORDER BY seq", TEXTLESS),
    ("WITH a AS (SELECT rows AS n FROM statements) SELECT sum(n) FROM a", TEXTLESS),
    ("SELECT seq, row_number() OVER (ORDER BY seq) FROM statements WHERE outcome IN ('ok', NULL) ORDER BY 1", TEXTLESS),
    ("SELECT CASE WHEN rows > 1 THEN 1 END, CAST(bytes AS VARCHAR) FROM statements ORDER BY 1, 2", TEXTLESS),
    ("SELECT ts, sql FROM statements WHERE sql ILIKE '%select%' ORDER BY ts DESC LIMIT 3", ENDLESS),
    ("SELECT sum(len(parameters)), min(reason) FROM statements", ENDLESS),
    ("SELECT seq FROM records WHERE seq IN (SELECT seq FROM statements WHERE sql IS NOT NULL) ORDER BY 1", ENDLESS),
    ("SELECT sql, outcome FROM statements ORDER BY ALL", WHOLE),
    ("SELECT masked_columns FROM statements ORDER BY ALL", WHOLE),
    ("SELECT * FROM statements ORDER BY seq", WHOLE),
    ("SELECT s.* EXCLUDE (ts) FROM statements s ORDER BY seq", WHOLE),
    ("FROM statements ORDER BY seq", WHOLE),
    ("SELECT COLUMNS('s.*') FROM statements ORDER BY ALL", WHOLE),
    ("SELECT statements FROM statements ORDER BY seq", WHOLE),
    ("SELECT S FROM statements s ORDER BY seq", WHOLE),
    ("SELECT to_json(s) FROM (SELECT * FROM statements) s ORDER BY 1", WHOLE),
    ("SELECT #11 FROM statements ORDER BY seq", WHOLE),
    ("SELECT k FROM statements t(a, b, c, d, e, f, g, h, i, j, k) ORDER BY b", WHOLE),
    ("SELECT count(*) FROM statements NATURAL JOIN (SELECT seq, 'SELECT 1' AS sql FROM records)", WHOLE),
    ("SELECT list_transform([1], lambda x: x + rows) FROM statements ORDER BY ALL", WHOLE),
]


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("evidence")
    fill(place)
    return place


@pytest.mark.parametrize(("sql", "made"), QUERIES, ids=[sql for sql, _ in QUERIES])
def test_the_answer_is_that_of_the_whole_view(evidence: Path, sql: str, made: str) -> None:
    found = reader._selected(evidence, sql, None, narrow=False)
    assert reader.select(evidence, sql) == found
    assert found[1]
    whole, operations, requests = reader.views_for(view_sql(evidence), "statements operations requests")
    with memory_database() as database:
        (tree,) = database.execute("SELECT json_serialize_sql($1)", [sql]).fetchone() or ("",)
    view = narrowed(whole, operations, requests, json.loads(str(tree)))
    assert ("request_payload" in view, "result_payload" in view, view == whole) == {
        TEXTLESS: (False, True, False), ENDLESS: (False, False, False), WHOLE: (True, True, True),
    }[made]  # fmt: skip


def test_a_column_that_the_whole_view_lacks_is_missing_from_the_smaller_too(evidence: Path) -> None:
    for sql in ("SELECT touched FROM statements", "SELECT nothing FROM statements", "SELECT sql.x.y FROM statements"):
        with pytest.raises(ClientFault):
            reader.select(evidence, sql)


def test_what_does_not_bind_is_asked_again_with_the_whole_view(evidence: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "narrowed", lambda *_: "CREATE VIEW statements AS SELECT 1 AS seq")
    assert reader.select(evidence, "SELECT count(ts) FROM statements") == (["count(ts)"], [(3,)])


def test_the_smaller_views_agree_with_the_whole_one(evidence: Path) -> None:
    with reader.opened(evidence) as database:
        for smaller in (TEXTLESS, ENDLESS):
            names = [name for name, *_ in database.execute(f"DESCRIBE {smaller}").fetchall() if name != "touched"]
            listed = ", ".join(f'"{name}"' for name in names)
            rows = [
                database.execute(f"SELECT {listed} FROM {view} ORDER BY log, seq").fetchall()
                for view in (smaller, "statements")
            ]
            assert rows[0] == rows[1]
            assert rows[0]


def test_a_tree_of_another_make_is_no_reason_to_leave_anything_out(evidence: Path) -> None:
    whole, operations, requests = reader.views_for(view_sql(evidence), "statements operations requests")
    for tree in (
        {"class": "NEW_THING"},
        {"type": "NEW_TABLE", "alias": ""},
        {"type": "JOIN", "alias": "", "ref_type": "NATURAL"},
    ):
        assert narrowed(whole, operations, requests, [tree]) == whole
