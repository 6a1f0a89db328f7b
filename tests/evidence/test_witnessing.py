"""The gateway's side of witnesses and sinks: real logs, a real witness over HTTP, whatever may be refused."""

from __future__ import annotations

import os
import shutil
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trio
from evidence_double import CountedEntropy, StepClock
from test_standalone_verify import says
from witness_samples import NAME, GrowingLog

from gateway.evidence import record
from gateway.evidence.checkpoints import load_key
from gateway.evidence.commit import GroupCommit
from gateway.evidence.cosignature import Cosigner, CosignerKey, split_notes
from gateway.evidence.journal import Journal
from gateway.evidence.note import Checkpoint, parse_note, parse_signature
from gateway.evidence.sinks import Contradiction, DirectorySink, FileSink
from gateway.evidence.storage import DiskStorage, SystemEntropy
from gateway.evidence.verify import verify
from gateway.evidence.views import write_views
from gateway.evidence.witness_client import add_checkpoint
from gateway.evidence.witness_service import WitnessService, make_witness, read_keys
from gateway.identity.http_server import Request, Response, serve_http
from gateway.keepers import Keeper, SinkKeeper, WitnessKeeper
from gateway.model import Draft, LogName, Micros
from gateway.witnessing import ALONE, Witnessing


@dataclass
class Scene:
    """Two logs, a witness's directory, and what was told."""

    home: Path
    clock: StepClock = field(default_factory=lambda: StepClock(step=1))
    alarms: list[tuple[str, str]] = field(default_factory=list)
    storage: DiskStorage = field(default_factory=DiskStorage)
    logs: list[GroupCommit] = field(default_factory=list)
    n: int = 0

    @property
    def evidence(self) -> Path:
        return self.home / "evidence"

    @property
    def place(self) -> Path:
        return self.home / "witness"

    def open(self) -> None:
        """Open both logs, as a start does."""
        self.logs = []
        for name in ("control", "w1"):
            directory, origin = self.evidence / "logs" / name, LogName(f"gw-1/{name}")
            keys = self.home / "keys"
            journal = Journal.open(directory, origin, self.storage, self.clock, SystemEntropy(), keys=keys)
            journal.append(record.start("gw-1", "0.1"))
            self.logs.append(GroupCommit(journal))
        self.sign()

    def sign(self) -> None:
        for log in self.logs:
            log.journal.flush()
            log.journal.checkpoint()

    def write(self, count: int) -> None:
        """Records in the worker's log, signed."""
        for _ in range(count):
            self.n += 1
            self.logs[1].append(record.alarm(None, None, "test", str(self.n)))
        self.sign()

    def close(self) -> None:
        for log in self.logs:
            log.journal.close()

    def witnessing(self, *keepers: Keeper) -> Witnessing:
        def alarm(name: str, detail: str) -> None:
            self.alarms.append((name, detail))

        return Witnessing(keepers, self.logs, self.storage, self.clock, alarm)

    def witnesses(self, log: int = 1) -> list[int]:
        """Sizes that witness records tell of a log."""
        with write_views_of(self.evidence) as database:
            name = self.logs[log].log
            sql = "SELECT json_extract(entry, '$.size')::BIGINT FROM records WHERE kind = 'witness'"
            found = database.execute(f"{sql} AND json_extract_string(entry, '$.origin') = '{name}' ORDER BY seq")
            return [size for (size,) in found.fetchall()]


def write_views_of(evidence: Path) -> Any:
    import duckdb

    write_views(evidence)
    return duckdb.connect(str(evidence / "evidence.duckdb"), read_only=True)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    found = Scene(tmp_path)
    found.open()
    make_witness(found.place, NAME, found.storage, CountedEntropy())
    shutil.copy(found.place / "witness.pub", found.evidence)
    return found


@asynccontextmanager
async def witness(
    scene: Scene, answer: Callable[[Request], Response] | None = None, logs: tuple[str, ...] = ("control", "w1")
) -> AsyncIterator[WitnessKeeper]:
    """A witness that serves, and the gateway's end of it."""
    keys = read_keys([scene.evidence / "logs" / name / "log.pub" for name in logs])
    async with AsyncExitStack() as stack:
        service = stack.enter_context(WitnessService.open(scene.place, keys, scene.storage, scene.clock))
        nursery = await stack.enter_async_context(trio.open_nursery())
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(serve_http, listener, answer or service.answer)
        url = urlsplit(f"http://127.0.0.1:{listener.socket.getsockname()[1]}/sub/")
        key = CosignerKey.parse((scene.place / "witness.pub").read_text())
        yield WitnessKeeper(NAME, url, key, scene.logs[0], scene.storage)
        nursery.cancel_scope.cancel()


