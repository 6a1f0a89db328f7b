"""Check an export without its maker's software: `pip install blake3 cryptography duckdb` (1.4 or later), then run this.

`python3 verify_export.py FILE [KEY ...]`: KEY is a file with a log's public key (`log.pub`), as it was given to you.
Reads only. Exit code 0: intact; 1: not, with the first thing that is wrong. A copy of this script lies in
the export, where whoever changes the export can change it too: take it from the release, or compare its SHA-256.
"""

import json
import re
import sys
from base64 import b64decode
from collections.abc import Iterator
from datetime import datetime, timedelta
from hashlib import sha256
from heapq import merge
from pathlib import Path
from typing import Any

import duckdb
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

DERIVATION = "{derivation}"  # SHA-256 of the SQL by which, in this version, the other tables follow from the entries
OWN = {"manifest", "counts", "logs", "notes", "tree", "entries", "programs"}
VIEWS = "{views}".split()
CHAIN_KEY = blake3(b"", derive_key_context="hoop-tui 2026-11 evidence chain v1").digest()
NOTE = re.compile(r"(([^\n]+)\n([0-9]+)\n([^\n]+)\n)\n((?:\u2014 [^\n]+\n)+)")  # text of origin, size, root; signatures
END = (-1, -1, b"")


def must(holds: object, what: str) -> None:
    """Go no further unless `holds`."""
    if not holds:
        raise ValueError(what)


def read_only(file: Path) -> duckdb.DuckDBPyConnection:
    """Open the export as `made`, with nothing else in reach, and refuse one that holds more than its tables."""
    must([int(part) for part in duckdb.__version__.split(".")[:2]] >= [1, 4], "this takes DuckDB 1.4 or later")
    db = duckdb.connect()
    db.execute("SET enable_progress_bar = false")
    db.execute(f"ATTACH '{str(file.resolve()).replace(chr(39), chr(39) * 2)}' AS made (READ_ONLY)")
    db.execute("SET autoinstall_known_extensions = false; SET autoload_known_extensions = false")
    db.execute("SET enable_external_access = false; SET lock_configuration = true")
    tables = {name for (name,) in rows(db, "SELECT table_name FROM duckdb_tables() WHERE database_name = 'made'")}
    mine = "FROM duckdb_{}() WHERE database_name = 'made' AND NOT internal"
    more = [one for kind in ("views", "functions", "types") for one in rows(db, f"SELECT 1 {mine.format(kind)}")]
    more += rows(db, f"{mine.format('schemas')} AND schema_name <> 'main'")
    must(tables == OWN.union(VIEWS) and not more, "it does not hold the tables of an export, and only those")
    must([one for (one,) in rows(db, "SELECT format FROM made.manifest")] == [1], "it is no export of format 1")
    return db


