"""`hoop-gateway init DIR`: a commented configuration, and the keys a first start needs.

Promises never to overwrite anything: where one of its files exists, nothing is written; and that a run which was cut is
taken up by the next. What it writes passes `check` as it is. Keys are 0600 in directories of 0700; the configuration
itself holds no secret.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from gateway.errors import ConfigurationFault


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = subparsers.add_parser(
        "init",
        help="write a first configuration",
        description="Write a commented gateway.toml and a first start's keys.",
    )
    parser.add_argument("dir", type=Path, metavar="DIR", help="where to write; made where absent")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write everything, and say what to do next."""
    from gateway.cli.half_made import NAME, half_made
    from gateway.settings.load import SOCKET_PATH_BYTES

    directory = args.dir.absolute()
    config, state = directory / "gateway.toml", directory / "state"
    socket = state / "control.sock"
    if len(os.fsencode(socket)) > SOCKET_PATH_BYTES:
        raise ConfigurationFault(
            f"{socket}: longer than the {SOCKET_PATH_BYTES} bytes of a socket's path; choose another DIR"
        )
    cut = os.path.lexists(directory / NAME)
    for path in () if cut else (config, state):
        if os.path.lexists(path):
            raise ConfigurationFault(f"{path} exists already; nothing was written")
    _make(directory, 0o750)
    with half_made(directory) as beside:
        if cut and not beside.state.exists() and os.path.lexists(state) and beside.config.exists():
            print(f"going on where an earlier run was cut: {state} is there")
        else:
            beside.clear()
            for path in (config, state):
                if os.path.lexists(path):
                    raise ConfigurationFault(f"{path} exists already; nothing was written")
            if cut:
                print(f"beginning anew: {beside.place} was left by a run that was cut")
            _fill(beside.config, beside.state, socket)
        beside.move(config, state)
    print(f"wrote {config}")
    print(f"next: name your database in it, then `hoop-gateway check -c {config}` and `hoop-gateway serve -c {config}`")
    return 0


def _fill(config: Path, state: Path, control_socket: Path) -> None:
    """Make everything; `control_socket` is where it will be, not beside what is half made."""
    import socket

    from gateway.evidence.storage import SystemClock, SystemEntropy
    from gateway.identity.development import DevelopmentIssuer
    from gateway.listener.certificate import make_self_signed
    from gateway.settings import load

    tls = state / "tls"
    _make(state, 0o750)
    _make(tls, 0o700)
    _make(state / "evidence", 0o700)
    hostnames = dict.fromkeys(["localhost", "127.0.0.1", "::1", *_plain(socket.gethostname())])
    make_self_signed(tls / "cert.pem", tls / "key.pem", list(hostnames))
    _write(config, (Path(__file__).parent / "gateway.toml").read_text(encoding="utf-8"))
    settings = load(config, {"HOOP_GATEWAY__CONTROL_SOCKET": str(control_socket)})
    DevelopmentIssuer.load_or_create(
        settings.gateway.state_dir,
        audience=settings.identity.audience,
        groups_claim=settings.identity.groups_claim,
        issuer_url=settings.identity.issuer,
        clock=SystemClock(),
        entropy=SystemEntropy(),
    )


def _plain(hostname: str) -> list[str]:
    """The host's name, where a certificate can hold it."""
    allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.")
    return [hostname] if hostname and set(hostname) <= allowed else []


def _make(path: Path, mode: int) -> None:
    """Make a directory with exactly `mode`; one that exists stays as it is."""
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        if path.is_dir():
            return
        raise ConfigurationFault(f"{path} exists and is no directory") from None
    except OSError as fault:
        raise ConfigurationFault(f"{path}: {fault.strerror}") from None
    path.chmod(mode)


def _write(path: Path, text: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    except OSError as fault:
        raise ConfigurationFault(f"{path}: {fault.strerror}") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
