"""Proofs: the published vectors of RFC 6962's reference, every small tree, and files that somebody changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import test_tree
from evidence_samples import journal_file
from test_archiving import archived, says  # noqa: F401  a fixture
from test_checkpoints import write

from gateway.__main__ import main
from gateway.errors import ClientFault, EvidenceFault
from gateway.evidence.proof import audit_path, consistency_path, grown, root_of, roots
from gateway.evidence.proving import check_proof, prove
from gateway.evidence.tree import Tree

LEAVES = [bytes.fromhex(one) for one in test_tree.LEAVES]
A = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
B = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
C = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
D = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
E = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
F = "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"
G = "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"
H = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"


def tree(count: int) -> bytes:
    found = Tree()
    for one in range(count):
        found.append(LEAVES[one] if count <= 8 else b"%d" % one)
    return found.root


def path(index: int, size: int) -> list[bytes]:
    return roots(LEAVES[:size], [(one.low, one.high) for one in audit_path(index, size)])


@pytest.mark.parametrize(
    ("index", "size", "wanted"), [(0, 1, []), (0, 8, [A, B, C]), (5, 8, [D, E, F]), (2, 3, [G]), (1, 5, [None, B, D])]
)
def test_audit_paths_of_the_reference(index: int, size: int, wanted: list[str | None]) -> None:
    found = path(index, size)
    assert len(found) == len(wanted)
    assert all(want is None or one.hex() == want for one, want in zip(found, wanted, strict=True))


@pytest.mark.parametrize(("old", "size", "wanted"), [(1, 1, []), (1, 8, [A, B, C]), (6, 8, [H, E, F]), (2, 5, [B, D])])
def test_consistency_of_the_reference(old: int, size: int, wanted: list[str]) -> None:
    assert [one.hex() for one in roots(LEAVES[:size], consistency_path(old, size))] == wanted


@pytest.mark.parametrize("size", range(1, 9))
def test_every_leaf_and_every_growth_of_small_trees(size: int) -> None:
    for index in range(size):
        found = path(index, size)
        assert root_of(LEAVES[index], index, size, found) == tree(size)
        assert root_of(b"else", index, size, found) != tree(size)
        with pytest.raises(ValueError, match="hashes"):
            root_of(LEAVES[index], index, size, [*found, bytes(32)])
    for old in range(1, size + 1):
        hashes = roots(LEAVES[:size], consistency_path(old, size))
        assert grown(old, tree(old), size, tree(size), hashes)
        assert not grown(old, bytes(32), size, tree(size), hashes)
        assert not grown(old, tree(old), size, bytes(32), hashes)
        assert not grown(old, tree(old), size, tree(size), [*hashes, bytes(32)])
        for at in range(len(hashes)):
            assert not grown(old, tree(old), size, tree(size), [*hashes[:at], bytes(32), *hashes[at + 1 :]])


def test_a_million_records_need_twenty_hashes() -> None:
    assert len(audit_path(123_456, 1_000_000)) == 20
    assert len(consistency_path(700_000, 1_000_000)) <= 21
    for bad in ((5, 5), (-1, 5)):
        with pytest.raises(ValueError, match="no leaf"):
            audit_path(*bad)


def test_each_record_of_a_log_is_proved_alone(tmp_path: Path) -> None:
    evidence = write(tmp_path)
    for seq in range(5):
        proof = prove(evidence, f"gw-1/w1:{seq}", payload=True)
        proven = check_proof(json.dumps(proof).encode(), (evidence / "logs/w1/log.pub").read_text())
        assert (proven.entry["seq"], proven.log) == (seq, "gw-1/w1")
    assert prove(evidence, "4", payload=True) == proof, "there is one log"
    for wrong in ("gw-1/w1:999999", "w9:1", "w1", "w1:x", "gw-2/w1:4", "w1:\u0663"):
        with pytest.raises(ClientFault):
            prove(evidence, wrong)
    with pytest.raises(EvidenceFault, match="not the key given"):
        check_proof(json.dumps(proof).encode(), "else")


def test_archived_records_are_proved_too(archived: Path) -> None:  # noqa: F811  the fixture
    evidence = archived / "evidence"
    proof = prove(evidence, "w1:9", payload=True)
    assert check_proof(json.dumps(proof).encode()).entry["seq"] == 9
    assert "SELECT" in str(proof["payload"]) or "row" in str(proof["payload"])


FORGERIES: list[Callable[[dict[str, Any]], object]] = [
    lambda told: told.update(entry=told["entry"].replace("allow", "denyx")),
    lambda told: told.update(index=told["index"] + 1),
    lambda told: told["path"].pop(),
    lambda told: told["path"].reverse(),
    lambda told: told.update(payload=told["payload"].replace("SELECT", "DELETE")),
    lambda told: told.update(salt="00" * 32),
    lambda told: told.update(checkpoint=told["checkpoint"].replace("gw-1/w1\n", "gw-2/w1\n", 1)),
    lambda told: told.update(key=told["key"][:-4] + "AAA="),
    lambda told: told.pop("path"),
    lambda told: told.update(path=7),
    lambda told: told.clear(),
    lambda told: told.update(v=2),
]


@pytest.mark.parametrize("forge", FORGERIES)
def test_a_changed_proof_proves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], forge: Callable[[dict[str, Any]], object]
) -> None:
    evidence = write(tmp_path)
    seq = next(
        number for number, line in enumerate(journal_file(evidence).read_bytes().split(b"\n")) if b"SELECT" in line
    )
    file = tmp_path / "proof.json"
    assert main(["evidence", "prove", str(evidence), f"w1:{seq}", "--payload"]) == 0
    text = capsys.readouterr().out
    assert main(["evidence", "prove", str(evidence), f"w1:{seq}", "--payload", "--output", str(file)]) == 0
    assert file.read_text() == text
    assert main(["evidence", "prove", str(evidence), f"w1:{seq}", "--output", str(file)]) == 2, "nothing is overwritten"
    assert main(["evidence", "check-proof", str(file), "--key", str(evidence / "logs/w1/log.pub")]) == 0
    assert "holds: in gw-1/w1" in capsys.readouterr().out
    told = json.loads(text)
    forge(told)
    file.write_text(json.dumps(told))
    assert main(["evidence", "check-proof", str(file)]) == 1
    assert "proves nothing" in capsys.readouterr().out
    assert main(["evidence", "check-proof", str(tmp_path / "none")]) == 2
