"""The commands as programs: exit codes, one line a fault, tables and JSON."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import pytest
import trio
from approving import HASH, hold
from commanding import hoop_gateway
from controlling import OpenHouse

from gateway.__main__ import main
from gateway.model import ApprovalId, HoldState

A1 = ApprovalId("a1")


def one_line(text: str) -> str:
    """The only line of an error."""
    assert text.startswith("hoop-gateway: ")
    assert text.count("\n") == 1
    assert "Traceback" not in text
    return text.strip()


MISUSED = [
    ([], "COMMAND"),
    (["nonsense"], "nonsense"),
    (["approvals"], "VERB"),
    (["approvals", "approve", "a1", "--reason", "x"], "--hash"),
    (["approvals", "approve", "a1", "--hash", "deadbee", "--reason", "x"], "8 hex digits"),
    (["approvals", "approve", "a1", "--hash", "deadbeeg", "--reason", "x"], "8 hex digits"),
    (["approvals", "approve", "a1", "--hash", "deadbeef"], "--reason"),
    (["approvals", "deny", "a1"], "--reason"),
    (["sessions", "kill", "s1"], "--reason"),
    (["approvals", "list"], "either -c FILE or --socket PATH"),
    (["approvals", "list", "-c", "x", "--socket", "y"], "either -c FILE or --socket PATH"),
    (["status", "--socket", "/nowhere/control.sock"], "does not exist"),
    (["status", "-c", "/nowhere/gateway.toml"], "no such file"),
    (["check"], "-c"),
    (["init"], "DIR"),
    (["status", "\x1b[31m"], "<U+001B>"),
]


@pytest.mark.parametrize(("arguments", "words"), MISUSED, ids=[" ".join(line) or "-" for line, _ in MISUSED])
def test_wrong_use_is_one_line_and_2(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    try:
        code = main(arguments)
    except SystemExit as left:
        code = left.code
    printed = capsys.readouterr()
    assert code == 2
    assert words in one_line(printed.err)
    assert printed.out == ""


async def test_help_and_version() -> None:
    for arguments in (["--help"], ["--version"], ["approvals", "--help"], ["approvals", "approve", "--help"]):
        done = await hoop_gateway(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout


async def test_approvals_are_listed_shown_and_decided(open_house: OpenHouse) -> None:
    async with open_house() as house:
        approvals, place = house.desk.approvals, ("--socket", house.path)
        await approvals.ask(hold("a1", statement="DELETE FROM orders\n\x1b[2J-- gone"))
        await approvals.ask(hold("a2", operation_hash="1" * 64))
        listed = await hoop_gateway("approvals", "list", *place)
        assert listed.returncode == 0
        assert "\x1b" not in listed.stdout
        assert len(listed.stdout.splitlines()) == 3
        assert "DELETE FROM orders\\n<U+001B>[2J-- gone" in listed.stdout
        assert HASH[:12] in listed.stdout

        found = json.loads((await hoop_gateway("approvals", *place, "list", "--json")).stdout)
        first = next(each for each in found if each["id"] == "a1")
        for key in ("id", "hash", "subject", "connection", "statement", "rule", "expires"):
            assert first[key], key
        assert (first["hash"], first["statement"]) == (HASH, "DELETE FROM orders\n\x1b[2J-- gone")

        shown = await hoop_gateway("approvals", "show", "a1", *place)
        assert "  | DELETE FROM orders\n  | <U+001B>[2J-- gone\n" in shown.stdout

        stale = await hoop_gateway("approvals", "approve", "a1", "--hash", "0" * 8, "--reason", "x", *place)
        assert (stale.returncode, stale.stdout) == (1, "")
        assert "not the hash" in one_line(stale.stderr)
        unknown = await hoop_gateway("approvals", "deny", "a9", "--reason", "x", *place)
        assert unknown.returncode == 2
        assert "no such approval" in one_line(unknown.stderr)
        approved = await hoop_gateway(
            "approvals", "approve", "a1", "--hash", HASH[:8].upper(), "--reason", "fine", *place
        )
        assert (approved.returncode, approved.stdout) == (0, "approved a1 by dana: fine\n")
        again = await hoop_gateway("approvals", "deny", "a1", "--reason", "x", *place)
        assert again.returncode == 1
        assert "approved already" in one_line(again.stderr)
        denied = await hoop_gateway("approvals", "deny", "a2", "--reason", "no", *place)
        assert (denied.returncode, denied.stdout) == (0, "refused a2 by dana: no\n")
        for name, code in (("a1", 0), ("a2", 1)):
            assert (await hoop_gateway("approvals", "wait", name, *place)).returncode == code
        assert (await hoop_gateway("approvals", "list", "--json", *place)).stdout == "[]\n"
        decided = json.loads((await hoop_gateway("approvals", "list", "--decided", "--json", *place)).stdout)
        assert {each["id"]: each["state"] for each in decided} == {"a1": "approved", "a2": "refused"}


async def test_wait_waits(open_house: OpenHouse) -> None:
    async with open_house() as house, trio.open_nursery() as nursery:
        await house.desk.approvals.ask(hold())
        codes: list[int] = []

        async def wait() -> None:
            codes.append((await hoop_gateway("approvals", "wait", "a1", "--socket", house.path)).returncode)

        nursery.start_soon(wait)
        while not house.server._peers:
            await trio.sleep(0.01)
        house.desk.approvals.cancel(A1, "the session was killed")
    assert codes == [1]
    assert house.desk.approvals.get(A1).state is HoldState.CANCELLED


async def test_sessions_and_status(open_house: OpenHouse) -> None:
    async with open_house() as house:
        house.backend.live = [{"id": "s1", "subject": "agent\x1b7", "started": "now", "current": None}]
        place = ("--socket", house.path)
        listed = await hoop_gateway("sessions", "list", *place)
        assert "agent<U+001B>7" in listed.stdout
        assert json.loads((await hoop_gateway("sessions", "list", "--json", *place)).stdout) == house.backend.live
        killed = await hoop_gateway("sessions", "kill", "s1", "--reason", "stop", *place)
        assert (killed.returncode, killed.stdout) == (0, "killed s1\n")
        assert house.backend.killed == [("s1", "dana", "stop")]
        assert (await hoop_gateway("sessions", "kill", "s2", "--reason", "stop", *place)).returncode == 2
        status = await hoop_gateway("status", "--json", *place)
        assert (status.returncode, json.loads(status.stdout)["healthy"]) == (0, True)
        assert "healthy: yes" in (await hoop_gateway("status", *place)).stdout


async def test_output_survives_a_terminal_without_unicode(open_house: OpenHouse) -> None:
    async with open_house() as house:
        await house.desk.approvals.ask(hold(statement="SELECT '世界'"))
        done = await hoop_gateway("approvals", "list", "--socket", house.path, PYTHONIOENCODING="ascii:strict")
        assert done.returncode == 0
        assert "SELECT '\\u4e16\\u754c'" in done.stdout


async def test_whoever_reads_our_output_may_stop(open_house: OpenHouse) -> None:
    async with open_house() as house:
        house.backend.live = [{"id": f"s{number}", "started": str(number)} for number in range(5000)]
        command = f"{sys.executable} -m gateway sessions list --json --socket {house.path} | head -1"
        done = await trio.run_process(["bash", "-c", command], capture_stdout=True, capture_stderr=True)
        assert (done.stdout, done.stderr) == (b"[\n", b"")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_init_writes_what_check_accepts_and_overwrites_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "gateway"
    made = await hoop_gateway("init", directory)
    assert (made.returncode, made.stderr) == (0, "")
    state = directory / "state"
    assert {mode(directory), mode(state)} == {0o750}
    assert {mode(state / "tls"), mode(state / "evidence"), mode(state / "development-issuer")} == {0o700}
    assert {mode(file) for file in state.rglob("*") if file.is_file() and file.name != "cert.pem"} == {0o600}
    before = {file: file.read_bytes() for file in directory.rglob("*") if file.is_file()}

    checked = await hoop_gateway("check", "-c", directory / "gateway.toml")
    assert (checked.returncode, checked.stderr) == (0, "")
    lines = checked.stdout.splitlines()
    assert lines[-1].startswith("ok: ")
    assert any(line.startswith("note: evidence.originals: ") for line in lines)

    token = await hoop_gateway("token", "-c", directory / "gateway.toml", "--subject", "agent-1")
    assert (token.returncode, token.stdout.count(".")) == (0, 2)

    again = await hoop_gateway("init", directory)
    assert again.returncode == 2
    assert "exists already" in one_line(again.stderr)
    (directory / "gateway.toml").unlink()
    assert (await hoop_gateway("init", directory)).returncode == 2
    assert not (directory / "gateway.toml").exists()
    before.pop(directory / "gateway.toml")
    assert {file: file.read_bytes() for file in directory.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize(("length", "code"), [(107, 0), (108, 2)])
async def test_init_works_where_the_gateways_socket_has_room(tmp_path: Path, length: int, code: int) -> None:
    directory = tmp_path / ("d" * (length - len(bytes(tmp_path / "state" / "control.sock")) - 1))
    made = await hoop_gateway("init", directory)
    assert made.returncode == code, made.stderr
    assert directory.exists() == (code == 0)
    assert code == 0 or "socket's path" in one_line(made.stderr)


async def test_init_says_why_it_cannot(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for directory in (tmp_path / "file", tmp_path / "file" / "beneath"):
        done = await hoop_gateway("init", directory)
        assert done.returncode == 2
        one_line(done.stderr)


OUTSIDE = (
    "issuer",
    "[[evidence.witness]]",
    "[evidence.timestamp]",
    "url = ",
    "key = ",
    "certificate = ",
    "[[evidence.sink]]",
    "file = ",
)
"""Lines of the sample that `check` would try at other hosts, or in places that are not here."""


async def test_the_commented_sample_is_a_valid_configuration(tmp_path: Path) -> None:
    await hoop_gateway("init", tmp_path / "g")
    config = tmp_path / "g" / "gateway.toml"
    lines = []
    for line in config.read_text().splitlines():
        bare = line.removeprefix("# ")
        sample = line.startswith("# ") and (bare.startswith(("[", "  ")) or "= " in bare.split("#")[0])
        lines.append(bare if sample and not bare.startswith(OUTSIDE) else line)
    config.write_text("\n".join(lines))
    done = await hoop_gateway("check", "-c", config)
    assert done.returncode == 1
    faults = [line for line in done.stdout.splitlines() if line.startswith("fault: ")]
    assert faults == ["fault: connection orders: password: the environment variable ORDERS_PASSWORD is not set"], (
        done.stdout
    )


async def test_check_tells_every_fault(tmp_path: Path) -> None:
    await hoop_gateway("init", tmp_path / "g")
    config = tmp_path / "g" / "gateway.toml"
    base = config.read_text()
    config.write_text(base + "[[connection]]\nname = 'a'\npassword = 'hunter2'\n")
    done = await hoop_gateway("check", "-c", config)
    assert done.returncode == 1
    assert [line.split(": ")[2] for line in done.stdout.splitlines()] == [
        "connection.0.target",
        "connection.0.username",
        "connection.0.password",
    ]
    assert "hunter2" not in done.stdout + done.stderr

    closed = "target = 'postgresql://127.0.0.1:1/db'\nusername = 'x'\n"
    config.write_text(base + "".join(f"[[connection]]\nname = '{name}'\n{closed}" for name in "ab"))
    done = await hoop_gateway("check", "-c", config)
    assert done.returncode == 1
    faults = [line for line in done.stdout.splitlines() if line.startswith("fault: ")]
    assert [fault.split(": ")[1] for fault in faults] == ["connection a", "connection b"]

    config.write_text("[identity]\nissuer = 'http://127.0.0.1:1/realms/x'\n")
    done = await hoop_gateway("check", "-c", config)
    assert done.returncode == 1
    assert "fault: identity.issuer: " in done.stdout
