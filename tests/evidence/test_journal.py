"""The journal gives records their place and never claims more than a sync covers."""

from __future__ import annotations

import errno
import json
import stat
from pathlib import Path

import pytest
from evidence_double import CountedEntropy, DoubleStorage, StepClock
from evidence_samples import CONTROL, WORKER, fill, journal_file, open_journal, request, result, session, verify_signed
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import EvidenceFault, OurBug
from gateway.evidence import journal as journal_module
from gateway.evidence import record
from gateway.evidence import tail as tail_module
from gateway.evidence.chain import Chain, commitment
from gateway.evidence.entry import MAX_LINE, Malformed, parse, parse_line
from gateway.evidence.journal import Journal, Recorded, Ticket
from gateway.evidence.storage import DiskStorage, SystemClock, SystemEntropy
from gateway.evidence.tail import split
from gateway.model import Draft


def test_each_line_is_chain_salt_entry_payload(tmp_path: Path) -> None:
    fill(tmp_path)
    raw = journal_file(tmp_path).read_bytes()
    assert raw.endswith(b"\n")
    chain = Chain()
    for seq, one in enumerate(raw[:-1].split(b"\n")):
        line = parse_line(one)
        entry = parse(line.entry)
        assert chain.link(line.entry) == line.chain
        assert (entry["v"], entry["log"], entry["seq"]) == (1, WORKER, seq)
        if line.payload:
            assert (len(line.payload), commitment(line.salt, line.payload)) == (entry["plen"], entry["pc"])
        else:
            assert not {"plen", "pc"} & entry.keys()


