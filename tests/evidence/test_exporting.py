"""An export is whole, counted, and proves itself; nobody changes it unseen."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import duckdb
import pytest
from evidence_double import CountedEntropy, StepClock
from hypothesis import given
from hypothesis import strategies as st
from test_erasing import SECRET, erase, seq_of, write

from gateway.errors import ConfigurationFault, EvidenceFault
from gateway.evidence import record, standalone
from gateway.evidence.export import Made, Wanted, export
from gateway.evidence.export_check import check_export
from gateway.evidence.export_tree import root_over, uncovered
from gateway.evidence.journal import Journal
from gateway.evidence.reader import select
from gateway.evidence.storage import DiskStorage
from gateway.evidence.tree import Tree, leaf
from gateway.evidence.verifiers import VIEWS, derivation, verify_export_script
from gateway.model import LogName

MADE = Made("2026-11-25T10:00:00.000000Z", "dana", "audit", "0.1")


def made(evidence: Path, out: Path, wanted: Wanted | None = None, *, live: bool = False) -> dict[str, int]:
    return export(evidence, out, wanted or Wanted(), MADE, live, lambda done, total: None)


def alone(path: Path, *keys: str) -> bool:
    """Run `verify_export.py` as an auditor would, who has nothing else; say whether it says intact."""
    script = path.with_name("verify_export.py")
    script.write_text(verify_export_script())
    given = [path.with_name(f"{place}.pub") for place in range(len(keys))]
    for place, key in zip(given, keys, strict=True):
        place.write_text(f"{key}\n")
    command = [sys.executable, "-I", str(script), str(path), *map(str, given)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stderr == ""
    assert (done.returncode == 0) == (done.stdout.splitlines()[-1] == "intact"), done.stdout
    return done.returncode == 0


def test_the_script_imports_nothing_of_ours() -> None:
    tree = ast.parse(verify_export_script())
    imported = {one.module or "" for one in ast.walk(tree) if isinstance(one, ast.ImportFrom)}
    imported |= {name.name for one in ast.walk(tree) if isinstance(one, ast.Import) for name in one.names}
    ours = {name.split(".")[0] for name in imported} - set(sys.stdlib_module_names)
    assert ours == {"blake3", "cryptography", "duckdb"}


def tables(path: Path, sql: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(path), read_only=True) as database:
        return database.execute(sql).fetchall()


def test_an_export_of_everything_says_what_the_evidence_says(tmp_path: Path) -> None:
    evidence, out = write(tmp_path / "gw"), tmp_path / "out.duckdb"
    counts = made(evidence, out)
    found = check_export(out)
    assert found.intact, found.findings
    assert not found.findings
    assert alone(out)
    held = dict(tables(out, "FROM programs"))
    assert held == {"derivation.sql": derivation(), "verify_export.py": verify_export_script()}
    assert sha256(derivation().encode()).hexdigest() in verify_export_script()
    for name in VIEWS:
        order = "ORDER BY ALL"
        _, rows = select(evidence, f"FROM {name} {order}")
        assert tables(out, f"FROM {name} {order}") == rows, name
        assert counts[name] == len(rows)
    assert counts["entries"] == counts["records"]
    assert tables(out, "SELECT made_by, reason FROM manifest") == [("dana", "audit")]
    assert out.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert b"DUCK" in out.read_bytes()[:16]


def test_an_export_of_a_session_holds_it_and_proves_it(tmp_path: Path) -> None:
    evidence, out = write(tmp_path / "gw"), tmp_path / "out.duckdb"
    made(evidence, out, Wanted(session="s-2"))
    keys = [(evidence / "logs" / log / "log.pub").read_text().strip() for log in ("w1", "control")]
    found = check_export(out, keys)
    assert found.intact, found.findings
    assert alone(out, *keys)
    assert not alone(out, keys[0])
    assert not check_export(out, keys[:1]).intact
    assert tables(out, "SELECT DISTINCT session_id FROM records") == [("s-2",)]
    assert tables(out, "SELECT session_id, statements, end_reason FROM sessions") == [("s-2", 1, "client")]
    assert tables(out, "SELECT sql FROM statements") == [(f"SELECT '{SECRET}' AS s_2",)]
    taken, size = found.records["gw-1/w1"]
    assert 0 < taken < size
    assert found.records["gw-1/control"][0] == 0
    assert check_export(out, ["gw-1/w1+00000000+AAAA"]).intact is False


def test_an_export_of_a_time_holds_all_of_it_and_the_beginnings_of_its_sessions(tmp_path: Path) -> None:
    evidence, out = write(tmp_path / "gw"), tmp_path / "out.duckdb"
    at = "strftime(ts, '%Y-%m-%dT%H:%M:%S.%fZ')"
    _, rows = select(evidence, f"SELECT seq, {at} FROM records WHERE log = 'gw-1/w1' ORDER BY seq")
    since, before = str(rows[-6][1]), str(rows[-1][1])
    made(evidence, out, Wanted(since, before))
    assert check_export(out).intact
    assert alone(out)
    wanted = {seq for seq, at in rows if since <= str(at) < before} | {seq_of(evidence, "session_start", "s-2")}
    assert {seq for (seq,) in tables(out, "SELECT seq FROM records WHERE log = 'gw-1/w1'")} == wanted


def test_what_was_archived_and_erased_is_exported_as_it_is(tmp_path: Path) -> None:
    evidence = write(tmp_path / "gw")
    seq = seq_of(evidence, "request", "s-1")
    erase(tmp_path / "gw", "--record", f"gw-1/w1:{seq}")
    made(evidence, tmp_path / "out.duckdb")
    found = check_export(tmp_path / "out.duckdb")
    assert found.intact, found.findings
    assert alone(tmp_path / "out.duckdb")
    assert [(one.grade, one.seq) for one in found.findings] == [("note", seq)]
    _, rows = select(evidence, "FROM statements ORDER BY ALL")
    assert tables(tmp_path / "out.duckdb", "FROM statements ORDER BY ALL") == rows


def change(sql: str) -> Callable[[Path], None]:
    def changed(path: Path) -> None:
        with duckdb.connect(str(path)) as database:
            database.execute(sql)

    changed.__doc__ = sql
    return changed


ATTACKS = [
    "UPDATE entries SET entry = replace(entry, 'agent-7', 'agent-8')",
    "UPDATE entries SET payload = replace(payload, 'SELECT', 'DELETE') WHERE payload LIKE '%SELECT%'",
    "UPDATE entries SET payload = NULL, entry = replace(entry, '\"pc\"', '\"pd\"') WHERE seq = ONE",
    "UPDATE entries SET chain = repeat('0', 64) WHERE seq = ONE",
    "UPDATE entries SET seq = seq + 1 WHERE seq = ONE",
    "DELETE FROM entries WHERE seq = ONE",
    "INSERT INTO entries SELECT * FROM entries WHERE seq = ONE",
    "INSERT INTO entries SELECT 'gw-1/w2', place, seq, chain, salt, entry, payload FROM entries WHERE seq = ONE",
    "DELETE FROM tree WHERE low = (SELECT max(low) FROM tree)",
    "UPDATE tree SET hash = repeat('0', 64)",
    "UPDATE tree SET high = high + 1",
    "DELETE FROM notes",
    "UPDATE notes SET note = replace(note, 'gw-1/w1', 'gw-1/w9')",
    "UPDATE logs SET size = size - 1",
    "UPDATE statements SET verdict = 'deny'",
    "UPDATE sessions SET subject = 'somebody'",
    "DELETE FROM transcript",
    "DELETE FROM access; UPDATE counts SET rows = rows + 1 WHERE table_name = 'access'",
    "UPDATE counts SET rows = rows + 1 WHERE table_name = 'records'",
    "DELETE FROM statements; UPDATE counts SET rows = 0 WHERE table_name = 'statements'",
    "ALTER TABLE masked DROP COLUMN style",
    (
        "ALTER TABLE sessions RENAME subject TO x; ALTER TABLE sessions RENAME owner TO subject;"
        " ALTER TABLE sessions RENAME x TO owner"
    ),
    "UPDATE programs SET content = replace(content, 'must(', 'print(') WHERE name = 'verify_export.py'",
    "UPDATE programs SET content = replace(content, 'deny', 'allow') WHERE name = 'derivation.sql'",
    "INSERT INTO programs VALUES ('more', '')",
    "DELETE FROM programs",
    'UPDATE logs SET "key" = NULL',  # nobody signed it, so nothing of it is proved
    "UPDATE logs SET size = 0; DELETE FROM tree; UPDATE counts SET rows = 0 WHERE table_name = 'tree'",
    "UPDATE entries SET seq = NULL WHERE seq = ONE",
    "UPDATE logs SET \"key\" = 'gw-1/w1+00000000+AAAA' WHERE log = 'gw-1/w1'",
    (
        "INSERT INTO notes SELECT log, size + 1, note FROM notes; UPDATE counts SET rows = rows + 2"
        " WHERE table_name = 'notes'"
    ),
    (
        "INSERT INTO tree SELECT log, high, high + 1, hash FROM tree WHERE high = (SELECT max(high) FROM tree);"
        " UPDATE counts SET rows = (SELECT count(*) FROM tree) WHERE table_name = 'tree'"
    ),
]


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of a session in which nothing is wrong, for tests to copy."""
    home = tmp_path_factory.mktemp("intact")
    made(write(home / "gw"), home / "out.duckdb", Wanted(session="s-2"))
    assert check_export(home / "out.duckdb").intact
    return home / "out.duckdb"


