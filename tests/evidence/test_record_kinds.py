"""Every kind of record: what it holds, what never stands in an entry, and that no text can stop it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from evidence_double import CountedEntropy
from evidence_samples import POLICY, open_journal, session, statement, verdict, verify_signed
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import OurBug
from gateway.evidence import record, values
from gateway.evidence.entry import Malformed, parse, parse_line
from gateway.evidence.said import check_form
from gateway.model import (
    ApprovalId,
    Decision,
    DecisionKind,
    Draft,
    HoldRequest,
    LogName,
    MaskStyle,
    Micros,
    OperationHash,
    Outcome,
    Parameter,
    Principal,
    Quote,
)

HASH = OperationHash("0f" * 32)


def hold(text: str = "DELETE FROM t WHERE id = 1") -> HoldRequest:
    return HoldRequest(
        approval=ApprovalId("a-1"),
        session=session(),
        operation_hash=HASH,
        statement=text,
        parameters=(text, None),
        operation="delete",
        rule="standard/delete",
        reason=text,
        reviewers=(text,),
        requested=Micros(1),
        expires=Micros(2),
        relations=(text,),
    )


def every_kind(text: str) -> list[Draft]:
    """One record of each kind, with `text` wherever somebody outside chooses the words."""
    who = session(user=text, application=text)
    asked = statement(text, Parameter(25, 0, text.encode(errors="replace")))
    why = verdict()
    why = type(why)(why.kind, why.rule, text, why.operation)
    decision = Decision(
        ApprovalId("a-1"), DecisionKind.APPROVED, HASH, quote=Quote(LogName("gw-1/control"), 0, "00" * 32)
    )
    return [
        record.start("gw-1", "0.1", torn=[record.Torn("f", 1, "00")]),
        record.config("h", text, connections=[record.PolicyInForce(text, "p", (text,), (text,))], operators=[text]),
        record.login(who),
        record.login_refused(
            client_address="127.0.0.1:1", connection="orders", reason="expired", subject="x", issuer="y"
        ),
        record.session_start(who),
        record.prepare(who, 1, asked, why, POLICY, True),
        record.request(
            who, 2, asked, why, POLICY, operation_hash=None, approval=None, touches_marks=True, predicate_touch=("a",)
        ),
        record.execute(who, 3, 2, 0),
        record.data(who, 4, 2, text.encode(errors="replace"), 10, True, salt=bytes(32)),
        record.requested(hold(text)),
        record.decision(hold(text), DecisionKind.APPROVED, approver="dana", assurance="uid", reason=text),
        record.release(who, 5, 2, decision, HASH, POLICY),
        record.result(
            who,
            6,
            2,
            outcome=Outcome.OK,
            sqlstate="00000",
            message=text,
            rows=1,
            bytes_=1,
            duration_us=1,
            masked_columns=(text,),
            text=text,
            truncated=False,
            digest="00",
            salt=bytes(32),
            touches_marks=True,
        ),
        record.masked(who, 7, 2, text, (text,), MaskStyle.REDACT, 3),
        record.cancel(who, 8, 2, True),
        record.kill(who, "dana", text),
        record.grant(who, ApprovalId("a-1"), "r", "2026-01-01T00:00:00.000000Z", (LogName("gw-1/control"), 0, "00")),
        record.alarm(who, 9, "parser-died", text),
        record.archive("seg-1", 0, 1, "00", "00", "00", "00"),
        record.key(who, "00"),
        record.erasure(["gw-1/w1:1"], "Art. 17", "dana", [("f", "00", "11")]),
        record.witness("witness.test/w1", "gw-1/w1", 1, "00", Micros(1), "c"),
        record.stamp("rfc3161:tsa.test", "gw-1/w1", 1, "00", Micros(1), "00"),
        record.access("dana", "session s-1", text),
        record.gap(3, 4, "lost"),
        record.session_end(who, n=10, reason="client left", statements=1, denied=0, held=0, rows=1),
        record.shutdown("asked to"),
    ]


def written(evidence: Path, drafts: list[Draft]) -> list[tuple[dict[str, object], dict[str, object]]]:
    journal = open_journal(evidence)
    for draft in drafts:
        journal.append(draft)
    journal.close()
    raw = (evidence / "logs" / "w1" / "journal" / "00000001.tsv").read_bytes()
    lines = [parse_line(one) for one in raw[:-1].split(b"\n")]
    return [(dict(parse(one.entry)), dict(parse(one.payload)) if one.payload else {}) for one in lines]


def test_every_kind_has_a_constructor() -> None:
    assert {draft.kind for draft in every_kind("x")} == record.KINDS


def test_words_from_outside_stand_in_payloads_only(tmp_path: Path) -> None:
    for entry, payload in written(tmp_path, every_kind("quite some words; SELECT 4111")):
        assert "some words" not in json.dumps(entry), entry["kind"]
        if "sid" in entry:
            assert (entry["iss"], entry["sub"], entry["jti"]) == (
                "http://issuer.test/realms/hoop",
                "agent-7",
                "token-1",
            )
            assert (entry["conn"], entry["tgt"], entry["dev"]) == ("orders", "db.test:5432/orders", True)
        if entry["kind"] in {"prepare", "request", "data", "result"}:
            assert entry["marks"] is True
            assert "some words" in json.dumps(payload) or entry["kind"] == "data"


@pytest.mark.parametrize("text", ["\ud800", "\0", "a\tb\nc\r", "\u202e\x1b[2J", "x" * 70_000, "é😀", "\udfff" * 3000])
def test_no_text_can_stop_a_record(tmp_path: Path, text: str) -> None:
    safe = text.encode(errors="replace").decode()
    drafts = every_kind(safe if "\ud800" in text or "\udfff" in text else text)
    hostile = session(
        principal=Principal(text, text, text, Micros(1), (text,), text),
        user=text,
        application=text,
        connection=text,
        client_address=text,
        target=text,
    )
    drafts[4:4] = [
        record.session_start(session("s-2", **{k: getattr(hostile, k) for k in ("principal", "user", "application")}))
    ]
    drafts[5:5] = [record.session_end(session("s-2"), n=1, reason=text, statements=0, denied=0, held=0, rows=0)]
    drafts += [record.login_refused(client_address=text, connection=text, reason=text, subject=text, issuer=text)]
    drafts += [record.access(text, text, text), record.requested(hold(text)), record.alarm(None, None, text, text)]
    assert len(written(tmp_path, drafts)) == len(drafts)
    assert [one for one in verify_signed(tmp_path).findings if "format" in one.what or "read" in one.what] == []


def test_a_session_reads_back_from_its_start(tmp_path: Path) -> None:
    ((entry, payload),) = written(tmp_path, [record.session_start(session())])
    assert record.session_info(entry, payload) == session()  # type: ignore[arg-type]


def test_an_unrecorded_decision_cannot_be_released() -> None:
    with pytest.raises(OurBug):
        record.release(session(), 1, 0, Decision(ApprovalId("a"), DecisionKind.APPROVED, HASH), HASH, POLICY)


@given(st.none() | st.binary(max_size=50))
def test_wire_values_keep_their_bytes(value: bytes | None) -> None:
    shown = values.wire(value)
    assert values.unwire(shown) == value
    if isinstance(shown, dict):
        (key,) = shown
        assert key == ("b" if b"\0" in (value or b"") or value.decode(errors="replace").encode() != value else "t")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("bound", "shown"),
    [
        (Parameter(0, 0, None), None),
        (Parameter(23, 0, b"7"), {"t": "7"}),
        (Parameter(23, 1, b"\0\0\0\7"), {"b": "AAAABw==", "s": "7"}),
        (Parameter(20, 1, b"\xff" * 8), {"b": "//////////8=", "s": "-1"}),
        (Parameter(16, 1, b"\1"), {"t": "\x01", "s": "true"}),
        (Parameter(701, 1, b"\x3f\xf8" + bytes(6)), {"b": "P/gAAAAAAAA=", "s": "1.5"}),
        (
            Parameter(2950, 1, bytes(range(16))),
            {"b": base64.b64encode(bytes(range(16))).decode(), "s": "00010203-0405-0607-0809-0a0b0c0d0e0f"},
        ),
        (Parameter(23, 1, b"\0\0\7"), {"b": "AAAH"}),
        (Parameter(17, 1, b"\0\xff"), {"b": "AP8="}),
    ],
)
def test_parameters_have_a_reading_where_their_type_is_plain(bound: Parameter, shown: object) -> None:
    assert values.parameter(bound) == shown


@given(st.text(max_size=30), st.integers(0, 40))
def test_cut_keeps_whole_characters(text: str, limit: int) -> None:
    kept, was_cut = values.cut(text, limit)
    assert len(kept.encode()) <= limit or not was_cut
    assert text.replace("\0", "\u2400").startswith(kept)
    assert was_cut == (len(text.replace("\0", "\u2400").encode()) > limit)


def test_salts_are_drawn_for_each_record(tmp_path: Path) -> None:
    assert CountedEntropy().bytes(32) != CountedEntropy().bytes(31)
    lines = written(tmp_path, [record.alarm(None, None, "a", "same"), record.alarm(None, None, "a", "same")])
    assert lines[0][0]["pc"] != lines[1][0]["pc"]


FORMS: list[dict[str, Any]] = [
    {"kind": "request", "n": True},
    {"kind": "result", "of": "1"},
    {"kind": "result", "of": [1]},
    {"kind": "start", "torn": "x"},
    {"kind": "start", "torn": [5]},
    {"kind": "start", "torn": [{"file": "../x", "length": 1, "blake3": "00"}]},
    {"kind": "start", "torn": [{"file": "a" * 5000, "length": 1, "blake3": "00"}]},
    {"kind": "erasure"},
    {"kind": "erasure", "records": "gw-1/w1:1", "files": []},
    {"kind": "erasure", "records": [], "files": [{"file": "x", "old": "00"}]},
]


@pytest.mark.parametrize("entry", FORMS, ids=str)
def test_what_others_depend_on_has_its_form(entry: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        check_form(entry)
