"""Policy for one connection: its rules, its catalog, and a cache of verdicts (Trio only for what must wait).

Promises that a verdict belongs to the newest catalog this process knows of, that nothing is judged while the catalog is
being read again, and that nothing which may reach marked columns is let through while the catalog cannot be trusted.
A statement that is too large to be parsed here goes to a disposable process, once for each epoch of the catalog.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import TypeAlias

import trio
from blake3 import blake3

from gateway.errors import TargetFault
from gateway.masking import second
from gateway.masking.plan import plan
from gateway.masking.pseudonyms import Pseudonyms
from gateway.masking.written import CopyScan, Receiver
from gateway.model import Clock, Closed, Deallocated, NameEffect, Principal, Statement, Verdict, VerdictKind
from gateway.parsing import understand
from gateway.pgwire.actions import Analyse
from gateway.pgwire.judgement import Guard, Judgement, Names, Scan
from gateway.policy import statement as policy
from gateway.policy.catalog import Catalog
from gateway.policy.decide import Context, decide, limits
from gateway.policy.effects import effect_plan
from gateway.policy.facts import facts
from gateway.policy.literals import ALL, NONE
from gateway.policy.returned import returned
from gateway.policy.rules import RuleSet
from gateway.policy.shapes import shape_of, stands_for_all
from gateway.policy.weighing import begins_itself
from gateway.worker.closing import UNREAD, Closing, closed
from gateway.worker.definitions import behind
from gateway.worker.metering import Metering
from gateway.worker.weighing import Estimates, must_weigh, weigh

CACHED = 4096
"""Verdicts kept for each connection."""
CACHED_TEXT = 16 << 10
"""Longest statement, in bytes, that is a key itself; a longer one is known by its digest."""
CACHED_LARGE = 32 << 20
"""Bytes of longer statements whose verdicts are kept: with each, its text and facts stay in memory."""

ReadCatalog = Callable[[], Awaitable[Catalog]]
_Key: TypeAlias = tuple[bytes, bool, bool, bool, tuple[int, ...]]
"""What a verdict depends on beside rules and catalog: the text or its digest; whether the transaction has failed; with
rules of the connection also whether definitions were changed in it, and which of them are about this subject at this
time; where nothing is written, whether a transaction is open."""


class Judge:
    """Judges statements of one connection. `read_catalog` reads the target's catalog, marks bound to it.

    `closing` says what is refused at this moment whatever the rules say; `estimates` asks the target's planner. Without
    it writes are judged by their text alone.
    """

    def __init__(
        self,
        rules: RuleSet,
        read_catalog: ReadCatalog,
        clock: Clock,
        closing: Callable[[], Closing | None] = lambda: None,
        pseudonyms: Pseudonyms | None = None,
        estimates: Estimates | None = None,
    ) -> None:
        self.rules = rules
        self._estimates = estimates
        self._metering = Metering(clock)
        self._pseudonyms = pseudonyms
        self._read_catalog, self._clock, self._closing = read_catalog, clock, closing
        self._catalog: Catalog | None = None
        self._epoch = 0
        self._wanted = 1
        self._reading = trio.Lock()
        self._cache: OrderedDict[_Key, Judgement] = OrderedDict()
        if rules.has_marks:
            second.prepare()
        self._large: OrderedDict[_Key, tuple[Judgement, int]] = OrderedDict()
        self._large_size = 0

    @property
    def catalog(self) -> Catalog | None:
        """The newest catalog, None before the first."""
        return self._catalog

    @property
    def fresh(self) -> bool:
        """Whether the catalog is as new as anything this process knows of."""
        return self._epoch >= self._wanted

    def expire(self) -> None:
        """The target's catalog may have changed: read it again before the next verdict."""
        self._wanted += 1
        self._forget()

    async def refresh(self) -> Catalog:
        """Read the catalog again where it must be. Raises `TargetFault`."""
        async with self._reading:
            while not self.fresh or self._catalog is None:
                wanted = self._wanted
                self._catalog = await self._read_catalog()
                self._epoch = wanted
                self._forget()
            return self._catalog

    def known(self, statement: Statement, names: Names) -> Judgement | None:
        """Return the verdict of a text that was judged before and depends on nothing else; None: `judge` may know."""
        catalog, sql = self._catalog, statement.sql
        if self.rules.own or catalog is None or self._epoch < self._wanted or len(sql) > CACHED_TEXT:
            return None
        if self.rules.has_marks and (names.redefined or names.epochs - {catalog.epoch}):
            return None
        status = names.status
        key = (sql, status == "E", False, status != "I" and self.rules.read_only, ())
        known = self._cache.get(key)
        if known is None or self._closing() is not None:
            return None
        self._cache.move_to_end(key)
        return known

    def judge(self, action: Analyse, principal: Principal) -> Judgement | None:
        """Judge at once; None where something must be waited for first."""
        if not self.fresh or self._catalog is None:
            return None
        own = self._context(action, principal) if self.rules.own else None
        key = self._key(action, own)
        known = self._known(key, action)
        if known is not None:
            return known
        shape = shape_of(action.statement.sql)
        alike = key if shape is None else (shape, *key[1:])
        known = None if shape is None else self._known(alike, action)
        if known is not None:
            return known
        context = own or self._context(action, principal)
        found = facts(action.statement.sql, _state(action), self._catalog)
        if found.wants or self._must_ask(found, context):
            return None
        judgement = self._judgement(found, action, context)
        shared = shape is not None and _depends_on_no_literal(judgement) and stands_for_all(action.statement.sql)
        return self._keep(alike if shared else key, judgement, action)

    async def analyse(self, action: Analyse, principal: Principal) -> Judgement:
        """Judge after what had to be waited for. Raises `TargetFault` where no catalog was ever read."""
        context = self._context(action, principal)
        try:
            catalog = await self.refresh()
        except TargetFault:
            if self._catalog is None:
                raise
            found = await understand(action.statement.sql, _state(action), self._catalog)
            return self._judgement(found, action, context, UNREAD)
        key = self._key(action, context)
        known = self._known(key, action)
        if known is not None:
            return known
        found = await understand(action.statement.sql, _state(action), catalog)
        if self._must_ask(found, context):
            return await self._asked(found, action, context, principal)
        judgement = self._judgement(found, action, context)
        return self._keep(key, judgement, action) if self._catalog is catalog and self.fresh else judgement

    def _must_ask(self, found: policy.Facts, context: Context) -> bool:
        """Whether the verdict stands on what the planner expects, or on what the subject has had."""
        weighs = self._estimates is not None and must_weigh(found, self._verdict_of(context))
        return weighs or bool(limits(found, self.rules, context))

    async def _asked(self, found: policy.Facts, action: Analyse, context: Context, principal: Principal) -> Judgement:
        """Judge by what the planner expects and what the subject has had. Of this moment, and so kept nowhere."""
        guard = Guard()
        counting = limits(found, self.rules, context)
        if counting:
            metered = await self._metering.meter(found, action, principal, counting, self._estimates)
            context = replace(context, exceeded=metered.exceeded)
            writes = any(statement.relations_written for statement in found.statements)
            meter = metered.allowance.lifted() if self.rules.observes else metered.allowance
            guard = Guard(meter=meter, wraps=writes and not begins_itself(found), writes=writes)
        if self._estimates is not None and must_weigh(found, self._verdict_of(context)):
            weighed = await weigh(found, action, self._verdict_of(context), self._estimates)
            found = weighed.found
            if weighed.guard is not None:
                guard = replace(weighed.guard, meter=guard.meter, writes=guard.writes)
        return self._judgement(found, action, context, guard=guard if guard.changes or guard.meter else None)

    def _verdict_of(self, context: Context) -> Callable[[policy.Facts], Verdict]:
        return lambda found: decide(found, self.rules, context)

    def _key(self, action: Analyse, context: Context | None) -> _Key:
        """Return what the verdict depends on; without a context where the connection has no rule of its own."""
        sql, names = action.statement.sql, action.names
        text = sql if len(sql) <= CACHED_TEXT else blake3(sql).digest()
        redefined = names.redefined and bool(self.rules.own)
        calls = self.rules.read_only and names.status != "I"  # CALL may run there only
        concerned = () if context is None else self.rules.concerned(context)
        return text, names.status == "E", redefined, calls, concerned

    def _known(self, key: _Key, action: Analyse) -> Judgement | None:
        """Return the verdict of an equal statement in this epoch, if it is kept and may be given."""
        if self._catalog is None or not self._certain(action, self._catalog) or self._closing() is not None:
            return None
        if len(action.statement.sql) > CACHED_TEXT:
            if key not in self._large:
                return None
            self._large.move_to_end(key)
            return self._large[key][0]
        known = self._cache.get(key)
        if known is not None:
            self._cache.move_to_end(key)
        return known

    def _keep(self, key: _Key, judgement: Judgement, action: Analyse) -> Judgement:
        """Keep a verdict that depends on nothing but its key."""
        catalog, size = self._catalog, len(action.statement.sql)
        certain = catalog is not None and self._certain(action, catalog) and self._closing() is None
        if not certain or judgement.depends_on_state or judgement.depends_on_values or judgement.alarm:
            return judgement
        if size <= CACHED_TEXT:
            self._cache[key] = judgement
            if len(self._cache) > CACHED:
                self._cache.popitem(last=False)
            return judgement
        if key not in self._large:
            self._large[key] = (judgement, size)
            self._large_size += size
        while self._large_size > CACHED_LARGE:
            self._large_size -= self._large.popitem(last=False)[1][1]
        return judgement

    def _forget(self) -> None:
        if self._estimates is not None:
            self._estimates.forget()
        self._cache.clear()
        self._large.clear()
        self._large_size = 0

    def _context(self, action: Analyse, principal: Principal) -> Context:
        """Who asks, now: rules may be about the subject, its groups, and the time of day."""
        return Context(
            principal.subject,
            principal.groups,
            self._clock.now(),
            redefined=action.names.redefined,
            in_transaction=action.names.status != "I",
        )

    def _certain(self, action: Analyse, catalog: Catalog) -> bool:
        """Whether the catalog shows what the session's names stand for, or nothing is marked that could come out."""
        names = action.names
        return not self.rules.has_marks or not (names.redefined or names.epochs - {catalog.epoch})

    def _judgement(
        self,
        found: policy.Facts,
        action: Analyse,
        context: Context,
        closing: Closing | None = None,
        guard: Guard | None = None,
    ) -> Judgement:
        catalog = found.catalog
        if catalog is not None and not self._certain(action, catalog):
            found = replace(found, statements=tuple(_undecided(each, action.names) for each in found.statements))
        found = returned(found, action.statement.parameters, self._pseudonyms)
        verdict = closed(closing or self._closing(), found) or decide(found, self.rules, context)
        if verdict.kind is VerdictKind.APPROVE and found.sets_off:
            verdict = replace(verdict, reason=f"{verdict.reason} It sets off: {'; '.join(found.sets_off)}.")
        if verdict.effect and guard is not None and guard.meter is not None:
            why_not = "a limit counts what it changes"
            reason = f"{verdict.reason.rstrip('.')}. It is held before it runs, not after: {why_not}."
            verdict = replace(verdict, effect=False, reason=reason)
        if verdict.effect:
            guard = replace(guard or Guard(), effect=effect_plan(found))
        denied = verdict.kind is VerdictKind.DENY
        masks = self.rules.has_marks or verdict.kind is VerdictKind.MASK
        return Judgement(
            verdict=verdict,
            policy_hash=self.rules.hash,
            touches_marks=found.touches_marks,
            marks_in_reach=found.marks_in_reach,
            predicate_touch=found.predicate_touch,
            relations=found.relations,
            definitions=behind(found) if verdict.kind is VerdictKind.APPROVE else (),
            planner=partial(plan, found, pseudonyms=self._pseudonyms) if masks and not denied else None,
            writes=any(each.relations_written for each in found.statements),
            copy_in=any(each.operation == "copy-in" for each in found.statements),
            copy_out=not denied and any(each.operation == "copy-out" for each in found.statements),
            copies=tuple(
                (place, each.copy_out)
                for place, each in enumerate(found.statements)
                if each.copy_out is not None and each.touches_marks
            ),
            copy_into=_copy_into(found, self._pseudonyms),
            carries=() if denied else tuple(carried for each in found.statements for carried in each.carries),
            depends_on_values=any(written.number for each in found.statements for written in each.writes),
            depends_on_state=found.depends_on_state,
            effects=() if denied else _effects(found),
            changes_catalog=found.ddl,
            guard=None if denied else guard,
            epoch=catalog.epoch if catalog is not None else 0,
            literals=found.literals,
            alarm=found.alarm,
        )


