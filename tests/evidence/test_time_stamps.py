"""Time stamps of RFC 3161 by a real authority (`openssl ts`): asked for, kept, recorded, checked by both."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from test_standalone_verify import says
from test_witnessing import Scene, bring, witness, write_views_of
from time_stamping import Authority, make_authority, stamping

from gateway.evidence import stamp
from gateway.evidence.entry import Malformed
from gateway.evidence.sinks import FileSink
from gateway.evidence.verify import verify
from gateway.evidence.witness_service import make_witness
from gateway.identity.http_server import Request, Response
from gateway.keepers import SinkKeeper
from gateway.stamping import StampKeeper, certificates_in, why_no_stamp
from gateway.witnessing import ALONE
from requires import requires

VERIFY_MD = Path(__file__).parents[2] / "gateway" / "evidence" / "VERIFY.md"


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    found = Scene(tmp_path)
    found.open()
    return found


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return make_authority(tmp_path / "tsa")


def keeper(scene: Scene, authority: Authority, url: str) -> StampKeeper:
    roots = certificates_in(authority.certificates)
    return StampKeeper(urlsplit(url), roots, scene.logs[0], scene.storage, 3600.0)


async def stamped(scene: Scene, authority: Authority) -> Path:
    """Have both logs stamped once; return the stamp of the worker's log of three records."""
    scene.write(2)
    async with stamping(authority) as url:
        made = keeper(scene, authority, url)
        assert await bring(scene.witnessing(made), made, scene) == [True, True]
    (scene.evidence / "tsa.pem").write_bytes(authority.certificates.read_bytes())
    return scene.evidence / "logs" / "w1" / "checkpoints" / "3.tsr"


def entries(scene: Scene) -> list[dict[str, object]]:
    with write_views_of(scene.evidence) as database:
        found = database.execute("SELECT entry FROM records WHERE kind = 'witness' ORDER BY seq").fetchall()
        return [json.loads(entry) for (entry,) in found]


async def test_a_stamp_is_kept_recorded_and_checked(scene: Scene, authority: Authority) -> None:
    path = await stamped(scene, authority)
    scene.close()
    told = entries(scene)
    assert [(one["origin"], one["size"], one["cosignature"]) for one in told] == [
        ("gw-1/control", 1, ""),
        ("gw-1/w1", 3, ""),
    ]
    assert str(told[1]["witness"]).startswith("rfc3161:127.0.0.1:")
    note = path.with_suffix(".note").read_bytes()
    assert stamp.check(path.read_bytes(), note, certificates_in(authority.certificates)) > 0
    assert verify(scene.evidence).findings == []
    assert verify(scene.evidence, quick=True).findings == []
    assert says(scene.evidence)


async def test_openssl_alone_can_check_it_as_the_page_says(scene: Scene, authority: Authority) -> None:
    path = await stamped(scene, authority)
    page = VERIFY_MD.read_text().split("### A time stamp", 1)[1]
    commands = re.search(r"```sh\n(.*?)```", page, re.DOTALL)
    assert commands is not None
    shell = commands[1].replace("logs/DIR", "logs/w1").replace("SIZE", "3").replace("/tmp/", f"{scene.home}/")
    done = subprocess.run(["sh", "-e", "-c", shell], cwd=scene.evidence, capture_output=True, text=True)
    assert (done.returncode, "Verification: OK" in done.stdout) == (0, True), done.stderr
    other = (scene.evidence / "logs/control/checkpoints/1.tsr").read_bytes()
    path.write_bytes(other)
    assert subprocess.run(["sh", "-e", "-c", shell], cwd=scene.evidence, capture_output=True).returncode != 0
    assert requires("openssl")


async def test_a_witness_s_line_in_the_same_file_changes_nothing(scene: Scene, authority: Authority) -> None:
    make_witness(scene.place, "witness.test/w1", scene.storage, scene_entropy())
    path = await stamped(scene, authority)
    before = stamp.stamped(path.with_suffix(".note").read_bytes())
    async with witness(scene) as other:
        assert await bring(scene.witnessing(other), other, scene) == [True, True]
    note = path.with_suffix(".note").read_bytes()
    assert (len(note.splitlines()), stamp.stamped(note)) == (6, before)
    (scene.evidence / "witness.pub").write_bytes((scene.place / "witness.pub").read_bytes())
    scene.close()
    assert verify(scene.evidence).findings == []


def scene_entropy() -> object:
    from evidence_double import CountedEntropy

    return CountedEntropy()


def swapped(path: Path) -> None:
    path.write_bytes((path.parents[2] / "control/checkpoints/1.tsr").read_bytes())


