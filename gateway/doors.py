"""The ports that agents come in by: tokens as the password on one, by OAUTHBEARER on another where it is configured.

Promises that both lead to the same worker under the same limits, and that both close when `scope` is cancelled, while
the sessions they let in go on. Two ports, since the protocol lets a server ask for a token in one way only.
"""

from __future__ import annotations

import logging
import ssl
from dataclasses import replace
from functools import partial

import trio

from gateway.identity.issuer import issuer_address
from gateway.listener.arrival import ListenerOptions
from gateway.listener.serve import serve_postgres
from gateway.settings import Settings
from gateway.worker.worker import Worker

logger = logging.getLogger(__name__)


async def open_doors(
    settings: Settings,
    tls: ssl.SSLContext,
    issuer_url: str,
    worker: Worker,
    sessions: trio.Nursery,
    scope: trio.CancelScope,
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Listen until `scope` is cancelled; starts with the first port's address. Raises `ConfigurationFault`."""
    limits, postgres = settings.limits, settings.postgres
    options = ListenerOptions(
        host=postgres.listen.host,
        port=postgres.listen.port,
        tls=tls,
        login_seconds=limits.login / 1_000_000,
        connections=limits.connections,
        startup_bytes=limits.startup,
        token_bytes=limits.token,
    )
    with scope:
        async with trio.open_nursery() as doors:
            host, port = await _open(doors, options, worker, sessions)
            logger.info("listening on %s:%s", host, port)
            if postgres.oauth_listen is not None:
                place, discovery = postgres.oauth_listen, issuer_address(issuer_url).discovery
                options = replace(options, host=place.host, port=place.port, discovery=discovery)
                logger.info("tokens by OAUTHBEARER at %s:%s", *await _open(doors, options, worker, sessions))
            task_status.started((host, port))


async def _open(
    doors: trio.Nursery, options: ListenerOptions, worker: Worker, sessions: trio.Nursery
) -> tuple[str, int]:
    listen = partial(serve_postgres, options, worker.handle, worker.cancel, worker.refused, sessions=sessions)
    bound: list[tuple[str, int]] = await doors.start(listen)
    return bound[0]
