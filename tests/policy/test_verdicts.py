"""Every line of the preset `standard`: what an agent sends, and the rule that answers."""

# ruff: noqa: E501  one statement a line
from __future__ import annotations

import pytest
from policy_sample import judge

from gateway.model import VerdictKind
from gateway.policy.presets import STANDARD

ALLOWED = """
SELECT 1 | select
SELECT | select
VALUES (1), (2) | select
TABLE orders | select
SELECT * FROM orders | select
SELECT * FROM orders FOR UPDATE SKIP LOCKED | select
SELECT o.id, count(*) OVER (PARTITION BY user_id ORDER BY id) FROM orders o | select
SELECT upper('X') COLLATE "C", now(), current_user, pg_sleep(0) | select
WITH a AS (SELECT 1 AS x) SELECT * FROM a | select
WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 9) SELECT * FROM r | select
SELECT * FROM generate_series(1, 3) g, LATERAL (SELECT g * 2) x | select
SELECT * FROM ROWS FROM (generate_series(1, 2), unnest(ARRAY[1])) WITH ORDINALITY | select
SELECT * FROM json_to_recordset('[]') AS x(a int, b text) | select
SELECT 'users'::regclass, 'a'::mood, 1::posint, '[1,2]'::vector, NULL::users | select
SELECT similarity('a', 'b'), public.similarity('a', 'b') | select
SELECT '[1]'::vector <-> '[2]'::vector | select
SELECT public.net_price(1), net_price(2) | select
SELECT pg_advisory_xact_lock(hashtext(note)) FROM orders | select
SELECT id, pg_advisory_lock(1) FROM users | select
SELECT pg_advisory_lock(1), pg_try_advisory_xact_lock(2), pg_advisory_unlock_all() | select
SELECT nextval('s'), currval('s'), lastval() | select
SELECT has_table_privilege('orders', 'select'), pg_get_viewdef(6), format_type(23, -1) | select
SELECT set_config('statement_timeout', '5s', true) | setting
SELECT set_config('jit', $1, false) | setting
SELECT current_setting('server_version_num') | setting
SELECT current_setting('app.tenant', true) | setting
SELECT xmlelement(name a, 1), xmlforest(1 AS b) | select
SELECT JSON_OBJECT('a': 1), '{"a":1}'::json -> 'a' | select
SELECT * FROM JSON_TABLE('[1]'::jsonb, '$[*]' COLUMNS (a int PATH '$')) j | select
SELECT * FROM XMLTABLE('/a' PASSING '<a/>' COLUMNS x int) t | select
SELECT * FROM orders TABLESAMPLE SYSTEM (10) | select
SELECT relname FROM pg_class | catalog-read
SELECT relname FROM pg_catalog.pg_class c JOIN pg_attribute a ON a.attrelid = c.oid | catalog-read
SELECT * FROM information_schema.columns | catalog-read
SELECT name, pg_catalog.current_setting(s.name) FROM pg_catalog.pg_settings s | catalog-read
SELECT amname <> current_setting($1) FROM pg_am | catalog-read
INSERT INTO orders (id) VALUES (1) | insert
INSERT INTO orders VALUES (1, 2, 3, 'x') RETURNING id | insert
INSERT INTO orders DEFAULT VALUES | insert
INSERT INTO orders (id) SELECT id FROM users | insert
INSERT INTO orders (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET total = excluded.total | insert
INSERT INTO orders (id) VALUES (1) ON CONFLICT DO NOTHING | insert
INSERT INTO users (id, name) VALUES (1, 'x') | insert
UPDATE orders SET total = 1 WHERE id = 3 | update
UPDATE orders SET total = 1 WHERE CURRENT OF c | update
UPDATE orders o SET total = 1 FROM users u WHERE o.user_id = u.id AND o.id = 4 | update
UPDATE users SET name = 'x' WHERE id = 1 | update
COPY orders TO STDOUT | copy-out
COPY orders (id, total) TO STDOUT (FORMAT csv, HEADER) | copy-out
COPY users (id, name) TO STDOUT | copy-out
COPY (SELECT id FROM users) TO STDOUT (FORMAT binary) | copy-out
COPY orders FROM STDIN | copy-in
COPY orders (id) FROM STDIN WHERE id > 3 | copy-in
COPY users (id, name) FROM STDIN | copy-in
BEGIN | transaction
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE | transaction
START TRANSACTION READ WRITE | transaction
COMMIT AND CHAIN | transaction
ROLLBACK | transaction
SAVEPOINT a | transaction
ROLLBACK TO SAVEPOINT a | transaction
RELEASE a | transaction
SET CONSTRAINTS ALL DEFERRED | transaction
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ | setting
SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY | setting
SET application_name TO 'x' | setting
SET DateStyle = ISO, MDY | setting
SET TIME ZONE 'UTC' | setting
SET TIME ZONE LOCAL | setting
SET LOCAL work_mem = '64MB' | setting
SET enable_seqscan = off | setting
SET NAMES 'utf8' | setting
SET client_encoding TO 'UTF-8' | setting
SET search_path TO public | setting
SET search_path = "public" | setting
SET search_path = '' | setting
SET standard_conforming_strings = on | setting
SET app.tenant = '7' | setting
SET hnsw.ef_search = 100 | setting
SET extra_float_digits = 3 | setting
RESET ALL | setting
RESET search_path | setting
SET search_path TO DEFAULT | setting
SET SESSION AUTHORIZATION DEFAULT | setting
SHOW search_path | setting
SHOW TRANSACTION ISOLATION LEVEL | setting
SHOW server_version | setting
EXPLAIN SELECT * FROM users | explain
EXPLAIN (ANALYZE, BUFFERS, FORMAT json) SELECT * FROM orders | explain
EXPLAIN UPDATE orders SET total = 1 WHERE id = 2 | explain
DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT * FROM orders | cursor
CLOSE c | cursor
CLOSE ALL | cursor
PREPARE p (int) AS SELECT * FROM orders WHERE id = $1 | prepare
DEALLOCATE p | prepare
DEALLOCATE ALL | prepare
LISTEN a | listen
UNLISTEN * | listen
DISCARD ALL | discard
DISCARD TEMP | discard
SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL | select
"""

