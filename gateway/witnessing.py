"""Sends what the logs' keys sign to witnesses and sinks, beside the data path, and brings the cosignatures back.

Promises a task for each of them, so that none waits for another, a deadline on each attempt, and waits that grow while
one does not answer. A cosignature becomes a record of the control log, and a line of the checkpoint. Where a witness
says that a log did not grow out of what it saw before, that is an alarm, told until it agrees again. What an authority
stamps is kept beside the checkpoint and counts as seen by nobody. Stops no traffic.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import trio

from gateway.errors import EvidenceFault
from gateway.evidence.commit import Log
from gateway.evidence.cosignature import CosignerKey
from gateway.evidence.sinks import DirectorySink, FileSink
from gateway.evidence.storage import Storage
from gateway.evidence.witness_client import WitnessFault
from gateway.keepers import LOOK, Errand, Keeper, Records, Refused, SinkKeeper, Standing, WitnessKeeper
from gateway.model import Clock, Json, LogName, Micros, format_time
from gateway.stamping import StampKeeper, certificates_in

if TYPE_CHECKING:
    from gateway.settings import Settings

logger = logging.getLogger(__name__)

LONGEST = 60.0
"""Seconds between attempts while one does not answer, at most."""
ALONE = 300_000_000
"""Microseconds after which somebody should hear that nobody outside sees what is recorded."""


class Witnessing:
    """All witnesses and sinks of one gateway."""

    def __init__(
        self,
        keepers: Sequence[Keeper],
        logs: Sequence[Log],
        storage: Storage,
        clock: Clock,
        alarm: Callable[[str, str], None],
    ) -> None:
        self._keepers, self._logs, self._storage, self._clock, self._alarm = keepers, logs, storage, clock, alarm
        self._outside = frozenset(keeper.name for keeper in keepers if keeper.sees)
        self._standings = {(keeper.name, log.log): Standing() for keeper in keepers for log in logs}
        self._turns = {keeper.name: trio.Lock() for keeper in keepers}
        self._faults: dict[tuple[str, LogName], str] = {}
        self._refused: dict[tuple[str, LogName], str] = {}
        self._failing: dict[str, Micros] = {}
        """Since when each that fails has had nothing kept."""
        self._since = clock.now()
        self._told: set[str] = set()
        if keepers:
            for log in logs:
                log.journal.keep_leaves()

    async def run(self) -> None:
        """Send what is signed, until cancelled."""
        async with trio.open_nursery() as nursery:
            for keeper in self._keepers:
                nursery.start_soon(self._serve, keeper)

    async def last(self) -> None:
        """Sign what is durable and have it kept, before a stop; takes as long as the caller allows."""
        for log in self._logs:
            with contextlib.suppress(EvidenceFault):  # what is broken is told elsewhere
                await trio.to_thread.run_sync(log.journal.checkpoint)
        async with trio.open_nursery() as nursery:
            for keeper in self._keepers:
                for log in self._logs:
                    nursery.start_soon(self.bring, keeper, log)

    async def _serve(self, keeper: Keeper) -> None:
        wait = keeper.every
        while True:
            well = True
            for log in self._logs:
                well = await self.bring(keeper, log) and well
            self.tell_alone()
            known = any(self._standings[keeper.name, log.log].known for log in self._logs)  # before, nothing was signed
            wait = (keeper.every if known else LOOK) if well else min(2 * max(wait, LOOK), LONGEST)
            await trio.sleep(wait)

    async def bring(self, keeper: Keeper, log: Log) -> bool:
        """Have the log's newest checkpoint kept, if it is new there; say whether all is well."""
        async with self._turns[keeper.name]:
            return await self._bring(keeper, log)

    async def _bring(self, keeper: Keeper, log: Log) -> bool:
        standing, tree = self._standings[keeper.name, log.log], log.journal.signed
        place = (keeper.name, log.log)
        if tree is None or (standing.known and min(tree.size, log.journal.substance) <= standing.size):
            return place not in self._faults
        try:
            note = await trio.to_thread.run_sync(self._read, log, tree.size)
            await keeper.bring(Errand(log, tree, note, standing))
        except Refused as refusal:
            self._refuse(place, f"{keeper.name}: {log.log}: {refusal}")
            return False
        except (WitnessFault, OSError, EvidenceFault, trio.TooSlowError) as fault:
            words = "no answer in time" if isinstance(fault, trio.TooSlowError) else str(fault)
            if self._faults.get(place) != words:
                logger.warning("%s: %s: %s", keeper.name, log.log, words)
            self._faults[place] = words
            self._failing.setdefault(keeper.name, self._clock.now())
            return False
        standing.size, standing.tree, standing.known = tree.size, tree, True
        standing.at = self._clock.now()
        self._faults.pop(place, None)
        self._failing.pop(keeper.name, None)
        self._refused.pop(place, None)
        return True

    def _read(self, log: Log, size: int) -> bytes:
        return self._storage.read(log.journal.directory / "checkpoints" / f"{size}.note", 0, 1 << 16)

    def _refuse(self, place: tuple[str, LogName], words: str) -> None:
        if place not in self._refused:
            self._alarm("witness_refuses", words)
        self._refused[place] = self._faults[place] = words

    def tell_alone(self) -> None:
        """Raise an alarm, once, where nobody outside has seen anything for long, or no stamp could be had for long."""
        now, outside = self._clock.now(), self._outside
        seen = [each.at for (name, _), each in self._standings.items() if name in outside and each.at is not None]
        new = bool(outside) and any(self.unseen(log) for log in self._logs)
        self._tell("witness_silent", outside, new and now - max(seen, default=self._since) > ALONE)
        stamping = {name for name, since in self._failing.items() if name not in outside and now - since > ALONE}
        self._tell("timestamp_silent", stamping, bool(stamping))

    def _tell(self, alarm: str, names: Collection[str], silent: bool) -> None:
        """Raise `alarm` where those named are silent and nobody was told yet."""
        if silent and alarm not in self._told:
            faults = {f"{name}: {why}" for (name, _), why in self._faults.items() if name in names}
            self._alarm(alarm, "; ".join(sorted(faults)))
        (self._told.add if silent else self._told.discard)(alarm)

    # --- what others ask -----------------------------------------------------------------------------------------

    @property
    def fault(self) -> str | None:
        """Return what a witness refuses, where one does."""
        return next(iter(self._refused.values()), None)

    def seen(self, log: Log) -> Standing | None:
        """Return how far a log is known outside, by the one that knows most; None where nobody does yet."""
        known = [
            each
            for (keeper, name), each in self._standings.items()
            if name == log.log and each.known and keeper in self._outside
        ]
        return max(known, key=lambda each: each.size, default=None)

    def reached(self) -> dict[str, int] | None:
        """Return by log how many records were seen outside; None where nobody is configured to look."""
        if not self._outside:
            return None
        return {log.log: 0 if (seen := self.seen(log)) is None else seen.size for log in self._logs}

    def unseen(self, log: Log) -> int:
        """Return how many durable records nobody outside has seen, without the witnesses' own answers at the end."""
        seen = self.seen(log)
        return max(0, min(log.journal.durable + 1, log.journal.substance) - (0 if seen is None else seen.size))

    def head(self, log: Log) -> Json:
        """Return a log's last durable record for `status`, and how far it was seen outside; None: the log is empty."""
        if (head := log.head) is None:
            return None
        told: dict[str, Json] = {"seq": head.seq, "chain": head.chain}
        if self._outside:
            seen = self.seen(log)
            told["witnessed"] = None if seen is None else seen.size
            told["witnessed_at"] = None if seen is None or seen.at is None else format_time(seen.at)
            told["unwitnessed"] = self.unseen(log)
        return told

    def describe(self) -> list[dict[str, Json]]:
        """Return each witness and sink for `status`."""
        return [self._describe(keeper) for keeper in self._keepers]

    def _describe(self, keeper: Keeper) -> dict[str, Json]:
        mine = {log: each for (name, log), each in self._standings.items() if name == keeper.name}
        logs: dict[str, Json] = {
            log: {"size": each.size if each.known else None, "at": None if each.at is None else format_time(each.at)}
            for log, each in mine.items()
        }
        faults = [f"{log}: {why}" for (name, log), why in self._faults.items() if name == keeper.name]
        refuses = any(name == keeper.name for name, _ in self._refused)
        return {"name": keeper.name, "logs": logs, "fault": "; ".join(faults) or None, "refuses": refuses}


