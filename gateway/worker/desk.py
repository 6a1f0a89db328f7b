"""One connection at work: its rules, its judge, its marks as bound to the target's catalog, and the watch over that.

Promises that a connection is closed to agents while a mark of it matches no column, that statements which reach marked
columns are refused while nobody watches the catalog, and that both end by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

import trio

from gateway.errors import ConfigurationFault, OurBug, TargetFault
from gateway.masking.carried import Carried
from gateway.masking.marks import bind
from gateway.model import Clock, Connection, Json
from gateway.policy.catalog import Catalog
from gateway.policy.rules import RuleSet, compile_rules
from gateway.target.catalog import CatalogReader
from gateway.target.estimate import Estimator
from gateway.target.holdings import holdings
from gateway.target.own_session import OwnSession
from gateway.target.sampling import Sampler
from gateway.target.watch import EVERY, STALE, CatalogWatch
from gateway.worker.closing import UNMATCHED, UNWATCHED, Closing
from gateway.worker.impact import Inquirer
from gateway.worker.judging import Judge
from gateway.worker.keeping import Keeping

_STALE_SECONDS = 5.0
"""A new session reads an unwatched catalog again if the last reading is older."""


class Desk:
    """One connection. `keeping` has what masking keeps over restarts; `alarm` takes (name, detail).

    `marks_moved` is called after columns were marked because they receive values of marked ones.
    """

    def __init__(
        self,
        connection: Connection,
        clock: Clock,
        keeping: Keeping,
        alarm: Callable[[str, str], None],
        marks_moved: Callable[[], None] = lambda: None,
    ) -> None:
        self.connection = connection
        self.rules: RuleSet = compile_rules(connection)
        self._estimator = Estimator(connection)
        self._asking = OwnSession(connection)
        self.sampler = Sampler(connection)
        self.inquirer = Inquirer(self._estimator, lambda: self.judge.catalog, partial(holdings, self._asking))
        self.judge = Judge(
            self.rules, self._read, clock, self._closing, keeping.pseudonyms(connection.name), self._estimator
        )
        self.unmatched: tuple[str, ...] = ()
        self._alarm, self._marks_moved = alarm, marks_moved
        self._identity = ""
        self._reader = CatalogReader(connection)
        self.watch = CatalogWatch(connection, self._changed, self._told)
        self._kept = keeping.marks(connection)
        self._bound: Catalog | None = None
        self._awaited: tuple[Carried, ...] = ()
        self._loaded: Catalog | None = None
        self._read_at = float("-inf")

    async def ready(self) -> None:
        """Have a watched catalog that is not stale. Raises `TargetFault`, also where a mark matches no column."""
        await self.watch.begin()
        if not self.watch.up and trio.current_time() - self._read_at > _STALE_SECONDS:
            self.judge.expire()
        await self.judge.refresh()
        if self.unmatched:
            raise TargetFault(f"mask: {', '.join(self.unmatched)} matches no column; the connection is closed")

    def carry(self, carried: Iterable[Carried], who: str) -> None:
        """Mark columns that are about to receive values of marked ones: on disk, in force and told when this returns.

        What was promised to a statement that fails afterwards stays marked. Raises `TargetFault` where it cannot be
        kept, `EvidenceFault` where it cannot be told.
        """
        if self._bound is None:
            raise OurBug("a statement was judged before the catalog was read")
        new = self.adopt(carried)
        for each in new:
            self._alarm("marks-carried", moved(self.connection.name, each, who))
        if new:
            self._marks_moved()

    def adopt(self, carried: Iterable[Carried]) -> tuple[Carried, ...]:
        """As `carry`, and tell nobody: return what was new. Before the first reading, it is for that to know."""
        bound = self._bound
        if bound is None:
            self._awaited = (*self._awaited, *carried)
            return ()
        known = {each.place for each in bound.carried}
        new = tuple(each for each in carried if each.place not in known)
        if new:
            self._bound = replace(bound, carried=(*bound.carried, *new))
            self._kept.keep(self._bound, self._identity)
            self._loaded = None  # bind it again, though nothing else changed
            self.judge.expire()
        return new

    async def close(self) -> None:
        """Close the connection's own sessions with the target."""
        await self._reader.aclose()
        await self._estimator.aclose()
        await self._asking.aclose()
        await self.sampler.aclose()

    def describe(self) -> dict[str, Json]:
        """Return how the catalog is watched, as `status` shows it."""
        catalog = self.judge.catalog
        return {
            "connection": self.connection.name,
            "watched": self.watch.up,
            "why": self.watch.why_down or None,
            "epoch": catalog.epoch if catalog is not None else None,
            "window_ms": int(EVERY * 1000),
            "refused_after_ms": int(STALE * 1000),
            "marks_unmatched": list(self.unmatched),
        }

    def _closing(self) -> Closing | None:
        """Say what is refused now, beyond policy; an operator hears why, the agent that it is so."""
        if self.unmatched:
            return UNMATCHED
        return UNWATCHED if self.rules.has_marks and not self.watch.up else None

    async def _changed(self) -> None:
        """Somebody changed the catalog: have the new one before the next statement asks for it."""
        self.judge.expire()
        await self.judge.refresh()

    def _told(self, words: str) -> None:
        self._alarm("catalog-watch", f"connection {self.connection.name}: {words}")

    async def _read(self) -> Catalog:
        try:
            loaded = await self._reader.load()
            self._read_at = trio.current_time()
            self.watch.distrust()
            if loaded is self._loaded and self._bound is not None:
                return self._bound
            identity = await self._reader.identity()
        except ConfigurationFault as fault:  # the password that was there at the start is gone
            raise TargetFault(str(fault)) from fault
        before = self._bound if self._bound is not None else self._kept.load(identity)
        if self._awaited:
            before = before if before is not None else Catalog(epoch=0, search_path=())
            before = replace(before, carried=(*before.carried, *self._awaited))
        binding = bind(loaded, self.connection, before)
        if self.connection.marks or self.connection.rules:
            self._kept.keep(binding.catalog, identity)
        unmatched = tuple(str(mark) for mark in binding.unmatched)
        if unmatched and unmatched != self.unmatched:
            self._alarm("mark-unmatched", f"connection {self.connection.name}: {', '.join(unmatched)}")
        self.unmatched, self._identity = unmatched, identity
        self._loaded, self._bound, self._awaited = loaded, binding.catalog, ()
        return binding.catalog


def moved(connection: str, carried: Carried, who: str) -> str:
    """Say, for an alarm, which mark a column carries now."""
    sources = ", ".join(sorted(carried.sources)) or "what cannot be decided"
    return f"connection {connection}: {carried} carries {sources} from now on ({who})"
