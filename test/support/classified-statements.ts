/** Statements and where they may run, for the schema below: what other programs got wrong, and each way to hide a write in a read. */

export const SCHEMA = `
  CREATE EXTENSION IF NOT EXISTS plpgsql;
  CREATE TABLE t (a int PRIMARY KEY, b text);
  INSERT INTO t SELECT g, 'x' || g FROM generate_series(1, 20) g;
  CREATE TABLE other (a int, b text);
  CREATE SCHEMA s; CREATE TABLE s.t (a int); CREATE TABLE s."Mixed Name" (a int);
  CREATE TABLE written (a int);
  CREATE UNLOGGED TABLE unlogged (a int);
  CREATE SEQUENCE seq;
  CREATE TABLE parent (a int) PARTITION BY RANGE (a);
  CREATE TABLE child PARTITION OF parent FOR VALUES FROM (0) TO (10);
  CREATE UNLOGGED TABLE unlogged_child PARTITION OF parent FOR VALUES FROM (10) TO (20);
  CREATE TABLE whole (a int) PARTITION BY RANGE (a);
  CREATE TABLE part PARTITION OF whole FOR VALUES FROM (0) TO (10);
  CREATE FUNCTION writes() RETURNS int LANGUAGE sql AS 'INSERT INTO written VALUES (1) RETURNING a';
  CREATE FUNCTION stable_one(int) RETURNS int LANGUAGE sql STABLE AS 'SELECT $1 + 1';
  CREATE FUNCTION overloaded(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';
  CREATE FUNCTION s.overloaded(text) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1';
  CREATE FUNCTION of_row(t) RETURNS int LANGUAGE sql VOLATILE AS 'INSERT INTO written VALUES (2) RETURNING a';
  CREATE FUNCTION by_default(int DEFAULT nextval('seq')) RETURNS int LANGUAGE sql STABLE AS 'SELECT $1';
  CREATE FUNCTION adds(int, int) RETURNS int LANGUAGE plpgsql VOLATILE AS 'BEGIN INSERT INTO written VALUES (3); RETURN $1 + $2; END';
  CREATE OPERATOR <+> (LEFTARG = int, RIGHTARG = int, FUNCTION = adds);
  CREATE OPERATOR <~> (LEFTARG = int, RIGHTARG = int, FUNCTION = int4pl);
  CREATE AGGREGATE added(int) (SFUNC = adds, STYPE = int, INITCOND = '0');
  CREATE AGGREGATE summed(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0');
  CREATE FUNCTION checks(int) RETURNS bool LANGUAGE sql VOLATILE AS 'INSERT INTO written VALUES (4) RETURNING true';
  CREATE DOMAIN checked AS int CHECK (checks(VALUE));
  CREATE DOMAIN positive AS int CHECK (VALUE > 0);
  CREATE TYPE pair AS (x int, y int);
  CREATE FUNCTION to_pair(int) RETURNS pair LANGUAGE sql VOLATILE AS 'INSERT INTO written VALUES (5) RETURNING (1, 1)::pair';
  CREATE CAST (int AS pair) WITH FUNCTION to_pair(int);
  CREATE VIEW v AS SELECT a, upper(b) AS b FROM t WHERE a > 0;
  CREATE VIEW over_v AS SELECT * FROM v;
  CREATE VIEW calling AS SELECT writes() AS a;
  CREATE VIEW over_calling AS SELECT a FROM calling;
  CREATE VIEW over_over_calling AS SELECT (SELECT max(a) FROM over_calling) AS a;
  CREATE VIEW builtin AS SELECT pg_backend_pid() AS a;
  CREATE VIEW locking AS SELECT a FROM t FOR UPDATE;
  CREATE VIEW over_unlogged AS SELECT a FROM unlogged;
  CREATE VIEW over_activity AS SELECT pid FROM pg_stat_activity;
  CREATE VIEW over_sequence AS SELECT last_value FROM seq;
  CREATE VIEW numbered AS SELECT nextval('seq') AS a;
  CREATE MATERIALIZED VIEW stored AS SELECT a, nextval('seq') AS n FROM t;
  CREATE TABLE guarded (a int); ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
  CREATE POLICY p ON guarded USING (checks(a));
  CREATE TABLE tenants (a int, tenant text); ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
  CREATE POLICY p ON tenants USING (tenant = current_setting('app.tenant', true));
  CREATE ROLE nobody_special LOGIN;
  GRANT SELECT ON ALL TABLES IN SCHEMA public TO nobody_special;
`

