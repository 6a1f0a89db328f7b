-- The catalog as policy and masking need it, one result set each, read in one snapshot. The order is fixed:
-- gateway/target/catalog.py takes them by place. Every name is qualified; nothing here runs code of a database's users.
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
-- Nothing is visible but pg_catalog, so that view definitions come with every name qualified.
SET LOCAL search_path = '';
SET LOCAL statement_timeout = '60s';
SET LOCAL lock_timeout = '2s';

-- relations. A view is printed under locks, for which others' definitions that are not committed yet would have to be
-- waited for: such a view comes without its text, so that all of it is masked.
WITH locked AS MATERIALIZED (
    SELECT l.relation FROM pg_locks l
     WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
       AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()))
SELECT c.oid, n.nspname, c.relname, c.relkind,
       CASE WHEN c.relkind IN ('v', 'm') AND NOT EXISTS (
                SELECT FROM locked k
                 WHERE k.relation = c.oid
                    OR k.relation IN (SELECT d.refobjid FROM pg_rewrite r
                                        JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
                                                        AND d.refclassid = 'pg_class'::regclass
                                       WHERE r.ev_class = c.oid))
            THEN pg_get_viewdef(c.oid) END,
       EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal),
       c.relispartition
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'v', 'm', 'f', 'p', 'S')
 ORDER BY c.oid;

-- columns
SELECT a.attrelid,
       json_agg(json_build_array(a.attname, a.attnum, a.atttypid::int8, a.atttypmod, a.attnotnull, a.attgenerated <> '')
                ORDER BY a.attnum)
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
 WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'v', 'm', 'f', 'p', 'S')
 GROUP BY a.attrelid ORDER BY a.attrelid;

-- reads: what a view's own rule reads. pg_depend leaves out what is pinned (every system catalog), so the rule's tree is
-- read as well; it names the view itself, too, before PostgreSQL 16.
SELECT x.ev_class, json_agg(DISTINCT x.oid::int8)
  FROM (SELECT r.ev_class, m[1]::oid AS oid
          FROM pg_rewrite r, regexp_matches(r.ev_action::text, ':relid ([0-9]+)', 'g') m
        UNION
        SELECT r.ev_class, d.refobjid
          FROM pg_rewrite r
          JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
       ) x
 WHERE x.oid <> x.ev_class AND x.oid <> 0
 GROUP BY x.ev_class ORDER BY x.ev_class;

-- rules other than a view's own
SELECT DISTINCT r.ev_class FROM pg_rewrite r WHERE r.ev_type <> '1' ORDER BY 1;

-- inheritance and partitions
SELECT i.inhrelid, i.inhparent FROM pg_inherits i ORDER BY 1, 2;

