"""`hoop-gateway evidence erase`: takes away one session's originals or one record's payload, recorded and signed."""

from __future__ import annotations

import argparse
import getpass
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.control import add_place, converse
from gateway.cli.output import print_json, visible
from gateway.errors import ConfigurationFault, EvidenceFault

if TYPE_CHECKING:
    from gateway.control.client import ControlClient
    from gateway.evidence.erasure import Change, Place
    from gateway.evidence.journal import Journal
    from gateway.evidence.storage import DiskStorage
    from gateway.settings import Settings

_TRIES = 5


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `erase`."""
    erase = commands.add_parser("erase", help="take away a session's originals or a record's payload; recorded, signed")
    what = erase.add_mutually_exclusive_group(required=True)
    what.add_argument("--session", metavar="ID", help="the sealed originals of this session, for good")
    what.add_argument("--record", metavar="LOG:SEQ", help="the payload of this record: statement, parameters or answer")
    erase.add_argument("--basis", required=True, metavar="B", help="the legal basis; recorded")
    erase.add_argument("--json", action="store_true", help="print one JSON object")
    add_place(erase)
    erase.set_defaults(run=_erase)


@dataclass(frozen=True, slots=True)
class _Ways:
    """How a log is archived and an erasure recorded: by the running gateway, or by opening its logs."""

    archive: Callable[[str], None]
    record: Callable[[list[str], list[Change]], None]


def _erase(args: argparse.Namespace) -> int:
    from gateway.evidence.storage import DiskStorage
    from gateway.evidence.unseal import is_live
    from gateway.settings import load

    if args.config is None or args.socket is not None:
        raise ConfigurationFault("name the gateway by -c FILE: the erasure is signed with its log's key")
    if not args.basis.strip():
        raise ConfigurationFault("give the legal basis; it is recorded")
    settings, storage = load(args.config), DiskStorage()
    evidence = settings.evidence_dir
    if not (evidence / "logs").is_dir():
        raise EvidenceFault(f"{evidence} holds no log")
    live = is_live(evidence)
    with _asking(args) if live else _opening(settings, args.basis) as ways:
        done = _shred(evidence, args.session, ways, storage) if args.session else _empty(evidence, args, ways, storage)
    records, changes = done
    if args.json:
        print_json({"records": list(records), "files": [change.told for change in changes]})
    else:
        for change in changes:
            print(visible(f"{'removed' if change.staged is None else 'rewritten'}: {change.file}"))
        print(visible(f"erased: {', '.join(records)}"))
    return 0


def _shred(evidence: Path, session: str, ways: _Ways, storage: DiskStorage) -> tuple[list[str], list[Change]]:
    from gateway.evidence.erasure import archiver_kept_out, carried_out, marked, shredded

    with archiver_kept_out(evidence, storage):
        _finish(evidence, storage)
        records, changes = shredded(evidence, session)
        marked(changes, storage)
        ways.record(records, changes)
        for change in changes:
            carried_out(change, None, storage)
    return records, changes


def _empty(
    evidence: Path, args: argparse.Namespace, ways: _Ways, storage: DiskStorage
) -> tuple[list[str], list[Change]]:
    from gateway.evidence.erasure import archiver_kept_out, carried_out, staged

    with archiver_kept_out(evidence, storage):
        _finish(evidence, storage)
    place = _archived(evidence, args.record, ways, storage)
    with archiver_kept_out(evidence, storage):
        change = staged(place, storage)
        ways.record(place.names, [change])
        carried_out(change, place, storage)
    return place.names, [change]


def _finish(evidence: Path, storage: DiskStorage) -> None:
    from gateway.evidence.erasure import unfinished

    for file in unfinished(evidence, storage):
        print(visible(f"finished what an earlier run had recorded: {file}"))


def _archived(evidence: Path, record: str, ways: _Ways, storage: DiskStorage) -> Place:
    """Find the record, and have it archived first, and that recorded, where it still stands in the journal alone."""
    from gateway.evidence.erasure import locate

    place = locate(evidence, record)
    for _ in range(_TRIES):
        if place.is_recorded(storage):
            return place
        ways.archive(place.log)
        place = locate(evidence, record)
    if not place.is_recorded(storage):
        raise EvidenceFault("the record cannot be archived now; the gateway's log may say why")
    return place


@contextmanager
def _asking(args: argparse.Namespace) -> Iterator[_Ways]:
    """Let the running gateway archive and record."""

    def call(method: str, params: dict[str, object]) -> None:
        async def conversation(client: ControlClient) -> int:
            await client.call(method, params)  # type: ignore[arg-type]  # Json all the way
            return 0

        if converse(args, conversation) != 0:
            raise ConfigurationFault("the gateway refused; nothing was erased")

    def record(records: list[str], changes: list[Change]) -> None:
        files = [change.told for change in changes]
        call("evidence.erased", {"records": records, "basis": args.basis, "files": files})

    yield _Ways(lambda log: call("evidence.archive", {"log": log}), record)


@contextmanager
def _opening(settings: Settings, basis: str) -> Iterator[_Ways]:
    """Open the logs of a gateway that does not run: their records say that they were opened, and closed again."""
    from gateway import __version__
    from gateway.evidence import record
    from gateway.evidence.archiver import archive
    from gateway.evidence.journal import Journal
    from gateway.evidence.opening import first_records
    from gateway.evidence.storage import DiskStorage, SystemClock, SystemEntropy
    from gateway.model import LogName

    storage, clock, entropy = DiskStorage(), SystemClock(), SystemEntropy()
    name, evidence, keys = settings.gateway.name, settings.evidence_dir, settings.gateway.state_dir / "keys"
    journals: dict[str, Journal] = {}
    with ExitStack() as stack:
        for directory in sorted(path for path in (evidence / "logs").glob("*") if (path / "journal").is_dir()):
            origin = LogName(f"{name}/{directory.name}")
            journal = Journal.open(directory, origin, storage, clock, entropy, keys=keys)
            stack.callback(journal.close)
            for draft in first_records(journal, name, __version__):
                journal.append(draft)
            journals[origin] = journal

        def archived(log: str) -> None:
            if log not in journals:
                raise ConfigurationFault(f"this gateway writes no log {log}")
            journals[log].flush()
            journals[log].rotate()
            for one in archive(evidence, storage, clock):
                told = {key: getattr(one, key) for key in one.__dataclass_fields__ if key != "log"}
                journals[one.log].append(record.archive(**told))
                journals[one.log].flush()

        def recorded(records: list[str], changes: list[Change]) -> None:
            control = journals.get(f"{name}/control") or next(iter(journals.values()))
            files = [(change.file, change.old, change.new) for change in changes]
            control.append(record.erasure(records, basis, getpass.getuser(), files))
            control.flush()
            control.checkpoint()

        yield _Ways(archived, recorded)
        for journal in journals.values():
            journal.append(record.shutdown("erased"))