MASKED = """
SELECT email FROM users
SELECT * FROM users
SELECT upper(email) FROM users
TABLE users
SELECT mail FROM mails
SELECT * FROM nothing_known
SELECT card FROM payments_old
SELECT query FROM pg_stat_activity
SELECT most_common_vals FROM pg_stats
INSERT INTO users (id, name) VALUES (1, 'x') RETURNING *
UPDATE users SET name = 'x' WHERE id = 1 RETURNING email
SELECT what FROM odd
COPY users TO STDOUT
COPY (SELECT * FROM users) TO STDOUT
COPY (SELECT upper(email) FROM users) TO STDOUT
COPY mails TO STDOUT
COPY payments_old (card) TO STDOUT
COPY (SELECT row_to_json(u) FROM users u) TO STDOUT
COPY (SELECT * FROM nothing_known) TO STDOUT
"""

APPROVED = """
DELETE FROM orders WHERE id = 1 | delete
DELETE FROM orders o USING users u WHERE u.id = o.user_id AND u.name = 'x' | delete
WITH d AS (DELETE FROM orders WHERE id = 1 RETURNING *) SELECT * FROM d | delete
EXPLAIN DELETE FROM orders WHERE id = 1 | delete
PREPARE p AS DELETE FROM orders WHERE id = $1 | delete
MERGE INTO orders o USING users u ON o.user_id = u.id WHEN MATCHED THEN DELETE | merge
MERGE INTO orders o USING users u ON o.user_id = u.id WHEN NOT MATCHED THEN INSERT (id) VALUES (1) | merge
CREATE TABLE t (id int PRIMARY KEY, x text DEFAULT upper('a') CHECK (x <> '')) | create
CREATE TABLE IF NOT EXISTS t (LIKE orders INCLUDING ALL) | create
CREATE TABLE p PARTITION OF payments FOR VALUES FROM (1) TO (2) | create
CREATE VIEW v AS SELECT id FROM orders | create
CREATE OR REPLACE VIEW names AS SELECT id, email AS name FROM users | create
CREATE INDEX CONCURRENTLY i ON orders (upper(note)) WHERE total > 3 | create
CREATE SCHEMA s | create
CREATE SCHEMA s CREATE TABLE t (id int) | create
CREATE SEQUENCE q | create
CREATE TYPE c AS (a int, b text) | create
CREATE TYPE e AS ENUM ('a') | create
CREATE DOMAIN d AS int CHECK (VALUE > 0) | create
CREATE STATISTICS st ON id, total FROM orders | create
CREATE TEMP TABLE mine (id int) | create
ALTER TABLE orders ADD COLUMN x int DEFAULT 3 | alter
ALTER TABLE orders ALTER COLUMN total TYPE numeric USING total::numeric | alter
ALTER TABLE orders RENAME COLUMN note TO memo | alter
ALTER TABLE orders DROP CONSTRAINT c | alter
ALTER TYPE mood ADD VALUE 'z' | alter
ALTER SEQUENCE q RESTART | alter
ALTER TABLE orders SET SCHEMA crm | alter
COMMENT ON TABLE orders IS 'x' | alter
CREATE TABLE t AS SELECT * FROM orders | create-as
SELECT * INTO t FROM orders | create-as
CREATE MATERIALIZED VIEW m AS SELECT id FROM orders | create-as
VACUUM orders | maintenance
ANALYZE | maintenance
REINDEX TABLE orders | maintenance
LOCK TABLE orders | maintenance
CLUSTER orders USING i | maintenance
REFRESH MATERIALIZED VIEW snapshot | maintenance
CHECKPOINT | maintenance
NOTIFY ch, 'x' | notify
SELECT pg_notify('ch', 'x') | notify
CALL purge(3) | call
SELECT leak(1) | user-function
SELECT public.leak(1) | user-function
SELECT never_heard_of(1) | user-function
SELECT * FROM leak(1) | user-function
SELECT (orders).leak FROM orders | user-function
SELECT o.leak FROM orders o | user-function
SELECT hs('a') | user-function
SELECT 1 ===> 2 | user-function
SELECT 1 OPERATOR(public.===>) 2 | user-function
SELECT id FROM orders ORDER BY leak(id) | user-function
UPDATE orders SET total = leak(1) WHERE id = 1 | user-function
SELECT * FROM orders TABLESAMPLE leak (1) | user-function
SELECT 'x'::blob | user-type
SELECT 'x'::nowhere.thing | user-type
SELECT setval('s', 1) | sequence
INSERT INTO audited VALUES (1, 'x') | rewrite-rule
UPDATE users SET email = 'x' WHERE id = 1 | marked-write
INSERT INTO users VALUES (1, 'n', 'e', 'c') | marked-write
INSERT INTO users (id, email) VALUES (1, 'x') | marked-write
INSERT INTO orders (note) SELECT email FROM users | marked-write
INSERT INTO orders (note) SELECT u::text FROM users u | marked-write
INSERT INTO orders SELECT * FROM users | marked-write
INSERT INTO orders (note) SELECT b FROM users AS x (a, n, b) | marked-write
INSERT INTO orders (note) SELECT mail FROM mails | marked-write
INSERT INTO orders (note) SELECT t.x FROM (SELECT email AS x FROM users) t | marked-write
WITH s AS (SELECT email e FROM users), i AS (INSERT INTO orders (note) SELECT e FROM s) SELECT 1 | marked-write
UPDATE orders SET note = (SELECT email FROM users LIMIT 1) WHERE id = 1 | marked-write
UPDATE users SET name = 'x' WHERE email = 'a@b' | marked-write
INSERT INTO users (id, name) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET email = 'y' | marked-write
UPDATE mails SET mail = 'x' WHERE id = 1 | marked-write
COPY users FROM STDIN | marked-write
COPY users (email) FROM STDIN | marked-write
CREATE TABLE t2 AS SELECT email FROM users | marked-write
CREATE TABLE t2 AS SELECT leak(1) | user-function
UPDATE payments_old SET card = NULL WHERE id = 1 | marked-write
INSERT INTO orders (note) SELECT j::text FROM (users u CROSS JOIN payments p) AS j | marked-write
INSERT INTO orders (note) SELECT c FROM (users u CROSS JOIN payments p) AS j (a, b, c) | marked-write
SELECT pg_advisory_lock(ascii(email)) FROM users | marked-write
SELECT pg_try_advisory_xact_lock(x) FROM (SELECT ascii(email) AS x FROM users) y | marked-write
SELECT setseed(ascii(mail) / 255.0) FROM mails | marked-write
SELECT pg_sleep(ascii(email)) FROM users | marked-write
SELECT pg_sleep((SELECT ascii(email) FROM users LIMIT 1)) | marked-write
"""

