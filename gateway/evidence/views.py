"""`evidence.duckdb`: the evidence as any DuckDB shows it, while the gateway writes; beside it, what checks it alone.

Promises a file that holds views only, in the storage format of DuckDB 1.0, replaced at once. Never opens a journal for
writing and never runs in a process that carries traffic longer than it takes to write the file.
"""

from __future__ import annotations

import os
import secrets
from importlib.resources import files
from pathlib import Path

from gateway.errors import EvidenceFault
from gateway.evidence.storage import DiskStorage

NAME = "evidence.duckdb"
_ALONE = {"verify.py": "standalone.py", "VERIFY.md": "VERIFY.md"}


def write_views(evidence: Path) -> Path:
    """Write the views of the evidence directory anew, and return their file. Raises `EvidenceFault`.

    `verify.py` and `VERIFY.md` are written beside it, for people who do not have this program.
    Each log's journal holds a permanent, empty file from its first opening, without which DuckDB would refuse the glob.
    """
    import duckdb

    evidence = evidence.resolve()
    if not any(evidence.glob("logs/*/journal/*.tsv")):
        raise EvidenceFault(f"{evidence} holds no log; give the gateway's state_dir/evidence")
    beside = evidence / f".{NAME}.{secrets.token_hex(4)}"
    try:
        with duckdb.connect() as database:
            database.execute(f"ATTACH {quoted(str(beside))} AS made (STORAGE_VERSION 'v1.0.0')")
            database.execute("USE made")
            database.execute(view_sql(evidence))
            database.execute("USE memory")
            database.execute("DETACH made")
        beside.chmod(0o444)
        descriptor = os.open(beside, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        for name, source in _ALONE.items():
            content = files("gateway.evidence").joinpath(source).read_bytes()
            DiskStorage().replace(evidence / name, content, 0o444)
        return beside.rename(evidence / NAME)
    except (OSError, duckdb.Error) as fault:
        raise EvidenceFault(f"{evidence / NAME} cannot be written: {str(fault).splitlines()[0]}") from fault
    finally:
        beside.unlink(missing_ok=True)


def view_sql(evidence: Path) -> str:
    """Return the SQL that makes the views over `evidence`, an absolute path."""
    template = files("gateway.evidence").joinpath("views.sql").read_text("utf-8")
    base, views = template.split("-- views\n")
    base = base[base.index("lines AS") :].rstrip()
    logs = f"{escaped(evidence)}/logs/*"
    return (
        views.replace("{base}", base)
        .replace("{journal}", quoted(f"{logs}/journal/*.tsv"))
        .replace("{checkpoints}", quoted(f"{logs}/checkpoints/*.note"))
    )


def escaped(path: Path) -> str:
    """Return `path` for use in a glob: characters that a glob would interpret stand in brackets."""
    return "".join(f"[{one}]" if one in "*?[" else one for one in str(path))


def quoted(text: str) -> str:
    """Return `text` as an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"