export const READS: readonly string[] = [
  'SELECT 1',
  '',
  ';',
  '  /* nothing */  ',
  'SELECT;',
  'SELECT * FROM t',
  'select * from public.t where a = $1 and b like $2',
  'SELECT * FROM s."Mixed Name"',
  'TABLE t',
  "VALUES (1, 'a'), (2, 'b')",
  'WITH q AS (SELECT * FROM t) SELECT * FROM q',
  'WITH t AS (SELECT * FROM t) SELECT * FROM t',
  'WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT * FROM n',
  'WITH q AS MATERIALIZED (SELECT 1 AS a), r AS (SELECT a FROM q) SELECT * FROM r JOIN q USING (a)',
  'SELECT a, count(*), sum(a) FILTER (WHERE a > 1) OVER (PARTITION BY b ORDER BY a) FROM t GROUP BY ROLLUP (a, b)',
  'SELECT DISTINCT ON (b) a FROM t ORDER BY b, a DESC NULLS LAST LIMIT 3 OFFSET 1',
  'SELECT a FROM t ORDER BY a USING >',
  'SELECT a FROM t UNION SELECT a FROM s.t EXCEPT (SELECT a FROM v INTERSECT SELECT 1)',
  'SELECT * FROM t AS x JOIN other USING (a) LEFT JOIN LATERAL (SELECT x.a + 1) AS y(c) ON true',
  'SELECT CASE WHEN a IS NULL THEN 1 ELSE coalesce(a, 2) END, nullif(a, 1), greatest(a, 1), a BETWEEN 1 AND 5 FROM t',
  "SELECT ARRAY[1, 2], (ARRAY[1, 2])[1], ROW(1, 'a'), a::text, cast(a AS numeric(10, 2)) FROM t",
  "SELECT a IS DISTINCT FROM 1, b ILIKE 'x%', b SIMILAR TO 'x', b ~ '^x', a = ANY (ARRAY[1]), a IN (1, 2) FROM t",
  'SELECT EXISTS (SELECT 1 FROM t), a = ALL (SELECT a FROM t), ARRAY(SELECT a FROM t) FROM t',
  'SELECT now(), current_timestamp, current_user, current_date, localtime',
  "SELECT extract(year FROM now()), now() AT TIME ZONE 'utc', overlay('a' PLACING 'b' FROM 1), trim(' a ')",
  "SELECT substring('abc' FROM 2), position('a' IN 'abc'), 'a' COLLATE \"C\"",
  'SELECT random(), clock_timestamp(), gen_random_uuid()',
  'SELECT * FROM t ORDER BY random() LIMIT 1',
  'SELECT pg_sleep(0)',
  'SELECT stable_one(1), public.stable_one(2)',
  'SELECT * FROM generate_series(1, 3) WITH ORDINALITY AS g(x, n), unnest(ARRAY[1]) u',
  "SELECT * FROM json_to_recordset('[]') AS x(a int, b text)",
  'SELECT * FROM ROWS FROM (generate_series(1, 2), generate_series(1, 3)) AS x',
  "SELECT * FROM XMLTABLE('/a' PASSING ('<a/>'::xml) COLUMNS b int PATH 'b')",
  'SELECT * FROM t TABLESAMPLE SYSTEM (10) REPEATABLE (1)',
  'SELECT grouping(a) FROM t GROUP BY a',
  'SELECT 1 <~> 2, summed(a) FROM t',
  'SELECT 1::positive, 1::int::bigint',
  'SELECT x.a, (x).b FROM t x',
  'SELECT * FROM v, over_v',
  'SELECT * FROM stored',
  'SELECT * FROM whole',
  'SELECT * FROM tenants',
  "SELECT current_setting('app.tenant', true), current_setting('work_mem')",
  "SELECT relname FROM pg_class WHERE oid = 't'::regclass",
  'SELECT * FROM pg_tables',
  'SELECT * FROM information_schema.columns WHERE table_name = $1',
  'SELECT n.nspname, c.relname, pg_catalog.pg_get_userbyid(c.relowner) FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON true',
  'EXPLAIN SELECT * FROM t',
  'EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM t',
  'COPY t TO STDOUT',
  'COPY t (a) TO STDOUT (FORMAT csv, HEADER)',
  'COPY (SELECT * FROM v) TO STDOUT',
  'DECLARE c CURSOR FOR SELECT * FROM t',
  'DECLARE c SCROLL CURSOR FOR SELECT * FROM t',
  'SHOW work_mem',
  'SHOW server_version',
  'SHOW TRANSACTION ISOLATION LEVEL',
  '/* ORM */ SELECT 1 -- done',
  "SELECT $$ ; DELETE FROM t $$, E'\\'; DELETE FROM t; --'",
  'SELECT U&"\\0061" FROM t',
]

