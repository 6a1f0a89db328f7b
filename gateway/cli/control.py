"""What the commands over the control socket share: where it is, and what a refusal's exit code is."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import ConfigurationFault

if TYPE_CHECKING:
    from gateway.control.client import ControlClient

NO = {"stale_hash", "already_decided", "expired", "forbidden"}
"""Refusals that are an answer: exit 1. Others mean that the command was used wrongly or could not run: exit 2."""


def add_place(parser: argparse.ArgumentParser, *, inner: bool = False) -> None:
    """Add `-c FILE` and `--socket PATH`; to an `inner` parser in addition to its outer one's."""
    default = argparse.SUPPRESS if inner else None
    parser.add_argument(
        "-c", "--config", type=Path, default=default, metavar="FILE", help="the gateway's configuration"
    )
    parser.add_argument("--socket", type=Path, default=default, metavar="PATH", help="the gateway's control socket")


def converse(args: argparse.Namespace, conversation: Callable[[ControlClient], Awaitable[int]]) -> int:
    """Connect to the gateway that `args` name and return what `conversation` returns. A "no" is told, exit 1."""
    import sys

    import trio

    from gateway.cli.output import visible
    from gateway.control.client import connect
    from gateway.control.messages import Refusal

    path = _socket(args)

    async def talk() -> int:
        async with connect(path) as client:
            return await conversation(client)

    try:
        return trio.run(talk)
    except Refusal as refusal:
        if refusal.code not in NO:
            raise
        print(f"hoop-gateway: {visible(str(refusal))}", file=sys.stderr)
        return 1


def list_all(args: argparse.Namespace, method: str, columns: Sequence[str]) -> int:
    """Print all that a list of the gateway holds: `columns` for people, everything as JSON."""

    async def talk(client: ControlClient) -> int:
        from gateway.cli.output import print_rows

        found = await client.call_all(method)
        print_rows(columns, [each for each in found if isinstance(each, dict)], args.json)
        return 0

    return converse(args, talk)


def _socket(args: argparse.Namespace) -> Path:
    if (args.config is None) == (args.socket is None):
        raise ConfigurationFault("name the gateway: either -c FILE or --socket PATH")
    if args.socket is not None:
        return Path(args.socket)
    from gateway.settings import load

    return load(args.config).gateway.control_socket
