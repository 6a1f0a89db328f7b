"""Sessions that are followed in stretches, each by itself, show what they show when followed at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.evidence.session_rules import Complaint, Open, Sessions

Line = tuple[str, str | None, int | None, int | None]
"""Kind, session, `n` and `of` of a record."""


def ours(count: int) -> list[Line]:
    """Return one session that executes two prepared statements in turn, so many times, with its end."""
    lines: list[Line] = [("session_start", "s", 0, None), ("prepare", "s", 1, None), ("prepare", "s", 2, None)]
    for n in range(3, 2 * count + 3, 2):
        lines += [("execute", "s", n, 1 + n % 2), ("result", "s", n + 1, n)]
    return [*lines, ("session_end", "s", 2 * count + 3, None)]


def stretches(lines: list[Line], size: int) -> tuple[Sessions, list[Complaint]]:
    """Follow lines in stretches of `size`, each from what the one before it left open."""
    state, found = Sessions(), list[Complaint]()
    for first in range(0, len(lines), size):
        later = Sessions({sid: Open(first - 1, n, seen=False) for sid, n in state.place().items()})
        found += later.run(first, *zip(*lines[first : first + size], strict=True))
        found += state.join(later)
    return state, found + list(state.left(closed=True))


def test_what_was_asked_long_ago_is_remembered_in_order() -> None:
    lines = ours(500)
    state, found = stretches(lines[:-1], 64)
    assert [one[2] for one in found] == ["session s has no end, and its process has ended"]
    session = state.open["s"]
    assert list(session.earlier) == sorted(session.earlier)
    assert len(session.earlier) + len(session.asked) == 502
    assert session.asked
    assert [session.has(n) for n in (1, 2, 3, 4, 1001, 1002, 1003)] == [True, True, True, False, True, False, False]
    assert stretches(lines, 64)[1] == []


RECORDS = st.lists(
    st.tuples(
        st.sampled_from(["session_start", "request", "request", "prepare", "result", "result", "session_end"]),
        st.sampled_from(["a", "b", None]),
        st.one_of(st.none(), st.integers(1, 12)),
        st.one_of(st.none(), st.integers(1, 12)),
    ).map(lambda one: ("session_start", one[1], 0, None) if one[0] == "session_start" else one),
    min_size=1,
    max_size=40,
)


@given(RECORDS, st.integers(1, 7))
def test_a_stretch_at_a_time_shows_what_all_at_once_shows(lines: list[Line], size: int) -> None:
    _, whole = stretches(lines, len(lines))
    _, parts = stretches(lines, size)
    assert sorted(parts) == sorted(whole)
