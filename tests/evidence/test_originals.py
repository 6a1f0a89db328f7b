"""Sealed originals: only auditors open them, each in its own place, and whatever becomes of them shows."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pyrage
import pytest
from evidence_double import CountedEntropy, DoubleStorage
from evidence_samples import WORKER, journal_file, open_journal, request, session, verify_signed
from test_standalone_verify import says

from gateway.errors import ConfigurationFault, EvidenceFault
from gateway.evidence import record
from gateway.evidence.entry import Malformed, parse_line, parse_loosely
from gateway.evidence.originals import envelopes, index, keyring_path, originals_path
from gateway.evidence.originals_content import Column, decode, encode_rows, encode_told
from gateway.evidence.sealing import Ratchet, Sealer, unseal, unwrap
from gateway.evidence.unseal import check_place, open_originals, read_identity
from gateway.model import Draft, Json, SessionId
from gateway.pgwire.notes import OriginalColumn, Originals
from gateway.worker.sealing import SealingTerms, SessionSealing

IDENTITIES = [pyrage.x25519.Identity.generate() for _ in range(3)]
RECIPIENTS = tuple(str(one.to_public()) for one in IDENTITIES[:2])
CARDS = [f"4000-0000-0000-{number:04}".encode() for number in range(50)]


def note(n: int, first: int, values: list[bytes | None]) -> Originals:
    column = OriginalColumn("card", ("public.payments.card",), 25, 0, tuple(values))
    return Originals(n, 1, 0, first, first + len(values) - 1, (column,))


def fill(evidence: Path, chunks: int = 3, sid: str = "s-1", sealing: SessionSealing | None = None) -> Path:
    """Write a log in `evidence` whose session has `chunks` sealed stretches of rows; return it."""
    journal = open_journal(evidence)
    who = session(sid)
    sealing = sealing or SessionSealing(SealingTerms(RECIPIENTS), CountedEntropy())
    for draft in [record.start("gw-1", "0.1"), record.session_start(who), request(1, "SELECT card", who=who)]:
        journal.append(draft)
    for chunk in range(chunks):
        for draft in sealing.rows(who, note(2 + chunk, 1 + 10 * chunk, [*CARDS[10 * chunk : 10 * chunk + 9], None])):
            journal.append(draft)
    journal.append(record.session_end(who, reason="client", statements=1, denied=0, held=0, rows=30, n=99))
    journal.close()
    return evidence


def entries(evidence: Path) -> Iterator[dict[str, Json]]:
    for raw in journal_file(evidence).read_bytes().rstrip(b"\0").splitlines():
        yield parse_loosely(parse_line(raw).entry)


def log_of(evidence: Path) -> Path:
    return evidence / "logs" / "w1"


def test_auditors_read_what_was_sealed_and_each_of_them_can(tmp_path: Path) -> None:
    evidence = fill(tmp_path / "evidence")
    assert verify_signed(evidence).intact
    assert says(evidence)
    for number, one in enumerate(IDENTITIES[:2]):
        path = tmp_path / f"identity-{number}"
        path.write_text(f"# created: today\n{one}\n")
        out = tmp_path / f"out-{number}"
        out.mkdir()
        found = open_originals(evidence, out, read_identity(path))
        assert (found.envelopes, found.values, found.sessions, found.findings) == (3, 27, {"s-1"}, [])
        lines = [json.loads(line) for line in (out / "s-1.jsonl").read_text().splitlines()]
        for place, line in enumerate(lines):
            first = 10 * place + 1
            assert (line["from"], line["to"], line["of"], line["seq"]) == (first, first + 9, 1, 4 + place)
            (column,) = line["columns"]
            assert (column["column"], column["sources"]) == ("card", ["public.payments.card"])
            originals = [{"t": card.decode()} for card in CARDS[first - 1 : first + 8]]
            assert column["values"] == [*originals, None]


def test_no_byte_of_an_original_lies_anywhere_else(tmp_path: Path) -> None:
    evidence = fill(tmp_path / "evidence")
    for path in evidence.rglob("*"):
        if path.is_file():
            assert not any(card in path.read_bytes() for card in CARDS), path
            assert path.stat().st_mode & 0o777 in {0o600, 0o644}
    sealed = originals_path(log_of(evidence), 1)
    assert {one.stat().st_mode & 0o777 for one in (sealed, keyring_path(log_of(evidence), "s-1"))} == {0o600}
    assert {one.stat().st_mode & 0o777 for one in (sealed.parent, log_of(evidence) / "keyring")} == {0o700}


def test_the_gateway_cannot_open_what_it_sealed(tmp_path: Path) -> None:
    """Everything that it has: its state, and what its memory still holds, the key that comes next among it."""
    entropy = CountedEntropy()
    sealing = SessionSealing(SealingTerms(RECIPIENTS), entropy)
    evidence = fill(tmp_path / "evidence", sealing=sealing)
    sealer = sealing._sealer
    assert isinstance(sealer, Sealer)
    state = bytes(sealer._ratchet._state)
    directory = log_of(evidence)
    real = Ratchet(unwrap(keyring_path(directory, "s-1").read_bytes(), [IDENTITIES[0]]))
    used = [real.take() for _ in range(3)]
    assert bytes(real._state) == state
    reachable = list(referents(sealing))
    reachable += [path.read_bytes() for path in evidence.rglob("*") if path.is_file()]
    assert state in reachable
    assert not set(used) & set(reachable)
    onward = Ratchet(state)
    keys = [one for one in reachable if len(one) == 32] + [onward.take() for _ in range(50)]
    places = [(one["log"], one["seq"]) for one in entries(evidence) if "sc" in one]
    sealed = list(envelopes(originals_path(directory, 1)))
    assert len(sealed) == len(places) == 3
    for envelope, (log, seq) in zip(sealed, places, strict=True):
        for key in keys:
            with pytest.raises(Malformed):
                unseal(envelope, key, str(log), int(str(seq)), "s-1")
    with pytest.raises(Malformed):
        unwrap(keyring_path(directory, "s-1").read_bytes(), [IDENTITIES[2]])
    assert unseal(sealed[2], used[2], str(places[2][0]), int(str(places[2][1])), "s-1")[0].startswith(b"{")


def referents(root: object) -> Iterator[bytes]:
    """Yield every piece of bytes that can be reached from `root`, classes and modules left out."""
    seen: set[int] = set()
    stack = [root]
    while stack:
        one = stack.pop()
        if id(one) in seen or isinstance(one, type | ModuleType):
            continue
        seen.add(id(one))
        if isinstance(one, bytes | bytearray):
            yield bytes(one)
        stack.extend(gc.get_referents(one))


def test_a_ratchet_never_gives_a_key_twice_and_shows_none() -> None:
    one, other = Ratchet(b"s" * 32), Ratchet(b"s" * 32)
    keys = [one.take() for _ in range(100)]
    assert [other.take() for _ in range(100)] == keys
    assert len({*keys, bytes(one._state)}) == 101
    assert repr(one) == "Ratchet(step=100)"


def test_an_envelope_opens_in_its_own_place_only() -> None:
    sealer = Sealer(SessionId("s-1"), RECIPIENTS, CountedEntropy())
    sealed = sealer.seal(b"original")(WORKER, 7)
    key = Ratchet(unwrap(sealer.wrapped, [IDENTITIES[1]])).take()
    assert unseal(sealed.envelope, key, WORKER, 7, "s-1") == (b"original", sealed.content)
    for log, seq, sid in ((WORKER, 8, "s-1"), ("gw-2/w1", 7, "s-1"), (WORKER, 7, "s-2")):
        with pytest.raises(Malformed, match="in its place"):
            unseal(sealed.envelope, key, log, seq, sid)
    for at in (0, 5, len(sealed.envelope) - 1):
        changed = bytearray(sealed.envelope)
        changed[at] ^= 1
        with pytest.raises(Malformed):
            unseal(bytes(changed), key, WORKER, 7, "s-1")
    again = sealer.seal(b"original")(WORKER, 7)
    assert again.content != sealed.content  # nobody finds a content by trying them all
    assert (sealed.key, again.key) == (f"{sealer.digest[:16]}/0", f"{sealer.digest[:16]}/1")


CONTENTS = [
    [Column("a", ("s.t.a",), 25, 0, [b"x", None, b"", b"yy\n"])],
    [Column("a", (), 23, 1, [None]), Column("b\ud800", ("x", "y"), 17, 1, [b"\0\xff"])],
    [Column("a", (), 25, 0, [])],
]


@pytest.mark.parametrize("columns", CONTENTS)
def test_rows_come_back_as_they_were(columns: list[Column]) -> None:
    head, found = decode(encode_rows({"from": 1}, columns))
    assert head == {"v": 1, "kind": "rows", "from": 1}
    assert [list(one.values) for one in found] == [list(one.values) for one in columns]
    assert [(one.type_oid, one.format, one.sources) for one in found] == [
        (c.type_oid, c.format, c.sources) for c in columns
    ]


BROKEN = [
    b"", b"{}", b"[1]", b'{"v":2}\n', b'{"v":1,"columns":[{"count":9}]}\n', b'{"v":1,"columns":7}\n',
    b'{"v":1,"columns":[{"column":"a","count":-1,"format":0,"sources":[],"type":0}]}\n',
    encode_rows({}, CONTENTS[0])[:-1],
]  # fmt: skip


@pytest.mark.parametrize("content", BROKEN)
def test_what_is_no_content_is_malformed(content: bytes) -> None:
    with pytest.raises(Malformed):
        decode(content)


def test_a_statement_comes_back() -> None:
    assert decode(encode_told("statement", {"sql": {"t": "x"}})) == (
        {"v": 1, "kind": "statement", "sql": {"t": "x"}},
        (),
    )


# --- tampering -------------------------------------------------------------------------------------------------------


def edit_envelope(log: Path) -> None:
    path = originals_path(log, 1)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def drop_envelope(log: Path) -> None:
    path = originals_path(log, 1)
    (offset, length), *_ = index(path).values()
    content = path.read_bytes()
    path.write_bytes(content[: offset - 4] + content[offset + length :])


def cut_envelopes(log: Path) -> None:
    path = originals_path(log, 1)
    path.write_bytes(path.read_bytes()[:-5])


def remove_envelopes(log: Path) -> None:
    originals_path(log, 1).unlink()


def edit_key(log: Path) -> None:
    path = keyring_path(log, "s-1")
    path.write_bytes(path.read_bytes() + b"x")


def swap_key(log: Path) -> None:
    keyring_path(log, "s-1").write_bytes(Sealer(SessionId("s-1"), RECIPIENTS, CountedEntropy()).wrapped)


def remove_key(log: Path) -> None:
    keyring_path(log, "s-1").unlink()


ATTACKS: list[tuple[Callable[[Path], None], int | None, str]] = [
    (edit_envelope, 6, "its sealed original was changed or is missing"),
    (drop_envelope, 4, "its sealed original was changed or is missing"),
    (cut_envelopes, 6, "its sealed original was changed or is missing"),
    (remove_envelopes, 4, "is missing and no erasure says so"),
    (edit_key, 3, "is not the key that was recorded"),
    (swap_key, 3, "is not the key that was recorded"),
    (remove_key, 3, "is missing and no erasure says so"),
]


@pytest.mark.parametrize(("attack", "seq", "what"), ATTACKS, ids=lambda one: getattr(one, "__name__", None))
def test_each_attack_on_originals_is_found(
    tmp_path: Path, attack: Callable[[Path], None], seq: int | None, what: str
) -> None:
    evidence = fill(tmp_path / "evidence")
    attack(log_of(evidence))
    found = [one for one in verify_signed(evidence).findings if one.grade == "tampered"]
    assert [(one.log, one.seq) for one in found] == [(WORKER, seq)]
    assert what in found[0].what
    assert not says(evidence)


def test_what_a_crash_left_of_an_envelope_is_cut_and_nothing_else_is(tmp_path: Path) -> None:
    for tail in (b"", b"\0\0", bytes(4096), b"\0\0\1\0half of it", b"\0\0\0\4lost"):
        home = tmp_path / tail.hex()[:60]
        evidence = fill(home)
        path = originals_path(log_of(evidence), 1)
        whole = path.read_bytes()
        path.write_bytes(whole + tail)
        assert verify_signed(evidence).intact
        assert says(evidence)
        fill(home, sid="s-2")
        assert path.read_bytes().startswith(whole)
        report = verify_signed(evidence)
        assert report.intact, report.findings
        assert says(evidence)
        assert any("no record names" in one.what for one in report.findings) == (tail == b"\0\0\0\4lost")


def test_envelopes_are_on_disk_before_the_record_that_names_them(tmp_path: Path) -> None:
    storage = DoubleStorage()
    journal = open_journal(tmp_path, storage=storage)
    key = keyring_path(tmp_path / "logs" / "w1", "s-1")
    for draft in SessionSealing(SealingTerms(RECIPIENTS), CountedEntropy()).rows(session(), note(2, 1, [b"secret"])):
        journal.append(draft)
    there: list[bool] = []
    storage.on_sync = lambda: there.append(key.exists())
    storage.log.clear()
    journal.flush()
    synced = [name for what, name in storage.log if what == "sync"]
    assert synced == ["seg-00000001.sealed", "00000001.tsv"]
    assert there == [True, True]
    storage.room = 0
    for draft in SessionSealing(SealingTerms(RECIPIENTS), CountedEntropy()).rows(session(), note(3, 1, [b"secret"])):
        ticket = journal.append(draft)
    with pytest.raises(EvidenceFault):
        journal.flush()
    assert journal.durable < ticket.seq


def test_without_recipients_nothing_is_kept() -> None:
    sealing = SessionSealing(SealingTerms(), Forbidden())
    (draft,) = sealing.rows(session(), note(2, 1, [b"secret"]))
    assert isinstance(draft, Draft)
    assert draft.seal is None
    assert "secret" not in repr(draft)


class Forbidden:
    """Whoever asks for randomness would seal."""

    def bytes(self, count: int) -> bytes:
        raise AssertionError(count)


# --- opening ---------------------------------------------------------------------------------------------------------


def test_one_session_is_opened_alone_and_what_does_not_open_is_told(tmp_path: Path) -> None:
    fill(tmp_path / "evidence")
    evidence = fill(tmp_path / "evidence", sid="s-2")
    identity = tmp_path / "identity"
    identity.write_text(str(IDENTITIES[0]))
    (tmp_path / "one").mkdir()
    found = open_originals(evidence, tmp_path / "one", read_identity(identity), "s-2")
    assert (found.sessions, found.envelopes) == ({"s-2"}, 3)
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["s-2.jsonl"]
    remove_key(log_of(evidence))
    edit_envelope(log_of(evidence))
    (tmp_path / "two").mkdir()
    found = open_originals(evidence, tmp_path / "two", read_identity(identity))
    assert found.envelopes == 2
    assert [one.seq for one in found.findings] == [4, 5, 6, 14]
    assert "wrapped key of session s-1 is gone" in found.findings[0].what
    identity.write_text(str(IDENTITIES[2]))
    (tmp_path / "three").mkdir()
    found = open_originals(evidence, tmp_path / "three", read_identity(identity))
    assert found.envelopes == 0
    assert any("not wrapped to this identity" in one.what for one in found.findings)


@pytest.mark.parametrize("content", ["", "age1abc", "AGE-SECRET-KEY-1ABC", "x\n" * 2, "\0"])
def test_what_is_no_identity_is_refused_without_being_shown(tmp_path: Path, content: str) -> None:
    path = tmp_path / "identity"
    path.write_text(content)
    with pytest.raises(ConfigurationFault) as fault:
        read_identity(path)
    assert "AGE-SECRET-KEY-1ABC" not in str(fault.value)
    with pytest.raises(ConfigurationFault, match="cannot be read"):
        read_identity(tmp_path / "absent")
    path.write_text(str(IDENTITIES[0]))
    assert str(IDENTITIES[0]) not in repr(read_identity(path))


def test_originals_are_never_written_where_the_gateway_logs(tmp_path: Path) -> None:
    evidence = fill(tmp_path / "state" / "evidence")
    (tmp_path / "state" / "keys").mkdir(exist_ok=True)
    (tmp_path / "link").symlink_to(evidence)
    for place in (evidence, evidence / "x", log_of(evidence) / "originals", tmp_path / "state" / "out", tmp_path,
                  tmp_path / "link" / "x", tmp_path / "state"):  # fmt: skip
        with pytest.raises(ConfigurationFault):
            check_place(evidence, place)
    check_place(evidence, tmp_path / "out")
    (tmp_path / "out").mkdir()
    check_place(evidence, tmp_path / "out")
    (tmp_path / "out" / "x").touch()
    with pytest.raises(ConfigurationFault, match="not empty"):
        check_place(evidence, tmp_path / "out")
