"""`python -m bench`: run the comparison, print ratios, write docs/benchmarks.md."""

from __future__ import annotations

import argparse
import os
import platform
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

from bench.report import Case, document, table
from bench.sides import DATABASE, ROLE, BenchFault, Side, direct, gateway, pgbouncer
from gateway.demo.binaries import Binaries, find_binaries, find_tls_binaries
from gateway.demo.postgres import PostgresServer

MODES = ("simple", "extended", "prepared")


def main() -> int:
    """Run; exit code 0 when everything was measured, 2 when a side did not start."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds over all sides and cases")
    parser.add_argument("--seconds", type=int, default=4, help="length of one pgbench run")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--policy", default="standard", help="policy of the gateway's connection")
    parser.add_argument("--workers", type=int, nargs="+", default=[1], help="a gateway with so many workers, each")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "docs" / "benchmarks.md")
    arguments = parser.parse_args()
    try:
        _run(arguments)
    except (BenchFault, subprocess.CalledProcessError) as error:
        detail = getattr(error, "stderr", None) or ""
        print(f"bench: {error} {detail}".strip(), file=sys.stderr)
        return 2
    return 0


def _run(arguments: argparse.Namespace) -> None:
    load = f"{os.getloadavg()[0]:.1f}"
    binaries = find_tls_binaries() or find_binaries()
    cases = [Case(mode, clients) for clients in arguments.clients for mode in arguments.modes]
    bouncer = shutil.which("pgbouncer", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin")
    password = secrets.token_urlsafe(18)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hoop-bench-")))
        folder.chmod(0o711)  # PgBouncer, under its own account, passes through
        server = stack.enter_context(PostgresServer(binaries=binaries, tls=binaries.tls))
        server.create_database(DATABASE)
        server.execute(
            f"CREATE ROLE {ROLE} LOGIN PASSWORD '{password}'; GRANT ALL ON SCHEMA public TO {ROLE}", DATABASE
        )
        sides = [stack.enter_context(direct(server, password))]
        _fill(binaries, sides[0])
        if bouncer:
            sides.append(stack.enter_context(pgbouncer(bouncer, server, password, folder / "pgbouncer")))
        for workers in dict.fromkeys(arguments.workers):
            place = folder / f"gateway-{workers}"
            sides.append(stack.enter_context(gateway(server, password, place, arguments.policy, workers)))
        disk = subprocess.run(["/usr/bin/stat", "-f", "-c", "%T", folder], capture_output=True, text=True, check=True)
        rounds: dict[tuple[Case, str], list[float]] = defaultdict(list)
        for number in range(arguments.rounds):
            for case in cases:
                for side in sides:
                    rate = _pgbench(binaries, side, case, arguments.seconds)
                    rounds[case, side.name].append(rate)
                    print(f"round {number + 1} {case.mode:>8} {case.clients:>3} {side.name:>9} {rate:>10,.0f}/s",
                          file=sys.stderr, flush=True)  # fmt: skip
    measured = table(rounds, cases, [side.name for side in sides])
    print(measured)
    facts = {
        "machine": f"{os.cpu_count()} cores shared by PostgreSQL, pgbench and the gateway; {platform.machine()}; "
        f"load average before the run {load} (other work on the machine, which weighs on every side)",
        "PostgreSQL": f"{'.'.join(map(str, binaries.version))} ({binaries.source}), fsync on",
        "Python": platform.python_version(),
        "TLS": "on every leg" if binaries.tls else "only between pgbench and the gateway (this server has none)",
        "disk": f"{disk.stdout.strip()}, under the evidence and the data alike",
        "policy": arguments.policy,
        "rounds": f"{arguments.rounds} of {arguments.seconds} s for each side and case",
    }
    arguments.out.write_text(document(measured, facts, "just bench"))


def _fill(binaries: Binaries, side: Side) -> None:
    """Create pgbench's tables, once, directly."""
    command = [str(binaries.directory / "pgbench"), "-i", "-q", "-s", "5"]
    subprocess.run(command, env=dict(side.environment), capture_output=True, text=True, check=True)


def _pgbench(binaries: Binaries, side: Side, case: Case, seconds: int) -> float:
    """Run pgbench once and return transactions per second without connection time."""
    command = [
        str(binaries.directory / "pgbench"), "-n", "-S", "-M", case.mode, "-c", str(case.clients),
        "-j", str(min(case.clients, 2)), "-T", str(seconds),
    ]  # fmt: skip
    answer = subprocess.run(command, env=dict(side.environment), capture_output=True, text=True, check=False)
    match = re.search(r"^tps = ([\d.]+)", answer.stdout, re.MULTILINE)
    if answer.returncode or not match:
        raise BenchFault(f"pgbench through {side.name} failed: {answer.stderr.strip()[-500:]}")
    return float(match[1])


if __name__ == "__main__":
    sys.exit(main())
