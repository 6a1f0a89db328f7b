"""Numbering, remembering, dropping with a word: without a socket."""

from __future__ import annotations

from gateway.control import events as bounds
from gateway.control.events import Events, Subscriber
from gateway.control.messages import Event, decode_server
from gateway.model import Micros


class Fixed:
    """A clock that stands still."""

    def now(self) -> Micros:
        return Micros(1000)

    def monotonic(self) -> int:
        return 0


def taken(subscriber: Subscriber) -> list[Event]:
    """Everything queued, decoded."""
    found = []
    while data := subscriber.take():
        for line in data.splitlines():
            event = decode_server(line)
            assert isinstance(event, Event)
            found.append(event)
    return found


def joined(events: Events, *topics: str, resume: int | None = None) -> Subscriber:
    subscriber = Subscriber(lambda: None)
    events.join(subscriber, topics, resume)
    return subscriber


def numbers(found: list[Event]) -> list[int]:
    return [event.number for event in found]


def test_each_hears_what_it_asked_for_from_then_on() -> None:
    events = Events(Fixed())
    events.publish("record", {"n": 0})
    records, people = joined(events, "records"), joined(events, "approvals", "sessions")
    for name in ("record", "session.opened", "approval.pending", "record", "approval.changed", "session.closed"):
        events.publish(name, {})
    assert numbers(taken(records)) == [1001, 1004]
    assert [event.event for event in taken(people)] == [
        "session.opened", "approval.pending", "approval.changed", "session.closed",
    ]  # fmt: skip
    events.leave(records)
    events.publish("record", {})
    assert taken(records) == []


def test_who_comes_back_hears_what_it_missed() -> None:
    events = Events(Fixed())
    for number in range(10):
        events.publish("record", {"n": number})
    assert events.missed(1004) is None
    assert not events.restarted(1004)
    assert numbers(taken(joined(events, "records", resume=1004))) == [1005, 1006, 1007, 1008, 1009]
    assert taken(joined(events, "records", resume=1009)) == []
    assert taken(joined(events, "records")) == []


def test_what_was_forgotten_is_a_gap() -> None:
    events = Events(Fixed())
    for _ in range(bounds.RECENT_EVENTS + 5):
        events.publish("record", {})
    assert events.missed(1001) == (1002, 1004)
    assert events.missed(1004) is None
    found = numbers(taken(joined(events, "records", resume=1001)))
    assert (found[0], len(found)) == (1005, bounds.RECENT_EVENTS)


def test_memory_of_recent_events_is_bounded_in_bytes() -> None:
    events = Events(Fixed())
    for _ in range(20):
        events.publish("record", {"text": "x" * 900_000})
    kept = bounds.RECENT_BYTES // 900_100
    assert events.missed(1000) == (1001, 1000 + 20 - kept - 1)


def test_a_number_of_an_earlier_life_is_known_as_such() -> None:
    events = Events(Fixed())
    events.publish("record", {})
    assert events.restarted(17)
    assert events.missed(17) == (18, 999)
    assert events.restarted(5000)
    assert not events.restarted(999)
    assert not events.restarted(None)
    assert numbers(taken(joined(events, "records", resume=17))) == [1000]


def test_a_slow_console_misses_records_and_is_told_and_misses_no_approval() -> None:
    events = Events(Fixed())
    slow = joined(events, "records", "approvals")
    for _ in range(bounds.QUEUE_EVENTS):
        events.publish("record", {})
    for _ in range(3):
        events.publish("record", {"lost": True})
    events.publish("approval.pending", {"id": "a1"})
    events.publish("record", {"lost": True})
    found = taken(slow)
    assert numbers(found)[: bounds.QUEUE_EVENTS] == list(range(1000, 1000 + bounds.QUEUE_EVENTS))
    first = 1000 + bounds.QUEUE_EVENTS
    assert [(event.event, dict(event.data)) for event in found[bounds.QUEUE_EVENTS :]] == [
        ("gap", {"from": first, "to": first + 2}),
        ("approval.pending", {"id": "a1"}),
        ("gap", {"from": first + 4, "to": first + 4}),
    ]
    assert not slow.overrun
    events.publish("record", {"n": 1})
    assert [event.event for event in taken(slow)] == ["record"]


def test_a_console_that_even_approvals_overrun_is_given_up() -> None:
    events = Events(Fixed())
    woken = []
    stuck = Subscriber(lambda: woken.append(1))
    events.join(stuck, ["approvals"], None)
    for _ in range(bounds.APPROVALS_FACTOR * bounds.QUEUE_EVENTS):
        events.publish("approval.pending", {})
    assert not stuck.overrun
    before = len(woken)
    events.publish("approval.pending", {})
    assert stuck.overrun
    assert len(woken) == before + 1
    assert stuck.take() == b""


def test_what_cannot_be_encoded_is_a_gap_and_not_a_crash() -> None:
    events = Events(Fixed())
    subscriber = joined(events, "records")
    events.publish("record", {"text": "\ud800"})
    events.publish("record", {"text": "x" * 2**20})
    assert [(event.event, dict(event.data)) for event in taken(subscriber)] == [
        ("gap", {"from": 1000, "to": 1000}),
        ("gap", {"from": 1001, "to": 1001}),
    ]


def test_what_was_never_told_has_numbers_and_is_a_gap_for_whoever_was_there() -> None:
    events = Events(Fixed())
    there, back = joined(events, "records"), joined(events, "records", resume=999)
    events.publish("record", {"n": 1})
    events.skip(3, unwatched=True)  # while nobody looked: who comes back missed it, who is new did not
    events.publish("record", {"n": 2})
    assert numbers(taken(there)) == [1000, 1004]
    assert [(each.event, each.number) for each in taken(back)] == [("record", 1000), ("gap", 1003), ("record", 1004)]
    events.skip(2, unwatched=False)  # too many at once: everybody missed it
    (gap,) = taken(there)
    assert (gap.event, gap.data) == ("gap", {"from": 1005, "to": 1006})
    later = joined(events, "records", resume=1004)
    assert [each.number for each in taken(later)] == [1006]


def test_whether_anybody_looks_at_records_is_told_once_each_time() -> None:
    events, told = Events(Fixed()), []
    events.on_records = told.append
    others = joined(events, "approvals", "sessions")
    one, two = joined(events, "records"), joined(events, "records", "approvals")
    events.leave(one)
    events.leave(others)
    assert told == [True]
    events.leave(two)
    assert told == [True, False]
    events.join(two, ["records"], None)
    assert told == [True, False, True]


def test_whether_anybody_heard_of_records_is_remembered() -> None:
    """Whoever did may come back and ask for what it missed; before that nobody can miss anything."""
    events = Events(Fixed())
    joined(events, "sessions")
    assert not events.heard()
    there = joined(events, "records")
    events.leave(there)
    assert events.heard()
