"""`hoop-gateway policy test`: what the gateway would make of a statement, without running it.

Promises the verdict of the configuration file as it stands, by the target's own catalog where that can be read; where
not, it says so and takes every relation for unknown. Nothing is sent to the target but the reading of its catalog.
Exit code 0 whatever the verdict.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import ConfigurationFault, TargetFault

if TYPE_CHECKING:
    from gateway.model import Connection, Json, Micros
    from gateway.policy.catalog import Catalog
    from gateway.policy.decide import Context
    from gateway.policy.trial import Trial

SECONDS = 15
"""How long reading the target's catalog may take."""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = subparsers.add_parser("policy", help="try rules", description="Try the rules of a configuration.")
    commands = parser.add_subparsers(dest="policy_command", required=True, metavar="COMMAND")
    test = commands.add_parser(
        "test",
        help="what would the gateway say of a statement",
        description="Judge a statement as the gateway would, without running it. Exit code 0 whatever the verdict.",
    )
    test.add_argument("sql", metavar="SQL", help="the statement; - reads it from standard input")
    test.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help="the gateway's configuration")
    test.add_argument("--connection", required=True, metavar="C", help="the connection that it would come by")
    test.add_argument("--subject", default="agent", metavar="S", help="the subject of the agent's token")
    test.add_argument("--groups", type=_names, default=(), metavar="a,b", help="its groups")
    test.add_argument("--at", type=_moment, metavar="T", help="when: `mon 22:15` or 2026-01-05T22:15Z, UTC (now)")
    test.add_argument("--json", action="store_true", help="print JSON")
    test.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the verdict."""
    import trio

    from gateway.cli.output import print_fields, print_json
    from gateway.evidence.storage import SystemClock
    from gateway.policy.decide import Context
    from gateway.settings import load

    connections = {each.name: each for each in load(args.config).connections()}
    connection = connections.get(args.connection)
    if connection is None:
        raise ConfigurationFault(f"{args.config}: no such connection; there are: {', '.join(connections) or 'none'}")
    sql = sys.stdin.buffer.read() if args.sql == "-" else args.sql.encode("utf-8", "surrogateescape")
    at = SystemClock().now() if args.at is None else args.at
    context = Context(args.subject, args.groups, at)
    trial, fault = trio.run(_try, connection, sql, context)
    shown = _shown(trial, context, fault)
    if args.json:
        print_json(shown)
    else:
        print_fields([(key.replace("_", " "), value) for key, value in shown.items() if value not in (None, "", [])])
    return 0


async def _try(connection: Connection, sql: bytes, context: Context) -> tuple[Trial, str]:
    from gateway.masking.marks import bind

    catalog, fault = await read_catalog(connection, SECONDS)
    binding = bind(catalog, connection)
    if not fault and binding.unmatched:
        names = ", ".join(map(str, binding.unmatched))
        raise ConfigurationFault(f"mask: {names} matches no column; the connection is closed to agents")
    return await judged(connection, binding.catalog, sql, context), fault


async def read_catalog(connection: Connection, seconds: int) -> tuple[Catalog, str]:
    """Read the target's catalog; where that fails, return one that knows nothing, and why."""
    from gateway.policy.trial import no_catalog
    from gateway.target.catalog import CatalogReader

    reader = CatalogReader(connection, timeout=seconds)
    try:
        return await reader.load(), ""
    except (TargetFault, ConfigurationFault) as fault:
        return no_catalog(connection), str(fault)
    finally:
        await reader.aclose()


async def judged(connection: Connection, catalog: Catalog, sql: bytes, context: Context) -> Trial:
    """Judge a statement as the first of a session, in a catalog that is bound to the connection."""
    from gateway.parsing import understand
    from gateway.policy.rules import compile_rules
    from gateway.policy.statement import SessionState
    from gateway.policy.trial import tried

    return tried(await understand(sql, SessionState(), catalog), compile_rules(connection), context)


async def try_tests(connection: Connection, catalog: Catalog) -> list[str]:
    """Run the connection's own tests; return one line for each whose verdict is another."""
    from gateway.policy.decide import Context
    from gateway.policy.trial import differs

    found = []
    for test in connection.tests:
        trial = await judged(connection, catalog, test.sql.encode(), Context(test.subject, test.groups, test.at))
        why = differs(test, trial.verdict)
        if why:
            found.append(f"test: {test.where}: {why}")
    return found


def _shown(trial: Trial, context: Context, fault: str) -> dict[str, Json]:
    from gateway.model import format_time
    from gateway.policy.trial import word

    verdict = trial.verdict
    return {
        "verdict": word(verdict.kind, effect=verdict.effect),
        "would": verdict.would.value if verdict.would is not None else None,
        "rule": verdict.rule,
        "where": verdict.where,
        "reason": verdict.reason,
        "hint": verdict.hint,
        "operation": verdict.operation,
        "reviewers": list(verdict.reviewers),
        "masked_columns": list(trial.masked),
        "relations": list(trial.relations),
        "sets_off": list(trial.sets_off),
        "limits": list(trial.limits),
        "subject": context.subject,
        "groups": list(context.groups),
        "at": format_time(context.at),
        "catalog": f"not read: {fault}; every relation counts as unknown" if fault else "read from the target",
    }


def _names(text: str) -> Sequence[str]:
    """Return the names of `a,b`; argparse shows the error."""
    names = tuple(part.strip().removeprefix("/") for part in text.split(","))
    if not all(names):
        raise argparse.ArgumentTypeError("write names with commas between: reporting,oncall")
    return names


def _moment(text: str) -> Micros:
    """Return a moment; argparse shows the error."""
    from gateway.settings.units import parse_moment

    try:
        return parse_moment(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
