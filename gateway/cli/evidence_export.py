"""`hoop-gateway evidence export` and `check-export`: one file for an auditor, and its check."""

from __future__ import annotations

import argparse
import getpass
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.control import add_place
from gateway.cli.evidence_originals import record_access
from gateway.cli.output import print_json, print_rows, visible
from gateway.errors import ConfigurationFault

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.model import Json


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `export` and `check-export`."""
    export = commands.add_parser("export", help="write one self-contained DuckDB file for an auditor; recorded")
    export.add_argument("directory", type=Path, metavar="DIR", help="state_dir/evidence, or a copy of it")
    export.add_argument("out", type=Path, metavar="OUT.duckdb", help="the file, which must not exist")
    export.add_argument("--from", dest="since", metavar="T", help="records from this time on (UTC), such as 2026-11-25")
    export.add_argument("--to", dest="before", metavar="T", help="records before this time")
    export.add_argument("--session", metavar="ID", help="only this session's")
    export.add_argument("--reason", default="export", metavar="R", help="why; recorded")
    export.add_argument("--json", action="store_true", help="print one JSON object")
    add_place(export)
    export.set_defaults(run=_export)

    check = commands.add_parser("check-export", help="check such a file by itself; exit 1: something in it is wrong")
    check.add_argument("file", type=Path, metavar="FILE")
    check.add_argument(
        "--key", type=Path, action="append", default=[], metavar="FILE", help="a log.pub as given to you"
    )
    check.add_argument("--json", action="store_true", help="print one JSON object")
    check.set_defaults(run=_check)


def _export(args: argparse.Namespace) -> int:
    from gateway import __version__
    from gateway.evidence.export import Made, Wanted, export
    from gateway.evidence.storage import SystemClock
    from gateway.evidence.unseal import is_live
    from gateway.model import format_time

    wanted = Wanted(_time(args.since), _time(args.before), args.session)
    _check_place(args.directory, args.out)
    about = [f"{word} {value}" for word, value in (("from", wanted.since), ("to", wanted.before)) if value]
    about += [f"session {args.session}"] if args.session else []
    live = is_live(args.directory)
    what = f"export of {' '.join(about) or 'everything'} to {args.out.name}"
    recorded = record_access(args, args.out, what, None)
    made = Made(format_time(SystemClock().now()), getpass.getuser(), args.reason, __version__, recorded)
    with _progress(quiet=args.json) as progress:
        counts = export(args.directory, args.out, wanted, made, live, progress)
    if args.json:
        print_json({"file": str(args.out), "recorded": recorded, "rows": dict(counts)})
        return 0
    print_rows(["table", "rows"], [{"table": name, "rows": rows} for name, rows in counts.items()], as_json=False)
    told = "no gateway runs there, so no log says so" if recorded is None else f"recorded as {recorded}"
    print(visible(f"written: {args.out}; {told}"))
    return 0


def _check_place(evidence: Path, out: Path) -> None:
    """Refuse to write below the evidence: what lies there is checked, kept and pruned by others."""
    if evidence.resolve() in out.resolve().parents:
        raise ConfigurationFault(f"{out} lies in the evidence; write it elsewhere")
    if out.exists():
        raise ConfigurationFault(f"{out} is there already; name a file that is not")
    if not out.resolve().parent.is_dir():
        raise ConfigurationFault(f"{out.resolve().parent}: no such folder")


def _time(given: str | None) -> str | None:
    """Read a day or a time, UTC unless it says otherwise, as entries write it."""
    if given is None:
        return None
    try:
        at = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", given.strip()))
    except ValueError:
        raise ConfigurationFault("write times as 2026-11-25 or 2026-11-25T10:00:00Z") from None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _check(args: argparse.Namespace) -> int:
    from gateway.evidence.export_check import check_export

    try:
        keys = [path.read_text("utf-8").strip() for path in args.key]
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigurationFault(f"{fault}") from None
    with _progress(quiet=args.json) as progress:
        found = check_export(args.file, keys, progress)
    if args.json:
        findings: list[Json] = [
            {"grade": one.grade, "log": one.log, "seq": one.seq, "what": one.what} for one in found.findings
        ]
        logs: dict[str, Json] = {
            log: {"records": taken, "of": size, "key": found.keys.get(log)}
            for log, (taken, size) in found.records.items()
        }
        print_json({"intact": found.intact, "logs": logs, "rows": dict(found.counts), "findings": findings})
        return 0 if found.intact else 1
    for finding in found.findings:
        print(visible(str(finding)))
    for log, (taken, size) in found.records.items():
        whose = "" if args.key else "; compare the key with the one that you were given"
        print(visible(f"{log}: {taken} of {size} records, signed by {found.keys.get(log, 'nobody')}{whose}"))
    print("holds" if found.intact else "does NOT hold")
    return 0 if found.intact else 1


class _progress:  # noqa: N801  used as a function
    """A line on the terminal with how much is done."""

    def __init__(self, *, quiet: bool) -> None:
        self._shown = sys.stderr.isatty() and not quiet

    def __enter__(self) -> Callable[[int, int], None]:
        return self._show

    def __exit__(self, *_: object) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")

    def _show(self, done: int, total: int) -> None:
        if self._shown:
            sys.stderr.write(f"\r\x1b[K{100 * done // max(total, 1):3} %")
            sys.stderr.flush()
