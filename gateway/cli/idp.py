"""`hoop-gateway idp bootstrap` sets up the Keycloak side of a gateway, `idp confirm` a login at the development issuer.

Bootstrap can be run again: what is there already is kept and put right, nothing is removed. Secrets are written to
files that only this user can read, and never printed. Confirm works only for who can read the state directory.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gateway.errors import ConfigurationFault, IssuerFault


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `idp bootstrap` and its options."""
    parser = subparsers.add_parser("idp", help="set up the identity provider", description="The identity provider.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    command = verbs.add_parser(
        "bootstrap",
        help="set up a Keycloak realm for the gateway and its agents",
        description="Make in a Keycloak realm: the gateway's client (audience of the tokens, asks about them), the"
        " scope with its mappers (subject, audience, groups), and a service client for each agent with its owner."
        " Prints the [identity] table for gateway.toml.",
    )
    command.add_argument("--issuer", required=True, metavar="URL", help="the realm: https://host/realms/NAME")
    command.add_argument("--admin-user", default="admin", metavar="NAME", help="an administrator (default: admin)")
    command.add_argument(
        "--admin-password", required=True, metavar="REF", help="the password, a reference: env:NAME or file:PATH"
    )
    command.add_argument("--admin-realm", default="master", metavar="NAME", help="the administrator's realm")
    command.add_argument("--secrets", required=True, type=Path, metavar="DIR", help="where the clients' secrets go")
    command.add_argument(
        "--realm", type=Path, metavar="FILE", help="a realm in Keycloak's export format: its clients and owners"
    )
    command.add_argument("--agent", metavar="NAME", help="a further agent's client")
    command.add_argument("--owner", metavar="O", help="who answers for it: a user's name, or a subject")
    command.add_argument("--groups", type=_names, default=(), metavar="a,b", help="its groups")
    command.add_argument(
        "--logout-url", metavar="URL", help="where Keycloak tells the gateway of logouts: …/backchannel-logout"
    )
    command.set_defaults(run=run)

    confirm = verbs.add_parser(
        "confirm",
        help="confirm a login at the development issuer",
        description="Confirm a login that was begun with `hoop-gateway login`, in the place of a person at a browser."
        " Works where identity.development = true.",
    )
    confirm.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help="the gateway's configuration")
    confirm.add_argument("code", metavar="CODE", help="the code that the login shows")
    confirm.add_argument("--subject", required=True, metavar="S", help="who logs in: a user of the realm, or a subject")
    confirm.add_argument("--groups", type=_names, metavar="a,b", help="their groups (default: the realm's)")
    confirm.set_defaults(run=run_confirm)


def run_confirm(args: argparse.Namespace) -> int:
    """Sign the confirmation with the issuer's key and hand it in; exit 1 where no such code waits."""
    import http.client
    from urllib.parse import quote, urlencode, urlsplit

    from gateway.authority import development_issuer
    from gateway.evidence.storage import SystemClock, SystemEntropy
    from gateway.settings import load

    settings = load(args.config)
    if not settings.identity.development:
        raise ConfigurationFault("identity.development is false: people confirm at the issuer, not with this command")
    issuer = development_issuer(settings, SystemClock(), SystemEntropy())
    place = urlsplit(issuer.issuer_url)
    form = urlencode({"confirmation": issuer.confirmation(args.code.strip().upper(), args.subject, args.groups)})
    connection = http.client.HTTPConnection(place.hostname or "", place.port or 80, timeout=10)
    try:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", quote(f"{place.path}/device"), form, headers)
        status = connection.getresponse().status
    except OSError as error:
        raise IssuerFault(f"no gateway answers for its issuer ({error.strerror or error}); start it first") from None
    finally:
        connection.close()
    if status != 200:
        print("no login waits for this code; begin one with `hoop-gateway login`", file=sys.stderr)
        return 1
    print("confirmed")
    return 0


def run(args: argparse.Namespace) -> int:
    """Set the realm up, and say what there is."""
    from gateway.cli.output import print_rows
    from gateway.identity.bootstrap import Agent, bootstrap, configuration
    from gateway.identity.issuer import realm_address
    from gateway.identity.realm import read_representation
    from gateway.settings.units import check_reference
    from gateway.target.credentials import fetch

    if (args.owner or args.groups) and not args.agent:
        raise ConfigurationFault("idp bootstrap: --owner and --groups belong to an --agent")
    try:
        password = fetch(check_reference(args.admin_password)).reveal().decode("utf-8")
    except ValueError as fault:
        raise ConfigurationFault(f"idp bootstrap: --admin-password: {fault}") from None
    agents = [Agent(args.agent, args.owner, tuple(args.groups))] if args.agent else []
    address = realm_address(args.issuer)
    made = bootstrap(
        address,
        (args.admin_realm, args.admin_user, password),
        read_representation(args.realm) if args.realm is not None else None,
        agents,
        args.secrets,
        args.logout_url,
    )
    print_rows(("client", "subject", "owner", "groups", "secret"), [each.row() for each in made], False)
    print()
    print(configuration(address.issuer_url, made), end="")
    return 0


def _names(text: str) -> tuple[str, ...]:
    """Return the names of `a,b`; argparse shows the error."""
    names = tuple(part.strip().removeprefix("/") for part in text.split(","))
    if not all(names):
        raise argparse.ArgumentTypeError("write names with commas between: reporting,oncall")
    return names
