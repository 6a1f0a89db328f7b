"""Records of what was asked, before it runs, and of what came of it."""

from __future__ import annotations

from gateway.errors import OurBug
from gateway.evidence.chain import commitment
from gateway.evidence.values import cut, name, parameter, text, wire
from gateway.model import (
    ApprovalId,
    Decision,
    Draft,
    Json,
    MaskStyle,
    OperationHash,
    Outcome,
    SessionInfo,
    Statement,
    Verdict,
)


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
    values_sealed: int = 0,
) -> Draft:
    """Return one output column of request `of`: its values that were masked, and those whose originals are sealed."""
    fields: dict[str, Json] = {"of": of, "style": style.value, "values": values_masked, "sealed": values_sealed}
    payload: dict[str, Json] = {"column": text(column_name), "sources": [text(column) for column in source_columns]}
    return Draft("masked", session, n, fields, payload)


def originals(session: SessionInfo, n: int, of: int, first: int, last: int, values: int) -> Draft:
    """Return a stretch of masked rows of request `of`, from row `first` to `last`, with `values` originals sealed.

    It is of kind `masked` too, without a style: the columns' own records count the values once more, at the end.
    """
    return Draft("masked", session, n, {"of": of, "from": first, "to": last, "sealed": values})


def cancel(session: SessionInfo, n: int, of: int | None, forwarded: bool) -> Draft:
    """Return a cancel request; `forwarded` where request `of` was the one in flight."""
    return Draft("cancel", session, n, {"of": of, "forwarded": forwarded})
