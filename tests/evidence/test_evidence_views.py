"""`evidence.duckdb` as an auditor opens it: all views, their columns and types, live, from any folder, for any copy."""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
import threading
from datetime import datetime
from pathlib import Path

import duckdb
import pytest
from evidence_samples import (
    CONTROL,
    POLICY,
    fill,
    journal_file,
    open_journal,
    request,
    result,
    session,
    statement,
    verdict,
)

from gateway.errors import EvidenceFault
from gateway.evidence import record
from gateway.evidence.opening import first_records
from gateway.evidence.views import write_views
from gateway.model import (
    ApprovalId,
    Decision,
    DecisionKind,
    HoldRequest,
    MaskStyle,
    Micros,
    OperationHash,
    Outcome,
    Parameter,
    Quote,
    VerdictKind,
)

TEXT, COUNT, TIME, FLAG, LIST = "VARCHAR", "BIGINT", "TIMESTAMP", "BOOLEAN", "VARCHAR[]"
COLUMNS = {
    "records": "log seq# ts@ session_id n# kind subject issuer connection target verdict rule payload_hash chain entry",
    "sessions": "session_id started@ ended@ subject issuer owner jti client_address agent_application connection target"
    " target_pid# target_role statements# denied# held# rows# end_reason",
    "statements": "log seq# ts@ session_id n# subject connection target protocol operation sql parameters* verdict"
    " would rule reason approval_id outcome sqlstate rows# bytes# duration_us# masked_columns*",
    "operations": "log seq# ts@ session_id n# subject connection target protocol operation verdict would rule"
    " approval_id touched* outcome sqlstate rows# bytes# duration_us#",
    "requests": "log seq# ts@ session_id n# subject connection target protocol operation sql parameters* verdict"
    " would rule reason approval_id",
    "transcript": "log seq# session_id n# ts@ direction text truncated?",
    "approvals": "approval_id log seq# session_id requested@ decided@ expires@ subject approver assurance decision"
    " reason rule operation_hash executed_hash receipt",
    "masked": "log seq# session_id column_name source_columns* style values_masked# values_sealed#",
    "logins": "ts@ kind subject issuer client_address connection outcome reason",
    "alarms": "log seq# ts@ session_id alarm detail",
    "policies": "policy ts@ connection rules* marks* operators*",
    "access": "ts@ who what reason",
    "checkpoints": "log size# root ts@ signed_by witnessed_by*",
    "gaps": "log from_seq# to_seq# why",
}
_TYPES = {"#": COUNT, "@": TIME, "?": FLAG, "*": LIST}


def opened(evidence: Path) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(str(evidence / "evidence.duckdb"), read_only=True)


def rows(evidence: Path, sql: str) -> list[tuple[object, ...]]:
    with opened(evidence) as database:
        return database.execute(sql).fetchall()


@pytest.mark.parametrize("view", COLUMNS)
def test_columns_and_types_are_those_of_the_interface(tmp_path: Path, view: str) -> None:
    fill(tmp_path)
    write_views(tmp_path)
    with opened(tmp_path) as database:
        found = [(str(one[0]), str(one[1])) for one in database.execute(f"SELECT * FROM {view}").description or ()]
    assert found == [(one.rstrip("#@?*"), _TYPES.get(one[-1], TEXT)) for one in COLUMNS[view].split()]


def test_it_holds_these_views_and_nothing_else(tmp_path: Path) -> None:
    fill(tmp_path)
    path = write_views(tmp_path)
    names = rows(tmp_path, "SELECT table_name, table_type FROM information_schema.tables ORDER BY 1")
    assert names == sorted((view, "VIEW") for view in COLUMNS)
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert path.read_bytes()[8:12] == b"DUCK"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["VERIFY.md", "evidence.duckdb", "logs", "verify.py"]


