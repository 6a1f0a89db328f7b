"""`hoop-gateway approvals show`: one held operation as a reviewer must see it, and what was before it."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from gateway.cli.control import converse
from gateway.errors import ConfigurationFault

if TYPE_CHECKING:
    from gateway.control.client import ControlClient
    from gateway.model import Json

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
