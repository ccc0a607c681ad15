/**
 * What reads a `Catalog` from a database, of PostgreSQL 15 to 18. It needs no privilege: pg_class, pg_proc, pg_rewrite, pg_policy and
 * pg_depend are readable by every role. One statement is one snapshot: nothing of it is older than the rest.
 */
import { DIFFERS, HARMLESS_VOLATILE, SAME_PG, SAME_PG_PATTERN } from './nodes-differ.ts'

/** Names per row, so that no message and no turn of the event loop becomes long. */
const NAMES_PER_ROW = 1000

/**
 * Above this many names of relations none is read, and statements that read a table go to the primary: a snapshot of them would
 * cost every worker more memory (about 100 bytes each) than the reads are worth.
 */
const MAX_RELATION_NAMES = 300_000

function list(names: readonly string[]): string {
  return `'{${names.join(',')}}'::pg_catalog.text[]`
}

/** Object ids of functions in the text of an expression tree (the manual, "pg_rewrite", "pg_policy": type pg_node_tree). */
const CALLED = String.raw`:(?:funcid|opfuncid|aggfnoid|winfnoid) (\d+)`

/** FOR UPDATE inside a view. */
const LOCKS_ROWS = '{ROWMARKCLAUSE'

const CALLS = (tree: string): string =>
  `pg_catalog.regexp_matches(${tree}::pg_catalog.text, '${CALLED}', 'g') AS called(ids)`

const ID = '(called.ids)[1]::pg_catalog.oid'

/**
 * Functions. Those that are unsafe by themselves, then aggregates made of such, and those with such a default argument. What a view or
 * a policy calls is read from its tree and not from pg_depend, which does not record uses of PostgreSQL's own functions.
 */
const FUNCTIONS = `
  own AS MATERIALIZED (
    SELECT p.oid, p.proname, p.pronargs, p.pronargdefaults, p.proargtypes, p.proargdefaults, p.prokind,
           CASE WHEN p.proname = ANY (${list(HARMLESS_VOLATILE)})
                     AND p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace THEN false
                WHEN p.provolatile = 'v' THEN true
                WHEN p.proname = ANY (${list(DIFFERS)}) THEN true
                WHEN p.proname ~ '^pg_' THEN NOT (p.proname = ANY (${list(SAME_PG)}) OR p.proname ~ '${SAME_PG_PATTERN}')
                ELSE false END AS unsafe
    FROM pg_catalog.pg_proc p WHERE p.prokind <> 'p'),
  parts AS (
    SELECT a.aggfnoid::pg_catalog.oid AS oid FROM pg_catalog.pg_aggregate a JOIN own ON own.unsafe AND own.oid IN (
      a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn)
    UNION
    SELECT o.oid FROM own o, ${CALLS('o.proargdefaults')} JOIN own ON own.oid = ${ID} AND own.unsafe
    WHERE o.proargdefaults IS NOT NULL),
  functions AS MATERIALIZED (
    SELECT o.oid, o.proname, o.pronargs, o.pronargdefaults, o.proargtypes, o.unsafe OR o.oid = ANY (ARRAY(SELECT oid FROM parts)) AS unsafe
    FROM own o),
  bad AS MATERIALIZED (SELECT oid FROM functions WHERE unsafe)`

/**
 * Relations: those with a flaw of their own, and, recursively, those that read one of them. A name that only temporary tables have is left
 * out, as unknown: it would come and go, and with it everything that was decided upon the catalog.
 */
