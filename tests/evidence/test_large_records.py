"""Records of large statements: made in pieces, the same to the byte, and away from the event loop."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import trio
from evidence.evidence_samples import open_journal, result, session, verdict
from hypothesis import given
from hypothesis import strategies as st

from gateway.evidence import record
from gateway.evidence.commit import LARGE, GroupCommit
from gateway.evidence.entry import canonical, parse_line
from gateway.evidence.journal import Cut, Journal
from gateway.evidence.record import judged
from gateway.evidence.values import parameter, wire
from gateway.model import Parameter, Statement, WireProtocol

PIECE = judged.PIECE
text = st.text(alphabet=st.sampled_from('a\n"\\\x01\x7f\u2028é漢😀'), max_size=40).map(str.encode)
values = st.none() | text | st.binary(max_size=9) | st.tuples(text, st.binary(max_size=1)).map(b"".join)


def plain(statement: Statement, touched: tuple[str, ...]) -> bytes:
    """The payload, encoded in one piece from what it holds."""
    bound = statement.parameters
    found: dict[str, object] = {"reason": verdict().reason, "sql": wire(statement.sql)}
    if bound:
        found |= {
            "formats": [each.format for each in bound],
            "parameters": [parameter(each) for each in bound],
            "types": [each.type_oid for each in bound],
        }
    if statement.name:
        found["name"] = statement.name
    if touched:
        found["predicate_touch"] = list(touched)
    return canonical(found)  # type: ignore[arg-type]


@given(
    st.lists(st.builds(Parameter, st.sampled_from([0, 20, 25]), st.integers(0, 1), values), max_size=3).map(tuple),
    text,
    st.sampled_from(["", "s1", "é"]),
    st.sampled_from([(), ("public.users.email",)]),
    st.sampled_from([18, 24, PIECE]),
)
def test_pieces_are_the_payload(
    bound: tuple[Parameter, ...], sql: bytes, name: str, touched: tuple[str, ...], size: int
) -> None:
    statement = Statement(sql, WireProtocol.EXTENDED, bound, name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judged, "PIECE", size)
        made = b"".join(record.judged_pieces(statement, verdict(), touched))
    assert made == plain(statement, touched)
    asked = record.request(
        session(), 1, statement, verdict(), "p", operation_hash=None, approval=None, touches_marks=False,
        predicate_touch=touched,
    )  # fmt: skip
    assert asked.payload == made


@pytest.mark.parametrize("value", [b"x" * (5 * PIECE), b"\xff" * (5 * PIECE), "é".encode() * (3 * PIECE)])
def test_no_piece_is_large(value: bytes) -> None:
    statement = Statement(b"select $1", WireProtocol.EXTENDED, (Parameter(25, 0, value),))
    pieces = list(record.judged_pieces(statement, verdict()))
    assert len(pieces) > len(value) // PIECE
    assert max(map(len, pieces)) <= 2 * PIECE
    assert b"".join(pieces) == plain(statement, ())


async def test_lines_of_what_is_large_are_made_in_a_thread_and_others_append_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked: list[tuple[int, bool]] = []
    entered, go_on = threading.Event(), threading.Event()

    def link(journal: Journal, taken: Cut) -> object:
        aside = threading.current_thread() is not threading.main_thread()
        linked.append((len(taken.waiting), aside))
        if aside:
            entered.set()
            assert go_on.wait(20)
        return real(journal, taken)

    real = Journal.link
    monkeypatch.setattr(Journal, "link", link)
    journal = open_journal(tmp_path)
    log = GroupCommit(journal)
    log.append(record.session_start(session()))
    payload = bytearray(b'{"text":"%b"}' % (b"x" * (3 * LARGE)))
    large = log.append(result(1, 1)._replace(payload=payload))
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(log.durable, large)
            await trio.to_thread.run_sync(entered.wait)
            others = [log.append(result(n, 1)) for n in range(2, 50)]
            assert journal.durable < large.seq
            go_on.set()
        await log.durable(others[-1])
    journal.close()
    assert linked == [(5, True), (len(others), False)]
    lines = (tmp_path / "logs/w1/journal/00000001.tsv").read_bytes().splitlines()
    assert [line.split(b"\t")[0].decode() for line in lines][-1] == others[-1].chain
    assert b"".join(parse_line(line).payload for line in lines[1:5]) == payload
