-- The views of evidence.duckdb over the live journals and the segments. Words in braces are filled in by views.py, {base}
-- with the segments that are there; the steps (NAME := query) are written in place wherever a view reads from one, so
-- that a filter reaches the files, the file shows no other view, and it works under any name it is attached by. Written
-- for DuckDB 1.0 and later: no lambda, no window default, nothing younger.
--
-- What is archived stands first in each UNION: DuckDB takes the first part for the measure of the whole when it plans.
-- `kind IN (SELECT 'request')` filters nothing that `kind = 'request'` does not. It tells the planner that few rows are
-- left, which is so whenever somebody asks about a session, a subject or an hour; then it gathers these and looks for what
-- belongs to them, instead of gathering every answer and every payload (3.7 s or 0.6 s for an hour in ten million records).

-- Which segments count in this query: those that got their name a minute before it began, and those whose journal file
-- is not there. Younger ones are left out of the archived half, and their journal files are read. Versions of DuckDB list
-- files at different moments, some again for each mention; with this rule every list gives the same answer.
archived AS MATERIALIZED (
    SELECT segment
    FROM (
        SELECT
            regexp_extract(filename, '/logs/([^/]+)/entries/seg-([0-9]+)[.]parquet$', 1) || '/'
            || regexp_extract(filename, '/logs/([^/]+)/entries/seg-([0-9]+)[.]parquet$', 2) AS segment,
            epoch(last_modified) AS named
        FROM {segments}
    )
    WHERE named <= epoch(now()) - 60
        OR segment NOT IN (
            SELECT
                regexp_extract(file, '/logs/([^/]+)/journal/([0-9]+)[.]tsv$', 1) || '/'
                || regexp_extract(file, '/logs/([^/]+)/journal/([0-9]+)[.]tsv$', 2)
            FROM {journals}
        )
)
-- steps
-- Every live line as it stands. A torn one has NULL fields; the room kept for later lines reads as one line of NULs.
lines := (
    SELECT
        regexp_extract(filename, '/logs/([^/]+)/journal/', 1) AS place,
        chain,
        salt,
        payload,
        entry,
        CASE WHEN json_valid(entry) THEN entry END AS e
    FROM {journal}
    WHERE NOT starts_with(chain, chr(0))
        AND NOT coalesce(
            regexp_extract(filename, '/logs/([^/]+)/journal/', 1) || '/'
            || regexp_extract(filename, '/([0-9]+)[.]tsv$', 1) IN (SELECT segment FROM archived),
            false
        )
)
-- Live lines that are whole: the entry is JSON and the payload has its length, or was erased together with its salt.
live := (
    SELECT {live_columns}, chain, payload, entry
    FROM lines
    WHERE json_extract_string(e, '$.seq') IS NOT NULL
        AND CASE
            WHEN payload IS NULL THEN salt IS NULL OR json_extract_string(e, '$.plen') IS NULL
            ELSE strlen(payload) = TRY_CAST(json_extract_string(e, '$.plen') AS BIGINT)
        END
)
-- Archived records without their payloads.
archive := (
    SELECT {named}, segment, chain, entry
    FROM {entries_table}
    WHERE segment IN (SELECT segment FROM archived)
)
-- Each record without its payload.
entries := (
    SELECT *, e_log AS log, e_seq AS seq, e_ts AS ts, e_sid AS session_id, e_n AS n, e_kind AS kind
    FROM (
        SELECT * EXCLUDE (segment)
        FROM archive
        UNION ALL
        SELECT * EXCLUDE (payload)
        FROM live
    )
)
-- Each line of a record with its payload.
paid := (
    SELECT *, e_log AS log, e_seq AS seq, e_ts AS ts, e_sid AS session_id, e_n AS n, e_kind AS kind
    FROM (
        SELECT archive.* EXCLUDE (segment, chain, entry), kept.payload
        FROM archive
        LEFT JOIN {payload_table} AS kept
            ON kept.kind = archive.e_kind AND kept.segment = archive.segment AND kept.seq = archive.e_seq
        UNION ALL
        SELECT * EXCLUDE (chain, entry)
        FROM live
    )
)
-- Records whose payload came in parts: one row each, with the parts put together.
parts := (
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
-- One row for each record, with its payload.
whole := (
    SELECT log, seq, ts, session_id, n, kind, payload, {whole_columns}
    FROM paid
    WHERE e_part IS NULL
    UNION ALL
    SELECT log, seq, ts, session_id, n, kind, payload, {whole_columns}
    FROM parts
)
-- One row for each record, with what of its payload is live; for the rest, `place`, where it is to be looked up in
-- `payloads`: its segment, or, where it came in parts, its log after an equals sign, which begins no segment's name.
due := (
    SELECT *, e_log AS log, e_seq AS seq, e_ts AS ts, e_sid AS session_id, e_n AS n, e_kind AS kind
    FROM (
        SELECT
            * EXCLUDE (segment, chain, entry), NULL AS payload,
            CASE WHEN e_part IS NULL THEN segment ELSE '=' || e_log END AS place
        FROM archive
        UNION ALL
        SELECT
            * EXCLUDE (chain, payload, entry), CASE WHEN e_part IS NULL THEN payload END AS payload,
            CASE WHEN e_part IS NOT NULL THEN '=' || e_log END AS place
        FROM live
    )
    WHERE coalesce(e_part, 1) = 1
)
-- Payloads to be looked up by `place` and number. Those that came in parts are a branch of this and no join of their own,
-- since a join costs for every row that goes through it, whether there is anything to find or not.
payloads := (
    SELECT segment AS place, seq, kind, payload FROM {payload_table}
    UNION ALL
    SELECT '=' || log, seq, kind, payload FROM parts
)
requests := (SELECT * FROM due WHERE kind = 'request' AND kind IN (SELECT 'request'))
results := (SELECT * FROM due WHERE kind = 'result')
ended := (SELECT session_id FROM entries WHERE kind = 'session_end')
-- Each request with what became of it.
matched := (
    SELECT
        q.*,
        answer.seq AS result_seq,
        answer.place AS result_place,
        answer.payload AS result_payload,
        CASE
            WHEN answer.e_of IS NOT NULL THEN answer.e_outcome
            WHEN q.e_verdict = 'deny' THEN 'denied'
            WHEN q.session_id IN (SELECT session_id FROM ended) THEN 'lost'
        END AS outcome,
        answer.e_sqlstate AS sqlstate,
        answer.e_rows AS rows,
        answer.e_bytes AS bytes,
        answer.e_us AS duration_us
    FROM (SELECT * FROM requests) AS q
    LEFT JOIN (SELECT * FROM results) AS answer
        ON answer.log = q.log AND answer.session_id = q.session_id AND answer.e_of = q.n
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
started AS (
    SELECT * FROM due WHERE kind = 'session_start'
    QUALIFY row_number() OVER (PARTITION BY session_id ORDER BY log, seq) = 1
),
finished AS (
    SELECT
        session_id,
        any_value(ts) AS ended,
        any_value(e_reason) AS end_reason,
        any_value(e_statements) AS statements,
        any_value(e_denied) AS denied,
        any_value(e_held) AS held,
        any_value(e_rows) AS rows
    FROM entries
    WHERE kind = 'session_end'
    GROUP BY session_id
),
-- Only what has no end is counted from its records.
open AS (
    SELECT session_id
    FROM entries
    WHERE kind = 'session_start' AND kind IN (SELECT 'session_start')
        AND NOT EXISTS (SELECT 1 FROM finished WHERE finished.session_id = entries.session_id)
),
running AS (
    SELECT
        session_id,
        count(*) FILTER (kind = 'request' AND e_by IS NULL) AS statements,
        count(*) FILTER (kind = 'request' AND e_verdict = 'deny') AS denied,
        count(*) FILTER (kind = 'request' AND e_approval IS NOT NULL) AS held,
        CAST(coalesce(sum(e_rows) FILTER (kind = 'result'), 0) AS BIGINT) AS rows
    FROM entries
    WHERE kind IN ('request', 'result')
        AND coalesce(e_part, 1) = 1
        AND session_id IN (SELECT session_id FROM open)
    GROUP BY session_id
),
told AS (SELECT place, seq, payload FROM payloads WHERE kind = 'session_start'),
began AS (
    SELECT started.* EXCLUDE (payload), coalesce(started.payload, told.payload) AS payload
    FROM started
    LEFT JOIN told ON told.place = started.place AND told.seq = started.seq
)
SELECT
    began.session_id AS session_id,
    TRY_CAST(substr(began.e_started, 1, 26) AS TIMESTAMP) AS started,
    finished.ended AS ended,
    began.e_sub AS subject,
    began.e_iss AS issuer,
    began.e_owner AS owner,
    began.e_jti AS jti,
    began.e_addr AS client_address,
    json_extract_string(CASE WHEN json_valid(payload) THEN payload END, '$.application') AS agent_application,
    began.e_conn AS "connection",
    began.e_tgt AS target,
    began.e_tpid AS target_pid,
    began.e_role AS target_role,
    coalesce(finished.statements, running.statements, 0) AS statements,
    coalesce(finished.denied, running.denied, 0) AS denied,
    coalesce(finished.held, running.held, 0) AS held,
    coalesce(finished.rows, running.rows, 0) AS rows,
    finished.end_reason AS end_reason
FROM began
LEFT JOIN finished ON finished.session_id = began.session_id
LEFT JOIN running ON running.session_id = began.session_id;

CREATE VIEW statements AS
WITH {base},
asked AS (SELECT place, seq, payload FROM payloads WHERE kind = 'request'),
answered AS (SELECT place, seq, payload FROM payloads WHERE kind = 'result'),
-- Payloads are looked up last, for those alone that are left.
told AS (
    SELECT
        matched.*,
        coalesce(matched.payload, asked.payload) AS request_payload,
        coalesce(matched.result_payload, answered.payload) AS answer_payload
    FROM matched
    LEFT JOIN asked ON asked.place = matched.place AND asked.seq = matched.seq
    LEFT JOIN answered ON answered.place = matched.result_place AND answered.seq = matched.result_seq
),
read AS (
    SELECT
        *,
        json_transform(
            CASE WHEN json_valid(request_payload) THEN request_payload END,
            '{"sql":{"t":"VARCHAR","b":"VARCHAR"},"reason":"VARCHAR",
              "parameters":[{"t":"VARCHAR","b":"VARCHAR","s":"VARCHAR"}]}'
        ) AS a,
        json_extract_string(
            CASE WHEN json_valid(answer_payload) THEN answer_payload END, '$.masked_columns[*]'
        ) AS masked_columns
    FROM told
)
SELECT
    log,
    seq,
    ts,
    session_id,
    n,
    e_sub AS subject,
    e_conn AS "connection",
    e_tgt AS target,
    e_proto AS protocol,
    e_op AS operation,
    coalesce(a.sql.t, CAST(from_base64(a.sql.b) AS VARCHAR)) AS sql,
    [coalesce(p.s, p.t, p.b) FOR p IN a.parameters] AS parameters,
    e_verdict AS verdict,
    e_would AS would,
    e_rule AS rule,
    a.reason AS reason,
    e_approval AS approval_id,
    outcome,
    sqlstate,
    rows,
    bytes,
    duration_us,
    masked_columns
FROM read;

-- The same without what their payloads hold, which is most of the reading: counts and outcomes of everything.
CREATE VIEW operations AS
WITH {base}
SELECT
    log,
    seq,
    ts,
    session_id,
    n,
    e_sub AS subject,
    e_conn AS "connection",
    e_tgt AS target,
    e_proto AS protocol,
    e_op AS operation,
    e_verdict AS verdict,
    e_would AS would,
    e_rule AS rule,
    e_approval AS approval_id,
    e_touched AS touched,
    outcome,
    sqlstate,
    rows,
    bytes,
    duration_us
FROM matched;

-- The same without what became of them: a word in any text, the newest of somebody.
CREATE VIEW requests AS
WITH {base},
asked AS (SELECT place, seq, payload FROM payloads WHERE kind = 'request'),
read AS (
    SELECT
        requests.* EXCLUDE (payload),
        json_transform(
            CASE WHEN json_valid(coalesce(requests.payload, asked.payload)) THEN coalesce(requests.payload, asked.payload) END,
            '{"sql":{"t":"VARCHAR","b":"VARCHAR"},"reason":"VARCHAR",
              "parameters":[{"t":"VARCHAR","b":"VARCHAR","s":"VARCHAR"}]}'
        ) AS a
    FROM requests
    LEFT JOIN asked ON asked.place = requests.place AND asked.seq = requests.seq
)
SELECT
    log,
    seq,
    ts,
    session_id,
    n,
    e_sub AS subject,
    e_conn AS "connection",
    e_tgt AS target,
    e_proto AS protocol,
    e_op AS operation,
    coalesce(a.sql.t, CAST(from_base64(a.sql.b) AS VARCHAR)) AS sql,
    [coalesce(p.s, p.t, p.b) FOR p IN a.parameters] AS parameters,
    e_verdict AS verdict,
    e_would AS would,
    e_rule AS rule,
    a.reason AS reason,
    e_approval AS approval_id
