"""The startup parameters an agent may bring, and what the target's StartupMessage carries instead. Pure.

An allow-list: what is not on it is refused by name. Pins are parameters of the StartupMessage, so that RESET and
DISCARD return to them. Source: SEMANTICS.md, "Understanding".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.errors import LoginRefused
from gateway.model import Connection
from gateway.policy.parameters import is_utf8, join_search_path, milliseconds

ALLOWED = frozenset(
    {
        "application_name",
        "client_encoding",
        "datestyle",
        "intervalstyle",
        "timezone",
        "extra_float_digits",
        "statement_timeout",
        "lock_timeout",
    }
)
"""Parameters that go on to the target, by lower-case name; also within `options`."""

HOLD = "hoop.hold"
"""A parameter for the gateway itself, in `options` only: `wait` or `refuse`."""


@dataclass(frozen=True, slots=True)
class StartupPlan:
    """What an agent's startup parameters come to."""

    forwarded: Mapping[str, str] = field(default_factory=dict)
    """The agent's own parameters that go on to the target; no user and no database."""
    pins: Mapping[str, str] = field(default_factory=dict)
    """What the gateway pins; stands over `forwarded`."""
    hold: str | None = None
    """The session's own choice over the connection's `hold`."""
    declined: tuple[str, ...] = ()
    """Protocol options (`_pq_.…`) to be named in NegotiateProtocolVersion."""

    @property
    def parameters(self) -> dict[str, str]:
        """The target's startup parameters beside user and database."""
        return {**self.forwarded, **self.pins}


def check_startup(parameters: Mapping[str, str], connection: Connection) -> StartupPlan:
    """Judge an agent's startup parameters; raise LoginRefused (28000 for replication, 22023 for what is not listed)."""
    watching = observes_freely(connection)
    forwarded: dict[str, str] = {}
    declined = []
    hold = None
    for name, value in parameters.items():
        if name in {"user", "database"}:
            continue
        if name.lower() == "replication":
            raise LoginRefused("replication connections are not allowed", "28000", "startup parameter replication")
        if name.startswith("_pq_."):
            declined.append(name)
        elif name == "options":
            for option, setting in _options(value):
                if option == HOLD:
                    hold = _hold(setting)
                else:
                    _accept(forwarded, option, setting, watching=watching)
        else:
            _accept(forwarded, name, value, watching=watching)
    pins = _pins(connection, watching=watching)
    if connection.statement_timeout is not None:
        pins["statement_timeout"] = str(_within(forwarded, connection.statement_timeout))
    return StartupPlan(forwarded, pins, hold, tuple(declined))


def observes_freely(connection: Connection) -> bool:
    """Say whether nothing is refused, held or pinned on this connection: `observe`, and no marks."""
    return connection.policy == "observe" and not connection.marks


def _pins(connection: Connection, *, watching: bool) -> dict[str, str]:
    pins = {}
    if not watching:
        pins["client_encoding"] = "UTF8"
        pins["search_path"] = join_search_path(connection.search_path)
        pins["standard_conforming_strings"] = "on"
    if connection.access == "read-only":
        pins["default_transaction_read_only"] = "on"
    return pins


def _within(forwarded: dict[str, str], most: int) -> int:
    """Take what the agent asks for as its statement_timeout, if it is less than `most`; in milliseconds."""
    asked = [forwarded.pop(name) for name in list(forwarded) if name.lower() == "statement_timeout"]
    return min([most, *(found for found in map(milliseconds, asked) if found is not None)])


def _accept(forwarded: dict[str, str], name: str, value: str, *, watching: bool) -> None:
    folded = name.lower()
    if folded == "replication":
        raise LoginRefused("replication connections are not allowed", "28000", "startup option replication")
    if watching:
        forwarded[name] = value
        return
    if folded not in ALLOWED:
        raise _refused(name)
    if folded == "client_encoding":
        if not is_utf8(value):
            raise LoginRefused(
                "client_encoding must be UTF8 on this connection", "22023", "startup parameter client_encoding"
            )
        return
    forwarded[name] = value


def _refused(name: str) -> LoginRefused:
    shown = "".join(character if character.isprintable() else "?" for character in name[:64])
    return LoginRefused(
        f'startup parameter "{shown}" is not allowed on this connection', "22023", "startup parameter not listed"
    )


def _hold(value: str) -> str:
    if value not in {"wait", "refuse"}:
        raise LoginRefused(f"{HOLD} must be wait or refuse", "22023", f"startup option {HOLD}")
    return value


def _options(text: str) -> list[tuple[str, str]]:
    """Split `options` as PostgreSQL does (blanks separate, a backslash escapes) into `-c name=value` pairs."""
    words = _words(text)
    pairs = []
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if not word.startswith("-c"):
            raise _refused(f"options {word}")
        assignment = word[2:]
        if not assignment:
            if position == len(words):
                raise _refused("options -c")
            assignment = words[position]
            position += 1
        name, separator, value = assignment.partition("=")
        if not separator or not name:
            raise _refused(f"options {word}")
        pairs.append((name.replace("-", "_"), value))
    return pairs


def _words(text: str) -> list[str]:
    words: list[str] = []
    current: list[str] | None = None
    escaped = False
    for character in text:
        if escaped:
            current = [*(current or []), character]
            escaped = False
        elif character == "\\":
            escaped = True
        elif character in " \t\n\r\f\v":
            if current is not None:
                words.append("".join(current))
            current = None
        else:
            current = [*(current or []), character]
    if current is not None:
        words.append("".join(current))
    return words
