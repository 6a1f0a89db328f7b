"""What a killed process left half-written goes with the next start, and nothing else does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.leavings import LAIN, clear_log, clear_state
from gateway.model import Micros

NOW = Micros(1_700_000_000_000_000)
OURS_IN_STATE = [
    ".kill-list.json.a1b2c3d4", ".agents-seen.jsonl.x_y_z_09", "keys/.log-w2.pem.0123abcd", "vault/.identity.abcd1234",
    "masking/.pseudonyms.key.abcd1234", "masking/marks/.orders.abcd1234", "outbox/.1.chat.json.abcd1234",
    "development-issuer/.key.pem.abcd1234", "evidence/.evidence.duckdb.abcd1234", "evidence/.witness.pub.abcd1234",
]  # fmt: skip
OURS_IN_A_LOG = [
    ".log.pub.0123abcd", "checkpoints/.17.note.0123abcd", "keyring/.0a1b.age.0123abcd", "torn/.17.note.0123abcd",
]  # fmt: skip
NOT_OURS = [
    "kill-list.json", ".kill-list.json", ".kill-list.json.short", ".kill-list.json.ABCD1234", ".notes.txt.abcd1234",
    "kill-list.json.abcd1234", "..kill-list.json.abcd1234", "elsewhere/.kill-list.json.abcd1234", "log.pub",
    "checkpoints/17.note", "checkpoints/.17.note", "entries/.seg-00000001.json.0123abcd", "journal/.1.tsv.0123abcd",
    "keyring/.0a1b.age.erased.0123abcd",
]  # fmt: skip


def put(top: Path, names: list[str], at: int = NOW - 2 * LAIN) -> None:
    for name in names:
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text("half")
        os.utime(top / name, ns=(at * 1000, at * 1000))


def names(top: Path) -> set[str]:
    return {str(path.relative_to(top)) for path in top.rglob("*") if not path.is_dir()}


def test_what_was_left_goes_and_nothing_else(tmp_path: Path) -> None:
    put(tmp_path, OURS_IN_STATE + OURS_IN_A_LOG + NOT_OURS)
    assert {str(path.relative_to(tmp_path)) for path in clear_state(tmp_path, NOW)} == set(OURS_IN_STATE)
    assert names(tmp_path) == {*OURS_IN_A_LOG, *NOT_OURS}
    assert {str(path.relative_to(tmp_path)) for path in clear_log(tmp_path)} == set(OURS_IN_A_LOG)
    assert names(tmp_path) == set(NOT_OURS)
    assert clear_state(tmp_path, NOW) == clear_log(tmp_path) == []


def test_what_a_command_may_be_writing_stays(tmp_path: Path) -> None:
    put(tmp_path, OURS_IN_STATE, NOW - LAIN)
    assert clear_state(tmp_path, NOW) == []
    put(tmp_path, OURS_IN_STATE, NOW + LAIN)
    assert clear_state(tmp_path, NOW) == []


@pytest.mark.parametrize("what", ["file", "directory", "place"])
def test_no_link_is_followed(tmp_path: Path, what: str) -> None:
    outside, top = tmp_path / "outside", tmp_path / "state"
    put(outside, [".log-w1.pem.abcd1234", "inside"])
    top.mkdir()
    if what == "place":
        (top / "keys").symlink_to(outside)
    else:
        (top / "keys").mkdir()
        place = top / "keys" / ".log-w1.pem.abcd1234"
        place.symlink_to(outside / "inside" if what == "file" else outside)
    assert clear_state(top, NOW) == []
    assert names(outside) == {".log-w1.pem.abcd1234", "inside"}
    assert what == "place" or place.is_symlink()


def test_an_absent_or_closed_directory_is_no_fault(tmp_path: Path) -> None:
    assert clear_state(tmp_path / "absent", NOW) == clear_log(tmp_path / "absent") == []
    (tmp_path / "keys").write_text("a file where a directory should be")
    assert clear_state(tmp_path, NOW) == []