-- columns beside which the catalog prints values, which are constants in an expression's tree; NULL where an expression
-- takes the whole row
SELECT p.relid, p.attnum
  FROM (SELECT k.conrelid, unnest(k.conkey) FROM pg_constraint k WHERE k.conbin::text LIKE '%:constisnull false%'
        UNION
        SELECT i.indrelid, d.refobjsubid
          FROM pg_index i
          JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
                          AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid
         WHERE i.indexprs::text LIKE '%:constisnull false%' OR i.indpred::text LIKE '%:constisnull false%'
        UNION
        SELECT f.adrelid, f.adnum FROM pg_attrdef f WHERE f.adbin::text LIKE '%:constisnull false%'
        UNION
        SELECT f.adrelid, d.refobjsubid
          FROM pg_attrdef f
          JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
                          AND d.refclassid = 'pg_class'::regclass AND d.refobjid = f.adrelid
         WHERE f.adbin::text LIKE '%:constisnull false%'
        UNION
        SELECT w.polrelid, d.refobjsubid
          FROM pg_policy w
          JOIN pg_depend d ON d.classid = 'pg_policy'::regclass AND d.objid = w.oid
                          AND d.refclassid = 'pg_class'::regclass AND d.refobjid = w.polrelid
         WHERE w.polqual::text LIKE '%:constisnull false%' OR w.polwithcheck::text LIKE '%:constisnull false%'
        UNION
        SELECT t.tgrelid, d.refobjsubid
          FROM pg_trigger t
          JOIN pg_depend d ON d.classid = 'pg_trigger'::regclass AND d.objid = t.oid
                          AND d.refclassid = 'pg_class'::regclass AND d.refobjid = t.tgrelid
         WHERE t.tgqual::text LIKE '%:constisnull false%'
        UNION
        -- the value that older rows have of a column that was added with a default
        SELECT a.attrelid, a.attnum FROM pg_attribute a WHERE a.atthasmissing
        UNION
        SELECT s.stxrelid, d.refobjsubid
          FROM pg_statistic_ext s
          JOIN pg_depend d ON d.classid = 'pg_statistic_ext'::regclass AND d.objid = s.oid
                          AND d.refclassid = 'pg_class'::regclass AND d.refobjid = s.stxrelid
         WHERE s.stxexprs::text LIKE '%:constisnull false%'
        UNION
        SELECT t.partrelid, unnest(t.partattrs::int2[]) FROM pg_partitioned_table t
        UNION
        -- turned round: the columns of a key expression depend on their table, so that they are not dropped alone
        SELECT t.partrelid, d.objsubid
          FROM pg_partitioned_table t
          JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = t.partrelid
                          AND d.refclassid = 'pg_class'::regclass AND d.refobjid = t.partrelid
         WHERE t.partexprs IS NOT NULL
        UNION
        SELECT e.relid, NULL
          FROM (SELECT conrelid, conbin::text FROM pg_constraint WHERE contype IN ('c', 'x')
                UNION ALL SELECT indrelid, indexprs::text FROM pg_index
                UNION ALL SELECT indrelid, indpred::text FROM pg_index
                UNION ALL SELECT adrelid, adbin::text FROM pg_attrdef
                UNION ALL SELECT partrelid, partexprs::text FROM pg_partitioned_table) e (relid, tree)
         WHERE e.tree LIKE '%:varattno 0 %' AND e.tree LIKE '%:constisnull false%'
       ) p (relid, attnum)
 WHERE p.relid <> 0 AND p.attnum IS DISTINCT FROM 0
 ORDER BY 1, 2;

-- functions that are not PostgreSQL's own, with a digest of all that is known of each, its body included
SELECT p.oid, n.nspname, p.proname, e.extname, md5(p::text)
  FROM pg_proc p
  JOIN pg_namespace n ON n.oid = p.pronamespace
  LEFT JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
                       AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
  LEFT JOIN pg_extension e ON e.oid = d.refobjid
 WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') OR p.oid >= 16384
 ORDER BY p.oid;

-- extensions
SELECT e.extname FROM pg_extension e ORDER BY 1;

-- operators that are not PostgreSQL's own
SELECT n.nspname, o.oprname, e.extname
  FROM pg_operator o
  JOIN pg_namespace n ON n.oid = o.oprnamespace
  LEFT JOIN pg_depend d ON d.classid = 'pg_operator'::regclass AND d.objid = o.oid
                       AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
  LEFT JOIN pg_extension e ON e.oid = d.refobjid
 WHERE n.nspname <> 'pg_catalog' OR o.oid >= 16384
 ORDER BY o.oid;

-- types that are not PostgreSQL's own, without arrays and the row types of relations
SELECT n.nspname, t.typname, t.typtype, e.extname
  FROM pg_type t
  JOIN pg_namespace n ON n.oid = t.typnamespace
  LEFT JOIN pg_class c ON c.oid = t.typrelid
  LEFT JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = t.oid
                       AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
  LEFT JOIN pg_extension e ON e.oid = d.refobjid
 WHERE (n.nspname NOT IN ('pg_catalog', 'information_schema') OR t.oid >= 16384)
   AND (c.oid IS NULL OR c.relkind = 'c')
   AND NOT EXISTS (SELECT FROM pg_type a WHERE a.typarray = t.oid)
 ORDER BY t.oid;

-- PostgreSQL's own functions, by name, unless somebody added one of that name
SELECT p.proname
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname = 'pg_catalog'
 GROUP BY p.proname HAVING bool_and(p.oid < 16384)
 ORDER BY 1;

