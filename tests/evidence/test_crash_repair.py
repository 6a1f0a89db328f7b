"""Opening a log after a crash: what is kept, what is named, and what no crash explains."""

from __future__ import annotations

from pathlib import Path

import pytest
from blake3 import blake3
from evidence_double import DoubleStorage
from evidence_samples import CONTROL, WORKER, fill, journal_file, open_journal, request, result, session, verify_signed
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import EvidenceFault
from gateway.evidence import record
from gateway.evidence.entry import parse, parse_line
from gateway.evidence.opening import first_records


def entries(evidence: Path) -> list[dict[str, object]]:
    content = journal_file(evidence).read_bytes().rstrip(b"\0")
    return [dict(parse(parse_line(one).entry)) for one in content[:-1].split(b"\n")]


def crashed(evidence: Path, tail: bytes) -> Path:
    """A journal of ten records and then `tail`."""
    fill(evidence)
    with journal_file(evidence).open("ab") as file:
        file.write(tail)
    return journal_file(evidence)


@pytest.mark.parametrize("room", [0, 5000])
@pytest.mark.parametrize("kept", [1, 63, 64, 65, 66, 100, -60, -2, -1])
def test_a_torn_line_is_kept_zeroed_and_named(tmp_path: Path, kept: int, room: int) -> None:
    fill(tmp_path)
    path = journal_file(tmp_path)
    whole = path.read_bytes()
    last = whole[:-1].rpartition(b"\n")[2] + b"\n"
    torn = last[:kept]
    path.write_bytes(whole[: len(whole) - len(last)] + torn + bytes(room))
    journal = open_journal(tmp_path)
    (named,) = journal.torn
    assert (named.length, named.blake3) == (len(torn), blake3(torn).hexdigest())
    assert (tmp_path / "logs" / "w1" / "torn" / named.file).read_bytes() == torn
    assert path.read_bytes().rstrip(b"\0") == whole[: len(whole) - len(last)]
    assert journal.durable == 8
    for draft in first_records(journal, "gw-1", "0.1"):
        journal.append(draft)
    journal.close()
    assert entries(tmp_path)[9]["torn"] == [{"file": named.file, "length": named.length, "blake3": named.blake3}]
    report = verify_signed(tmp_path)
    assert [one.grade for one in report.findings] == ["note"]
    again = open_journal(tmp_path)
    assert again.torn == ()
    again.close()


def test_only_zeros_after_the_last_line_are_normal(tmp_path: Path) -> None:
    path = crashed(tmp_path, bytes(9000))
    journal = open_journal(tmp_path)
    assert (journal.torn, journal.durable) == ((), 9)
    journal.append(record.start("gw-1", "0.1"))
    journal.close()
    assert entries(tmp_path)[-1]["seq"] == 10
    assert b"\0" not in path.read_bytes()


def test_a_crash_before_the_start_record_is_named_by_the_next_start(tmp_path: Path) -> None:
    crashed(tmp_path, b"torn")
    open_journal(tmp_path).close()  # it repaired, and died before it wrote anything
    journal = open_journal(tmp_path)
    assert [one.length for one in journal.torn] == [4]
    journal.close()


@pytest.mark.parametrize("tail", [b"torn\n", b"\0\0torn\n", bytes(64) + b"\n"])
def test_a_line_of_rubbish_is_torn_too(tmp_path: Path, tail: bytes) -> None:
    crashed(tmp_path, tail)
    journal = open_journal(tmp_path)
    assert (journal.durable, len(journal.torn)) == (9, 1)
    journal.close()


def break_line(path: Path, number: int) -> None:
    lines = path.read_bytes().split(b"\n")
    lines[number] = lines[number].replace(b"SELECT", b"DELETE").replace(b'"allow"', b'"abhor"')
    path.write_bytes(b"\n".join(lines))


def test_a_whole_record_after_a_broken_one_refuses_to_start(tmp_path: Path) -> None:
    fill(tmp_path)
    path = journal_file(tmp_path)
    break_line(path, 4)
    before = path.read_bytes()
    with pytest.raises(EvidenceFault, match=r"record 4 .* is broken and a whole record follows it.*--accept-loss"):
        open_journal(tmp_path)
    assert path.read_bytes() == before, "a refused start changes nothing"


def test_a_hole_in_the_middle_refuses_to_start(tmp_path: Path) -> None:
    fill(tmp_path)
    path = journal_file(tmp_path)
    content = bytearray(path.read_bytes())
    middle = content.index(b"\n", 1500)
    content[middle - 400 : middle + 50] = bytes(450)
    path.write_bytes(content)
    with pytest.raises(EvidenceFault, match="a whole record follows"):
        open_journal(tmp_path)


