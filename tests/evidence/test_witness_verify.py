"""What a file of notes that was kept elsewhere shows of a log whose host's root holds the key: `verify --witness`."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from test_checkpoints import cut_tail, lines_of, notes, write
from test_verify import rewrite

from gateway.__main__ import main
from gateway.errors import EvidenceFault
from gateway.evidence.checkpoints import Checkpoints, load_key
from gateway.evidence.entry import parse_line
from gateway.evidence.note import Signer
from gateway.evidence.storage import DiskStorage
from gateway.evidence.tree import Tree
from gateway.evidence.verify import verify


def kept(evidence: Path) -> bytes:
    """All notes of the log, one after the other, as a file sink keeps them."""
    place = evidence / "logs" / "w1" / "checkpoints"
    return b"".join((place / f"{size}.note").read_bytes() for size in notes(evidence))


def rewrite_all(state: Path) -> None:
    """Root writes another history under the same key, and signs it."""
    shutil.rmtree(state / "evidence")
    write(state, statements=4)


def rewrite_quietly(state: Path) -> None:
    """The same number of records, one of them with other words."""
    evidence = state / "evidence"
    shutil.rmtree(evidence / "logs" / "w1" / "checkpoints")
    lines_of(evidence, lambda lines: rewrite(lines, 3, lambda entry: entry.update(rows=7)))
    lines = (evidence / "logs" / "w1" / "journal" / "00000001.tsv").read_bytes()
    storage, directory = DiskStorage(), evidence / "logs" / "w1"
    storage.make_directory(directory / "checkpoints")
    tree = Tree()
    for raw in lines[:-1].split(b"\n"):
        tree.append(parse_line(raw).entry)
    signer = Signer("gw-1/w1", load_key(storage, state / "keys" / "log-w1.pem"))
    Checkpoints(directory, storage, signer).write(tree.state())


def cut_with_its_checkpoints(state: Path) -> None:
    evidence = state / "evidence"
    cut_tail(evidence)
    (evidence / "logs" / "w1" / "checkpoints" / "10.note").unlink()


def rewrite_under_a_new_key(state: Path) -> None:
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (state / "keys" / "log-w1.pem").write_bytes(Ed25519PrivateKey.generate().private_bytes(*form))
    rewrite_all(state)


def drop_the_key_and_its_notes(state: Path) -> None:
    directory = state / "evidence" / "logs" / "w1"
    shutil.rmtree(directory / "checkpoints")
    (directory / "log.pub").unlink()
    lines_of(state / "evidence", lambda lines: rewrite(lines, 3, lambda entry: entry.update(rows=7)))


ATTACKS = [
    (rewrite_all, "not those that the witness saw at 2"),
    (rewrite_quietly, "not those that the witness saw at"),
    (cut_with_its_checkpoints, "witness's 10 covers more: its end is cut off"),
    (rewrite_under_a_new_key, "the witness saw it signed by key [0-9a-f]{8}, which is not that of its log.pub"),
    (drop_the_key_and_its_notes, "not those that the witness saw at"),
]


@pytest.mark.parametrize(("attack", "what"), ATTACKS, ids=[attack.__name__ for attack, _ in ATTACKS])
def test_root_with_the_key_is_found_out_by_what_was_kept_elsewhere(
    tmp_path: Path, attack: Callable[[Path], None], what: str
) -> None:
    evidence, file = write(tmp_path), tmp_path / "kept"
    file.write_bytes(kept(evidence))
    untouched = verify(evidence, witness=file)
    assert (untouched.findings, untouched.witnessed) == ([], {"gw-1/w1": 10})
    attack(tmp_path)
    needs = attack is not drop_the_key_and_its_notes
    assert verify(evidence).intact == needs, "whether this attack needs a witness to be seen"
    report = verify(evidence, witness=file)
    assert not report.intact
    assert any(re.search(what, one.what) and one.grade == "tampered" for one in report.findings), report.findings


def test_two_logs_under_one_key_are_a_fork(tmp_path: Path) -> None:
    evidence, file = write(tmp_path), tmp_path / "kept"
    first = kept(evidence)
    shutil.rmtree(evidence)
    write(tmp_path, statements=5)
    file.write_bytes(first + kept(evidence))
    report = verify(evidence, witness=file)
    assert any(one.what == "a fork: kept holds two logs of 2 records, both signed" for one in report.findings)


@pytest.mark.parametrize(
    ("change", "grade", "what"),
    [
        (lambda content: content.replace(b"gw-1/w1", b"gw-9/w1"), "incomplete", "holds nothing of this log"),
        (lambda content: content.replace(b"gw-1/w1", b"gw-1/w7"), "tampered", "the witness saw this log"),
        (lambda content: content[:-20], "note", "bytes that are no signed note"),
        (lambda content: content + b"gw-1/w1\n1", "note", "8 bytes that are no signed note"),
        (lambda content: b"\0\n" + content, "note", "bytes that are no signed note"),
        (lambda content: content.replace(b"\n10\n", b"\n11\n"), "note", "1 notes in kept were left out"),
    ],
)
def test_a_file_that_is_not_whole_or_not_of_this_log(
    tmp_path: Path, change: Callable[[bytes], bytes], grade: str, what: str
) -> None:
    evidence, file = write(tmp_path), tmp_path / "kept"
    file.write_bytes(change(kept(evidence)))
    findings = verify(evidence, witness=file).findings
    assert any(one.grade == grade and what in one.what for one in findings), findings
    if grade == "note":
        assert all(one.grade == "note" for one in findings), findings


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff" * 100])
def test_a_file_without_a_note_cannot_be_used(tmp_path: Path, content: bytes) -> None:
    evidence, file = write(tmp_path), tmp_path / "kept"
    file.write_bytes(content)
    with pytest.raises(EvidenceFault, match="holds no signed note"):
        verify(evidence, witness=file)


def test_the_command_says_how_far_it_was_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evidence, file = write(tmp_path), tmp_path / "kept"
    place = evidence / "logs" / "w1" / "checkpoints"
    file.write_bytes((place / "4.note").read_bytes() + (place / "2.note").read_bytes())
    assert main(["evidence", "verify", str(evidence), "--witness", str(file)]) == 0
    assert ", 4 seen by a witness; head" in capsys.readouterr().out
    assert main(["evidence", "verify", str(evidence), "--witness", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["heads"]["gw-1/w1"]["witnessed"] == 4
    assert main(["evidence", "verify", str(evidence), "--witness", str(tmp_path / "absent")]) == 2
    assert "absent cannot be read" in capsys.readouterr().err
