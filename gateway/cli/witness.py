"""`hoop-gateway witness …`: a small service for another host or account, which signs that logs only grew."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import ConfigurationFault

if TYPE_CHECKING:
    import trio

    from gateway.evidence.witness_service import WitnessService


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `witness` and its commands."""
    witness = subparsers.add_parser("witness", help="sign that logs only grew, on another host or account")
    commands = witness.add_subparsers(dest="witness_command", required=True, metavar="COMMAND")

    init = commands.add_parser("init", help="make a witness: its key and its empty state; prints its verifier key")
    init.add_argument("directory", type=Path, metavar="DIR")
    init.add_argument("--name", required=True, metavar="NAME", help="as cosignatures name it: witness.example/w1")
    init.set_defaults(run=_init)

    serve = commands.add_parser(
        "serve",
        help="serve C2SP add-checkpoint",
        description="Serve until SIGTERM or SIGINT. Prints `ready HOST:PORT` once checkpoints can be sent.",
    )
    serve.add_argument("directory", type=Path, metavar="DIR")
    serve.add_argument("--listen", default="127.0.0.1:6480", metavar="HOST:PORT")
    serve.add_argument(
        "--log",
        type=Path,
        action="append",
        required=True,
        metavar="FILE",
        help="a log's log.pub, as its operator gave it to you; once for each log",
    )
    serve.add_argument("--tls-cert", type=Path, metavar="FILE", help="certificate chain; without it, plain HTTP")
    serve.add_argument("--tls-key", type=Path, metavar="FILE")
    serve.set_defaults(run=_serve)


def _init(args: argparse.Namespace) -> int:
    from gateway.evidence.storage import DiskStorage, SystemEntropy
    from gateway.evidence.witness_service import make_witness

    print(make_witness(args.directory, args.name, DiskStorage(), SystemEntropy()))
    return 0


def _serve(args: argparse.Namespace) -> int:
    import trio

    from gateway.evidence.storage import DiskStorage, SystemClock
    from gateway.evidence.witness_service import WitnessService, read_keys

    if (args.tls_cert is None) != (args.tls_key is None):
        raise ConfigurationFault("--tls-cert and --tls-key belong together")
    with WitnessService.open(args.directory, read_keys(args.log), DiskStorage(), SystemClock()) as service:
        trio.run(_run, args, service)
    return 0


async def _run(args: argparse.Namespace, service: WitnessService) -> None:
    import signal

    import trio

    from gateway.identity.http_server import serve_http

    listener = await _listener(args)
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_http, listener, service.answer)
            await signals.__anext__()
            nursery.cancel_scope.cancel()


async def _listener(args: argparse.Namespace) -> trio.SocketListener | trio.SSLListener[trio.SocketStream]:
    import trio

    from gateway.listener.tls import server_context
    from gateway.settings.units import parse_endpoint

    try:
        endpoint = parse_endpoint(args.listen)
        (listener, *others) = await trio.open_tcp_listeners(endpoint.port, host=endpoint.host)
    except ValueError as fault:
        raise ConfigurationFault(f"--listen: {fault}") from None
    except OSError as fault:
        raise ConfigurationFault(f"--listen {args.listen}: {fault.strerror or fault}") from None
    for other in others:
        await other.aclose()
    host, port = listener.socket.getsockname()[:2]
    print(f"ready {f'[{host}]' if ':' in host else host}:{port}", flush=True)
    if args.tls_cert is None:
        return listener
    return trio.SSLListener(listener, server_context(args.tls_cert, args.tls_key))
