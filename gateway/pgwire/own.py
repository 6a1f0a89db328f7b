"""Statements of the gateway's own on the agent's session: sent, and their answers taken, without the agent seeing them.

Promises that each is answered before anything else is sent, and that none of them clobbers a name of the agent's.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Final, TypeAlias

from gateway.pgwire.exchange import Exchange
from gateway.pgwire.flight import Await, Expected, Operation
from gateway.pgwire.frontend import FLUSH, SYNC, Bind, Named, Parse, execute, query
from gateway.pgwire.steps import Steps, Wait

FLUSHED: Final = b"F"
"""Marks an answer that ends without ReadyForQuery."""
CONSTRAINTS: Final = b"SET CONSTRAINTS ALL IMMEDIATE"
OWN_FAULTS: Final = frozenset({b"BEGIN", b"COMMIT", CONSTRAINTS})
"""Statements whose error is the operation's own."""

Row: TypeAlias = tuple[bytes | None, ...]


def run(x: Exchange, sql: bytes, operation: Operation) -> Steps:
    """Run a statement by the simple protocol."""
    x.to_target(query(sql))
    x.flight.push(Expected(Await.OWN, operation, name=sql, hidden=True))
    yield Wait.QUIET


def ask(
    x: Exchange, sql: bytes, operation: Operation, values: Sequence[bytes] = (), label: bytes = b"ask"
) -> Generator[Wait, object, list[Row]]:
    """Run a statement within what the agent's protocol is in: it ends no implicit transaction. Returns its rows."""
    simple = operation.portal is None
    if not simple:
        yield from quiet(x)
        if x.skip_until_sync:
            return []
    name = b"hoop_" + x.entropy.bytes(16).hex().encode()
    bound = Bind(name, name, (), tuple(values), ())
    x.told = []
    asked = Parse(name, sql, ()).encode() + bound.encode() + execute(name) + Named(b"S", name).encode(b"C")
    x.to_target(asked + (SYNC if simple else FLUSH))
    target = b"" if simple else FLUSHED
    x.flight.push(Expected(Await.OWN, operation, name=label, target=target, hidden=True))
    yield Wait.QUIET
    return x.told


def quiet(x: Exchange) -> Steps:
    """Wait until everything that was forwarded is answered."""
    if x.flight and x.segment_dirty:
        x.to_target(FLUSH)
    yield Wait.QUIET
