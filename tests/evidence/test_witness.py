"""A witness: its cosignature's exact bytes, what it refuses with which status, and that it never forgets."""

from __future__ import annotations

import base64
import http.client
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest
from evidence_double import StepClock
from hypothesis import given
from hypothesis import strategies as st
from witness_samples import LOG, NAME, GrowingLog, cosigner

from gateway.__main__ import main
from gateway.errors import EvidenceFault
from gateway.evidence.cosignature import CosignerKey, cosignatures, split_notes
from gateway.evidence.entry import Malformed
from gateway.evidence.growth import KEPT, Leaves, proof
from gateway.evidence.note import Checkpoint, open_note
from gateway.evidence.proof import grown
from gateway.evidence.storage import DiskStorage, SystemEntropy
from gateway.evidence.tree import EMPTY, leaf
from gateway.evidence.witness import SIZE, Submission, Witness
from gateway.evidence.witness_service import WitnessService, make_witness
from gateway.identity.http_server import Request


def test_a_cosignature_is_to_the_byte_what_c2sp_says() -> None:
    key = cosigner()
    checkpoint = Checkpoint(LOG, 42, bytes(32))
    public = key.public.key
    key_id = sha256(NAME.encode() + b"\n\x04" + public).digest()[:4]
    line = key.cosign(checkpoint, 1_679_315_147)
    dash, name, blob = line.rstrip("\n").split(" ")
    raw = base64.b64decode(blob)
    assert (dash, name, raw[:4], raw[4:12]) == ("—", NAME, key_id, (1_679_315_147).to_bytes(8, "big"))
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    message = b"cosignature/v1\ntime 1679315147\ngw-1/w1\n42\n" + base64.b64encode(bytes(32)) + b"\n"
    Ed25519PublicKey.from_public_bytes(public).verify(raw[12:], message)
    assert str(key.public) == f"{NAME}+{key_id.hex()}+{base64.b64encode(bytes([4]) + public).decode()}"
    assert CosignerKey.parse(str(key.public)) == key.public
    assert key.public.time(checkpoint, raw) == 1_679_315_147
    for changed in (raw[:-1], raw + b"\0", raw[:11] + b"\0" + raw[12:], b"\0" + raw[1:], b""):
        assert key.public.time(checkpoint, changed) is None
    assert key.public.time(Checkpoint(LOG, 43, bytes(32)), raw) is None


@pytest.mark.parametrize(
    "text",
    ["", "a+b+c", "gw-1/w1+00000000+AQ==", str(GrowingLog().signer.verifier)],
    ids=["none", "short", "zero", "log"],
)
def test_other_keys_are_no_witness_keys(text: str) -> None:
    with pytest.raises(Malformed):
        CosignerKey.parse(text)


def test_of_an_answer_only_what_holds_is_taken() -> None:
    key, checkpoint = cosigner(), Checkpoint(LOG, 42, bytes(32))
    line = key.cosign(checkpoint, 7)
    other = key.cosign(Checkpoint(LOG, 41, bytes(32)), 7)
    ((found, blob),) = cosignatures((other + line).encode(), checkpoint, [key.public])
    assert (found, key.public.time(checkpoint, blob)) == (key.public, 7)
    assert cosignatures(other.encode(), checkpoint, [key.public]) == []
    for nonsense in (b"", b"\xff\n", b"42\n", line.encode()[:-1]):
        with pytest.raises(Malformed):
            cosignatures(nonsense, checkpoint, [key.public])


@given(st.integers(1, 70), st.integers(0, 70))
def test_the_leaves_in_memory_prove_growth(old: int, more: int) -> None:
    log = GrowingLog()
    size = old + more
    found = log.proof(old, size)
    assert grown(old, log.state(old).root, size, log.state(size).root, found)
    if more:
        assert not grown(old, GrowingLog("other").state(old).root, size, log.state(size).root, found)