FROM read;

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
        arg_max(ts, seq) FILTER (kind = 'decision' AND e_decision NOT IN ('requested', 'agreed', 'escalated', 'executed')) AS decided,
        arg_max(e_approver, seq) FILTER (kind = 'decision' AND e_decision NOT IN ('requested', 'agreed', 'escalated', 'executed')) AS approver,
        arg_max(e_assurance, seq) FILTER (kind = 'decision' AND e_decision NOT IN ('requested', 'agreed', 'escalated', 'executed')) AS assurance,
        arg_max(e_decision, seq) FILTER (kind = 'decision' AND e_decision NOT IN ('requested', 'agreed', 'escalated', 'executed')) AS decision,
        arg_max(json_extract_string(payload, '$.reason'), seq) FILTER (kind = 'decision' AND e_decision NOT IN ('requested', 'agreed', 'escalated', 'executed')) AS reason,
        arg_max(json_extract_string(payload, '$.receipt'), seq) FILTER (kind = 'decision' AND e_decision NOT IN ('requested', 'agreed', 'escalated', 'executed')) AS receipt,
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
    reason,
    rule,
    operation_hash,
    executed_hash,
    receipt
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
-- Stretches without a gap: a segment whose records are as many as its numbers, else each record by itself.
stretches AS (
    SELECT e_log AS log, min(e_seq) AS first, max(e_seq) AS last, segment, count(*) AS records
    FROM archive
    GROUP BY e_log, segment
),
spans AS (
    SELECT log, first, last FROM stretches WHERE records = last - first + 1
    UNION ALL
    SELECT e_log, e_seq, e_seq
    FROM archive
    WHERE segment IN (SELECT segment FROM stretches WHERE records <> last - first + 1)
    UNION ALL
    SELECT e_log, e_seq, e_seq FROM live
),
neighbours AS (
    SELECT log, first AS seq, coalesce(lag(last) OVER (PARTITION BY log ORDER BY first, last), -1) AS before FROM spans
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
SELECT
    coalesce(json_extract_string(e, '$.log'), place),
    TRY_CAST(json_extract_string(e, '$.seq') AS BIGINT),
    TRY_CAST(json_extract_string(e, '$.seq') AS BIGINT),
    'a line that is not whole: being written, torn by a crash, or changed'
FROM lines
WHERE json_extract_string(e, '$.seq') IS NULL
    OR NOT CASE
        WHEN payload IS NULL THEN salt IS NULL OR json_extract_string(e, '$.plen') IS NULL
        ELSE strlen(payload) = TRY_CAST(json_extract_string(e, '$.plen') AS BIGINT)
    END;
