"""Understanding statements whatever their size: small ones here, large ones parsed in a disposable process (Trio).

The disposable process (`parser_child.py`) has limits of memory, time and output; its death, its silence and its
nonsense all mean "not understood", with an alarm. No input can end or stall the process that calls.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import trio

from gateway.policy.catalog import Catalog
from gateway.policy.facts import facts
from gateway.policy.parse import NotUnderstoodError, SyntaxFaultError, Tree, tree_of
from gateway.policy.statement import Facts, SessionState, SyntaxFault

_CHILD = Path(__file__).with_name("parser_child.py")
_CHUNK = 256 << 10
_MOST_TEXTS = 6
"""Large texts one statement may name (EXECUTE of a large prepared statement)."""


@dataclass(frozen=True, slots=True)
class DisposableParser:
    """Parses in processes of their own; `processes` at once, each with its limits."""

    processes: int = 2
    seconds: float = 10.0
    memory: int = 1 << 30
    """Bytes of address space of one process."""
    answer: int = 16 << 20
    """Bytes of the syntax tree as JSON; more is not understood."""
    _free: trio.CapacityLimiter = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_free", trio.CapacityLimiter(self.processes))

    async def parse(self, sql: bytes) -> Tree:
        """Parse `sql`; raise SyntaxFaultError or NotUnderstoodError as `policy.parse.parse` does."""
        async with self._free:
            with trio.move_on_after(self.seconds):
                answer = await self._run(sql)
                return await trio.to_thread.run_sync(_read, answer, len(sql))
        raise NotUnderstoodError(f"parsing it took longer than {self.seconds:g} s")

    async def understand(self, statement: bytes, state: SessionState, catalog: Catalog) -> Facts:
        """Return the facts of `statement`; like `facts`, it never raises, whatever the statement."""
        found = facts(statement, state, catalog)
        trees: dict[bytes, Tree] = {}
        for _ in range(_MOST_TEXTS):
            if not found.wants:
                return found
            try:
                for text in found.wants:
                    trees[text] = await self.parse(text)
            except SyntaxFaultError as error:
                return Facts(statement, syntax_error=error.fault, catalog=catalog)
            except NotUnderstoodError as error:
                return Facts(statement, not_understood=str(error), alarm=f"parser: {error}", catalog=catalog)
            # a large tree takes a while to walk: other sessions go on meanwhile
            found = await trio.to_thread.run_sync(facts, statement, state, catalog, trees)
        return replace(found, wants=(), not_understood="it names too many large statements")

    async def _run(self, sql: bytes) -> bytes:
        process = await trio.lowlevel.open_process(
            [sys.executable, "-I", str(_CHILD), str(self.memory), str(int(self.seconds) + 1)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
        )
        answer = bytearray()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_feed, process.stdin, sql)
                while process.stdout and (chunk := await process.stdout.receive_some(_CHUNK)):
                    answer += chunk
                    if len(answer) > self.answer:
                        process.kill()
                        break
                await process.wait()
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
                for stream in (process.stdin, process.stdout):
                    if stream is not None:
                        await stream.aclose()
        if len(answer) > self.answer:
            raise NotUnderstoodError("its syntax tree is too large")
        if process.returncode != 0:
            raise NotUnderstoodError("its parser died")
        return bytes(answer)


async def _feed(stream: trio.abc.SendStream | None, sql: bytes) -> None:
    if stream is None:
        return
    try:
        await stream.send_all(sql)
        await stream.aclose()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return  # the process is gone; its return code tells


def _read(answer: bytes, length: int) -> Tree:
    """Read a child's answer; whatever is not exactly one is not understood."""
    try:
        found = json.loads(answer)
    except (ValueError, RecursionError):
        raise NotUnderstoodError("its syntax tree cannot be read") from None
    if isinstance(found, dict) and isinstance(found.get("fault"), str):
        position = found.get("position")
        raise SyntaxFaultError(SyntaxFault(found["fault"], position if isinstance(position, int) else None))
    if isinstance(found, dict) and isinstance(found.get("reason"), str):
        raise NotUnderstoodError(found["reason"])
    return tree_of(found, length)


_DEFAULT = DisposableParser()


async def understand(statement: bytes, state: SessionState, catalog: Catalog) -> Facts:
    """Return the facts of `statement`; texts too large for this process are parsed in a disposable one."""
    return await _DEFAULT.understand(statement, state, catalog)
