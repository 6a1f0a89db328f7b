"""Runs a command as its users do."""

from __future__ import annotations

import os
import sys
from subprocess import CompletedProcess
from typing import Any

import trio


async def hoop_gateway(*arguments: object, **environ: str) -> CompletedProcess[str]:
    """Run `hoop-gateway` as a program and return what came of it, decoded."""
    command = [sys.executable, "-m", "gateway", *map(str, arguments)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HOOP_")}
    done: Any = await trio.run_process(
        command, capture_stdout=True, capture_stderr=True, check=False, env={**kept, **environ}
    )
    return CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())