def test_an_entry_has_the_fields_of_the_format(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.append(record.session_start(session()))
    journal.append(request(1))
    journal.flush()
    line = journal_file(tmp_path).read_bytes().split(b"\n")[1]
    assert parse(parse_line(line).entry) == {
        "v": 1,
        "log": "gw-1/w1",
        "seq": 1,
        "ts": "2026-01-01T00:00:00.000002Z",
        "mono": 225600000002,
        "kind": "request",
        "sid": "s-1",
        "n": 1,
        "iss": "http://issuer.test/realms/hoop",
        "sub": "agent-7",
        "jti": "token-1",
        "conn": "orders",
        "tgt": "db.test:5432/orders",
        "dev": True,
        "proto": "simple",
        "op": "select",
        "verdict": "allow",
        "rule": "standard/select",
        "policy": "p" * 64,
        "oh": "ab" * 32,
        "plen": 58,
        "pc": parse(parse_line(line).entry)["pc"],
    }
    assert json.loads(parse_line(line).payload) == {"reason": "reads unmarked columns", "sql": {"t": "SELECT 1"}}
    journal.close()


def test_a_ticket_is_redeemed_only_once_a_sync_covers_it(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    first, second = journal.append(record.session_start(session())), journal.append(request(1))
    assert (first.seq, second.seq, journal.durable, journal.pending) == (0, 1, -1, True)
    with pytest.raises(OurBug):
        journal.redeem(first)
    journal.flush()
    recorded = journal.redeem(second)
    assert recorded.ticket == second
    assert recorded.quote == journal.head
    third = journal.append(request(2))
    with pytest.raises(OurBug):
        journal.redeem(third)
    with pytest.raises(OurBug):
        journal.redeem(Ticket(CONTROL, 0, first.ts, journal.opening))


def test_a_line_that_cannot_be_made_breaks_the_journal_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Places behind it were given out: nothing that stands there may be written without it."""
    journal = open_journal(tmp_path)
    journal.append(record.session_start(session()))
    first = journal.append(result(1, 1))
    journal.append(result(2, 1))

    def fails(_salt: bytes, _data: bytes) -> str:
        raise MemoryError

    monkeypatch.setattr(tail_module, "commitment", fails)
    with pytest.raises(MemoryError):
        journal.flush()
    monkeypatch.undo()
    for attempt in (journal.flush, lambda: journal.append(result(3, 1)), journal.take):
        with pytest.raises(EvidenceFault, match="line"):
            attempt()
    with pytest.raises(OurBug):
        journal.redeem(first)
    journal.close()
    assert journal_file(tmp_path).read_bytes().rstrip(b"\0") == b""


def test_records_that_wait_and_those_that_do_not_make_one_chain(tmp_path: Path) -> None:
    """Lines are made when they are taken, those of a form and others in their order."""
    journal, seen = open_journal(tmp_path), []
    for n in range(1, 40):
        seen.append(journal.append(result(n, 1)))
        if n % 3 == 0:
            seen.append(journal.append(record.session_start(session())))
        if n % 7 == 0:
            journal.flush()
    journal.close()
    lines = journal_file(tmp_path).read_bytes().splitlines()
    assert [line.split(b"\t")[0].decode() for line in lines] == [ticket.chain for ticket in seen]
    chain = Chain()
    for line in lines:
        fields = parse_line(line)
        assert chain.link(fields.entry).hex() == line.split(b"\t")[0].decode()
    assert [parse(parse_line(line).entry)["seq"] for line in lines] == [ticket.seq for ticket in seen]


def test_nothing_else_makes_recorded() -> None:
    with pytest.raises(OurBug):
        Recorded(Ticket(WORKER, 0, SystemClock().now(), None), object())


def test_a_failed_sync_breaks_the_journal_for_good(tmp_path: Path) -> None:
    storage = DoubleStorage()
    journal = open_journal(tmp_path, storage=storage)
    journal.append(record.session_start(session()))
    journal.flush()
    ticket = journal.append(request(1))
    storage.sync_error = OSError(errno.EIO, "Input/output error")
    with pytest.raises(EvidenceFault, match="Input/output error"):
        journal.flush()
    before = list(storage.log)
    for attempt in (journal.flush, journal.take, lambda: journal.append(request(2))):
        with pytest.raises(EvidenceFault, match="cannot be written"):
            attempt()
    with pytest.raises(OurBug):
        journal.redeem(ticket)
    journal.close()
    assert storage.log == before, "the file was touched again"
    assert journal.durable == 0


def test_a_full_disk_breaks_the_journal_for_good(tmp_path: Path) -> None:
    storage = DoubleStorage()
    journal = open_journal(tmp_path, storage=storage)
    storage.room = 100
    journal.append(record.session_start(session()))
    with pytest.raises(EvidenceFault, match="No space left"):
        journal.flush()
    storage.room = None
    with pytest.raises(EvidenceFault):
        journal.flush()
    assert (journal.durable, journal.head) == (-1, None)


def test_short_writes_go_on_where_they_stopped(tmp_path: Path) -> None:
    storage = DoubleStorage()
    storage.write_at_most = 37_000
    journal = open_journal(tmp_path, storage=storage)
    journal.append(record.session_start(session()))
    journal.append(request(1, "SELECT '" + "x" * 100_000 + "'"))
    journal.flush()
    journal.close()
    assert storage.syncs == 2
    assert verify_signed(tmp_path).intact


def test_a_batch_that_was_dropped_stops_the_next(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.append(record.session_start(session()))
    journal.take()
    journal.append(request(1))
    with pytest.raises(OurBug):
        journal.flush()
    with pytest.raises(EvidenceFault):
        journal.append(request(2))


def test_two_gateways_on_one_directory_are_refused(tmp_path: Path) -> None:
    first = open_journal(tmp_path)
    with pytest.raises(EvidenceFault, match="in use by another gateway"):
        open_journal(tmp_path)
    open_journal(tmp_path, CONTROL).close()
    first.close()
    open_journal(tmp_path).close()


def test_only_the_gateways_user_may_read(tmp_path: Path) -> None:
    fill(tmp_path)
    for path in [tmp_path / "logs", *(tmp_path / "logs").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_the_chain_goes_on_after_a_restart(tmp_path: Path) -> None:
    fill(tmp_path)
    journal = open_journal(tmp_path)
    assert (journal.durable, journal.open_sessions, journal.torn) == (9, (), ())
    assert journal.append(record.start("gw-1", "0.1")).seq == 10
    journal.close()
    report = verify_signed(tmp_path)
    assert (report.records, report.findings) == (11, [])


def test_files_rotate_and_stay_one_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "ROTATE_RECORDS", 4)
    journal = open_journal(tmp_path)
    journal.append(record.session_start(session()))
    for n in range(1, 11):
        journal.append(request(n))
        journal.flush()
    journal.close()
    assert [one.name for one in sorted(journal_file(tmp_path).parent.iterdir())] == [
        "00000000.tsv",
        "00000001.tsv",
        "00000002.tsv",
        "00000003.tsv",
    ]
    again = open_journal(tmp_path)
    assert again.durable == 10
    again.append(request(11))
    again.close()
    assert verify_signed(tmp_path).records == 12
    assert verify_signed(tmp_path).intact


@pytest.mark.parametrize("limit", ["ROTATE_BYTES", "ROTATE_AFTER"])
def test_files_rotate_by_size_and_age(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(journal_module, limit, 1)
    fill(tmp_path)
    assert not journal_file(tmp_path, 2).exists(), "one flush stays in one file"
    journal = open_journal(tmp_path)
    journal.append(record.start("gw-1", "0.1"))
    journal.close()
    assert journal_file(tmp_path, 2).exists()
    assert verify_signed(tmp_path).intact


@pytest.mark.parametrize("size", [MAX_LINE - 70_000, MAX_LINE, 3 * MAX_LINE + 17])
def test_large_payloads_go_in_parts_below_the_line_limit(tmp_path: Path, size: int) -> None:
    journal = open_journal(tmp_path)
    journal.append(record.session_start(session()))
    journal.append(request(1))
    ticket = journal.append(result(2, 1, "é" * (size // 2)))
    journal.close()
    raw = journal_file(tmp_path).read_bytes()
    lines = [parse_line(one) for one in raw[:-1].split(b"\n")]
    assert max(len(one) + 1 for one in raw.split(b"\n")) <= MAX_LINE
    assert ticket.seq == len(lines) - 1
    entries = [parse(one.entry) for one in lines[2:]]
    if size < MAX_LINE - 66_000:
        assert "part" not in entries[0]
    else:
        assert [(one["part"], one["parts"]) for one in entries] == [(i + 1, len(entries)) for i in range(len(entries))]
    assert parse(b"".join(one.payload for one in lines[2:]))["text"] == "é" * (size // 2)
    assert {one.salt for one in lines[2:]} == {bytes(range(32))}
    assert verify_signed(tmp_path).intact


@given(st.text(max_size=60), st.integers(4, 20))
def test_parts_are_whole_utf8_and_nothing_is_lost(text: str, size: int) -> None:
    pieces = split(text.encode(), size)
    assert b"".join(pieces) == text.encode()
    assert all(len(piece) <= size and bytes(piece).decode() is not None for piece in pieces)


def test_a_clock_set_back_is_said_and_order_stays(tmp_path: Path) -> None:
    clock = StepClock()
    journal = Journal.open(tmp_path / "logs" / "w1", WORKER, DiskStorage(), clock, CountedEntropy())
    journal.append(record.start("gw-1", "0.1"))
    clock.at -= 1_000_000
    journal.append(record.alarm(None, None, "clock", "went back"))
    clock.at += 10
    journal.append(record.shutdown("done"))
    journal.close()
    entries = [parse(parse_line(one).entry) for one in journal_file(tmp_path).read_bytes()[:-1].split(b"\n")]
    assert [one.get("clk") for one in entries] == [None, "back", None]
    assert [(one.grade, one.seq) for one in verify_signed(tmp_path).findings] == [("note", 1)]


def test_a_record_that_the_format_cannot_hold_is_refused_and_leaves_no_trace(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    for bad in (
        Draft("alarm", fields={"x": 1.5}),  # type: ignore[dict-item]
        Draft("alarm", payload={"x": "\ud800"}),
        Draft("alarm", fields={"x": "y" * 70_000}),
    ):
        with pytest.raises(Malformed):
            journal.append(bad)
    with pytest.raises(OurBug):
        journal.append(Draft("stroll"))
    assert journal.append(record.start("gw-1", "0.1")).seq == 0
    journal.close()
    assert verify_signed(tmp_path).intact


def test_a_disk_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file where a directory belongs")
    with pytest.raises(EvidenceFault, match="cannot be opened"):
        open_journal(tmp_path)


def test_the_real_clock_and_entropy_serve(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "logs" / "w1", WORKER, DiskStorage(), SystemClock(), SystemEntropy())
    salts = set()
    for _ in range(3):
        journal.append(record.alarm(None, None, "test", "x"))
    journal.close()
    for one in journal_file(tmp_path).read_bytes()[:-1].split(b"\n"):
        salts.add(parse_line(one).salt)
    assert len(salts) == 3
    assert verify_signed(tmp_path).findings == []
