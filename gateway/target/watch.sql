-- One line that changes with every change of the catalog that policy and masking depend on; cheap enough for each second.
-- Rows are told apart by the transaction that wrote them, relations by what is read of them: VACUUM, TRUNCATE, REFRESH
-- and GRANT change their rows and nothing else. Temporary objects are left out, since only their own session sees them
-- and the gateway sees what its sessions make; except those that hide another relation, which come and go for everybody.
SELECT md5(concat_ws(' ',
    (SELECT concat(count(*), ',', sum(hashtextextended(
                concat_ws(' ', c.oid, c.relname, c.relnamespace, c.relkind, c.relispartition, c.reltype, c.relrowsecurity), 0)))
       FROM pg_catalog.pg_class c
      WHERE c.relpersistence <> 't' AND c.relkind IN ('r', 'v', 'm', 'f', 'p', 'S', 'c')),
    (SELECT concat(count(*), ',', sum(hashtextextended(
                concat_ws(' ', a.attrelid, a.attname, a.atttypid, a.atttypmod, a.attnotnull, a.attgenerated), a.attnum)))
       FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
      WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relpersistence <> 't' AND c.relkind IN ('r', 'v', 'm', 'f', 'p', 'c')),
    (SELECT concat(count(*), ',', sum(hashtextextended(concat_ws(' ', t.oid, t.relname), 0)))
       FROM pg_catalog.pg_class t
      WHERE t.relpersistence = 't' AND t.relkind IN ('r', 'v', 'm', 'f', 'p', 'S')
        AND EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relname = t.relname AND c.relpersistence <> 't')),
    (SELECT concat(count(*), ',', sum(hashint8extended((p.oid::int8 << 32) | p.xmin::text::int8, 0)))
       FROM pg_catalog.pg_proc p),
    (SELECT concat(count(*), ',', sum(hashint8extended((t.oid::int8 << 32) | t.xmin::text::int8, 0)))
       FROM pg_catalog.pg_type t WHERE t.typrelid = 0 AND t.typelem = 0),
    (SELECT concat(count(*), ',', sum(hashint8extended((x.oid::int8 << 32) | x.xmin::text::int8, x.place)))
       FROM (SELECT n.oid, n.xmin, 1 FROM pg_catalog.pg_namespace n WHERE n.nspname !~ '^pg_(toast_)?temp_'
             UNION ALL SELECT o.oid, o.xmin, 2 FROM pg_catalog.pg_operator o
             UNION ALL SELECT e.oid, e.xmin, 3 FROM pg_catalog.pg_extension e
             UNION ALL SELECT k.oid, k.xmin, 4 FROM pg_catalog.pg_cast k
             UNION ALL SELECT v.oid, v.xmin, 5 FROM pg_catalog.pg_event_trigger v) x (oid, xmin, place)),
    (SELECT concat(count(*), ',', sum(hashint8extended((x.oid::int8 << 32) | x.xmin::text::int8, x.place)))
       FROM (SELECT r.ev_class, r.oid, r.xmin, 1 FROM pg_catalog.pg_rewrite r
             UNION ALL SELECT t.tgrelid, t.oid, t.xmin, 2 FROM pg_catalog.pg_trigger t WHERE NOT t.tgisinternal
             UNION ALL SELECT d.adrelid, d.oid, d.xmin, 3 FROM pg_catalog.pg_attrdef d
             UNION ALL SELECT k.conrelid, k.oid, k.xmin, 4 FROM pg_catalog.pg_constraint k
             UNION ALL SELECT p.polrelid, p.oid, p.xmin, 5 FROM pg_catalog.pg_policy p
             UNION ALL SELECT i.indrelid, i.indexrelid, i.xmin, 6 FROM pg_catalog.pg_index i
                        WHERE i.indisunique OR i.indexprs IS NOT NULL OR i.indpred IS NOT NULL
             UNION ALL SELECT h.inhparent, h.inhrelid, h.xmin, 7 FROM pg_catalog.pg_inherits h
             UNION ALL SELECT p.partrelid, p.partrelid, p.xmin, 8 FROM pg_catalog.pg_partitioned_table p
             UNION ALL SELECT s.stxrelid, s.oid, s.xmin, 9 FROM pg_catalog.pg_statistic_ext s) x (relid, oid, xmin, place)
       LEFT JOIN pg_catalog.pg_class c ON c.oid = x.relid
      WHERE c.relpersistence IS DISTINCT FROM 't' AND c.relkind IS DISTINCT FROM 't')
))
