"""`hoop-gateway agent run -- COMMAND`: run a program that needs neither tokens nor TLS settings to use the gateway.

Its exit code is the command's own (128 + N where signal N ended it); 2 where the command could not be started.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from gateway.errors import ConfigurationFault

EXAMPLE = """example:
  hoop-gateway agent run --gateway gw.example:6432 --connection orders --issuer https://idp.example/realms/prod
      --client-id reporting-agent --client-secret file:/run/secrets/agent -- psql -c 'SELECT 1'
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `agent run` and its options."""
    parser = subparsers.add_parser("agent", help="the agent's side of the gateway", description="The agent's side.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    run = verbs.add_parser(
        "run",
        help="run a command with a local door to the gateway",
        description="Run COMMAND with PGHOST, PGPORT, PGDATABASE and PGUSER set to a local door to the gateway; tokens"
        " are fetched by client credentials, and long sessions renewed.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.add_argument("--gateway", required=True, metavar="HOST:PORT", help="the gateway's listener for agents")
    run.add_argument("--connection", required=True, metavar="NAME", help="the connection (PGDATABASE)")
    run.add_argument("--issuer", required=True, metavar="URL", help="the OIDC issuer")
    run.add_argument("--client-id", required=True, metavar="ID", help="the agent's client at the issuer")
    run.add_argument(
        "--client-secret", required=True, metavar="REF", help="its secret, a reference: env:NAME or file:PATH"
    )
    run.add_argument("--ca", type=Path, metavar="FILE", help="certificates to trust the gateway by (default: system's)")
    run.add_argument("--user", metavar="NAME", help="PGUSER (default: the client's id)")
    run.add_argument("--tcp", action="store_true", help="a port on loopback, with PGPASSWORD, in place of a socket")
    run.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- COMMAND …", help="what to run")
    run.set_defaults(run=run_command)


def run_command(args: argparse.Namespace) -> int:
    """Run the command to its end."""
    import logging
    import sys

    from gateway.agent.run import AgentOptions, run_agent
    from gateway.settings.units import check_reference, parse_endpoint

    command = args.argv[1:] if args.argv[:1] == ["--"] else args.argv
    if not command:
        raise ConfigurationFault("agent run: name the command after --")
    try:
        place, secret = parse_endpoint(args.gateway), check_reference(args.client_secret)
    except ValueError as fault:
        raise ConfigurationFault(f"agent run: {fault}") from None
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="hoop-gateway agent: %(message)s")
    options = AgentOptions(
        host=place.host,
        port=place.port,
        connection=args.connection,
        issuer=args.issuer,
        client_id=args.client_id,
        secret=secret,
        ca=args.ca,
        user=args.user or args.client_id,
        tcp=args.tcp,
    )
    return run_agent(options, command)
