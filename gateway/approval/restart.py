"""What a former process of this gateway left behind for its people, read from its control log at start.

Promises every request that was asked and never decided, oldest first, so that the new process can refuse it and say
so: nobody who waited for it is there any more. And every approval whose end is not recorded, and whether a worker had
released what was approved, which may then have run. And every grant that was in force, so that its end is recorded, and
the last times that somebody broke the glass, so that they stay in sight. Reads the journal from its last segment on,
which names what there was at its end, without the text; never writes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.evidence.entry import Line, Malformed, parse_line, parse_loosely, parse_time
from gateway.evidence.frontier import follow, newest_frontier, place_of
from gateway.evidence.replay import lines
from gateway.evidence.segments import journal_name, journal_numbers
from gateway.evidence.storage import Storage
from gateway.model import (
    ApprovalId,
    BrokenGlass,
    HoldRequest,
    Json,
    Micros,
    OperationHash,
    Principal,
    SessionId,
    SessionInfo,
)


@dataclass(frozen=True, slots=True)
class LeftGrant:
    """A grant whose end nobody recorded."""

    approval: ApprovalId
    session: SessionInfo
    rule: str


@dataclass(frozen=True, slots=True)
class LeftApproved:
    """An approval whose end nobody recorded. `released`: what was approved went to its target, and may have run."""

    request: HoldRequest
    released: bool


@dataclass(frozen=True, slots=True)
class LeftOver:
    """What was pending, approved and granted, and when somebody broke the glass last; each the oldest first."""

    pending: tuple[HoldRequest, ...] = ()
    grants: tuple[LeftGrant, ...] = ()
    broken_glass: tuple[BrokenGlass, ...] = ()
    approved: tuple[LeftApproved, ...] = ()


def left_over(directory: Path, storage: Storage) -> LeftOver:
    """Read the control log in `directory` (`evidence/logs/control`)."""
    journal = directory / "journal"
    if not journal.is_dir():
        return LeftOver()
    archived = newest_frontier(storage, directory)
    kept = {} if archived is None else {place_of(one): dict(one) for one in archived.pending}
    payloads: dict[str, Mapping[str, Json]] = {}
    for number in journal_numbers(storage.names(journal)):
        if archived is not None and number <= archived.number:
            continue
        for _, raw in lines(storage, journal / journal_name(number)):
            if b'"kind":"decision"' in raw or b'"kind":"grant"' in raw:
                _follow(kept, payloads, raw)
    approved = [_request(one, {}) for (what, _), one in kept.items() if what == "approved"]
    released = _released(directory.parent, storage) if approved else set()
    return LeftOver(
        tuple(_request(one, payloads.get(name, {})) for (what, name), one in kept.items() if what == "decision"),
        tuple(
            LeftGrant(ApprovalId(name), _session(one), _word(one, "rule"))
            for (what, name), one in kept.items()
            if what == "grant"
        ),
        tuple(_broken(one) for (what, _), one in kept.items() if what == "break_glass"),
        tuple(LeftApproved(one, one.approval in released) for one in approved),
    )


def _released(logs: Path, storage: Storage) -> set[str]:
    """Return the approvals that a release of any log quotes, as far as their journal files are there."""
    found = set[str]()
    for place in storage.names(logs):
        journal = logs / place / "journal"
        if not journal.is_dir():
            continue
        for number in journal_numbers(storage.names(journal)):
            for _, raw in lines(storage, journal / journal_name(number)):
                if b'"kind":"release"' in raw:
                    with contextlib.suppress(Malformed):  # as in `_follow`
                        found.add(_word(parse_loosely(parse_line(raw).entry), "approval"))
    return found


def _follow(kept: dict[tuple[str, str], dict[str, Json]], payloads: dict[str, Mapping[str, Json]], raw: bytes) -> None:
    try:
        line = parse_line(raw)
        entry = parse_loosely(line.entry)
    except Malformed:
        return  # the journal's own replay judges broken lines; a request in one was never shown to anybody
    follow(kept, entry)
    if entry.get("decision") == "requested" and entry.get("part", 1) == 1:
        payloads[_word(entry, "approval")] = _payload(entry, line)


def _broken(entry: Mapping[str, Json]) -> BrokenGlass:
    return BrokenGlass(
        ApprovalId(_word(entry, "approval")),
        parse_time(_word(entry, "ts")),
        _word(entry, "approver"),
        _word(entry, "sub"),
        _word(entry, "conn"),
        _word(entry, "rule"),
    )


def _word(source: Mapping[str, Json], key: str) -> str:
    value = source.get(key)
    return value if isinstance(value, str) else ""


def _payload(entry: Mapping[str, Json], line: Line) -> Mapping[str, Json]:
    """The payload; empty where it was erased or continues in further lines."""
    return parse_loosely(line.payload) if line.payload and "part" not in entry else {}


def _time(entry: Mapping[str, Json], key: str) -> Micros:
    return parse_time(_word(entry, key)) if _word(entry, key) else Micros(0)


def _session(entry: Mapping[str, Json]) -> SessionInfo:
    return SessionInfo(
        id=SessionId(_word(entry, "sid")),
        principal=Principal(
            issuer=_word(entry, "iss"),
            subject=_word(entry, "sub"),
            token_id=_word(entry, "jti"),
            expires=_time(entry, "expires"),
            development=entry.get("dev") is True,
        ),
        connection=_word(entry, "conn"),
        target=_word(entry, "tgt"),
        client_address="",
        user="",
        application="",
        started=_time(entry, "requested"),
    )


def _request(entry: Mapping[str, Json], payload: Mapping[str, Json]) -> HoldRequest:
    def words(key: str) -> tuple[str, ...]:
        value = payload.get(key)
        return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()

    return HoldRequest(
        approval=ApprovalId(_word(entry, "approval")),
        session=_session(entry),
        operation_hash=OperationHash(_word(entry, "oh")),
        statement=_word(payload, "sql"),
        parameters=(),
        operation=_word(entry, "op"),
        rule=_word(entry, "rule"),
        reason=_word(payload, "reason"),
        reviewers=words("reviewers"),
        requested=_time(entry, "requested"),
        expires=_time(entry, "expires"),
        relations=words("relations"),
    )
