"""Which requests ask for more than four digits: those whose approval is hard to take back.

Pure. It errs towards high: a false alarm costs the typing of one name, a missed one may cost a table.
"""

from __future__ import annotations

import re
from typing import Final

from hoop_tui.known import Approval

_DDL_OPERATION: Final = re.compile(r"\b(ddl|create|alter|drop|truncate|grant|revoke|comment|reindex|vacuum|refresh)\b")
_DDL_TEXT: Final = re.compile(r"\b(create|alter|drop|truncate|grant|revoke|reindex|security\s+label)\s", re.IGNORECASE)
_PRODUCTION: Final = re.compile(r"(?:^|[^a-z])(prod|prd|live)(?:uction)?(?:[^a-z]|$)", re.IGNORECASE)
_GRAVE: Final = re.compile(r"restrict|revers|undo|undone|many rows|all rows|every row|[\d,]{4,} rows", re.IGNORECASE)


def high_risk(approval: Approval) -> tuple[str, ...]:
    """Return why a request is of high risk; empty where it is not."""
    why: list[str] = []
    if _DDL_OPERATION.search(approval.operation.replace("-", " ").lower()) or _DDL_TEXT.search(approval.statement):
        why.append("it changes definitions (DDL)")
    if _PRODUCTION.search(approval.connection) or _PRODUCTION.search(approval.target):
        why.append("production")
    if any(_GRAVE.search(warning) for warning in approval.warnings):
        why.append("the gateway warns of its reach")
    if approval.hidden:
        why.append("hidden characters")
    return tuple(why)