-- what values of types look like that are not PostgreSQL's own, and of the information schema's: by oid
SELECT t.oid, n.nspname, t.typname, t.typtype, t.typcategory, t.typbasetype, t.typtypmod, e.extname,
       (SELECT l.enumlabel FROM pg_enum l WHERE l.enumtypid = t.oid ORDER BY l.enumsortorder LIMIT 1)
  FROM pg_type t
  JOIN pg_namespace n ON n.oid = t.typnamespace
  LEFT JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = t.oid
                       AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
  LEFT JOIN pg_extension e ON e.oid = d.refobjid
 WHERE t.typtype <> 'c' AND (n.nspname <> 'pg_catalog' OR t.oid >= 16384)
 ORDER BY t.oid;

-- generated columns, and the columns that each is computed from; NULL where that takes the whole row
SELECT f.adrelid, f.adnum,
       (SELECT json_agg(DISTINCT d.refobjsubid)
          FROM pg_depend d
         WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = f.adrelid AND d.refobjsubid NOT IN (0, f.adnum)
           AND (d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
                -- where the column itself depends, and not its expression
                OR d.classid = 'pg_class'::regclass AND d.objid = f.adrelid AND d.objsubid = f.adnum)
           AND f.adbin::text NOT LIKE '%:varattno 0 %')
  FROM pg_attrdef f
  JOIN pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
 WHERE a.attgenerated <> ''
 ORDER BY 1, 2;

-- what belongs to a relation beside its columns: rules, triggers, defaults, constraints (also those of others that change
-- its rows' children or are set off by it), policies; a digest of each, and the functions beyond PostgreSQL's own that it
-- calls. The words name what runs with a write and is not in its text.
WITH own AS (
    SELECT r.ev_class AS relid, 'pg_rewrite'::regclass AS class, r.oid, r::text AS body,
           CASE WHEN r.ev_type <> '1' THEN format('rule %I', r.rulename) END AS words
      FROM pg_rewrite r WHERE r.ev_class >= 16384
    UNION ALL
    SELECT t.tgrelid, 'pg_trigger'::regclass, t.oid, t::text,
           CASE WHEN t.tgenabled <> 'D' THEN format('trigger %I', t.tgname) END
      FROM pg_trigger t WHERE NOT t.tgisinternal
    UNION ALL
    SELECT d.adrelid, 'pg_attrdef'::regclass, d.oid, d::text, format('default of %I', a.attname)
      FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum WHERE d.adrelid >= 16384
    UNION ALL
    SELECT k.conrelid, 'pg_constraint'::regclass, k.oid, k::text, format('constraint %I', k.conname)
      FROM pg_constraint k WHERE k.conrelid >= 16384
    UNION ALL
    SELECT k.confrelid, 'pg_constraint'::regclass, k.oid, k::text, format('foreign key %I of %s', k.conname, k.conrelid::regclass)
      FROM pg_constraint k
     WHERE k.contype = 'f' AND (k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('c', 'n', 'd'))
    UNION ALL
    SELECT p.polrelid, 'pg_policy'::regclass, p.oid, p::text, format('policy %I', p.polname) FROM pg_policy p
)
SELECT o.relid, o.class::text, o.words, md5(o.body),
       (SELECT json_agg(DISTINCT d.refobjid::int8) FROM pg_depend d
         WHERE d.classid = o.class AND d.objid = o.oid AND d.refclassid = 'pg_proc'::regclass)
  FROM own o
 ORDER BY o.relid, o.class, o.oid;

-- unique keys that hold at once and for every row: where all columns of one equal something, one row is meant
SELECT i.indrelid, json_agg(k.columns ORDER BY i.indexrelid)
  FROM pg_index i
 CROSS JOIN LATERAL (SELECT json_agg(a.attnum) AS columns
                       FROM unnest(i.indkey::int2[]) WITH ORDINALITY a (attnum, place)
                      WHERE a.place <= i.indnkeyatts) k
 WHERE i.indisunique AND i.indimmediate AND i.indisvalid AND i.indexprs IS NULL AND i.indpred IS NULL
 GROUP BY i.indrelid ORDER BY i.indrelid;

COMMIT;
