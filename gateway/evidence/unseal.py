"""Opening originals, on the auditor's side: from the evidence or a copy of it, with the auditor's age identity.

Promises that nothing is opened before the opening is written down, that every envelope is held against its record
before its content is believed, and that nothing is written where a gateway keeps its state. One file of JSON lines a
session comes out, readable by its owner alone. What does not open is told, never left out in silence.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import pyrage

from gateway.errors import ConfigurationFault, EvidenceFault
from gateway.evidence.entry import Malformed, parse_line, parse_loosely
from gateway.evidence.findings import Finding
from gateway.evidence.memory_database import memory_database
from gateway.evidence.originals import index, keyring_path, originals_numbers, originals_path
from gateway.evidence.originals_content import decode
from gateway.evidence.sealing import Ratchet, unseal, unwrap
from gateway.evidence.sources import log_lines
from gateway.evidence.values import wire
from gateway.model import Json

ACCESS = "access.jsonl"
_SKIP = 1 << 20
"""Steps that a key is moved on at once, at most: more is no session."""


@dataclass(frozen=True, slots=True)
class Identity:
    """An auditor's age identity; the secret is never shown."""

    secret: pyrage.x25519.Identity = field(repr=False)
    recipient: str


@dataclass(slots=True)
class Opened:
    """What an opening gave: envelopes and values by number, and what did not open."""

    envelopes: int = 0
    values: int = 0
    sessions: set[str] = field(default_factory=set)
    findings: list[Finding] = field(default_factory=list)


def read_identity(path: Path) -> Identity:
    """Read an age identity file (`AGE-SECRET-KEY-1…` on a line of its own). Raises `ConfigurationFault`."""
    try:
        content = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigurationFault(f"{path} cannot be read: {getattr(fault, 'strerror', None) or 'no text'}") from None
    keys = [line.strip() for line in content.splitlines() if re.match(r"\s*AGE-SECRET-KEY-1", line, re.IGNORECASE)]
    if len(keys) != 1:
        raise ConfigurationFault(f"{path} holds no age identity, or several: one line AGE-SECRET-KEY-1… is needed")
    try:
        secret = pyrage.x25519.Identity.from_str(keys[0].upper())
    except pyrage.IdentityError:
        raise ConfigurationFault(f"{path} holds no age identity: it may be cut") from None
    return Identity(secret, str(secret.to_public()))


def is_live(evidence: Path) -> bool:
    """Say whether a gateway is writing to this evidence."""
    for lock in evidence.glob("logs/*/lock"):
        with lock.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return True
    return False


def check_place(evidence: Path, out: Path) -> None:
    """Refuse to write originals where a gateway keeps its state, or over anything. Raises `ConfigurationFault`."""
    evidence, out = evidence.resolve(), out.resolve()
    if not any(evidence.glob("logs/*/journal")):
        raise ConfigurationFault(f"{evidence} holds no log; give the gateway's state_dir/evidence")
    state = evidence.parent if (evidence.parent / "keys").is_dir() else evidence
    if out == state or state in out.parents or out in evidence.parents:
        raise ConfigurationFault(f"{out} lies where the gateway keeps its state; originals must never be written there")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigurationFault(f"{out} is not empty; name a folder that is not there yet")


def make_place(out: Path) -> None:
    """Make the folder for what comes out, for its owner alone. Raises `ConfigurationFault`."""
    try:
        out.mkdir(mode=0o700, parents=True, exist_ok=True)
        out.chmod(0o700)
    except OSError as fault:
        raise ConfigurationFault(f"{out} cannot be made: {fault.strerror}") from None


