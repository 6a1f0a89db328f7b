"""What is followed of many live lines at once is what each of them shows by itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from evidence_samples import WORKER, journal_file, open_journal, request, result, session

from gateway.evidence import record
from gateway.evidence.chain import Chain, commitment
from gateway.evidence.entry import parse_line
from gateway.evidence.following import Following
from gateway.evidence.live_rows import follow_lines
from gateway.evidence.skimming import skim_lines

AT = 20
"""The line that is changed: among plain ones."""
HARMLESS = {
    b'"verdict":"all ow"', b'"verdict":"al\\"low"', b'"verdict":"al\x7flow"',
    b'"kind":"grant"', b'"ts":"30', b'"v":1,"w":null', b'"verdict":"allow","w":{"x":1}}',
}  # fmt: skip
"""Odd, and of the format."""


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    place = tmp_path_factory.mktemp("live")
    journal = open_journal(place)
    journal.append(record.start("gw-1", "0.1"))
    journal.append(record.session_start(session()))
    for n in range(1, 61, 2):
        journal.append(request(n))
        journal.append(result(n + 1, n))
    counts = {"statements": 30, "denied": 0, "held": 0, "rows": 30}
    journal.append(record.session_end(session(), n=99, reason="client left", **counts))
    journal.append(record.shutdown("asked to"))
    journal.close()
    return journal_file(place).read_bytes().rstrip(b"\0")[:-1].split(b"\n")


def chained(entries: Sequence[bytes], lines: Sequence[bytes]) -> list[bytes]:
    """Return lines with other entries, and chain values that follow from them: anybody can compute those."""
    chain, found = Chain(), []
    for entry, raw in zip(entries, lines, strict=True):
        _, salt, _, payload = raw.split(b"\t")
        found.append(b"\t".join((chain.link(entry).hex().encode(), salt, entry, payload)))
    return found


def both(lines: Sequence[bytes]) -> tuple[Following, int]:
    """Follow them at once and one by one: the same must come out. Return it, and how many went one by one."""
    slow, fast, few = (Following(Path("logs/w1"), frozenset(range(100))) for _ in "123")
    for raw in lines:
        slow.line(raw)
    follow_lines(fast, lines)
    assert fast.findings == slow.findings
    assert (fast.place(), fast.roots, fast.said) == (slow.place(), slow.roots, slow.said)
    assert (fast.records, fast.emptied, fast.closed) == (slow.records, slow.emptied, slow.closed)
    counted, line = list[bytes](), few.line
    few.line = lambda raw: counted.append(raw) or line(raw)  # type: ignore[method-assign, func-returns-value]
    follow_lines(few, lines)
    return fast, len(counted)


def test_most_are_followed_at_once(lines: list[bytes]) -> None:
    state, slow = both(lines)
    assert (state.findings, state.expected, state.name) == ([], len(lines), WORKER)
    assert slow == 2, "the first record, which names the log, and the shutdown"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"v":1', b'"v": 1'),
        (b'"v":1', b'"v":1 '),
        (b'"v":1', b'"v":1,"v":1'),
        (b'"v":1', b'"v":1,"a":1'),
        (b'"v":1', b'"v":1.0'),
        (b'"v":1', b'"v":2'),
        (b'"v":1', b'"v":1,"w":-0'),
        (b'"v":1', b'"v":1,"w":9007199254740992'),
        (b'"v":1', b'"v":1,"w":null'),
        (b'"v":1', b'"v":1,"w":NaN'),
        (b'"v":1', b'"v":1,"w":{}'),
        (b'"v":1', b'"v":1,"w":"\\u0041"'),
        (b'"v":1', '"v":1,"é":1'.encode()),
        (b'"v":1', b'"v":1,"w":["a", "b"]'),
        (b'"v":1', b'"v":1,"w":["a",7]'),
        (b'"v":1', b'"v":1,"w":["a",]'),
        (b'"v":1', b'"v":1\r'),
        (b'"v":1', b'"v":1,"w":"\x01"'),
        (b'"v":1', b'"v":1,"w":"\xff"'),
        (b'"verdict":"allow"}', b'"verdict":"allow"}{}'),
        (b'"verdict":"allow"}', b'"verdict":"allow"},{"v":1}'),
        (b'"verdict":"allow"}', b'"verdict":"allow"'),
        (b'"verdict":"allow"}', b'"verdict":"allow","w":[{"x":1}'),
        (b'"verdict":"allow"}', b'"verdict":"allow","w":{"x":1}}'),
        (b'"kind":"request"', b'"kind":"asked"'),
        (b'"kind":"request"', b'"kind":"grant"'),
        (b'"kind":"request"', b'"kind":7'),
        (b'"log":"gw-1/w1"', b'"log":"gw-1/w2"'),
        (b'"ts":"20', b'"ts":"30'),
        (b'"ts":"20', b'"ts":"19'),
        (b'"ts":"', b'"ts":"x'),
        (b'"ts":"', b'"ts":7,"tt":"'),
        (b'"n":', b'"n":"7","nn":'),
        (b'"n":', b'"n":true,"nn":'),
        (b'"sid":"', b'"sid":7,"sie":"'),
        (b'"sid":"', b'"sid":"x'),
        (b'"plen":', b'"plen":1'),
        (b'"pc":"', b'"pc":"00'),
        (b'"pc":"', b'"pd":"'),
        (b'"seq":', b'"seq":1'),
        (b'"verdict":"allow"', b'"verdict":"all ow"'),
        (b'"verdict":"allow"', b'"verdict":"al\x01low"'),
        (b'"verdict":"allow"', b'"verdict":"al\\u006cow"'),
        (b'"verdict":"allow"', b'"verdict":"al\\low"'),
        (b'"verdict":"allow"', b'"verdict":"al\\"low"'),
        (b'"verdict":"allow"', b'"verdict":"al\x7flow"'),
    ],
)
def test_each_oddity_is_found_either_way(lines: list[bytes], old: bytes, new: bytes) -> None:
    entries = [parse_line(raw).entry for raw in lines]
    assert old in entries[AT]
    entries[AT] = entries[AT].replace(old, new)
    state, _ = both(chained(entries, lines))
    assert state.findings or new in HARMLESS


def test_lists_of_texts_are_followed_at_once_too(lines: list[bytes]) -> None:
    entries = [parse_line(raw).entry for raw in lines]
    for place in range(AT, AT + 6, 2):
        entries[place] = entries[place].replace(b'"ts":', b'"touched":["s.t.a","s.t.b"],"ts":')
    state, slow = both(chained(entries, lines))
    assert (state.findings, slow) == ([], 2)


def test_halves_that_only_neighbours_make_whole_are_found(lines: list[bytes]) -> None:
    entries = [parse_line(raw).entry for raw in lines]
    entries[AT], entries[AT + 1] = entries[AT][:-1] + b',"w":[{"x":1}', b'{"y":2}],' + entries[AT + 1][1:]
    state, _ = both(chained(entries, lines))
    assert [one.grade for one in state.findings[:2]] == ["tampered", "tampered"]


@pytest.mark.parametrize(
    "change",
    [
        lambda chain, salt, entry, payload: (chain[::-1], salt, entry, payload),
        lambda chain, salt, entry, payload: (chain.upper(), salt, entry, payload),
        lambda chain, salt, entry, payload: (chain + b"0", salt, entry, payload),
        lambda chain, salt, entry, payload: (b"\xff" * 64, salt, entry, payload),
        lambda chain, salt, entry, payload: (chain, salt.upper(), entry, payload),
        lambda chain, salt, entry, payload: (chain, b" " + salt, entry, payload),
        lambda chain, salt, entry, payload: (chain, b"", entry, payload),
        lambda chain, salt, entry, payload: (chain, salt, entry, b""),
        lambda chain, salt, entry, payload: (chain, b"", entry, b""),
        lambda chain, salt, entry, payload: (chain, salt, entry, payload + b" "),
        lambda chain, salt, entry, payload: (chain, salt, entry, payload.replace(b"SELECT", b"DELETE")),
        lambda chain, salt, entry, payload: (chain, salt, entry, payload, b""),
    ],
)
def test_each_changed_field_is_found_either_way(lines: list[bytes], change) -> None:  # type: ignore[no-untyped-def]
    changed = list(lines)
    changed[AT] = b"\t".join(change(*lines[AT].split(b"\t")))
    assert changed[AT] != lines[AT]
    state, _ = both(changed)
    assert state.findings or state.emptied


def test_a_payload_of_a_record_that_commits_to_none_is_found(lines: list[bytes]) -> None:
    changed = list(lines)
    fields = lines[-2].split(b"\t")
    salt = bytes(range(32))
    assert commitment(salt, b"x") not in fields[2].decode()
    changed[-2] = b"\t".join((fields[0], salt.hex().encode(), fields[2], b"x"))
    assert both(changed)[0].findings


def skimmed(lines: Sequence[bytes], signed: int) -> Following:
    state = Following(Path("logs/w1"), frozenset(range(100)), quick=True)
    skim_lines(state, lines, signed)
    return state


@pytest.mark.parametrize("signed", [0, 1, AT, 62, 64, 1000])
def test_what_is_signed_is_skimmed_to_the_same_place(lines: list[bytes], signed: int) -> None:
    followed, state = both(lines)[0], skimmed(lines, signed)
    assert state.findings == []
    assert (state.expected, state.chain.value, state.tree.root) == (
        followed.expected, followed.chain.value, followed.tree.root,
    )  # fmt: skip
    assert (state.roots, state.said, state.records) == (followed.roots, followed.said, followed.records)
    assert (state.last_ts, state.closed, list(state.sessions.left(closed=True))) == (followed.last_ts, True, [])


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda chain, salt, entry, payload: (chain[::-1], salt, entry, payload), "chain value"),
        (lambda chain, salt, entry, payload: (chain, salt, entry.replace(b"allow", b"denyx"), payload), "chain value"),
        (lambda chain, salt, entry, payload: (chain, salt, entry, payload + b" "), "its payload has"),
        (lambda chain, salt, entry, payload: (chain, salt, entry, payload, b""), "5 fields instead of 4"),
    ],
)
def test_what_is_changed_among_the_signed_is_found(lines: list[bytes], change, what: str) -> None:  # type: ignore[no-untyped-def]
    changed = list(lines)
    changed[AT] = b"\t".join(change(*lines[AT].split(b"\t")))
    found = skimmed(changed, len(lines)).findings
    assert found[0].seq == AT
    assert what in found[0].what


def test_a_payload_that_is_gone_from_among_the_signed_is_found(lines: list[bytes]) -> None:
    changed = list(lines)
    chain, _, entry, _ = lines[AT].split(b"\t")
    changed[AT] = b"\t".join((chain, b"", entry, b""))
    assert skimmed(changed, len(lines)).emptied == [AT]
