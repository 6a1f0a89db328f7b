"""One constructor for each kind of record; the only place that knows the field names of entries and payloads.

An entry holds names, numbers, hashes and words from fixed vocabularies. Free text (statements, parameters, messages,
reasons, names that an agent chose) goes into the payload, which is committed to and can be erased without breaking
the entry. Pure: values in, `Draft` out. Never refuses an agent's text: what the format cannot hold is replaced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.errors import OurBug
from gateway.evidence.chain import commitment
from gateway.evidence.entry import parse_time
from gateway.evidence.values import cut, name, parameter, text, wire
from gateway.model import (
    ApprovalId,
    Decision,
    DecisionKind,
    Draft,
    HoldRequest,
    Json,
    LogName,
    MaskStyle,
    OperationHash,
    Outcome,
    Principal,
    SessionId,
    SessionInfo,
    Statement,
    Verdict,
    format_time,
)

KINDS = frozenset(
    {
        "start", "shutdown", "config", "login", "login_refused", "session_start", "session_end", "prepare",
        "request", "execute", "data", "decision", "release", "result", "masked", "cancel", "kill", "grant",
        "alarm", "archive", "key", "erasure", "witness", "access", "gap",
    }
)  # fmt: skip
"""Every kind of entry in version 1."""


@dataclass(frozen=True, slots=True)
class PolicyInForce:
    """One connection's policy as the record of the configuration names it; `policy` is its hash."""

    connection: str
    policy: str
    rules: tuple[str, ...]
    marks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Torn:
    """What a crash left behind a broken line: the file in `torn/` that holds it, its length and BLAKE3."""

    file: str
    length: int
    blake3: str


def session_fields(session: SessionInfo) -> dict[str, Json]:
    """Return the identity and path that every entry of a session carries."""
    principal = session.principal
    fields: dict[str, Json] = {
        "sid": session.id,
        "iss": name(principal.issuer),
        "sub": name(principal.subject),
        "jti": name(principal.token_id),
        "conn": name(session.connection),
        "tgt": name(session.target),
    }
    if principal.development:
        fields["dev"] = True
    return fields


# The life of the process.


def start(gateway: str, version: str, *, pid: int | None = None, torn: Sequence[Torn] = ()) -> Draft:
    """Return the first record of a process in its log; `torn` names what the previous one left unfinished."""
    found: list[Json] = [{"file": one.file, "length": one.length, "blake3": one.blake3} for one in torn]
    return Draft("start", fields={"gateway": name(gateway), "version": version, "pid": pid, "torn": found})


def shutdown(reason: str) -> Draft:
    """Return the last record of an orderly stop."""
    return Draft("shutdown", fields={"reason": name(reason)})


def config(
    policy_hash: str, text_in_force: str, *, connections: Sequence[PolicyInForce] = (), operators: Sequence[str] = ()
) -> Draft:
    """Return the configuration in force: its canonical text without secrets, its hash, and the rows of `policies`."""
    rows: list[Json] = [
        {
            "connection": text(one.connection),
            "policy": one.policy,
            "rules": [text(rule) for rule in one.rules],
            "marks": [text(mark) for mark in one.marks],
        }
        for one in connections
    ]
    payload: dict[str, Json] = {
        "text": text(text_in_force),
        "connections": rows,
        "operators": [text(operator) for operator in operators],
    }
    return Draft("config", fields={"policy": policy_hash}, payload=payload)


# Who came in.


def login(session: SessionInfo, outcome: str = "ok", *, renewal: bool = False) -> Draft:
    """Return an agent's accepted login; `renewal`: its live session goes on with the new token that it names."""
    fields: dict[str, Json] = {"addr": name(session.client_address), "outcome": outcome}
    if renewal:
        fields["reason"] = "renewal"
    return Draft("login", session, fields=fields)


def login_refused(
    *, client_address: str, connection: str, reason: str, subject: str | None = None, issuer: str | None = None
) -> Draft:
    """Return a refused login. `connection` is what the stranger asked for; `subject` only where its token was valid."""
    fields: dict[str, Json] = {"addr": name(client_address), "outcome": "refused", "reason": name(reason)}
    fields["conn"] = name(connection)
    if subject is not None:
        fields["sub"] = name(subject)
    if issuer is not None:
        fields["iss"] = name(issuer)
    return Draft("login_refused", fields=fields)


