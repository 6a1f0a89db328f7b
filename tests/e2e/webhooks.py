"""The other end of a webhook."""

from __future__ import annotations

import base64
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook

SECRET = "whsec_" + base64.b64encode(b"a secret of the right length").decode()


@contextmanager
def receiver() -> Iterator[tuple[str, queue.Queue[dict[str, Any]]]]:
    """A webhook's other end, which refuses what is not signed; the first request fails, to be sent again."""
    got: queue.Queue[dict[str, Any]] = queue.Queue()
    failures = [503]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            told = Webhook(SECRET).verify(body, {name.lower(): value for name, value in self.headers.items()})
            status = failures.pop() if failures else 204
            if status == 204:
                got.put(told | {"raw": body.decode()})
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hooks", got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
