"""A driver of the session machine made of plain lists: no loop, no sockets, no time.

What the machine would send is collected in order; questions are answered at once by a function of the statement, so
that a test reads as bytes in and bytes out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.model import Decision, DecisionKind, OperationHash, Verdict, VerdictKind
from gateway.pgwire.actions import (
    Analyse,
    Close,
    EndHold,
    Granted,
    Hold,
    Limits,
    Record,
    Refused,
    SendToClient,
    SendToTarget,
    Source,
    Token,
)
from gateway.pgwire.backend import Report
from gateway.pgwire.framing import Message, MessageReader
from gateway.pgwire.judgement import Judgement
from gateway.pgwire.notes import Note
from gateway.pgwire.session import Session


class CountingEntropy:
    """Bytes that differ from call to call and are the same in every run."""

    def __init__(self) -> None:
        self._calls = 0

    def bytes(self, count: int) -> bytes:
        self._calls += 1
        return self._calls.to_bytes(4, "big").rjust(count, b"\0")[-count:]


def allow(**changes: object) -> Judgement:
    return Judgement(Verdict(VerdictKind.ALLOW, "standard/select", "reads", "select"), "hash", **changes)  # type: ignore[arg-type]


def deny(reason: str = "it drops a table") -> Judgement:
    verdict = Verdict(VerdictKind.DENY, "standard/drop", reason, "drop", hint="Ask an operator.")
    return Judgement(verdict, "hash")


def hold(**changes: object) -> Judgement:
    return Judgement(Verdict(VerdictKind.APPROVE, "standard/delete", "deletes", "delete"), "hash", **changes)  # type: ignore[arg-type]


def by_words(action: Analyse) -> Judgement:
    """`drop` is denied, `delete` held, `copy … from` takes data; everything else is allowed."""
    sql = action.statement.sql.lower()
    if sql.startswith(b"drop"):
        return deny()
    if sql.startswith(b"delete"):
        return hold()
    return allow(
        copy_in=sql.startswith(b"copy") and b" from " in sql, copy_out=sql.startswith(b"copy") and b" to " in sql
    )


@dataclass
class Drive:
    """One machine and everything it asked for."""

    judge: Callable[[Analyse], Judgement] = by_words
    limits: Limits = field(default_factory=Limits)
    marked: bool = False
    quick: bool = False
    """The machine may judge by itself, at once, instead of asking."""
    to_client: bytearray = field(default_factory=bytearray)
    to_target: bytearray = field(default_factory=bytearray)
    notes: list[Note] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    asked: list[Analyse] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)
    ended: list[EndHold] = field(default_factory=list)
    other: list[object] = field(default_factory=list)
    closed: str | None = None

    def __post_init__(self) -> None:
        pinned = {"client_encoding": "UTF8"}
        judge = (lambda statement, names: self.judge(Analyse(Token(0), statement, names))) if self.quick else None
        self.session = Session(self.limits, CountingEntropy(), lambda: 0, pinned, marked=self.marked, judge=judge)

    def client(self, *data: bytes) -> Drive:
        self._perform(self.session.feed(Source.CLIENT, b"".join(data)))
        return self

    def target(self, *data: bytes) -> Drive:
        self._perform(self.session.feed(Source.TARGET, b"".join(data)))
        return self

    def approve(self, judgement: Judgement | None = None) -> Drive:
        action = self.holds[-1]
        decision = Decision(None, DecisionKind.APPROVED, OperationHash("00"))  # type: ignore[arg-type]
        granted = Granted(judgement or action.judgement, decision, OperationHash("00"))
        self._perform(self.session.resume(action.token, granted))
        return self

    def refuse(self, refused: Refused) -> Drive:
        self._perform(self.session.resume(self.holds[-1].token, refused))
        return self

    def do(self, actions: list[object]) -> Drive:
        self._perform(actions)
        return self

    def sent_to_client(self) -> list[Message]:
        """What the agent was sent since the last look, as messages."""
        return _messages(self.to_client)

    def sent_to_target(self) -> list[Message]:
        """What the target was sent since the last look, as messages."""
        return _messages(self.to_target)

    def _perform(self, actions: list[object]) -> None:
        queue = list(actions)
        while queue or (queue := list(self.session.go_on() if self.session.rests else ())):
            action = queue.pop(0)
            self.order.append(type(action).__name__)
            match action:
                case Analyse():
                    self.asked.append(action)
                    queue += self.session.resume(action.token, self.judge(action))
                case Hold():
                    self.holds.append(action)
                case EndHold():
                    self.ended.append(action)
                case SendToClient(data):
                    self.to_client += data
                case SendToTarget(data):
                    self.to_target += data
                case Record(note):
                    self.notes.append(note)
                    self.order[-1] = f"Record {type(note).__name__}"
                case Close(reason):
                    self.closed = reason
                case _:
                    self.other.append(action)


def _messages(data: bytearray) -> list[Message]:
    reader = MessageReader(1 << 30)
    reader.feed(bytes(data))
    found = list(reader)
    assert not reader.pending
    data.clear()
    return found


def kinds(messages: list[Message]) -> str:
    """The type bytes, in order."""
    return b"".join(message.kind for message in messages).decode()


def error_of(messages: list[Message]) -> Report:
    """The fields of the only error among the messages."""
    (found,) = [message for message in messages if message.kind == b"E"]
    return Report.decode(found.body)