def session_start(session: SessionInfo) -> Draft:
    """Return the start of a session, n = 0: the path and identity of everything that follows in it."""
    principal = session.principal
    fields: dict[str, Json] = {
        "addr": name(session.client_address),
        "owner": None if principal.owner is None else name(principal.owner),
        "role": name(session.target_role),
        "tpid": session.target_pid,
        "exp": format_time(principal.expires),
        "started": format_time(session.started),
    }
    payload: dict[str, Json] = {
        "user": text(session.user),
        "application": text(session.application),
        "groups": [text(group) for group in principal.groups],
    }
    return Draft("session_start", session, 0, fields, payload)


def session_info(entry: Mapping[str, Json], payload: Mapping[str, Json]) -> SessionInfo:
    """Return the session that a `session_start` entry began; the reverse of `session_start`."""

    def word(key: str) -> str:
        return str(entry.get(key) or "")

    owner, groups, target_pid = entry.get("owner"), payload.get("groups"), entry.get("tpid")
    return SessionInfo(
        id=SessionId(word("sid")),
        principal=Principal(
            issuer=word("iss"),
            subject=word("sub"),
            token_id=word("jti"),
            expires=parse_time(word("exp")),
            groups=tuple(str(group) for group in groups) if isinstance(groups, list) else (),
            owner=owner if isinstance(owner, str) else None,
            development=entry.get("dev") is True,
        ),
        connection=word("conn"),
        target=word("tgt"),
        client_address=word("addr"),
        user=str(payload.get("user") or ""),
        application=str(payload.get("application") or ""),
        started=parse_time(word("started")),
        target_role=word("role"),
        target_pid=target_pid if isinstance(target_pid, int) else None,
    )


def session_end(
    session: SessionInfo, *, reason: str, statements: int, denied: int, held: int, rows: int, n: int | None = None
) -> Draft:
    """Return the end of a session with its counts; `reason` is `lost` where a crash ended it."""
    counts: dict[str, Json] = {"statements": statements, "denied": denied, "held": held, "rows": rows}
    return Draft("session_end", session, n, {"reason": name(reason), **counts})


# What was asked, before it runs.


def _judged(
    statement: Statement, verdict: Verdict, policy_hash: str, touches_marks: bool
) -> tuple[dict[str, Json], dict[str, Json]]:
    fields: dict[str, Json] = {
        "proto": statement.protocol.value,
        "op": verdict.operation,
        "verdict": verdict.kind.value,
        "rule": name(verdict.rule),
        "policy": policy_hash,
    }
    if verdict.would is not None:
        fields["would"] = verdict.would.value
    if touches_marks:
        fields["marks"] = True
    payload: dict[str, Json] = {"sql": wire(statement.sql), "reason": text(verdict.reason)}
    if statement.name:
        payload["name"] = text(statement.name)
    return fields, payload


def prepare(
    session: SessionInfo, n: int, statement: Statement, verdict: Verdict, policy_hash: str, touches_marks: bool
) -> Draft:
    """Return a Parse of the extended protocol that was not denied: planning runs code, so it is recorded first."""
    fields, payload = _judged(statement, verdict, policy_hash, touches_marks)
    return Draft("prepare", session, n, fields, payload)


def request(
    session: SessionInfo,
    n: int,
    statement: Statement,
    verdict: Verdict,
    policy_hash: str,
    *,
    operation_hash: str | None,
    approval: ApprovalId | None,
    touches_marks: bool,
    predicate_touch: tuple[str, ...] = (),
) -> Draft:
    """Return a statement asked for: a Query, a Bind with its parameters, or a Parse that is denied."""
    fields, payload = _judged(statement, verdict, policy_hash, touches_marks)
    if operation_hash is not None:
        fields["oh"] = operation_hash
    if approval is not None:
        fields["approval"] = approval
    if predicate_touch:
        payload["predicate_touch"] = [text(mark) for mark in predicate_touch]
    if statement.parameters:
        payload["parameters"] = [parameter(bound) for bound in statement.parameters]
        payload["types"] = [bound.type_oid for bound in statement.parameters]
        payload["formats"] = [bound.format for bound in statement.parameters]
    return Draft("request", session, n, fields, payload)


