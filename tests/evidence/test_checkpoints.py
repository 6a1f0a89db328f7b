"""Checkpoints: the note's exact bytes, when one is written, and what they show that a chain cannot."""

from __future__ import annotations

import base64
import errno
import re
import shutil
import subprocess
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from evidence_double import CountedEntropy, DoubleStorage, StepClock
from evidence_samples import WORKER, fill, journal_file, request, result, session
from test_verify import rewrite

from gateway.errors import EvidenceFault
from gateway.evidence import record
from gateway.evidence.checkpoints import EVERY
from gateway.evidence.commit import GroupCommit
from gateway.evidence.entry import Malformed, parse_line
from gateway.evidence.journal import Journal
from gateway.evidence.note import Checkpoint, Signer, Verifier, open_note, parse_note
from gateway.evidence.opening import first_records
from gateway.evidence.storage import DiskStorage
from gateway.evidence.tree import Tree
from gateway.evidence.verify import verify
from gateway.evidence.views import write_views


def signed(state: Path, storage: DiskStorage | None = None, **options: bool) -> Journal:
    """Open the worker's log below `state/evidence` with its key in `state/keys`."""
    directory = state / "evidence" / "logs" / "w1"
    clock = StepClock(step=1)
    clock.at += sum(path.stat().st_size for path in directory.glob("journal/*"))
    keys = state / "keys"
    return Journal.open(directory, WORKER, storage or DiskStorage(), clock, CountedEntropy(), keys=keys, **options)


def write(state: Path, statements: int = 3) -> Path:
    """A log of one session, with a checkpoint before each of its statements and one at the end."""
    journal = signed(state)
    journal.append(record.start("gw-1", "0.1"))
    journal.append(record.session_start(session()))
    for index in range(statements):
        journal.flush()
        journal.checkpoint()
        journal.append(request(2 * index + 1, f"SELECT {index}"))
        journal.append(result(2 * index + 2, 2 * index + 1, f"row {index}"))
    end = record.session_end(
        session(), n=2 * statements + 1, reason="done", statements=statements, denied=0, held=0, rows=statements
    )
    journal.append(end)
    journal.append(record.shutdown("asked to"))
    journal.close()
    return state / "evidence"


def notes(evidence: Path) -> list[int]:
    return sorted(int(one.stem) for one in (evidence / "logs" / "w1" / "checkpoints").glob("[0-9]*.note"))


def test_a_note_is_to_the_byte_what_c2sp_says() -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    signer = Signer("gw-1/w1", key)
    note = signer.sign(Checkpoint("gw-1/w1", 42, bytes(32)))
    public = key.public_key().public_bytes_raw()
    key_id = sha256(b"gw-1/w1\n\x01" + public).digest()[:4]
    text = b"gw-1/w1\n42\n" + base64.b64encode(bytes(32)) + b"\n"
    line = "— gw-1/w1 ".encode() + base64.b64encode(key_id + key.sign(text)) + b"\n"
    assert note == text + b"\n" + line
    assert str(signer.verifier) == f"gw-1/w1+{key_id.hex()}+{base64.b64encode(bytes([1]) + public).decode()}"
    assert Verifier.parse(str(signer.verifier)) == signer.verifier
    assert open_note(note, signer.verifier) == Checkpoint("gw-1/w1", 42, bytes(32))


def test_the_published_example_key_reads() -> None:
    # From the documentation of golang.org/x/mod/sumdb/note, the format's first implementation.
    key = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    assert str(Verifier.parse(key)) == key
    text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
    blob = base64.b64decode(
        "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
    )
    verifier = Verifier.parse(key)
    assert blob[:4] == verifier.key_id
    assert verifier.holds(text, blob[4:])
    assert not verifier.holds(text + "\n", blob[4:])


@pytest.mark.parametrize("name", ["", "gw 1/w1", "gw+1", "gw\n1"])
def test_names_that_a_note_cannot_hold_are_refused(name: str) -> None:
    with pytest.raises(Malformed):
        Signer(name, Ed25519PrivateKey.generate())


