"""`hoop-gateway evidence …`: check, prove, query and re-point it, from the gateway's directory or any copy."""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli import evidence_erasure, evidence_export, evidence_originals
from gateway.cli.output import print_rows, visible
from gateway.cli.progress import Progress
from gateway.errors import ConfigurationFault, EvidenceFault
from gateway.model import Json

if TYPE_CHECKING:
    from gateway.evidence.findings import Report


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `evidence` and its commands."""
    evidence = subparsers.add_parser("evidence", help="check and read what was recorded")
    commands = evidence.add_subparsers(dest="evidence_command", required=True, metavar="COMMAND")

    verify = commands.add_parser("verify", help="check the evidence; exit 0 intact, 1 tampered or incomplete")
    verify.add_argument("directory", type=Path, metavar="DIR", help="state_dir/evidence, or a copy of it")
    verify.add_argument("--quick", action="store_true", help="check chain and order, not each payload")
    verify.add_argument(
        "--witness",
        type=Path,
        metavar="FILE",
        help="signed notes, one after the other, as a witness or a sink kept them",
    )
    verify.add_argument("--jobs", type=_jobs, metavar="N", help="processes that share the work; one for each core")
    verify.add_argument("--json", action="store_true", help="print one JSON object")
    verify.set_defaults(run=_verify)

    query = commands.add_parser("query", help="run one SELECT over the evidence views")
    query.add_argument("directory", type=Path, metavar="DIR")
    asked = query.add_mutually_exclusive_group(required=True)
    asked.add_argument("sql", nargs="?", metavar="SQL")
    asked.add_argument("--saved", metavar="NAME", help="a query that auditors ask; see --list")
    asked.add_argument("--list", action="store_true", help="list the saved queries with the controls they bear on")
    query.add_argument("--format", choices=("table", "csv", "json"), default="table")
    query.add_argument("--json", dest="format", action="store_const", const="json", help="the same as --format json")
    query.set_defaults(run=_query)

    prove = commands.add_parser("prove", help="print the proof that one record is in the log that was signed")
    prove.add_argument("directory", type=Path, metavar="DIR")
    prove.add_argument("record", metavar="RECORD", help="LOG:NUMBER, such as gw-1/w1:17; NUMBER where there is one log")
    prove.add_argument("--payload", action="store_true", help="include the payload: statement, parameters or answer")
    prove.add_argument("--output", type=Path, metavar="FILE", help="write it to this file, which must not exist")
    prove.set_defaults(run=_prove)

    check = commands.add_parser("check-proof", help="check such a proof; needs nothing else; exit 1: it proves nothing")
    check.add_argument("file", type=Path, metavar="FILE")
    check.add_argument("--key", type=Path, metavar="FILE", help="the log's log.pub, as you were given it")
    check.set_defaults(run=_check_proof)

    evidence_originals.register(commands)
    evidence_erasure.register(commands)
    evidence_export.register(commands)

    views = commands.add_parser("views", help="write evidence.duckdb anew, after the directory was moved or copied")
    views.add_argument("directory", type=Path, metavar="DIR")
    views.set_defaults(run=_views)

    scripts = commands.add_parser("scripts", help="write verify.py and verify_export.py, which need nothing of this")
    scripts.add_argument("directory", type=Path, metavar="DIR", help="where to; made if it is not there")
    scripts.add_argument("--json", action="store_true", help="print one JSON object")
    scripts.set_defaults(run=_scripts)


def _verify(args: argparse.Namespace) -> int:
    from gateway.evidence.verify import verify

    progress = Progress(sys.stderr)
    try:
        shown = progress if sys.stderr.isatty() and not args.json else None
        report = verify(args.directory, args.quick, shown, args.witness, args.jobs)
    except KeyboardInterrupt:
        raise EvidenceFault("stopped before the end: nothing is proved") from None
    finally:
        progress.done()
    if args.json:
        print(json.dumps(_summary(report)))
    else:
        for finding in report.findings:
            print(visible(str(finding)))
        for log, (size, chain) in report.heads.items():
            key = report.keys.get(log, "").split("+")[1:2]
            signed = f", {report.signed[log]} of them signed by key {key[0]}" if key and log in report.signed else ""
            seen = f", {report.witnessed[log]} seen by a witness" if log in report.witnessed else ""
            print(visible(f"{log}: {size} records{signed}{seen}; head {chain}"))
        print("intact" if report.intact else "NOT intact")
    return 0 if report.intact else 1


def _jobs(text: str) -> int:
    number = int(text)
    if not 0 < number <= 256:
        raise ValueError
    return number


def _summary(report: Report) -> Json:
    return {
        "intact": report.intact,
        "records": report.records,
        "heads": {
            log: {
                "size": size,
                "chain": chain,
                "signed": report.signed.get(log),
                "key": report.keys.get(log),
                "witnessed": report.witnessed.get(log),
            }
            for log, (size, chain) in report.heads.items()
        },
        "findings": [{"grade": one.grade, "log": one.log, "seq": one.seq, "what": one.what} for one in report.findings],
    }


def _query(args: argparse.Namespace) -> int:
    from gateway.evidence.reader import select
    from gateway.evidence.rows import plain
    from gateway.evidence.saved import saved, saved_query

    if args.list:
        known: list[dict[str, Json]] = [
            {"name": one.name, "control": one.control, "answers": one.answers, "sql": one.sql} for one in saved()
        ]
        if args.format == "csv":
            _print_csv(list(known[0]), [one.values() for one in known])
        elif args.format == "json":
            print_rows((), known, True)
        else:
            for one in saved():
                print(f"{one.name:<24}{one.control:<7}{one.answers}")
        return 0
    columns, rows = select(args.directory, args.sql if args.saved is None else saved_query(args.saved).sql)
    if args.format == "csv":
        _print_csv(columns, [map(plain, row) for row in rows])
    else:
        names = _distinct(columns)
        print_rows(names, [dict(zip(names, map(plain, row), strict=True)) for row in rows], args.format == "json")
    return 0


def _print_csv(columns: list[str], rows: Iterable[Iterable[Json]]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_flat(value) for value in row] for row in rows)


def _flat(value: Json) -> str | int | None:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict | bool) else value


def _distinct(columns: list[str]) -> list[str]:
    """Return the column names, numbered where one stands twice, so that no value is lost."""
    names: list[str] = []
    for column in columns:
        name, number = column, 1
        while name in names:
            number += 1
            name = f"{column}_{number}"
        names.append(name)
    return names


def _views(args: argparse.Namespace) -> int:
    from gateway.evidence.views import write_views

    print(write_views(args.directory))
    return 0


def _scripts(args: argparse.Namespace) -> int:
    from hashlib import sha256

    from gateway.cli.output import print_json
    from gateway.evidence.verifiers import scripts

    found = {name: text.encode() for name, text in scripts().items()}
    try:
        args.directory.mkdir(parents=True, exist_ok=True)
        for name, content in found.items():
            (args.directory / name).write_bytes(content)
    except OSError as fault:
        raise ConfigurationFault(f"{args.directory} cannot be written: {fault.strerror}; name another folder") from None
    digests = {name: sha256(content).hexdigest() for name, content in found.items()}
    if args.json:
        print_json({**digests})
        return 0
    for name, digest in digests.items():
        print(f"{digest}  {visible(str(args.directory / name))}")
    return 0


def _prove(args: argparse.Namespace) -> int:
    from gateway.evidence.proving import prove

    text = json.dumps(prove(args.directory, args.record, payload=args.payload), indent=1, ensure_ascii=False)
    if args.output is None:
        print(text)
        return 0
    try:
        descriptor = os.open(args.output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as fault:
        raise ConfigurationFault(f"{args.output} cannot be made: {fault.strerror}") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(f"{text}\n")
    return 0


def _check_proof(args: argparse.Namespace) -> int:
    from gateway.evidence.proving import LIMIT, check_proof

    try:
        with args.file.open("rb") as file:
            content = file.read(LIMIT + 1)
        key = None if args.key is None else args.key.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigurationFault(f"{fault}") from None
    try:
        proven = check_proof(content, key)
    except EvidenceFault as fault:
        print(visible(str(fault)))
        return 1
    print(visible(json.dumps(proven.entry, ensure_ascii=False, sort_keys=True)))
    if proven.payload is not None:
        print(visible(proven.payload))
    whose = "" if args.key is not None else "; compare it with the one that you were given"
    print(visible(f"holds: in {proven.log} of {proven.size} records, signed by {proven.key}{whose}"))
    return 0