/** Each with a part of the reason. */
export const PRIMARY: readonly (readonly [text: string, reason: string])[] = [
  ['INSERT INTO t VALUES (100)', 'INSERT'],
  ['UPDATE t SET b = b', 'UPDATE'],
  ['DELETE FROM t', 'DELETE'],
  ['MERGE INTO t USING other o ON t.a = o.a WHEN MATCHED THEN DELETE', 'MERGE'],
  ['TRUNCATE other', 'TRUNCATE'],
  // Of pgcat and others: writes in WITH, at any depth.
  ['WITH d AS (DELETE FROM t RETURNING *) SELECT * FROM d', 'DELETE inside WITH'],
  ['WITH q AS (SELECT 1) INSERT INTO written SELECT * FROM q', 'INSERT'],
  [
    'WITH a AS (WITH b AS (UPDATE t SET b = b RETURNING a) SELECT * FROM b) SELECT * FROM a',
    'UPDATE inside WITH',
  ],
  [
    'SELECT * FROM (WITH x AS (INSERT INTO written VALUES (1) RETURNING a) SELECT * FROM x) y',
    'INSERT inside WITH',
  ],
  ['EXPLAIN ANALYZE WITH d AS (DELETE FROM t RETURNING a) SELECT * FROM d', 'DELETE inside WITH'],
  // A WITH query of that name is elsewhere, or only later: the table is meant.
  ['WITH x AS (SELECT * FROM unlogged), unlogged AS (SELECT 1) SELECT * FROM x', 'unlogged'],
  ['SELECT * FROM (WITH unlogged AS (SELECT 1) SELECT * FROM unlogged) q, unlogged', 'unlogged'],
  ['WITH unlogged AS (SELECT 1) SELECT * FROM public.unlogged', 'unlogged'],
  // Locks.
  ['SELECT * FROM t FOR UPDATE', 'locks'],
  ['SELECT * FROM t FOR NO KEY UPDATE SKIP LOCKED', 'locks'],
  ['SELECT * FROM t FOR SHARE', 'locks'],
  ['SELECT * FROM t FOR KEY SHARE OF t NOWAIT', 'locks'],
  ['SELECT * FROM (SELECT * FROM t FOR UPDATE) q', 'locks'],
  ['WITH q AS (SELECT * FROM t FOR SHARE) SELECT * FROM q', 'locks'],
  ['LOCK TABLE t', 'LOCK'],
  ['SELECT * FROM locking', 'a view'],
  // Makes something.
  ['SELECT * INTO made FROM t', 'INTO'],
  ['SELECT a INTO TEMP made FROM t', 'INTO'],
  ['CREATE TABLE made AS SELECT * FROM t', 'CREATE TABLE AS'],
  ['CREATE TEMP TABLE made (a int)', 'CREATE'],
  ['REFRESH MATERIALIZED VIEW stored', 'REFRESH'],
  // Functions.
  ['SELECT writes()', 'writes'],
  ['SELECT public.writes()', 'writes'],
  ['SELECT "writes"()', 'writes'],
  ['SELECT WRITES()', 'writes'],
  ["SELECT nextval('seq')", 'nextval'],
  ["VALUES (nextval('seq'))", 'nextval'],
  ["SELECT setval('seq', 1)", 'setval'],
  ["SELECT currval('seq')", 'currval'],
  ['SELECT lastval()', 'lastval'],
  ['SELECT a FROM t WHERE writes() > 0', 'writes'],
  ['SELECT a FROM t ORDER BY writes()', 'writes'],
  ['SELECT a FROM t GROUP BY a HAVING max(writes()) > 0', 'writes'],
  ['SELECT a FROM t LIMIT writes()', 'writes'],
  ['SELECT a FROM t JOIN other USING (a) WHERE EXISTS (SELECT writes())', 'writes'],
  ['SELECT * FROM writes()', 'writes'],
  ['SELECT * FROM ROWS FROM (generate_series(1, 2), writes()) x', 'writes'],
  ['SELECT sum(a) FILTER (WHERE writes() > 0) OVER w FROM t WINDOW w AS (ORDER BY writes())', 'writes'],
  ['SELECT CASE WHEN true THEN writes() END', 'writes'],
  ['SELECT ARRAY[writes()]', 'writes'],
  ['SELECT (ARRAY[1])[writes()]', 'writes'],
  ['SELECT coalesce(1, writes())', 'writes'],
  ['SELECT * FROM t TABLESAMPLE SYSTEM (writes())', 'writes'],
  ["SELECT * FROM XMLTABLE('/a' PASSING ('<a/>'::xml) COLUMNS b int PATH 'b' DEFAULT writes())", 'writes'],
  ['SELECT xmlelement(name a, writes())', 'writes'],
  ['SELECT json_array(writes())', 'writes'],
  ['SELECT overloaded(1)', 'overloaded'],
  ['SELECT by_default()', 'by_default'],
  ['SELECT x.of_row FROM t x', 'of_row'],
  ['SELECT (x).of_row FROM t x', 'of_row'],
  ['SELECT of_row(x) FROM t x', 'of_row'],
  ['SELECT added(a) FROM t', 'added'],
  ['SELECT never_heard_of(1)', 'no function of that name'],
  // Operators and types.
  ['SELECT 1 <+> 2', 'operator <+>'],
  ['SELECT 1 OPERATOR(public.<+>) 2', 'operator <+>'],
  ['SELECT 1 <+> ANY (ARRAY[1])', 'operator <+>'],
  ['SELECT 1 <+> ANY (SELECT 1)', 'operator <+>'],
  ['SELECT 1::checked', 'checked'],
  ['SELECT CAST(1 AS public.checked)', 'checked'],
  ['SELECT 1::pair', 'pair'],
  // Relations.
  ['SELECT * FROM unlogged', 'an unlogged table'],
  ['SELECT * FROM over_unlogged', 'a view'],
  ['SELECT * FROM parent', 'parent'],
  ['COPY unlogged TO STDOUT', 'an unlogged table'],
  ['SELECT last_value FROM seq', 'a sequence'],
  ['SELECT * FROM over_sequence', 'a view'],
  ['SELECT * FROM numbered', 'a view'],
  ['SELECT * FROM calling', 'a view'],
  ['SELECT * FROM over_over_calling', 'a view'],
  ['SELECT * FROM builtin', 'a view'],
  ['SELECT * FROM over_activity', 'a view'],
  ['SELECT * FROM guarded', 'policy'],
  ['SELECT * FROM never_made', 'no relation of that name'],
  ['SELECT * FROM pg_stat_activity', 'pg_stat_activity'],
  ['SELECT * FROM pg_locks', 'pg_locks'],
  ['SELECT * FROM pg_prepared_xacts', 'pg_prepared_xacts'],
  ['SELECT * FROM pg_cursors', 'pg_cursors'],
  ['SELECT * FROM pg_settings', 'pg_settings'],
  ['SELECT * FROM pg_stat_replication', 'pg_stat_replication'],
  ['SELECT * FROM pg_replication_slots', 'pg_replication_slots'],
  ['SELECT * FROM pg_sequences', 'pg_sequences'],
  // What asks about the node, the session or its transaction.
  ['SELECT pg_is_in_recovery()', 'pg_is_in_recovery'],
  ['SELECT pg_catalog.pg_is_in_recovery()', 'pg_is_in_recovery'],
  ['SELECT pg_backend_pid()', 'pg_backend_pid'],
  ['SELECT inet_server_addr()', 'inet_server_addr'],
  ['SELECT txid_current()', 'txid_current'],
  ['SELECT pg_current_xact_id()', 'pg_current_xact_id'],
  ['SELECT pg_export_snapshot()', 'pg_export_snapshot'],
  ['SELECT pg_current_wal_lsn()', 'pg_current_wal_lsn'],
  ['SELECT pg_last_wal_replay_lsn()', 'pg_last_wal_replay_lsn'],
  ["SELECT pg_walfile_name('0/1')", 'pg_walfile_name'],
  ['SELECT pg_postmaster_start_time()', 'pg_postmaster_start_time'],
  ['SELECT pg_advisory_lock(1)', 'pg_advisory_lock'],
  ['SELECT pg_try_advisory_xact_lock(1)', 'pg_try_advisory_xact_lock'],
  ["SELECT pg_notify('a', 'b')", 'pg_notify'],
  ["SELECT set_config('work_mem', '1MB', false)", 'set_config'],
  ['SELECT setseed(0.5)', 'setseed'],
  ['SELECT lo_create(0)', 'lo_create'],
  ['SELECT lo_get(1)', 'lo_get'],
  ["SELECT query_to_xml('DELETE FROM t', true, true, '')", 'query_to_xml'],
  ["SELECT table_to_xml('unlogged', true, true, '')", 'table_to_xml'],
  ["SELECT cursor_to_xml('c', 1, true, true, '')", 'cursor_to_xml'],
  ["SELECT database_to_xml(true, true, '')", 'database_to_xml'],
  ["SELECT ts_stat('SELECT 1')", 'ts_stat'],
  ["SELECT current_setting('transaction_read_only')", 'transaction_read_only'],
  ['SELECT current_setting(b) FROM t', 'current_setting'],
  ['SHOW transaction_read_only', 'transaction_read_only'],
  ['SHOW in_hot_standby', 'in_hot_standby'],
  ['SHOW ALL', 'all'],
  ['SHOW primary_conninfo', 'primary_conninfo'],
  // The session and the server.
  ['SET work_mem = 1', 'SET'],
  ['SET transaction_read_only = 0', 'SET'],
  ['SET TRANSACTION READ ONLY', 'SET'],
  ['SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE', 'SET'],
  ['RESET ALL', 'SET'],
  ['DISCARD ALL', 'DISCARD'],
  ['PREPARE p AS SELECT 1', 'PREPARE'],
  ['EXECUTE p', 'PREPARE'],
  ['EXPLAIN EXECUTE p', 'explains'],
  ['EXPLAIN INSERT INTO t VALUES (1)', 'explains'],
  ['EXPLAIN ANALYZE INSERT INTO t VALUES (100)', 'explains'],
  ['EXPLAIN ANALYZE CREATE TABLE made AS SELECT 1', 'explains'],
  ['DEALLOCATE ALL', 'PREPARE'],
  ['DECLARE c CURSOR WITH HOLD FOR SELECT 1', 'HOLD'],
  ['DECLARE c CURSOR FOR SELECT * FROM t FOR UPDATE', 'locks'],
  ['FETCH ALL FROM c', 'cursor'],
  ['MOVE 1 FROM c', 'cursor'],
  ['CLOSE c', 'cursor'],
  ['CALL p()', 'CALL'],
  ['DO $$ BEGIN END $$', 'DO'],
  ['LISTEN a', 'LISTEN'],
  ['NOTIFY a', 'NOTIFY'],
  ['COMMIT', 'COMMIT'],
  ['ROLLBACK', 'ROLLBACK'],
  ["PREPARE TRANSACTION 'x'", 'two-phase'],
  ['VACUUM', 'VACUUM'],
  ['ANALYZE t', 'VACUUM'],
  ['CHECKPOINT', 'CHECK'],
  // COPY.
  ['COPY t FROM STDIN', 'COPY FROM'],
  ["COPY t TO '/nowhere'", 'file'],
  ["COPY (SELECT 1) TO PROGRAM 'true'", 'program'],
  ['COPY (DELETE FROM t RETURNING *) TO STDOUT', 'write'],
  ['COPY (SELECT writes()) TO STDOUT', 'writes'],
  // Several statements, as PgDog routes by the first of them.
  ['SELECT 1; INSERT INTO t VALUES (1)', 'more than one'],
  ['SELECT 1; SELECT 2', 'more than one'],
  [';;SELECT 1;;DELETE FROM t', 'more than one'],
  // What cannot be parsed is never a read (pgcat).
  ['SELECT FROM WHERE', 'parsed'],
  ["SELECT 'a", 'parsed'],
  ['/* /* SELECT 1 */', 'parsed'],
  ['SELECT 1 /* */ */', 'parsed'],
  ["SELECT 'a\\'; DELETE FROM t; --'", 'more than one'],
]