def test_leaves_forget_the_oldest_and_say_so() -> None:
    leaves = Leaves(5)
    for number in range(KEPT + 3):
        leaves.add(leaf(b"%d" % number))
    assert leaves.between(5, 6) is None
    assert leaves.between(8, 9) == [leaf(b"3")]
    assert leaves.between(leaves.size, leaves.size) == []
    assert leaves.between(leaves.size, leaves.size + 1) is None
    with pytest.raises(ValueError, match="leaves between"):
        proof(GrowingLog().state(3), [], 5)


def witness(log: GrowingLog, size: int = 0) -> Witness:
    """A witness that has signed the log at `size`."""
    made = Witness(cosigner(), [log.signer.verifier], [])
    if size:
        verdict = made.add_checkpoint(log.submission(0, size), 1)
        assert verdict.status == 200
        assert verdict.keep is not None
        made.kept(verdict.keep[1])
    return made


LOG_1 = GrowingLog()
FORKED = GrowingLog("other words", LOG_1.key)
STRANGER = GrowingLog()
ELSEWHERE = GrowingLog(name="gw-9/w1")

CASES: list[tuple[str, int, bytes, int]] = [
    ("the first one", 0, LOG_1.submission(0, 7), 200),
    ("growth", 7, LOG_1.submission(7, 12), 200),
    ("the same again", 7, LOG_1.submission(7, 7), 200),
    ("an empty log", 0, LOG_1.submission(0, 0), 200),
    ("an unknown log", 0, ELSEWHERE.submission(0, 7), 404),
    ("a key that is not the log's", 0, STRANGER.submission(0, 7), 403),
    ("an old size above the new one", 7, LOG_1.submission(7, 12).replace(b"old 7", b"old 13"), 400),
    ("an old size that is not the last one", 7, LOG_1.submission(0, 12), 409),
    ("a roll-back", 7, LOG_1.submission(0, 5), 409),
    ("a roll-back that names the last size", 7, LOG_1.submission(0, 5).replace(b"old 0", b"old 7"), 400),
    ("another log of the same size", 7, FORKED.submission(7, 7), 409),
    ("another log that is longer", 7, FORKED.submission(7, 12), 422),
    ("no proof", 7, Submission(7, (), LOG_1.note(12)).encode(), 422),
    ("a proof of something else", 7, Submission(7, tuple(LOG_1.proof(6, 12)), LOG_1.note(12)).encode(), 422),
    ("a proof from nothing", 0, Submission(0, (EMPTY,), LOG_1.note(12)).encode(), 422),
    ("nothing", 0, b"", 400),
    ("no note", 0, b"old 0\n\n", 400),
    ("a leading zero", 7, LOG_1.submission(7, 12).replace(b"old 7", b"old 07"), 400),
    ("a negative size", 0, LOG_1.submission(0, 7).replace(b"old 0", b"old -1"), 400),
    ("too many hashes", 0, Submission(0, (EMPTY,) * 64, LOG_1.note(7)).encode(), 400),
    ("a short hash", 0, LOG_1.submission(0, 7).replace(b"old 0\n", b"old 0\nAAAA\n"), 400),
    ("no text", 0, b"\xff\xfe", 400),
]


