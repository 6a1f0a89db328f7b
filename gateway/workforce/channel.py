"""One end of the line between supervisor and worker (Trio): questions with answers, and what is merely told.

A frame is its length in four bytes and a JSON object. Promises that every question ends: with its answer, with the
fault that the other side met, or with `Severed` once the other process is gone; that what is told arrives in order;
and that nothing but a message of this side's table is ever made of what comes. Tokens are on this line: nothing of
it is logged.
"""

from __future__ import annotations

import json
import logging
import socket
import traceback
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import trio

from gateway.control.messages import Refusal
from gateway.errors import ConfigurationFault, EvidenceFault, GatewayError, IssuerFault, LoginRefused, TargetFault
from gateway.identity.kill_list import Revoked
from gateway.workforce.codec import Malformed, plain, read

logger = logging.getLogger(__name__)

MOST = 256 << 20
"""Bytes of a frame: longer than any statement with its parameters."""
FULL = 8 << 20
"""Bytes on their way after which what may be dropped is."""
_RECEIVE = 256 << 10
_FAULTS: dict[str, type[GatewayError]] = {
    "target": TargetFault, "issuer": IssuerFault, "configuration": ConfigurationFault, "evidence": EvidenceFault,
}  # fmt: skip
_T = TypeVar("_T")


class Severed(EvidenceFault):
    """The other process is gone: nothing that needs it can be recorded or asked any more."""


@dataclass(slots=True)
class _Question:
    kind: type[Any]
    answered: trio.Event = field(default_factory=trio.Event)
    value: Any = None
    fault: Exception | None = None


