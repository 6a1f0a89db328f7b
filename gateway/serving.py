"""Runs a supervisor as a process does: Trio, signals, and faults as one exception.

SIGTERM and SIGINT set the supervisor's `stop`; a second one ends the process at once, which the evidence survives.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable
from functools import partial

import trio

from gateway.errors import GatewayError
from gateway.supervisor import Ready, Supervisor

_YOUNG = 10_000
"""Objects made and kept before the collector looks at them: a statement makes about a hundred, and keeps none."""


def serve(supervisor: Supervisor, on_ready: Callable[[Ready], None]) -> None:
    """Run until stopped. Raises the `GatewayError` that ended it, if one did."""
    found: GatewayError | None = None
    try:
        trio.run(serve_until_signalled, supervisor, partial(_settled, on_ready))
    except* GatewayError as group:
        found = _first(group)
    if found is not None:
        raise found


def _settled(on_ready: Callable[[Ready], None], ready: Ready) -> None:
    """What was made by now stays: the collector need not look at it again and again while sessions wait."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG)
    on_ready(ready)


async def serve_until_signalled(supervisor: Supervisor, on_ready: Callable[[Ready], None]) -> None:
    """Run the supervisor; signals stop it."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_listen, signals, supervisor)
            await supervisor.run(on_ready)
            nursery.cancel_scope.cancel()


async def _listen(signals: object, supervisor: Supervisor) -> None:
    async for number in signals:  # type: ignore[attr-defined]
        if supervisor.stop.is_set():
            os._exit(128 + number)
        supervisor.stop.set()


def _first(group: BaseExceptionGroup[GatewayError]) -> GatewayError:
    found = group.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found
