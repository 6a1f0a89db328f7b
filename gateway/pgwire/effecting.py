"""Operations that a person decides about after they ran: what they did is counted and sampled, and then they wait.

Promises that nothing of the answer leaves before the decision, that deferred constraints and triggers have had their
say by then, and that the agent's statement is exactly the bytes it sent: what is read is read by statements of the
gateway's own, each on record before it runs. Whatever cannot be read ends in a refusal, never in a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.errors import OurBug
from gateway.model import Outcome, RelationEffect, Sample, SampledRow, ShownEffect
from gateway.pgwire import own
from gateway.pgwire.actions import Before, Granted, Hold, OwnStatement, ReadBefore, Refused, Token
from gateway.pgwire.exchange import Exchange, Held
from gateway.pgwire.flight import Operation
from gateway.pgwire.steps import Steps, Wait
from gateway.policy.effects import EffectPlan
from gateway.policy.sampling import TEXT, SamplePlan, after_sql, before_sql, inserted_sql

RELATIONS: Final = 50
"""Relations that are told, those with the most rows first."""
_HIDDEN: Final = "***"
_OLDEST: Final = 130000
"""The first version whose transaction ids can be compared with those of rows."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What a transaction has changed at some moment; `relations` by oid; `settings` and the like by name."""

    relations: Mapping[bytes, tuple[str, int, int, int]]
    settings: Mapping[str, str]


class Effecting:
    """Shows and holds one session's operations that ran."""

    def __init__(self, exchange: Exchange, next_token: Callable[[], Token]) -> None:
        self._x, self._next_token = exchange, next_token

    def begin(self, plan: EffectPlan, operation: Operation) -> Generator[Wait, object, Counted | None]:
        """Note what the transaction has changed already, and keep back whatever comes from now on."""
        before = yield from self._count(plan, operation)
        if before is not None:
            self._x.keep_back()
        return before

    def decide(self, plan: EffectPlan, operation: Operation, before: Counted) -> Steps:
        """Find out what it did, and wait for a person; afterwards it is approved, refused, failed or stopped."""
        yield from self._ask(own.CONSTRAINTS, operation, label=own.CONSTRAINTS)
        if operation.failed or operation.stopped is not None:
            return
        after = yield from self._count(plan, operation)
        if after is None:
            return
        effect = yield from self._effect(plan, operation, before, after)
        if operation.stopped is None and not operation.failed:
            yield from self._hold(operation, effect)

    def noted(self, sql: bytes, operation: Operation) -> int:
        """Record a statement of the gateway's own that is about to run; returns its number."""
        n = self._x.next_n()
        self._x.actions.append(OwnStatement(n, operation.n, sql))
        return n

    def ended(self, n: int, outcome: Outcome, rows: int = 0) -> None:
        """Record how it ended."""
        collector = self._x.collector()
        collector.rows = rows
        self._x.answer(n, collector, outcome, touches_marks=False)

    def _hold(self, operation: Operation, effect: ShownEffect) -> Steps:
        x, names = self._x, operation.names
        if names is None:
            raise OurBug("an operation that was never announced is to be held")
        token = self._next_token()
        x.held = Held(token, operation.n, operation.judgement.touches_marks, ran=True)
        x.actions.append(Hold(token, operation.n, operation.statement, operation.judgement, names, effect))
        answer = yield Wait.ANSWER
        x.held = None
        if isinstance(answer, Granted):
            operation.approved = True
        elif isinstance(answer, Refused):
            operation.refused = answer
        else:
            raise OurBug("a hold was answered by something else")

    def _ask(
        self, sql: bytes, operation: Operation, values: Sequence[bytes] = (), label: bytes = b"ask"
    ) -> Generator[Wait, object, list[own.Row]]:
        n = self.noted(sql, operation)
        rows = yield from own.ask(self._x, sql, operation, values, label)
        bad = operation.failed or operation.stopped is not None
        self.ended(n, Outcome.ERROR if bad else Outcome.OK, len(rows))
        return [] if bad else rows

    def _count(self, plan: EffectPlan, operation: Operation) -> Generator[Wait, object, Counted | None]:
        oid = plan.sample.oid if plan.sample is not None else 0
        rows = yield from self._ask(_COUNTS.format(oid=oid).encode(), operation)
        if self._x.skip_until_sync or operation.failed or operation.stopped is not None:
            return None
        relations: dict[bytes, tuple[str, int, int, int]] = {}
        settings: dict[str, str] = {}
        for oid_text, name, value, *counts in rows:
            if oid_text is None:
                settings[_text(name)] = _text(value)
            else:
                inserted, updated, deleted = (int(each or 0) for each in counts)
                relations[oid_text] = (f"{_text(name)}.{_text(value)}", inserted, updated, deleted)
        return Counted(relations, settings)

    def _effect(
        self, plan: EffectPlan, operation: Operation, before: Counted, after: Counted
    ) -> Generator[Wait, object, ShownEffect]:
        relations, more = _changed(before, after)
        sample = yield from self._sample(plan, operation, before, after)
        return ShownEffect(
            rows=None if operation.portal is not None and not operation.withheld else operation.collector.rows,
            relations=relations if after.settings.get("track_counts") == "on" else None,
            more=more,
            sample=sample if isinstance(sample, Sample) else None,
            no_sample=sample if isinstance(sample, str) else "",
            lasting=plan.lasting,
        )

    def _sample(
        self, plan: EffectPlan, operation: Operation, before: Counted, after: Counted
    ) -> Generator[Wait, object, Sample | str]:
        sample = plan.sample
        if sample is None:
            return plan.no_sample
        if not self._x.limits.sampled:
            return "samples are turned off"
        if str(sample.oid).encode() in before.relations:
            return "the transaction had changed the table before"
        if sample.kind == "insert":
            found = yield from self._inserted(sample, operation, after)
        else:
            found = yield from self._rewritten(sample, operation, after)
        if isinstance(found, str):
            return found
        masked = tuple(not shown for shown in sample.shown)
        return Sample(sample.relation, sample.columns, masked, found)

    def _inserted(
        self, sample: SamplePlan, operation: Operation, after: Counted
    ) -> Generator[Wait, object, tuple[SampledRow, ...] | str]:
        settings = after.settings
        if settings.get("readable") != "true" or int(settings.get("server_version_num") or 0) < _OLDEST:
            return "the connection's role may not read the table, or the server is too old"
        sql = inserted_sql(sample, int(settings.get("pages") or 0), self._x.limits.sampled)
        rows = yield from self._ask(sql, operation)
        found = tuple(SampledRow(None, _shown(sample, row)) for row in rows)
        return found or "its rows are not among the newest pages of the table, or in a savepoint"

    def _rewritten(
        self, sample: SamplePlan, operation: Operation, after: Counted
    ) -> Generator[Wait, object, tuple[SampledRow, ...] | str]:
        """Read rows as others see them, then the same rows as this transaction does: only what differs was changed."""
        x = self._x
        bound = operation.statement.parameters
        if any(not 1 <= number <= len(bound) for number in sample.parameters):
            return "its parameters cannot be told apart"
        sql = before_sql(sample, x.limits.sampled)
        n = self.noted(sql, operation)
        settings = tuple((name, after.settings[name]) for name in _FORMATS if name in after.settings)
        parameters = tuple(bound[number - 1] for number in sample.parameters)
        x.actions.append(ReadBefore(self._next_token(), n, operation.n, sql, parameters, settings))
        answer = yield Wait.ANSWER
        if not isinstance(answer, Before):
            raise OurBug("a reading was answered by something else")
        self.ended(n, Outcome.ERROR if answer.rows is None else Outcome.OK, len(answer.rows or ()))
        if answer.rows is None:
            return "its rows could not be read in time, or not by the connection's role"
        count = len(sample.keys)
        earlier = [tuple(None if value is None else value.encode() for value in row) for row in answer.rows]
        keys = [value or b"" for row in earlier for value in row[:count]]
        rows = yield from self._ask(after_sql(sample, len(earlier)), operation, keys) if earlier else _none()
        now = {row[:count]: row for row in rows}
        found = []
        for row in earlier:
            later = now.get(row[:count])
            if later is None or later[count] != row[count]:
                found.append(SampledRow(_shown(sample, row), None if later is None else _shown(sample, later)))
        return tuple(found) or "none of the rows that match its condition was changed"


