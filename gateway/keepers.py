"""Bringing one checkpoint to one witness or sink, as `gateway.witnessing` has it done beside the data path (Trio).

Promises a deadline on each attempt, and that what comes back is believed only where the witness's key signed it. A
cosignature becomes a record of the control log, and a line of the checkpoint. Tells "it could not be asked" from "what
it knows and what the log holds cannot both be true".
"""

from __future__ import annotations

import base64
import sys
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import SplitResult

import trio

from gateway.evidence import record
from gateway.evidence.commit import Log
from gateway.evidence.cosignature import CosignerKey, cosignatures, with_signature
from gateway.evidence.entry import Malformed
from gateway.evidence.growth import proof
from gateway.evidence.note import parse_note
from gateway.evidence.sinks import Contradiction, Sink
from gateway.evidence.storage import Storage
from gateway.evidence.tree import TreeState
from gateway.evidence.witness import Submission
from gateway.evidence.witness_client import Answer, WitnessFault, add_checkpoint
from gateway.model import Draft, Micros

LOOK = 1.0
"""Seconds between looks at whether a log was signed anew."""
DEADLINE = 10.0
PROOF_DEADLINE = 300.0
"""Seconds for one attempt, and for a proof that must be read from disk."""


class Refused(Exception):
    """What is kept elsewhere and what the log holds cannot both be true."""


@dataclass(slots=True)
class Standing:
    """One log at one witness or sink: up to which record it is known there, and since when."""

    size: int = 0
    tree: TreeState | None = None
    at: Micros | None = None
    known: bool = False
    """It was kept there in this process's time; `size` may be hearsay before."""


@dataclass(frozen=True, slots=True)
class Errand:
    """The newest checkpoint of a log, to be brought to where the log stands as `standing` says."""

    log: Log
    tree: TreeState
    note: bytes
    standing: Standing


class Records(Protocol):
    """Where a witness's word is recorded: the control log, or the way to it."""

    async def record(self, draft: Draft) -> object:
        """Return once it is on disk. Raises `EvidenceFault`."""


class Keeper(Protocol):
    """A witness or a sink at work."""

    @property
    def name(self) -> str:
        """Return what people know it by."""

    @property
    def every(self) -> float:
        """Return the seconds between two looks, at least."""

    @property
    def sees(self) -> bool:
        """Say whether what is brought is kept outside, so that it shows what became of the log."""

    async def bring(self, errand: Errand) -> None:
        """Have the checkpoint kept. Raises `WitnessFault`, `Refused`, OSError, `EvidenceFault`."""


@dataclass(frozen=True, slots=True)
class SinkKeeper:
    """A sink, written to in a thread that is left behind where it hangs; there is one at a time."""

    name: str
    sink: Sink
    every: float
    sees: bool = True
    _one: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(1))

    async def bring(self, errand: Errand) -> None:
        """See `Keeper`."""
        try:
            with trio.fail_after(DEADLINE):
                await trio.to_thread.run_sync(self.sink.take, errand.note, abandon_on_cancel=True, limiter=self._one)
        except Contradiction as fault:
            raise Refused(str(fault)) from None


@dataclass(frozen=True, slots=True)
class WitnessKeeper:
    """A witness behind HTTP."""

    name: str
    url: SplitResult
    key: CosignerKey
    control: Records
    storage: Storage
    every: float = LOOK
    sees: bool = True
    _noting: trio.Lock = field(default_factory=trio.Lock)

    async def bring(self, errand: Errand) -> None:
        """See `Keeper`. Asked from the wrong size, the witness says the right one, and is asked again once."""
        standing, answer = errand.standing, await self._submit(errand)
        if answer.status == 409:
            self._learn(answer, errand)
            answer = await self._submit(errand)
        match answer.status:
            case 200:
                await self._take(errand, answer.body)
            case 409 if _size(answer) != standing.size:
                raise WitnessFault("somebody else sends it this log's checkpoints too")
            case 409 | 422:
                words = f"it signed {standing.size} records that this log of {errand.tree.size} did not grow out of"
                raise Refused(words)
            case 404:
                raise WitnessFault("it does not know this log; give it the log's log.pub")
            case 403:
                raise WitnessFault("it knows this log under another key; give it the log's log.pub")
            case status:
                raise WitnessFault(f"it answered {status}")

    async def _submit(self, errand: Errand) -> Answer:
        hashes = await _proof(errand)
        submission = Submission(errand.standing.size, tuple(hashes), errand.note)
        with trio.fail_after(DEADLINE):
            return await add_checkpoint(self.url, submission.encode())

    def _learn(self, answer: Answer, errand: Errand) -> None:
        """Go on from the size that the witness names."""
        size, here = _size(answer), errand.tree.size
        if size > here:
            raise Refused(f"it signed {size} records of this log, which has {here}: some were cut off")
        if size != errand.standing.size:
            errand.standing.size, errand.standing.tree = size, None

    async def _take(self, errand: Errand, body: bytes) -> None:
        """Believe the cosignature that holds; record it, and put it beside the log's own signature."""
        checkpoint, _ = parse_note(errand.note)
        try:
            found = cosignatures(body, checkpoint, [self.key])
        except Malformed:
            found = []
        if not found:
            raise WitnessFault("its answer is not signed by the key in the configuration")
        blob = found[0][1]
        at = Micros((self.key.time(checkpoint, blob) or 0) * 1_000_000)
        told = record.witness(
            self.key.name,
            checkpoint.origin,
            checkpoint.size,
            checkpoint.root.hex(),
            at,
            base64.b64encode(blob).decode(),
        )
        await self.control.record(told)
        async with self._noting:
            await trio.to_thread.run_sync(self._note, errand.log, checkpoint.size, blob)

    def _note(self, log: Log, size: int, blob: bytes) -> None:
        path = log.journal.directory / "checkpoints" / f"{size}.note"
        self.storage.replace(path, with_signature(self.storage.read(path, 0, 1 << 16), self.key.name, blob))


def _size(answer: Answer) -> int:
    """Return the size that a 409 tells. Raises `WitnessFault`."""
    text = answer.body[:20].decode("ascii", "replace").strip()
    if not text.isdecimal():
        raise WitnessFault("it answered 409 without a size")
    return int(text)


async def _proof(errand: Errand) -> list[bytes]:
    """Return the proof that the log grew out of what is known elsewhere, from memory or, where that fails, the disk."""
    log, tree, standing = errand.log, errand.tree, errand.standing
    if standing.size in {0, tree.size}:
        return []
    leaves = log.journal.leaves
    if standing.tree is not None and leaves is not None:
        newest = leaves.between(standing.size, tree.size)
        if newest is not None:
            return await trio.to_thread.run_sync(proof, standing.tree, newest, tree.size)
    command = [sys.executable, "-P", "-m", "gateway.evidence.regrowth", str(log.journal.directory)]
    command += [str(standing.size), str(tree.size)]
    with trio.fail_after(PROOF_DEADLINE):
        done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    if done.returncode != 0:
        words = " ".join(done.stderr.decode(errors="replace").split())[-500:]
        raise WitnessFault(f"no proof can be made: {words}")
    return [base64.b64decode(line) for line in done.stdout.split()]
