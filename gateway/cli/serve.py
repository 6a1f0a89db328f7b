"""`hoop-gateway serve`: run the gateway in the foreground.

Prints `ready` on standard output once it accepts connections; logs to standard error. SIGTERM and SIGINT drain and
exit 0; a second signal exits at once.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = subparsers.add_parser(
        "serve",
        help="run the gateway",
        description="Run the gateway until SIGTERM or SIGINT. Prints `ready` when it accepts connections.",
    )
    parser.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help="the gateway's configuration")
    parser.add_argument(
        "--accept-loss",
        action="store_true",
        help="go on although records are missing or broken that no crash explains; a `gap` record says so",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until stopped."""
    import logging
    import sys

    from gateway.serving import serve
    from gateway.settings import load
    from gateway.supervisor import Ready, Supervisor

    settings = load(args.config)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)

    def ready(_: Ready) -> None:
        print("ready", flush=True)

    serve(Supervisor(settings, accept_loss=args.accept_loss), ready)
    return 0
