"""`hoop-gateway sessions`: list the live sessions of agents, cut one, or keep somebody out for good.

`block` puts a subject or a token on the gateway's kill list, which survives restarts, and cuts its live sessions.
"""

from __future__ import annotations

import argparse

from gateway.cli.control import add_place, converse, list_all

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
    blocked = verbs.add_parser("blocked", help="list who is kept out", description="List the kill list, newest first.")
    add_place(blocked, inner=True)
    blocked.add_argument("--json", action="store_true", help="print a JSON array")
    blocked.set_defaults(run=run_blocked)
    for verb, words in (
        ("block", "keep a subject or token out from now on, and cut its sessions"),
        ("unblock", "take an entry from the kill list"),
    ):
        change = verbs.add_parser(verb, help=words, description=f"{words[0].upper()}{words[1:]}.")
        add_place(change, inner=True)
        who = change.add_mutually_exclusive_group(required=True)
        who.add_argument("--subject", metavar="S", help="whose tokens: the issuer's subject")
        who.add_argument("--token", metavar="JTI", help="one token, by its id (`sessions.jti` in the evidence)")
        who.add_argument("--issuer-session", metavar="SID", help="the tokens of one session at the issuer")
        change.add_argument("--reason", required=True, metavar="R", help="why; recorded, and shown to whom is cut")
        change.set_defaults(run=run_block if verb == "block" else run_unblock)


def run_list(args: argparse.Namespace) -> int:
    """Print the live sessions."""
    return list_all(args, "sessions.list", COLUMNS)


def run_kill(args: argparse.Namespace) -> int:
    """Cut one session."""
    from gateway.cli.output import visible
    from gateway.control.client import ControlClient

    async def talk(client: ControlClient) -> int:
        await client.call("sessions.kill", {"id": args.id, "reason": args.reason})
        print(f"killed {visible(args.id)}")
        return 0

    return converse(args, talk)


def run_blocked(args: argparse.Namespace) -> int:
    """Print the kill list."""
    return list_all(args, "kill_list.list", ("kind", "value", "by", "reason", "at", "until"))


def run_block(args: argparse.Namespace) -> int:
    """Add to the kill list."""
    return _change(args, "kill_list.add", "blocked")


def run_unblock(args: argparse.Namespace) -> int:
    """Take from the kill list."""
    return _change(args, "kill_list.remove", "unblocked")


def _change(args: argparse.Namespace, method: str, done: str) -> int:
    from gateway.cli.output import visible
    from gateway.control.client import ControlClient

    named = {"subject": args.subject, "token": args.token, "issuer-session": args.issuer_session}
    kind, value = next((kind, value) for kind, value in named.items() if value is not None)

    async def talk(client: ControlClient) -> int:
        found = await client.call(method, {"kind": kind, "value": value, "reason": args.reason})
        result = found.result if isinstance(found.result, dict) else {}
        cut = f" ({result['sessions_cut']} sessions cut)" if "sessions_cut" in result else ""
        print(f"{done} {kind} {visible(value)}{cut}")
        return 0

    return converse(args, talk)
