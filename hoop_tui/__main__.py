"""`hoop-tui [--socket PATH]`: starts the console.

A socket that is not there yet is no error: the console says so and keeps trying. Wrong use is one line and exit code 2.
Logs go to a file, never to the terminal that the console draws on.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from hoop_tui import __version__

MOST_PATH = 107
"""Bytes of a Unix socket's path."""


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and leave with 2."""
        self.exit(2, f"hoop-tui: {message} (try --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the console; return its exit code."""
    parser = OneLineParser(prog="hoop-tui", description="The gateway's console: watch sessions, decide, replay.")
    parser.add_argument(
        "--socket",
        metavar="PATH",
        help="the gateway's control socket (default: $HOOP_SOCKET, else ./state/control.sock)",
    )
    parser.add_argument(
        "--mouse", action="store_true", help="let the mouse scroll (the terminal then selects with shift)"
    )
    parser.add_argument(
        "--key",
        metavar="FILE",
        default=os.environ.get("HOOP_SIGNING_KEY"),
        help="the SSH key that signs approvals where the gateway asks for signatures (default: $HOOP_SIGNING_KEY)",
    )
    parser.add_argument("--version", action="version", version=f"hoop-tui {__version__}")
    options = parser.parse_args(arguments)
    socket = Path(options.socket or os.environ.get("HOOP_SOCKET") or "state/control.sock")
    if len(os.fsencode(socket)) > MOST_PATH:
        parser.error(f"--socket: longer than {MOST_PATH} bytes: use a shorter path, or one relative to here")
    if socket.exists() and not socket.is_socket():
        parser.error(f"--socket: {socket} is no socket")
    if not (sys.stdin.isatty() and sys.stderr.isatty()):  # Textual draws on stderr
        parser.error("a terminal is needed; without one, use hoop-gateway")
    _log_to_file()
    from hoop_tui.app import HoopApp

    key = str(Path(options.key).expanduser()) if options.key else None
    app = HoopApp(socket, encoding=getattr(sys.__stderr__, "encoding", None), signing_key=key)
    app.run(mouse=options.mouse)
    return app.return_code or 0


def _log_to_file() -> None:
    """Log to the user's state directory; where that cannot be written, keep no log."""
    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "hoop-tui"
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        handler: logging.Handler = logging.FileHandler(home / "console.log", encoding="utf-8")
        (home / "console.log").chmod(0o600)
    except OSError:
        handler = logging.NullHandler()
    logging.basicConfig(
        level=logging.INFO, handlers=[handler], format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )


if __name__ == "__main__":
    sys.exit(main())