def rows(db: duckdb.DuckDBPyConnection, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """Return what a query finds."""
    return list(db.execute(sql, list(values)).fetchall())


def records(db: duckdb.DuckDBPyConnection, log: str, size: int) -> Iterator[tuple[int, int, bytes]]:
    """Check each record of a log by itself and by the one before; yield the leaves of those that are signed."""
    before, last = -2, ""
    cursor = db.cursor().execute("SELECT * EXCLUDE place FROM made.entries WHERE log = $1 ORDER BY seq", [log])
    for _, seq, chain, salt, entry, payload in iter(cursor.fetchone, None):
        e = json.loads(entry, parse_float=lambda text: must(False, f"a float: {text}"))
        canonical = json.dumps(e, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        must(canonical == entry, f"entry {seq} is not of the format")
        must((e["log"], e["seq"]) == (log, seq), f"record {e['seq']} of {e['log']} stands at {seq} of {log}")
        made = blake3(bytes.fromhex(last) + entry.encode(), key=CHAIN_KEY).hexdigest()
        must(seq != before + 1 or made == chain, f"record {seq} does not follow from the one before")
        paid = payload is None or blake3(payload.encode(), key=bytes.fromhex(salt)).hexdigest() == e.get("pc")
        must(paid, f"the payload of record {seq} is another")  # one that was erased before is not there
        before, last = seq, chain
        if seq < size:
            yield seq, seq + 1, sha256(b"\0" + entry.encode()).digest()


def root(parts: Iterator[tuple[int, int, bytes]], ahead: list[tuple[int, int, bytes]], low: int, high: int) -> bytes:
    """Return the root (RFC 6962) over the leaves from `low` up to `high`, from parts in order; `ahead`: the next."""
    if ahead[0][:2] == (low, high):
        found, ahead[0] = ahead[0][2], next(parts, END)
        return found
    must(high - low > 1 and ahead[0][0] == low, f"what proves record {low} is missing, or is there twice")
    middle = low + (1 << (high - low - 1).bit_length() - 1)
    return sha256(b"\1" + root(parts, ahead, low, middle) + root(parts, ahead, middle, high)).digest()


def signed_roots(db: duckdb.DuckDBPyConnection, log: str, key: str) -> dict[int, bytes]:
    """Return the roots that the log's key signed, by size."""
    name, key_id, encoded = key.split("+", 2)
    own = sha256(name.encode() + b"\n" + b64decode(encoded)).hexdigest().startswith(key_id)
    must(name == log and own, "its key is of another log")
    public, roots = Ed25519PublicKey.from_public_bytes(b64decode(encoded)[1:]), dict[int, bytes]()
    for at, note in rows(db, "SELECT size, note FROM made.notes WHERE log = $1", log):
        text, origin, size, signed, signatures = NOTE.fullmatch(note).groups()  # type: ignore[union-attr]
        must((origin, int(size)) == (log, at), f"checkpoint {at} is of another log or size")
        blobs = [b64decode(one) for one in re.findall(f"\u2014 {re.escape(name)} (.+)", signatures)]
        public.verify(next((one[4:] for one in blobs if one[:4].hex() == key_id), b""), text.encode())
        roots[at] = b64decode(signed)
    return roots


def check_log(db: duckdb.DuckDBPyConnection, given: set[str], log: str, key: str | None, size: int) -> str:
    """Check one log: its records, and that they are those that were signed."""
    tree = rows(db, "SELECT low, high, hash FROM made.tree WHERE log = $1 ORDER BY low", log)
    parts = merge(records(db, log, size), ((low, high, bytes.fromhex(value)) for low, high, value in tree))
    must(key, "nobody signed it: it has no key")
    must(not given or key in given, "it is signed by another key than those given")
    late = "FROM made.entries WHERE log = $1 AND coalesce(seq, $2) >= $2 ORDER BY seq"
    times = [
        datetime.fromisoformat(json.loads(entry)["ts"]) for (entry,) in rows(db, f"SELECT entry {late}", log, size)
    ]
    must(not times or (size and times[-1] - times[0] <= timedelta(minutes=1)), f"only {size} records are signed")
    roots, ahead = signed_roots(db, log, str(key)), [next(parts, END)]
    must(not size or root(parts, ahead, 0, size) == roots.get(size), "the records are not those that were signed")
    must(ahead == [END], "more is proved than what was signed")
    return f"of {size} records, signed by {key}"


def check_tables(db: duckdb.DuckDBPyConnection) -> str:
    """Check that rows are counted, and that the tables follow from the entries: make them again, and compare."""
    counts = dict(rows(db, "FROM made.counts"))
    for name in ("entries", "notes", "tree", "logs", *VIEWS):
        must(rows(db, f"SELECT count(*) FROM made.{name}") == [(counts.get(name),)], f"{name} has not the rows stated")
    must(not rows(db, "SELECT log FROM made.entries EXCEPT SELECT log FROM made.logs"), "records of no log")
    programs = dict(rows(db, "FROM made.programs"))
    sql = programs.pop("derivation.sql", "")
    must(programs == {"verify_export.py": Path(__file__).read_text()}, "the script that lies in it is another")
    must(
        sha256(sql.encode()).hexdigest() == DERIVATION, "its tables were made by another version: use that one's script"
    )
    db.execute(sql)
    ((some,),) = rows(db, "SELECT coalesce(since, before, session_id) IS NOT NULL FROM made.manifest")
    for name in VIEWS:  # numbers that are missing are no gaps where only some records were asked for
        made, again = f"FROM made.{name}", f"FROM memory.{name}" + " WHERE why <> 'missing'" * (some and name == "gaps")
        named = [[row[:2] for row in rows(db, f"DESCRIBE {place}.{name}")] for place in ("made", "memory")]
        differ = f"FROM ({made} EXCEPT ALL {again}) UNION ALL FROM ({again} EXCEPT ALL {made})"
        must(
            named[0] == named[1] and not rows(db, f"{differ} LIMIT 1"),
            f"the table {name} does not follow from the entries",
        )
    return "the tables follow from the entries"


def main(file: Path, keys: list[str]) -> int:
    """Check all logs, then the tables."""
    log = str(file)
    try:
        db, given = read_only(file), {Path(one).read_text().strip() for one in keys}
        for log, key, size in rows(db, 'SELECT log, "key", size FROM made.logs ORDER BY log'):
            print(f"{log}: {check_log(db, given, log, key, size)}")
        log = "tables"
        print(f"{log}: {check_tables(db)}")
    except Exception as fault:
        print(f"{log}: {fault or type(fault).__name__}")
        return 1
    print("intact")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
