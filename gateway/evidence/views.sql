-- The views of evidence.duckdb over the live journals. {journal} and {checkpoints} are quoted patterns, {base} the
-- steps before the first view, which each view carries itself: so the file shows no other view, and works under any
-- name it is attached by. Written for DuckDB 1.0 and later: no lambda, no window default, nothing younger.

-- Every line as it stands. A torn one has NULL fields; the room kept for later lines reads as one line of NULs.
lines AS NOT MATERIALIZED (
    SELECT
        regexp_extract(filename, '/logs/([^/]+)/journal/', 1) AS place,
        chain,
        salt,
        payload,
        entry,
        json_transform(
            CASE WHEN json_valid(entry) THEN entry END,
            '{"log":"VARCHAR","seq":"BIGINT","ts":"VARCHAR","sid":"VARCHAR","n":"BIGINT","kind":"VARCHAR",
              "by":"VARCHAR","iss":"VARCHAR","sub":"VARCHAR","jti":"VARCHAR","conn":"VARCHAR","tgt":"VARCHAR",
              "op":"VARCHAR","verdict":"VARCHAR","would":"VARCHAR","rule":"VARCHAR","policy":"VARCHAR",
              "plen":"BIGINT","pc":"VARCHAR","part":"BIGINT","parts":"BIGINT","of":"BIGINT","proto":"VARCHAR",
              "oh":"VARCHAR","approval":"VARCHAR","outcome":"VARCHAR","sqlstate":"VARCHAR","rows":"BIGINT",
              "bytes":"BIGINT","us":"BIGINT","reason":"VARCHAR","addr":"VARCHAR","owner":"VARCHAR",
              "role":"VARCHAR","tpid":"BIGINT","started":"VARCHAR","statements":"BIGINT","denied":"BIGINT",
              "held":"BIGINT","style":"VARCHAR","values":"BIGINT","sealed":"BIGINT","alarm":"VARCHAR",
              "decision":"VARCHAR","requested":"VARCHAR","expires":"VARCHAR","approver":"VARCHAR",
              "assurance":"VARCHAR","who":"VARCHAR","what":"VARCHAR","from":"BIGINT","to":"BIGINT","why":"VARCHAR"}'
        ) AS e
    FROM read_csv(
        {journal},
        delim = '\t', quote = '', escape = '', new_line = '\n', header = false, auto_detect = false,
        filename = true, null_padding = true, ignore_errors = true, max_line_size = 4194304,
        columns = {'chain': 'VARCHAR', 'salt': 'VARCHAR', 'entry': 'VARCHAR', 'payload': 'VARCHAR'}
    )
    WHERE NOT starts_with(chain, chr(0))
),
-- Lines that are whole: the entry is JSON and the payload has its length, or was erased together with its salt.
entries AS NOT MATERIALIZED (
    SELECT
        e.log AS log,
        e.seq AS seq,
        TRY_CAST(substr(e.ts, 1, 26) AS TIMESTAMP) AS ts,
        e.sid AS session_id,
        e.n AS n,
        e.kind AS kind,
        e,
        chain,
        payload,
        entry
    FROM lines
    WHERE e.seq IS NOT NULL
        AND CASE WHEN payload IS NULL THEN e.plen IS NULL OR salt IS NULL ELSE strlen(payload) = e.plen END
),
-- One row for each record, with the payloads of its parts put together. A quote inside a JSON string is escaped, so
-- that '"part":' can only be the key.
whole AS NOT MATERIALIZED (
    SELECT log, seq, ts, session_id, n, kind, e, payload
    FROM entries
    WHERE NOT contains(entry, '"part":')
    UNION ALL
    SELECT
        log,
        seq - e.part + 1,
        min(ts),
        any_value(session_id),
        any_value(n),
        any_value(kind),
        any_value(e),
        string_agg(payload, '' ORDER BY seq)
    FROM entries
    WHERE contains(entry, '"part":')
    GROUP BY log, seq - e.part + 1
)
-- views

CREATE VIEW records AS
WITH {base}
SELECT
    log, seq, ts, session_id, n, kind, e.sub AS subject, e.iss AS issuer, e.conn AS "connection", e.tgt AS target,
    e.verdict AS verdict, e.rule AS rule, e.pc AS payload_hash, chain, entry
FROM entries;

