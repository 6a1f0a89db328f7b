"""Facts of a statement that would put a masked value over the original: they get an act of their own. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gateway.masking.pseudonyms import Pseudonyms
from gateway.masking.written import Written
from gateway.model import Parameter
from gateway.policy.statement import Act, Facts, StatementFacts

ACT = "masked-value"


def returned(facts: Facts, parameters: Sequence[Parameter], pseudonyms: Pseudonyms | None) -> Facts:
    """Return the facts, with an act for each marked column that would receive a value as this gateway shows it.

    Parameters are those that are bound; pseudonyms the connection's, without which none is recognised.
    """
    if not any(statement.writes for statement in facts.statements):
        return facts
    return replace(facts, statements=tuple(_one(each, parameters, pseudonyms) for each in facts.statements))


def _one(statement: StatementFacts, parameters: Sequence[Parameter], pseudonyms: Pseudonyms | None) -> StatementFacts:
    def value(written: Written) -> bytes:
        if not written.number:
            return written.text
        bound = parameters[written.number - 1].value if written.number <= len(parameters) else None
        return bound or b""

    columns = {each.receiver.column for each in statement.writes if each.receiver.shows(value(each), pseudonyms)}
    if not columns:
        return statement
    return replace(statement, acts=(*statement.acts, *(Act(ACT, column) for column in sorted(columns))))
