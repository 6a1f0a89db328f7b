"""Who may not have a session any more, whatever their token says: a list that survives restarts.

Operators strike subjects and token ids; the issuer's back-channel logout strikes its own sessions, and subjects up to
a moment. It promises that an entry is on disk before `strike` returns, that it holds in memory even where the disk
fails, that a damaged list stops the start (nobody is let in on a guess), and that it stays bounded. Holds no token.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from gateway.errors import ConfigurationFault, GatewayError, LoginRefused
from gateway.identity.claims import refused
from gateway.identity.private_file import write_private
from gateway.model import Clock, Micros, Principal

Struck: TypeAlias = Literal["subject", "token", "issuer-session"]
MAX_ENTRIES = 10_000
_MAX_FILE_BYTES = 16 << 20


class KillListFault(GatewayError):
    """The list is full, or cannot be written; the words say whether the entry holds for now."""


class Revoked(LoginRefused):
    """An entry is met. `words` is what a live session is told: by whom, and why."""

    def __init__(self, kind: str, by: str, why: str) -> None:
        said = refused(f"the {kind} was revoked by {by}", tell=True)
        super().__init__(str(said), said.sqlstate, said.reason)
        self.kind, self.by, self.why = kind, by, why

    @property
    def words(self) -> str:
        """Return the words with which a session is cut, the same from whomever it hears of the entry first."""
        return f"hoop: the session was cut: revoked by {self.by}: {self.why}"


@dataclass(frozen=True, slots=True)
class Strike:
    """One entry. `subject`, `token` (its `jti`) or `issuer-session` (its `sid`) named `value` is refused."""

    kind: Struck
    value: str
    by: str
    reason: str
    at: Micros
    until: Micros | None = None
    """When the entry may be forgotten; None: only when it is removed."""
    issued_before: Micros | None = None
    """Only tokens issued before or at this time; None: all."""

    @property
    def refusal(self) -> Revoked:
        """Return what whoever meets it is told."""
        return Revoked(self.kind, self.by, self.reason)

    def meets(self, principal: Principal) -> bool:
        """Say whether `principal` is meant."""
        named = {"subject": principal.subject, "token": principal.token_id, "issuer-session": principal.issuer_session}
        if named[self.kind] != self.value:
            return False
        return self.issued_before is None or principal.issued is None or principal.issued <= self.issued_before


class KillList:
    """The list of one gateway. Make it with `load`."""

    def __init__(self, path: Path, clock: Clock, entries: Iterable[Strike] = ()) -> None:
        self._path, self._clock = path, clock
        self._entries = {(each.kind, each.value): each for each in entries}

    @classmethod
    def load(cls, path: Path, clock: Clock) -> KillList:
        """Read the list at `path`; none is an empty list. Raises `ConfigurationFault` for a damaged one."""
        try:
            with path.open("rb") as file:
                raw = file.read(_MAX_FILE_BYTES)
        except FileNotFoundError:
            return cls(path, clock)
        except OSError as error:
            raise ConfigurationFault(f"{path}: {error.strerror}") from None
        try:
            return cls(path, clock, [_entry(each) for each in json.loads(raw)["entries"]])
        except (ValueError, KeyError, TypeError):
            raise ConfigurationFault(
                f"{path}: the kill list is damaged; put back a good copy, or remove it if nobody is to be kept out"
            ) from None

    def struck(self, principal: Principal) -> Strike | None:
        """Return the entry that `principal` meets, None where there is none."""
        for entry in self._named(principal):
            if entry.meets(principal) and (entry.until is None or entry.until > self._clock.now()):
                return entry
        return None

    def entries(self) -> tuple[Strike, ...]:
        """Return what holds now, newest first."""
        now = self._clock.now()
        held = (each for each in self._entries.values() if each.until is None or each.until > now)
        return tuple(sorted(held, key=lambda each: (-each.at, each.kind, each.value)))

    def strike(self, entry: Strike) -> None:
        """Add `entry`, replacing one of the same name that says less. Raises `KillListFault`."""
        key = (entry.kind, entry.value)
        known = self._entries.get(key)
        if known is not None and known.until is None and known.issued_before is None and entry.until is not None:
            return  # an operator's word for ever is not shortened by a logout
        self._prune()
        if known is None and len(self._entries) >= MAX_ENTRIES:
            raise KillListFault(f"the kill list is full ({MAX_ENTRIES} entries): remove what is no longer needed")
        self._entries[key] = entry
        self._write("the entry holds until the gateway stops")

    def remove(self, kind: Struck, value: str) -> bool:
        """Take an entry away; False where there was none. Raises `KillListFault`."""
        if self._entries.pop((kind, value), None) is None:
            return False
        self._write("the entry is back when the gateway starts again")
        return True

    def _named(self, principal: Principal) -> Iterable[Strike]:
        keys: tuple[tuple[Struck, str], ...] = (
            ("subject", principal.subject),
            ("token", principal.token_id),
            ("issuer-session", principal.issuer_session or ""),
        )
        return (found for key in keys if (found := self._entries.get(key)) is not None)

    def _prune(self) -> None:
        now = self._clock.now()
        self._entries = {key: each for key, each in self._entries.items() if each.until is None or each.until > now}

    def _write(self, otherwise: str) -> None:
        content = json.dumps({"version": 1, "entries": [asdict(each) for each in self.entries()]}, indent=1)
        try:
            write_private(self._path, content.encode("ascii"))
        except OSError as error:
            raise KillListFault(f"the kill list cannot be written ({error.strerror}); {otherwise}") from None


def _entry(found: object) -> Strike:
    if not isinstance(found, dict) or found.get("kind") not in get_args(Struck):
        raise ValueError
    for name, kinds in (("value", str), ("by", str), ("reason", str), ("at", int)):
        if type(found[name]) is not kinds:
            raise ValueError(name)
    for name in ("until", "issued_before"):
        if found[name] is not None and type(found[name]) is not int:
            raise ValueError(name)
    return Strike(**found)