async def bring(witnessing: Witnessing, keeper: Keeper, scene: Scene) -> list[bool]:
    return [await witnessing.bring(keeper, log) for log in scene.logs]


async def test_what_grows_is_signed_recorded_and_shown(scene: Scene) -> None:
    async with witness(scene) as keeper:
        witnessing = scene.witnessing(keeper)
        for count in (1, 7, 2, 64, 1):
            scene.write(count)
            assert await bring(witnessing, keeper, scene) == [True, True]
        assert (witnessing.unseen(scene.logs[1]), witnessing.fault) == (0, None)
    assert scene.witnesses() == [2, 9, 11, 75, 76]
    newest = scene.evidence / "logs" / "w1" / "checkpoints" / "76.note"
    assert [name for name, _ in parse_note(newest.read_bytes())[1]] == ["gw-1/w1", NAME]
    with write_views_of(scene.evidence) as database:
        shown = database.execute(
            "SELECT size FROM checkpoints WHERE witnessed_by = ['witness.test/w1'] AND log = 'gw-1/w1'"
        )
        assert sorted(shown.fetchall()) == [(2,), (9,), (11,), (75,), (76,)]
    scene.close()
    report = verify(scene.evidence, witness=scene.place / "notes")
    assert (report.findings, report.witnessed["gw-1/w1"]) == ([], 76)


async def test_its_own_answers_do_not_keep_an_idle_gateway_busy(scene: Scene) -> None:
    async with witness(scene) as keeper:
        witnessing = scene.witnessing(keeper)
        assert await bring(witnessing, keeper, scene) == [True, True]
        before = scene.logs[0].journal.head
        for _ in range(3):
            scene.sign()
            assert await bring(witnessing, keeper, scene) == [True, True]
        assert scene.logs[0].journal.head == before
        assert witnessing.unseen(scene.logs[0]) == 0
        scene.logs[0].append(record.alarm(None, None, "test", "something new"))
        scene.sign()
        assert witnessing.unseen(scene.logs[0]) == 3


async def test_after_a_restart_and_after_long_silence_the_proof_comes_from_the_disk(scene: Scene) -> None:
    async with witness(scene) as keeper:
        scene.write(5)
        await bring(scene.witnessing(keeper), keeper, scene)
        scene.close()
        scene.open()
        again = WitnessKeeper(NAME, keeper.url, keeper.key, scene.logs[0], scene.storage)
        witnessing = scene.witnessing(again)
        assert witnessing.seen(scene.logs[1]) is None
        scene.write(5)
        assert await bring(witnessing, again, scene) == [True, True]
        scene.write(3)
        scene.logs[1].journal.keep_leaves()  # forgets those before
        assert await bring(witnessing, again, scene) == [True, True]
    assert (scene.witnesses(), scene.alarms) == ([6, 12, 15], [])


async def test_a_log_that_was_cut_back_is_an_alarm_once_and_told_until_it_agrees(scene: Scene) -> None:
    scene.write(5)
    scene.close()
    shutil.copytree(scene.evidence, scene.home / "copy")
    scene.open()
    async with witness(scene) as keeper:
        scene.write(5)
        await bring(scene.witnessing(keeper), keeper, scene)
        scene.close()
        shutil.rmtree(scene.evidence)
        shutil.copytree(scene.home / "copy", scene.evidence)
        scene.open()
        again = WitnessKeeper(NAME, keeper.url, keeper.key, scene.logs[0], scene.storage)
        witnessing = scene.witnessing(again)
        for _ in range(2):
            assert await witnessing.bring(again, scene.logs[1]) is False
        words = f"{NAME}: gw-1/w1: it signed 12 records of this log, which has 7: some were cut off"
        assert scene.alarms == [("witness_refuses", words)]
        assert witnessing.fault == words
        (told,) = witnessing.describe()
        assert isinstance(told, dict)
        assert told["refuses"] is True
        scene.write(20)
        assert await witnessing.bring(again, scene.logs[1]) is False
        assert "did not grow out of" in (witnessing.fault or ""), "it is longer now, and another log all the same"


async def test_another_log_under_the_same_key_is_an_alarm(scene: Scene) -> None:
    scene.write(6)
    async with witness(scene) as keeper:
        key = load_key(scene.storage, scene.home / "keys" / "log-w1.pem")
        other = GrowingLog("other", key)
        assert (await add_checkpoint(keeper.url, other.submission(0, 7))).status == 200
        witnessing = scene.witnessing(keeper)
        assert await witnessing.bring(keeper, scene.logs[1]) is False
        assert "it signed 7 records that this log of 7 did not grow out of" in scene.alarms[0][1]
        scene.write(2)
        assert await witnessing.bring(keeper, scene.logs[1]) is False
        assert len(scene.alarms) == 1
    assert scene.witnesses() == []


