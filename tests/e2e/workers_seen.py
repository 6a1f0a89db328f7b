"""Two workers, for tests: how a gateway is told to have them, which they are, and in whose log a session is."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from running import RunningGateway
from wire_client import Wire, notices

from gateway.pgwire.frontend import query

WORKERS = {"HOOP_GATEWAY__WORKERS": "2"}


def workers(gateway: RunningGateway) -> dict[str, int]:
    """The processes of the workers, by the log that each holds open."""
    found = {}
    children = " ".join(each.read_text() for each in Path(f"/proc/{gateway.process.pid}/task").glob("*/children"))
    for pid in children.split():
        with suppress(OSError):  # it ended, or closed the file, meanwhile
            if b"gateway.workforce.process" not in Path(f"/proc/{pid}/cmdline").read_bytes():
                continue  # an archiver has the files of logs open, too
            for file in Path(f"/proc/{pid}/fd").iterdir():
                place = str(file.readlink())
                if "/logs/w" in place:
                    found[place.split("/logs/")[1].split("/", maxsplit=1)[0]] = int(pid)
    return found


def log_of(gateway: RunningGateway, wire: Wire) -> str:
    """The log that a session records in."""
    (pid,) = wire.rows("SELECT pg_backend_pid()")
    (found,) = gateway.query(
        f"SELECT DISTINCT log FROM records WHERE kind = 'session_start' AND CAST(entry->>'tpid' AS INT) = {pid[0]}"
    )
    return str(found["log"])


def held(wire: Wire, sql: str) -> str:
    wire.send(query(sql.encode()))
    (said,) = notices(wire.until("N"))
    return str(said.get("M")).split()[4]


def runs(pid: int) -> bool:
    """Whether a process is at work; one that ended may stand there until whoever adopted it asks how."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.partition("State:")[2].split()[0] not in {"Z", "X"}