DENIED = """
DROP TABLE orders | drop
DROP VIEW IF EXISTS mails CASCADE | drop
DROP SCHEMA crm | drop
DROP FUNCTION leak | drop
DROP DATABASE x | drop
ALTER TABLE orders DROP COLUMN total | drop
TRUNCATE orders, users | truncate
DELETE FROM orders | delete-all
DELETE FROM orders WHERE true | delete-all
WITH d AS (DELETE FROM orders RETURNING *) SELECT * FROM d | delete-all
WITH a AS (WITH b AS (DELETE FROM orders RETURNING *) SELECT * FROM b) SELECT * FROM a | delete-all
EXPLAIN ANALYZE DELETE FROM orders | delete-all
PREPARE p AS DELETE FROM orders | delete-all
COPY (DELETE FROM orders RETURNING *) TO STDOUT | delete-all
SELECT 1; DELETE FROM orders; SELECT 2 | delete-all
UPDATE orders SET total = 0 | update-all
UPDATE orders SET total = 0 WHERE id = id | update-all
MERGE INTO orders o USING users u ON true WHEN MATCHED THEN DELETE | merge-all
MERGE INTO orders o USING users u ON o.id = u.id WHEN NOT MATCHED BY SOURCE THEN DELETE | merge-all
COPY orders TO '/tmp/x' | server-file
COPY orders FROM '/etc/passwd' | server-file
COPY (SELECT 1) TO '/tmp/x' | server-file
COPY orders FROM PROGRAM 'id' | server-program
COPY (SELECT 1) TO PROGRAM 'cat > /tmp/x' | server-program
LOAD 'x' | load
DO $$ BEGIN END $$ | do
CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1' | create-function
CREATE OR REPLACE PROCEDURE f() LANGUAGE sql AS 'SELECT 1' | create-function
CREATE AGGREGATE a (int) (SFUNC = int4pl, STYPE = int) | create-function
ALTER FUNCTION leak SECURITY DEFINER | create-function
ALTER FUNCTION leak RENAME TO x | create-function
CREATE TRIGGER t BEFORE INSERT ON orders EXECUTE FUNCTION leak() | create-trigger
ALTER TABLE orders DISABLE TRIGGER ALL | create-trigger
CREATE EVENT TRIGGER t ON ddl_command_end EXECUTE FUNCTION leak() | create-trigger
CREATE RULE r AS ON INSERT TO orders DO ALSO DELETE FROM users | create-rule
CREATE EXTENSION dblink | create-extension
ALTER EXTENSION citext UPDATE | create-extension
CREATE CAST (int AS text) WITH INOUT | create-cast
CREATE OPERATOR + (PROCEDURE = leak, LEFTARG = int) | create-operator
CREATE TYPE b (INPUT = i, OUTPUT = o) | create-type
CREATE LANGUAGE plpython3u | create-extension
CREATE ACCESS METHOD m TYPE INDEX HANDLER h | create-type
CREATE LANGUAGE x HANDLER h | create-type
CREATE ROLE r | role
ALTER ROLE r SUPERUSER | role
ALTER USER r PASSWORD 'x' | role
DROP ROLE r | role
ALTER TABLE orders OWNER TO r | role
GRANT SELECT ON orders TO r | grant
REVOKE ALL ON orders FROM r | grant
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO r | grant
GRANT a TO b | grant
SECURITY LABEL ON TABLE orders IS 'x' | grant
SET ROLE r | set-role
SET ROLE NONE | set-role
SET SESSION AUTHORIZATION r | set-role
SELECT set_config('role', 'r', false) | set-role
SET LOCAL role TO r | set-role
ALTER SYSTEM SET x = 1 | alter-system
ALTER DATABASE d SET search_path = evil | alter-system
SET session_replication_role = replica | setting-not-listed
SELECT set_config('application_name', email, false) FROM users | setting-not-listed
SELECT set_config('application_name', (SELECT email FROM users LIMIT 1), false) | setting-not-listed
CREATE SCHEMA s CREATE TABLE t (id int) GRANT SELECT ON t TO r | grant
SET work_mem = '10GB' | setting-not-listed
SET log_statement = 'none' | setting-not-listed
SET TRANSACTION SNAPSHOT '1' | setting-not-listed
SHOW ALL | setting-not-listed
SHOW data_directory | setting-not-listed
SELECT current_setting('app.jwt_secret') | setting-not-listed
SELECT current_setting($1) | setting-not-listed
SELECT current_setting(x.name) FROM (VALUES ('app.jwt')) x(name), pg_catalog.pg_settings | setting-not-listed
SELECT set_config(note, 'x', false) FROM orders | setting-not-listed
SELECT set_config('search_path', 'evil', false) | pinned-setting
SELECT set_config('search_path', $1, false) | pinned-setting
SELECT pg_catalog.set_config('client_encoding', 'SJIS', false) | pinned-setting
SET search_path TO evil, public | pinned-setting
SET search_path TO 'public, evil' | pinned-setting
SET SCHEMA 'evil' | pinned-setting
SET client_encoding = 'SJIS' | pinned-setting
SET NAMES 'LATIN1' | pinned-setting
SET standard_conforming_strings = off | pinned-setting
SELECT rolpassword FROM pg_authid | password-table
SELECT * FROM pg_catalog.pg_shadow | password-table
SELECT * FROM pg_user_mappings | password-table
SELECT data FROM pg_largeobject | password-table
SELECT * FROM information_schema.user_mapping_options | password-table
SELECT * FROM pg_toast.pg_toast_1234 | password-table
SELECT hash FROM secrets | password-table
COPY pg_authid TO STDOUT | password-table
SELECT * FROM pg_hba_file_rules | catalog-not-listed
SELECT * FROM pg_catalog.pg_config | catalog-not-listed
UPDATE pg_settings SET setting = 'x' WHERE name = 'search_path' | catalog-write
DELETE FROM pg_class WHERE oid = 1 | catalog-write
INSERT INTO pg_catalog.pg_class (oid) VALUES (1) | catalog-write
SELECT pg_read_file('/etc/passwd') | reaching-function
SELECT pg_catalog.pg_read_binary_file('/etc/passwd') | reaching-function
SELECT ('/etc/passwd'::text).pg_read_file | reaching-function
SELECT x.pg_read_file FROM (SELECT '/etc/passwd'::text) x | reaching-function
SELECT * FROM pg_ls_dir('/') | reaching-function
SELECT lo_import('/etc/passwd') | reaching-function
SELECT lo_get(1) | reaching-function
SELECT dblink('host=x', 'SELECT 1') | reaching-function
SELECT dblink_x('a') | reaching-function
SELECT pg_terminate_backend(1) | reaching-function
SELECT pg_cancel_backend(1) | reaching-function
SELECT pg_export_snapshot() | reaching-function
SELECT pg_stat_get_activity(NULL) | reaching-function
SELECT pg_logical_emit_message(true, 'a', 'b') | reaching-function
SELECT pg_reload_conf() | reaching-function
INSERT INTO orders (note) VALUES (pg_read_file('/etc/passwd')) | reaching-function
CREATE TABLE t (x text DEFAULT pg_read_file('/etc/passwd')) | reaching-function
CREATE VIEW v AS SELECT pg_read_file('/etc/passwd') | reaching-function
SELECT query_to_xml('SELECT email FROM users', true, false, '') | query-function
SELECT table_to_xml('users', true, false, '') | query-function
SELECT database_to_xml(true, false, '') | query-function
SELECT cursor_to_xml('c', 1, true, false, '') | query-function
SELECT * FROM ts_stat('SELECT to_tsvector(email) FROM users') | query-function
SELECT ts_rewrite('a'::tsquery, 'SELECT a, b FROM c') | query-function
SELECT pg_switch_wal() | builtin-function
SELECT binary_upgrade_set_next_pg_type_oid(1) | builtin-function
SELECT int4send(1) | builtin-function
PREPARE TRANSACTION 'x' | two-phase
COMMIT PREPARED 'x' | two-phase
DROP OWNED BY r | owned
REASSIGN OWNED BY r TO s | owned
CREATE SERVER s FOREIGN DATA WRAPPER w | foreign
CREATE FOREIGN TABLE f (id int) SERVER s | foreign
CREATE USER MAPPING FOR r SERVER s OPTIONS (password 'x') | foreign
IMPORT FOREIGN SCHEMA a FROM SERVER s INTO b | foreign
CREATE POLICY p ON orders | row-policy
ALTER TABLE orders DISABLE ROW LEVEL SECURITY | row-policy
CREATE PUBLICATION p FOR ALL TABLES | replication
CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p | replication
CREATE DATABASE d | server
CREATE TABLESPACE t LOCATION '/x' | server
UPDATE users SET email = '***' WHERE id = 1 | masked-value
COPY users TO STDOUT (ENCODING 'SJIS') | copy-out-marked
COPY (SELECT id FROM users) TO STDOUT (ENCODING 'GBK') | copy-out-marked
CREATE TEMP TABLE orders (id int) | temporary-name
CREATE TEMP VIEW names AS SELECT 1 | temporary-name
SELECT 1 INTO TEMP users | temporary-name
CREATE TEMP TABLE pg_class (oid int) | temporary-name
CREATE VIEW v AS SELECT 1; SELECT * FROM names | not-judged-together
EXECUTE nobody | unknown-name
FETCH ALL FROM nobody | unknown-name
SELECT * FROM other.public.users | not-understood
"""


