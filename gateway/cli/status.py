"""`hoop-gateway status`: whether the gateway is well, its versions, counts and the head of its evidence."""

from __future__ import annotations

import argparse

from gateway.cli.control import add_place, converse


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = subparsers.add_parser("status", help="show whether the gateway is well", description=__doc__)
    add_place(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the status; 1 where the gateway says that it is not well."""
    from gateway.cli.output import print_fields, print_json
    from gateway.control.client import ControlClient

    async def talk(client: ControlClient) -> int:
        status = (await client.call("status")).result
        if args.json or not isinstance(status, dict):
            print_json(status)
        else:
            print_fields(sorted(status.items()))
        return 1 if isinstance(status, dict) and status.get("healthy") is False else 0

    return converse(args, talk)