def execute(session: SessionInfo, n: int, of: int, max_rows: int) -> Draft:
    """Return one Execute of the portal that request `of` bound; `max_rows` 0 is all."""
    return Draft("execute", session, n, {"of": of, "max_rows": max_rows})


def data(
    session: SessionInfo, n: int, of: int, chunk: bytes, payload_limit: int, touches_marks: bool, *, salt: bytes
) -> Draft:
    """Return one chunk of COPY data from the client: size, digest keyed with `salt`, content up to the limit."""
    fields: dict[str, Json] = {"of": of, "size": len(chunk), "digest": commitment(salt, chunk)}
    if touches_marks:
        fields["marks"] = True
    payload: dict[str, Json] = {"content": wire(chunk[:payload_limit]), "truncated": len(chunk) > payload_limit}
    return Draft("data", session, n, fields, payload, salt)


def release(
    session: SessionInfo, n: int, of: int, decision_made: Decision, executed_hash: OperationHash, policy_hash: str
) -> Draft:
    """Return the forwarding of what a person approved, quoting the decision's record. Raises `OurBug` without it."""
    quote = decision_made.quote
    if quote is None:
        raise OurBug("a decision without its durable record cannot be released")
    fields: dict[str, Json] = {
        "of": of,
        "approval": decision_made.approval,
        "oh": executed_hash,
        "policy": policy_hash,
        "quote": {"log": quote.log, "seq": quote.seq, "chain": quote.chain},
    }
    return Draft("release", session, n, fields)


# What came of it.


def result(
    session: SessionInfo,
    n: int,
    of: int,
    *,
    outcome: Outcome,
    sqlstate: str | None,
    message: str | None,
    rows: int,
    bytes_: int,
    duration_us: int,
    masked_columns: tuple[str, ...],
    text: str,
    truncated: bool,
    digest: str,
    salt: bytes,
    touches_marks: bool,
) -> Draft:
    """Return how request `of` ended, with the transcript as the agent saw it.

    `digest` is BLAKE3 keyed with `salt` over all that was sent to the agent, in lower-case hex; `salt` becomes the
    record's own.
    """
    fields: dict[str, Json] = {
        "of": of,
        "outcome": outcome.value,
        "rows": rows,
        "bytes": bytes_,
        "us": duration_us,
        "digest": digest,
    }
    if sqlstate is not None:
        fields["sqlstate"] = name(sqlstate)
    if touches_marks:
        fields["marks"] = True
    shown, _ = cut(text, len(text) * 4)
    payload: dict[str, Json] = {"text": shown, "truncated": truncated}
    if message is not None:
        payload["message"], _ = cut(message, _MESSAGE)
    if masked_columns:
        payload["masked_columns"] = [name(column) for column in masked_columns]
    return Draft("result", session, n, fields, payload, salt)


_MESSAGE = 64 << 10


def masked(
    session: SessionInfo,
    n: int,
    of: int,
    column_name: str,
    source_columns: tuple[str, ...],
    style: MaskStyle,
    values_masked: int,
) -> Draft:
    """Return one output column of request `of` whose values were masked; originals sealed with it are counted later."""
    fields: dict[str, Json] = {"of": of, "style": style.value, "values": values_masked, "sealed": 0}
    payload: dict[str, Json] = {"column": text(column_name), "sources": [text(column) for column in source_columns]}
    return Draft("masked", session, n, fields, payload)


def cancel(session: SessionInfo, n: int, of: int | None, forwarded: bool) -> Draft:
    """Return a cancel request; `forwarded` where request `of` was the one in flight."""
    return Draft("cancel", session, n, {"of": of, "forwarded": forwarded})


def kill(session: SessionInfo, by: str, reason: str) -> Draft:
    """Return an operator's order to cut a session."""
    return Draft("kill", session, fields={"by": name(by)}, payload={"reason": text(reason)})


