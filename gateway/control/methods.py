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
from gateway.approval.events import Approval
from gateway.approval.grants import CONNECTION, RULE
from gateway.approval.people import Leave
from gateway.approval.reasons import clean_reason
from gateway.approval.waiting import Approvals
from gateway.control.deciding import Caller, Deciding, Decision
from gateway.control.logins import Logins
from gateway.control.messages import HASH_DIGITS, MAX_ID, Failure, Malformed, Refusal, Request, Response, encode
from gateway.errors import GatewayError
from gateway.identity.claims import MAX_NAME_LENGTH
from gateway.identity.kill_list import Struck
from gateway.model import ApprovalId, DecisionKind, Json, SessionId

PAGE_BYTES = 700_000
PAGE_ITEMS = 500
PERSON = "person"
"""Not a role: who may do it is `gateway.control.deciding`'s word, since it takes a login."""
_log = logging.getLogger(__name__)

Params: TypeAlias = Mapping[str, Json]


_DECIDING = frozenset({"approvals.approve", "approvals.deny", "approvals.wait", "grants.withdraw"})
"""Whoever hears of these may rely on it at once, wherever a session is."""


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

    async def history(self, approval: Approval) -> Json:
        """Return what the request's agent did lately, and what became of the same text before: `lately`, `earlier`."""

    async def in_force(self) -> None:
        """Return once what was decided and granted so far counts in every worker."""

    async def replay_sessions(self, limit: int, before: str | None) -> Json:
        """Return one page of recorded sessions."""

    async def replay_transcript(self, session: SessionId, after_seq: int | None, limit: int) -> Json:
        """Return one page of a recorded session's transcript."""


