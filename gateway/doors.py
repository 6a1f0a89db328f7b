"""The ports that agents come in by: tokens as the password on one, by OAUTHBEARER on another where it is configured.

Promises that both lead to the same workers under the same limits, and that both close when `scope` is cancelled, while
the sessions they let in go on. Two ports, since the protocol lets a server ask for a token in one way only.
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeAlias

import trio

from gateway.identity.issuer import issuer_address
from gateway.listener.arrival import ListenerOptions
from gateway.listener.serve import Door, accept_clients, listen, serve_postgres
from gateway.settings import Settings
from gateway.worker.worker import Worker

logger = logging.getLogger(__name__)


Give: TypeAlias = Callable[[int, socket.socket, tuple[str, int]], None]
"""Takes a client that connected at the door of that place; the socket is the taker's from then on."""


def doors_of(settings: Settings, tls: ssl.SSLContext, issuer_url: str) -> tuple[ListenerOptions, ...]:
    """Return the doors, in a fixed order. Each worker has room for its part of those who are on their way to one."""
    limits, postgres = settings.limits, settings.postgres
    workers = settings.gateway.workers
    options = ListenerOptions(
        host=postgres.listen.host,
        port=postgres.listen.port,
        tls=tls,
        login_seconds=limits.login / 1_000_000,
        connections=limits.connections,
        doorstep=-(-limits.connections // workers),
        startup_bytes=limits.startup,
        token_bytes=limits.token,
    )
    if postgres.oauth_listen is None:
        return (options,)
    place, discovery = postgres.oauth_listen, issuer_address(issuer_url).discovery
    return options, replace(options, host=place.host, port=place.port, discovery=discovery)


async def open_doors(
    doors: Sequence[ListenerOptions],
    worker: Worker,
    sessions: trio.Nursery,
    scope: trio.CancelScope,
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Listen until `scope` is cancelled; starts with the first port's address. Raises `ConfigurationFault`."""
    with scope:
        async with trio.open_nursery() as nursery:
            found: list[tuple[str, int]] = []
            for options in doors:
                serve = partial(
                    serve_postgres, options, worker.handle, worker.cancel, worker.refused, sessions=sessions
                )
                found += (await nursery.start(serve))[:1]
            _say(found)
            task_status.started(found[0])


async def open_shared_doors(
    doors: Sequence[ListenerOptions],
    give: Give,
    scope: trio.CancelScope,
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """As `open_doors`, for workers in other processes, to which `give` gives who comes."""
    with scope:
        async with trio.open_nursery() as nursery:
            found: list[tuple[str, int]] = []
            for place, options in enumerate(doors):
                listeners = await listen(options.host, options.port)
                found.append(listeners[0].socket.getsockname()[:2])
                await nursery.start(accept_clients, listeners, partial(give, place), _no_room)
            _say(found)
            task_status.started(found[0])


def worker_doors(doors: Sequence[ListenerOptions], worker: Worker) -> tuple[Door, ...]:
    """Return what attends to those who come, in the order of `doors`."""
    return tuple(Door(options, worker.handle, worker.cancel, worker.refused) for options in doors)


def _say(addresses: Sequence[tuple[str, int]]) -> None:
    for words, address in zip(("listening on %s:%s", "tokens by OAUTHBEARER at %s:%s"), addresses, strict=False):
        logger.info(words, *address)


def _no_room() -> None:
    """Who is on the way to a session is in the workers' hands: nothing is held here that could make room."""