@pytest.mark.parametrize(("size", "body", "status"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_is_signed_and_what_is_refused(size: int, body: bytes, status: int) -> None:
    made = witness(LOG_1, size)
    verdict = made.add_checkpoint(body, 2)
    assert verdict.status == status, verdict
    if status == 200:
        note = body.partition(b"\n\n")[2]
        checkpoint = open_note(note, LOG_1.signer.verifier)
        assert [one for one, _ in cosignatures(verdict.body, checkpoint, [cosigner().public])] == [cosigner().public]
        assert verdict.keep == (LOG, note + verdict.body)
    else:
        assert verdict.keep is None
        assert made.latest.get(LOG, Checkpoint(LOG, 0, EMPTY)).size == size
    if status == 409:
        assert (verdict.body, verdict.kind) == (b"%d\n" % size, SIZE)


def test_a_contradiction_is_kept_as_proof() -> None:
    made = witness(LOG_1, 7)
    for body in (FORKED.submission(7, 7), FORKED.submission(7, 12)):
        verdict = made.add_checkpoint(body, 2)
        assert verdict.proves == body.partition(b"\n\n")[2]
    assert made.add_checkpoint(LOG_1.submission(0, 5), 2).proves is None


def test_signatures_of_others_are_neither_believed_nor_kept() -> None:
    body = LOG_1.submission(0, 7) + STRANGER.note(7).splitlines(keepends=True)[-1]
    verdict = witness(LOG_1).add_checkpoint(body, 2)
    assert verdict.keep == (LOG, LOG_1.note(7) + verdict.body)


def test_a_witness_takes_up_nothing_that_it_did_not_sign() -> None:
    Witness(cosigner(), [], [LOG_1.note(7) + cosigner().cosign(Checkpoint(LOG, 7, LOG_1.state(7).root), 1).encode()])
    with pytest.raises(EvidenceFault, match="never signed"):
        Witness(cosigner(), [], [LOG_1.note(7)])


# --- the service -------------------------------------------------------------------------------------------------


def post(body: bytes, path: str = "/add-checkpoint", method: str = "POST") -> Request:
    return Request(method, path, {}, body)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    from evidence_double import CountedEntropy

    make_witness(tmp_path / "w", NAME, DiskStorage(), CountedEntropy())
    return tmp_path / "w"


def test_making_one_that_was_cut_is_done_again_and_a_witness_never_is(place: Path) -> None:
    (place / "witness.pem").unlink()
    make_witness(place, NAME, DiskStorage(), SystemEntropy())
    with service(place) as one:
        assert one.answer(post(LOG_1.submission(0, 7))).status == 200
    with pytest.raises(EvidenceFault, match="would sign what this one refused"):
        make_witness(place, NAME, DiskStorage(), SystemEntropy())
    (place / "witness.pem").unlink()
    with pytest.raises(EvidenceFault, match="would sign what this one refused"):
        make_witness(place, NAME, DiskStorage(), SystemEntropy())


@contextmanager
def service(place: Path) -> Iterator[WitnessService]:
    with WitnessService.open(place, [LOG_1.signer.verifier], DiskStorage(), StepClock()) as found:
        yield found


def test_what_was_signed_is_remembered_over_a_restart_and_is_what_verify_takes(place: Path) -> None:
    with service(place) as one:
        assert one.answer(post(LOG_1.submission(0, 7))).status == 200
        assert one.answer(post(LOG_1.submission(7, 9), "/somewhere/add-checkpoint")).status == 200
    with service(place) as one:
        assert one.answer(post(LOG_1.submission(0, 5))).status == 409
        assert one.answer(post(FORKED.submission(9, 12))).status == 422
        assert one.answer(post(LOG_1.submission(9, 12))).status == 200
    ((note,), strange) = split_notes((place / "notes").read_bytes())
    assert (open_note(note, LOG_1.signer.verifier).size, strange) == (12, 0)
    assert (place / "refused").read_bytes() == FORKED.note(12)
    assert (place / "witness.pem").stat().st_mode & 0o777 == 0o600


def test_nothing_is_signed_that_cannot_be_kept(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = DiskStorage()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with WitnessService.open(place, [LOG_1.signer.verifier], storage, StepClock()) as one:
        monkeypatch.setattr(storage, "replace", full)
        with pytest.raises(OSError, match="No space"):
            one.answer(post(LOG_1.submission(0, 7)))
        monkeypatch.undo()
        assert one.answer(post(FORKED.submission(0, 7))).status == 200, "nothing was signed yet"


def _no_state(place: Path) -> None:
    (place / "notes").unlink()


def _no_key(place: Path) -> None:
    (place / "witness.pem").unlink()


def _other_key(place: Path) -> None:
    (place / "witness.pub").write_text(f"{cosigner().public}\n")


def _torn_state(place: Path) -> None:
    (place / "notes").write_bytes(LOG_1.note(7)[:-5])


def _foreign_state(place: Path) -> None:
    (place / "notes").write_bytes(LOG_1.note(7))


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (_no_state, "must not go on"),
        (_no_key, "holds no witness"),
        (_other_key, "not the key of"),
        (_torn_state, "no note"),
        (_foreign_state, "never signed"),
    ],
)
def test_a_directory_that_is_not_whole_is_refused(place: Path, trouble: Callable[[Path], None], words: str) -> None:
    trouble(place)
    with pytest.raises(EvidenceFault, match=words), service(place):
        pass


def test_one_process_alone_and_no_second_witness_in_its_place(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with service(place), pytest.raises(EvidenceFault, match="in use by another witness"), service(place):
        pass
    assert main(["witness", "init", str(place), "--name", NAME]) == 2
    assert "holds a witness already" in capsys.readouterr().err


class Running:
    """`hoop-gateway witness serve`, over HTTP."""

    def __init__(self, place: Path, log: Path) -> None:
        command = [sys.executable, "-m", "gateway", "witness", "serve", str(place)]
        command += ["--listen", "127.0.0.1:0", "--log", str(log)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().removeprefix("ready ").strip()

    def ask(self, body: bytes, method: str = "POST", path: str = "/add-checkpoint") -> tuple[int, str | None, bytes]:
        connection = http.client.HTTPConnection(self.address, timeout=10)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.getheader("content-type"), answer.read()
        finally:
            connection.close()

    def end(self, kill: bool = False) -> int:
        (self.process.kill if kill else self.process.terminate)()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return self.process.wait(10)


def test_the_service_over_http_and_over_kill_9(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place, log = tmp_path / "w", tmp_path / "log.pub"
    assert main(["witness", "init", str(place), "--name", NAME]) == 0
    key = CosignerKey.parse(capsys.readouterr().out)
    log.write_text(f"{LOG_1.signer.verifier}\n")
    running = Running(place, log)
    try:
        status, _, answer = running.ask(LOG_1.submission(0, 7))
        assert (status, len(cosignatures(answer, Checkpoint(LOG, 7, LOG_1.state(7).root), [key]))) == (200, 1)
        assert running.ask(LOG_1.submission(0, 9)) == (409, SIZE, b"7\n")
        assert running.ask(FORKED.submission(7, 9))[0] == 422
        assert running.ask(ELSEWHERE.submission(0, 9))[0] == 404
        assert running.ask(STRANGER.submission(0, 9))[0] == 403
        assert running.ask(b"nonsense")[0] == 400
        assert running.ask(b"x" * 100_000)[0] == 413
        assert running.ask(b"", "GET")[0] == 405
        assert running.ask(b"", path="/")[0] == 404
        running.end(kill=True)
        running = Running(place, log)
        assert running.ask(LOG_1.submission(0, 9)) == (409, SIZE, b"7\n")
        assert running.ask(LOG_1.submission(7, 9))[0] == 200
    finally:
        code = running.end()
    assert code == 0


@pytest.mark.parametrize("argument", ["--listen=nonsense", "--listen=192.0.2.1:0", "--log=/nowhere", "--tls-cert=x"])
def test_a_start_that_cannot_be_is_one_line(tmp_path: Path, argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    place, log = tmp_path / "w", tmp_path / "log.pub"
    main(["witness", "init", str(place), "--name", NAME])
    log.write_text(f"{LOG_1.signer.verifier}\n")
    capsys.readouterr()
    assert main(["witness", "serve", str(place), "--log", str(log), argument]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("hoop-gateway: ")
