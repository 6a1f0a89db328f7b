"""What is refused for a reason that is not policy: the catalog that policy judges by cannot be trusted just now.

Pure. Session control goes on, so that an agent can end its transaction in order.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.model import Verdict, VerdictKind
from gateway.policy.statement import Facts, StatementFacts

_SYSTEM = frozenset({"pg_catalog", "information_schema"})
_HINT = "It comes back by itself once that is put right; `hoop-gateway status` shows it to operators."


@dataclass(frozen=True, slots=True)
class Closing:
    """Why statements are refused, under which name; `marks_only`: those alone that may reach a marked column."""

    rule: str
    reason: str
    marks_only: bool


UNREAD = Closing("gateway/catalog-unread", "The target's catalog cannot be read", marks_only=False)
UNWATCHED = Closing("gateway/catalog-unwatched", "The catalog of the target is not watched", marks_only=True)
UNMATCHED = Closing("gateway/mark-unmatched", "A mark of this connection matches no column", marks_only=False)


def closed(closing: Closing | None, found: Facts) -> Verdict | None:
    """Return the refusal of a string; None where nothing is closed to it."""
    if closing is None or found.failed_transaction or found.syntax_error is not None:
        return None
    reaches = _may_reach_marks if closing.marks_only else _reaches
    if not any(reaches(statement, found) for statement in found.statements):
        return None
    return Verdict(
        VerdictKind.DENY, closing.rule, f"{closing.reason}.", found.operation, hint=_HINT, where="gateway"
    )  # fmt: skip


def _reaches(statement: StatementFacts, found: Facts) -> bool:  # noqa: ARG001  the shape of both
    """Anything beyond the session's own state."""
    names = (*statement.relations_read, *statement.relations_written)
    return bool(names) or statement.depends_on_state or statement.ddl or statement.touches_marks


def _may_reach_marks(statement: StatementFacts, found: Facts) -> bool:
    """A marked relation is in reach as far as the old catalog says, or by a definition that may be another by now."""
    if statement.touches_marks or statement.depends_on_state or statement.ddl:
        return True
    catalog = found.catalog
    for name in (*statement.relations_read, *statement.relations_written):
        known = catalog.find(name) if catalog is not None else ()
        if not known or any(each.kind not in {"r", "p", "S"} and each.schema not in _SYSTEM for each in known):
            return True
    return False
