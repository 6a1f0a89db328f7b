"""`hoop-gateway approvals`: see what waits for a person, and decide about it."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

from gateway.cli.control import add_place, converse
from gateway.errors import ConfigurationFault

if TYPE_CHECKING:
    from gateway.control.client import ControlClient
    from gateway.model import Json

COLUMNS = ("id", "hash", "expires", "subject", "connection", "rule", "statement")
DECIDED_COLUMNS = ("id", "state", "decided", "approver", "subject", "connection", "decision_reason", "statement")
SHOWN = (
    *("state", "expires", "subject", "owner", "issuer", "client_address", "application", "connection", "target"),
    *("role", "in_transaction", "operation", "rule", "reason", "reviewers", "relations", "statement", "parameters"),
    *("warnings", "decided", "approver", "assurance", "decision_reason", "result", "id", "hash"),
)


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `list`, `show`, `approve`, `deny` and `wait`."""
    parser = subparsers.add_parser("approvals", help="see and decide held operations", description=__doc__)
    add_place(parser)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    listing = verbs.add_parser(
        "list", help="list what waits", description="List the operations that wait for a person."
    )
    add_place(listing, inner=True)
    listing.add_argument("--decided", action="store_true", help="list what was decided lately instead")
    listing.add_argument("--json", action="store_true", help="print a JSON array")
    listing.set_defaults(run=run_list)

    show = verbs.add_parser("show", help="show one whole", description="Show one held operation, its statement whole.")
    _about_one(show)
    show.add_argument("--json", action="store_true", help="print JSON")
    show.add_argument("--literals", action="store_true", help="with what is withheld of it: once, and recorded")
    show.add_argument("--reason", metavar="R", help="why, with --literals; recorded")
    show.set_defaults(run=run_show)

    approve = verbs.add_parser(
        "approve", help="let it run", description="Approve exactly the operation with this hash."
    )
    _about_one(approve)
    approve.add_argument(
        "--hash", required=True, type=_hash, metavar="H", help="the first 8 hex digits of the operation's hash, or more"
    )
    approve.add_argument("--reason", required=True, metavar="R", help="why; recorded")
    approve.set_defaults(run=run_approve)

    deny = verbs.add_parser("deny", help="refuse it", description="Refuse the operation; the agent is told the reason.")
    _about_one(deny)
    deny.add_argument("--reason", required=True, metavar="R", help="why; shown to the agent and recorded")
    deny.set_defaults(run=run_deny)

    wait = verbs.add_parser("wait", help="wait until it is decided", description="Wait; exit 0 if approved, else 1.")
    _about_one(wait)
    wait.set_defaults(run=run_wait)


def run_list(args: argparse.Namespace) -> int:
    """Print what is pending, or what was decided lately."""
    from gateway.cli.output import print_rows

    async def talk(client: ControlClient) -> int:
        found = await client.call_all("approvals.list", {"decided": args.decided})
        rows = [each for each in found if isinstance(each, dict)]
        if not args.json:
            rows = [{**row, "hash": str(row.get("hash"))[:12]} for row in rows]
        print_rows(DECIDED_COLUMNS if args.decided else COLUMNS, rows, args.json)
        return 0

    return converse(args, talk)


def run_show(args: argparse.Namespace) -> int:
    """Print one approval, the statement whole; with `--literals`, what is withheld of it too."""
    from gateway.cli.output import print_fields, print_json

    if args.literals and not (args.reason or "").strip():
        raise ConfigurationFault("--literals needs --reason: the look is recorded")

    async def talk(client: ControlClient) -> int:
        found = (await client.call("approvals.get", {"id": args.id})).result
        if args.literals and isinstance(found, dict):
            exact = (await client.call("approvals.reveal", {"id": args.id, "reason": args.reason})).result
            found |= exact if isinstance(exact, dict) else {}
        if args.json or not isinstance(found, dict):
            print_json(found)
        else:
            print_fields([(name, found.get(name)) for name in SHOWN])
        return 0

    return converse(args, talk)


def run_approve(args: argparse.Namespace) -> int:
    """Approve."""
    return _decide(args, "approvals.approve", {"id": args.id, "hash": args.hash, "reason": args.reason})


def run_deny(args: argparse.Namespace) -> int:
    """Refuse."""
    return _decide(args, "approvals.deny", {"id": args.id, "reason": args.reason})


def run_wait(args: argparse.Namespace) -> int:
    """Wait for the decision; 0 where it is an approval."""

    async def talk(client: ControlClient) -> int:
        decided = (await client.call("approvals.wait", {"id": args.id}, patience=math.inf)).result
        print(_told(decided))
        return 0 if isinstance(decided, dict) and decided.get("state") in {"approved", "executed"} else 1

    return converse(args, talk)


def _decide(args: argparse.Namespace, method: str, params: dict[str, Json]) -> int:
    async def talk(client: ControlClient) -> int:
        print(_told((await client.call(method, params)).result))
        return 0

    return converse(args, talk)


def _told(approval: Json) -> str:
    """Say on one line what became of an approval."""
    from gateway.cli.output import visible

    if not isinstance(approval, dict):
        return "unknown"
    who = f" by {approval['approver']}" if approval.get("approver") else ""
    return visible(f"{approval.get('state')} {approval.get('id')}{who}: {approval.get('decision_reason')}")


def _about_one(parser: argparse.ArgumentParser) -> None:
    add_place(parser, inner=True)
    parser.add_argument("id", metavar="ID", help="the approval's id")


def _hash(text: str) -> str:
    from gateway.control.messages import HASH_DIGITS

    lowered = text.strip().lower()
    if len(lowered) < HASH_DIGITS or not set(lowered) <= set("0123456789abcdef"):
        raise argparse.ArgumentTypeError(f"write the first {HASH_DIGITS} hex digits of the operation's hash, or more")
    return lowered
