-- The views of evidence.duckdb over the live journals and the segments. Words in braces are filled in by views.py, {base}
-- with the steps before the first view, which each view carries itself: so the file shows no other view, and works
-- under any name it is attached by. Written for DuckDB 1.0 and later: no lambda, no window default, nothing younger.

-- Which segments are there, asked once a query and, as what is materialized, before the segments themselves are looked
-- up: one that gets its name a moment later is left out of both halves below, where its journal file still stands.
archived AS MATERIALIZED (
    SELECT
        regexp_extract(file, '/logs/([^/]+)/entries/seg-([0-9]+)[.]parquet$', 1) || '/'
        || regexp_extract(file, '/logs/([^/]+)/entries/seg-([0-9]+)[.]parquet$', 2) AS segment
    FROM {segments}
),
-- Every live line as it stands. A torn one has NULL fields; the room kept for later lines reads as one line of NULs.
lines AS NOT MATERIALIZED (
    SELECT
        regexp_extract(filename, '/logs/([^/]+)/journal/', 1) AS place,
        chain,
        salt,
        payload,
        entry,
        json_transform(CASE WHEN json_valid(entry) THEN entry END, {transform}) AS e
    FROM {journal}
    WHERE NOT starts_with(chain, chr(0))
        AND NOT coalesce(
            regexp_extract(filename, '/logs/([^/]+)/journal/', 1) || '/'
            || regexp_extract(filename, '/([0-9]+)[.]tsv$', 1) IN (SELECT segment FROM archived),
            false
        )
),
-- Live lines that are whole: the entry is JSON and the payload has its length, or was erased together with its salt.
live AS NOT MATERIALIZED (
    SELECT {live_columns}, chain, payload, entry
    FROM lines
    WHERE e.seq IS NOT NULL
        AND CASE WHEN payload IS NULL THEN e.plen IS NULL OR salt IS NULL ELSE strlen(payload) = e.plen END
),
-- Each record without its payload.
entries AS NOT MATERIALIZED (
    SELECT *, e_log AS log, e_seq AS seq, e_ts AS ts, e_sid AS session_id, e_n AS n, e_kind AS kind
    FROM (
        SELECT * EXCLUDE (payload)
        FROM live
        UNION ALL
        SELECT {named}, chain, entry
        FROM {entries_table}
        WHERE segment IN (SELECT segment FROM archived)
    )
),
-- Each line of a record with its payload.
paid AS NOT MATERIALIZED (
    SELECT *, e_log AS log, e_seq AS seq, e_ts AS ts, e_sid AS session_id, e_n AS n, e_kind AS kind
    FROM (
        SELECT * EXCLUDE (chain, entry)
        FROM live
        UNION ALL
        SELECT archive.* EXCLUDE (segment), kept.payload
        FROM (
            SELECT {named}, segment
            FROM {entries_table}
            WHERE segment IN (SELECT segment FROM archived)
        ) AS archive
        LEFT JOIN {payload_table} AS kept ON kept.segment = archive.segment AND kept.seq = archive.e_seq
    )
),
-- One row for each record, with the payloads of its parts put together.
whole AS NOT MATERIALIZED (
    SELECT log, seq, ts, session_id, n, kind, payload, {whole_columns}
    FROM paid
    WHERE e_part IS NULL
    UNION ALL
    SELECT
        log,
        seq - e_part + 1 AS seq,
        min(ts) AS ts,
        any_value(session_id) AS session_id,
        any_value(n) AS n,
        any_value(kind) AS kind,
        string_agg(payload, '' ORDER BY seq) AS payload,
        {gathered_columns}
    FROM paid
    WHERE e_part IS NOT NULL
    GROUP BY log, seq - e_part + 1
)
-- views

CREATE VIEW records AS
WITH {base}
SELECT
    log, seq, ts, session_id, n, kind, e_sub AS subject, e_iss AS issuer, e_conn AS "connection", e_tgt AS target,
    e_verdict AS verdict, e_rule AS rule, e_pc AS payload_hash, chain, entry
FROM entries;

