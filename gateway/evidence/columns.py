"""The typed columns that stand beside each exact entry, for queries: made from the entry, and proved equal to it.

The one list of them, and the SQL that makes and checks them, so that the views over the live journal, the segments and
`verify` agree. Pure: text of SQL, written for DuckDB 1.0 and later.
"""

from __future__ import annotations

_INTEGERS = frozenset(
    {
        "seq", "n", "plen", "part", "parts", "of", "rows", "bytes", "us", "tpid", "statements", "denied", "held",
        "values", "sealed", "from", "to",
    }
)  # fmt: skip
_LISTS = frozenset({"touched"})
"""Those that hold a list of texts; all others hold one text."""
NAMES = (
    "log", "seq", "sid", "n", "kind", "by", "iss", "sub", "jti", "conn", "tgt", "op", "verdict", "would", "rule",
    "policy", "plen", "pc", "part", "parts", "of", "proto", "oh", "approval", "outcome", "sqlstate", "rows", "bytes",
    "us", "reason", "addr", "owner", "role", "tpid", "started", "statements", "denied", "held", "style", "values",
    "sealed", "alarm",
    "decision", "requested", "expires", "approver", "assurance", "who", "what", "from", "to", "why", "touched",
)  # fmt: skip
"""Fields of an entry that have a column of the same name; `ts` has one too, as a TIMESTAMP."""
_BESIDE = {"dev": "BOOLEAN", "digest": "VARCHAR", "marks": "BOOLEAN", "mono": "BIGINT"}
"""Fields without a column of the kinds in `PLAIN`, by what they hold."""
_RARELY = {"exp": "VARCHAR", "forwarded": "BOOLEAN", "max_rows": "BIGINT", "size": "BIGINT"}
"""The same of those that no kind in `BULK` has: to look for one in an entry takes 50 ns, also where it is not."""
PLAIN = (
    "login", "login_refused", "session_start", "session_end", "prepare", "request", "execute", "data", "result",
    "masked", "cancel", "kill", "alarm", "access",
)  # fmt: skip
"""Kinds whose entries hold names and values alone; the others are few and looked at one by one."""
BULK = frozenset({"data", "prepare", "request", "result"})
"""Kinds whose payloads are many and large."""
GROUP = 2048
"""Records that are fetched together, by their place in the file."""
NONE = "\x01"
"""Stands in fetched texts for a session where there is none: no text of a canonical entry holds it."""
_BULK = tuple(sorted(BULK))
_SAFE = 9007199254740991
_TEXTS = tuple(f'"{name}"' for name in NAMES if name not in _INTEGERS | _LISTS)
_TIME = "strftime(\"ts\", '%Y-%m-%dT%H:%M:%S.%fZ')"
_COLUMNS = "{'chain': 'VARCHAR', 'salt': 'VARCHAR', 'entry': 'VARCHAR', 'payload': 'VARCHAR'}"


def transform() -> str:
    """Return the shape that `json_transform` makes of an entry, as an SQL string."""
    kinds = {name: '"BIGINT"' if name in _INTEGERS else '"VARCHAR"' for name in ["ts", *NAMES]}
    kinds |= dict.fromkeys(_LISTS, '["VARCHAR"]')
    return "'{" + ", ".join(f'"{name}":{kind}' for name, kind in kinds.items()) + "}'"


def journal(quoted_path: str) -> str:
    """Return the table of a journal's lines; what the format refuses in a line becomes NULL there."""
    return f"""read_csv(
        {quoted_path},
        delim = '\\t', quote = '', escape = '', new_line = '\\n', header = false, auto_detect = false,
        filename = true, null_padding = true, ignore_errors = true, max_line_size = 4194304, columns = {_COLUMNS}
    )"""


def columns(of: str, prefix: str = "") -> str:
    """Return the select list that takes every typed column from struct `of`, named with `prefix`."""
    moment = f'TRY_CAST(substr({of}."ts", 1, 26) AS TIMESTAMP) AS "{prefix}ts"'
    return ", ".join([moment, *(f'{of}."{name}" AS "{prefix}{name}"' for name in NAMES)])


def extracted(of: str, prefix: str) -> str:
    """Return the select list that takes each typed column from JSON text `of` by itself: a query pays for what it asks.

    The same values as `columns` of `transform`.
    """

    def one(name: str) -> str:
        if name in _LISTS:
            return f"nullif(json_extract_string({of}, '$.{name}[*]'), [])"
        text = f"json_extract_string({of}, '$.{name}')"
        return f"TRY_CAST({text} AS BIGINT)" if name in _INTEGERS else text

    moment = f"TRY_CAST(substr(json_extract_string({of}, '$.ts'), 1, 26) AS TIMESTAMP) AS \"{prefix}ts\""
    return ", ".join([moment, *(f'{one(name)} AS "{prefix}{name}"' for name in NAMES)])


