"""The sample agent: an ordinary asyncpg program that knows only a DSN and a token.

Sends statements that a shop's agent might send, for ever, one every second or so: most are allowed, some come back
masked, one is denied, and now and then one waits for a person. Run as `python -m gateway.demo.agent`, with the DSN in
HOOP_DEMO_DSN and the token in HOOP_DEMO_TOKEN; ends quietly with its connection or on SIGTERM.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import ssl
import sys
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import asyncpg

_PAUSE_SECONDS = (0.4, 1.4)
_HELD_EVERY = 20
_COLOURS = random.Random()  # noqa: S311  variety of a demonstration, no secret


def _some(limit: int) -> int:
    return _COLOURS.randint(1, limit)


_BEST_SELLERS = """
SELECT p.title, sum(o.quantity) AS sold
FROM orders o JOIN products p ON p.id = o.product_id
GROUP BY p.title ORDER BY sold DESC LIMIT 5
"""
_ORDER = "INSERT INTO orders (customer_id, product_id, quantity) VALUES ($1, $2, $3) RETURNING id"

WORK: tuple[tuple[str, Callable[[], tuple[object, ...]]], ...] = (
    ("SELECT count(*) AS open_orders FROM orders WHERE state = 'open'", lambda: ()),
    ("SELECT id, name, email, city FROM customers WHERE id = $1", lambda: (_some(400),)),
    (_BEST_SELLERS, lambda: ()),
    (_ORDER, lambda: (_some(400), _some(40), _some(4))),
    ("SELECT name, email FROM order_contacts ORDER BY placed DESC LIMIT 3", lambda: ()),
    ("UPDATE orders SET state = 'paid' WHERE id = $1", lambda: (_some(3000),)),
    ("SELECT title, price, net_price(price) AS net FROM products WHERE id = $1", lambda: (_some(40),)),
    ("SELECT upper(email) AS contact, card FROM customers WHERE city = 'Oslo' LIMIT 2", lambda: ()),
    ("SELECT city, count(*) FROM customers GROUP BY city ORDER BY 2 DESC", lambda: ()),
    ("TRUNCATE orders", lambda: ()),
    ("SELECT missing FROM products", lambda: ()),
)  # fmt: skip
"""What the agent does all day, with fresh parameters each time."""

HELD = "DELETE FROM orders WHERE id = $1"
"""What a person has to agree to."""


async def _connect(dsn: str, token: str) -> asyncpg.Connection:
    parts = urlsplit(dsn)
    context = ssl.create_default_context(cafile=parse_qs(parts.query)["sslrootcert"][0])
    return await asyncpg.connect(
        host=parts.hostname,
        port=parts.port,
        user=parts.username,
        password=token,
        database=parts.path.lstrip("/"),
        ssl=context,
        server_settings={"application_name": "shop-agent"},
    )


async def _work(dsn: str, token: str) -> None:
    """Send everyday statements; a refusal is an error like any other, and the session goes on."""
    connection = await _connect(dsn, token)
    try:
        while True:
            for sql, parameters in WORK:
                try:
                    await connection.fetch(sql, *parameters())
                except asyncpg.PostgresError as error:
                    if connection.is_closed():
                        return
                    print(f"{error.sqlstate}: {error}", file=sys.stderr)
                await asyncio.sleep(_COLOURS.uniform(*_PAUSE_SECONDS))
    finally:
        connection.terminate()


async def _ask(dsn: str, token: str) -> None:
    """Send one statement that is held, on a session of its own, and another some time after it was decided."""
    connection = await _connect(dsn, token)
    try:
        while True:
            try:
                await connection.execute(HELD, _some(3000))
            except asyncpg.PostgresError as error:
                if connection.is_closed():
                    return
                print(f"{error.sqlstate}: {error}", file=sys.stderr)
            await asyncio.sleep(_HELD_EVERY)
    finally:
        connection.terminate()


async def main() -> None:
    """Work until the gateway goes away or SIGTERM comes."""
    dsn, token = os.environ["HOOP_DEMO_DSN"], os.environ["HOOP_DEMO_TOKEN"]
    tasks = [asyncio.ensure_future(_work(dsn, token)), asyncio.ensure_future(_ask(dsn, token))]
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, lambda: [task.cancel() for task in tasks])
    await asyncio.wait(tasks)


if __name__ == "__main__":
    asyncio.run(main())
