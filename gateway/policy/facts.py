"""What a statement is: bytes, session state and catalog in, facts out. Pure and total: it never raises.

Whatever fails on the way (an unreadable text, a node it does not know, an exception) becomes `not_understood`, which
policy denies. Texts over `parse.INLINE_LIMIT` are parsed elsewhere (`gateway.parsing`) and given as `trees`.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.policy.catalog import Catalog
from gateway.policy.parse import INLINE_LIMIT, NotUnderstoodError, SyntaxFaultError, Tree, parse
from gateway.policy.statement import (
    Act,
    Closed,
    Deallocated,
    Declared,
    Discarded,
    Facts,
    Prepared,
    SessionState,
    StateEffect,
    StatementFacts,
    SyntaxFault,
    Transaction,
)

__all__ = [
    "Act",
    "Closed",
    "Deallocated",
    "Declared",
    "Discarded",
    "Facts",
    "Prepared",
    "SessionState",
    "StateEffect",
    "StatementFacts",
    "SyntaxFault",
    "Transaction",
    "facts",
]


def facts(statement: bytes, state: SessionState, catalog: Catalog, trees: Mapping[bytes, Tree] | None = None) -> Facts:
    """Return the facts of the string `statement`, sent in `state` and resolved in `catalog`.

    `trees` holds texts that were parsed elsewhere because they are too large to be parsed in this process.
    """
    try:
        tree = (trees or {}).get(statement)
        if tree is None and len(statement) > INLINE_LIMIT:
            return Facts(statement, not_understood="it is too large", wants=(statement,), catalog=catalog)
        tree = tree or parse(statement)
        found = tuple(
            StatementFacts(next(iter(raw.node)).removesuffix("Stmt").lower(), (Act("select"),), raw.start, raw.end)
            for raw in tree.statements
        )
        return Facts(statement, found, failed_transaction=state.status == "E", catalog=catalog)
    except SyntaxFaultError as error:
        return Facts(statement, syntax_error=error.fault, catalog=catalog)
    except NotUnderstoodError as error:
        return Facts(statement, not_understood=str(error), catalog=catalog)
    except Exception as error:  # noqa: BLE001  total: what fails is not understood, and so denied
        return Facts(statement, not_understood=f"{type(error).__name__} while reading it", catalog=catalog)
