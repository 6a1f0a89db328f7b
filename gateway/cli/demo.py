"""`hoop-gateway demo`: the whole product on this machine, to look at and to try.

With a terminal it says how to connect and opens the console; with `--headless`, or without a terminal, it prints one
JSON line when ready and runs until SIGTERM or SIGINT. Either way it cleans up after itself and exits 0.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.demo.world import World

_WORDS = """\

  The demonstration is running: a PostgreSQL, an identity issuer, the gateway, and an agent that works.

  Connect with a client of your own, from another terminal (the password is an access token):

    PGPASSWORD=$({python} -m gateway token -c {config} --subject me) \\
      psql '{dsn}'

  and try

    SELECT id, name, email FROM customers LIMIT 3;   e-mail addresses come masked, by any route
    DROP TABLE customers;                            denied, and your session goes on
    DELETE FROM orders WHERE id = 1;                 held: approve it in the console (2, then a)

  What was recorded:

    {python} -m gateway evidence query {evidence} 'SELECT ts, subject, verdict, sql FROM statements'
    {python} -m gateway evidence verify {evidence}

  Press Enter to open the console; q there, or Ctrl-C here, ends the demonstration.
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = subparsers.add_parser(
        "demo",
        help="run the whole product on embedded parts",
        description="Run a PostgreSQL, an identity issuer, a gateway and an agent on this machine, and the console.",
    )
    parser.add_argument("--headless", action="store_true", help="no console: print one JSON line and run until SIGTERM")
    parser.add_argument("--dir", type=Path, metavar="DIR", help="keep everything in DIR (default: a temporary one)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run until the console is left, or a signal comes."""
    from importlib.util import find_spec

    from gateway.errors import ConfigurationFault

    if find_spec("asyncpg") is None:
        raise ConfigurationFault("the demonstration needs more parts: pip install 'hoop-tui[demo]'")
    from gateway.demo.world import build

    headless = args.headless or not (sys.stdin.isatty() and sys.stdout.isatty())
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _stop)
    try:
        if not headless:
            print("starting PostgreSQL, issuer, gateway and agent ...", flush=True)
        with build(args.dir) as world:
            if headless:
                _announce(world)
                signal.pause()
            else:
                _show(world)
    except _Stopped:
        return 0
    return 0


class _Stopped(BaseException):
    """A signal asked for the end; everything is taken down on its way out."""


def _stop(_number: int, _frame: FrameType | None) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # taking down must not be cut short
    raise _Stopped


def _announce(world: World) -> None:
    found = {
        "ready": True,
        "config": str(world.config),
        "postgres": world.dsn,
        "token": world.token,
        "control_socket": str(world.socket),
        "evidence": str(world.evidence),
    }
    print(json.dumps(found), flush=True)


def _show(world: World) -> None:
    print(_WORDS.format(python=sys.executable, config=world.config, dsn=world.dsn, evidence=world.evidence), flush=True)
    if sys.stdin.readline():
        subprocess.run([sys.executable, "-m", "hoop_tui", "--socket", str(world.socket)], check=False)
