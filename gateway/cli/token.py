"""`hoop-gateway token`: print an access token of the development issuer.

It promises to print nothing but the token, to need no running gateway, and to refuse where the configuration names a
real issuer. The token is written to standard output alone, never to a file or a log.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from gateway.errors import ConfigurationFault


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = subparsers.add_parser(
        "token",
        help="print an access token of the development issuer",
        description="Print an access token for an agent. Works where identity.development = true.",
    )
    parser.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help="the gateway's configuration")
    parser.add_argument("--subject", required=True, metavar="S", help="whom the token speaks of")
    parser.add_argument("--groups", type=_names, default=(), metavar="a,b", help="the groups it belongs to")
    parser.add_argument("--owner", metavar="O", help="the subject of the person who answers for it")
    parser.add_argument("--ttl", type=_seconds, default=3600, metavar="15m", help="how long it lasts (default 60m)")
    parser.add_argument("--certificate", type=Path, metavar="FILE", help="a client certificate (PEM) to bind it to")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the token; raise `ConfigurationFault` where none can be made."""
    from gateway.evidence.storage import SystemClock, SystemEntropy
    from gateway.identity.development import DevelopmentIssuer
    from gateway.settings import load

    settings = load(args.config)
    if not settings.identity.development:
        raise ConfigurationFault("identity.development is false: tokens come from the issuer, not from this command")
    issuer = DevelopmentIssuer.load_or_create(
        Path(settings.gateway.state_dir),
        audience=settings.identity.audience,
        groups_claim=settings.identity.groups_claim,
        issuer_url=settings.identity.issuer,
        clock=SystemClock(),
        entropy=SystemEntropy(),
    )
    bound_to = _thumbprint(args.certificate) if args.certificate is not None else None
    print(issuer.mint(args.subject, args.groups, args.ttl, args.owner, bound_to=bound_to))
    return 0


def _thumbprint(certificate: Path) -> str:
    import ssl

    from gateway.identity.admission import thumbprint

    try:
        return thumbprint(ssl.PEM_cert_to_DER_cert(certificate.read_text(encoding="ascii")))
    except (OSError, ValueError):
        raise ConfigurationFault(f"--certificate: {certificate} is not a certificate in PEM form") from None


def _names(text: str) -> tuple[str, ...]:
    """Return the names of `a,b`; argparse shows the error."""
    names = tuple(part.strip() for part in text.split(","))
    if not all(names):
        raise argparse.ArgumentTypeError("write names with commas between: reporting,oncall")
    return names


def _seconds(text: str) -> int:
    """Return the seconds of `1s`, `15m`, `2h`; argparse shows the error."""
    from gateway.settings.units import parse_duration

    try:
        micros = parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if micros < 1_000_000 or micros % 1_000_000:
        raise argparse.ArgumentTypeError("write whole seconds, minutes or hours: 30s, 15m, 2h")
    return micros // 1_000_000