def together(described: Iterable[dict[str, Json]]) -> list[Json]:
    """Join what several processes know of the same witnesses and sinks, each of its own logs."""
    found: dict[Json, dict[str, Json]] = {}
    for each in described:
        known = found.setdefault(each["name"], {**each, "logs": {}, "fault": None, "refuses": False})
        logs, more = known["logs"], each["logs"]
        known["logs"] = {**logs, **more} if isinstance(logs, dict) and isinstance(more, dict) else logs
        known["fault"] = "; ".join(str(fault) for fault in (known["fault"], each["fault"]) if fault) or None
        known["refuses"] = known["refuses"] is True or each["refuses"] is True
    return list(found.values())


def keepers_of(settings: Settings, control: Records, storage: Storage) -> list[Keeper]:
    """Return the configured witnesses and sinks."""
    evidence = settings.evidence
    found: list[Keeper] = [
        WitnessKeeper(each.key.name, urlsplit(each.url), each.key, control, storage) for each in evidence.witness
    ]
    for sink in evidence.sink:
        made = FileSink(sink.file) if sink.file is not None else DirectorySink(sink.directory or Path())
        found.append(SinkKeeper(str(sink.file or sink.directory), made, sink.every / 1_000_000))
    if (stamps := evidence.timestamp) is not None:
        roots, every = certificates_in(stamps.certificate), stamps.every / 1_000_000
        found.append(StampKeeper(urlsplit(stamps.url), roots, control, storage, every))
    return found


def write_witness_keys(settings: Settings, storage: Storage) -> None:
    """Write beside the evidence what those need who check it: `witness.pub`, keys of the witnesses, and `tsa.pem`.

    That holds the certificates of the configured time-stamping authority.
    """
    keys: list[CosignerKey] = [each.key for each in settings.evidence.witness]
    if keys:
        storage.replace(settings.evidence_dir / "witness.pub", "".join(f"{key}\n" for key in keys).encode(), 0o444)
    if (stamps := settings.evidence.timestamp) is not None:
        storage.replace(settings.evidence_dir / "tsa.pem", storage.read(stamps.certificate, 0, 1 << 20), 0o444)