ANSWERS: list[tuple[str, Callable[[Request], Response], str]] = [
    ("no cosignature", lambda _: Response(200, b""), "not signed by the key"),
    ("one of another key", lambda _: Response(200, GrowingLog().note(3).splitlines(True)[-1]), "not signed by the key"),
    ("409 without a size", lambda _: Response(409, b"<html>"), "409 without a size"),
    ("409 with a huge size", lambda _: Response(409, b"9" * 5000), "some were cut off"),
    ("500", lambda _: Response(500, b"\x1b[2J"), "it answered 500"),
    ("too much", lambda _: Response(200, b"x" * 100_000), "too long"),
    ("a redirect", lambda _: Response(400, b"", (("location", "http://127.0.0.1:1/"),)), "it answered 400"),
]


@pytest.mark.parametrize(("answer", "words"), [one[1:] for one in ANSWERS], ids=[one[0] for one in ANSWERS])
async def test_what_a_witness_answers_is_not_believed(
    scene: Scene, answer: Callable[[Request], Response], words: str
) -> None:
    async with witness(scene, answer) as keeper:
        witnessing = scene.witnessing(keeper)
        assert await witnessing.bring(keeper, scene.logs[1]) is False
        (told,) = witnessing.describe()
        assert isinstance(told, dict)
        assert words in str(told["fault"])
        assert str(told["fault"]).isprintable()
    assert scene.witnesses() == []


async def test_before_a_stop_everything_is_signed_and_seen(scene: Scene) -> None:
    async with witness(scene) as keeper:
        sink = SinkKeeper("sink", FileSink(scene.home / "sink"), 3600.0)
        witnessing = scene.witnessing(keeper, sink)
        await witnessing.last()
        scene.logs[1].append(record.alarm(None, None, "test", "the last"))
        scene.logs[1].journal.flush()
        await witnessing.last()
        assert [witnessing.unseen(log) for log in scene.logs] == [0, 0]
        scene.logs[1].journal.broken = "a full disk"
        await witnessing.last()
    sizes = [parse_note(note)[0].size for note in split_notes((scene.home / "sink").read_bytes())[0]]
    assert (sizes[-1], scene.witnesses()) == (2, [1, 2])


async def test_a_log_that_the_witness_does_not_know(scene: Scene) -> None:
    async with witness(scene, logs=("control",)) as keeper:
        witnessing = scene.witnessing(keeper)
        assert await bring(witnessing, keeper, scene) == [True, False]
        assert scene.alarms == []


async def test_nobody_outside_for_long_is_an_alarm_once(scene: Scene) -> None:
    async with witness(scene) as keeper:
        pass
    witnessing = scene.witnessing(keeper)
    assert await bring(witnessing, keeper, scene) == [False, False]
    witnessing.tell_alone()
    assert scene.alarms == []
    scene.clock.at += ALONE
    witnessing.tell_alone()
    witnessing.tell_alone()
    ((name, detail),) = scene.alarms
    assert (name, "cannot be reached" in detail) == ("witness_silent", True)
    async with witness(scene) as keeper:
        witnessing = scene.witnessing(keeper)
        await bring(witnessing, keeper, scene)
        scene.clock.at += ALONE
        witnessing.tell_alone()
        assert len(scene.alarms) == 1, "nothing new since, so nobody is missed"


