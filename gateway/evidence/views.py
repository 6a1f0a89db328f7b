"""`evidence.duckdb`: the evidence as any DuckDB shows it, while the gateway writes; beside it, what checks it alone.

Promises a file that holds views only, in the storage format of DuckDB 1.0, replaced at once. Never opens a journal for
writing and never runs in a process that carries traffic longer than it takes to write the file.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import EvidenceFault
from gateway.evidence import columns
from gateway.evidence.segments import entries_path, payload_path
from gateway.evidence.storage import DiskStorage

if TYPE_CHECKING:
    import duckdb

NAME = "evidence.duckdb"
NO_SEGMENTS = "(SELECT '' AS filename, now() AS last_modified WHERE false)"
NO_JOURNALS = "(SELECT '' AS file WHERE false)"
_NAMES = ("w*", "[!w]*")
"""Logs of workers, and the others: those of workers are large, and come first for whoever plans a query."""
_ALONE = {"verify.py": "standalone.py", "VERIFY.md": "VERIFY.md"}


def write_views(evidence: Path) -> Path:
    """Write the views of the evidence directory anew, and return their file. Raises `EvidenceFault`.

    `verify.py` and `VERIFY.md` are written beside it, for people who do not have this program.
    Each log's journal holds a permanent, empty file from its first opening, without which DuckDB would refuse the glob.
    """
    import duckdb

    from gateway.evidence.memory_database import memory_database

    evidence = evidence.resolve()
    if not any(evidence.glob("logs/*/journal/*.tsv")):
        raise EvidenceFault(f"{evidence} holds no log; give the gateway's state_dir/evidence")
    beside = evidence / f".{NAME}.{secrets.token_hex(4)}"
    try:
        with memory_database() as database:
            database.execute(f"ATTACH {quoted(str(beside))} AS made (STORAGE_VERSION 'v1.0.0')")
            _make_empty_segments(database, evidence)
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


@dataclass(frozen=True, slots=True)
class Sources:
    """What views read, as SQL tables: files of segments and journals, tables of segments, lines, checkpoints."""

    segments: str
    journals: str
    entries: str
    payload: str
    journal: str
    notes: str


def view_sql(evidence: Path) -> str:
    """Return the SQL that makes the views over `evidence`, an absolute path."""
    logs = f"{escaped(evidence)}/logs"
    archived, *both = (
        all(any(evidence.glob(f"logs/{names}/{place}/seg-*.parquet")) for place in ("entries", "payload"))
        for names in ("*", *_NAMES)
    )

    def segments(place: str) -> str:
        patterns = [quoted(f"{logs}/{names}/{place}/seg-*.parquet") for names in (_NAMES if all(both) else ("*",))]
        return f"read_parquet([{', '.join(patterns)}])" if archived else f"({empty(place)})"

    journal = quoted(f"{logs}/*/journal/*.tsv")
    sources = Sources(
        f"read_text({quoted(f'{logs}/*/entries/seg-*.parquet')})" if archived else NO_SEGMENTS,
        f"glob({journal})",
        segments("entries"),
        segments("payload"),
        columns.journal(journal),
        f"read_text({quoted(f'{logs}/*/checkpoints/*.note')})",
    )
    return sql_over(sources)


def sql_over(sources: Sources) -> str:
    """Return the SQL that makes the views over `sources`."""
    template = files("gateway.evidence").joinpath("views.sql").read_text("utf-8")
    base, views = template.split("-- views\n")
    base = base[base.index("-- Which segments") :].rstrip() + "\n"
    payload_names = [f"e_{name}" for name in columns.NAMES]
    filled = {
        "segments": sources.segments,
        "journals": sources.journals,
        "entries_table": sources.entries,
        "payload_table": sources.payload,
        "journal": sources.journal,
        "live_columns": columns.extracted("e", "e_"),
        "named": columns.named("e_"),
        "whole_columns": ", ".join(f'"{name}"' for name in payload_names),
        "gathered_columns": ", ".join(f'any_value("{name}") AS "{name}"' for name in payload_names),
    }
    for word, text in filled.items():
        base = base.replace(f"{{{word}}}", text)
    first, steps = base.split("-- steps\n")
    written: dict[str, str] = {}
    for name, body in _STEP.findall(steps):
        written[name] = _in_place(body, written)
    views = _in_place(views.replace("{payload_table}", sources.payload), written)
    return views.replace("{base}", first.rstrip()).replace("{notes}", sources.notes)


def _in_place(text: str, steps: Mapping[str, str]) -> str:
    """Return SQL with each reference to a step replaced by its query.

    Not as CTEs: DuckDB 2.0 computes one that is used twice for all rows, before any filter of the view's reader.
    """
    return _USED.sub(lambda use: f"{use[1]} (\n{steps[use[2]]}) AS {use[2]}" if use[2] in steps else use[0], text)


_STEP = re.compile(r"^([a-z]+) := \((.*?)\)\n(?=--|[a-z]+ := |\Z)", re.MULTILINE | re.DOTALL)
_USED = re.compile(
    r"\b(FROM|JOIN) (lines|live|archive|entries|paid|parts|whole|due|payloads|requests|results|ended|matched)\b"
)


def empty(kind: str) -> str:
    """Return the query for a segment's table without rows; `kind` is `entries` or `payload`."""
    if kind == "payload":
        return "SELECT '' AS segment, 0::BIGINT AS seq, '' AS kind, '' AS salt, '' AS payload LIMIT 0"
    nothing = f"json_transform('{{}}', {columns.transform()})"
    shape = columns.columns("e")
    return f"SELECT '' AS segment, {shape}, '' AS chain, '' AS entry FROM (SELECT {nothing} AS e) LIMIT 0"  # noqa: S608  ours


def _make_empty_segments(database: duckdb.DuckDBPyConnection, evidence: Path) -> None:
    """Give each log its permanent, empty segment, without which DuckDB would refuse the pattern."""
    for log in evidence.glob("logs/*"):
        for kind, path in (("entries", entries_path(log, 0)), ("payload", payload_path(log, 0))):
            if path.exists() or not (log / "journal").is_dir():
                continue
            DiskStorage().make_directory(path.parent)
            beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
            database.execute(f"COPY ({empty(kind)}) TO {quoted(str(beside))} (FORMAT parquet, COMPRESSION zstd)")
            beside.chmod(0o600)
            beside.rename(path)
            path.with_name("seg-00000000.parquet").unlink(missing_ok=True)  # as it was named before


def escaped(path: Path) -> str:
    """Return `path` for use in a glob: characters that a glob would interpret stand in brackets."""
    return "".join(f"[{one}]" if one in "*?[" else one for one in str(path))


def quoted(text: str) -> str:
    """Return `text` as an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def located(path: Path) -> str:
    """Return `path` as an SQL string literal for a function that takes patterns, which names this one file."""
    return quoted(escaped(path))
