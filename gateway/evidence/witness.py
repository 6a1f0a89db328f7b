"""A witness: takes a log's checkpoint if the log only grew since the last one, and signs that.

Promises C2SP `tlog-witness`, call `add-checkpoint`: a fork and a roll-back are refused, whoever signed them, and no
cosignature is given before what it covers is kept. Pure: the caller keeps the notes and has the clock.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gateway.errors import EvidenceFault
from gateway.evidence.cosignature import Cosigner, signature_line
from gateway.evidence.entry import Malformed
from gateway.evidence.note import Checkpoint, Verifier, parse_note, unbase64
from gateway.evidence.proof import grown
from gateway.evidence.tree import EMPTY

PROOF = 63
"""Hashes of a consistency proof, at most."""
SIZE = "text/x.tlog.size"
_OLD = re.compile(r"old (0|[1-9][0-9]{0,15})")


@dataclass(frozen=True, slots=True)
class Submission:
    """What a log sends: the size that the witness signed last, the proof from there, and the new checkpoint."""

    old: int
    proof: tuple[bytes, ...]
    note: bytes

    def encode(self) -> bytes:
        """Return the body of the request."""
        lines = [f"old {self.old}", *(b64encode(one).decode() for one in self.proof), ""]
        return "".join(f"{line}\n" for line in lines).encode() + self.note


def parse_submission(body: bytes) -> Submission:
    """Read the body of a request. Raises `Malformed`."""
    head, separator, note = body.partition(b"\n\n")
    try:
        first, *lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise Malformed("not a submission") from None
    old = _OLD.fullmatch(first)
    proof = tuple(map(unbase64, lines))
    if not separator or old is None or len(proof) > PROOF or any(len(one) != 32 for one in proof):
        raise Malformed("not a submission")
    return Submission(int(old[1]), proof, note)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer, by HTTP's status; `keep` is the note that must be on disk before it is given.

    `proves` is a signed note that contradicts what was signed before: worth keeping, whoever sent it.
    """

    status: int
    body: bytes = b""
    kind: str = "text/plain; charset=utf-8"
    keep: tuple[str, bytes] | None = None
    proves: bytes | None = None


class Witness:
    """One witness: its key, the logs that it knows, and the newest note of each that it signed."""

    def __init__(self, cosigner: Cosigner, logs: Iterable[Verifier], notes: Iterable[bytes]) -> None:
        """Take up `notes` where a former process left them. Raises `EvidenceFault` for one that this key never signed.

        A witness that believed others' notes could be made to forget what it signed.
        """
        self._cosigner = cosigner
        self._logs: dict[str, list[Verifier]] = {}
        for verifier in logs:
            self._logs.setdefault(verifier.name, []).append(verifier)
        self._latest: dict[str, Checkpoint] = {}
        for note in notes:
            checkpoint, signatures = parse_note(note)
            own = [blob for name, blob in signatures if name == cosigner.public.name]
            if all(cosigner.public.time(checkpoint, blob) is None for blob in own):
                raise EvidenceFault(
                    f"the state holds a note of {checkpoint.origin} that this witness's key never signed"
                )
            known = self._latest.get(checkpoint.origin)
            if known is None or known.size < checkpoint.size:
                self._latest[checkpoint.origin] = checkpoint

    @property
    def latest(self) -> Mapping[str, Checkpoint]:
        """Return what was signed last, by log."""
        return self._latest

    def add_checkpoint(self, body: bytes, seconds: int) -> Verdict:
        """Judge a request at `seconds` since 1970. The caller calls `kept` once `keep` is on disk."""
        try:
            submission = parse_submission(body)
            checkpoint, signatures = parse_note(submission.note)
        except Malformed as fault:
            return Verdict(400, f"{fault}\n".encode())
        verifiers = self._logs.get(checkpoint.origin)
        if verifiers is None:
            return Verdict(404, b"this witness does not know that log\n")
        signed = _signed(checkpoint, signatures, verifiers)
        if not signed:
            return Verdict(403, b"not signed by the log's key\n")
        if submission.old > checkpoint.size:
            return Verdict(400, b"the old size is above the checkpoint's\n")
        note = f"{checkpoint.text()}\n{signed}".encode()
        latest = self._latest.get(checkpoint.origin, Checkpoint(checkpoint.origin, 0, EMPTY))
        if submission.old != latest.size:
            return Verdict(409, f"{latest.size}\n".encode(), SIZE)
        if latest.size == checkpoint.size and latest.root != checkpoint.root:
            return Verdict(409, f"{latest.size}\n".encode(), SIZE, proves=note)
        if not _grew(latest, checkpoint, submission.proof):
            return Verdict(422, b"it did not grow out of what was signed before\n", proves=note)
        line = self._cosigner.cosign(checkpoint, seconds)
        return Verdict(200, line.encode(), keep=(checkpoint.origin, note + line.encode()))

    def kept(self, note: bytes) -> None:
        """Go on from `note`, which is on disk."""
        checkpoint, _ = parse_note(note)
        self._latest[checkpoint.origin] = checkpoint


def _signed(checkpoint: Checkpoint, signatures: Iterable[tuple[str, bytes]], verifiers: Iterable[Verifier]) -> str:
    """Return the signature lines of the log's own keys that hold; nothing else goes into what is kept."""
    lines = {
        signature_line(name, blob)
        for name, blob in signatures
        for verifier in verifiers
        if name == verifier.name and blob[:4] == verifier.key_id and verifier.holds(checkpoint.text(), blob[4:])
    }
    return "".join(sorted(lines))


def _grew(old: Checkpoint, new: Checkpoint, proof: tuple[bytes, ...]) -> bool:
    """Say whether `proof` shows that `new` only adds to `old`; anything grows out of nothing, with nothing to show."""
    if old.size == 0:
        return not proof and (new.size > 0 or new.root == EMPTY)
    return grown(old.size, old.root, new.size, new.root, proof)
