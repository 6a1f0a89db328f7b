"""Records made from a form are byte for byte what the canonical encoding of their fields is."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from evidence_samples import journal_file, open_journal
from evidence_samples import session as sample_session
from hypothesis import given
from hypothesis import strategies as st

from gateway.evidence import record
from gateway.evidence.chain import commitment
from gateway.evidence.entry import canonical, parse, parse_line
from gateway.evidence.form import Form, template
from gateway.evidence.values import name, parameter, text, wire
from gateway.model import Draft, Outcome, Parameter, Statement, Verdict, VerdictKind, WireProtocol

TEXT = st.text(st.characters(), max_size=30)
"""Anything at all: surrogates, NUL, quotes, percent signs."""
BYTES = st.binary(max_size=40) | TEXT.map(lambda one: one.encode("utf-8", "surrogatepass"))
PARAMETERS = st.lists(
    st.builds(
        Parameter, st.sampled_from([0, 16, 20, 21, 23, 25, 701, 2950]), st.sampled_from([0, 1]), st.none() | BYTES
    ),
    max_size=4,
).map(tuple)
STATEMENTS = st.builds(Statement, BYTES, st.sampled_from(WireProtocol), PARAMETERS, TEXT)
VERDICTS = st.builds(
    Verdict,
    st.sampled_from(VerdictKind),
    TEXT,
    TEXT,
    st.sampled_from(["select", "100%", "ü"]),
    would=st.none() | st.sampled_from(VerdictKind),
)
COUNT = st.integers(0, (1 << 53) - 1)


def _session(connection: str, development: bool) -> Any:
    session = sample_session()
    return replace(session, connection=connection, principal=replace(session.principal, development=development))


SESSIONS = st.builds(_session, TEXT, st.booleans())


def written(draft: Draft) -> tuple[dict[str, Any], dict[str, Any]]:
    """Append twice, so that the second comes from a template made before; return its fields and payload, checked."""
    with tempfile.TemporaryDirectory() as folder:
        evidence = Path(folder)
        journal = open_journal(evidence)
        journal.append(draft)
        journal.append(draft)
        journal.close()
        lines = [parse_line(one) for one in journal_file(evidence).read_bytes().splitlines()]
    entries = [(parse(one.entry), parse(one.payload) if one.payload else {}) for one in lines]
    for line, (entry, _) in zip(lines, entries, strict=True):
        assert not line.payload or commitment(line.salt, line.payload) == entry["pc"]
    (first, payload), (second, same) = entries[-2:]
    assert payload == same
    varying = {"seq", "ts", "mono", "pc"}
    assert {k: v for k, v in first.items() if k not in varying} == {k: v for k, v in second.items() if k not in varying}
    return second, payload


@given(SESSIONS, STATEMENTS, VERDICTS, st.booleans(), st.lists(TEXT, max_size=2).map(tuple))
def test_requests(session: Any, statement: Statement, verdict: Verdict, marks: bool, touched: tuple[str, ...]) -> None:
    entry, payload = written(
        record.request(
            session, 7, statement, verdict, "ab" * 32, operation_hash=None, approval=None, touches_marks=marks,
            predicate_touch=touched,
        )
    )  # fmt: skip
    expected: dict[str, Any] = {"sql": wire(statement.sql), "reason": text(verdict.reason)}
    if statement.name:
        expected["name"] = text(statement.name)
    if touched:
        expected["predicate_touch"] = [text(one) for one in touched]
    if statement.parameters:
        expected["parameters"] = [parameter(one) for one in statement.parameters]
        expected["types"] = [one.type_oid for one in statement.parameters]
        expected["formats"] = [one.format for one in statement.parameters]
    assert payload == expected
    assert (entry["kind"], entry["n"], entry["proto"]) == ("request", 7, statement.protocol.value)
    assert (entry["op"], entry["verdict"], entry["rule"]) == (verdict.operation, verdict.kind.value, text(verdict.rule))
    assert entry.get("marks", False) is marks
    assert entry.get("would") == (verdict.would and verdict.would.value)
    assert (entry["conn"], entry.get("dev", False)) == (text(session.connection), session.principal.development)
    assert entry.get("touched", []) == [name(one) for one in touched]
    assert entry["plen"] == len(canonical(payload))


@given(
    SESSIONS,
    st.sampled_from(Outcome),
    st.none() | TEXT,
    st.none() | TEXT,
    TEXT,
    st.booleans(),
    COUNT,
    st.lists(TEXT).map(tuple),
)
def test_results(
    session: Any, outcome: Outcome, sqlstate: str | None, message: str | None, shown: str, flag: bool, count: int,
    columns: tuple[str, ...],
) -> None:  # fmt: skip
    entry, payload = written(
        record.result(
            session, 8, 7, outcome=outcome, sqlstate=sqlstate, message=message, rows=count, bytes_=count,
            duration_us=count, masked_columns=columns, text=shown, truncated=flag, digest="0f" * 32, salt=b"s" * 32,
            touches_marks=flag,
        )
    )  # fmt: skip
    expected: dict[str, Any] = {"text": text(shown), "truncated": flag}
    if message is not None:
        expected["message"] = text(message)
    if columns:
        expected["masked_columns"] = [text(one) for one in columns]
    assert payload == expected
    assert [entry[key] for key in ("of", "rows", "bytes", "us")] == [7, count, count, count]
    assert (entry["outcome"], entry["digest"], entry.get("marks", False)) == (outcome.value, "0f" * 32, flag)
    assert entry.get("sqlstate") == (None if sqlstate is None else text(sqlstate))


@pytest.mark.parametrize("rows", [0, 1, 2**31 - 1, -5])
def test_executes(rows: int) -> None:
    entry, payload = written(record.execute(_session("c", development=True), 9, 7, rows))
    assert (entry["of"], entry["max_rows"], payload) == (7, rows, {})
    assert "pc" not in entry


@given(
    st.dictionaries(
        st.text(st.characters(max_codepoint=127), min_size=1), TEXT.map(text) | COUNT | st.none() | st.booleans()
    ),
    COUNT,
)
def test_a_template_filled_in_is_canonical(fields: dict[str, Any], number: int) -> None:
    fields = {name: value for name, value in fields.items() if not set(name) & set('"\\%()') and name.isprintable()}
    filled = {"zz_number": number, "digest": "0f", "aa": 7}
    made = template(fields, tuple(filled)).fill(tuple(filled.values()))
    assert made == canonical({**fields, **filled})


def test_a_form_is_known_by_itself_alone() -> None:
    assert Form({}) != Form({})