class Channel:
    """Speaks over `connected`. `answer` is given each question and its number, `told` what is merely told.

    `answer` may raise any of our faults; they are raised at the other side. Its task is cancelled where the other side
    no longer wants an answer.
    """

    def __init__(
        self,
        connected: socket.socket,
        takes: Iterable[type[Any]],
        answer: Callable[[Any, int], Awaitable[object]],
        told: Callable[[Any], None],
        arrived: Callable[[Any, int], None] = lambda _message, _number: None,
    ) -> None:
        """`arrived` hears of a question in its place among what is told; `answer` may be called after that."""
        self._arrived = arrived
        self._stream = trio.SocketStream(trio.socket.from_stdlib_socket(connected))
        self._takes = {each.__name__: each for each in takes}
        self._answer, self._told = answer, told
        self._out = bytearray()
        self._waiting = trio.Event()
        self._asked: dict[int, _Question] = {}
        self._late: dict[int, tuple[type[Any], Callable[[Any], None]]] = {}
        self._scopes: dict[int, trio.CancelScope] = {}
        self._next = 0
        self.severed = trio.Event()
        self._running: trio.CancelScope | None = None

    def close(self) -> None:
        """Hang up: `run` returns, and so does the other side's."""
        if self._running is not None:
            self._running.cancel()

    @property
    def full(self) -> bool:
        """Whether the other side does not keep up."""
        return len(self._out) > FULL

    async def run(self) -> None:
        """Serve until the other side is gone, or cancelled; tasks that still answer are cancelled then."""
        try:
            async with trio.open_nursery() as nursery:
                self._running = nursery.cancel_scope
                nursery.start_soon(self._send)
                await self._receive(nursery)
                nursery.cancel_scope.cancel()
        finally:
            self.severed.set()
            for question in self._asked.values():
                question.fault = Severed("the other process of the gateway is gone")
                question.answered.set()
            with trio.CancelScope(shield=True), trio.move_on_after(1):
                await self._stream.aclose()

    async def ask(
        self,
        message: object,
        kind: type[_T],
        *,
        asked: Callable[[int], None] = lambda _: None,
        late: Callable[[_T], None] | None = None,
    ) -> _T:
        """Return the other side's answer. Raises its fault, or `Severed`.

        `asked` is given the question's number. Where this call is cancelled, the other side is told; `late` takes an
        answer that was on its way already.
        """
        if self.severed.is_set():
            raise Severed("the other process of the gateway is gone")
        self._next += 1
        number = self._next
        question = self._asked[number] = _Question(kind)
        self._put("ask", number, message)
        asked(number)
        try:
            await question.answered.wait()
        except trio.Cancelled:
            if not question.answered.is_set():
                if late is not None:
                    self._late[number] = kind, late
                self._put("drop", number, None)
            elif late is not None and question.fault is None:
                late(question.value)
            raise
        finally:
            del self._asked[number]
        if question.fault is not None:
            raise question.fault
        value: _T = question.value
        return value

    def tell(self, message: object) -> None:
        """Tell, without waiting; lost where the other side is gone."""
        if not self.severed.is_set():
            self._put("tell", 0, message)

    # --- in and out ----------------------------------------------------------------------------------------------

    def _put(self, what: str, number: int, message: object) -> None:
        body = {"what": what, "number": number, "name": type(message).__name__, "body": plain(message)}
        data = json.dumps(body, separators=(",", ":")).encode("ascii")
        if len(data) > MOST:
            raise EvidenceFault("it is too long for another process of the gateway")
        self._out += len(data).to_bytes(4, "big") + data
        self._waiting.set()

    async def _send(self) -> None:
        try:
            while True:
                await self._waiting.wait()
                self._waiting = trio.Event()
                while self._out:
                    data, self._out = self._out, bytearray()
                    await self._stream.send_all(data)
        except trio.BrokenResourceError:
            return  # the reading side meets the end, too

    async def _receive(self, nursery: trio.Nursery) -> None:
        kept = bytearray()
        try:
            while data := await self._stream.receive_some(_RECEIVE):
                kept += data
                while len(kept) >= 4:
                    size = int.from_bytes(kept[:4], "big")
                    if size > MOST:
                        raise Malformed("a frame is too long")
                    if len(kept) < 4 + size:
                        break
                    frame = json.loads(kept[4 : 4 + size])
                    del kept[: 4 + size]
                    self._take(frame, nursery)
        except trio.BrokenResourceError:
            return

    def _take(self, frame: dict[str, Any], nursery: trio.Nursery) -> None:
        what, number = frame["what"], frame["number"]
        match what:
            case "ask":
                message, scope = self._message(frame), trio.CancelScope()
                self._scopes[number] = scope
                self._arrived(message, number)
                nursery.start_soon(self._respond, number, message, scope)
            case "tell":
                self._told(self._message(frame))
            case "drop":
                if (dropped := self._scopes.get(number)) is not None:
                    dropped.cancel()
            case _:
                self._answered(what, number, frame["body"])

    def _message(self, frame: dict[str, Any]) -> object:
        kind = self._takes.get(frame["name"])
        if kind is None:
            raise Malformed("no message for this side")
        message: object = read(kind, frame["body"])
        return message

    async def _respond(self, number: int, message: object, scope: trio.CancelScope) -> None:
        with scope:
            try:
                value = await self._answer(message, number)
            except GatewayError as fault:
                self._put("fault", number, _said(fault))
            except Exception as fault:  # noqa: BLE001  a border: one question that fails ends no other's session
                place = "".join(traceback.format_tb(fault.__traceback__))
                logger.error("a question ended by %s at\n%s", type(fault).__name__, place)  # noqa: TRY400  words may be secret
                self._put("fault", number, _Said("evidence", "the gateway failed on this; its log says more", "", ""))
            else:
                self._put("answer", number, value)
            finally:
                del self._scopes[number]
        if scope.cancelled_caught:
            self._put("fault", number, _Said("dropped", "", "", ""))

    def _answered(self, what: str, number: int, body: Any) -> None:
        question = self._asked.get(number)
        if question is None:
            kind, late = self._late.pop(number, (None, None))
            if kind is not None and late is not None and what == "answer":
                late(read(kind, body))
            return
        if what == "answer":
            question.value = read(question.kind, body)
        else:
            question.fault = _raised(read(_Said, body))
        question.answered.set()


@dataclass(frozen=True, slots=True)
class _Said:
    """A fault on its way."""

    kind: str
    words: str
    code: str
    reason: str


def _said(fault: GatewayError) -> _Said:
    if isinstance(fault, Refusal):
        return _Said("refusal", str(fault), fault.code, "")
    if isinstance(fault, Revoked):
        return _Said("revoked", fault.by, fault.kind, fault.why)
    if isinstance(fault, LoginRefused):
        return _Said("login", str(fault), fault.sqlstate, fault.reason)
    kind = next((name for name, each in _FAULTS.items() if isinstance(fault, each)), "evidence")
    return _Said(kind, str(fault), "", "")


def _raised(said: _Said) -> Exception:
    match said.kind:
        case "login":
            return LoginRefused(said.words, said.code, said.reason)
        case "revoked":
            return Revoked(said.code, said.words, said.reason)
        case "refusal":
            return Refusal(said.code, said.words)
        case _:
            return _FAULTS.get(said.kind, EvidenceFault)(said.words)
