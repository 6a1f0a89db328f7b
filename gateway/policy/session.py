"""Statements about the session: transactions, settings, names, channels, and CALL.

Each notes its acts and its effects on the session's state; which setting may have which value is for `parameters`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from gateway.model import Closed, Deallocated
from gateway.policy.parameters import join_search_path
from gateway.policy.statement import Discarded, Transaction
from gateway.policy.survey import Place
from gateway.policy.tree import Node, child, constant_text, items, kind_of, strings

if TYPE_CHECKING:
    from gateway.policy.reader import Reader

_TRANSACTIONS: Mapping[str, Transaction] = MappingProxyType(
    {
        "BEGIN": Transaction.BEGIN,
        "START": Transaction.BEGIN,
        "COMMIT": Transaction.COMMIT,
        "ROLLBACK": Transaction.ROLLBACK,
        "ROLLBACK_TO": Transaction.ROLLBACK_TO,
        "SAVEPOINT": Transaction.SAVEPOINT,
        "RELEASE": Transaction.RELEASE,
    }
)


def transaction(reader: Reader, fields: Node, place: Place) -> None:
    """BEGIN, COMMIT, ROLLBACK, savepoints, two-phase commit."""
    kind = str(fields.get("kind", "")).removeprefix("TRANS_STMT_")
    reader.transaction = _TRANSACTIONS.get(kind, Transaction.TWO_PHASE)
    reader.operation = reader.transaction.value
    reader.passes_failed = kind in {"COMMIT", "ROLLBACK", "ROLLBACK_TO", "PREPARE"}
    known = reader.transaction is not Transaction.TWO_PHASE
    reader.survey.act("transaction" if known else "two-phase", reader.operation, place)
    if kind in {"BEGIN", "START", "COMMIT", "ROLLBACK"}:
        _modes(reader, fields.get("options"), "", place)


def _modes(reader: Reader, options: object, prefix: str, place: Place) -> None:
    for option in items(options):
        _, fields = kind_of(option)
        reader.survey.act("set", prefix + str(fields.get("defname", "")), place, constant_text(fields.get("arg")))


def set_(reader: Reader, fields: Node, place: Place) -> None:
    """SET and RESET."""
    reader.operation = "set"
    kind = str(fields.get("kind"))
    name = str(fields.get("name", "")).lower()
    if kind == "VAR_SET_MULTI":
        if name == "transaction snapshot":
            reader.survey.act("set", "transaction_snapshot", place)
        else:
            _modes(reader, fields.get("args"), "default_" if name.startswith("session") else "", place)
    elif kind == "VAR_SET_VALUE":
        values = [constant_text(item) for item in items(fields.get("args"))]
        known = [value for value in values if value is not None]
        whole = len(known) == len(values) > 0
        joined = join_search_path(known) if name == "search_path" else ", ".join(known)
        reader.survey.act("set", name, place, joined if whole else None)
    else:
        reader.operation = "reset"
        reader.survey.act("reset", name or "all", place)


def show(reader: Reader, fields: Node, place: Place) -> None:
    """SHOW."""
    reader.operation = "show"
    reader.survey.act("show", str(fields.get("name", "")).lower(), place)


def deallocate(reader: Reader, fields: Node, place: Place) -> None:
    """DEALLOCATE."""
    reader.operation = "deallocate"
    name = fields.get("name")
    reader.survey.act("deallocate", str(name or "all"), place)
    reader.effects.append(Deallocated(str(name) if name is not None else None))


def close(reader: Reader, fields: Node, place: Place) -> None:
    """CLOSE."""
    reader.operation = "close"
    name = fields.get("portalname")
    reader.survey.act("close", str(name or "all"), place)
    reader.effects.append(Closed(str(name) if name is not None else None))


def discard(reader: Reader, fields: Node, place: Place) -> None:
    """DISCARD."""
    reader.operation = "discard"
    what = str(fields.get("target", "")).removeprefix("DISCARD_").lower()
    reader.survey.act("discard", what, place)
    if what == "all":
        reader.effects.append(Discarded())


def call(reader: Reader, fields: Node, place: Place) -> None:
    """CALL: its arguments; its result is unknown."""
    reader.operation = "call"
    _, call = child(fields, "funccall")
    names = strings(call.get("funcname"))
    reader.survey.act("call", ".".join(names), place)
    reader.survey.calls.add(".".join(names))
    for kind, node in map(kind_of, items(call.get("args"))):
        reader.survey.walk(kind, node, place)
    reader.columns = None
    reader.opaque_output = True


def listen(reader: Reader, fields: Node, place: Place) -> None:
    """LISTEN."""
    reader.operation = "listen"
    reader.survey.act("listen", str(fields.get("conditionname", "")), place)


def unlisten(reader: Reader, fields: Node, place: Place) -> None:
    """UNLISTEN."""
    reader.operation = "unlisten"
    reader.survey.act("unlisten", str(fields.get("conditionname", "")), place)


def notify(reader: Reader, fields: Node, place: Place) -> None:
    """NOTIFY."""
    reader.operation = "notify"
    reader.survey.act("notify", str(fields.get("conditionname", "")), place)


def constraints(reader: Reader, fields: Node, place: Place) -> None:  # noqa: ARG001  a handler's shape
    """SET CONSTRAINTS."""
    reader.operation = "set"
    reader.survey.act("transaction", "constraints", place)


HANDLERS: Mapping[str, Callable[[Reader, Node, Place], None]] = MappingProxyType(
    {
        "TransactionStmt": transaction,
        "VariableSetStmt": set_,
        "VariableShowStmt": show,
        "DeallocateStmt": deallocate,
        "ClosePortalStmt": close,
        "DiscardStmt": discard,
        "CallStmt": call,
        "ListenStmt": listen,
        "UnlistenStmt": unlisten,
        "NotifyStmt": notify,
        "ConstraintsSetStmt": constraints,
    }
)
"""Statement kind -> what reads it."""
