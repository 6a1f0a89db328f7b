"""PostgreSQL's own grammar, used safely: bytes in, a syntax tree or a reason out.

`parse` calls libpg_query in this process and so may end it: on a stack of at least 8 MB it survives every input up to
`INLINE_LIMIT` (measured: chains crash it only beyond 100 KB). Larger texts are the business of `gateway.parsing`, which
runs the same `parse` in a disposable process. Never regenerates SQL: what is forwarded are the agent's bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pgparse

from gateway.policy.statement import SyntaxFault
from gateway.policy.tree import Node, kind_of

INLINE_LIMIT = 16 * 1024
"""Bytes that may be parsed in a process that carries sessions."""


@dataclass(frozen=True, slots=True)
class RawStatement:
    """One statement of a string: its node (`{"SelectStmt": {…}}`) and its byte range."""

    node: Node
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Tree:
    """A parsed string; no statements for an empty one."""

    statements: tuple[RawStatement, ...]


class NotUnderstoodError(Exception):
    """The text cannot be parsed safely; the message is the reason, for people."""


class SyntaxFaultError(Exception):
    """PostgreSQL's grammar refuses the text."""

    def __init__(self, fault: SyntaxFault) -> None:
        super().__init__(fault.message)
        self.fault = fault


def check_text(sql: bytes) -> str:
    """Return `sql` as text; raise NotUnderstoodError where a parser could read it otherwise than the target does."""
    if b"\x00" in sql:
        raise NotUnderstoodError("the statement contains a NUL byte")
    try:
        return sql.decode("utf-8")
    except UnicodeDecodeError:
        raise NotUnderstoodError("the statement is not valid UTF-8") from None


def parse(sql: bytes) -> Tree:
    """Parse `sql`; raise SyntaxFaultError for a syntax error and NotUnderstoodError for everything else."""
    text = check_text(sql)
    try:
        raw = pgparse.parse(text)
    except pgparse.PGQueryError as error:
        position = int(error.position) or None
        raise SyntaxFaultError(SyntaxFault(str(error.message), position)) from None
    except RecursionError:
        raise NotUnderstoodError("the statement is nested too deeply") from None
    except Exception as error:  # noqa: BLE001  whatever a binding raises means: not understood
        raise NotUnderstoodError(f"the parser failed: {type(error).__name__}") from None
    return tree_of(raw, len(sql))


def fingerprint(sql: bytes) -> str:
    """Return what tells statements of one shape from others, whatever their constants; empty where there is none.

    For texts that `parse` may read in this process.
    """
    if len(sql) > INLINE_LIMIT:
        return ""
    try:
        return str(pgparse.fingerprint(check_text(sql)))
    except Exception:  # noqa: BLE001  whatever a binding raises means: no shape
        return ""


def tree_of(raw: object, length: int) -> Tree:
    """Build a `Tree` from the parser's answer for a text of `length` bytes; refuse what is not of its shape."""
    return Tree(tuple(_statements(raw, length)))


def _statements(raw: object, length: int) -> Iterator[RawStatement]:
    if not isinstance(raw, list):
        raise NotUnderstoodError("the parser's answer has no list of statements")
    for item in raw:
        node = item.get("stmt") if isinstance(item, dict) else None
        kind, _ = kind_of(node)
        if not kind or node is None:
            raise NotUnderstoodError("the parser's answer has a statement without a kind")
        start = int(item.get("stmt_location", 0))
        size = int(item.get("stmt_len", 0))
        yield RawStatement(node, start, start + size if size else length)