def _lines(table: str) -> list[tuple[str, str]]:
    rows = [line.rsplit(" | ", 1) for line in table.strip().splitlines()]
    return [(row[0], row[1].strip() if len(row) > 1 else "masked") for row in rows]


@pytest.mark.parametrize(("sql", "rule"), _lines(ALLOWED))
def test_allowed(sql: str, rule: str) -> None:
    verdict = judge(sql)
    assert (verdict.kind, verdict.rule) == (VerdictKind.ALLOW, f"standard/{rule}"), verdict.reason


@pytest.mark.parametrize(("sql", "rule"), _lines(MASKED))
def test_masked(sql: str, rule: str) -> None:
    verdict = judge(sql)
    assert (verdict.kind, verdict.rule) == (VerdictKind.MASK, f"standard/{rule}"), verdict.reason


@pytest.mark.parametrize(("sql", "rule"), _lines(APPROVED))
def test_approved(sql: str, rule: str) -> None:
    verdict = judge(sql)
    assert (verdict.kind, verdict.rule) == (VerdictKind.APPROVE, f"standard/{rule}"), verdict.reason
    assert verdict.reviewers == ("group:oncall",)


@pytest.mark.parametrize(("sql", "rule"), _lines(DENIED))
def test_denied(sql: str, rule: str) -> None:
    verdict = judge(sql)
    assert (verdict.kind, verdict.rule) == (VerdictKind.DENY, f"standard/{rule}"), verdict.reason
    assert verdict.reason


