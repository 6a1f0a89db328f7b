"""The control protocol, version 1: one JSON object a line, UTF-8, at most 1 MiB. No I/O.

A client says `hello` and gets `hello`; then it sends requests, each answered once under its `id`, in any order, and
after `subscribe` it gets numbered events. Numbers grow over the gateway's whole life, restarts included, with holes:
a hole means nothing, only a `gap` says that something was lost. Decoding is strict: what is not such a message,
holds a float or cannot be written as UTF-8 again is `Malformed`, in words that never quote it.

Methods (parameters -> result):
  subscribe {topics}                      -> {topics}; topics are sessions, records, approvals
  status {}                               -> the gateway's health, versions, counts, evidence head
  sessions.list {after?}                  -> [session, …]
  sessions.kill {id, reason}              -> {id, killed: true}
  kill_list.list {after?}                 -> [entry, …] newest first: who is kept out, by whom, why, until when
  kill_list.add {kind, value, reason}     -> {kind, value, sessions_cut}; kind is subject, token or issuer-session
  kill_list.remove {kind, value, reason}  -> {kind, value, removed: true}
  approvals.list {decided?, after?}       -> [approval, …] pending ones by expiry, or with `decided` the decided ones,
                                             newest first; `statement` is cut to 2,000 characters
  approvals.get {id}                      -> approval with the statement as far as a frame holds it
  approvals.history {id}                  -> {lately, earlier}: what the agent did of late, what became of the same text
  approvals.reveal {id, reason}           -> {id, statement, parameters} as sent, withheld literals included: once, to
                                             one who may decide about it, and recorded
  approvals.approve {id, hash, reason, seconds?, scope?, signature?}
                                          -> approval; `hash` is 8 hex digits of the operation hash or more; `seconds`
                                             and `scope` (rule, connection) let the agent through for a period
  approvals.deny {id, reason, hash?, signature?} -> approval
  approvals.receipt {decision?, …}        -> {receipt}: what to sign for that decision; then send it with `signature`
  approvals.wait {id}                     -> approval, once it is decided
  evidence.access {what, reason}          -> {seq} of the record in the control log, once it is durable; for auditors
  evidence.archive {log}                  -> {log, archived}: closes the log's journal file and archives it; for admins
  evidence.erased {records, basis, files} -> {seq} of the signed record that must stand before an erasure; for admins
  grants.list {after?}                    -> [grant, …], the soonest to end first
  grants.withdraw {id, reason}            -> grant; it is over from then on
  login.start {}                          -> {user_code, verification_uri, verification_uri_complete, seconds}
  login.wait {}                           -> login, once the person confirmed the code
  login.show {}                           -> who the user id is here, and the `login` of this seat, if there is one
  login.end {}                            -> {ended}
  replay.sessions {limit?, before?}       -> one page of recorded sessions
  replay.transcript {session_id, after_seq?, limit?} -> one page: {items, next_after}
A list that did not fit into one answer carries `next` beside `result`; pass it back as `after`.
An approval object says with `statement_length` (characters) and `statement_cut` whether its statement is whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn, TypeAlias

from gateway.errors import GatewayError
from gateway.model import Json

VERSION: Final = 1
MAX_FRAME: Final = 1024 * 1024
"""Bytes of one line, its line feed included."""
MAX_ID: Final = 2**53 - 1
TOPICS: Final = ("sessions", "records", "approvals")
HASH_DIGITS: Final = 8
"""Fewest hex digits of the operation hash that an approval must quote."""
STATEMENT_IN_LISTS: Final = 2_000
"""Characters of a statement in a list or an event; `approvals.get` has more."""
ERROR_CODES: Final = (
    "bad_request",
    "unknown_method",
    "forbidden",
    "not_found",
    "stale_hash",
    "already_decided",
    "expired",
    "unavailable",
)


class Malformed(GatewayError):
    """What came over the socket is not a message of this protocol."""


class Refusal(GatewayError):
    """A request was understood and refused: `code` is one of ERROR_CODES, the message is for the person who asked."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Hello:
    """The client's first message; `resume` is the number of the last event it saw."""

    client: str
    resume: int | None = None
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Welcome:
    """The gateway's first message: who the client is to it, the next event's number, and what a resume missed."""

    gateway: str
    server: str
    operator: str | None
    subject: str | None
    roles: tuple[str, ...]
    groups: tuple[str, ...]
    assurance: str
    next: int
    gap: tuple[int, int] | None
    time: str
    restarted: bool = False
    """The number to resume from belongs to an earlier start of the gateway: read everything anew."""
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Request:
    """A call; its answer carries the same `id`."""

    id: int
    method: str
    params: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to a call that was done; `next` continues a list that did not fit."""

    id: int
    result: Json
    next: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """The answer to a call that was refused; `id` is None where the call itself could not be read."""

    id: int | None
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened; `number` is what a later `resume` quotes."""

    number: int
    event: str
    data: Mapping[str, Json]

    @property
    def topic(self) -> str:
        """Under which subscription it is sent."""
        return topic_of(self.event)


ClientMessage: TypeAlias = Hello | Request
ServerMessage: TypeAlias = Welcome | Response | Failure | Event