def _depends_on_no_literal(judgement: Judgement) -> bool:
    """Say whether it is that of a plain statement far from marks, with nothing to it that a literal could change."""
    plain = Judgement(
        judgement.verdict,
        judgement.policy_hash,
        relations=judgement.relations,
        planner=judgement.planner,
        epoch=judgement.epoch,
        literals=NONE,
    )
    return judgement.verdict.kind is VerdictKind.ALLOW and judgement == plain


def _state(action: Analyse) -> policy.SessionState:
    names = action.names
    return policy.SessionState(names.prepared, names.cursors, names.status)


def _undecided(found: policy.StatementFacts, names: Names) -> policy.StatementFacts:
    """What a statement reads may not be what the catalog shows: mask all of it, and let nobody copy it unasked."""
    reads = bool(found.relations_read) and names.redefined
    if not (reads or found.depends_on_state):
        return found
    acts = list(found.acts)
    if found.relations_written:
        acts.append(policy.Act("marked-write", "what a changed definition hides"))
    if found.operation == "copy-out" and found.copy_out is None:
        acts.append(policy.Act("copy-out-marked", "what a changed definition hides"))
    return replace(found, acts=tuple(acts), outputs=None, touches_marks=True, literals=ALL)


def _copy_into(found: policy.Facts, pseudonyms: Pseudonyms | None) -> tuple[tuple[int, Scan], ...]:
    def shows(receiver: Receiver, value: bytes) -> bool:
        return receiver.shows(value, pseudonyms)

    return tuple(
        (place, partial(CopyScan, each.copy_into, shows))
        for place, each in enumerate(found.statements)
        if each.copy_into is not None
    )


def _effects(found: policy.Facts) -> tuple[tuple[int, NameEffect], ...]:
    return tuple(
        (index, effect)
        for index, statement in enumerate(found.statements)
        for given in statement.effects
        for effect in _of_names(given)
    )


def _of_names(effect: policy.StateEffect) -> tuple[NameEffect, ...]:
    if isinstance(effect, policy.Discarded):
        return (Deallocated(None), Closed(None))
    return (effect,)