def test_a_users_function_of_a_builtins_name_counts_as_the_users() -> None:
    # public.lower(varchar) would be preferred over pg_catalog.lower(text) for a varchar
    assert judge("SELECT lower('X')").rule == "standard/user-function"
    assert judge("SELECT pg_catalog.lower('X')").rule == "standard/select"


def test_every_rule_has_a_case() -> None:
    tested = {rule for table in (ALLOWED, APPROVED, DENIED) for _, rule in _lines(table)}
    tested |= {"read-only-access", "function"}
    assert {rule.name.removeprefix("standard/") for rule in STANDARD} - tested == {"not-listed"}


@pytest.mark.parametrize("sql", [b"SELECT '\xff'", b"SELECT 1\x00", b"SELECT '\x83\x5c' || version() --'"])
def test_what_is_not_utf8_is_denied_before_parsing(sql: bytes) -> None:
    verdict = judge(sql)
    assert (verdict.kind, verdict.rule) == (VerdictKind.DENY, "standard/not-understood")


def test_a_syntax_error_is_postgresqls_own() -> None:
    verdict = judge("SELECT 'é', FROM t")
    assert (verdict.kind, verdict.rule, verdict.sqlstate) == (VerdictKind.DENY, "standard/syntax-error", "42601")
    assert (verdict.reason, verdict.position) == ('syntax error at or near "FROM"', 13)


