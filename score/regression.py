"""`python -m score.regression`: PostgreSQL's own regression SQL through the facts, from Debian's source package.

Every statement must get a verdict in time and none may fail inside; what is not understood is counted by kind. Nothing
is run, and nothing of the package is kept in this repository. Exit code 1 where a statement failed or was too slow.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import trio

from gateway.masking.marks import bind
from gateway.model import Connection, Mark, TargetAddress
from gateway.parsing import understand
from gateway.policy.catalog import Catalog, Column, Relation
from gateway.policy.decide import Context, decide
from gateway.policy.rules import compile_rules
from gateway.policy.statement import Facts, SessionState
from score.scripts import statements

DEADLINE = 11.0
"""Seconds for one statement: the disposable parser's ten, and a little."""
_VERSION = "15"
_SQL = re.compile(r"src/test/regress/sql/(?P<name>[^/]+)\.sql$")
_SOURCES = "deb-src http://deb.debian.org/debian {suite} main\n"
_SLOW = 0.25
_SHOWN = 12


@dataclass
class Outcome:
    """What came of all statements."""

    count: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    not_understood: Counter[str] = field(default_factory=Counter)
    not_listed: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    slow: list[tuple[float, str]] = field(default_factory=list)


def main() -> int:
    """Read the source, judge every statement, print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m score.regression", description=__doc__)
    parser.add_argument("source", nargs="?", type=Path, help="source tarball or folder; else it is fetched with apt")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hoop-regression-") as folder:
        source = arguments.source or fetch(Path(folder))
        if source is None:
            print("skipped: Debian's source package of PostgreSQL cannot be fetched here (needs apt and its mirror)")
            return 0
        scripts = dict(read(source))
        outcome = trio.run(judge_all, scripts)
    if not scripts:
        print(f"{source} holds no regression scripts", file=sys.stderr)
        return 2
    show(outcome, len(scripts))
    return int(bool(outcome.failed))


def fetch(folder: Path) -> Path | None:
    """Fetch the source package into `folder`, with lists of our own, so that nobody's apt is changed."""
    release = Path("/etc/os-release")
    suite = re.search(r"^VERSION_CODENAME=(\w+)", release.read_text(), re.MULTILINE) if release.exists() else None
    program = shutil.which("apt-get")
    if suite is None or program is None:
        return None
    (folder / "sources.list").write_text(_SOURCES.format(suite=suite[1]))
    (folder / "lists" / "partial").mkdir(parents=True)
    options = [f"-oDir::Etc::sourcelist={folder}/sources.list", "-oDir::Etc::sourceparts=-",
               f"-oDir::State::lists={folder}/lists", "-oAPT::Sandbox::User="]  # fmt: skip
    for command in (["update"], ["source", "--download-only", f"postgresql-{_VERSION}"]):
        try:
            done = subprocess.run(
                [program, *options, "-qq", *command], cwd=folder, capture_output=True, timeout=300, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        if done.returncode:
            return None
    return next(folder.glob("*.orig.tar.*"), None)


def read(source: Path) -> Iterator[tuple[str, str]]:
    """Yield name and text of every regression script in a tarball or folder."""
    if source.is_dir():
        for path in sorted(source.rglob("src/test/regress/sql/*.sql")):
            yield path.stem, path.read_text("utf-8", "replace")
        return
    with tarfile.open(source) as archive:
        for member in archive:
            match = _SQL.search(member.name)
            content = archive.extractfile(member) if match else None
            if match and content is not None:
                yield match["name"], content.read().decode("utf-8", "replace")


async def judge_all(scripts: dict[str, str]) -> Outcome:
    """Judge every statement of every script, as a connection with a mark would."""
    outcome = Outcome()
    users = Relation(1, "public", "tenk1", "r", (Column("unique1", 1, 23), Column("stringu1", 2, 19)))
    address = TargetAddress("localhost", 5432, "regression")
    connection = Connection("r", address, "r", None, ("any",), marks=(Mark("public", "tenk1", "stringu1"),))
    catalog = bind(Catalog(1, ("public",), {1: users}, {("public", "tenk1"): users}), connection).catalog
    rules = compile_rules(connection)
    for name, script in sorted(scripts.items()):
        for sql in statements(script):
            began = time.process_time()
            with trio.move_on_after(DEADLINE) as deadline:
                found = await understand(sql.encode(), SessionState(), catalog)
            where = f"{name}: {' '.join(sql.split())[:100]}"
            if deadline.cancelled_caught:
                outcome.failed.append(f"deadline: {where}")
                continue
            verdict = decide(found, rules, Context("regression"))
            _count(outcome, found, f"{verdict.kind.value} by {verdict.rule}", where)
            if (took := time.process_time() - began) > _SLOW:
                outcome.slow.append((took, where))
    return outcome


def _count(outcome: Outcome, found: Facts, verdict: str, where: str) -> None:
    outcome.count += 1
    outcome.verdicts[verdict] += 1
    if found.alarm:
        outcome.failed.append(f"{found.alarm}: {where}")
    if found.not_understood is not None:
        outcome.not_understood[found.not_understood] += 1
    for statement in found.statements:
        outcome.not_listed.update(act.target for act in statement.acts if act.what == "not-listed")


def show(outcome: Outcome, scripts: int) -> None:
    """Print it."""
    missed = outcome.not_understood.total()
    print(f"{outcome.count:,} statements of {scripts} scripts")
    for verdict, count in outcome.verdicts.most_common():
        print(f"  {count:>7,}  {verdict}")
    print(f"not understood: {missed:,} ({missed / max(outcome.count, 1):.2%})")
    for reason, count in outcome.not_understood.most_common(_SHOWN):
        print(f"  {count:>7,}  {reason}")
    print(f"of a kind that stands in no row of the policy: {outcome.not_listed.total():,}")
    for kind, count in outcome.not_listed.most_common(_SHOWN):
        print(f"  {count:>7,}  {kind}")
    print(f"slower than {_SLOW} s of processor time: {len(outcome.slow)}")
    for took, where in sorted(outcome.slow, reverse=True)[:_SHOWN]:
        print(f"  {took:>6.2f} s  {where}")
    print(f"failed or missed its deadline: {len(outcome.failed)} (goal 0)")
    for where in outcome.failed[:_SHOWN]:
        print(f"  {where}")


if __name__ == "__main__":
    sys.exit(main())