@pytest.fixture
def out(intact: Path, tmp_path: Path) -> Path:
    """A copy of that export, to be changed."""
    return Path(shutil.copy(intact, tmp_path / "out.duckdb"))


def test_what_was_not_changed_holds(intact: Path) -> None:
    assert check_export(intact).intact
    assert alone(intact)


@pytest.mark.parametrize("sql", ATTACKS)
def test_each_change_is_found(out: Path, sql: str) -> None:
    change(sql.replace("ONE", "(SELECT min(seq) + 1 FROM entries)"))(out)
    found = check_export(out)
    assert not found.intact, found
    assert not alone(out)


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE gaps; CREATE VIEW gaps AS SELECT * FROM read_csv('/etc/passwd')",
        "DROP TABLE tree",
        "CREATE TABLE more (i int)",
        "CREATE SCHEMA more; CREATE TABLE more.statements AS FROM statements",
        "CREATE MACRO sha256(x) AS 'whatever is due'",
        "UPDATE manifest SET format = 2",
        "DELETE FROM manifest",
    ],
)
def test_what_is_no_export_is_refused(out: Path, sql: str) -> None:
    change(sql)(out)
    with pytest.raises(EvidenceFault):
        check_export(out)
    assert not alone(out)
    out.write_bytes(b"nothing")
    assert not alone(out)
    with pytest.raises(EvidenceFault, match="is no export"):
        check_export(out)