def test_a_statement_from_request_to_result(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.append(record.session_start(session()))
    journal.append(
        request(1, "SELECT $1, $2, $3", Parameter(23, 1, b"\0\0\0\7"), Parameter(25, 0, None), Parameter(17, 1, b"\0"))
    )
    journal.append(
        record.result(
            session(),
            2,
            1,
            outcome=Outcome.ERROR,
            sqlstate="22012",
            message="division by zero",
            rows=0,
            bytes_=40,
            duration_us=777,
            masked_columns=("email", "né"),
            text="ERROR: division by zero",
            truncated=True,
            digest="00" * 32,
            salt=bytes(32),
            touches_marks=True,
        )
    )
    journal.close()
    write_views(tmp_path)
    assert rows(tmp_path, "SELECT * EXCLUDE (ts) FROM statements") == [
        (
            "gw-1/w1",
            1,
            "s-1",
            1,
            "agent-7",
            "orders",
            "db.test:5432/orders",
            "extended",
            "select",
            "SELECT $1, $2, $3",
            ["7", None, "AA=="],
            "allow",
            None,
            "standard/select",
            "reads unmarked columns",
            None,
            "error",
            "22012",
            0,
            40,
            777,
            ["email", "né"],
        ),
    ]
    assert rows(tmp_path, "SELECT seq, n, direction, text, truncated FROM transcript ORDER BY seq") == [
        (1, 1, "in", "SELECT $1, $2, $3", False),
        (2, 2, "out", "ERROR: division by zero", True),
    ]
    assert rows(tmp_path, "SELECT ts FROM statements") == [(datetime(2026, 1, 1, 0, 0, 0, 2),)]  # noqa: DTZ001  UTC without a zone


def test_outcome_is_null_while_the_session_is_open_and_lost_after(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    for draft in (
        record.session_start(session()),
        request(1),
        request(2, kind=VerdictKind.DENY),
        request(3),
        result(4, 3),
    ):
        journal.append(draft)
    journal.flush()
    write_views(tmp_path)
    outcomes = "SELECT n, outcome FROM statements ORDER BY n"
    counts = "SELECT statements, denied, held, rows, ended IS NULL, end_reason FROM sessions"
    assert rows(tmp_path, outcomes) == [(1, None), (2, "denied"), (3, "ok")]
    assert rows(tmp_path, counts) == [(3, 1, 0, 1, True, None)]
    journal._stack.close()  # killed
    assert rows(tmp_path, outcomes) == [(1, None), (2, "denied"), (3, "ok")]
    again = open_journal(tmp_path)
    for draft in first_records(again, "gw-1", "0.1"):
        again.append(draft)
    again.flush()
    assert rows(tmp_path, outcomes) == [(1, "lost"), (2, "denied"), (3, "ok")]
    assert rows(tmp_path, counts) == [(3, 1, 0, 1, False, "lost")]
    again.close()


def test_an_approval_from_the_question_to_the_release(tmp_path: Path) -> None:
    control, worker = open_journal(tmp_path, CONTROL), open_journal(tmp_path)
    who, oh = session(), OperationHash("0f" * 32)
    hold = HoldRequest(
        approval=ApprovalId("a-1"),
        session=who,
        operation_hash=oh,
        statement="DELETE …",
        parameters=("1", None),
        operation="delete",
        rule="standard/delete",
        reason="deletes",
        reviewers=("group:oncall",),
        requested=Micros(1_767_225_600_000_000),
        expires=Micros(1_767_226_500_000_000),
    )
    control.append(record.requested(hold))
    control.flush()
    write_views(tmp_path)
    read = "SELECT * FROM approvals"
    start, expires = datetime(2026, 1, 1), datetime(2026, 1, 1, 0, 15)  # noqa: DTZ001  UTC without a zone
    pending = (
        "a-1",
        "gw-1/control",
        0,
        "s-1",
        start,
        None,
        expires,
        "agent-7",
        None,
        None,
        None,
        None,
        "standard/delete",
        oh,
        None,
        None,
    )
    assert rows(tmp_path, read) == [pending]
    control.append(record.decision(hold, DecisionKind.APPROVED, approver="dana", assurance="uid", reason="known job"))
    control.flush()
    head = control.head
    assert head is not None
    decision = Decision(
        hold.approval, DecisionKind.APPROVED, oh, "dana", "uid", "known job", Quote(head.log, head.seq, head.chain)
    )
    worker.append(record.session_start(who))
    worker.append(request(1, "DELETE …", approval=hold.approval))
    worker.append(record.release(who, 2, 1, decision, oh, POLICY))
    worker.flush()
    ((*found, decided),) = rows(tmp_path, "SELECT * EXCLUDE (decided), decided FROM approvals")
    assert found == [
        "a-1",
        "gw-1/control",
        1,
        "s-1",
        start,
        expires,
        "agent-7",
        "dana",
        "uid",
        "approved",
        "known job",
        "standard/delete",
        oh,
        oh,
        None,
    ]
    assert isinstance(decided, datetime)
    assert rows(tmp_path, "SELECT approval_id FROM statements") == [("a-1",)]
    assert rows(tmp_path, "SELECT held FROM sessions") == [(1,)]
    control.close()
    worker.close()


def test_a_statement_with_two_answers_stands_once_with_each(tmp_path: Path) -> None:
    """As one has that was answered and then failed where its transaction ended."""
    log = open_journal(tmp_path)
    log.append(record.session_start(session()))
    log.append(request(1))
    for n in (2, 3):
        log.append(result(n, 1, rows=n))
    log.close()
    write_views(tmp_path)
    for view in ("statements", "operations"):
        assert rows(tmp_path, f"SELECT n, rows FROM {view} ORDER BY rows") == [(1, 2), (1, 3)]


def test_the_smaller_views(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    who = session()
    row = record.PolicyInForce(
        "orders", POLICY, ("standard/drop: deny", "standard/select: allow"), ("public.users.email",)
    )
    for draft in (
        record.config("c" * 64, "[gateway]", connections=[row], operators=["dana"]),
        record.login(who),
        record.login_refused(client_address="10.0.0.9:1", connection="nope", reason="token expired"),
        record.session_start(who),
        record.masked(who, 1, 0, "mail", ("public.users.email",), MaskStyle.REDACT, 12),
        record.alarm(who, 2, "parser-died", "on 90 KB"),
        record.access("dana", "session s-1", "replay"),
        record.gap(9, 11, "the operator said so"),
        record.kill(who, "dana", "enough"),
    ):
        journal.append(draft)
    journal.close()
    write_views(tmp_path)
    assert rows(tmp_path, "SELECT * EXCLUDE (ts) FROM policies") == [
        (POLICY, "orders", ["standard/drop: deny", "standard/select: allow"], ["public.users.email"], ["dana"])
    ]
    assert rows(tmp_path, "SELECT * EXCLUDE (ts) FROM logins ORDER BY ts") == [
        ("login", "agent-7", "http://issuer.test/realms/hoop", "127.0.0.1:40000", "orders", "ok", None),
        ("login_refused", None, None, "10.0.0.9:1", "nope", "refused", "token expired"),
    ]
    assert rows(tmp_path, "SELECT * FROM masked") == [
        ("gw-1/w1", 4, "s-1", "mail", ["public.users.email"], "redact", 12, 0)
    ]
    assert rows(tmp_path, "SELECT session_id, alarm, detail FROM alarms") == [("s-1", "parser-died", "on 90 KB")]
    assert rows(tmp_path, "SELECT who, what, reason FROM access") == [("dana", "session s-1", "replay")]
    assert rows(tmp_path, "SELECT * FROM gaps") == [("gw-1/w1", 9, 11, "the operator said so")]


def test_parts_are_one_statement_again(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    sql, text = "SELECT '" + "é" * 900_000 + "'", "ü" * 1_500_000
    for draft in (record.session_start(session()), request(1, sql), result(2, 1, text), request(3)):
        journal.append(draft)
    journal.flush()
    write_views(tmp_path)
    assert rows(tmp_path, "SELECT n, sql = $$" + sql + "$$, outcome FROM statements ORDER BY n") == [
        (1, True, "ok"),
        (3, False, None),
    ]
    assert rows(tmp_path, "SELECT n, length(text) FROM transcript ORDER BY seq") == [
        (1, len(sql)),
        (2, len(text)),
        (3, 8),
    ]
    assert rows(tmp_path, "SELECT statements, rows FROM sessions") == [(2, 1)]
    assert rows(tmp_path, "SELECT count(*) FROM records") == [(8,)]
    assert rows(tmp_path, "SELECT * FROM gaps") == []
    journal.close()


@pytest.mark.parametrize("kept", [1, 64, 100, 200, 500, 640])
def test_a_torn_line_is_left_out_and_shown_as_a_gap(tmp_path: Path, kept: int) -> None:
    fill(tmp_path, 1)
    path = journal_file(tmp_path)
    lines = path.read_bytes()[:-1].split(b"\n")
    path.write_bytes(b"\n".join(lines[:2]) + b"\n" + lines[2][:kept] + bytes(3000))
    write_views(tmp_path)
    assert len(lines[2]) > 640
    assert rows(tmp_path, "SELECT seq FROM records ORDER BY seq") == [(0,), (1,)]
    ((log, why),) = rows(tmp_path, "SELECT log, why FROM gaps")
    assert log in {"w1", "gw-1/w1"}
    assert "not whole" in str(why)


def test_missing_records_are_gaps(tmp_path: Path) -> None:
    fill(tmp_path)
    path = journal_file(tmp_path)
    lines = path.read_bytes().split(b"\n")
    del lines[4:6]
    del lines[0]
    path.write_bytes(b"\n".join(lines))
    write_views(tmp_path)
    assert rows(tmp_path, "SELECT * FROM gaps ORDER BY from_seq") == [
        ("gw-1/w1", 0, 0, "missing"),
        ("gw-1/w1", 4, 5, "missing"),
    ]


def test_tampered_text_in_a_line_never_stops_the_views(tmp_path: Path) -> None:
    fill(tmp_path)
    path = journal_file(tmp_path)
    lines = path.read_bytes().split(b"\n")
    lines[2] = lines[2].replace(b'{"reason"', b'{{"reason"')
    lines[3] = lines[3].replace(b'"kind":', b'"kind"')
    lines[4] = b"rubbish"
    path.write_bytes(b"\n".join(lines))
    write_views(tmp_path)
    for view in COLUMNS:
        rows(tmp_path, f"SELECT * FROM {view}")
    assert rows(tmp_path, "SELECT count(*) FROM records") == [(7,)]
    assert len(rows(tmp_path, "SELECT * FROM gaps")) >= 3


def test_it_reads_while_the_journal_grows(tmp_path: Path) -> None:
    """Another process reads all the while; each answer is a prefix that holds what was durable when it was asked.

    Its progress bar is off: DuckDB takes `python -c` for a person, and after two seconds draws a bar among the answers.
    """
    journal = open_journal(tmp_path)
    journal.append(record.session_start(session()))
    journal.flush()
    write_views(tmp_path)
    script = (
        "import duckdb, sys\n"
        "c = duckdb.connect(sys.argv[1], read_only=True)\n"
        "c.execute('SET enable_progress_bar = false')\n"
        "for line in sys.stdin:\n"
        "    print(*c.execute('SELECT count(*), max(seq), count(DISTINCT chain) FROM records').fetchone(),"
        " c.execute('SELECT count(*) FROM statements WHERE sql IS NULL').fetchone()[0], flush=True)\n"
    )
    stop = threading.Event()
    written = [0]

    def write() -> None:
        n = 0
        while not stop.is_set() and n < 60_000:
            for _ in range(7):
                n += 1
                journal.append(request(n, "SELECT '" + "é" * (n % 300) + "'"))
            journal.flush()
            written[0] = n

    writer = threading.Thread(target=write)
    command = [sys.executable, "-c", script, str(tmp_path / "evidence.duckdb")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/") as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        writer.start()
        try:
            for _ in range(12):
                before = written[0]
                reader.stdin.write("again\n")
                reader.stdin.flush()
                count, last, distinct, broken = map(int, reader.stdout.readline().split())
                assert count == last + 1 == distinct
                assert last >= before
                assert broken == 0
        finally:
            stop.set()
            writer.join()
            reader.stdin.close()
    journal.close()
    assert written[0] > 100


def test_from_any_folder_under_any_name_and_for_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = tmp_path / "it's [here]*"
    fill(evidence)
    write_views(evidence)
    monkeypatch.chdir("/")
    with duckdb.connect() as database:
        database.execute("ATTACH '" + str(evidence / "evidence.duckdb").replace("'", "''") + "' AS other (READ_ONLY)")
        assert database.execute("SELECT count(*) FROM other.statements").fetchone() == (3,)
    copy = tmp_path / "copy"
    shutil.copytree(evidence, copy)
    shutil.rmtree(evidence)
    with pytest.raises(duckdb.IOException):
        rows(copy, "SELECT * FROM records")
    write_views(copy)
    assert rows(copy, "SELECT count(*) FROM records") == [(10,)]


def test_where_nothing_is_logged_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(EvidenceFault, match="holds no log"):
        write_views(tmp_path)
    open_journal(tmp_path).close()
    write_views(tmp_path)
    for view in COLUMNS:
        assert rows(tmp_path, f"SELECT * FROM {view}") == []


def test_a_prepare_is_no_statement(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.append(record.session_start(session()))
    journal.append(record.prepare(session(), 1, statement(), verdict(), POLICY, False))
    journal.close()
    write_views(tmp_path)
    assert rows(tmp_path, "SELECT * FROM statements") == []
    assert rows(tmp_path, "SELECT statements FROM sessions") == [(0,)]
