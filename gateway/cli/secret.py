"""`hoop-gateway secret`: the credential vault, for people who set passwords and never see one again.

Promises that no subcommand prints a secret or takes one as an argument, which others on the machine could read: values
come on standard input. Needs no running gateway; a running one takes the new value with its next session.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import ConfigurationFault

if TYPE_CHECKING:
    from gateway.target.vault import Vault


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its subcommands."""
    parser = subparsers.add_parser(
        "secret",
        help="the credential vault",
        description='Passwords of targets, kept in an age file; a connection names one as password = "vault:NAME".',
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    config = argparse.ArgumentParser(add_help=False)
    config.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help="the gateway's configuration")
    _add(actions, "set", _set, config, "set a secret to what stands on standard input").add_argument("name")
    listing = _add(actions, "list", _list, config, "name the secrets, and when each was set")
    listing.add_argument("--json", action="store_true", help="a JSON array")
    _add(actions, "remove", _remove, config, "remove a secret").add_argument("name")
    _add(actions, "rekey", _rekey, config, "give the gateway a new key, and encrypt everything anew")
    recover = _add(actions, "recover", _recover, config, "open the vault by a recovery key")
    recover.add_argument("--identity", type=Path, required=True, metavar="FILE", help="an age identity")
    make = _add(actions, "recovery-key", _recovery_key, None, "make a recovery key; prints its public half")
    make.add_argument("file", type=Path, metavar="FILE", help="where to write it; keep it elsewhere")


def _add(
    actions: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: object,
    parent: argparse.ArgumentParser | None,
    words: str,
) -> argparse.ArgumentParser:
    parents = [parent] if parent is not None else []
    action = actions.add_parser(name, help=words, description=words[0].upper() + words[1:] + ".", parents=parents)
    action.set_defaults(run=run)
    return action


def _vault(args: argparse.Namespace) -> Vault:
    from gateway.settings import load
    from gateway.target.vault import Vault

    settings = load(args.config)
    return Vault(settings.vault_dir, settings.vault.recovery)


def _set(args: argparse.Namespace) -> int:
    from getpass import getpass

    from gateway.evidence.storage import SystemClock
    from gateway.target.vault import SECRET_BYTES

    vault = _vault(args)
    if sys.stdin.isatty():
        value = getpass(f"{args.name}: ").encode("utf-8", "surrogateescape")
    else:
        value = sys.stdin.buffer.read(SECRET_BYTES + 2).removesuffix(b"\n").removesuffix(b"\r")
    replaced = vault.store(args.name, value, SystemClock().now())
    print(f"{'replaced' if replaced else 'set'} {args.name}")
    if not vault.recovery:
        print("note: vault.recovery names no key: whoever loses this machine loses the vault", file=sys.stderr)
    return 0


def _list(args: argparse.Namespace) -> int:
    from gateway.cli.output import print_rows

    rows = [{"name": name, "changed": changed} for name, changed in _vault(args).names()]
    print_rows(("name", "changed"), rows, args.json)
    return 0


def _remove(args: argparse.Namespace) -> int:
    from gateway.cli.output import visible

    if not _vault(args).remove(args.name):
        print(f"hoop-gateway: the vault holds no {visible(args.name)}", file=sys.stderr)
        return 1
    print(f"removed {args.name}")
    return 0


def _rekey(args: argparse.Namespace) -> int:
    vault = _vault(args)
    vault.rekey()
    print(f"encrypted anew, to a new key and {len(vault.recovery)} recovery keys")
    return 0


def _recover(args: argparse.Namespace) -> int:
    from gateway.target.vault import identities

    try:
        text = args.identity.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise ConfigurationFault(f"{args.identity} cannot be read") from None
    count = _vault(args).recover(identities(text, str(args.identity)))
    print(f"recovered: {count} secrets; the gateway opens them again")
    return 0


def _recovery_key(args: argparse.Namespace) -> int:
    import os

    from pyrage import x25519

    key = x25519.Identity.generate()
    try:
        descriptor = os.open(args.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise ConfigurationFault(f"{args.file} exists already; nothing was written") from None
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"# public key: {key.to_public()}\n{key}\n")
        file.flush()
        os.fsync(file.fileno())
    print(key.to_public())
    return 0
