"""What a control request may ask, of whom, and how its parameters are read. No I/O of its own.

Each method checks its parameters first and the operator's role before anything else happens. Answers are cut into
pages that fit a frame. Whatever the backend raises becomes one of the protocol's codes here, with words for a person.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Protocol, TypeAlias, get_args

from gateway.approval.card import card
from gateway.approval.ledger import Approval
from gateway.approval.waiting import Approvals, clean_reason
from gateway.control.messages import HASH_DIGITS, MAX_ID, Failure, Malformed, Refusal, Request, Response, encode
from gateway.control.operators import Operator
from gateway.errors import GatewayError
from gateway.identity.claims import MAX_NAME_LENGTH
from gateway.identity.kill_list import Struck
from gateway.model import ApprovalId, DecisionKind, Json, SessionId

PAGE_BYTES = 700_000
PAGE_ITEMS = 500
_log = logging.getLogger(__name__)

Params: TypeAlias = Mapping[str, Json]


class ControlBackend(Protocol):
    """What the supervisor answers for the rest of the gateway. Each method may raise Refusal or a GatewayError."""

    async def status(self) -> dict[str, Json]:
        """Return health (`healthy`: bool), versions, counts, evidence head."""

    async def sessions(self) -> list[dict[str, Json]]:
        """Return the live sessions, as session objects of the protocol."""

    async def kill(self, session: SessionId, by: str, reason: str) -> None:
        """Cut a session. Raises Refusal `not_found`."""

    async def kill_list(self) -> list[dict[str, Json]]:
        """Return the kill list, newest first."""

    async def strike(self, kind: Struck, value: str, by: str, reason: str) -> int:
        """Keep a subject or token out from now on, also after a restart; returns how many sessions were cut."""

    async def unstrike(self, kind: Struck, value: str, by: str, reason: str) -> None:
        """Take an entry from the kill list. Raises Refusal `not_found`."""

    async def accessed(self, by: str, what: str, reason: str) -> int:
        """Record that originals or evidence are about to be opened; returns the record's number, once it is on disk."""

    async def archived(self, log: str) -> None:
        """Close the journal file of a log and archive it. Raises Refusal `not_found` for no log of this gateway."""

    async def erased(self, records: list[str], basis: str, by: str, files: list[tuple[str, str, str]]) -> int:
        """Record an erasure that is about to be carried out, signed; returns the record's number."""

    async def replay_sessions(self, limit: int, before: str | None) -> Json:
        """Return one page of recorded sessions."""

    async def replay_transcript(self, session: SessionId, after_seq: int | None, limit: int) -> Json:
        """Return one page of a recorded session's transcript."""


