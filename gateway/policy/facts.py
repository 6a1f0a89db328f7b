"""What a statement is: bytes, session state and catalog in, facts out. Pure and total: it never raises.

Whatever fails on the way (an unreadable text, a node it does not know, an exception) becomes `not_understood`, which
policy denies. Texts over `parse.INLINE_LIMIT` are parsed elsewhere (`gateway.parsing`) and given as `trees`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gateway.model import Closed, Deallocated, Declared, Prepared
from gateway.policy.catalog import Catalog
from gateway.policy.lexing import Lexed
from gateway.policy.literals import ALL, Literals, connecting, is_secret
from gateway.policy.parse import (
    INLINE_LIMIT,
    NotUnderstoodError,
    RawStatement,
    SyntaxFaultError,
    Tree,
    check_text,
    parse,
)
from gateway.policy.reader import Reader
from gateway.policy.statement import (
    Act,
    Discarded,
    Facts,
    SessionState,
    StateEffect,
    StatementFacts,
    SyntaxFault,
    Transaction,
)
from gateway.policy.tree import kind_of
from gateway.policy.wrappers import WantsTreeError

__all__ = [
    "Act",
    "Discarded",
    "Facts",
    "SessionState",
    "StateEffect",
    "StatementFacts",
    "SyntaxFault",
    "Transaction",
    "apply",
    "facts",
]


def facts(statement: bytes, state: SessionState, catalog: Catalog, trees: Mapping[bytes, Tree] | None = None) -> Facts:
    """Return the facts of the string `statement`, sent in `state` and resolved in `catalog`.

    `trees` holds texts that were parsed elsewhere because they are too large to be parsed in this process.
    """
    try:
        return _facts(statement, state, catalog, trees or {})
    except SyntaxFaultError as error:
        return Facts(statement, syntax_error=error.fault, catalog=catalog)
    except WantsTreeError as error:
        return Facts(statement, not_understood=str(error), wants=(error.text,), catalog=catalog)
    except NotUnderstoodError as error:
        return Facts(statement, not_understood=str(error), catalog=catalog)
    except Exception as error:  # noqa: BLE001  total: what fails is not understood, and so denied
        reason = f"{type(error).__name__} while reading it"
        return Facts(statement, not_understood=reason, alarm=reason, catalog=catalog)


def _facts(statement: bytes, state: SessionState, catalog: Catalog, trees: Mapping[bytes, Tree]) -> Facts:
    check_text(statement)
    tree = trees.get(statement)
    if tree is None and len(statement) > INLINE_LIMIT:
        return Facts(statement, not_understood="it is too large", wants=(statement,), catalog=catalog)
    tree = tree or parse(statement)
    if state.status == "E" and tree.statements and not _leaves_failed(tree.statements[0]):
        return Facts(statement, _words_only(tree, statement, catalog), failed_transaction=True, catalog=catalog)
    found: list[StatementFacts] = []
    lexed, changed = Lexed(statement), False
    for raw in tree.statements:
        one = Reader(catalog, state, trees, lexed).read(raw)
        if catalog.has_marks and changed and (one.relations_read or one.depends_on_state):
            # something earlier may change what its names stand for, or what they hold
            late = Act("not-judged-together", "a definition, or where marked values were put,")
            one = replace(one, acts=(*one.acts, late), outputs=None, touches_marks=True, literals=ALL)
        found.append(one)
        changed = changed or one.ddl or bool(one.carries)
        state = _after(state, one)
    alarm = next((one.alarm for one in found if one.alarm), "")
    return Facts(statement, tuple(found), alarm=alarm, catalog=catalog)


def _leaves_failed(raw: RawStatement) -> bool:
    kind, fields = kind_of(raw.node)
    return kind == "TransactionStmt" and fields.get("kind") in {
        "TRANS_STMT_COMMIT", "TRANS_STMT_ROLLBACK", "TRANS_STMT_ROLLBACK_TO", "TRANS_STMT_PREPARE",
    }  # fmt: skip


def _words_only(tree: Tree, text: bytes, catalog: Catalog) -> tuple[StatementFacts, ...]:
    """Name the statements of a string that the target will refuse: nothing of it runs, and nothing more is read."""
    found, lexed = [], Lexed(text)
    for raw in tree.statements:
        kind = kind_of(raw.node)[0]
        known = not catalog.has_marks and not is_secret(kind, (), ())
        withheld = Literals(connecting(lexed, 0, len(text))) if known else ALL
        found.append(StatementFacts(kind.removesuffix("Stmt").lower(), (), raw.start, raw.end, literals=withheld))
    return tuple(found)


def _after(state: SessionState, done: StatementFacts) -> SessionState:
    """Simulate the statement's success: what later statements of the same string find."""
    if not done.effects:
        return state
    prepared, cursors = dict(state.prepared), dict(state.cursors)
    for effect in done.effects:
        apply(effect, prepared, cursors)
    return replace(state, prepared=prepared, cursors=cursors)


def apply(effect: StateEffect, prepared: dict[str, bytes], cursors: dict[str, bytes]) -> None:
    """Apply an effect to the two name spaces of a session, in place."""
    match effect:
        case Prepared(name, sql):
            prepared[name] = sql
        case Declared(name, sql):
            cursors[name] = sql
        case Deallocated(None):
            prepared.clear()
        case Deallocated(str(name)):
            prepared.pop(name, None)
        case Closed(None):
            cursors.clear()
        case Closed(str(name)):
            cursors.pop(name, None)
        case Discarded():
            prepared.clear()
            cursors.clear()