def test_accept_loss_goes_on_with_a_gap_record(tmp_path: Path) -> None:
    fill(tmp_path)
    break_line(journal_file(tmp_path), 4)
    journal = open_journal(tmp_path, accept_loss=True)
    drafts = first_records(journal, "gw-1", "0.1")
    assert [one.kind for one in drafts] == ["start", "gap", "session_end"]
    for draft in drafts:
        journal.append(draft)
    journal.close()
    assert [one["kind"] for one in entries(tmp_path)][4:] == ["start", "gap", "session_end"]
    assert verify_signed(tmp_path).records == 7


def test_a_broken_file_that_others_follow_refuses_to_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.evidence.journal.ROTATE_RECORDS", 1)
    fill(tmp_path)
    journal = open_journal(tmp_path)
    journal.append(record.start("gw-1", "0.1"))
    journal.close()
    first = journal_file(tmp_path)
    first.write_bytes(first.read_bytes()[:-10])
    with pytest.raises(EvidenceFault, match="later files follow"):
        open_journal(tmp_path, accept_loss=True)


def test_a_directory_of_another_log_refuses_to_start(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "logs" / "w1").rename(tmp_path / "logs" / "control")
    with pytest.raises(EvidenceFault, match="another gateway"):
        open_journal(tmp_path, CONTROL)


def test_a_foreign_file_refuses_to_start(tmp_path: Path) -> None:
    fill(tmp_path)
    (journal_file(tmp_path).parent / "copy.tsv").write_text("x")
    with pytest.raises(EvidenceFault, match="no journal file of ours"):
        open_journal(tmp_path)


def test_open_sessions_end_as_lost_with_their_counts(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    one, two = session("s-1"), session("s-2", target_pid=None)
    for draft in (
        record.session_start(one),
        record.session_start(two),
        request(1, who=one),
        result(2, 1, who=one, rows=7),
        request(1, who=two),
        record.session_end(two, n=2, reason="client left", statements=1, denied=0, held=0, rows=0),
        request(3, who=one),
    ):
        journal.append(draft)
    journal.flush()
    journal._stack.close()  # killed: no close
    again = open_journal(tmp_path)
    (lost,) = again.open_sessions
    assert lost.session == one
    assert (lost.n, lost.statements, lost.rows) == (3, 2, 7)
    drafts = first_records(again, "gw-1", "0.1")
    assert [one.kind for one in drafts] == ["start", "session_end"]
    for draft in drafts:
        again.append(draft)
    again.close()
    assert entries(tmp_path)[-1] | {"ts": "", "mono": 0} == {
        "v": 1,
        "log": WORKER,
        "seq": 8,
        "ts": "",
        "mono": 0,
        "kind": "session_end",
        "sid": "s-1",
        "n": 4,
        "iss": one.principal.issuer,
        "sub": "agent-7",
        "jti": "token-1",
        "conn": "orders",
        "tgt": one.target,
        "dev": True,
        "reason": "lost",
        "statements": 2,
        "denied": 0,
        "held": 0,
        "rows": 7,
    }
    assert verify_signed(tmp_path).findings == []


@given(
    st.lists(st.sampled_from(["append", "large", "flush"]), max_size=25),
    st.integers(0, 200_000),
    st.sampled_from([None, 50, 700]),
)
def test_a_power_cut_keeps_every_durable_record_and_only_a_prefix(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], kept: int, write_at_most: int | None
) -> None:
    evidence = tmp_path_factory.mktemp("cut")
    storage = DoubleStorage()
    journal = open_journal(evidence, storage=storage)
    if write_at_most is not None:
        storage.write_at_most = write_at_most * 100
    journal.append(record.session_start(session()))
    n, promised = 0, -1
    for step in steps:
        if step == "flush":
            journal.flush()
            promised = journal.durable
        else:
            n += 1
            journal.append(request(n, "SELECT " + "x" * (30_000 if step == "large" else 3)))
    if journal.pending:  # what the kernel had taken of a write that no sync covered
        batch = journal.take()
        assert batch is not None
        assert journal._file is not None
        journal._file.write(b"".join(batch.parts), journal._end)
    journal._stack.close()
    storage.power_cut(keep=lambda writes: kept % (sum(map(len, writes)) + 1))
    again = open_journal(evidence)
    assert again.durable >= promised
    assert again.durable <= n
    for draft in first_records(again, "gw-1", "0.1"):
        again.append(draft)
    again.close()
    assert [one["seq"] for one in entries(evidence)] == list(range(len(entries(evidence))))
    assert verify_signed(evidence).intact
