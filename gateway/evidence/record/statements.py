"""Records of what was asked, before it runs, and of what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from gateway.errors import OurBug
from gateway.evidence.chain import commitment
from gateway.evidence.form import Form, quoted
from gateway.evidence.record.judged import judged_payload
from gateway.evidence.values import cut, name, text, wire
from gateway.evidence.values import text as fit
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

TOUCHED = 100
"""Marked columns that an entry names as touched, at most; its payload names all."""
_KEPT = 1024
"""Forms that are kept."""
_NONE: Mapping[str, Json] = {}


def _form_of(statement: Statement, verdict: Verdict, policy_hash: str, touches_marks: bool) -> Form:
    would = None if verdict.would is None else verdict.would._value_
    protocol, kind = statement.protocol._value_, verdict.kind._value_
    return _judged_form(protocol, verdict.operation, kind, verdict.rule, policy_hash, would, touches_marks)


@lru_cache(maxsize=_KEPT)
def _judged_form(
    protocol: str, operation: str, verdict: str, rule: str, policy_hash: str, would: str | None, touches_marks: bool
) -> Form:
    fields: dict[str, Json] = {
        "proto": protocol,
        "op": operation,
        "verdict": verdict,
        "rule": name(rule),
        "policy": policy_hash,
    }
    if would is not None:
        fields["would"] = would
    if touches_marks:
        fields["marks"] = True
    return Form(fields)


def prepare(
    session: SessionInfo,
    n: int,
    statement: Statement,
    verdict: Verdict,
    policy_hash: str,
    touches_marks: bool,
    withheld: int = 0,
    *,
    payload: bytes | bytearray | None = None,
) -> Draft:
    """Return a Parse of the extended protocol that was not denied: planning runs code, so it is recorded first.

    `withheld` of its literals stand in `statement` as `$masked_k`. `payload`: what `judged_pieces` gave, joined.
    """
    form = _form_of(statement, verdict, policy_hash, touches_marks)
    payload = payload or judged_payload(statement, verdict)
    if not withheld:
        return Draft("prepare", session, n, _NONE, payload, None, form)
    return Draft("prepare", session, n, {**form.fields, "withheld": withheld}, payload)


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
    withheld: int = 0,
    payload: bytes | bytearray | None = None,
) -> Draft:
    """Return a statement asked for: a Query, a Bind with its parameters, or a Parse that is denied.

    `withheld` of its literals and parameters stand in `statement` as `$masked_k`. The payload names the marked columns
    in `predicate_touch`, and the entry the first `TOUCHED` of them, which outlasts an erased payload. `payload`: what
    `judged_pieces` gave, joined.
    """
    form = _form_of(statement, verdict, policy_hash, touches_marks)
    payload = payload or judged_payload(statement, verdict, predicate_touch)
    if operation_hash is approval is None and not (withheld or predicate_touch):
        return Draft("request", session, n, _NONE, payload, None, form)
    fields = dict(form.fields)
    if predicate_touch:
        fields["touched"] = [name(mark) for mark in predicate_touch[:TOUCHED]]
    if withheld:
        fields["withheld"] = withheld
    if operation_hash is not None:
        fields["oh"] = operation_hash
    if approval is not None:
        fields["approval"] = approval
    return Draft("request", session, n, fields, payload)


def own(session: SessionInfo, n: int, of: int, sql: bytes) -> Draft:
    """Return a statement of the gateway's own that is about to run on the agent's session, for its request `of`."""
    fields: dict[str, Json] = {
        "of": of,
        "by": "gateway",
        "proto": "own",
        "op": "own",
        "verdict": "allow",
        "rule": "gateway/effect",
    }
    reason = "The gateway's own, so that a person sees what the statement did before it counts."
    return Draft("request", session, n, fields, {"sql": wire(sql), "reason": reason, "parameters": []})


def execute(session: SessionInfo, n: int, of: int, max_rows: int) -> Draft:
    """Return one Execute of the portal that request `of` bound; `max_rows` 0 is all."""
    return Draft("execute", session, n, {"of": of, "max_rows": max_rows}, None, None, _EXECUTED)


_EXECUTED = Form({}, ("of", "max_rows"))


def data(
    session: SessionInfo,
    n: int,
    of: int,
    chunk: bytes,
    payload_limit: int,
    touches_marks: bool,
    *,
    salt: bytes,
    withheld: bool = False,
) -> Draft:
    """Return one chunk of COPY data from the client: size, digest keyed with `salt`, content up to the limit.

    What is `withheld` has no digest either: with the salt beside it, a short chunk could be found by trying.
    """
    fields: dict[str, Json] = {"of": of, "size": len(chunk)}
    if withheld:
        fields["withheld"] = 1
        shown: dict[str, Json] = {"content": wire(b"$masked_1"), "truncated": True}
        return Draft("data", session, n, fields | ({"marks": True} if touches_marks else {}), shown, salt)
    fields["digest"] = commitment(salt, chunk)
    if touches_marks:
        fields["marks"] = True
    payload: dict[str, Json] = {"content": wire(chunk[:payload_limit]), "truncated": len(chunk) > payload_limit}
    return Draft("data", session, n, fields, payload, salt)


def release(
    session: SessionInfo,
    n: int,
    of: int,
    decision_made: Decision,
    executed_hash: OperationHash,
    policy_hash: str,
    *,
    effect: str | None = None,
) -> Draft:
    """Return the forwarding of what a person approved, quoting the decision's record. Raises `OurBug` without it.

    Where it ran before, `effect` is the digest of what the person was shown of that; what is let go is its COMMIT.
    """
    quote = decision_made.quote
    if quote is None:
        raise OurBug("a decision without its durable record cannot be released")
    fields: dict[str, Json] = {
        "of": of,
        "approval": decision_made.approval,
        # Under leave for a period the decision was about another operation, so the hash is no claim to be its own.
        ("ran" if decision_made.granted else "oh"): executed_hash,
        "policy": policy_hash,
        "quote": {"log": quote.log, "seq": quote.seq, "chain": quote.chain},
    }
    if effect is not None:
        fields["effect"] = effect
    if decision_made.receipt is not None:
        fields["receipt"] = decision_made.receipt
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
    fields: dict[str, Json] = {"of": of, "rows": rows, "bytes": bytes_, "us": duration_us, "digest": digest}
    form = _result_form(outcome._value_, sqlstate, touches_marks)
    told = f'"text":{quoted(fit(text))},"truncated":{"true" if truncated else "false"}'
    if not masked_columns and message is None:
        return Draft("result", session, n, fields, f"{{{told}}}".encode(), salt, form)
    parts = []
    if masked_columns:
        parts.append(f'"masked_columns":[{",".join([quoted(name(column)) for column in masked_columns])}]')
    if message is not None:
        parts.append(f'"message":{quoted(cut(message, _MESSAGE)[0])}')
    parts.append(told)
    return Draft("result", session, n, fields, ("{" + ",".join(parts) + "}").encode(), salt, form)


@lru_cache(maxsize=_KEPT)
def _result_form(outcome: str, sqlstate: str | None, touches_marks: bool) -> Form:
    fields: dict[str, Json] = {"outcome": outcome}
    if sqlstate is not None:
        fields["sqlstate"] = name(sqlstate)
    if touches_marks:
        fields["marks"] = True
    return Form(fields, ("of", "rows", "bytes", "us", "digest"))


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