CREATE VIEW sessions AS
WITH {base},
gathered AS (
    SELECT
        session_id,
        any_value(log) FILTER (kind = 'session_start') AS log,
        any_value(seq) FILTER (kind = 'session_start') AS seq,
        any_value(e_started) FILTER (kind = 'session_start') AS started,
        any_value(e_sub) FILTER (kind = 'session_start') AS subject,
        any_value(e_iss) FILTER (kind = 'session_start') AS issuer,
        any_value(e_owner) FILTER (kind = 'session_start') AS owner,
        any_value(e_jti) FILTER (kind = 'session_start') AS jti,
        any_value(e_addr) FILTER (kind = 'session_start') AS client_address,
        any_value(e_conn) FILTER (kind = 'session_start') AS "connection",
        any_value(e_tgt) FILTER (kind = 'session_start') AS target,
        any_value(e_tpid) FILTER (kind = 'session_start') AS target_pid,
        any_value(e_role) FILTER (kind = 'session_start') AS target_role,
        any_value(ts) FILTER (kind = 'session_end') AS ended,
        any_value(e_reason) FILTER (kind = 'session_end') AS end_reason,
        any_value(e_statements) FILTER (kind = 'session_end') AS told_statements,
        any_value(e_denied) FILTER (kind = 'session_end') AS told_denied,
        any_value(e_held) FILTER (kind = 'session_end') AS told_held,
        any_value(e_rows) FILTER (kind = 'session_end') AS told_rows,
        count(*) FILTER (kind = 'request' AND coalesce(e_part, 1) = 1) AS statements,
        count(*) FILTER (kind = 'request' AND coalesce(e_part, 1) = 1 AND e_verdict = 'deny') AS denied,
        count(*) FILTER (kind = 'request' AND coalesce(e_part, 1) = 1 AND e_approval IS NOT NULL) AS held,
        CAST(coalesce(sum(e_rows) FILTER (kind = 'result' AND coalesce(e_part, 1) = 1), 0) AS BIGINT) AS rows
    FROM entries
    WHERE session_id IS NOT NULL
    GROUP BY session_id
),
chosen AS (
    SELECT log, seq, json_extract_string(CASE WHEN json_valid(payload) THEN payload END, '$.application') AS application
    FROM whole
    WHERE kind = 'session_start'
)
SELECT
    session_id,
    TRY_CAST(substr(gathered.started, 1, 26) AS TIMESTAMP) AS started,
    ended,
    subject,
    issuer,
    owner,
    jti,
    client_address,
    chosen.application AS agent_application,
    "connection",
    target,
    target_pid,
    target_role,
    coalesce(told_statements, statements) AS statements,
    coalesce(told_denied, denied) AS denied,
    coalesce(told_held, held) AS held,
    coalesce(told_rows, rows) AS rows,
    end_reason
FROM gathered
LEFT JOIN chosen ON chosen.log = gathered.log AND chosen.seq = gathered.seq
WHERE gathered.seq IS NOT NULL;

CREATE VIEW statements AS
WITH {base},
requests AS (
    SELECT
        *,
        json_transform(
            CASE WHEN json_valid(payload) THEN payload END,
            '{"sql":{"t":"VARCHAR","b":"VARCHAR"},"reason":"VARCHAR",
              "parameters":[{"t":"VARCHAR","b":"VARCHAR","s":"VARCHAR"}]}'
        ) AS a
    FROM whole
    WHERE kind = 'request'
),
results AS (
    SELECT
        log,
        session_id,
        e_of AS of_n,
        e_outcome AS outcome,
        e_sqlstate AS sqlstate,
        e_rows AS rows,
        e_bytes AS bytes,
        e_us AS duration_us,
        json_extract_string(CASE WHEN json_valid(payload) THEN payload END, '$.masked_columns[*]') AS masked_columns
    FROM whole
    WHERE kind = 'result'
),
ended AS (SELECT DISTINCT session_id FROM entries WHERE kind = 'session_end')
SELECT
    q.log AS log,
    q.seq AS seq,
    q.ts AS ts,
    q.session_id AS session_id,
    q.n AS n,
    q.e_sub AS subject,
    q.e_conn AS "connection",
    q.e_tgt AS target,
    q.e_proto AS protocol,
    q.e_op AS operation,
    coalesce(a.sql.t, CAST(from_base64(a.sql.b) AS VARCHAR)) AS sql,
    [coalesce(p.s, p.t, p.b) FOR p IN a.parameters] AS parameters,
    q.e_verdict AS verdict,
    q.e_would AS would,
    q.e_rule AS rule,
    a.reason AS reason,
    q.e_approval AS approval_id,
    CASE
        WHEN results.of_n IS NOT NULL THEN results.outcome
        WHEN q.e_verdict = 'deny' THEN 'denied'
        WHEN ended.session_id IS NOT NULL THEN 'lost'
    END AS outcome,
    results.sqlstate AS sqlstate,
    results.rows AS rows,
    results.bytes AS bytes,
    results.duration_us AS duration_us,
    masked_columns