CREATE VIEW sessions AS
WITH {base},
gathered AS (
    SELECT
        session_id,
        any_value(e) FILTER (kind = 'session_start') AS s,
        any_value(payload) FILTER (kind = 'session_start') AS chosen,
        any_value(e) FILTER (kind = 'session_end') AS t,
        any_value(ts) FILTER (kind = 'session_end') AS ended,
        count(*) FILTER (kind = 'request' AND coalesce(e.part, 1) = 1) AS statements,
        count(*) FILTER (kind = 'request' AND coalesce(e.part, 1) = 1 AND e.verdict = 'deny') AS denied,
        count(*) FILTER (kind = 'request' AND coalesce(e.part, 1) = 1 AND e.approval IS NOT NULL) AS held,
        CAST(coalesce(sum(e.rows) FILTER (kind = 'result' AND coalesce(e.part, 1) = 1), 0) AS BIGINT) AS rows
    FROM entries
    WHERE session_id IS NOT NULL
    GROUP BY session_id
)
SELECT
    session_id,
    TRY_CAST(substr(s.started, 1, 26) AS TIMESTAMP) AS started,
    ended,
    s.sub AS subject,
    s.iss AS issuer,
    s.owner AS owner,
    s.jti AS jti,
    s.addr AS client_address,
    json_extract_string(chosen, '$.application') AS agent_application,
    s.conn AS "connection",
    s.tgt AS target,
    s.tpid AS target_pid,
    s.role AS target_role,
    coalesce(t.statements, statements) AS statements,
    coalesce(t.denied, denied) AS denied,
    coalesce(t.held, held) AS held,
    coalesce(t.rows, rows) AS rows,
    t.reason AS end_reason
FROM gathered
WHERE s IS NOT NULL;

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
        e.of AS of_n,
        e AS r,
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
    q.e.sub AS subject,
    q.e.conn AS "connection",
    q.e.tgt AS target,
    q.e.proto AS protocol,
    q.e.op AS operation,
    coalesce(a.sql.t, CAST(from_base64(a.sql.b) AS VARCHAR)) AS sql,
    [coalesce(p.s, p.t, p.b) FOR p IN a.parameters] AS parameters,
    q.e.verdict AS verdict,
    q.e.would AS would,
    q.e.rule AS rule,
    a.reason AS reason,
    q.e.approval AS approval_id,
    CASE
        WHEN r IS NOT NULL THEN r.outcome
        WHEN q.e.verdict = 'deny' THEN 'denied'
        WHEN ended.session_id IS NOT NULL THEN 'lost'
    END AS outcome,
    r.sqlstate AS sqlstate,
    r.rows AS rows,
    r.bytes AS bytes,
    r.us AS duration_us,
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
        e.approval AS approval_id,
        any_value(log) FILTER (kind = 'decision') AS log,
        max(seq) FILTER (kind = 'decision') AS seq,
        any_value(session_id) FILTER (kind = 'decision') AS session_id,
        any_value(e) FILTER (kind = 'decision') AS asked,
        any_value(e) FILTER (kind = 'decision' AND e.decision <> 'requested') AS decided,
        any_value(ts) FILTER (kind = 'decision' AND e.decision <> 'requested') AS decided_at,
        any_value(payload) FILTER (kind = 'decision' AND e.decision <> 'requested') AS words,
        any_value(e.oh) FILTER (kind = 'release') AS executed_hash
    FROM whole
    WHERE kind IN ('decision', 'release')
    GROUP BY e.approval
)
SELECT
    approval_id,
    log,
    seq,
    session_id,
    TRY_CAST(substr(asked.requested, 1, 26) AS TIMESTAMP) AS requested,
    decided_at AS decided,
    TRY_CAST(substr(asked.expires, 1, 26) AS TIMESTAMP) AS expires,
    asked.sub AS subject,
    decided.approver AS approver,
    decided.assurance AS assurance,
    decided.decision AS decision,
    json_extract_string(words, '$.reason') AS reason,
    asked.rule AS rule,
    asked.oh AS operation_hash,
    executed_hash,
    CAST(NULL AS VARCHAR) AS receipt
FROM gathered
WHERE asked IS NOT NULL;

CREATE VIEW masked AS
WITH {base}
SELECT
    log,
    seq,
    session_id,
    json_extract_string(payload, '$.column') AS column_name,
    json_extract_string(payload, '$.sources[*]') AS source_columns,
    e.style AS style,
    e.values AS values_masked,
    e.sealed AS values_sealed
FROM whole
WHERE kind = 'masked';

CREATE VIEW logins AS
WITH {base}
SELECT
    ts, kind, e.sub AS subject, e.iss AS issuer, e.addr AS client_address, e.conn AS "connection",
    e.outcome AS outcome, e.reason AS reason
FROM entries
WHERE kind IN ('login', 'login_refused');

CREATE VIEW alarms AS
WITH {base}
SELECT log, seq, ts, session_id, e.alarm AS alarm, json_extract_string(payload, '$.detail') AS detail
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
SELECT ts, e.who AS who, e.what AS what, json_extract_string(payload, '$.reason') AS reason
FROM whole
WHERE kind = 'access';

CREATE VIEW checkpoints AS
WITH {base},
notes AS (
    SELECT string_split(content, chr(10)) AS note
    FROM read_text({checkpoints})
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
)
SELECT log, e.from AS from_seq, e.to AS to_seq, e.why AS why FROM entries WHERE kind = 'gap'
UNION ALL
SELECT log, before + 1, seq - 1, 'missing' FROM neighbours WHERE seq > before + 1
UNION ALL
SELECT coalesce(e.log, place), e.seq, e.seq, 'a line that is not whole: being written, torn by a crash, or changed'
FROM lines
WHERE e.seq IS NULL
    OR NOT CASE WHEN payload IS NULL THEN e.plen IS NULL OR salt IS NULL ELSE strlen(payload) = e.plen END;
