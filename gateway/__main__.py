"""`hoop-gateway`: finds the command and turns every fault into one line and an exit code.

Promises 0 for done, 1 where the answer is "no", 2 for wrong use or what could not run, 130 for an interrupt; an error
is one line on stderr and never a traceback. Output never fails for a terminal's encoding.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from gateway import __version__
from gateway.cli.output import visible
from gateway.errors import GatewayError

COMMANDS = (
    "demo",
    "init",
    "check",
    "policy",
    "serve",
    "token",
    "status",
    "sessions",
    "approvals",
    "login",
    "evidence",
    "witness",
    "secret",
    "agent",
    "idp",
)


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and whose options are never abbreviated: scripts last."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "allow_abbrev": False})

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and where to read on; exit 2."""
        self.exit(2, f"hoop-gateway: {visible(message)}; see `{self.prog} --help`\n")


def parser() -> argparse.ArgumentParser:
    """Return the parser of every command."""
    root = Parser(
        prog="hoop-gateway",
        description="An identity-aware access gateway for AI agents.",
        epilog="Exit codes: 0 done, 1 the answer is no, 2 used wrongly or could not run.",
    )
    root.add_argument("--version", action="version", version=f"hoop-gateway {__version__}")
    subparsers = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        importlib.import_module(f"gateway.cli.{command}").register(subparsers)
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        args = parser().parse_args(argv)
        code = int(args.run(args))
        sys.stdout.flush()
    except GatewayError as fault:
        return _fail(str(fault))
    except BrokenPipeError:
        # Whoever read our output has enough. Point stdout elsewhere, or the interpreter complains at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except KeyboardInterrupt:
        return 130
    except OSError as fault:
        return _fail(f"{fault.filename}: {fault.strerror}" if fault.filename else str(fault.strerror or fault))
    return code


def _fail(message: str) -> int:
    print(f"hoop-gateway: {visible(message)}", file=sys.stderr)  # noqa: T201  the one place where errors are told
    return 2


if __name__ == "__main__":
    sys.exit(main())
