"""The chain as docs/evidence.md defines it, computed a second time from the definition."""

from __future__ import annotations

from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from gateway.evidence.chain import GENESIS, KEY, Chain, commitment


def test_the_key_and_the_first_links_are_those_of_the_definition() -> None:
    key = blake3(b"", derive_key_context="hoop-tui 2026-11 evidence chain v1").digest()
    assert key == KEY
    first = blake3(bytes(32) + b"one", key=key).digest()
    second = blake3(first + b"two", key=key).digest()
    chain = Chain()
    assert chain.value == GENESIS == bytes(32)
    assert [chain.link(b"one"), chain.link(b"two"), chain.value] == [first, second, second]


def test_the_values_never_change_between_versions() -> None:
    assert Chain().link(b'{"v":1}').hex() == "6df651e4acec17c87935c9fa8c35f81ff319f60ed0ca09b31347f0f4a69a92b6"
    assert (
        commitment(bytes(range(32)), b'{"sql":{"t":"SELECT 1"}}')
        == "0599858a1313bda06f165d6db0c076b5ad74c4948df738826ec9289029da0745"
    )


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=8), st.data())
def test_any_change_changes_every_value_after_it(entries: list[bytes], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(entries) - 1))
    changed = [*entries[:at], entries[at] + b"!", *entries[at + 1 :]]
    one, other = Chain(), Chain()
    same = [one.link(entry) == other.link(entry_changed) for entry, entry_changed in zip(entries, changed, strict=True)]
    assert same == [True] * at + [False] * (len(entries) - at)


@given(st.binary(max_size=64), st.binary(max_size=64))
def test_the_same_payload_commits_differently_under_another_salt(data: bytes, other: bytes) -> None:
    assert commitment(bytes(32), data) != commitment(bytes([1] * 32), data)
    assert (commitment(bytes(32), data) == commitment(bytes(32), other)) == (data == other)
