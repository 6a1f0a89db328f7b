"""What a former process of this gateway left pending, read from its control log at start.

Promises every request that was asked and never decided, oldest first, so that the new process can refuse it and say
so: nobody who waited for it is there any more. Reads the journal from its last segment on, which names what was
pending at its end, without the text; never writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gateway.evidence.entry import Line, Malformed, parse_line, parse_loosely, parse_time
from gateway.evidence.frontier import newest_frontier
from gateway.evidence.replay import lines
from gateway.evidence.segments import journal_name, journal_numbers
from gateway.evidence.storage import Storage
from gateway.model import ApprovalId, HoldRequest, Json, Micros, OperationHash, Principal, SessionId, SessionInfo


def left_pending(directory: Path, storage: Storage) -> tuple[HoldRequest, ...]:
    """Return the undecided requests of the control log in `directory` (`evidence/logs/control`)."""
    journal = directory / "journal"
    if not journal.is_dir():
        return ()
    archived = newest_frontier(storage, directory)
    found = {} if archived is None else {str(one.get("approval")): _request(one, {}) for one in archived.pending}
    for number in journal_numbers(storage.names(journal)):
        if archived is not None and number <= archived.number:
            continue
        for _, raw in lines(storage, journal / journal_name(number)):
            if b'"kind":"decision"' in raw:
                _follow(found, raw)
    return tuple(found.values())


def _follow(found: dict[str, HoldRequest], raw: bytes) -> None:
    try:
        line = parse_line(raw)
        entry = parse_loosely(line.entry)
    except Malformed:
        return  # the journal's own replay judges broken lines; a request in one was never shown to anybody
    approval = entry.get("approval")
    if entry.get("kind") != "decision" or not isinstance(approval, str):
        return
    if entry.get("decision") == "agreed":
        return  # others are still asked
    if entry.get("decision") != "requested":
        found.pop(approval, None)
    elif entry.get("part", 1) == 1:
        found[approval] = _request(entry, _payload(entry, line))


def _payload(entry: Mapping[str, Json], line: Line) -> Mapping[str, Json]:
    """The payload; empty where it was erased or continues in further lines."""
    return parse_loosely(line.payload) if line.payload and "part" not in entry else {}


def _request(entry: Mapping[str, Json], payload: Mapping[str, Json]) -> HoldRequest:
    def word(source: Mapping[str, Json], key: str) -> str:
        value = source.get(key)
        return value if isinstance(value, str) else ""

    def words(key: str) -> tuple[str, ...]:
        value = payload.get(key)
        return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()

    def time(key: str) -> Micros:
        return parse_time(word(entry, key)) if word(entry, key) else Micros(0)

    session = SessionInfo(
        id=SessionId(word(entry, "sid")),
        principal=Principal(
            issuer=word(entry, "iss"),
            subject=word(entry, "sub"),
            token_id=word(entry, "jti"),
            expires=time("expires"),
            development=entry.get("dev") is True,
        ),
        connection=word(entry, "conn"),
        target=word(entry, "tgt"),
        client_address="",
        user="",
        application="",
        started=time("requested"),
    )
    return HoldRequest(
        approval=ApprovalId(word(entry, "approval")),
        session=session,
        operation_hash=OperationHash(word(entry, "oh")),
        statement=word(payload, "sql"),
        parameters=(),
        operation=word(entry, "op"),
        rule=word(entry, "rule"),
        reason=word(payload, "reason"),
        reviewers=words("reviewers"),
        requested=time("requested"),
        expires=time("expires"),
        relations=words("relations"),
    )