def note_access(out: Path, told: dict[str, Json]) -> None:
    """Write down the opening of a copy, durably, before anything is opened. Raises `ConfigurationFault`."""
    try:
        with _create(out / ACCESS) as file:
            file.write(json.dumps(told, ensure_ascii=False, sort_keys=True) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as fault:
        raise ConfigurationFault(f"{out / ACCESS} cannot be written: {fault.strerror}") from None


def open_originals(evidence: Path, out: Path, identity: Identity, session: str | None = None) -> Opened:
    """Open every original of the evidence, or one session's, into `out`. Raises `EvidenceFault`."""
    found = Opened()
    logs = sorted(path for path in (evidence / "logs").glob("*") if path.is_dir())
    if not logs:
        raise EvidenceFault(f"{evidence} holds no log; give the gateway's state_dir/evidence")
    for directory in logs:
        if originals_numbers(directory):
            _Opening(directory, out, identity, session, found).run()
    return found


class _Opening:
    """One log's originals on their way out."""

    def __init__(self, directory: Path, out: Path, identity: Identity, session: str | None, found: Opened) -> None:
        self._directory, self._out, self._identity = directory, out, identity
        self._session, self._found = session, found
        self._ratchets: dict[str, Ratchet | None] = {}
        self._places: dict[str, tuple[Path, int, int]] = {}
        self._look(originals_numbers(directory))

    def _look(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            path = originals_path(self._directory, number)
            self._places.update({digest: (path, *place) for digest, place in index(path).items()})

    def run(self) -> None:
        for entry in self._entries():
            sid, seq, log = str(entry.get("sid")), entry.get("seq"), str(entry.get("log"))
            if not isinstance(seq, int) or (self._session is not None and sid != self._session):
                continue
            try:
                self._write(entry, self._open(entry, log, seq, sid))
            except Malformed as fault:
                self._found.findings.append(Finding("incomplete", log, seq, str(fault)))

    def _entries(self) -> Iterator[dict[str, Json]]:
        with memory_database({"memory_limit": "1GB", "temp_directory": ""}) as database:
            for raw in log_lines(database, self._directory):
                encoded = parse_line(raw).entry
                if b'"sc":"' in encoded:
                    entry = parse_loosely(encoded)
                    if isinstance(entry.get("sc"), str) and entry.get("part", 1) == 1:
                        yield entry

    def _open(self, entry: dict[str, Json], log: str, seq: int, sid: str) -> bytes:
        if entry["sc"] not in self._places:
            self._look(originals_numbers(self._directory)[-2:])  # a live log grows while it is read
        place = self._places.get(str(entry["sc"]))
        if place is None:
            raise Malformed("its sealed original was changed or is missing")
        path, offset, length = place
        with path.open("rb") as file:
            file.seek(offset)
            envelope = file.read(length)
        content, commitment = unseal(envelope, self._key(entry, sid), log, seq, sid)
        if commitment != entry.get("oc"):
            raise Malformed("its original is not the one that the record commits to")
        return content

    def _key(self, entry: dict[str, Json], sid: str) -> bytes:
        if sid not in self._ratchets:
            self._ratchets[sid] = self._first(sid)
        ratchet = self._ratchets[sid]
        if ratchet is None:
            raise Malformed(f"the wrapped key of session {sid} is gone: it was erased, or is missing")
        step = str(entry.get("kid")).rpartition("/")[2]
        if not step.isdecimal() or not 0 <= int(step) - ratchet.step < _SKIP:
            raise Malformed("it does not say which key it was sealed with")
        while ratchet.step < int(step):
            ratchet.take()
        return ratchet.take()

    def _first(self, sid: str) -> Ratchet | None:
        try:
            path = keyring_path(self._directory, sid)
        except ValueError:
            raise Malformed("it is of no session") from None
        return Ratchet(unwrap(path.read_bytes(), [self._identity.secret])) if path.is_file() else None

    def _write(self, entry: dict[str, Json], content: bytes) -> None:
        told, columns = decode(content)
        self._found.envelopes += 1
        sid = str(entry["sid"])
        self._found.sessions.add(sid)
        for name in ("log", "seq", "ts", "sid", "n", "sub", "conn", "oc", "sc"):
            told[name] = entry.get(name)
        if columns:
            told["columns"] = [
                {
                    "column": one.name,
                    "sources": list(one.sources),
                    "type": one.type_oid,
                    "format": one.format,
                    "values": [wire(value) for value in one.values],
                }
                for one in columns
            ]
            self._found.values += sum(value is not None for one in columns for value in one.values)
        with _append(self._out / f"{sid}.jsonl") as file:
            file.write(json.dumps(told, ensure_ascii=False, sort_keys=True) + "\n")


def _create(path: Path) -> TextIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w", encoding="utf-8")


def _append(path: Path) -> TextIO:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags, 0o600), "a", encoding="utf-8")


def summary(found: Opened) -> dict[str, Json]:
    """Return the result as programs read it."""
    sessions: Sequence[str] = sorted(found.sessions)
    return {
        "envelopes": found.envelopes,
        "values": found.values,
        "sessions": list(sessions),
        "findings": [{"grade": one.grade, "log": one.log, "seq": one.seq, "what": one.what} for one in found.findings],
    }
