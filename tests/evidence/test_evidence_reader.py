"""The reader process answers consoles in pages, and can do nothing but read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from evidence_samples import fill, journal_file, open_journal, request, result, session

from gateway.errors import ClientFault, EvidenceFault
from gateway.evidence import reader, record
from gateway.evidence.reader import select
from gateway.model import Micros


def ask(evidence: Path, method: str, **params: Any) -> Any:
    return reader.answer(evidence, {"method": method, **params})


def test_sessions_come_newest_first_in_pages(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    for index in range(5):
        journal.append(record.session_start(session(f"s-{index}", started=Micros(1_767_225_600_000_000 + index // 2))))
    journal.append(
        record.session_end(session("s-0"), n=1, reason="client left", statements=0, denied=0, held=0, rows=0)
    )
    journal.close()
    seen: list[str] = []
    before = None
    for _ in range(3):
        page = ask(tmp_path, "sessions", limit=2, before=before)
        seen += [one["id"] for one in page["items"]]
        before = page["next_before"]
    assert seen == ["s-4", "s-3", "s-2", "s-1", "s-0"]
    assert before is None
    (last,) = page["items"]
    assert last == {
        "id": "s-0",
        "subject": "agent-7",
        "issuer": "http://issuer.test/realms/hoop",
        "owner": "dana",
        "connection": "orders",
        "target": "db.test:5432/orders",
        "client_address": "127.0.0.1:40000",
        "application": "psql",
        "started": "2026-01-01T00:00:00.000000Z",
        "ended": last["ended"],
        "statements": 0,
        "denied": 0,
        "held": 0,
        "rows": 0,
        "end_reason": "client left",
        "state": "closed",
    }


def test_a_transcript_comes_in_pages_and_pieces(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    other = session("s-2")
    journal.append(record.session_start(session()))
    journal.append(record.session_start(other))
    for n in range(1, 11):
        journal.append(request(2 * n - 1, f"SELECT {n}"))
        journal.append(request(n, "SELECT 'other'", who=other))
        journal.append(result(2 * n, 2 * n - 1, f"row {n}" if n < 10 else "x" * 1_500_000))
    journal.flush()
    items: list[dict[str, Any]] = []
    after = None
    for _ in range(7):
        page = ask(tmp_path, "transcript", session_id="s-1", after_seq=after, limit=3)
        items += page["items"]
        after = page["next_after"]
    assert after is None
    assert [one["n"] for one in items] == list(range(1, 21))
    first = items[0]
    assert first == {
        "log": "gw-1/w1",
        "seq": 2,
        "session_id": "s-1",
        "n": 1,
        "ts": "2026-01-01T00:00:00.000003Z",
        "direction": "in",
        "kind": "request",
        "text": "SELECT 1",
        "truncated": False,
        "verdict": "allow",
        "outcome": None,
        "rows": None,
        "duration_us": None,
    }
    assert [items[1][key] for key in ("direction", "kind", "text", "outcome", "rows", "duration_us")] == [
        "out",
        "result",
        "row 1",
        "ok",
        1,
        250,
    ]
    assert (len(items[-1]["text"]), items[-1]["truncated"]) == (reader.ITEM_TEXT, True)
    journal.close()


def test_a_page_of_large_texts_fits_the_control_sockets_frame(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.append(record.session_start(session()))
    for n in range(1, 9):
        journal.append(request(2 * n - 1))
        journal.append(result(2 * n, 2 * n - 1, "\x01" * 65_000))
    journal.flush()
    after, pages, seen = None, 0, 0
    while pages == 0 or after is not None:
        page = ask(tmp_path, "transcript", session_id="s-1", after_seq=after)
        assert len(json.dumps(page)) < 1 << 20
        after, pages, seen = page["next_after"], pages + 1, seen + len(page["items"])
    assert seen == 16
    journal.close()


def test_the_process_answers_one_request_and_fails_in_one_line(tmp_path: Path) -> None:
    fill(tmp_path)

    def run(request: str, *arguments: str) -> tuple[int, str, str]:
        command = [sys.executable, "-P", "-m", "gateway.evidence.reader", *arguments]
        done = subprocess.run(command, input=request, capture_output=True, text=True, cwd="/")
        return done.returncode, done.stdout, done.stderr

    counted = json.dumps({"method": "query", "sql": "SELECT count(*) c FROM records"})
    code, out, err = run(counted, str(tmp_path))
    assert (code, json.loads(out), err) == (0, {"columns": ["c"], "rows": [[10]], "more": False}, "")
    for wrong in ("", "[]", "{}", '{"method": "stroll"}', "[" * 100_000, '{"method": "query", "sql": "SELEC"}'):
        code, out, err = run(wrong, str(tmp_path))
        assert (code, out, err.count("\n")) == (2, "", 1)
    assert run(counted)[0] == 2


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO '{x}'",
        "WITH w AS (COPY (SELECT 1) TO '{x}') SELECT 1",
        "SELECT * FROM (WITH w AS (COPY (SELECT 1) TO '{x}') SELECT 1)",
        "SELECT (WITH w AS (COPY (SELECT 1) TO '{x}') SELECT 1)",
        "SELECT * FROM records WHERE seq IN (WITH w AS (COPY (SELECT 1) TO '{x}') SELECT 1)",
        "SELECT 1 UNION ALL (WITH w AS (COPY (SELECT 1) TO '{x}') SELECT 1)",
        "FROM query('WITH w AS (COPY (SELECT 1) TO ''{x}'') SELECT 1')",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{x}'",
        "EXPORT DATABASE '{x}'",
        "ATTACH '{x}'",
        "CREATE TABLE t AS SELECT 1",
        "INSERT INTO records SELECT 1",
        "SET threads = 1",
        "PRAGMA enable_profiling",
        "INSTALL httpfs",
        "LOAD httpfs",
        "CALL pragma_version()",
        "SELECT 1; SELECT 2",
        "",
        "SELECT",
        "FROM read_text('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM '{journal}/../../../../../../../../../etc/passwd'",
        "FROM glob('/etc/*')",
        "FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
        "SELECT nothing FROM records",
    ],
)
def test_what_does_more_than_read_the_evidence_is_refused(tmp_path: Path, sql: str) -> None:
    fill(tmp_path)
    journal = journal_file(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for target in (journal, tmp_path / "logs" / "x"):
        with pytest.raises(ClientFault):
            select(tmp_path, sql.replace("{x}", str(target)).replace("{journal}", str(journal)))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) FROM records;",
        "WITH s AS (FROM statements) SELECT sql, count(*) FROM s GROUP BY ALL ORDER BY ALL",
        "DESCRIBE records",
        "SUMMARIZE sessions",
        "SELECT seq, lag(seq) OVER (ORDER BY seq) FROM records",
        "SELECT unnest(parameters) FROM statements UNION SELECT 'x' ORDER BY 1 LIMIT 3",
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 5) SELECT * FROM t",
        'SELECT count(*) FROM "Statements" AS records',
        "SELECT view_name FROM duckdb_views() WHERE view_name = 'records'",
        "SHOW ALL TABLES",
        "SELECT json_extract_string(entry, '$.op') FROM records JOIN generate_series(1, 3) g(i) ON g.i = seq",
    ],
)
def test_reading_sql_runs(tmp_path: Path, sql: str) -> None:
    fill(tmp_path)
    columns, rows = select(tmp_path, sql)
    assert columns
    assert rows is not None


def test_only_views_that_are_asked_for_are_made(tmp_path: Path) -> None:
    fill(tmp_path)
    listed = "SELECT count(*) FROM duckdb_views() WHERE NOT internal"
    for sql, count in (("FROM Gaps", 1), ("SELECT 1", 14), ("FROM records JOIN statements USING (seq)", 2)):
        with reader.opened(tmp_path, sql=sql) as database:
            assert database.execute(listed).fetchone() == (count,)
    assert select(tmp_path, listed)[1] == [(14,)]


def test_what_takes_too_much_memory_says_what_to_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path)
    monkeypatch.setattr(reader, "MEMORY", "10MB")
    with pytest.raises(ClientFault, match="ask for less at once"):
        select(tmp_path, "SELECT count(DISTINCT i::VARCHAR || repeat('x', 100)) FROM range(1000000) AS t(i)", 10)


def test_a_link_out_of_the_evidence_is_not_followed_by_sql(tmp_path: Path) -> None:
    fill(tmp_path / "e")
    (tmp_path / "secret.csv").write_text("secret")
    with pytest.raises(ClientFault):
        select(tmp_path / "e", f"SELECT * FROM '{tmp_path}/e/logs/../../secret.csv'")


def test_a_wrong_directory_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(EvidenceFault, match="holds no log"):
        ask(tmp_path, "sessions")
    fill(tmp_path)
    for method, params in (("transcript", {}), ("query", {}), ("sessions", {"before": "yesterday"})):
        with pytest.raises((ClientFault, EvidenceFault)):
            ask(tmp_path, method, **params)