FORGED: list[tuple[str, Callable[[Path], object], str, str]] = [
    ("changed", lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\0"), "tampered", "not the one that was rec"),
    ("of another checkpoint", swapped, "tampered", "is not the one that was recorded"),
    ("taken away", lambda path: path.unlink(), "incomplete", "is gone"),
    ("no certificates", lambda path: (path.parents[3] / "tsa.pem").unlink(), "note", "only their digests were checked"),
]


@pytest.mark.parametrize(("change", "grade", "what"), [one[1:] for one in FORGED], ids=[one[0] for one in FORGED])
async def test_what_became_of_a_stamp_is_found(
    scene: Scene, authority: Authority, change: Callable[[Path], object], grade: str, what: str
) -> None:
    path = await stamped(scene, authority)
    scene.close()
    change(path)
    (finding,) = verify(scene.evidence).findings
    assert (finding.grade, what in finding.what) == (grade, True), finding
    assert says(scene.evidence) == (grade == "note")


async def test_another_authority_s_certificates_do_not_do(scene: Scene, authority: Authority, tmp_path: Path) -> None:
    await stamped(scene, authority)
    scene.close()
    (scene.evidence / "tsa.pem").write_bytes(make_authority(tmp_path / "other").certificates.read_bytes())
    findings = verify(scene.evidence).findings
    assert {(one.grade, one.what.partition(": ")[2]) for one in findings} == {
        ("tampered", "the stamp does not hold: it does not lead to the certificates given")
    }


async def test_a_stamp_does_not_count_as_seen_outside(scene: Scene, authority: Authority) -> None:
    async with stamping(authority) as url:
        made = keeper(scene, authority, url)
        witnessing = scene.witnessing(made)
        assert await bring(witnessing, made, scene) == [True, True]
        assert (witnessing.reached(), witnessing.seen(scene.logs[1])) == (None, None)
        assert "witnessed" not in dict(witnessing.head(scene.logs[1]) or {})  # type: ignore[arg-type, call-overload]
        (told,) = witnessing.describe()
        assert (told["name"], told["fault"]) == (made.name, None)
        witnessing = scene.witnessing(made, SinkKeeper("sink", FileSink(scene.home / "sink"), 5.0))
        assert await bring(witnessing, made, scene) == [True, True]
        assert witnessing.reached() == {"gw-1/control": 0, "gw-1/w1": 0}


async def test_an_idle_log_is_stamped_once(scene: Scene, authority: Authority) -> None:
    async with stamping(authority) as url:
        made = keeper(scene, authority, url)
        witnessing = scene.witnessing(made)
        for _ in range(3):
            assert await bring(witnessing, made, scene) == [True, True]
            scene.sign()
    assert authority.asked == 2


BAD: list[tuple[str, Callable[[Authority, Request], Iterable[Response]], str]] = [
    ("500", lambda _a, _r: [Response(500, b"\x1b[2J")], "it answered 500"),
    ("nothing", lambda _a, _r: [Response(200, b"")], "it is no answer of RFC 3161"),
    ("a page", lambda _a, _r: [Response(200, b"<html>")], "it is no answer of RFC 3161"),
    ("too much", lambda _a, _r: [Response(200, bytes(1 << 17))], "too long"),
    ("a refusal", lambda _a, _r: [Response(200, bytes.fromhex("30053003020102"))], "no stamp was given (status 2)"),
    ("one of before", lambda a, _r: [Response(200, (a.place / "old").read_bytes())], "it answers another request"),
]


@pytest.mark.parametrize(("answers", "words"), [one[1:] for one in BAD], ids=[one[0] for one in BAD])
async def test_what_an_authority_answers_is_not_believed(
    scene: Scene,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    answers: Callable[[Authority, Request], Iterable[Response]],
    words: str,
) -> None:
    note = (scene.evidence / "logs/w1/checkpoints/1.note").read_bytes()
    (authority.place / "old").write_bytes(authority.stamp(stamp.request(note).body))
    monkeypatch.setattr(authority, "answer", lambda request: next(iter(answers(authority, request))))
    async with stamping(authority) as url:
        made = keeper(scene, authority, url)
        witnessing = scene.witnessing(made)
        assert await witnessing.bring(made, scene.logs[1]) is False
        (told,) = witnessing.describe()
        assert words in str(told["fault"])
        assert str(told["fault"]).isprintable()
        fault = str(await why_no_stamp(urlsplit(url), authority.certificates))
        assert (fault.startswith("evidence.timestamp.url: "), words in fault) == (True, True)
    assert not list(scene.evidence.glob("logs/*/checkpoints/*.tsr"))
    assert entries(scene) == []


async def test_a_certificate_for_something_else_is_none(scene: Scene, tmp_path: Path, authority: Authority) -> None:
    note = (scene.evidence / "logs/w1/checkpoints/1.note").read_bytes()
    found = authority.stamp(stamp.request(note).body)
    other = make_authority(tmp_path / "mail", purpose=x509.ExtendedKeyUsageOID.EMAIL_PROTECTION)
    with pytest.raises(Malformed, match="does not lead to the certificates given"):
        stamp.check(found, note, certificates_in(other.certificates))
    with pytest.raises(Malformed, match="over something else"):
        stamp.check(found, note.replace(b"gw-1/w1", b"gw-1/w2"), certificates_in(authority.certificates))


async def test_an_authority_that_is_silent_for_long_is_an_alarm_once(scene: Scene, authority: Authority) -> None:
    async with stamping(authority) as url:
        pass
    made = keeper(scene, authority, url)
    witnessing = scene.witnessing(made)
    assert await bring(witnessing, made, scene) == [False, False]
    witnessing.tell_alone()
    assert scene.alarms == []
    scene.clock.at += ALONE
    witnessing.tell_alone()
    witnessing.tell_alone()
    ((name, detail),) = scene.alarms
    assert (name, made.name in detail, "cannot be reached" in detail) == ("timestamp_silent", True, True)
    assert witnessing.fault is None, "it is no reason to be unwell"


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "no certificates in PEM"), (b"-----BEGIN PRIVATE KEY-----\n", "no certificates")]
)
def test_certificates_that_are_none_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(Malformed, match=words):
        stamp.read_certificates(content)


def test_a_private_key_beside_them_is_refused(authority: Authority) -> None:
    both = (authority.place / "tsa.pem").read_bytes() + (authority.place / "tsa.key").read_bytes()
    with pytest.raises(Malformed, match="private key"):
        stamp.read_certificates(both)
