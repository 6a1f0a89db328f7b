-- Questions that auditors ask, ready to run: `hoop-gateway evidence query DIR --saved NAME`. Each begins with a line of
-- its name, the control of SOC 2 (2017 Trust Services Criteria) that it bears on, and what it answers. They read the
-- views of evidence.duckdb and may be pasted into any DuckDB that has it open.

-- activity | CC7.2 | who did what in the last day: statement, verdict, by which rule or approval, and what came of it
SELECT ts, subject, "connection", operation, sql, verdict, rule, approval_id, outcome, rows, session_id, log, seq
FROM statements
WHERE ts >= make_timestamp(epoch_us(now()) - 86400000000)
ORDER BY ts DESC;

-- denied | CC6.1 | the newest statements that policy denied: who, where, by which rule
SELECT ts, subject, "connection", rule, session_id, log, seq
FROM records
WHERE kind = 'request' AND verdict = 'deny'
ORDER BY ts DESC
LIMIT 500;

-- agents | CC6.2 | how much each agent asked for on each connection, and how much of it was denied or held
SELECT
    subject, "connection", count(*) AS statements, count(*) FILTER (verdict = 'deny') AS denied,
    count(*) FILTER (verdict = 'approve') AS held, min(ts) AS first, max(ts) AS last
FROM records
WHERE kind = 'request'
GROUP BY subject, "connection"
ORDER BY statements DESC;

-- logins | CC6.1 | which agents logged in, to what, from how many addresses, and when first and last
SELECT
    subject, issuer, "connection", count(*) AS logins, count(DISTINCT regexp_extract(client_address, '^(.*):', 1)) AS addresses,
    min(ts) AS first, max(ts) AS last
FROM logins
WHERE outcome = 'ok'
GROUP BY subject, issuer, "connection"
ORDER BY last DESC;

-- refused-logins | CC6.6 | logins that were refused, by whom and why
SELECT ts, subject, issuer, client_address, "connection", reason FROM logins WHERE outcome <> 'ok' ORDER BY ts DESC;

-- killed | CC7.4 | sessions that an operator ended, and who did
SELECT ts, json_extract_string(entry, '$.by') AS by, subject, "connection", session_id, log, seq
FROM records
WHERE kind = 'kill'
ORDER BY ts DESC;

-- lost-sessions | CC7.4 | sessions that a crash ended
SELECT session_id, started, ended, subject, "connection", statements FROM sessions WHERE end_reason = 'lost'
ORDER BY started DESC;

-- approvals | CC8.1 | what was held for a person, who decided, how surely they were known, and why
SELECT requested, decided, subject, approver, assurance, decision, reason, rule, approval_id, log, seq
FROM approvals
ORDER BY requested DESC;

-- own-approvals | CC6.3 | approvals by the requester: four-eyes was broken; there must be none
SELECT * FROM approvals WHERE decision = 'approved' AND approver = subject;

-- break-glass | CC6.3 | what one person approved in the place of all who were missing, and why; each must be explained
SELECT decided, subject, approver, assurance, reason, rule, approval_id, log, seq
FROM approvals
WHERE approval_id IN (
    SELECT json_extract_string(entry, '$.approval')
    FROM records
    WHERE kind = 'decision' AND json_extract_string(entry, '$.break_glass') = 'true'
)
ORDER BY decided DESC;

-- changed-after-approval | CC8.1 | what ran and was not what was approved; there must be none
SELECT * FROM approvals WHERE executed_hash IS NOT NULL AND executed_hash <> operation_hash;

-- masked-columns | C1.1 | which sensitive columns were reached, and how many of their values were withheld
SELECT source_columns, style, count(*) AS results, sum(values_masked) AS values_masked, sum(values_sealed) AS values_sealed
FROM masked
GROUP BY source_columns, style
ORDER BY values_masked DESC;

-- inferred | C1.1 | statements that compared, joined, grouped or sorted by a marked column: what masking does not stop
SELECT ts, subject, "connection", touched AS columns, verdict, rule, session_id, log, seq
FROM operations
WHERE touched IS NOT NULL
ORDER BY ts DESC
LIMIT 500;

-- alarms | CC7.2 | what should not happen and was noticed
SELECT ts, alarm, detail, session_id, log, seq FROM alarms ORDER BY ts DESC;

-- policies | CC8.1 | every policy that was in force, from when
SELECT * FROM policies ORDER BY ts DESC;

-- evidence-access | CC4.1 | who looked at evidence or opened originals, and why
SELECT * FROM access ORDER BY ts DESC;

-- erased | C1.2 | what was erased or let go, on which basis, and by whom
SELECT
    ts, json_extract_string(entry, '$.records[*]') AS records, json_extract_string(entry, '$.basis') AS basis,
    json_extract_string(entry, '$.by') AS by, log, seq
FROM records
WHERE kind = 'erasure'
ORDER BY ts DESC;

-- witnessed | CC4.1 | how far each log was signed, and how far a witness elsewhere saw it
SELECT
    log, max(size) AS signed, max(ts) AS signed_at,
    max(size) FILTER (len(witnessed_by) > 0) AS witnessed, max(ts) FILTER (len(witnessed_by) > 0) AS witnessed_at
FROM checkpoints
GROUP BY log
ORDER BY log;

-- gaps | CC7.2 | what the evidence does not hold; what was not pruned on purpose must be explained
SELECT * FROM gaps;