def test_a_changed_note_is_refused() -> None:
    signer = Signer("gw-1/w1", Ed25519PrivateKey.generate())
    note = signer.sign(Checkpoint("gw-1/w1", 42, bytes(32)))
    for changed in (
        note.replace(b"42", b"43"),
        note.replace(b"42", b"042"),
        note.replace(b"AAAA", b"AAAB", 1),
        note.replace(b"gw-1", b"gw-2"),
        note[:-1],
        note[:-9] + b"\n",
        note.replace(b"\n\n", b"\n"),
        note.replace("—".encode(), b"-"),
        b"",
        b"\xff" + note,
    ):
        with pytest.raises(Malformed):
            open_note(changed, signer.verifier)
    with pytest.raises(Malformed):
        open_note(note, Signer("gw-1/w1", Ed25519PrivateKey.generate()).verifier)
    again = note + note.splitlines(keepends=True)[-1].replace(b"gw-1/w1", b"witness")
    assert open_note(again, signer.verifier).size == 42
    assert [name for name, _ in parse_note(again)[1]] == ["gw-1/w1", "witness"]


def test_the_checkpoints_of_a_log(tmp_path: Path) -> None:
    evidence = write(tmp_path)
    assert notes(evidence) == [0, 2, 4, 6, 10]
    verifier = Verifier.parse((evidence / "logs" / "w1" / "log.pub").read_text())
    tree = Tree()
    for raw in journal_file(evidence).read_bytes()[:-1].split(b"\n"):
        tree.append(parse_line(raw).entry)
        path = evidence / "logs" / "w1" / "checkpoints" / f"{tree.size}.note"
        if path.exists():
            assert open_note(path.read_bytes(), verifier) == Checkpoint(WORKER, tree.size, tree.root)
    report = verify(evidence)
    assert (report.findings, report.signed, report.keys) == ([], {WORKER: 10}, {WORKER: str(verifier)})


def test_the_private_key_is_nowhere_in_the_evidence_and_for_its_user_alone(tmp_path: Path) -> None:
    evidence = write(tmp_path)
    (key,) = (tmp_path / "keys").iterdir()
    assert key.stat().st_mode & 0o777 == 0o600
    assert b"PRIVATE KEY" in key.read_bytes()
    for path in evidence.rglob("*"):
        assert not path.is_file() or b"PRIVATE" not in path.read_bytes()


