"""Ways to tell people: a signed webhook over HTTPS, and whatever service apprise reaches.

Promises an answer within `SECONDS`: delivered, or `Undelivered` with words that never hold the address, which is often
a secret itself. A webhook follows no redirect. apprise (the extra `notify`) is imported here alone and runs in a
thread, since its own loop is asyncio's.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

import httpx
import trio

from gateway.errors import ConfigurationFault
from gateway.model import Clock
from gateway.notify.messages import Message, headers, signing_key
from gateway.target.credentials import Secret

SECONDS = 15.0

Obtain = Callable[[str], Awaitable[Secret]]


class Undelivered(Exception):
    """A message did not get through; the words are for operators."""


class Destination(Protocol):
    """One place to tell."""

    @property
    def name(self) -> str:
        """Names it in the outbox, the log and alarms: `notify-0`, `webhook-1`."""

    async def send(self, message: Message) -> None:
        """Deliver, or raise Undelivered."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """A URL that is posted to, signed with the secret that `secret` refers to, as it is at that moment."""

    name: str
    url: str = field(repr=False)
    secret: str
    obtain: Obtain = field(repr=False)
    clock: Clock = field(repr=False)

    async def send(self, message: Message) -> None:
        """Post it; every answer of 200 to 299 is a delivery."""
        try:
            key = signing_key((await self.obtain(self.secret)).reveal().decode("ascii"))
        except (ConfigurationFault, ValueError) as fault:
            raise Undelivered(f"its secret cannot be used: {fault}") from None
        body = message.body()
        try:
            async with httpx.AsyncClient(timeout=SECONDS, follow_redirects=False) as client:
                answer = await client.post(
                    self.url, content=body, headers=headers(message, body, key, self.clock.now())
                )
        except (httpx.HTTPError, httpx.InvalidURL) as fault:
            raise Undelivered(type(fault).__name__) from None
        if not answer.is_success:
            raise Undelivered(f"HTTP {answer.status_code}")


@dataclass(frozen=True, slots=True)
class Service:
    """A service by apprise's URL, which `reference` refers to: chat, mail, pager."""

    name: str
    reference: str
    obtain: Obtain = field(repr=False)

    async def send(self, message: Message) -> None:
        """Tell it in a thread; one that takes too long is given up, and may have told all the same."""
        try:
            url = (await self.obtain(self.reference)).reveal().decode("utf-8").strip()
        except (ConfigurationFault, UnicodeDecodeError) as fault:
            raise Undelivered(f"its address cannot be used: {fault}") from None
        with trio.move_on_after(SECONDS):
            if await trio.to_thread.run_sync(_tell, url, message.title(), message.text(), abandon_on_cancel=True):
                return
            raise Undelivered("the service did not take it, or its address is none that apprise knows")
        raise Undelivered(f"no answer within {SECONDS:.0f} s")


def _tell(url: str, title: str, body: str) -> bool:
    import apprise

    service = apprise.Apprise(asset=apprise.AppriseAsset(async_mode=False, secure_logging=True))
    with contextlib.redirect_stderr(io.StringIO()):
        return bool(service.add(url) and service.notify(title=title, body=body))


def must_have_apprise() -> None:
    """Raise ConfigurationFault where the extra is not installed."""
    try:
        import apprise
    except ImportError:
        raise ConfigurationFault("approvals.notify: needs apprise: pip install 'hoop-tui[notify]'") from None
    del apprise
