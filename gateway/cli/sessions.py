"""`hoop-gateway sessions`: list the live sessions of agents, or cut one."""

from __future__ import annotations

import argparse

from gateway.cli.control import add_place, converse

COLUMNS = (
    "id",
    "subject",
    "connection",
    "client_address",
    "started",
    "state",
    "statements",
    "denied",
    "held",
    "current",
)


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `list` and `kill`."""
    parser = subparsers.add_parser("sessions", help="list or cut live sessions", description=__doc__)
    add_place(parser)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    listing = verbs.add_parser("list", help="list the live sessions", description="List the live sessions.")
    add_place(listing, inner=True)
    listing.add_argument("--json", action="store_true", help="print a JSON array")
    listing.set_defaults(run=run_list)
    kill = verbs.add_parser("kill", help="cut a session", description="Cut a session; its client is told the reason.")
    add_place(kill, inner=True)
    kill.add_argument("id", metavar="ID", help="the session's id")
    kill.add_argument("--reason", required=True, metavar="R", help="why; shown to the agent and recorded")
    kill.set_defaults(run=run_kill)


def run_list(args: argparse.Namespace) -> int:
    """Print the live sessions."""
    from gateway.cli.output import print_rows
    from gateway.control.client import ControlClient

    async def talk(client: ControlClient) -> int:
        found = await client.call_all("sessions.list")
        print_rows(COLUMNS, [each for each in found if isinstance(each, dict)], args.json)
        return 0

    return converse(args, talk)


def run_kill(args: argparse.Namespace) -> int:
    """Cut one session."""
    from gateway.cli.output import visible
    from gateway.control.client import ControlClient

    async def talk(client: ControlClient) -> int:
        await client.call("sessions.kill", {"id": args.id, "reason": args.reason})
        print(f"killed {visible(args.id)}")
        return 0

    return converse(args, talk)