const RELATIONS = `
  named AS MATERIALIZED (
    SELECT c.oid, c.relname, CASE WHEN c.relpersistence <> 'p' THEN c.relpersistence WHEN c.relkind IN ('f', 'S') THEN c.relkind END
             AS flaw, c.relkind
    FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'v', 'm', 'f', 'p', 'S')),
  views AS MATERIALIZED (
    SELECT r.ev_class AS oid, r.ev_action::pg_catalog.text AS tree FROM pg_catalog.pg_rewrite r
    JOIN named n ON n.oid = r.ev_class AND n.relkind = 'v' WHERE r.ev_type = '1'),
  callers AS (
    SELECT v.oid FROM views v WHERE pg_catalog.strpos(v.tree, '${LOCKS_ROWS}') > 0
    UNION
    SELECT v.oid FROM views v, ${CALLS('v.tree')} JOIN bad ON bad.oid = ${ID}
    UNION
    SELECT p.polrelid FROM pg_catalog.pg_policy p, ${CALLS('p.polqual')} JOIN bad ON bad.oid = ${ID}),
  reads AS MATERIALIZED (
    SELECT DISTINCT r.ev_class AS reader, d.refobjid AS source FROM pg_catalog.pg_depend d
    JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid AND r.ev_type = '1' AND r.ev_class <> d.refobjid
    JOIN named n ON n.oid = r.ev_class AND n.relkind = 'v'
    WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
    UNION
    SELECT p.polrelid, d.refobjid FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_policy p ON p.oid = d.objid
    WHERE d.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
    UNION
    SELECT i.inhparent, i.inhrelid FROM pg_catalog.pg_inherits i),
  flawed AS (
    SELECT oid FROM named WHERE flaw IS NOT NULL UNION SELECT oid FROM callers
    UNION
    SELECT r.reader FROM reads r JOIN flawed f ON f.oid = r.source),
  relations AS (
    SELECT n.relname AS name, pg_catalog.max(CASE WHEN n.flaw IS NOT NULL THEN n.flaw::pg_catalog.text
             WHEN f.oid IS NOT NULL THEN 'v' ELSE '-' END) AS flaw
    FROM named n LEFT JOIN flawed f ON f.oid = n.oid GROUP BY n.relname
    HAVING NOT pg_catalog.bool_and(n.flaw IS NOT DISTINCT FROM 't'))`

/** Casts and the checks of domains that run an unsafe function. An implicit cast has no name in a statement and is not looked for. */
const TYPES = `
  types AS (
    SELECT t.typname AS name FROM pg_catalog.pg_cast c JOIN bad ON bad.oid = c.castfunc JOIN pg_catalog.pg_type t ON t.oid = c.casttarget
    UNION
    SELECT t.typname FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_type t ON t.oid = c.contypid
    WHERE c.contypid <> 0 AND EXISTS (SELECT FROM ${CALLS('c.conbin')} JOIN bad ON bad.oid = ${ID}))`

/**
 * An operator that PostgreSQL has too (=, +) stays safe when somebody made a further one of that name with a volatile function, as one
 * does who forgets IMMUTABLE: everything would go to the primary otherwise. Should it write, the standby refuses.
 */
const NAMES = `
  names AS (
    SELECT CASE WHEN pg_catalog.bool_or(unsafe) THEN 'function unsafe' ELSE 'function safe' END AS kind, proname AS name
    FROM functions GROUP BY proname
    UNION ALL
    SELECT DISTINCT 'row function', f.proname FROM functions f JOIN pg_catalog.pg_type t ON t.oid = f.proargtypes[0]
    WHERE f.unsafe AND f.pronargs >= 1 AND f.pronargs - f.pronargdefaults <= 1
      AND (t.typtype = 'c' OR t.typname IN ('record', 'anyelement', 'anynonarray', 'anycompatible', 'anycompatiblenonarray', 'any'))
    UNION ALL
    SELECT 'operator', o.oprname FROM pg_catalog.pg_operator o GROUP BY o.oprname
    HAVING pg_catalog.bool_or(o.oprnamespace = 'pg_catalog'::pg_catalog.regnamespace)
      OR NOT pg_catalog.bool_or(o.oprcode IN (SELECT oid FROM bad))
    UNION ALL
    SELECT DISTINCT 'type unsafe', name FROM types
    UNION ALL
    SELECT 'relation ' || flaw, name FROM relations WHERE (SELECT pg_catalog.count(*) FROM relations) <= ${MAX_RELATION_NAMES})`

/** An identifier may hold any character but zero: one with the separator in it counts as unknown. */
const ROWS = `WITH RECURSIVE ${FUNCTIONS}, ${RELATIONS}, ${TYPES}, ${NAMES}
SELECT kind, pg_catalog.string_agg(name, pg_catalog.chr(1) ORDER BY name)
FROM (SELECT kind, name::pg_catalog.text COLLATE "C" AS name,
             pg_catalog.row_number() OVER (PARTITION BY kind ORDER BY name::pg_catalog.text COLLATE "C") / ${NAMES_PER_ROW} AS part
      FROM names WHERE pg_catalog.strpos(name::pg_catalog.text, pg_catalog.chr(1)) = 0) numbered
GROUP BY kind, part ORDER BY kind, part`

/**
 * One message of the simple protocol; its only rows are of `CatalogRow`. Several statements in one message are one transaction, with which
 * the settings end, also when it fails. Compiling the plan takes five seconds where running it takes one, and nobody's search path may choose the
 * operators.
 */
export const CATALOG_SQL = [
  'SET LOCAL transaction_read_only = on',
  'SET LOCAL jit = off',
  'SET LOCAL search_path = pg_catalog',
  "SET LOCAL statement_timeout = '60s'",
  ROWS,
].join(';\n')
