"""A judged statement is judged again wherever who asks, when, or the transaction may change what a rule says."""

from __future__ import annotations

from policy_sample import CATALOG, connection

from gateway.masking.marks import bind
from gateway.model import ConnectionRule, Micros, Principal, RelationPattern, Statement, VerdictKind, WireProtocol
from gateway.pgwire.actions import Analyse, Token
from gateway.pgwire.judgement import Names
from gateway.policy.catalog import Catalog
from gateway.policy.rules import compile_rules
from gateway.settings.units import parse_hours, parse_moment
from gateway.worker.judging import Judge


class SetClock:
    """A clock that stands where it is put."""

    def __init__(self) -> None:
        self.at = parse_moment("mon 12:00")

    def now(self) -> Micros:
        return self.at

    def monotonic(self) -> int:
        return 0


async def test_the_cache_knows_people_times_and_transactions() -> None:
    rules = (
        ConnectionRule("night", VerdictKind.DENY, operations=("select",), hours=(parse_hours("18:00-09:00"),)),
        ConnectionRule("bots", VerdictKind.DENY, operations=("select",), subjects=("bot",)),
        ConnectionRule("bi", VerdictKind.APPROVE, operations=("select",), groups=("bi",)),
        ConnectionRule("payments", VerdictKind.DENY, relations=(RelationPattern("public", "payments"),)),
    )
    asked = connection(marks=(), rules=rules)

    async def read() -> Catalog:
        return bind(CATALOG, asked).catalog

    clock = SetClock()
    judge = Judge(compile_rules(asked), read, clock)
    await judge.refresh()

    def rule(subject: str, *groups: str, at: str = "mon 12:00", redefined: bool = False) -> str:
        clock.at = parse_moment(at)
        names = Names({}, {}, "T", redefined)
        action = Analyse(Token(1), Statement(b"SELECT id FROM orders", WireProtocol.SIMPLE), names)
        found = judge.judge(action, Principal("issuer", subject, "jti", Micros(0), groups))
        assert found is not None
        return found.verdict.rule

    for _ in range(2):  # the second time from the cache
        assert rule("a") == "standard/select"
        assert rule("a", at="mon 17:59") == "standard/select"
        assert rule("a", at="mon 18:00") == "night"
        assert rule("a", at="tue 08:59") == "night"
        assert rule("a", at="tue 09:00") == "standard/select"
        assert rule("bot") == "bots"
        assert rule("a", "x", "bi") == "bi"
        assert rule("a", "x") == "standard/select"
        assert rule("a", redefined=True) == "payments"
