"""`hoop-gateway approvals`: see what waits for a person, and decide about it."""

from __future__ import annotations

import argparse
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.control import add_place, converse, list_all
from gateway.errors import ConfigurationFault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.control.client import ControlClient
    from gateway.evidence.note import Verifier
    from gateway.model import Json

COLUMNS = ("id", "hash", "expires", "subject", "connection", "rule", "statement")
GRANT_COLUMNS = ("id", "expires", "subject", "connection", "scope", "rules", "by", "assurance", "reason")
DECIDED_COLUMNS = (
    *("id", "state", "decided", "approver", "break_glass", "subject", "connection", "decision_reason", "statement"),
)
HISTORY = (
    ("What this agent did lately", ("at", "connection", "verdict", "outcome", "operation", "text"), "lately"),
    ("The same text before", ("requested", "id", "subject", "state", "approver", "reason"), "earlier"),
)
SHOWN = (
    *("state", "expires", "subject", "owner", "issuer", "client_address", "application", "connection", "target"),
    *("role", "in_transaction", "operation", "rule", "reason", "reviewers", "approvals_needed", "votes", "missing"),
    *(
        "escalates",
        "escalated",
        "escalated_to",
        "break_glass",
        "sessions",
        "relations",
        "impact",
        "effect",
        "statement",
    ),
    "parameters",
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


def run_show(args: argparse.Namespace) -> int:
    """Print one approval, the statement whole, and what was before; with `--literals`, what is withheld of it too."""
    from gateway.cli.output import print_fields, print_json, print_rows

    if args.literals and not (args.reason or "").strip():
        raise ConfigurationFault("--literals needs --reason: the look is recorded")

    async def talk(client: ControlClient) -> int:
        found = (await client.call("approvals.get", {"id": args.id})).result
        if args.literals and isinstance(found, dict):
            exact = (await client.call("approvals.reveal", {"id": args.id, "reason": args.reason})).result
            found |= exact if isinstance(exact, dict) else {}
        before = await _history(client, args.id)
        if args.json or not isinstance(found, dict):
            print_json({**found, **before} if isinstance(found, dict) else found)
            return 0
        print_fields([(name, effect_lines(found[name]) if name == "effect" else found.get(name)) for name in SHOWN])
        for title, columns, key in HISTORY:
            print(f"\n{title}")
            listed = before.get(key)
            rows = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
            print_rows(columns, rows, False)
        return 0

    return converse(args, talk)


def effect_lines(effect: Json) -> Json:
    """Return what a held operation did already as lines for people: counts, then each row before and after."""
    if not isinstance(effect, dict):
        return effect
    said = "its rows are fetched in parts" if effect.get("rows") is None else f"{effect['rows']} rows reported"
    lines: list[Json] = [f"{said}; nothing is committed"]
    relations, sample = effect.get("relations"), effect.get("sample")
    if not isinstance(relations, list):
        lines.append("rows changed: not counted by the target")
    for one in relations if isinstance(relations, list) else ():
        if isinstance(one, dict):
            told = ", ".join(f"{one[word]} {word}" for word in ("inserted", "updated", "deleted") if one.get(word))
            lines.append(f"{one.get('relation')}: {told}")
    lines += [f"and {effect['more']} more relations"] if effect.get("more") else []
    lines += [f"no sample: {effect.get('no_sample')}"] if effect.get("no_sample") else []
    if isinstance(sample, dict):
        columns, rows = sample.get("columns"), sample.get("rows")
        names = ", ".join(map(str, columns)) if isinstance(columns, list) else ""
        lines.append(f"sample of {sample.get('relation')}: {names}")
        for row in rows if isinstance(rows, list) else ():
            if isinstance(row, dict):
                lines += [f"{side}: {_values(row[side])}" for side in ("before", "after")]
    lasting = effect.get("lasting")
    return lines + [f"not undone by refusing: {words}" for words in (lasting if isinstance(lasting, list) else ())]


def _values(values: Json) -> str:
    if not isinstance(values, list):
        return "none"
    return ", ".join("NULL" if value is None else str(value) for value in values)


async def _history(client: ControlClient, approval: str) -> dict[str, Json]:
    """Return what the evidence says of the time before; where it cannot be read, that is said, and no more."""
    from gateway.control.messages import Refusal

    try:
        found = (await client.call("approvals.history", {"id": approval}, patience=40)).result
    except Refusal as refusal:
        print(f"hoop-gateway: what was before is not known: {refusal}", file=sys.stderr)
        return {}
    return found if isinstance(found, dict) else {}


def run_approve(args: argparse.Namespace) -> int:
    """Approve; with a key, sign the receipt first."""
    params: dict[str, Json] = {"id": args.id, "hash": args.hash, "reason": args.reason}
    if args.period is not None:
        params |= {"seconds": args.period, "scope": args.scope}
    if args.break_glass:
        params["break_glass"] = True

    key = str(Path(args.key).expanduser()) if args.key else None

    async def talk(client: ControlClient) -> int:
        signed = {} if key is None else {"signature": await _signature(client, params, key)}
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


def run_receipt(args: argparse.Namespace) -> int:
    """Write the receipts; exit 1 where the evidence has none of this approval."""
    from gateway.control.receipts import check_command
    from gateway.evidence.receipts import log_key, receipts_of
    from gateway.settings import load

    evidence = args.evidence if args.evidence is not None else load(args.config).evidence_dir
    found = receipts_of(evidence, args.id)
    if not found:
        print(f"hoop-gateway: the evidence has no decision by a person about {args.id!r}", file=sys.stderr)
        return 1
    key = log_key(evidence)
    args.out.mkdir(parents=True, exist_ok=True)
    for place, each in enumerate(found, 1):
        path = args.out / f"receipt-{place}.json"
        path.write_bytes(each.text.encode())
        print(f"{path}: {each.decision} by {each.approver} ({each.assurance}), record {each.log}:{each.seq}")
        if each.signature is None or each.signer is None:
            print("  not signed by a person: a login was their proof")
        else:
            path.with_name(f"{path.name}.sig").write_text(each.signature)
            path.with_name(f"{path.name}.allowed_signers").write_text(f"{each.signer}\n")
            print(f"  {check_command(each.signer.split()[0], str(path))}")
        if each.countersignature is not None and key is not None:
            _write_countersignature(path, each.countersignature, key)
    return 0


def _write_countersignature(path: Path, signature: str, key: Verifier) -> None:
    """Write the gateway's own signature beside a receipt, and say how it is checked."""
    from gateway.approval.signatures import public_key
    from gateway.control.receipts import COUNTERSIGNED, check_command

    beside = ".gateway"
    path.with_name(f"{path.name}{beside}.sig").write_text(signature)
    signers = public_key(key.key).line(key.name, COUNTERSIGNED)
    path.with_name(f"{path.name}{beside}.allowed_signers").write_text(f"{signers}\n")
    print(f"  given by the gateway: {check_command(key.name, str(path), COUNTERSIGNED, beside)}")


async def _signature(client: ControlClient, params: Mapping[str, Json], key: str) -> str:
    """Have the gateway write the receipt, see that it says what is decided here, and sign exactly its bytes."""
    import trio

    from gateway.control.receipts import check_receipt, sign_command
    from gateway.errors import ConfigurationFault

    answer = (await client.call("approvals.receipt", params)).result
    text = answer.get("receipt") if isinstance(answer, dict) else None
    if not isinstance(text, str):
        raise ConfigurationFault("the gateway wrote no receipt to sign")
    leave = {"seconds": params["seconds"], "scope": params["scope"]} if "seconds" in params else None
    expected: dict[str, Json] = {
        "approval": params["id"],
        "decision": "approved",
        "reason": " ".join(str(params["reason"]).split()),
        "leave": leave,
        "break_glass": params.get("break_glass", False),
    }
    check_receipt(text, expected, hash_prefix=str(params["hash"]))
    print("signing; touch the key if it asks", file=sys.stderr, flush=True)
    done = await trio.run_process(sign_command(key), stdin=text.encode(), capture_stdout=True, stderr=None, check=False)
    if done.returncode != 0:
        raise ConfigurationFault("ssh-keygen did not sign; what it said stands above")
    signature: str = done.stdout.decode()
    return signature


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