FROM requests AS q
LEFT JOIN results ON results.log = q.log AND results.session_id = q.session_id AND results.of_n = q.n
LEFT JOIN ended ON ended.session_id = q.session_id;

CREATE VIEW transcript AS
WITH {base},
shown AS (
    SELECT
        *,
        json_transform(
            CASE WHEN json_valid(payload) THEN payload END,
            '{"sql":{"t":"VARCHAR","b":"VARCHAR"},"content":{"t":"VARCHAR","b":"VARCHAR"},"text":"VARCHAR",
              "truncated":"BOOLEAN"}'
        ) AS p
    FROM whole
    WHERE kind IN ('request', 'data', 'result') AND session_id IS NOT NULL
)
SELECT
    log,
    seq,
    session_id,
    n,
    ts,
    CASE kind WHEN 'result' THEN 'out' ELSE 'in' END AS direction,
    CASE kind
        WHEN 'request' THEN coalesce(p.sql.t, CAST(from_base64(p.sql.b) AS VARCHAR))
        WHEN 'data' THEN coalesce(p.content.t, CAST(from_base64(p.content.b) AS VARCHAR))
        ELSE p.text
    END AS text,
    coalesce(p.truncated, false) AS truncated
FROM shown;

CREATE VIEW approvals AS
WITH {base},
gathered AS (
    SELECT
        e_approval AS approval_id,
        any_value(log) FILTER (kind = 'decision') AS log,
        max(seq) FILTER (kind = 'decision') AS seq,
        any_value(session_id) FILTER (kind = 'decision') AS session_id,
        any_value(e_requested) FILTER (kind = 'decision') AS requested,
        any_value(e_expires) FILTER (kind = 'decision') AS expires,
        any_value(e_sub) FILTER (kind = 'decision') AS subject,
        any_value(e_rule) FILTER (kind = 'decision') AS rule,
        any_value(e_oh) FILTER (kind = 'decision') AS operation_hash,
        any_value(ts) FILTER (kind = 'decision' AND e_decision NOT IN ('requested', 'agreed', 'executed')) AS decided,
        any_value(e_approver) FILTER (kind = 'decision' AND e_decision NOT IN ('requested', 'agreed', 'executed')) AS approver,
        any_value(e_assurance) FILTER (kind = 'decision' AND e_decision NOT IN ('requested', 'agreed', 'executed')) AS assurance,
        any_value(e_decision) FILTER (kind = 'decision' AND e_decision NOT IN ('requested', 'agreed', 'executed')) AS decision,
        any_value(payload) FILTER (kind = 'decision' AND e_decision NOT IN ('requested', 'agreed', 'executed')) AS words,
        any_value(e_oh) FILTER (kind = 'release') AS executed_hash
    FROM whole
    WHERE kind IN ('decision', 'release')
    GROUP BY e_approval
)
SELECT
    approval_id,
    log,
    seq,
    session_id,
    TRY_CAST(substr(requested, 1, 26) AS TIMESTAMP) AS requested,
    decided,
    TRY_CAST(substr(expires, 1, 26) AS TIMESTAMP) AS expires,
    subject,
    approver,
    assurance,
    decision,
    json_extract_string(words, '$.reason') AS reason,
    rule,
    operation_hash,
    executed_hash,
    json_extract_string(words, '$.receipt') AS receipt
FROM gathered
WHERE seq IS NOT NULL;

CREATE VIEW masked AS
WITH {base}
SELECT
    log,
    seq,
    session_id,
    json_extract_string(payload, '$.column') AS column_name,
    json_extract_string(payload, '$.sources[*]') AS source_columns,
    e_style AS style,
    e_values AS values_masked,
    e_sealed AS values_sealed
FROM whole
WHERE kind = 'masked' AND e_style IS NOT NULL;

CREATE VIEW logins AS
WITH {base}
SELECT
    ts, kind, e_sub AS subject, e_iss AS issuer, e_addr AS client_address, e_conn AS "connection",
    e_outcome AS outcome, e_reason AS reason
