"""`hoop-gateway evidence unseal`: the auditor's side of sealed originals."""

from __future__ import annotations

import argparse
import getpass
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.control import add_place, converse
from gateway.cli.output import print_json, visible
from gateway.errors import ConfigurationFault

if TYPE_CHECKING:
    from gateway.control.client import ControlClient


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `unseal`."""
    unseal = commands.add_parser("unseal", help="open sealed originals with an auditor's age identity; recorded")
    unseal.add_argument("directory", type=Path, metavar="DIR", help="state_dir/evidence, or a copy of it")
    unseal.add_argument("out", type=Path, metavar="OUT_DIR", help="a new folder for what is opened")
    unseal.add_argument("--identity", type=Path, required=True, metavar="FILE", help="the auditor's age identity")
    unseal.add_argument("--session", metavar="ID", help="only this session's")
    unseal.add_argument("--reason", required=True, metavar="R", help="why; recorded")
    unseal.add_argument("--json", action="store_true", help="print one JSON object")
    add_place(unseal)
    unseal.set_defaults(run=_unseal)


def _unseal(args: argparse.Namespace) -> int:
    from gateway.evidence.unseal import check_place, make_place, open_originals, read_identity, summary

    identity = read_identity(args.identity)
    check_place(args.directory, args.out)
    what = f"originals of session {args.session}" if args.session else "originals of all sessions"
    record_access(args, args.out, f"{what}, with {identity.recipient}", identity.recipient)
    make_place(args.out)
    found = open_originals(args.directory, args.out, identity, args.session)
    none = args.session is not None and not (found.envelopes or found.findings)
    if args.json:
        print_json(summary(found))
    elif none:
        print(visible(f"nothing is sealed of a session {args.session}"))
    else:
        for finding in found.findings:
            print(visible(str(finding)))
        print(f"{found.values} values in {found.envelopes} envelopes of {len(found.sessions)} sessions: {args.out}")
    return 1 if found.findings or none else 0


def record_access(args: argparse.Namespace, out: Path, what: str, recipient: str | None) -> int | None:
    """Have the access written down first: by the running gateway in its log, or beside what comes out of a copy.

    Returns the record's number in the gateway's log, None where no gateway runs.
    """
    from gateway.evidence.storage import SystemClock
    from gateway.evidence.unseal import ACCESS, is_live, make_place, note_access
    from gateway.model import format_time

    if not args.reason.strip():
        raise ConfigurationFault("give a reason; it is recorded")
    if args.config is not None or args.socket is not None or is_live(args.directory):
        return _ask(args, what)
    if recipient is None:
        return None
    make_place(out)
    at = format_time(SystemClock().now())
    told = {"ts": at, "who": getpass.getuser(), "recipient": recipient, "what": what, "reason": args.reason}
    note_access(out, {**told, "evidence": str(args.directory)})
    if not args.json:
        print(f"noted in {out / ACCESS}")
    return None


def _ask(args: argparse.Namespace, what: str) -> int:
    recorded: list[int] = []

    async def conversation(client: ControlClient) -> int:
        found = (await client.call("evidence.access", {"what": what, "reason": args.reason})).result
        seq = found.get("seq") if isinstance(found, dict) else None
        recorded.append(seq if isinstance(seq, int) else 0)
        return 0

    if args.config is None and args.socket is None:
        args.socket = args.directory.resolve().parent / "control.sock"
    if converse(args, conversation) != 0:
        raise ConfigurationFault("the gateway did not record it; nothing was opened")
    return recorded[0]