def told(scene: Scene, **changes: Any) -> Draft:
    """A `witness` record of the worker's log of two records, as a witness would have it, but for `changes`."""
    note = scene.evidence / "logs" / "w1" / "checkpoints" / "2.note"
    key = Cosigner(NAME, load_key(scene.storage, scene.place / "witness.pem"))
    seconds = changes.pop("seconds", scene.clock.now() // 1_000_000)
    values = {"origin": "gw-1/w1", "size": 2, "root": parse_note(note.read_bytes())[0].root.hex()}
    values |= {"who": NAME, "at": Micros(seconds * 1_000_000), **changes}
    signed = Checkpoint(values["origin"], values["size"], bytes.fromhex(values["root"]))
    blob = parse_signature(key.cosign(signed, seconds).rstrip())[1]
    return record.witness(**{"cosignature": b64encode(blob).decode(), **values})


SAID = [
    ({}, "", ""),
    ({"cosignature": "AAAA"}, "tampered", "the cosignature of witness.test/w1 does not hold"),
    ({"root": "00" * 32}, "tampered", "signed another log of 2 records"),
    ({"size": 99}, "incomplete", "signed 99 records of gw-1/w1, which has 2"),
    ({"who": "witness.test/other"}, "note", "the key of witness witness.test/other is not in witness.pub"),
    ({"seconds": 1_600_000_000}, "note", "s apart"),
]


@pytest.mark.parametrize(("changes", "grade", "what"), SAID, ids=[str(one[0]) for one in SAID])
def test_what_the_log_says_of_witnesses_is_checked(
    scene: Scene, changes: dict[str, Any], grade: str, what: str
) -> None:
    scene.write(1)
    scene.logs[0].append(told(scene, **changes))
    scene.close()
    findings = verify(scene.evidence).findings
    assert {one.grade for one in findings} == {grade} - {""}
    assert any(what in one.what for one in findings) or not grade
    assert says(scene.evidence) == (grade in {"", "note"})


# --- sinks -------------------------------------------------------------------------------------------------------


async def test_a_file_keeps_what_verify_takes(scene: Scene) -> None:
    file = scene.home / "sink"
    keeper = SinkKeeper("sink", FileSink(file), 5.0)
    witnessing = scene.witnessing(keeper)
    for count in (3, 4):
        scene.write(count)
        assert await bring(witnessing, keeper, scene) == [True, True]
    assert await bring(witnessing, keeper, scene) == [True, True]
    notes, strange = split_notes(file.read_bytes())
    assert ([parse_note(note)[0].size for note in notes], strange) == ([1, 4, 8], 0)
    assert file.stat().st_mode & 0o777 == 0o640
    scene.close()
    assert verify(scene.evidence, witness=file).witnessed == {"gw-1/control": 1, "gw-1/w1": 8}


def test_a_note_that_a_crash_cut_off_spoils_nothing_but_itself(tmp_path: Path) -> None:
    log, file = GrowingLog(), tmp_path / "sink"
    for cut in range(1, len(log.note(3))):
        file.write_bytes(log.note(2) + log.note(3)[:-cut])
        FileSink(file).take(log.note(4))
        sizes = [parse_note(note)[0].size for note in split_notes(file.read_bytes())[0]]
        assert (sizes[0], sizes[-1]) == (2, 4)


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_file_that_may_only_be_appended_to(tmp_path: Path) -> None:
    log, file = GrowingLog(), tmp_path / "sink"
    file.touch(0o200)
    for size in (1, 2):
        FileSink(file).take(log.note(size))
    file.chmod(0o600)
    assert len(split_notes(file.read_bytes())[0]) == 2


async def test_a_directory_keeps_a_file_each_and_rewrites_none(scene: Scene) -> None:
    place = scene.home / "bucket"
    keeper = SinkKeeper("bucket", DirectorySink(place), 5.0)
    witnessing = scene.witnessing(keeper)
    for count in (3, 4):
        scene.write(count)
        assert await bring(witnessing, keeper, scene) == [True, True]
    files = sorted((place / "gw-1" / "w1").iterdir())
    assert [one.name for one in files] == ["0000000000000004.note", "0000000000000008.note"]
    before = files[1].stat()
    assert await bring(scene.witnessing(keeper), keeper, scene) == [True, True], "kept already"
    assert files[1].stat().st_mtime_ns == before.st_mtime_ns
    scene.write(1)
    other = GrowingLog("other", load_key(scene.storage, scene.home / "keys" / "log-w1.pem"))
    (place / "gw-1" / "w1" / "0000000000000009.note").write_bytes(other.note(9))
    assert await bring(witnessing, keeper, scene) == [True, False]
    assert scene.alarms == [("witness_refuses", "bucket: gw-1/w1: it keeps another log of 9 records")]
    notes = scene.home / "all"
    notes.write_bytes(b"".join(path.read_bytes() for path in sorted(place.rglob("*.note"))))
    scene.close()
    assert [one.grade for one in verify(scene.evidence, witness=notes).findings] == ["tampered"]


def test_a_torn_file_is_no_contradiction(tmp_path: Path) -> None:
    log, sink = GrowingLog(), DirectorySink(tmp_path)
    sink.take(log.note(3))
    path = tmp_path / "gw-1" / "w1" / "0000000000000003.note"
    path.write_bytes(path.read_bytes()[:9])
    with pytest.raises(OSError, match="not whole"):
        sink.take(log.note(3))
    path.write_bytes(GrowingLog("other", log.key).note(3))
    with pytest.raises(Contradiction):
        sink.take(log.note(3))


async def test_a_sink_that_is_not_there_is_a_fault_and_no_alarm(scene: Scene) -> None:
    keeper = SinkKeeper("sink", FileSink(scene.home / "absent" / "sink"), 5.0)
    witnessing = scene.witnessing(keeper)
    assert await bring(witnessing, keeper, scene) == [False, False]
    (scene.home / "absent").mkdir()
    assert await bring(witnessing, keeper, scene) == [True, True]
    assert (scene.alarms, witnessing.fault) == ([], None)
