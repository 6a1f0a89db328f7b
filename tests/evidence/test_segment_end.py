"""What stands beside each segment, found from its columns, is what reading its lines one by one finds."""

from __future__ import annotations

import tempfile
from itertools import count
from pathlib import Path

import pytest
from evidence_samples import CONTROL, POLICY, WORKER, request, result, session
from hypothesis import given
from hypothesis import strategies as st
from test_archiving import opened, run

from gateway.evidence import journal, record, replay, tail
from gateway.evidence.entry import parse_line
from gateway.evidence.frontier import Frontier
from gateway.evidence.replay import Replay, lines
from gateway.evidence.segment_end import link
from gateway.evidence.segments import frontier_path, journal_path
from gateway.evidence.storage import DiskStorage
from gateway.model import (
    ApprovalId,
    Decision,
    DecisionKind,
    Draft,
    HoldRequest,
    LogName,
    Micros,
    OperationHash,
    Quote,
    VerdictKind,
)

HASH = OperationHash("0f" * 32)
SIDS = ("s-1", "s-2")
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ("start", "start", "end", "ask", "deny", "hold", "answer", "parts", "alarm", "decide", "begin", "release")
        ),
        st.sampled_from(SIDS),
        st.integers(0, 3),
    ),
    min_size=10,
    max_size=30,
)


def drafts(steps: list[tuple[str, str, int]]) -> list[Draft]:
    """Return records of sessions that begin, count and end in any order, also of some that never began."""
    made, numbers = list[Draft](), {sid: count(1) for sid in SIDS}
    for what, sid, rows in steps:
        who, n = session(sid), next(numbers[sid])
        approval = ApprovalId(f"a-{sid}-{rows}")
        hold = HoldRequest(approval, who, HASH, "DELETE", (), "delete", "r", "", (), Micros(1), Micros(2))
        match what:
            case "start":
                made.append(record.session_start(session(sid, application=f"app {rows}")))
            case "end":
                made.append(record.session_end(who, n=n, reason="left", statements=1, denied=0, held=0, rows=1))
            case "ask" | "deny" | "hold":
                kind = {"ask": VerdictKind.ALLOW, "deny": VerdictKind.DENY, "hold": VerdictKind.APPROVE}[what]
                made.append(request(n, who=who, kind=kind, approval=approval if what == "hold" else None))
            case "answer" | "parts":
                text = 'row "quote":{ \\ \n' if what == "answer" else "x" * 2000
                made.append(result(n, max(n - 1, 1), text, who=who, rows=rows))
            case "alarm":
                made.append(record.alarm(who, n, "test", '"quote":{"seq":1}'))
            case "decide":
                made.append(record.requested(hold))
                if rows:
                    kind = (DecisionKind.APPROVED, DecisionKind.REFUSED, DecisionKind.EXPIRED)[rows - 1]
                    made.append(record.decision(hold, kind, approver="dana", assurance="uid", reason=""))
            case "begin":
                made.append(record.start("gw-1", "0.1"))
            case _:
                quote = Quote(CONTROL, rows, "ab" * 32)
                decision = Decision(approval, DecisionKind.APPROVED, HASH, quote=quote)
                made.append(record.release(who, n, max(n - 1, 1), decision, HASH, POLICY))
    return made


def one_by_one(directory: Path, log: LogName, number: int, before: Frontier | None) -> Frontier:
    state = Replay(log) if before is None else Replay.after(before)
    for _, raw in lines(DiskStorage(), journal_path(directory, number)):
        assert state.accept(parse_line(raw))
    return state.frontier(number)


@given(STEPS, st.sampled_from([3, 1 << 14]))
def test_segments_end_as_their_lines_say(steps: list[tuple[str, str, int]], most: int) -> None:
    with tempfile.TemporaryDirectory() as temporary, pytest.MonkeyPatch.context() as small:
        place = Path(temporary)
        small.setattr(replay, "MOST", most)
        with pytest.MonkeyPatch.context() as short:
            short.setattr(journal, "ROTATE_RECORDS", 12)
            short.setattr(tail, "MAX_PAYLOAD", 1000)
            log = opened(place)
            for draft in drafts(steps):
                log.append(draft)
                log.flush()
            log.close()
        before = None
        for archived in run(place):
            number, directory = int(archived.segment[4:]), place / "evidence/logs/w1"
            before = one_by_one(directory, WORKER, number, before)
            assert frontier_path(directory, number).read_bytes() == before.encode()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"kind":"request"', b'"kind":"requesu"'),
        (b"\t", b""),
        (b"\t", b"\t\t"),
        (b"0", b"1"),
        (b"\t000102", b"\t00010G"),
        (b"\t000102", b"\t0102"),
    ],
)
def test_a_line_that_does_not_fit_takes_nothing(tmp_path: Path, old: bytes, new: bytes) -> None:
    log = opened(tmp_path)
    log.append(record.session_start(session()))
    log.append(request(1))
    log.append(result(2, 1))
    log.close()
    held = [raw for _, raw in lines(DiskStorage(), journal_path(tmp_path / "evidence/logs/w1", 1))]
    state = Replay(WORKER)
    changed = [raw.replace(old, new, 1) for raw in held]
    assert changed != held
    assert not link(state, changed)
    assert (state.tree.size, state.chain.value) == (0, bytes(32))
    assert link(state, held)
    assert state.tree.size == len(held)