class Methods:
    """The methods of the protocol, for one gateway."""

    def __init__(self, backend: ControlBackend, approvals: Approvals, logins: Logins, deciding: Deciding) -> None:
        self._backend = backend
        self._approvals = approvals
        self._logins = logins
        self._deciding = deciding
        self._table: dict[str, tuple[str, Callable[[Caller, Params], Awaitable[_Answer]]]] = {
            "status": ("watch", self._status),
            "sessions.list": ("watch", self._sessions_list),
            "sessions.kill": ("decide", self._sessions_kill),
            "kill_list.list": ("watch", self._kill_list),
            "kill_list.add": ("decide", self._strike),
            "kill_list.remove": (PERSON, self._unstrike),
            "approvals.list": ("watch", self._approvals_list),
            "approvals.get": ("watch", self._approvals_get),
            "approvals.history": ("watch", self._approvals_history),
            "approvals.reveal": (PERSON, self._approvals_reveal),
            "approvals.wait": ("watch", self._approvals_wait),
            "approvals.receipt": (PERSON, self._approvals_receipt),
            "approvals.approve": (PERSON, self._approvals_approve),
            "approvals.deny": (PERSON, self._approvals_deny),
            "evidence.access": ("audit", self._evidence_access),
            "evidence.archive": ("admin", self._evidence_archive),
            "evidence.erased": (PERSON, self._evidence_erased),
            "grants.list": ("watch", self._grants_list),
            "grants.withdraw": ("decide", self._grants_withdraw),
            "login.start": ("watch", self._login_start),
            "login.wait": ("watch", self._login_wait),
            "login.show": ("watch", self._login_show),
            "login.end": ("watch", self._login_end),
            "replay.sessions": ("watch", self._replay_sessions),
            "replay.transcript": ("watch", self._replay_transcript),
        }

    async def answer(self, caller: Caller, request: Request) -> Response | Failure:
        """Do what `request` asks in the name of `caller`; never raises but for cancellation."""
        try:
            role, method = self._table[request.method]
        except KeyError:
            return Failure(request.id, "unknown_method", "no such method in this version of the gateway")
        login = self._logins.of(caller.seat)
        known = caller.operator.may(role) or (login is not None and login.operator.may(role))
        if role != PERSON and not known:
            return Failure(request.id, "forbidden", f"{caller.operator.name} lacks the role `{role}`")
        try:
            result, following = await method(caller, request.params)
            if request.method in _DECIDING:
                await self._backend.in_force()
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

    async def _status(self, _: Caller, __: Params) -> _Answer:
        return dict(await self._backend.status()), None

    async def _sessions_list(self, _: Caller, params: Params) -> _Answer:
        found = await self._backend.sessions()
        keyed = [(f"{session.get('started')} {session.get('id')}", session) for session in found]
        return _page(keyed, _optional_text(params, "after"))

    async def _sessions_kill(self, caller: Caller, params: Params) -> _Answer:
        session = SessionId(_text(params, "id"))
        await self._backend.kill(session, self._name(caller), clean_reason(_text(params, "reason")))
        return {"id": session, "killed": True}, None

    async def _kill_list(self, _: Caller, params: Params) -> _Answer:
        found = await self._backend.kill_list()
        return _page([(f"{at:06}", entry) for at, entry in enumerate(found)], _optional_text(params, "after"))

    async def _strike(self, caller: Caller, params: Params) -> _Answer:
        kind, value = _struck(params)
        cut = await self._backend.strike(kind, value, self._name(caller), clean_reason(_text(params, "reason")))
        return {"kind": kind, "value": value, "sessions_cut": cut}, None

    async def _unstrike(self, caller: Caller, params: Params) -> _Answer:
        operator, _ = await self._deciding.person(caller)
        kind, value = _struck(params)
        await self._backend.unstrike(kind, value, operator.name, clean_reason(_text(params, "reason")))
        return {"kind": kind, "value": value, "removed": True}, None

    async def _approvals_list(self, _: Caller, params: Params) -> _Answer:
        after = _optional_text(params, "after")
        if params.get("decided") is True:
            keyed = [(f"{MAX_ID - (each.decided or 0):016} {each.id}", each) for each in self._approvals.decided()]
        else:
            keyed = [(f"{each.expires:016} {each.id}", each) for each in self._approvals.pending()]
        return _page(((key, card(each)) for key, each in keyed if after is None or key > after), None)

    async def _approvals_get(self, _: Caller, params: Params) -> _Answer:
        return card(self._approvals.get(_approval(params)), whole=True), None

    async def _approvals_history(self, _: Caller, params: Params) -> _Answer:
        return await self._backend.history(self._approvals.get(_approval(params))), None

    async def _approvals_reveal(self, caller: Caller, params: Params) -> _Answer:
        approval, reason = _approval(params), clean_reason(_text(params, "reason"))
        approver = await self._deciding.approver(caller)
        exact = self._approvals.reveal(approval, approver)
        await self._backend.accessed(approver.name, f"withheld literals of approval {approval}", reason)
        return {"id": approval, "statement": exact.statement, "parameters": list(exact.parameters)}, None

    async def _approvals_wait(self, _: Caller, params: Params) -> _Answer:
        return card(await self._approvals.wait(_approval(params))), None

    async def _approvals_receipt(self, caller: Caller, params: Params) -> _Answer:
        refuse = params.get("decision") == DecisionKind.REFUSED.value
        decision = _decision(params, DecisionKind.REFUSED if refuse else DecisionKind.APPROVED)
        return {"receipt": await self._deciding.prepare(caller, decision)}, None

    async def _approvals_approve(self, caller: Caller, params: Params) -> _Answer:
        return card(await self._decide(caller, params, DecisionKind.APPROVED)), None

    async def _approvals_deny(self, caller: Caller, params: Params) -> _Answer:
        return card(await self._decide(caller, params, DecisionKind.REFUSED)), None

    async def _evidence_access(self, caller: Caller, params: Params) -> _Answer:
        what, reason = _text(params, "what"), clean_reason(_text(params, "reason"))
        return {"seq": await self._backend.accessed(self._name(caller), what, reason)}, None

    async def _evidence_archive(self, _: Caller, params: Params) -> _Answer:
        log = _text(params, "log")
        await self._backend.archived(log)
        return {"log": log, "archived": True}, None

    async def _evidence_erased(self, caller: Caller, params: Params) -> _Answer:
        operator, _ = await self._deciding.person(caller, "admin")
        records, listed, basis = params.get("records"), params.get("files"), clean_reason(_text(params, "basis"))
        files = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        if not isinstance(records, list) or not records or not files:
            raise Refusal("bad_request", "records and files: what is erased must be named")
        told = [(_text(one, "file"), _text(one, "old"), str(one.get("new", ""))) for one in files]
        seq = await self._backend.erased([str(one)[:200] for one in records], basis, operator.name, told)
        return {"seq": seq}, None

    async def _decide(self, caller: Caller, params: Params, kind: DecisionKind) -> Approval:
        signature = _optional_text(params, "signature")
        return await self._deciding.decide(caller, _decision(params, kind), signature)

    async def _grants_list(self, _: Caller, params: Params) -> _Answer:
        keyed = [(f"{each.expires:016} {each.approval}", each.describe()) for each in self._approvals.grants()]
        return _page(keyed, _optional_text(params, "after"))

    async def _grants_withdraw(self, caller: Caller, params: Params) -> _Answer:
        reason = _text(params, "reason")
        grant = await self._approvals.withdraw(_approval(params), self._name(caller), reason)
        return grant.describe(), None

    async def _login_start(self, caller: Caller, _: Params) -> _Answer:
        return await self._logins.start(caller.seat), None

    async def _login_wait(self, caller: Caller, _: Params) -> _Answer:
        return (await self._logins.wait(caller.seat)).describe(), None

    async def _login_show(self, caller: Caller, _: Params) -> _Answer:
        login = self._logins.of(caller.seat)
        return {
            "operator": caller.operator.name,
            "subject": caller.operator.subject,
            "roles": list(caller.operator.roles),
            "groups": list(caller.operator.groups),
            "assurance": self._deciding.assurance,
            "login": None if login is None else login.describe(),
        }, None

    async def _login_end(self, caller: Caller, _: Params) -> _Answer:
        return {"ended": await self._logins.end(caller.seat)}, None

    def _name(self, caller: Caller) -> str:
        """Return in whose name something is done that needs no login."""
        login = self._logins.of(caller.seat)
        return caller.operator.name if login is None else login.operator.name

    async def _replay_sessions(self, _: Caller, params: Params) -> _Answer:
        return await self._backend.replay_sessions(_limit(params), _optional_text(params, "before")), None

    async def _replay_transcript(self, _: Caller, params: Params) -> _Answer:
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


def _decision(params: Params, kind: DecisionKind) -> Decision:
    """Read a decision; an approval quotes enough of the hash."""
    quoted = _optional_text(params, "hash")
    if kind is DecisionKind.APPROVED and len(quoted or "") < HASH_DIGITS:
        raise Refusal("bad_request", f"hash: {HASH_DIGITS} hex digits or more are needed")
    leave = None
    if params.get("seconds") is not None:
        scope = _optional_text(params, "scope") or RULE
        if scope not in {RULE, CONNECTION} or kind is not DecisionKind.APPROVED:
            raise Refusal("bad_request", "scope: rule or connection, of an approval")
        leave = Leave(_number(params, "seconds"), scope)
        if leave.seconds < 1:
            raise Refusal("bad_request", "seconds: a whole number from 1 on is needed")
    break_glass = params.get("break_glass", False)
    if not isinstance(break_glass, bool) or (break_glass and kind is not DecisionKind.APPROVED):
        raise Refusal("bad_request", "break_glass: true or false, of an approval")
    reason = clean_reason(_text(params, "reason"))
    return Decision(_approval(params), kind, reason, None if quoted is None else quoted.lower(), leave, break_glass)


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