def test_openssl_agrees(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl: apt-get install openssl")
    evidence = write(tmp_path)
    note = (evidence / "logs" / "w1" / "checkpoints" / "10.note").read_text()
    text, _, signature = note.partition("\n\n")
    public = base64.b64decode((evidence / "logs" / "w1" / "log.pub").read_text().strip().split("+", 2)[2])[1:]
    der = bytes.fromhex("302a300506032b6570032100") + public
    for name, content in (
        ("text", text.encode() + b"\n"),
        ("sig", base64.b64decode(signature.split(" ")[2])[4:]),
        ("pub", der),
    ):
        (tmp_path / name).write_bytes(content)
    key = ["-pubin", "-keyform", "DER", "-inkey", "pub"]
    command = ["openssl", "pkeyutl", "-verify", *key, "-rawin", "-in", "text", "-sigfile", "sig"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 0
    (tmp_path / "text").write_bytes(text.encode() + b"\n\n")
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 1


def test_only_what_is_durable_is_signed(tmp_path: Path) -> None:
    storage = DoubleStorage()
    journal = signed(tmp_path, storage)
    journal.append(record.session_start(session()))
    journal.checkpoint()
    assert notes(tmp_path / "evidence") == [0]
    journal.flush()
    journal.append(request(1))
    journal.checkpoint()
    assert notes(tmp_path / "evidence") == [0, 1]
    storage.sync_error = OSError(errno.EIO, "the disk says no")
    with pytest.raises(EvidenceFault):
        journal.flush()
    with pytest.raises(EvidenceFault):
        journal.checkpoint()
    journal.close()
    assert notes(tmp_path / "evidence") == [0, 1]


async def wait_for_notes(state: Path, *sizes: int) -> None:
    with trio.fail_after(10):
        while notes(state / "evidence") != [0, *sizes]:
            await trio.sleep(0.005)


async def test_one_is_written_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.evidence.commit.AFTER", 0.05)
    journal = signed(tmp_path)
    group = GroupCommit(journal)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(group.run)
        await group.record(record.alarm(None, None, "test", "one"))
        await wait_for_notes(tmp_path, 1)
        await group.record(record.alarm(None, None, "test", "two"))
        await wait_for_notes(tmp_path, 1, 2)
        nursery.cancel_scope.cancel()
    journal.close()


async def test_one_is_written_after_so_many_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.evidence.commit.AFTER", 1000)
    journal = signed(tmp_path)
    group = GroupCommit(journal)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(group.run)
        for n in range(EVERY):
            ticket = group.append(record.alarm(None, None, "test", str(n)))
        await group.durable(ticket)
        await wait_for_notes(tmp_path, EVERY)
        nursery.cancel_scope.cancel()
    journal.close()


async def test_nothing_new_is_signed_twice(tmp_path: Path) -> None:
    journal = signed(tmp_path)
    journal.append(record.start("gw-1", "0.1"))
    journal.flush()
    journal.checkpoint()
    place = tmp_path / "evidence" / "logs" / "w1" / "checkpoints"
    before = [one.stat().st_ino for one in sorted(place.iterdir())]
    journal.checkpoint()
    journal.close()
    assert [one.stat().st_ino for one in sorted(place.iterdir())] == before


def test_the_view_names_size_root_time_and_signers(tmp_path: Path) -> None:
    import duckdb

    evidence = write(tmp_path)
    note = evidence / "logs" / "w1" / "checkpoints" / "10.note"
    line = note.read_text().splitlines()[-1].replace("gw-1/w1", "witness.example")
    note.write_text(note.read_text() + line + "\n")
    write_views(evidence)
    with duckdb.connect(str(evidence / "evidence.duckdb"), read_only=True) as database:
        found = database.execute("SELECT * FROM checkpoints ORDER BY size").fetchall()
        times = dict(database.execute("SELECT seq + 1, ts FROM records").fetchall())
        leaves = "SELECT sha256(concat(chr(0), entry)) FROM records WHERE seq = 0"
        (leaf,) = database.execute(leaves).fetchone() or ("",)
    roots = {size: parse_note((note.parent / f"{size}.note").read_bytes())[0].root.hex() for size in (2, 4, 6, 10)}
    assert found == [
        (WORKER, size, roots[size], times[size], WORKER, ["witness.example"] if size == 10 else [])
        for size in (2, 4, 6, 10)
    ]
    first = parse_line(journal_file(evidence).read_bytes().split(b"\n")[0]).entry
    assert leaf == sha256(b"\0" + first).hexdigest(), "DuckDB's own sha256() checks a leaf"
    assert verify(evidence).intact


Attack = Callable[[Path], None]


def lines_of(evidence: Path, change: Callable[[list[bytes]], None]) -> None:
    path = journal_file(evidence)
    lines = path.read_bytes()[:-1].split(b"\n")
    change(lines)
    path.write_bytes(b"\n".join(lines) + b"\n")


def forge_chain(evidence: Path) -> None:
    lines_of(evidence, lambda lines: rewrite(lines, 3, lambda entry: entry.update(rows=7)))


def cut_tail(evidence: Path) -> None:
    lines_of(evidence, lambda lines: lines.__delitem__(slice(8, None)))


def cut_to_nothing(evidence: Path) -> None:
    journal_file(evidence).write_bytes(b"")


def drop_newest(evidence: Path) -> None:
    (evidence / "logs" / "w1" / "checkpoints" / "10.note").unlink()


def drop_all(evidence: Path) -> None:
    for size in (2, 4, 6, 10):
        (evidence / "logs" / "w1" / "checkpoints" / f"{size}.note").unlink()


def drop_key(evidence: Path) -> None:
    (evidence / "logs" / "w1" / "log.pub").unlink()


def other_key(evidence: Path) -> None:
    signer = Signer(WORKER, Ed25519PrivateKey.generate())
    (evidence / "logs" / "w1" / "log.pub").write_text(f"{signer.verifier}\n")


def edit_note(evidence: Path) -> None:
    path = evidence / "logs" / "w1" / "checkpoints" / "6.note"
    path.write_bytes(path.read_bytes().replace(b"\n6\n", b"\n7\n"))


def swap_notes(evidence: Path) -> None:
    place = evidence / "logs" / "w1" / "checkpoints"
    (place / "6.note").write_bytes((place / "4.note").read_bytes())


def spoil_key(evidence: Path) -> None:
    (evidence / "logs" / "w1" / "log.pub").write_text("nonsense")


ATTACKS = [
    (forge_chain, "not those that checkpoint 4 was signed over"),
    (cut_tail, "covers more: its end is cut off"),
    (cut_to_nothing, "covers more: its end is cut off"),
    (drop_newest, "4 records at the end are covered by no checkpoint"),
    (drop_all, "10 records at the end are covered by no checkpoint"),
    (drop_key, "log.pub is missing"),
    (other_key, "not signed by the log's key"),
    (edit_note, "signature does not hold|of size"),
    (swap_notes, "it is of size 4"),
    (spoil_key, "not an Ed25519 verifier key"),
]


@pytest.mark.parametrize(("attack", "what"), ATTACKS, ids=lambda one: getattr(one, "__name__", ""))
def test_what_a_chain_cannot_show(tmp_path: Path, attack: Attack, what: str) -> None:
    evidence = write(tmp_path)
    attack(evidence)
    report = verify(evidence)
    assert not report.intact
    assert any(re.search(what, one.what) for one in report.findings), report.findings


@pytest.mark.parametrize("attack", [forge_chain, cut_tail, cut_to_nothing, edit_note, spoil_key, drop_key, other_key])
def test_the_gateway_does_not_start_on_it(tmp_path: Path, attack: Attack) -> None:
    write(tmp_path)
    attack(tmp_path / "evidence")
    if attack is edit_note:  # only the newest one counts at start
        shutil.copy(*(tmp_path / "evidence" / "logs" / "w1" / "checkpoints" / f"{size}.note" for size in (6, 10)))
    before = journal_file(tmp_path / "evidence").read_bytes()
    with pytest.raises(EvidenceFault, match="restore"):
        signed(tmp_path)
    assert journal_file(tmp_path / "evidence").read_bytes() == before


def test_a_key_that_is_gone_or_another_refuses_to_start(tmp_path: Path) -> None:
    write(tmp_path)
    (key,) = (tmp_path / "keys").iterdir()
    content = key.read_bytes()
    key.write_bytes(b"nonsense")
    with pytest.raises(EvidenceFault, match="no Ed25519 key"):
        signed(tmp_path)
    key.unlink()
    with pytest.raises(EvidenceFault, match="is missing"):
        signed(tmp_path)
    key.write_bytes(content)
    signed(tmp_path).close()


def test_accept_loss_sets_the_lost_checkpoints_aside_and_says_so(tmp_path: Path) -> None:
    evidence = write(tmp_path)
    cut_tail(evidence)
    journal = signed(tmp_path, accept_loss=True)
    drafts = first_records(journal, "gw-1", "0.1")
    assert [one.kind for one in drafts] == ["start", "gap", "session_end"]
    for draft in drafts:
        journal.append(draft)
    journal.close()
    assert notes(evidence) == [0, 2, 4, 6, 11]
    assert [one.name for one in (evidence / "logs" / "w1" / "torn").iterdir()] == ["10.note"]
    findings = verify(evidence).findings
    assert [one.grade for one in findings] == ["incomplete", "note"]
    signed(tmp_path).close()


def test_a_log_that_nobody_signed_is_incomplete(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "logs" / "w2").mkdir()  # without records nothing is to be signed
    for quick in (False, True):
        report = verify(tmp_path, quick=quick)
        (finding,) = report.findings
        assert (finding.grade, finding.log, finding.seq) == ("incomplete", "gw-1/w1", 0)
        assert finding.what.startswith("nobody signed this log")
        assert report.signed == {}


def test_the_directory_brings_what_checks_it_and_the_page_is_true(tmp_path: Path) -> None:
    """`VERIFY.md`: its SQL in DuckDB, its commands in a shell, on every checkpoint."""
    import duckdb

    evidence = write(tmp_path)
    write_views(evidence)
    page = (evidence / "VERIFY.md").read_text()
    (sql,) = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    shell, _ = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)  # the second is tried in `test_time_stamps`
    witnessed = evidence / "logs" / "w1" / "checkpoints" / "10.note"
    witnessed.write_text(f"{witnessed.read_text()}\u2014 witness.test/w1 {'A' * 100}\n")  # a line of somebody else's
    for size in (2, 4, 6, 10):
        with duckdb.connect(str(evidence / "evidence.duckdb"), read_only=True) as database:
            asked = sql.replace("'LOG'", f"'{WORKER}'").replace("SIZE", str(size))
            assert [one[0] for one in database.execute(asked).fetchall()] == [True]
        if shutil.which("openssl") is None:
            pytest.skip("needs openssl: apt-get install openssl")
        command = shell.replace("DIR", "w1").replace("SIZE", str(size)).replace("/tmp/", f"{tmp_path}/")
        done = subprocess.run(["bash", "-e", "-c", command], cwd=evidence, capture_output=True, text=True)
        assert (done.returncode, "Verified Successfully" in done.stdout) == (0, True), done.stderr


def test_verify_says_whose_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from gateway.__main__ import main

    evidence = write(tmp_path)
    key = (evidence / "logs" / "w1" / "log.pub").read_text().split("+")[1]
    assert main(["evidence", "verify", str(evidence)]) == 0
    assert f"gw-1/w1: 10 records, 10 of them signed by key {key}; head " in capsys.readouterr().out