@pytest.mark.parametrize("sql", ["", ";", " -- nothing\n", "/* a */ ; ;"])
def test_nothing_is_allowed(sql: str) -> None:
    assert judge(sql).kind is VerdictKind.ALLOW


def test_the_wrapper_is_named() -> None:
    assert judge("EXPLAIN ANALYZE DELETE FROM orders").reason.endswith(" (inside explain).")


@pytest.mark.parametrize(
    "sql", ["BEGIN READ WRITE", "SET TRANSACTION READ WRITE", "SET default_transaction_read_only = off",
            "SELECT set_config('transaction_read_only', 'off', true)", "START TRANSACTION READ WRITE",
            "SELECT set_config('transaction_read_only', $1, true)", "SET transaction_read_only TO 'n'",
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE"],
)  # fmt: skip
def test_read_only_access_stays(sql: str) -> None:
    assert judge(sql, access="read-only").rule == "standard/read-only-access"
    assert judge(sql).kind is VerdictKind.ALLOW


@pytest.mark.parametrize("sql", ["DROP TABLE orders", "DELETE FROM orders", "SET search_path TO x", "DO $$ $$",
                                 "SELECT pg_read_file('x')", "COPY orders TO '/tmp/x'", "SELECT leak(1)", b"\xff",
                                 "SELEC 1", "EXECUTE nobody"])  # fmt: skip
def test_observe_without_marks_refuses_nothing(sql: str | bytes) -> None:
    verdict = judge(sql, policy="observe", marks=())
    assert (verdict.kind, verdict.rule) == (VerdictKind.ALLOW, "observe/allow")
    assert verdict.would in {VerdictKind.DENY, VerdictKind.APPROVE}


@pytest.mark.parametrize(("sql", "kind"), [
    ("DROP TABLE orders", VerdictKind.ALLOW), ("DELETE FROM orders", VerdictKind.ALLOW),
    ("SELECT email FROM users", VerdictKind.MASK), ("SET search_path TO x", VerdictKind.DENY),
    ("SELECT pg_read_file('x')", VerdictKind.DENY), ("SELECT * FROM pg_shadow", VerdictKind.DENY), (b"\xff", VerdictKind.DENY),
    ("COPY users TO STDOUT", VerdictKind.MASK), ("DO $$ $$", VerdictKind.DENY), ("DROP ROLE x", VerdictKind.ALLOW),
    ("DELETE FROM users WHERE id = 1 RETURNING email", VerdictKind.MASK),
    ("INSERT INTO orders (note) SELECT email FROM users", VerdictKind.APPROVE),
])  # fmt: skip
def test_observe_with_marks_stops_what_could_leak(sql: str | bytes, kind: VerdictKind) -> None:
    assert judge(sql, policy="observe").kind is kind
