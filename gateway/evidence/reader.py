"""Reading evidence for a console, in a short process of its own: one JSON request on stdin, one JSON answer on stdout.

Promises to read only: statements that select, over the evidence directory alone, with bounded memory, pages and text.
Never runs inside a process that carries traffic. An error is one line on stderr and exit code 2.

`python -P -m gateway.evidence.reader DIR` takes `{"method": "sessions", "limit", "before"}`, `{"method": "transcript",
"session_id", "after_seq", "limit"}`, `{"method": "query", "sql", "limit"}` or `{"method": "history", …}`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import duckdb

from gateway.errors import ClientFault, EvidenceFault, GatewayError
from gateway.evidence.entry import parse_time
from gateway.evidence.history import history as before_asking
from gateway.evidence.memory_database import memory_database
from gateway.evidence.narrowing import narrowed
from gateway.evidence.reading import objection
from gateway.evidence.rows import plain, rows_of
from gateway.evidence.views import view_sql
from gateway.model import Json

PAGE = 500
"""Rows of a page, at most and unless told otherwise."""
PAGE_BYTES = 700_000
"""Bytes of a transcript page as JSON, which leaves room in the control socket's frame of 1 MiB."""
ITEM_TEXT = 64_000
"""Characters of one item's text; the rest is cut and the item says so."""
MEMORY = "512MB"
TRIES = 3
"""How often files are listed, at most, while one of them is gone before it was opened."""
Row: TypeAlias = tuple[Any, ...]
_Found = TypeVar("_Found")
_TOO_LARGE = "this takes more memory than there is; ask for less at once: a session, or an hour (ts BETWEEN … AND …)"
_CREATE = "CREATE VIEW "
_ABOUT = re.compile(r"duckdb_|information_schema|show|describe|summarize")


