"""A person's terminal, for tests: commands run in a session of the kernel's own, one after the other."""

from __future__ import annotations

import json
import subprocess
import sys
from types import TracebackType
from typing import Any, Self

from running import RunningGateway

_SHELL = """
import json, subprocess, sys
for line in sys.stdin:
    command, confirm, environment = json.loads(line)
    if confirm:
        begun = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        first = begun.stdout.readline()
        if first:
            code = json.loads(first)["user_code"]
            subprocess.run([*confirm, code], check=True, capture_output=True)
        out, err = begun.communicate()
        answer = [begun.returncode, first + out, err]
    else:
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        answer = [done.returncode, done.stdout, done.stderr]
    print(json.dumps(answer), flush=True)
"""


class Seat:
    """One terminal before one gateway."""

    def __init__(self, gateway: RunningGateway) -> None:
        self.gateway = gateway
        self._shell = subprocess.Popen(
            [sys.executable, "-c", _SHELL],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=gateway.environment,
        )

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `hoop-gateway …` with the gateway's configuration named."""
        command = [sys.executable, "-m", "gateway", *arguments, "-c", str(self.gateway.config)]
        return self._told(command, [], {**self.gateway.environment, **environment})

    def login(self, subject: str, *groups: str) -> subprocess.CompletedProcess[str]:
        """Log in; the code is confirmed in the name of `subject`, as a browser elsewhere would."""
        command = [sys.executable, "-m", "gateway", "login", "--json", "-c", str(self.gateway.config)]
        confirm = [sys.executable, "-m", "gateway", "idp", "confirm", "-c", str(self.gateway.config)]
        more = ["--groups", ",".join(groups)] if groups else []
        return self._told(command, [*confirm, "--subject", subject, *more], {})

    def who(self, subject: str, *groups: str) -> dict[str, Any]:
        """Log in, which must succeed; return the login."""
        done = self.login(subject, *groups)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    def approve(self, approval: dict[str, Any], *more: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Approve what `approvals list` showed."""
        return self.run(
            "approvals", "approve", approval["id"], "--hash", approval["hash"][:8], "--reason", "looks right", *more,
            **environment,
        )  # fmt: skip

    def _told(
        self, command: list[str], confirm: list[str], environment: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        print(json.dumps([command, confirm, environment or None]), file=self._shell.stdin, flush=True)
        code, out, err = json.loads(self._shell.stdout.readline())
        return subprocess.CompletedProcess(command, code, out, err)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.close()
        self._shell.wait(20)
        self._shell.stdout.close()
