"""Steps of the gateway's work in processes of their own that are killed at a storage operation.

One process is started once, imports everything and starts no thread; it forks for each step, so that a kill costs
milliseconds and not the start of an interpreter. `Mortals.run` says how the step ended and what it had told until then.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

SECONDS = 60
Tell: TypeAlias = Callable[[str, Any], None]


@dataclass(frozen=True)
class Ended:
    """How a step ended: killed or not, which operations it had come to, and what it told (`promised`, `found`)."""

    killed: bool
    operations: list[str]
    told: list[tuple[str, Any]]
    opening: int
    """How many of the operations came before everything was open."""

    def said(self, what: str) -> list[Any]:
        return [value for name, value in self.told if name == what]


class Mortals:
    """The process that forks."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, step: str, home: Path, die_at: int | None = None, *, half: bool = False, **arguments: Any) -> Ended:
        """Run a step of `crash.steps` on `home`; with `die_at` it must not come to its end, without it, it must."""
        asked = {"step": step, "home": str(home), "die_at": die_at, "half": half, "arguments": arguments}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        names = [name for name, _ in answer["told"]]
        ended = Ended(
            os.WIFSIGNALED(answer["status"]) and os.WTERMSIG(answer["status"]) == signal.SIGKILL,
            [value for name, value in answer["told"] if name == "operation"],
            [(name, value) for name, value in answer["told"] if name != "operation"],
            names.index("opened") if "opened" in names else 0,
        )
        if die_at is None:
            assert answer["status"] == 0, (step, answer["status"], *answer["told"][-1:])
        else:
            assert ended.killed, (step, answer["status"], *answer["told"][-1:])
        return ended


@contextlib.contextmanager
def mortals() -> Iterator[Mortals]:
    """Start the process that forks, for the time of a block."""
    tests = Path(__file__).parent.parent
    places = [tests.parent, tests, tests / "e2e", tests / "evidence"]
    environment = {**os.environ, "PYTHONPATH": ":".join(map(str, places)), "PYTHONWARNINGS": "error"}
    with subprocess.Popen(
        [sys.executable, "-m", "crash.mortal"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            yield Mortals(process)
        finally:
            process.kill()


def main() -> None:
    """Fork for each request on standard input; answer on standard output."""
    from crash.steps import STEPS  # imports all that a step needs

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for line in sys.stdin:
        request = json.loads(line)
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            _live(STEPS[request["step"]], request, writer)
        os.close(writer)
        with os.fdopen(reader) as told:
            lines = told.read().splitlines()
        _, status = os.waitpid(pid, 0)
        answers.write(json.dumps({"status": status, "told": [json.loads(one) for one in lines]}) + "\n")
        answers.flush()


def _live(step: Callable[..., None], request: dict[str, Any], writer: int) -> None:
    """Be the process that takes a step, and perhaps dies in it."""
    from crash.operations import watch

    real_write, code = os.write, 1

    def tell(name: str, value: Any) -> None:
        real_write(writer, json.dumps([name, value]).encode() + b"\n")

    signal.alarm(SECONDS)
    home = Path(request["home"])
    if request["die_at"] is None or request["die_at"] >= 0:
        watch(str(home), lambda operation: tell("operation", operation), request["die_at"], request["half"])
    try:
        step(home, tell, **request["arguments"])
        code = 0
    except BaseException:  # noqa: BLE001  told to the test
        tell("fault", traceback.format_exc())
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
