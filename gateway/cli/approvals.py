"""`hoop-gateway approvals`: see what waits for a person, and decide about it."""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.approvals_shown import run_show
from gateway.cli.approvals_signed import run_receipt, signature_for
from gateway.cli.control import add_place, converse, list_all

if TYPE_CHECKING:
    from gateway.control.client import ControlClient
    from gateway.model import Json

COLUMNS = ("id", "hash", "expires", "subject", "connection", "rule", "statement")
GRANT_COLUMNS = ("id", "expires", "subject", "connection", "scope", "rules", "by", "assurance", "reason")
DECIDED_COLUMNS = (
    *("id", "state", "decided", "approver", "break_glass", "subject", "connection", "decision_reason", "statement"),
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
    approve.add_argument(
        "--for",
        dest="period",
        type=_period,
        metavar="30m",
        help="let the agent through for so long, where the rule is approve-session",
    )
    approve.add_argument(
        "--scope",
        choices=("rule", "connection"),
        default="rule",
        help="with --for: for this rule (default), or for every approve-session rule of the connection",
    )
    approve.add_argument(
        "--key",
        metavar="FILE",
        default=os.environ.get("HOOP_SIGNING_KEY"),
        help="sign the receipt with this SSH key: a private one, or a public one whose private half an agent or a"
        " hardware key holds (default: HOOP_SIGNING_KEY)",
    )
    approve.add_argument(
        "--break-glass",
        action="store_true",
        help="approve in the place of everybody who is missing, where [approvals.break_glass] lets you: one operation,"
        " once; an alarm is recorded and everybody is told",
    )
    approve.set_defaults(run=run_approve)

    deny = verbs.add_parser("deny", help="refuse it", description="Refuse the operation; the agent is told the reason.")
    _about_one(deny)
    deny.add_argument("--reason", required=True, metavar="R", help="why; shown to the agent and recorded")
    deny.set_defaults(run=run_deny)

    wait = verbs.add_parser("wait", help="wait until it is decided", description="Wait; exit 0 if approved, else 1.")
    _about_one(wait)
    wait.set_defaults(run=run_wait)

    grants = verbs.add_parser(
        "grants", help="list who is let through", description="List what was granted for a period and is in force."
    )
    add_place(grants, inner=True)
    grants.add_argument("--json", action="store_true", help="print a JSON array")
    grants.set_defaults(run=run_grants)

    withdraw = verbs.add_parser(
        "withdraw", help="take a grant back", description="Take a grant back; it is over from that moment."
    )
    _about_one(withdraw)
    withdraw.add_argument("--reason", required=True, metavar="R", help="why; recorded")
    withdraw.set_defaults(run=run_withdraw)

    receipt = verbs.add_parser(
        "receipt",
        help="write a decision's receipts",
        description="Write the receipts of a decision from the evidence, with their signatures and the allowed signers,"
        " and say how stock ssh-keygen checks them. Works on a copy of the evidence too.",
    )
    receipt.add_argument("id", metavar="ID", help="the approval's id")
    receipt.add_argument("out", metavar="OUT_DIR", type=Path, help="where to write; made where absent")
    place = receipt.add_mutually_exclusive_group(required=True)
    place.add_argument("-c", "--config", type=Path, metavar="FILE", help="the gateway's configuration")
    place.add_argument("--evidence", type=Path, metavar="DIR", help="the evidence directory, or a copy of it")
    receipt.set_defaults(run=run_receipt)


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


def run_approve(args: argparse.Namespace) -> int:
    """Approve; with a key, sign the receipt first."""
    params: dict[str, Json] = {"id": args.id, "hash": args.hash, "reason": args.reason}
    if args.period is not None:
        params |= {"seconds": args.period, "scope": args.scope}
    if args.break_glass:
        params["break_glass"] = True

    key = str(Path(args.key).expanduser()) if args.key else None

    async def talk(client: ControlClient) -> int:
        signed = {} if key is None else {"signature": await signature_for(client, params, key)}
        print(_told((await client.call("approvals.approve", {**params, **signed})).result))
        return 0

    return converse(args, talk)


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


def run_grants(args: argparse.Namespace) -> int:
    """Print what is granted now."""
    return list_all(args, "grants.list", GRANT_COLUMNS)


def run_withdraw(args: argparse.Namespace) -> int:
    """Take a grant back."""
    from gateway.cli.output import visible

    async def talk(client: ControlClient) -> int:
        found = (await client.call("grants.withdraw", {"id": args.id, "reason": args.reason})).result
        subject = found.get("subject") if isinstance(found, dict) else ""
        print(visible(f"withdrawn {args.id}: {subject} is let through no more"))
        return 0

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
    glass = " (BREAK-GLASS)" if approval.get("break_glass") else ""
    return visible(f"{approval.get('state')} {approval.get('id')}{who}{glass}: {approval.get('decision_reason')}")


def _about_one(parser: argparse.ArgumentParser) -> None:
    add_place(parser, inner=True)
    parser.add_argument("id", metavar="ID", help="the approval's id")


def _period(text: str) -> int:
    from gateway.settings.units import parse_duration

    try:
        micros = parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if micros < 1_000_000:
        raise argparse.ArgumentTypeError("write how long: 30m, 2h")
    return micros // 1_000_000


def _hash(text: str) -> str:
    from gateway.control.messages import HASH_DIGITS

    lowered = text.strip().lower()
    if len(lowered) < HASH_DIGITS or not set(lowered) <= set("0123456789abcdef"):
        raise argparse.ArgumentTypeError(f"write the first {HASH_DIGITS} hex digits of the operation's hash, or more")
    return lowered