def named(prefix: str) -> str:
    """Return the select list that names a segment's own columns with `prefix`."""
    return ", ".join(f'"{name}" AS "{prefix}{name}"' for name in ["ts", *NAMES])


def rows(quoted_path: str, segment: str, *, guarded: bool, group: int | None = None) -> str:
    """Return the query for a segment's records in order: number, chain value, entry, and `proved` as in `grouped`.

    `guarded` bears entries that are no JSON, at a price; `group` asks for those of one group alone.
    """
    proved = _proved(quoted_path, segment, guarded=guarded, group=group)
    return f"SELECT seq, chain, encode(entry), proved FROM ({proved}) ORDER BY place"  # noqa: S608  ours


def grouped(quoted_path: str, segment: str) -> str:
    """Return the query for a segment's records by groups, each column as one text with separators.

    A group's number, how many records and how many commitments it has, the first record's number, whether numbers
    follow each other; for each record what its typed columns prove of its entry, session, chain value, time, kind, `n`
    and `of`. `proved` is 2 where the columns, written out as an entry, give exactly the entry: then it is
    canonical and the columns are all that it says, since none of them holds a quotation mark or a backslash, nor a
    number that is too large for one. Elsewhere 1 says that the columns agree with the entry, 0 that they do not.
    """
    texts = ("coalesce(chain, '')", f"coalesce({_TIME}, '')", "coalesce(kind, '')")
    numbers = ("""coalesce(CAST(n AS VARCHAR), '')""", """coalesce(CAST("of" AS VARCHAR), '')""")
    listed = ", ".join(f"string_agg({one}, ',')" for one in (*texts, *numbers))
    return f"""
        SELECT place // {GROUP} AS number, count(*), count(pc), min(seq - place) + min(place),
            count(seq) = count(*) AND min(seq - place) = max(seq - place), string_agg(CAST(proved AS VARCHAR), ''),
            string_agg(coalesce(sid, '{NONE}'), chr(10)), {listed}
        FROM ({_proved(quoted_path, segment, guarded=False)})
        GROUP BY number ORDER BY number
    """  # noqa: S608  our own paths and names, quoted


def entries(quoted_path: str) -> str:
    """Return the query for a segment's entries, in the order of the file as groups are."""
    return f"SELECT encode(entry) FROM read_parquet({quoted_path})"  # noqa: S608  our own paths, quoted


def commitments(payload: str, entries: str, segment: str) -> str:
    """Return the query for a segment's payloads by groups of their records, each column as one text with separators.

    A group's number (NULL: of payloads that belong to no record here), how many payloads it has, whether each has the
    length that its record's column says and names its segment and kind; salts, payloads and the commitments in the
    records' columns.
    """
    return f"""
        SELECT place // {GROUP} AS number, count(*),
            coalesce(bool_and(
                payload <> '' AND strlen(payload) = plen AND salt IS NOT NULL AND pc IS NOT NULL
                AND {_belongs(segment)}
            ), false),
            string_agg(salt, ','), string_agg(payload, chr(10)), string_agg(pc, ',')
        FROM read_parquet({payload}) AS kept
        LEFT JOIN (SELECT seq, kind, plen, pc, file_row_number AS place
            FROM read_parquet({entries}, file_row_number = true)) AS told USING (seq)
        GROUP BY number
    """  # noqa: S608  our own paths and names, quoted


