"""`kill -9` at each single operation on files of everything that the gateway and its commands do to the evidence.

A step is run once to see its operations, then once for each of them on a copy, and killed there: before the operation,
and, where it writes, also after half of the bytes. Not before a sync: a kill there leaves what one before the next
operation does, since only power cuts lose what was written (`tests/evidence`, with a disk that loses it). Then the
gateway starts, both checkers find nothing, everything that was promised is there, once and in its place, and the step
itself can be done again.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyrage
import pytest
from crash.kills import Kills
from crash.mortal import Ended, Mortals
from e2e.running import write_home

SAMPLE = 1
"""Points of each step that are taken where not all of them are."""
CONNECTION = """
[[connection]]
name = "orders"
target = "postgresql://127.0.0.1:1/orders"
username = "app"
password = "file:password"
agents = ["any"]
"""

pytestmark = pytest.mark.crash


@dataclass(frozen=True)
class Scene:
    """A step and its arguments, and the steps that make what it is done to."""

    name: str
    before: tuple[str, ...]
    step: str
    arguments: dict[str, Any] = field(default_factory=dict)
    whole: bool = False
    """Opening the logs too, which is the same everywhere."""
    then: str = ""
    """What else is done, to its end, after the kill and before the gateway starts."""
    sealed: bool = True
    """Whether what was sealed can be opened afterwards."""

    def __str__(self) -> str:
        return self.name


WRITTEN = ("start", "write", "write")
ARCHIVED = (*WRITTEN, "archive_all")
LATER = (*ARCHIVED, "write", "archive_all")
SCENES = [
    Scene("first-start", (), "start", {"views": True}, whole=True),
    Scene("start", WRITTEN, "start", {"views": True}, whole=True),
    Scene("start-with-a-torn-tail", (*WRITTEN, "torn"), "start", {"views": True}, whole=True),
    Scene("start-on-segments-with-a-torn-tail", (*ARCHIVED, "write", "torn"), "start", {"views": True}, whole=True),
    Scene("write", ("start",), "write"),
    Scene("resume", (*WRITTEN, "torn"), "resume"),
    Scene("archive", WRITTEN, "archive_all"),
    Scene("archive-then-erase", WRITTEN, "archive_all", {"what": "record"}, then="erase"),
    Scene("archive-more", (*ARCHIVED, "write"), "archive_all"),
    Scene("prune-entries", LATER, "prune", {"part": "entries"}),
    Scene("prune-payloads", LATER, "prune", {"part": "payloads"}),
    Scene("prune-originals", LATER, "prune", {"part": "originals"}, sealed=False),
    Scene("erase-session", WRITTEN, "erase", {"what": "session"}),
    Scene("erase-live-record", WRITTEN, "erase", {"what": "record"}),
    Scene("erase-archived-record", ARCHIVED, "erase", {"what": "record"}),
    Scene("export", ARCHIVED, "export"),
    Scene("witness", WRITTEN, "witness"),
    Scene("sink", WRITTEN, "sink"),
]


@dataclass(frozen=True)
class Made:
    """What the steps before left, and what they promised."""

    home: Path
    promised: list[list[Any]]
    sessions: list[str]


@dataclass
class Stage:
    """Makes what a scene begins with, each once."""

    place: Path
    mortal: Mortals
    made: dict[tuple[str, ...], Made] = field(default_factory=dict)

    def __post_init__(self) -> None:
        identities = [pyrage.x25519.Identity.generate() for _ in range(2)]
        recipients = ", ".join(f'"{one.to_public()}"' for one in identities)
        home = self.place / "empty"
        write_home(home, "password", [CONNECTION], f"[evidence]\nrecipients = [{recipients}]\n")
        self.identity = self.place / "auditor"
        self.identity.write_text(f"{identities[0]}\n")
        self.made[()] = Made(home, [], [])

    def after(self, steps: tuple[str, ...]) -> Made:
        if steps not in self.made:
            before = self.after(steps[:-1])
            home = self.copy(before.home, f"{len(self.made)}")
            ended = self.mortal.run(steps[-1], home)
            promised, sessions = before.promised + ended.said("promised"), before.sessions + ended.said("session")
            self.made[steps] = Made(home, promised, sessions)
        return self.made[steps]

    def copy(self, home: Path, name: str) -> Path:
        return Path(shutil.copytree(home, self.place / name))

    def check(self, home: Path, promised: list[list[Any]], *, sealed: bool, views: bool) -> None:
        asked = {"promised": promised, "identity": str(self.identity) if sealed else None, "views": views}
        assert self.mortal.run("aftermath", home, **asked).said("wrong") == []


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, mortal: Mortals) -> Iterator[Stage]:
    place = tmp_path_factory.mktemp("stage")
    yield Stage(place, mortal)
    shutil.rmtree(place)


@pytest.mark.parametrize("scene", SCENES, ids=str)
def test_a_kill_at_each_operation(scene: Scene, stage: Stage, kills: Kills) -> None:
    made = stage.after(scene.before)
    arguments = dict(scene.arguments)
    if "what" in arguments:
        first = next(f"{log}:{seq}" for log, seq, _ in made.promised if log.endswith("w1"))
        arguments["which"] = first if arguments["what"] == "record" else made.sessions[0]
    whole = _operations(stage, made, scene, arguments)
    names = list(enumerate(whole.operations))[0 if scene.whole else whole.opening :]
    points = [(number, half) for number, name in names for half in _cuts(name)]
    if not kills.everything:
        points = kills.chance(scene.name).sample(points, SAMPLE)
    wrong = []
    for number, half in points:
        what = f"{'half of ' * half}{whole.operations[number]}"
        try:
            _try(stage, made, scene, arguments, (number, half))
        except AssertionError as fault:
            wrong.append(f"killed at operation {number}, {what}: {fault}")
        kills.count(f"{scene}: {what}")
    assert not wrong, "\n".join(wrong)


def _operations(stage: Stage, made: Made, scene: Scene, arguments: dict[str, Any]) -> Ended:
    """Do the step to its end, to see what there is to kill."""
    home = stage.copy(made.home, "whole")
    try:
        return stage.mortal.run(scene.step, home, **({} if scene.then else arguments))
    finally:
        shutil.rmtree(home)


def _cuts(operation: str) -> tuple[bool, ...]:
    """Whether to kill before it, and whether in its middle."""
    if "sync " in operation:
        return ()
    return (False, True) if "write" in operation else (False,)


def _try(stage: Stage, made: Made, scene: Scene, arguments: dict[str, Any], point: tuple[int, bool]) -> None:
    """Do the step, killed at a point; start, and check; do it again, to its end."""
    home, given = stage.copy(made.home, "now"), {} if scene.then else arguments
    try:
        number, half = point
        promised = made.promised + stage.mortal.run(scene.step, home, number, half=half, **given).said("promised")
        if scene.then:
            stage.mortal.run(scene.then, home, **arguments)
        stage.mortal.run("start", home, views=scene.whole)
        stage.check(home, promised, sealed=scene.sealed, views=scene.whole)
        if scene.step != "start":
            stage.mortal.run(scene.step, home, **given)
            assert stage.mortal.run("end", home).said("wrong") == []
    finally:
        shutil.rmtree(home)