def test_a_file_that_is_there_is_never_overwritten_and_a_failure_leaves_none(tmp_path: Path) -> None:
    evidence, out = write(tmp_path / "gw"), tmp_path / "out.duckdb"
    out.write_text("mine")
    with pytest.raises(ConfigurationFault, match="there already"):
        made(evidence, out)
    assert out.read_text() == "mine"
    with pytest.raises(EvidenceFault, match="holds no log"):
        made(tmp_path / "nothing", tmp_path / "new.duckdb")
    assert not (tmp_path / "new.duckdb").exists()


def test_records_that_nothing_signed_are_left_while_a_gateway_writes_and_said_where_none_does(tmp_path: Path) -> None:
    evidence = write(tmp_path / "gw")
    for log in ("w1", "control"):
        notes = sorted((evidence / "logs" / log / "checkpoints").glob("[1-9]*.note"), key=lambda one: int(one.stem))
        assert len(notes) == 1
    place, clock = evidence / "logs" / "w1", StepClock(2_000_000_000_000_000)
    journal = Journal.open(place, LogName("gw-1/w1"), DiskStorage(), clock, CountedEntropy())
    journal.append(record.start("gw-1", "0.1"))
    journal.flush()
    made(evidence, tmp_path / "live.duckdb", live=True)
    made(evidence, tmp_path / "still.duckdb")
    journal.close()
    assert not check_export(tmp_path / "live.duckdb").findings
    found = check_export(tmp_path / "still.duckdb")
    assert [(one.grade, "covered by no checkpoint" in one.what) for one in found.findings] == [("note", True)]
    assert alone(tmp_path / "live.duckdb")
    assert alone(tmp_path / "still.duckdb")


@given(st.sets(st.integers(0, 70)), st.integers(1, 70))
def test_any_leaves_and_the_rest_give_the_root(chosen: set[int], size: int) -> None:
    leaves = sorted(one for one in chosen if one < size)
    entries = [str(one).encode() for one in range(size)]

    def root(low: int, high: int) -> bytes:
        tree = Tree()
        for entry in entries[low:high]:
            tree.append(entry)
        return tree.root

    rest = uncovered(leaves, size)
    parts = [(one, one + 1, leaf(entries[one])) for one in leaves]
    parts = sorted([*parts, *((low, high, root(low, high)) for low, high in rest)])
    assert root_over(parts, size) == root(0, size)
    assert not any(low <= one < high for low, high in rest for one in leaves)
    if len(parts) > 1:
        with pytest.raises(ValueError):  # noqa: PT011  either of two
            root_over(parts[:-1], size)
        with pytest.raises(ValueError):  # noqa: PT011
            root_over(parts[1:], size)


def test_both_scripts_are_written_with_their_digests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from gateway.__main__ import main

    assert main(["evidence", "scripts", str(tmp_path / "scripts")]) == 0
    told = dict(line.split("  ") for line in capsys.readouterr().out.splitlines())
    assert {Path(name).name for name in told.values()} == {"verify.py", "verify_export.py"}
    for digest, name in told.items():
        assert sha256(Path(name).read_bytes()).hexdigest() == digest
    assert main(["evidence", "scripts", str(tmp_path / "scripts"), "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out).values()) == set(told)
    assert (tmp_path / "scripts" / "verify.py").read_text() == Path(str(standalone.__file__)).read_text()
    (tmp_path / "file").write_text("")
    assert main(["evidence", "scripts", str(tmp_path / "file" / "scripts")]) == 2