def _proved(quoted_path: str, segment: str, *, guarded: bool, group: int | None = None) -> str:
    """Return the query for a segment's columns, with `place` in the file and `proved`, as `grouped` has it."""
    entry = "CASE WHEN json_valid(entry) THEN entry END" if guarded else "entry"
    kinds = {name: "BIGINT" if name in _INTEGERS else "VARCHAR" for name in NAMES}
    value, lengths = {name: f'"{name}"' for name in NAMES}, list[str]()
    for of, beside in (("x", _BESIDE), ("y", _RARELY)):
        for place, (name, kind) in enumerate(beside.items(), 1):
            text = f"{of}[{place}]"
            kinds[name], value[name] = kind, text if kind == "VARCHAR" else f"TRY_CAST({text} AS {kind})"
            lengths += [f"length({text})"] if kind == "BIGINT" else []
    kinds["ts"], value["ts"] = "VARCHAR", _TIME
    for name in _LISTS:
        kinds[name], value[name] = "JSON", _listed(name)
    pieces = []
    for name in sorted([*kinds, "v"]):
        before, after = ("", ",") if name < "v" else (",", "")
        if name == "v":
            pieces.append("""'"v":1'""")
        elif kinds[name] == "VARCHAR":
            pieces.append(f"""'{before}"{name}":"' || {value[name]} || '"{after}'""")
        else:
            pieces.append(f"""'{before}"{name}":' || {value[name]} || '{after}'""")
    listed, these = ", ".join(f"'{kind}'" for kind in PLAIN), ""
    if group is not None:
        these = f"WHERE file_row_number // {GROUP} = {group}"
    usual, rare = (f"json_extract_string({entry}, {[f'$.{name}' for name in names]})" for names in (_BESIDE, _RARELY))
    integers = ", ".join(f'"{name}"' for name in NAMES if name in _INTEGERS)
    quoted = " OR ".join(f"contains({text}, '\"')" for text in _TEXTS)  # by column: each text of a dictionary once
    return f"""
        SELECT *, CASE WHEN plain THEN 2 WHEN {_agrees(segment, entry)} THEN 1 ELSE 0 END AS proved
        FROM (
            SELECT *,
                coalesce(
                    segment = '{segment}' AND kind IN ({listed}) AND part IS NULL
                    AND concat('{{', {", ".join(pieces)}, '}}') = entry AND NOT contains(entry, '\\')
                    AND NOT coalesce({quoted}, false)
                    AND least({integers}) >= -{_SAFE} AND greatest({integers}) <= {_SAFE}
                    AND greatest({", ".join(lengths)}) < 16,
                    false
                ) AS plain
            FROM (
                SELECT *, file_row_number AS place, {usual} AS x, CASE WHEN kind NOT IN {_BULK} THEN {rare} END AS y
                FROM read_parquet({quoted_path}, file_row_number = true) {these}
            )
        )
    """  # noqa: S608  our own paths and names, quoted


def untrue(quoted_path: str, segment: str) -> str:
    """Return the query for the `seq` of each row of a segment whose columns are not what its entry says."""
    return f"SELECT seq FROM ({_proved(quoted_path, segment, guarded=True)}) WHERE proved = 0 ORDER BY seq"  # noqa: S608  ours


def _agrees(segment: str, entry: str) -> str:
    """Return the condition that a row's columns are what its entry says."""
    paths = ", ".join(f"'$.{name}'" for name in ["ts", *NAMES])
    told = ", ".join([_TIME, *(_listed(name) if name in _LISTS else f'CAST("{name}" AS VARCHAR)' for name in NAMES)])
    same = f"json_extract_string({entry}, [{paths}]) IS NOT DISTINCT FROM [{told}]"
    return f"(segment IS NOT DISTINCT FROM '{segment}' AND {same})"


def _listed(name: str) -> str:
    """Return the text of a column that holds a list, as an entry has it."""
    return f'CAST(to_json("{name}") AS VARCHAR)'


def stray(payload: str, entries: str, segment: str) -> str:
    """Return the query for rows of a payload file that name another segment or kind: views would not find them."""
    return f"""
        SELECT seq FROM read_parquet({payload}) AS kept LEFT JOIN read_parquet({entries}) AS told USING (seq)
        WHERE NOT {_belongs(segment)} LIMIT 1
    """  # noqa: S608  our own paths and names, quoted


def _belongs(segment: str) -> str:
    return f"coalesce(kept.segment = '{segment}' AND kept.kind = told.kind, false)"


def kept(source: str, segment: str) -> str:
    """Return the query for a segment's payloads from the lines in `source`.

    Those of few and small kinds lie apart, so that an approval or an alarm is found without the statements. They are
    known by the entry's text, in a third of the time that its JSON takes: within a value quotation marks are escaped.
    """
    told = "json_extract_string(CASE WHEN json_valid(entry) THEN entry END, ['$.seq', '$.kind'])"
    bulk = f'coalesce(regexp_matches(entry, \'"kind":"({"|".join(_BULK)})"\'), false)'

    def rows(wanted: str) -> str:
        return f"""
            SELECT '{segment}' AS segment, CAST(told[1] AS BIGINT) AS seq, told[2] AS kind, salt, payload
            FROM (SELECT {told} AS told, salt, payload FROM {source} AND (salt IS NOT NULL OR payload IS NOT NULL)
                AND {wanted})
        """  # noqa: S608  our own paths and names, quoted

    return f"{rows(f'NOT {bulk}')} UNION ALL {rows(bulk)}"


def paid(quoted_path: str, what: str, since: int | None = None, last: int | None = None) -> tuple[str, str]:
    """Return the queries for `what` of a segment's payloads: of the few kinds, and of the many; each in order.

    Only those from record `since` on, and up to record `last`.
    """
    first = ("" if since is None else f" AND seq >= {since}") + ("" if last is None else f" AND seq <= {last}")
    bulk = f"coalesce(kind IN {_BULK}, false)"  # a tuple of words reads as SQL does
    few, many = (f"SELECT {what} FROM read_parquet({quoted_path}) WHERE {one}{first}" for one in (f"NOT {bulk}", bulk))  # noqa: S608
    return few, many
