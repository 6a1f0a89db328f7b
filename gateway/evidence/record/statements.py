"""Records of what was asked, before it runs, and of what came of it."""

from __future__ import annotations

from base64 import b64encode
from codecs import getincrementaldecoder
from collections.abc import Iterator, Mapping
from functools import lru_cache

from gateway.errors import OurBug
from gateway.evidence.chain import commitment
from gateway.evidence.form import Form, quoted
from gateway.evidence.values import cut, name, parameter, text, wire
from gateway.evidence.values import text as fit
from gateway.model import (
    ApprovalId,
    Decision,
    Draft,
    Json,
    MaskStyle,
    OperationHash,
    Outcome,
    Parameter,
    SessionInfo,
    Statement,
    Verdict,
)

TOUCHED = 100
"""Marked columns that an entry names as touched, at most; its payload names all."""
_KEPT = 1024
"""Forms, and texts of policy, that are kept encoded."""


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


def _judged_payload(statement: Statement, verdict: Verdict, predicate_touch: tuple[str, ...] = ()) -> bytes:
    """Return the canonical payload of a judged statement: its text, the reason, and what it binds."""
    bound = statement.parameters
    if len(statement.sql) <= _OFTEN and not predicate_touch:
        if not (bound or statement.name):
            return f'{{{_reason(verdict.reason)},"sql":{_wired(statement.sql)}}}'.encode()
        values = _short(bound)
        if values is not None and len(statement.name) <= _OFTEN:
            types = tuple([each.type_oid for each in bound])
            before, after = _around(statement.name, len(bound), verdict.reason, statement.sql, types)
            return f"{before}{values}{after}".encode()
    return b"".join(judged_pieces(statement, verdict, predicate_touch))


def judged_pieces(statement: Statement, verdict: Verdict, predicate_touch: tuple[str, ...] = ()) -> Iterator[bytes]:
    """Yield the canonical payload of a judged statement in pieces, none of which takes more than a millisecond or two.

    A piece may be empty: then the time went into looking at what comes.
    """
    bound, told = statement.parameters, "{"
    if bound:
        told += f'"formats":[{",".join([str(each.format) for each in bound])}],'
    if statement.name:
        told += f'"name":{quoted(text(statement.name))},'
    yield told.encode()
    for place, each in enumerate(bound):
        yield b"," if place else b'"parameters":['
        if len(each.value or b"") > PIECE:
            yield from _wired_pieces(each.value or b"")
        else:
            yield (_wired(each.value) if each.format == 0 else _member(parameter(each))).encode()
    told = "]," if bound else ""
    if predicate_touch:
        told += f'"predicate_touch":[{",".join([quoted(text(mark)) for mark in predicate_touch])}],'
    yield f'{told}{_reason(verdict.reason)},"sql":'.encode()
    sql = statement.sql
    if len(sql) > PIECE:
        yield from _wired_pieces(sql)
    else:
        yield (_often(sql) if len(sql) <= _OFTEN else _wired(sql)).encode()
    types = ",".join([str(each.type_oid) for each in bound])
    yield (f',"types":[{types}]}}' if bound else "}").encode()


def _short(bound: tuple[Parameter, ...]) -> str | None:
    """Encode parameters that are all short and in text format; None: they are not, or too many."""
    if len(bound) > _FEW:
        return None
    shown = []
    for each in bound:
        if each.format or len(each.value or b"") > _OFTEN:
            return None
        shown.append(_wired(each.value))
    return ",".join(shown)


@lru_cache(maxsize=_KEPT)
def _around(statement: str, count: int, reason: str, sql: bytes, types: tuple[int, ...]) -> tuple[str, str]:
    """Return what stands in a payload before and after `count` parameters in text format."""
    before, after = "{", f'{_reason(reason)},"sql":{_wired(sql)}'
    if count:
        before += f'"formats":[{",".join(["0"] * count)}],'
    if statement:
        before += f'"name":{quoted(text(statement))},'
    if count:
        before += '"parameters":['
        after = f'],{after},"types":[{",".join(map(str, types))}]'
    return before, after + "}"


@lru_cache(maxsize=_KEPT)
def _reason(reason: str) -> str:
    return f'"reason":{quoted(text(reason))}'


_NONE: Mapping[str, Json] = {}
PIECE = 192 << 10
"""Bytes of a value that are encoded in one piece; a multiple of three, for base64."""
_FEW = 50
"""Parameters of a statement that is encoded by what stands around them, at most."""
_OFTEN = 2000
"""Bytes of a prepared statement's text that is kept encoded, at most, and of what is encoded in one piece."""


@lru_cache(maxsize=_KEPT)
def _often(sql: bytes) -> str:
    return _wired(sql)


def _wired(value: bytes | None) -> str:
    """Encode `wire(value)`."""
    if value is None:
        return "null"
    if b"\0" not in value:
        try:
            return f'{{"t":{quoted(value.decode())}}}'
        except UnicodeDecodeError:
            pass  # not text: told in base64 below
    return f'{{"b":"{b64encode(value).decode()}"}}'


def _wired_pieces(value: bytes) -> Iterator[bytes]:
    """Encode `wire(value)` piece by piece."""
    pieces = [slice(place, place + PIECE) for place in range(0, len(value), PIECE)]
    is_text, decode = b"\0" not in value, incremental_decoder().decode
    try:
        for piece in pieces if is_text else ():
            decode(value[piece])
            yield b""
        decode(b"", final=True)
    except UnicodeDecodeError:
        is_text = False
    if not is_text:
        yield b'{"b":"'
        for piece in pieces:
            yield b64encode(value[piece])  # a piece is a whole number of its groups of three
    else:
        yield b'{"t":"'
        decode = incremental_decoder().decode
        for piece in pieces:
            yield quoted(decode(value[piece]))[1:-1].encode()
    yield b'"}'


incremental_decoder = getincrementaldecoder("utf-8")


def _member(value: Json) -> str:
    """Encode what `parameter` gives: NULL, or an object of one or two texts."""
    if not isinstance(value, dict):
        return "null"
    return "{" + ",".join([f'"{key}":{quoted(str(value[key]))}' for key in sorted(value)]) + "}"


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
    payload = payload or _judged_payload(statement, verdict)
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
    payload = payload or _judged_payload(statement, verdict, predicate_touch)
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
