"""`python -m bench.duckdb_versions`: open one evidence directory in every DuckDB from 1.0 on that pip installs here.

Each version gets a virtual environment of its own, in a folder that is removed afterwards. In each, every view is read
whole, from two connections at once, and must say what it says in the version that the gateway uses. What pip cannot
install is named. Needs a package index; docs/evidence.md says what it printed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

import duckdb

from bench.synthetic import write
from gateway.evidence.views import NAME

VERSIONS = ("1.0.0", "1.1.3", "1.2.2", "1.3.2", "1.4.5", "1.5.6", "2.0.0", "2.0.1")
"""The last of each line, and the newest."""
ASK = """
import duckdb, hashlib, json, sys
found = {}
one, other = (duckdb.connect(sys.argv[1], read_only=True) for _ in "12")
for database in (one, other):
    database.execute("SET enable_progress_bar = false")  # it would stand on standard output, after two seconds
names = [name for (name,) in one.execute(
    "SELECT view_name FROM duckdb_views() WHERE NOT internal ORDER BY view_name").fetchall()]
for name in names:
    said = []
    for database in (one, other):
        cursor = database.execute(f'SELECT * FROM "{name}"')
        columns = [column[0] for column in cursor.description]
        rows = sorted(map(repr, cursor.fetchall()))
        said.append([columns, len(rows), hashlib.sha256("\\n".join(rows).encode()).hexdigest()])
    found[name] = said
print(json.dumps({"version": duckdb.__version__, "views": found}))
"""
"""Two connections to one file, in one process: read-only, several at once; the rows of every view in no order."""
SECONDS = 300.0


def main() -> int:
    """Open the evidence in each version; exit code 1 where one says something else than the others."""
    parser = argparse.ArgumentParser(prog="python -m bench.duckdb_versions", description=__doc__)
    parser.add_argument("versions", nargs="*", default=VERSIONS, help="of DuckDB")
    parser.add_argument(
        "--evidence", type=Path, help="open this one instead of a new one with segments and live records"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hoop-duckdb-") as folder:
        evidence = arguments.evidence or write(Path(folder) / "written", 52_000)
        expected, good = asked(Path(sys.executable), evidence), True
        count = expected["views"]["records"][0][1]
        print(f"{len(expected['views'])} views, {count:,} records, as {duckdb.__version__} reads them")
        for version in arguments.versions:
            python = installed(Path(folder) / version, version)
            if python is None:
                print(f"{version}: pip cannot install it for Python {sys.version.split()[0]}")
                continue
            found = asked(python, evidence)
            same = found["views"] == expected["views"]
            good = good and same
            print(f"{version}: {'all views as expected' if same else f'differs: {differing(expected, found)}'}")
    return 0 if good else 1


def installed(place: Path, version: str) -> Path | None:
    """Make an environment with this version; return its interpreter, or None where pip has no wheel of it."""
    venv.create(place, with_pip=True)
    command = [str(place / "bin" / "pip"), "install", "-q", "--no-deps", "--only-binary", ":all:", f"duckdb=={version}"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=SECONDS)
    return place / "bin" / "python" if done.returncode == 0 else None


def asked(python: Path, evidence: Path) -> Any:
    """Return what the views say in that interpreter's DuckDB; the words of the error where it cannot open them."""
    command = [str(python), "-I", "-c", ASK, str(evidence / NAME)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=SECONDS)
    if done.returncode != 0:
        return {"views": {}, "error": (done.stderr.strip().splitlines() or ["no words"])[-1]}
    return json.loads(done.stdout)


def differing(expected: Any, found: Any) -> str:
    """Return what a version says otherwise."""
    views = [name for name in expected["views"] if found["views"].get(name) != expected["views"][name]]
    return str(found.get("error") or ", ".join(views))


if __name__ == "__main__":
    raise SystemExit(main())
