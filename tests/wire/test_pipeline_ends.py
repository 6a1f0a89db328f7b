"""A pipeline whose session has ended takes whatever is still asked of it from outside."""

from __future__ import annotations

from typing import Any, cast

import trio
from driving import Drive

from gateway.pgwire.actions import CancelTarget
from gateway.pgwire.frontend import query
from gateway.pipeline import Pipeline


async def test_whoever_asks_after_the_end_is_late_and_nothing_breaks() -> None:
    """An operator's cancel, a kill and a stop of the gateway may all meet a session that ended this moment."""
    session = Drive().client(query(b"select 1")).session
    nothing = cast("Any", None)
    async with trio.open_nursery() as nursery:
        pipeline = Pipeline(session, nothing, nothing, nothing, nothing, nursery, lambda: None)
    pipeline.perform([CancelTarget()])
    assert pipeline.over.is_set()
    with trio.fail_after(1):
        await pipeline.quiet()
