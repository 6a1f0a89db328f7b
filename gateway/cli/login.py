"""`hoop-gateway login`, `logout` and `whoami`: an operator's login, which the gateway holds in memory for ten minutes.

The login is for this terminal's session alone. Nothing of it is written to a file, and no token comes here.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from gateway.cli.control import add_place, converse

if TYPE_CHECKING:
    from gateway.control.client import ControlClient
    from gateway.model import Json

SHOWN = ("operator", "subject", "name", "issuer", "roles", "groups", "since", "until")


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the three commands."""
    login = subparsers.add_parser(
        "login",
        help="log in, to decide",
        description="Log in at the issuer with a browser, here or anywhere. For ten minutes this terminal may decide.",
    )
    add_place(login)
    login.add_argument("--json", action="store_true", help="print two JSON lines: what to confirm, and who logged in")
    login.set_defaults(run=run_login)
    logout = subparsers.add_parser("logout", help="end the login", description="End the login of this terminal.")
    add_place(logout)
    logout.set_defaults(run=run_logout)
    whoami = subparsers.add_parser(
        "whoami", help="who you are to the gateway", description="Show who you are to the gateway. Exit 1: no login."
    )
    add_place(whoami)
    whoami.add_argument("--json", action="store_true", help="print JSON")
    whoami.set_defaults(run=run_whoami)


def run_login(args: argparse.Namespace) -> int:
    """Show the code, wait until it is confirmed, and say who logged in."""
    import json

    from gateway.cli.output import visible

    async def talk(client: ControlClient) -> int:
        code = (await client.call("login.start")).result
        if not isinstance(code, dict):
            return 2
        if args.json:
            print(json.dumps(code), flush=True)
        else:
            whole = code.get("verification_uri_complete")
            print(f"open     {visible(str(code['verification_uri']))}")
            print(f"enter    {visible(str(code['user_code']))}")
            if whole:
                print(f"or open  {visible(str(whole))}")
            print("waiting ...", flush=True)
        seconds = code.get("seconds")
        found = (await client.call("login.wait", patience=60 + (seconds if isinstance(seconds, int) else 0))).result
        print(json.dumps(found) if args.json else visible(_told(found)))
        return 0

    return converse(args, talk)


def run_logout(args: argparse.Namespace) -> int:
    """End the login; exit 1 where there was none."""

    async def talk(client: ControlClient) -> int:
        found = (await client.call("login.end")).result
        ended = isinstance(found, dict) and found.get("ended") is True
        print("logged out" if ended else "nobody was logged in here")
        return 0 if ended else 1

    return converse(args, talk)


def run_whoami(args: argparse.Namespace) -> int:
    """Show the login; exit 1 where there is none."""
    from gateway.cli.output import print_fields, print_json

    async def talk(client: ControlClient) -> int:
        found = (await client.call("login.show")).result
        login = found.get("login") if isinstance(found, dict) else None
        if args.json:
            print_json(found)
        elif isinstance(login, dict):
            print_fields([(name, login.get(name)) for name in SHOWN])
        elif isinstance(found, dict):
            print_fields([(name, found.get(name)) for name in ("operator", "roles", "groups", "assurance")])
            if found.get("assurance") != "uid":
                print("not logged in: you may watch; `hoop-gateway login` lets you decide", file=sys.stderr)
        return 0 if login else 1

    return converse(args, talk)


def _told(login: Json) -> str:
    if not isinstance(login, dict):
        return "logged in"
    roles = login.get("roles")
    decides = "decides" if isinstance(roles, list) and "decide" in roles else "watches"
    groups = login.get("groups")
    listed = f" for {', '.join(map(str, groups))}" if isinstance(groups, list) and groups else ""
    who = f"{login.get('operator')} ({login.get('subject')})"
    return f"logged in as {who}, who {decides}{listed}, until {login.get('until')}"
