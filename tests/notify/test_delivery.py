"""Webhooks and apprise against real receivers on loopback: signatures, redirects, and words that give nothing away."""

from __future__ import annotations

import base64
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from standardwebhooks import Webhook as Stock

from gateway.evidence.storage import SystemClock
from gateway.model import Json, Micros
from gateway.notify.delivery import Service, Undelivered, Webhook
from gateway.notify.messages import REQUESTED, message
from gateway.target.credentials import Secret

SECRET = "whsec_" + base64.b64encode(bytes(range(24))).decode()
START = Micros(1_800_000_000_000_000)


def card(name: str, **more: Json) -> dict[str, Json]:
    return {"id": name, "state": "pending", "subject": "agent", "connection": "orders", **more}


class Receiver(http.server.BaseHTTPRequestHandler):
    """Keeps what it was sent; answers with the next of `answers`."""

    got: list[tuple[dict[str, str], bytes]]
    answers: list[int]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(self.answers.pop(0) if self.answers else 204)
        self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Nobody reads it."""


@contextmanager
def receiving(*answers: int) -> Iterator[tuple[str, type[Receiver]]]:
    handler = type("Handler", (Receiver,), {"got": [], "answers": list(answers)})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hooks", handler
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def obtain(reference: str) -> Secret:
    return Secret({"env:HOOK": SECRET, "env:BAD": "whsec_!"}.get(reference, reference).encode())


async def test_a_webhook_is_signed_and_follows_no_redirect() -> None:
    told = message(REQUESTED, card("a1"), START, START)
    with receiving(302, 500, 204) as (url, receiver):
        hook = Webhook("webhook-0", url, "env:HOOK", obtain, SystemClock())
        for code in (302, 500):
            with pytest.raises(Undelivered, match=f"HTTP {code}"):
                await hook.send(told)
        await hook.send(told)
    assert len(receiver.got) == 3
    assert {sent["webhook-id"] for sent, _ in receiver.got} == {"a1.requested"}
    for sent, body in receiver.got:
        assert Stock(SECRET).verify(body, sent)["data"]["id"] == "a1"
    assert "hooks" not in repr(hook)
    with pytest.raises(Undelivered, match="Connect") as caught:
        await hook.send(told)
    assert url not in str(caught.value)
    with pytest.raises(Undelivered, match="secret cannot be used"):
        await Webhook("webhook-0", url, "env:BAD", obtain, SystemClock()).send(told)


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # apprise's own, until Python 3.13
async def test_apprise_tells_a_service() -> None:
    told = message(REQUESTED, card("a1", operation="drop", rule="standard/drop"), START, START)
    with receiving(200, 500) as (url, receiver):
        address = url.replace("http://", "json://")
        await Service("notify-0", address, obtain).send(told)
        with pytest.raises(Undelivered, match="did not take it") as caught:
            await Service("notify-0", address, obtain).send(told)
        assert "127.0.0.1" not in str(caught.value)
    assert b"orders: agent asks for approval" in receiver.got[0][1]
    with pytest.raises(Undelivered, match="none that apprise knows"):
        await Service("notify-0", "nonsense", obtain).send(told)
