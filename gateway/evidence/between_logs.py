"""What one log says of another: each `release` quotes the decision that allowed it.

Promises a finding for each quote that is not the approval of exactly what was released. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from gateway.evidence.following import Following
from gateway.evidence.originals_check import Erasures
from gateway.model import Json

Decisions: TypeAlias = dict[tuple[str, int], tuple[str, dict[str, Json]]]
"""Decisions by log and sequence number: chain value and entry."""


def gathered(logs: Iterable[Following]) -> Decisions:
    """Return the decisions of all logs."""
    return {(log.name, seq): (chain, entry) for log in logs for seq, chain, entry in log.said.get("decision", ())}


def erased(logs: Iterable[Following]) -> Erasures:
    """Return what the erasures of all logs say, in the order of their times."""
    found = Erasures()
    for one in sorted(
        (one for log in logs for one in log.said.get("erasure", ())), key=lambda one: str(one.entry.get("ts"))
    ):
        found.take(one.entry)
    return found


def check_quotes(log: Following, decisions: Decisions, pruned: Mapping[str, int]) -> None:
    """Check that what was released is what was approved: the quoted entry itself, its approval and its hash.

    `pruned` says how many records each log has no more at its beginning: what is quoted there is gone with them.
    """
    for seq, _, entry in log.said.get("quote", ()):
        quote = entry["quote"] if isinstance(entry["quote"], dict) else {}
        number = quote.get("seq")
        place = (str(quote.get("log")), number if isinstance(number, int) else -1)
        chain, decision = decisions.get(place, ("", {}))
        if not decision and 0 <= place[1] < pruned.get(place[0], 0):
            log.find("note", seq, f"it quotes the decision {place[0]}:{place[1]}, which was pruned")
        elif not decision:
            log.find("incomplete", seq, f"it quotes the decision {place[0]}:{place[1]}, which is not there")
        elif (
            chain != quote.get("chain")
            or decision.get("decision") != "approved"
            or any(entry.get(name) != decision.get(name) for name in ("approval", "oh") if name in entry)
        ):
            log.find("tampered", seq, f"{place[0]}:{place[1]} is not the approval of what it released")