class Methods:
    """The methods of the protocol, for one gateway."""

    def __init__(self, backend: ControlBackend, approvals: Approvals, assurance: str) -> None:
        self._backend = backend
        self._approvals = approvals
        self._assurance = assurance
        self._table: dict[str, tuple[str, Callable[[Operator, Params], Awaitable[_Answer]]]] = {
            "status": ("watch", self._status),
            "sessions.list": ("watch", self._sessions_list),
            "sessions.kill": ("decide", self._sessions_kill),
            "kill_list.list": ("watch", self._kill_list),
            "kill_list.add": ("decide", self._strike),
            "kill_list.remove": ("decide", self._unstrike),
            "approvals.list": ("watch", self._approvals_list),
            "approvals.get": ("watch", self._approvals_get),
            "approvals.reveal": ("decide", self._approvals_reveal),
            "approvals.wait": ("watch", self._approvals_wait),
            "approvals.approve": ("decide", self._approvals_approve),
            "approvals.deny": ("decide", self._approvals_deny),
            "evidence.access": ("audit", self._evidence_access),
            "evidence.archive": ("admin", self._evidence_archive),
            "evidence.erased": ("admin", self._evidence_erased),
            "replay.sessions": ("watch", self._replay_sessions),
            "replay.transcript": ("watch", self._replay_transcript),
        }

    async def answer(self, operator: Operator, request: Request) -> Response | Failure:
        """Do what `request` asks in the name of `operator`; never raises but for cancellation."""
        try:
            role, method = self._table[request.method]
        except KeyError:
            return Failure(request.id, "unknown_method", "no such method in this version of the gateway")
        if not operator.may(role):
            return Failure(request.id, "forbidden", f"{operator.name} lacks the role `{role}`")
        try:
            result, following = await method(operator, request.params)
            response = Response(request.id, result, following)
            encode(response)
        except Refusal as refusal:
            return Failure(request.id, refusal.code, str(refusal))
        except Malformed:
            return Failure(request.id, "unavailable", "the answer does not fit into one message; ask for less")
        except GatewayError as fault:
            return Failure(request.id, "unavailable", str(fault))
        except Exception:  # noqa: BLE001  a border: one bad request must not end the gateway
            _log.exception("control request %s failed", request.method)
            return Failure(request.id, "unavailable", "the gateway failed on this request; its log says more")
        return response

    async def _status(self, _: Operator, __: Params) -> _Answer:
        return dict(await self._backend.status()), None

    async def _sessions_list(self, _: Operator, params: Params) -> _Answer:
        found = await self._backend.sessions()
        keyed = [(f"{session.get('started')} {session.get('id')}", session) for session in found]
        return _page(keyed, _optional_text(params, "after"))

    async def _sessions_kill(self, operator: Operator, params: Params) -> _Answer:
        session = SessionId(_text(params, "id"))
        await self._backend.kill(session, operator.name, clean_reason(_text(params, "reason")))
        return {"id": session, "killed": True}, None

    async def _kill_list(self, _: Operator, params: Params) -> _Answer:
        found = await self._backend.kill_list()
        return _page([(f"{at:06}", entry) for at, entry in enumerate(found)], _optional_text(params, "after"))

    async def _strike(self, operator: Operator, params: Params) -> _Answer:
        kind, value = _struck(params)
        cut = await self._backend.strike(kind, value, operator.name, clean_reason(_text(params, "reason")))
        return {"kind": kind, "value": value, "sessions_cut": cut}, None

    async def _unstrike(self, operator: Operator, params: Params) -> _Answer:
        kind, value = _struck(params)
        await self._backend.unstrike(kind, value, operator.name, clean_reason(_text(params, "reason")))
        return {"kind": kind, "value": value, "removed": True}, None

    async def _approvals_list(self, _: Operator, params: Params) -> _Answer:
        after = _optional_text(params, "after")
        if params.get("decided") is True:
            keyed = [(f"{MAX_ID - (each.decided or 0):016} {each.id}", each) for each in self._approvals.decided()]
        else:
            keyed = [(f"{each.expires:016} {each.id}", each) for each in self._approvals.pending()]
        return _page(((key, card(each)) for key, each in keyed if after is None or key > after), None)

    async def _approvals_get(self, _: Operator, params: Params) -> _Answer:
        return card(self._approvals.get(_approval(params)), whole=True), None

    async def _approvals_reveal(self, operator: Operator, params: Params) -> _Answer:
        approval, reason = _approval(params), clean_reason(_text(params, "reason"))
        exact = self._approvals.reveal(approval, operator.approver(self._assurance))
        await self._backend.accessed(operator.name, f"withheld literals of approval {approval}", reason)
        return {"id": approval, "statement": exact.statement, "parameters": list(exact.parameters)}, None

    async def _approvals_wait(self, _: Operator, params: Params) -> _Answer:
        return card(await self._approvals.wait(_approval(params))), None

    async def _approvals_approve(self, operator: Operator, params: Params) -> _Answer:
        quoted = _text(params, "hash").lower()
        if len(quoted) < HASH_DIGITS:
            raise Refusal("bad_request", f"hash: {HASH_DIGITS} hex digits or more are needed")
        return card(await self._decide(operator, params, DecisionKind.APPROVED, quoted)), None

    async def _approvals_deny(self, operator: Operator, params: Params) -> _Answer:
        quoted = _optional_text(params, "hash")
        decided = await self._decide(operator, params, DecisionKind.REFUSED, quoted.lower() if quoted else None)
        return card(decided), None

    async def _decide(self, operator: Operator, params: Params, kind: DecisionKind, quoted: str | None) -> Approval:
        if self._assurance != "uid":  # a peer's user id proves too little, and other logins there are none yet
            raise Refusal("forbidden", f"deciding needs a login ({self._assurance}), which is not built yet")
        approver = operator.approver(self._assurance)
        return await self._approvals.decide(_approval(params), quoted, approver, kind, _text(params, "reason"))

    async def _evidence_access(self, operator: Operator, params: Params) -> _Answer:
        what, reason = _text(params, "what"), clean_reason(_text(params, "reason"))
        return {"seq": await self._backend.accessed(operator.name, what, reason)}, None

    async def _evidence_archive(self, _: Operator, params: Params) -> _Answer:
        log = _text(params, "log")
        await self._backend.archived(log)
        return {"log": log, "archived": True}, None

    async def _evidence_erased(self, operator: Operator, params: Params) -> _Answer:
        records, listed, basis = params.get("records"), params.get("files"), clean_reason(_text(params, "basis"))
        files = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        if not isinstance(records, list) or not records or not files:
            raise Refusal("bad_request", "records and files: what is erased must be named")
        told = [(_text(one, "file"), _text(one, "old"), str(one.get("new", ""))) for one in files]
        seq = await self._backend.erased([str(one)[:200] for one in records], basis, operator.name, told)
        return {"seq": seq}, None

    async def _replay_sessions(self, _: Operator, params: Params) -> _Answer:
        return await self._backend.replay_sessions(_limit(params), _optional_text(params, "before")), None

    async def _replay_transcript(self, _: Operator, params: Params) -> _Answer:
        session = SessionId(_text(params, "session_id"))
        after = _number(params, "after_seq") if params.get("after_seq") is not None else None
        return await self._backend.replay_transcript(session, after, _limit(params)), None