FROM entries
WHERE kind IN ('login', 'login_refused');

CREATE VIEW alarms AS
WITH {base}
SELECT log, seq, ts, session_id, e_alarm AS alarm, json_extract_string(payload, '$.detail') AS detail
FROM whole
WHERE kind = 'alarm';

CREATE VIEW policies AS
WITH {base},
shown AS (
    SELECT
        ts,
        json_transform(
            CASE WHEN json_valid(payload) THEN payload END,
            '{"connections":[{"connection":"VARCHAR","policy":"VARCHAR","rules":["VARCHAR"],"marks":["VARCHAR"]}],
              "operators":["VARCHAR"]}'
        ) AS p
    FROM whole
    WHERE kind = 'config'
),
listed AS (SELECT ts, p.operators AS operators, unnest(p.connections) AS c FROM shown)
SELECT c.policy AS policy, ts, c.connection AS "connection", c.rules AS rules, c.marks AS marks, operators
FROM listed;

CREATE VIEW access AS
WITH {base}
SELECT ts, e_who AS who, e_what AS what, json_extract_string(payload, '$.reason') AS reason
FROM whole
WHERE kind = 'access';

CREATE VIEW checkpoints AS
WITH {base},
notes AS (
    SELECT string_split(content, chr(10)) AS note
    FROM {notes}
    WHERE content <> ''
),
-- Lines of a note: origin, size, root, an empty one, then a signature each: dash, name, base64.
told AS (
    SELECT
        note[1] AS log,
        TRY_CAST(note[2] AS BIGINT) AS size,
        lower(hex(TRY_CAST(from_base64(CASE WHEN length(note[3]) = 44 THEN note[3] END) AS BLOB))) AS root,
        split_part(note[5], ' ', 2) AS signed_by,
        [split_part(line, ' ', 2) FOR line IN note[6:] IF line <> ''] AS witnessed_by
    FROM notes
)
SELECT told.log AS log, size, root, entries.ts AS ts, signed_by, witnessed_by
FROM told
LEFT JOIN entries ON entries.log = told.log AND entries.seq = size - 1;

CREATE VIEW gaps AS
WITH {base},
neighbours AS (
    SELECT log, seq, coalesce(lag(seq) OVER (PARTITION BY log ORDER BY seq), -1) AS before FROM entries
),
-- What was erased by range: `LOG:FIRST-LAST`, and which part of it where that is not all.
pruned AS (
    SELECT DISTINCT
        regexp_extract(what, '^(.*):[0-9]+-[0-9]+( [a-z]+)?$', 1) AS log,
        CAST(regexp_extract(what, ':([0-9]+)-[0-9]+( [a-z]+)?$', 1) AS BIGINT) AS from_seq,
        CAST(regexp_extract(what, '-([0-9]+)( [a-z]+)?$', 1) AS BIGINT) AS to_seq,
        trim(regexp_extract(what, '-[0-9]+( [a-z]+)?$', 1)) AS part,
        basis
    FROM (
        SELECT
            unnest(json_extract_string(entry, '$.records[*]')) AS what,
            json_extract_string(entry, '$.basis') AS basis
        FROM entries
        WHERE kind = 'erasure'
    )
    WHERE regexp_matches(what, ':[0-9]{1,15}-[0-9]{1,15}( [a-z]+)?$')
)
SELECT log, e_from AS from_seq, e_to AS to_seq, e_why AS why FROM entries WHERE kind = 'gap'
UNION ALL
SELECT
    neighbours.log,
    before + 1,
    seq - 1,
    coalesce((SELECT 'pruned: ' || min(basis) FROM pruned
              WHERE pruned.log = neighbours.log AND part = '' AND from_seq <= before + 1 AND to_seq >= seq - 1), 'missing')
FROM neighbours
WHERE seq > before + 1
UNION ALL
SELECT log, from_seq, to_seq, part || ' pruned: ' || basis FROM pruned WHERE part <> ''
UNION ALL
SELECT coalesce(e.log, place), e.seq, e.seq, 'a line that is not whole: being written, torn by a crash, or changed'
FROM lines
WHERE e.seq IS NULL
    OR NOT CASE WHEN payload IS NULL THEN e.plen IS NULL OR salt IS NULL ELSE strlen(payload) = e.plen END;