@contextlib.contextmanager
def opened(
    evidence: Path, memory: str | None = None, sql: str = "", *, narrow: bool = False
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the views over `evidence` to read; nothing outside that directory is in reach. Raises `EvidenceFault`.

    The views are made anew in memory: an `evidence.duckdb` that somebody replaced is not believed. Making all of them
    takes longer than many a question, so that only those are made which `sql` may name; with `narrow`, `statements`
    only as wide as `sql` needs it.
    """
    evidence = evidence.resolve()
    if not any(evidence.glob("logs/*/journal/*.tsv")):
        raise EvidenceFault(f"{evidence} holds no log; give the gateway's state_dir/evidence")
    with memory_database() as database:
        created = view_sql(evidence)
        for view in views_for(created, sql):
            if narrow and view.startswith(f"{_CREATE}statements "):
                operations, requests = views_for(created, "operations requests")
                database.execute(narrowed(view, operations, requests, _tree(database, sql)))
            else:
                database.execute(view)
        database.execute("SET allowed_directories = [$1]", [f"{evidence}/logs/"])
        database.execute("SET autoinstall_known_extensions = false; SET autoload_known_extensions = false")
        database.execute("SET threads = 2; SET temp_directory = ''")
        if memory is not None:
            database.execute(f"SET memory_limit = '{memory}'")
        database.execute("SET enable_external_access = false; SET lock_configuration = true")
        yield database


def views_for(created: str, sql: str) -> list[str]:
    """Return those statements of `created` that make a view which `sql` may name; all, where it is about views."""
    made = {one.split(maxsplit=1)[0]: f"{_CREATE}{one}" for one in created.split(_CREATE)[1:]}
    asked = sql.lower()
    named = [view for name, view in made.items() if name in asked]
    return named if named and not _ABOUT.search(asked) else list(made.values())


def select(evidence: Path, sql: str, limit: int | None = None) -> tuple[list[str], list[Row]]:
    """Run one SQL statement that reads the views; return column names and rows. Raises `ClientFault`, `EvidenceFault`.

    SELECT and its relatives (WITH, VALUES, DESCRIBE, SUMMARIZE) only: COPY … TO could overwrite evidence.
    """
    try:
        try:
            return _steady(lambda: _selected(evidence, sql, limit, narrow=True))
        except duckdb.BinderException:
            return _steady(lambda: _selected(evidence, sql, limit, narrow=False))
    except duckdb.OutOfMemoryException:
        raise ClientFault(_TOO_LARGE, "53200") from None
    except duckdb.Error as fault:
        raise ClientFault(str(fault).split("\n\n")[0].strip(), "42601") from None


def _selected(evidence: Path, sql: str, limit: int | None, *, narrow: bool) -> tuple[list[str], list[Row]]:
    with opened(evidence, None if limit is None else MEMORY, sql, narrow=narrow) as database:
        if (why := objection(_tree(database, sql))) is not None:
            raise ClientFault(f"only a single SELECT may run here: {why}", "42501")
        cursor = database.execute(sql)
        columns = [str(one[0]) for one in cursor.description or ()]
        return columns, cursor.fetchall() if limit is None else cursor.fetchmany(limit)


def _steady(ask: Callable[[], _Found]) -> _Found:
    """Return what `ask` returns; it is called again where a file that DuckDB listed was gone when it was to be opened.

    A journal file goes some time after it was archived: who lists the files again finds its segment alone.
    """
    for _ in range(TRIES - 1):
        with contextlib.suppress(duckdb.IOException):
            return ask()
    return ask()


def _tree(database: duckdb.DuckDBPyConnection, sql: str) -> Any:
    """Return DuckDB's syntax tree of a query, or what it says against it."""
    (tree,) = database.execute("SELECT json_serialize_sql($1)", [sql]).fetchone() or (None,)
    return json.loads(str(tree))


_SESSIONS = """
    SELECT session_id AS id, subject, issuer, owner, "connection", target, client_address,
        agent_application AS application, started, ended, statements, denied, held, rows, end_reason
    FROM sessions
    WHERE $before IS NULL OR (started, session_id) < ($before_time::TIMESTAMP, $before)
    ORDER BY started DESC, session_id DESC
    LIMIT $limit
"""
_TRANSCRIPT = """
    SELECT t.log, t.seq, t.session_id, t.n, t.ts, t.direction, r.kind, substr(t.text, 1, $cut + 1) AS text,
        t.truncated, r.verdict, json_extract_string(r.entry, '$.outcome') AS outcome,
        json_extract(r.entry, '$.rows')::BIGINT AS rows, json_extract(r.entry, '$.us')::BIGINT AS duration_us
    FROM transcript AS t JOIN records AS r ON r.log = t.log AND r.seq = t.seq
    WHERE t.session_id = $session AND r.session_id = $session AND t.seq > $after
    ORDER BY t.seq
    LIMIT $limit
"""


def sessions(evidence: Path, params: Mapping[str, Json]) -> dict[str, Json]:
    """Return a page of sessions, newest first, as `{"items", "next_before"}`; `before` takes a `next_before`."""
    limit, before = _limit(params), params.get("before")
    at, _, name = before.partition(" ") if isinstance(before, str) else ("", "", "")
    if isinstance(before, str):
        parse_time(at)
    items = _items(evidence, _SESSIONS, {"before": name or None, "before_time": at[:-1] or None, "limit": limit + 1})
    page = items[:limit]
    last = f"{page[-1]['started']} {page[-1]['id']}" if len(items) > limit else None
    return {"items": [{**one, "state": "closed" if one["ended"] else "open"} for one in page], "next_before": last}


def transcript(evidence: Path, params: Mapping[str, Json]) -> dict[str, Json]:
    """Return a page of one session's transcript: `{"items", "next_after"}`; `next_after` is null on the last page."""
    session, after = params.get("session_id"), params.get("after_seq")
    if not isinstance(session, str):
        raise ClientFault("transcript needs a session_id", "22023")
    start = after if isinstance(after, int) else -1
    limit = _limit(params)
    bound: dict[str, Json] = {"session": session, "after": start, "limit": limit + 1, "cut": ITEM_TEXT}
    items = _items(evidence, _TRANSCRIPT, bound)
    page: list[Json] = []
    room = PAGE_BYTES
    for found in items[:limit]:
        text = str(found["text"] or "")
        item = found if len(text) <= ITEM_TEXT else {**found, "text": text[:ITEM_TEXT], "truncated": True}
        room -= len(json.dumps(item))
        if room < 0 and page:
            break
        page.append(item)
    more = len(page) < len(items)
    return {"items": page, "next_after": items[len(page) - 1]["seq"] if more else None}


def query(evidence: Path, params: Mapping[str, Json]) -> dict[str, Json]:
    """Return the rows of one reading SQL statement: `{"columns", "rows", "more"}`."""
    sql = params.get("sql")
    if not isinstance(sql, str):
        raise ClientFault("query needs sql", "22023")
    limit = _limit(params)
    columns, rows = select(evidence, sql, limit + 1)
    return {"columns": list(columns), "rows": [plain(row) for row in rows[:limit]], "more": len(rows) > limit}


def _limit(params: Mapping[str, Json]) -> int:
    limit = params.get("limit")
    return limit if isinstance(limit, int) and 0 < limit <= PAGE else PAGE


def _items(evidence: Path, sql: str, bound: Mapping[str, Json]) -> list[dict[str, Json]]:
    def ask() -> list[dict[str, Json]]:
        with opened(evidence, MEMORY, sql) as database:
            return rows_of(database, sql, bound)

    return _steady(ask)


def history(evidence: Path, params: Mapping[str, Json]) -> dict[str, Json]:
    """See `gateway.evidence.history`."""

    def ask() -> dict[str, Json]:
        with opened(evidence, MEMORY, "records transcript approvals") as database:
            return before_asking(database, params)

    return _steady(ask)


METHODS: Mapping[str, Callable[[Path, Mapping[str, Json]], dict[str, Json]]] = {
    "sessions": sessions,
    "transcript": transcript,
    "query": query,
    "history": history,
}


def answer(evidence: Path, request: object) -> dict[str, Json]:
    """Answer one request. Raises `GatewayError`."""
    if not isinstance(request, dict):
        raise ClientFault("a request is a JSON object with a method", "22023")
    method = METHODS.get(str(request.get("method")))
    if method is None:
        raise ClientFault(f"no method {request.get('method')!r}; there are {', '.join(METHODS)}", "22023")
    return method(evidence, request)


def main(arguments: Sequence[str]) -> int:
    """Answer the request on stdin about the evidence directory named by the one argument, at low priority."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -P -m gateway.evidence.reader DIR < REQUEST\n")
        return 2
    os.nice(10)
    try:
        found = answer(Path(arguments[0]), json.load(sys.stdin))
    except (GatewayError, duckdb.Error, ValueError, RecursionError) as fault:
        sys.stderr.write(f"{' '.join(str(fault).split()) or type(fault).__name__}\n")
        return 2
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