def struck(by: str, what: str, reason: str) -> Draft:
    """Return an order to let somebody in no more, or again: `what` names the entry of the kill list."""
    return Draft("kill", fields={"by": name(by), "what": name(what)}, payload={"reason": text(reason)})


def alarm(session: SessionInfo | None, n: int | None, alarm_name: str, detail: str) -> Draft:
    """Return something that a person should look at."""
    return Draft("alarm", session, n, {"alarm": name(alarm_name)}, {"detail": text(detail)})


# What people decided, and what they looked at.


def _held(hold: HoldRequest, decision_word: str) -> dict[str, Json]:
    return {
        "approval": hold.approval,
        "decision": decision_word,
        "oh": hold.operation_hash,
        "op": hold.operation,
        "rule": name(hold.rule),
        "requested": format_time(hold.requested),
        "expires": format_time(hold.expires),
    }


def requested(hold: HoldRequest) -> Draft:
    """Return the question put to reviewers: a `decision` entry with decision `requested`, and what they are shown."""
    payload: dict[str, Json] = {
        "sql": text(hold.statement),
        "parameters": [None if one is None else text(one) for one in hold.parameters],
        "reason": text(hold.reason),
        "reviewers": [text(one) for one in hold.reviewers],
        "relations": [text(one) for one in hold.relations],
        "in_transaction": hold.in_transaction,
    }
    return Draft("decision", hold.session, fields=_held(hold, "requested"), payload=payload)


def decision(
    hold: HoldRequest, kind: DecisionKind, *, approver: str | None, assurance: str | None, reason: str
) -> Draft:
    """Return the end of a hold: by whom, how surely they were known, and why."""
    fields = _held(hold, kind.value)
    fields["approver"] = None if approver is None else name(approver)
    fields["assurance"] = assurance
    return Draft("decision", hold.session, fields=fields, payload={"reason": text(reason)})


def grant(
    session: SessionInfo, approval: ApprovalId, rule: str, expires: str, quote: tuple[LogName, int, str]
) -> Draft:
    """Return leave for a whole session that one decision gave (rule action `approve-session`)."""
    log, seq, chain = quote
    fields: dict[str, Json] = {"approval": approval, "rule": name(rule), "expires": expires}
    return Draft("grant", session, fields={**fields, "quote": {"log": log, "seq": seq, "chain": chain}})


def access(who: str, what: str, reason: str) -> Draft:
    """Return that a person looked at evidence or originals; `what` names the session, record or export."""
    return Draft("access", fields={"who": name(who), "what": name(what)}, payload={"reason": text(reason)})


# What became of the evidence itself.


def archive(segment: str, first: int, last: int, root: str, blake3: str, payload: str, frontier: str) -> Draft:
    """Return a journal file turned into a segment: its range, tree root, and the digests of its three files."""
    fields: dict[str, Json] = {"segment": segment, "first": first, "last": last, "root": root, "blake3": blake3}
    return Draft("archive", fields={**fields, "payload": payload, "frontier": frontier})


def key(session: SessionInfo, blake3: str) -> Draft:
    """Return that a session's wrapped key is on disk; `blake3` is of that file."""
    return Draft("key", session, fields={"blake3": blake3})


def erasure(records: Sequence[str], basis: str, by: str, files: Sequence[tuple[str, str, str]]) -> Draft:
    """Return an erasure: which records, on which legal basis, by whom, each rewritten file with old and new digest."""
    rewritten: list[Json] = [{"file": file, "old": old, "new": new} for file, old, new in files]
    fields: dict[str, Json] = {"records": list(records), "basis": name(basis), "by": name(by), "files": rewritten}
    return Draft("erasure", fields=fields)


def witness(origin: str, size: int, root: str, cosignature: str) -> Draft:
    """Return a witness's cosignature of a checkpoint."""
    return Draft("witness", fields={"origin": origin, "size": size, "root": root, "cosignature": cosignature})


def gap(from_seq: int, to_seq: int | None, why: str) -> Draft:
    """Return records known to be lost; `to_seq` None: nobody knows how many."""
    return Draft("gap", fields={"from": from_seq, "to": to_seq, "why": name(why)})