def _none() -> Generator[Wait, object, list[own.Row]]:
    yield from ()
    return []


def _changed(before: Counted, after: Counted) -> tuple[tuple[RelationEffect, ...], int]:
    """Return what changed between, those with the most rows first, and how many relations are left out."""
    found = []
    for oid, (name, *counts) in after.relations.items():
        inserted, updated, deleted = (
            now - was for now, was in zip(counts, before.relations.get(oid, ("", 0, 0, 0))[1:], strict=True)
        )
        if inserted or updated or deleted:
            found.append(RelationEffect(name, inserted, updated, deleted))
    found.sort(key=lambda each: (-(each.inserted + each.updated + each.deleted), each.relation))
    return tuple(found[:RELATIONS]), max(0, len(found) - RELATIONS)


def _shown(sample: SamplePlan, row: own.Row) -> tuple[str | None, ...]:
    """Return a row as a person sees it: what is masked was never read."""
    values = iter(row[len(sample.keys) + 1 :])
    return tuple(_cut(next(values)) if shown else _HIDDEN for shown in sample.shown)


def _cut(value: bytes | None) -> str | None:
    if value is None:
        return None
    text = value.decode("utf-8", "replace")
    return text if len(text) <= TEXT else f"{text[:TEXT]}…"


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode("utf-8", "replace")


_FORMATS = ("TimeZone", "DateStyle", "IntervalStyle", "extra_float_digits", "bytea_output")
_COUNTS = (
    "SELECT s.relid::pg_catalog.text, s.schemaname::pg_catalog.text, s.relname::pg_catalog.text,"  # noqa: S608  ours
    " s.n_tup_ins::pg_catalog.text, s.n_tup_upd::pg_catalog.text, s.n_tup_del::pg_catalog.text"
    " FROM pg_catalog.pg_stat_xact_user_tables s WHERE (s.n_tup_ins OPERATOR(pg_catalog.+) s.n_tup_upd"
    " OPERATOR(pg_catalog.+) s.n_tup_del) OPERATOR(pg_catalog.>) 0"
    " UNION ALL SELECT NULL, n, pg_catalog.current_setting(n), NULL, NULL, NULL FROM pg_catalog.unnest("
    f"'{{{{{','.join((*_FORMATS, 'track_counts', 'server_version_num'))}}}}}'::pg_catalog.text[]) n"
    " UNION ALL SELECT NULL, 'pages', (pg_catalog.pg_relation_size({oid}::pg_catalog.oid) OPERATOR(pg_catalog./)"
    " pg_catalog.current_setting('block_size')::pg_catalog.int8)::pg_catalog.text, NULL, NULL, NULL"
    " UNION ALL SELECT NULL, 'readable',"
    " pg_catalog.has_table_privilege({oid}::pg_catalog.oid, 'SELECT')::pg_catalog.text, NULL, NULL, NULL"
)
