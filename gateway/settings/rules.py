"""`[[connection.rule]]` and `[[connection.test]]`: what a connection's own rules say, and what they should come to.

Reads the values alone; which rule may relax which line is for `gateway.policy.own`.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from gateway import model
from gateway.settings.units import parse_hours, parse_moment, parse_name, parse_relation
from gateway.settings.values import MINUTE, Name, PositiveDuration, Reviewer, Size, Table, function, text, wrong

MOST_APPROVALS = 20
"""People that one operation may ask for, at most."""


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _hours(value: object) -> model.Hours:
    return value if isinstance(value, model.Hours) else parse_hours(text(value))


def _relation(value: object) -> model.RelationPattern:
    return value if isinstance(value, model.RelationPattern) else parse_relation(text(value))


def _functions(value: str) -> str:
    return f"{parse_name(value[:-2], 1, 'schema.function')[0]}.*" if value.endswith(".*") else function(value)


def _column(value: object) -> model.Mark:
    if isinstance(value, model.Mark):
        return value
    schema, relation, column = parse_name(text(value), 3, "schema.table.column")
    return model.Mark(schema, relation, column)


def _group(value: str) -> str:
    found = value.removeprefix("group:").removeprefix("/")
    if not found:
        raise ValueError("each is the name of a group")
    return found


def _subject(value: str) -> str:
    found = value.removeprefix("sub:")
    if not found:
        raise ValueError("each is the subject of a token")
    return found


def _approvals(value: object) -> int | str:
    if value == "each" or (type(value) is int and 1 <= value <= MOST_APPROVALS):
        return "each" if value == "each" else int(str(value))
    raise ValueError(f'a number from 1 to {MOST_APPROVALS}, or "each"')


def _moment(value: object) -> int:
    return value if type(value) is int else parse_moment(text(value))


HOUR = 60 * MINUTE

Words: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Group: TypeAlias = Annotated[str, AfterValidator(_group)]
Subject: TypeAlias = Annotated[str, AfterValidator(_subject)]


class RuleTable(Table):
    """`[[connection.rule]]`: a rule beside the preset's lines, or in place of one."""

    name: Name
    action: Literal["allow", "approve", "approve-effect", "approve-session", "deny"]
    operation: Words = ()
    relation: Annotated[
        tuple[Annotated[model.RelationPattern, BeforeValidator(_relation)], ...], BeforeValidator(_listed)
    ] = ()
    function: Annotated[tuple[Annotated[str, AfterValidator(_functions)], ...], BeforeValidator(_listed)] = ()
    column: Annotated[tuple[Annotated[model.Mark, BeforeValidator(_column)], ...], BeforeValidator(_listed)] = ()
    hours: Annotated[tuple[Annotated[model.Hours, BeforeValidator(_hours)], ...], BeforeValidator(_listed)] = ()
    subject: Annotated[tuple[Subject, ...], BeforeValidator(_listed)] = ()
    group: Annotated[tuple[Group, ...], BeforeValidator(_listed)] = ()
    rows_over: Annotated[int, Field(ge=0)] | None = None
    bytes_over: Size | None = None
    window: PositiveDuration | None = None
    reviewers: Annotated[tuple[Reviewer, ...], BeforeValidator(_listed)] = ()
    approvals: Annotated[int | str, BeforeValidator(_approvals)] = 1
    replaces: str | None = None
    accept_risk: str | None = None

    @model_validator(mode="after")
    def _is_built(self) -> RuleTable:
        if self.window is not None and self.rows_over is None and self.bytes_over is None:
            raise wrong("window", "stands beside rows_over or bytes_over")
        if self.action == "approve-effect" and (self.rows_over is not None or self.bytes_over is not None):
            raise wrong("action", "a limit is asked about before the statement runs; use approve")
        if self.approvals != 1 and not self.action.startswith("approve"):
            raise wrong("approvals", "only an action of approve asks for approvals")
        if self.approvals == "each" and not self.reviewers:
            raise wrong("approvals", '"each" needs reviewers: one approval for each of them')
        return self

    def rule(self, where: str) -> model.ConnectionRule:
        """Return the rule as policy knows it."""
        return model.ConnectionRule(
            name=self.name,
            action=model.VerdictKind(self.action.partition("-")[0]),
            operations=self.operation,
            relations=self.relation,
            functions=self.function,
            columns=self.column,
            hours=self.hours,
            subjects=self.subject,
            groups=self.group,
            reviewers=self.reviewers,
            approvals=0 if self.approvals == "each" else int(self.approvals),
            session=self.action == "approve-session",
            effect=self.action == "approve-effect",
            rows_over=self.rows_over,
            bytes_over=self.bytes_over,
            window=HOUR if self.window is None else self.window,
            replaces=self.replaces,
            accept_risk=self.accept_risk,
            where=where,
        )


class TestTable(Table):
    """`[[connection.test]]`: a statement, and the verdict that the rules should come to."""

    sql: str = Field(min_length=1)
    verdict: Literal["allow", "mask", "approve", "approve-effect", "deny"]
    rule: str | None = None
    subject: Subject = "agent"
    groups: tuple[Group, ...] = ()
    at: Annotated[int, BeforeValidator(_moment)] = parse_moment("mon 12:00")

    def test(self, where: str) -> model.ConnectionTest:
        """Return the test as policy knows it."""
        return model.ConnectionTest(
            sql=self.sql,
            verdict=model.VerdictKind(self.verdict.partition("-")[0]),
            effect=self.verdict == "approve-effect",
            rule=self.rule,
            subject=self.subject,
            groups=self.groups,
            at=model.Micros(self.at),
            where=where,
        )
