"""`hoop-gateway check -c FILE`: whether this configuration would work, found out by trying.

Promises one line for each fault (exit 1), and for each thing worth knowing that is none (`note:`); targets and the
issuer are reached with the gateway's own credential, within seconds, and nothing is changed there.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import ConfigurationFault, IssuerFault

if TYPE_CHECKING:
    from gateway.identity.issuer import Issuer
    from gateway.model import Connection
    from gateway.settings import Settings

SECONDS = 15
"""How long one target may take."""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = subparsers.add_parser(
        "check",
        help="try a configuration",
        description="Validate the configuration, reach every target and the issuer; one line a fault, exit 1.",
    )
    parser.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help="the gateway's configuration")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print faults and notes; 0 where there is no fault."""
    import trio

    from gateway.cli.output import visible
    from gateway.settings import SettingsFault, load
    from gateway.settings.notes import notes

    try:
        settings = load(args.config)
    except SettingsFault as fault:
        for line in fault.faults:
            print(f"fault: {visible(f'{fault.file}: {line}')}")
        return 1
    seen: list[str] = []
    faults = trio.run(_reach, settings, seen)
    for line in (*notes(settings), *seen):
        print(f"note: {visible(line)}")
    for line in faults:
        print(f"fault: {visible(line)}")
    if not faults:
        print(f"ok: {args.config}: {len(settings.connection)} connections reached")
    return 1 if faults else 0


async def _reach(settings: Settings, notes: list[str]) -> list[str]:
    """Try the issuer, the certificate, witnesses and targets at the same time; returns the faults, in the file's order.

    What is worth knowing and no fault goes to `notes`.
    """
    import trio

    connections = settings.connections()
    found: list[list[str]] = [[] for _ in range(len(connections) + 3)]

    async def reach(at: int, connection: Connection) -> None:
        found[at] = [f"connection {connection.name}: {words}" for words in await _reach_target(connection, notes)]

    async def issuer() -> None:
        found[1] = await _reach_issuer(settings)

    async def witnesses() -> None:
        found[2] = await _reach_witnesses(settings)

    found[0] = _try_certificate(settings)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(issuer)
        nursery.start_soon(witnesses)
        for at, connection in enumerate(connections, 3):
            nursery.start_soon(reach, at, connection)
    return [line for lines in found for line in lines]


def _try_certificate(settings: Settings) -> list[str]:
    from gateway.listener.tls import server_context

    try:
        server_context(settings.postgres.tls_cert, settings.postgres.tls_key, settings.postgres.client_ca)
    except ConfigurationFault as fault:
        return [f"postgres.tls_cert: {fault}"]
    return []


async def _reach_issuer(settings: Settings) -> list[str]:
    """The development issuer is part of the gateway; any other must answer with keys, and about tokens."""
    from gateway.authority import remote_issuer
    from gateway.evidence.storage import SystemClock
    from gateway.identity.issuer import Issuer, keys_of
    from gateway.identity.keys import IssuerKeys
    from gateway.identity.realm import read_representation, realm_of

    identity, faults = settings.identity, []
    try:
        if identity.development or identity.issuer is None:
            realm_of(read_representation(identity.realm))
            return []
        await IssuerKeys(keys_of(identity.issuer), SystemClock()).check()
    except (IssuerFault, ConfigurationFault) as fault:
        faults.append(f"identity.issuer: {fault}" if isinstance(fault, IssuerFault) else str(fault))
    try:
        issuer = remote_issuer(settings)
    except ConfigurationFault as fault:
        return [*faults, str(fault)]
    try:
        if identity.introspection == "required" and not faults:
            await issuer.check()
    except IssuerFault as fault:
        faults.append(f"identity.introspection: {fault}")
    if not faults and any(each.subject is not None and "decide" in each.roles for each in settings.operator):
        faults += await _try_login(
            issuer if issuer.client_id else Issuer(str(identity.issuer), client_id=identity.client_id)
        )
    await issuer.aclose()
    return faults


async def _try_login(issuer: Issuer) -> list[str]:
    """Operators log in by the device flow: the issuer must start one for the gateway's client."""
    from gateway.identity.device_login import start_login

    try:
        await start_login(issuer)
    except IssuerFault as fault:
        return [f"identity.client_id: operators cannot log in: {fault}"]
    finally:
        await issuer.aclose()
    return []


async def _reach_witnesses(settings: Settings) -> list[str]:
    """A witness must answer a submission of nothing with a refusal; a sink must have a place; an authority stamps."""
    from urllib.parse import urlsplit

    import trio

    from gateway.evidence.witness_client import WitnessFault, add_checkpoint
    from gateway.stamping import why_no_stamp

    faults = []
    for at, witness in enumerate(settings.evidence.witness):
        try:
            with trio.fail_after(SECONDS):
                answer = await add_checkpoint(urlsplit(witness.url), b"")
            if answer.status != 400:
                faults.append(f"evidence.witness.{at}.url: what answers there is no witness")
        except WitnessFault as fault:
            faults.append(f"evidence.witness.{at}.url: {fault}")
        except trio.TooSlowError:
            faults.append(f"evidence.witness.{at}.url: no answer within {SECONDS} s")
    if settings.evidence.timestamp is not None:
        stamps = settings.evidence.timestamp
        unstamped = await why_no_stamp(urlsplit(stamps.url), stamps.certificate)
        faults += [] if unstamped is None else [unstamped]
    for at, sink in enumerate(settings.evidence.sink):
        key, place = ("file", sink.file.parent) if sink.file is not None else ("directory", sink.directory)
        if place is None or not os.access(place, os.W_OK | os.X_OK):
            faults.append(f"evidence.sink.{at}.{key}: {place} is no directory that can be written to")
    return faults


async def _reach_target(connection: Connection, notes: list[str]) -> list[str]:
    """Log in, read the catalog, find every marked column in it, and try what the rules should say."""
    from gateway.cli.policy import read_catalog, try_tests
    from gateway.masking.marks import bind, unmatched

    catalog, fault = await read_catalog(connection, SECONDS)
    wrong = await try_tests(connection, bind(catalog, connection).catalog)
    if fault:
        return [fault, *(f"{line} (the target's catalog was not read)" for line in wrong)]
    faults = [*wrong]
    for rule, name in unmatched(catalog, connection):
        notes.append(f"connection {connection.name}: rule {rule}: {name} is not in {connection.target} as yet")
    for mark in connection.marks:
        relation = catalog.by_name.get((mark.schema, mark.relation))
        if relation is None or all(column.name != mark.column for column in relation.columns):
            faults.append(f"mask: {mark} matches no column of {connection.target}; agents would not be let in")
    return faults
