"""Records of the process: its life, its configuration, and what a person should look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.evidence.values import name, text
from gateway.model import (
    Draft,
    Json,
    SessionInfo,
)


@dataclass(frozen=True, slots=True)
class PolicyInForce:
    """One connection's policy as the record of the configuration names it; `policy` is its hash."""

    connection: str
    policy: str
    rules: tuple[str, ...]
    marks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Torn:
    """What a crash left behind a broken line: the file in `torn/` that holds it, its length and BLAKE3."""

    file: str
    length: int
    blake3: str


def start(
    gateway: str, version: str, *, pid: int | None = None, torn: Sequence[Torn] = (), resumed: str | None = None
) -> Draft:
    """Return the first record of a process in its log; `torn` names what was left unfinished before it.

    `resumed`: the process is the same, and had to open its log anew, for this reason.
    """
    found: list[Json] = [{"file": one.file, "length": one.length, "blake3": one.blake3} for one in torn]
    fields: dict[str, Json] = {"gateway": name(gateway), "version": version, "pid": pid, "torn": found}
    return Draft("start", fields=fields if resumed is None else {**fields, "resumed": name(resumed)})


def shutdown(reason: str) -> Draft:
    """Return the last record of an orderly stop."""
    return Draft("shutdown", fields={"reason": name(reason)})


def config(
    policy_hash: str, text_in_force: str, *, connections: Sequence[PolicyInForce] = (), operators: Sequence[str] = ()
) -> Draft:
    """Return the configuration in force: its canonical text without secrets, its hash, and the rows of `policies`."""
    rows: list[Json] = [
        {
            "connection": text(one.connection),
            "policy": one.policy,
            "rules": [text(rule) for rule in one.rules],
            "marks": [text(mark) for mark in one.marks],
        }
        for one in connections
    ]
    payload: dict[str, Json] = {
        "text": text(text_in_force),
        "connections": rows,
        "operators": [text(operator) for operator in operators],
    }
    return Draft("config", fields={"policy": policy_hash}, payload=payload)


def struck(by: str, what: str, reason: str) -> Draft:
    """Return an order to let somebody in no more, or again: `what` names the entry of the kill list."""
    return Draft("kill", fields={"by": name(by), "what": name(what)}, payload={"reason": text(reason)})


def alarm(session: SessionInfo | None, n: int | None, alarm_name: str, detail: str) -> Draft:
    """Return something that a person should look at."""
    return Draft("alarm", session, n, {"alarm": name(alarm_name)}, {"detail": text(detail)})