_Answer: TypeAlias = tuple[Json, str | None]


def _page(keyed: Iterable[tuple[str, dict[str, Json]]], after: str | None) -> _Answer:
    """Return the objects whose keys come after `after`, as many as fit a frame, and where to go on."""
    taken: list[Json] = []
    size, last = 0, ""
    for key, item in sorted(keyed, key=lambda one: one[0]):
        if after is not None and key <= after:
            continue
        size += len(json.dumps(item, ensure_ascii=False).encode("utf-8", "replace"))
        if taken and (size > PAGE_BYTES or len(taken) >= PAGE_ITEMS):
            return taken, last
        taken.append(item)
        last = key
    return taken, None


def _struck(params: Params) -> tuple[Struck, str]:
    kind, value = _text(params, "kind"), _text(params, "value")
    known: Struck | None = next((each for each in get_args(Struck) if each == kind), None)
    if known is None:
        raise Refusal("bad_request", "kind: subject, token or issuer-session")
    if len(value) > MAX_NAME_LENGTH or not value.isprintable():
        raise Refusal("bad_request", "value: no token could hold this name")
    return known, value


def _approval(params: Params) -> ApprovalId:
    return ApprovalId(_text(params, "id"))


def _text(params: Params, key: str) -> str:
    value = params.get(key)
    if not isinstance(value, str) or not value:
        raise Refusal("bad_request", f"{key}: text is needed")
    return value


def _optional_text(params: Params, key: str) -> str | None:
    return None if params.get(key) is None else _text(params, key)


def _number(params: Params, key: str) -> int:
    value = params.get(key)
    if type(value) is not int or not 0 <= value <= MAX_ID:
        raise Refusal("bad_request", f"{key}: a whole number is needed")
    return value


def _limit(params: Params) -> int:
    limit = _number(params, "limit") if params.get("limit") is not None else 100
    return max(1, min(limit, PAGE_ITEMS))
