"""`hoop-gateway init`, killed at each operation: the next run goes on or begins anew, and takes nothing else away."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from pathlib import Path

import pytest
from crash.kills import Kills
from crash.mortal import Mortals

from gateway.cli.half_made import NAME

SAMPLE = 6
WHOLE = {
    "gateway.toml", "state", "state/tls", "state/tls/cert.pem", "state/tls/key.pem", "state/evidence",
    "state/development-issuer", "state/development-issuer/key.pem", "state/development-issuer/issuer.json",
}  # fmt: skip

pytestmark = pytest.mark.crash


def names(home: Path) -> set[str]:
    return {str(path.relative_to(home)) for path in home.rglob("*")}


def init(mortal: Mortals, home: Path) -> tuple[int, str]:
    ((code, said),) = mortal.run("init", home).said("init")
    return code, said


def test_an_init_that_was_killed_is_taken_up_by_the_next(mortal: Mortals, tmp_path: Path, kills: Kills) -> None:
    operations = mortal.run("init", tmp_path / "whole").operations
    assert names(tmp_path / "whole") == WHOLE
    points = [number for number, name in enumerate(operations) if "sync " not in name]
    moves = [number for number in points if operations[number].split()[0] in {"rename", "link"}]
    chosen = points if kills.everything else sorted({*kills.chance("init").sample(points, SAMPLE), *moves[-2:]})
    for number in chosen:
        home = tmp_path / "killed"
        assert mortal.run("init", home, number).killed
        there = (home / "gateway.toml").exists()
        if there:
            assert names(home) - {NAME, f"{NAME}/gateway.toml"} == WHOLE, "the configuration is there before the rest"
        left, whole = (home / NAME).exists(), there and not (home / NAME / "gateway.toml").exists()
        code, said = init(mortal, home)
        if whole:
            assert (code, "exists already" in said) == (2, True), said
        else:
            assert (code, said.count("\n")) == (0, 3 if left else 2), said
        assert names(home) == WHOLE, operations[number]
        assert stat.S_IMODE((home / "state").stat().st_mode) == 0o750
        assert mortal.run("start", home).said("wrong") == []
        code, said = init(mortal, home)
        assert (code, "exists already" in said) == (2, True), said
        shutil.rmtree(home)
        kills.count(f"init: {operations[number]}")


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ("{0}/notes.txt", "nothing that `init` makes"),
        ("{0}/state/evidence/logs/w1/journal/00000001.tsv", "nothing that `init` makes"),
        ("{0}/state/tls/link", "nothing that `init` makes"),
        ("state/evidence/logs/w1/journal/00000001.tsv", "state exists already"),
        ("gateway.toml", "gateway.toml exists already"),
    ],
)
def test_what_is_not_its_own_stays_and_is_named(mortal: Mortals, tmp_path: Path, made: str, words: str) -> None:
    home, path = tmp_path / "home", tmp_path / "home" / made.format(NAME)
    (home / NAME / "state" / "tls").mkdir(parents=True)
    (home / NAME / "state" / "tls" / "key.pem").write_text("half")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name == "link":
        (tmp_path / "outside").write_text("kept")
        path.symlink_to(tmp_path / "outside")
    else:
        path.write_text("kept")
    code, said = init(mortal, home)
    assert (code, words in said) == (2, True), said
    assert path.read_text() == "kept"
    if made.startswith("{0}"):
        assert (home / NAME / "state" / "tls" / "key.pem").read_text() == "half", "something was removed"
    else:
        assert names(home) == {str(each.relative_to(home)) for each in (path, *path.parents) if home in each.parents}


def test_a_link_in_its_place_is_not_followed_and_two_do_not_meet(mortal: Mortals, tmp_path: Path) -> None:
    home, outside = tmp_path / "home", tmp_path / "outside"
    home.mkdir()
    (outside / "state").mkdir(parents=True)
    (home / NAME).symlink_to(outside)
    code, said = init(mortal, home)
    assert (code, said.count("\n")) == (2, 1), said
    assert names(outside) == {"state"}
    (home / NAME).unlink()
    (home / NAME).mkdir()
    descriptor = os.open(home / NAME, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    code, said = init(mortal, home)
    os.close(descriptor)
    assert (code, "another `init`" in said) == (2, True), said
    assert init(mortal, home)[0] == 0
    assert names(home) == WHOLE
