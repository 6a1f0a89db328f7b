"""Messages both ways, and everything that is none."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gateway
from gateway.control import messages, methods
from gateway.control.framing import Lines
from gateway.control.messages import (
    MAX_FRAME,
    Event,
    Failure,
    Hello,
    Malformed,
    Request,
    Response,
    Welcome,
    decode_client,
    decode_server,
    encode,
)

WELCOME = Welcome(
    "gw-1",
    "0.1.0",
    "dana",
    None,
    ("watch",),
    ("oncall",),
    "uid",
    18,
    (3, 9),
    "2026-01-01T00:00:00.000000Z",
    restarted=True,
)
CLIENT = [
    Hello("hoop-tui 0.1.0"),
    Hello("x", resume=7),
    Request(1, "status"),
    Request(2, "approvals.get", {"id": "é\x1b"}),
]
SERVER = [
    WELCOME,
    Response(1, [1, None, {"a": "b"}]),
    Response(1, [], next="x y"),
    Failure(3, "stale_hash", "look again"),
    Failure(None, "bad_request", "no"),
    Event(12, "record", {"text": "line\nbreak"}),
]


@pytest.mark.parametrize("message", CLIENT)
def test_client_messages_survive_the_wire(message: Hello | Request) -> None:
    line = encode(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode_client(line) == message


@pytest.mark.parametrize("message", SERVER)
def test_server_messages_survive_the_wire(message: Welcome | Response | Failure | Event) -> None:
    line = encode(message)
    assert line.count(b"\n") == 1
    assert decode_server(line) == message


BAD = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'"hello"',
    b"\xff\xfe",
    b'{"type":"nonsense"}',
    b'{"type":"hello","client":"x"}',
    b'{"type":"hello","version":"1","client":"x"}',
    b'{"type":"hello","version":1,"client":7}',
    b'{"type":"hello","version":1,"client":"x","resume":-1}',
    b'{"type":"hello","version":1,"client":"x","resume":true}',
    b'{"type":"hello","version":1,"client":"x","resume":1e3}',
    b'{"type":"request","id":1}',
    b'{"type":"request","id":9007199254740992,"method":"status"}',
    b'{"type":"request","id":null,"method":"status"}',
    b'{"type":"request","id":1,"method":"status","params":[]}',
    b'{"type":"request","id":1,"method":"status","params":{"a":1.5}}',
    b'{"type":"request","id":1,"method":"status","params":{"a":NaN}}',
    b'{"type":"request","id":1,"method":"status","params":{"a":"\\ud800"}}',
    b'{"type":"request","id":1,"method":"status","params":{"\\udfff":1}}',
    b'{"type":"request","id":' + b"1" * 5000 + b',"method":"status"}',
    b"[" * 100_000,
    b'{"a":' * 100_000,
]


@pytest.mark.parametrize("line", BAD, ids=range(len(BAD)))
def test_what_is_no_message_is_malformed_and_never_quoted(line: bytes) -> None:
    with pytest.raises(Malformed) as fault:
        decode_client(line)
    assert "nonsense" not in str(fault.value)
    with pytest.raises(Malformed):
        decode_server(line)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_line_breaks_the_decoders(line: bytes) -> None:
    for decode in (decode_client, decode_server):
        try:
            message = decode(line)
        except Malformed:
            continue
        assert decode(encode(message)) == message


texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(values)
def test_any_value_survives(value: object) -> None:
    response = Response(1, value)  # type: ignore[arg-type]
    assert decode_server(encode(response)) == response


def test_what_cannot_be_sent_is_malformed_here() -> None:
    for message in (Response(1, "x" * MAX_FRAME), Event(1, "record", {"text": "\ud800"})):
        with pytest.raises(Malformed):
            encode(message)
    exact = MAX_FRAME - len(encode(Response(1, "")))
    assert len(encode(Response(1, "x" * exact))) == MAX_FRAME


@given(st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")), max_size=8), st.data())
def test_lines_do_not_depend_on_how_bytes_arrive(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    cut, found = Lines(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += cut.feed(stream[:size])
        stream = stream[size:]
    assert found == [line for line in lines if line.strip()]


def test_a_line_is_bounded_to_the_byte() -> None:
    assert Lines(limit=5).feed(b"abcd\nabcd\n") == [b"abcd", b"abcd"]
    for pieces in ([b"abcde\n"], [b"abc", b"de\n"], [b"abcdef"], [b"ab\nabc", b"def"]):
        cut = Lines(limit=5)
        with pytest.raises(Malformed):
            list(map(cut.feed, pieces))


def test_the_console_can_import_the_protocol_without_trio_or_settings() -> None:
    program = "import sys, gateway.control, gateway.control.messages, gateway.control.framing; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"trio", "pydantic", "pydantic_settings", "gateway.settings"} & set(loaded)


def calls(name: str) -> Iterator[ast.Call]:
    for path in (Path(gateway.__file__).parent).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
                yield node


def test_codes_are_those_that_are_given() -> None:
    arguments = [call.args[0] for name in ("Refusal", "Rejected") for call in calls(name)]
    arguments += [call.args[1] for call in calls("Failure") if len(call.args) > 1]
    given_ = {each.value for each in arguments if isinstance(each, ast.Constant)}
    assert given_ == set(messages.ERROR_CODES)


def test_methods_are_documented() -> None:
    table = re.findall(r'^ +"([a-z_.]+)": \((?:"|PERSON)', Path(methods.__file__).read_text(), re.MULTILINE)
    told = re.findall(r"^  ([a-z_.]+) \{", messages.__doc__ or "", re.MULTILINE)
    assert sorted(told) == sorted([*table, "subscribe"])