def topic_of(event: str) -> str:
    """Return the topic of an event's name."""
    if event.startswith(("approval.", "grant.")):
        return "approvals"
    return "sessions" if event.startswith("session.") else "records"


def encode(message: ClientMessage | ServerMessage) -> bytes:
    """Return the message as one line. Raises Malformed where it is over MAX_FRAME or not writable as UTF-8."""
    try:
        line = json.dumps(_fields(message), ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n"
    except (ValueError, RecursionError):  # UnicodeEncodeError is a ValueError
        raise Malformed("the message cannot be written as UTF-8 JSON") from None
    if len(line) > MAX_FRAME:
        raise Malformed(f"the message is longer than {MAX_FRAME} bytes")
    return line


def decode_client(line: bytes) -> ClientMessage:
    """Read one line that a client sent, with or without its line feed."""
    raw = _object(line)
    match raw.get("type"):
        case "hello":
            return Hello(
                client=_text(raw, "client")[:200],
                resume=_number(raw, "resume") if raw.get("resume") is not None else None,
                version=_number(raw, "version"),
            )
        case "request":
            params = raw.get("params", {})
            if not isinstance(params, dict):
                raise Malformed("params: an object is needed")
            return Request(_number(raw, "id"), _text(raw, "method"), params)
        case _:
            raise Malformed("type: hello or request is needed")


def decode_server(line: bytes) -> ServerMessage:
    """Read one line that the gateway sent, with or without its line feed."""
    raw = _object(line)
    match raw.get("type"):
        case "hello":
            return Welcome(
                gateway=_text(raw, "gateway"),
                server=_text(raw, "server"),
                operator=_optional_text(raw, "operator"),
                subject=_optional_text(raw, "subject"),
                roles=_texts(raw, "roles"),
                groups=_texts(raw, "groups"),
                assurance=_text(raw, "assurance"),
                next=_number(raw, "next"),
                gap=_pair(raw.get("gap")),
                time=_text(raw, "time"),
                restarted=raw.get("restarted") is True,
                version=_number(raw, "version"),
            )
        case "response" if isinstance(raw.get("error"), dict):
            error = raw["error"]
            return Failure(
                _number(raw, "id") if raw.get("id") is not None else None, _text(error, "code"), _text(error, "message")
            )
        case "response":
            return Response(_number(raw, "id"), raw.get("result"), _optional_text(raw, "next"))
        case "event":
            data = raw.get("data")
            if not isinstance(data, dict):
                raise Malformed("data: an object is needed")
            return Event(_number(raw, "number"), _text(raw, "event"), data)
        case _:
            raise Malformed("type: hello, response or event is needed")


def _fields(message: ClientMessage | ServerMessage) -> dict[str, Any]:
    match message:
        case Hello():
            return {"type": "hello", "version": message.version, "client": message.client, "resume": message.resume}
        case Welcome():
            return {
                "type": "hello",
                "version": message.version,
                "gateway": message.gateway,
                "server": message.server,
                "operator": message.operator,
                "subject": message.subject,
                "roles": list(message.roles),
                "groups": list(message.groups),
                "assurance": message.assurance,
                "next": message.next,
                "gap": list(message.gap) if message.gap else None,
                "restarted": message.restarted,
                "time": message.time,
            }
        case Request():
            return {"type": "request", "id": message.id, "method": message.method, "params": dict(message.params)}
        case Response():
            more = {"next": message.next} if message.next is not None else {}
            return {"type": "response", "id": message.id, "result": message.result, **more}
        case Failure():
            error = {"code": message.code, "message": message.message}
            return {"type": "response", "id": message.id, "error": error}
        case Event():
            return {"type": "event", "number": message.number, "event": message.event, "data": dict(message.data)}


def _object(line: bytes) -> dict[str, Any]:
    try:
        raw = json.loads(line.decode(), parse_float=_no_float, parse_constant=_no_float)
        json.dumps(raw, ensure_ascii=False).encode()  # a lone surrogate (\ud800) would break whoever writes it later
    except (ValueError, RecursionError):
        raise Malformed("a line is one JSON object in UTF-8, without floats and lone surrogates") from None
    if not isinstance(raw, dict):
        raise Malformed("a line is one JSON object")
    return raw


def _no_float(_: str) -> NoReturn:
    raise ValueError


def _text(raw: Mapping[str, Any], key: str) -> str:
    value = raw.get(key)
    if not isinstance(value, str):
        raise Malformed(f"{key}: text is needed")
    return value


def _optional_text(raw: Mapping[str, Any], key: str) -> str | None:
    return None if raw.get(key) is None else _text(raw, key)


def _texts(raw: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = raw.get(key)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Malformed(f"{key}: a list of texts is needed")
    return tuple(value)


def _number(raw: Mapping[str, Any], key: str) -> int:
    value = raw.get(key)
    if type(value) is not int or not 0 <= value <= MAX_ID:
        raise Malformed(f"{key}: a whole number is needed")
    return value


def _pair(value: object) -> tuple[int, int] | None:
    match value:
        case [int(first), int(last)]:
            return first, last
        case None:
            return None
        case _:
            raise Malformed("gap: two numbers or null are needed")
