/**
 * Which statements may go to a standby, against real catalogs and a real standby: the table of statements, everything that PostgreSQL has
 * itself, and statements made at random.
 */
import { cpSync } from 'node:fs'
import fc from 'fast-check'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Catalog, CatalogBuilder } from '../../src/proxy/classify/catalog.ts'
import { CATALOG_SQL } from '../../src/proxy/classify/catalog-sql.ts'
import { createClassifier } from '../../src/proxy/classify/classifier.ts'
import {
  DIFFERS,
  differsByNode,
  HARMLESS_VOLATILE,
  SAME_PG,
  SAME_PG_PATTERN,
} from '../../src/proxy/classify/nodes-differ.ts'
import { loadParser } from '../../src/proxy/classify/parser.ts'
import type { Classifier } from '../../src/proxy/classify/verdict.ts'
import { PRIMARY, READS, SCHEMA } from '../support/classified-statements.ts'
import { installOf } from '../support/postgres-installs.ts'
import { makeWorkspace, startPrimary, startStandby, type TestServer } from '../support/postgres-server.ts'

const MAJORS = [15, 18]

/** What a standby says to what needs a primary: 25006, and what some functions say instead. */
const REFUSALS = new Set(['25006', '55000', '0A000'])

async function readCatalog(client: pg.Client): Promise<Catalog> {
  const result: unknown = await client.query({ text: CATALOG_SQL, rowMode: 'array' })
  const catalog = new CatalogBuilder()
  for (const { rows } of result as pg.QueryArrayResult<[string, string]>[]) {
    for (const row of rows) catalog.add(row)
  }
  return catalog
}

describe.each(MAJORS)('on PostgreSQL %i', (major) => {
  const workspace = makeWorkspace('classify')
  let primary: TestServer
  let standby: TestServer
  let onPrimary: pg.Client
  let onStandby: pg.Client
  let catalog: Catalog
  let classifier: Classifier

  beforeAll(async () => {
    await loadParser()
    const options = { install: installOf(major), workspace: workspace.path }
    primary = await startPrimary({ ...options, name: 'primary' })
    await primary.sql(SCHEMA)
    await primary.stop()
    cpSync(primary.dataDirectory, `${workspace.path}/standby`, { recursive: true, verbatimSymlinks: true })
    await primary.start()
    const primaryConninfo = `host=${workspace.path} port=${primary.port} user=postgres`
    standby = await startStandby({ ...options, name: 'standby', primaryConninfo })
    onPrimary = await primary.connect()
    onStandby = await standby.connect()
    // Compiling the plans of the information schema takes longer than running them.
    for (const client of [onPrimary, onStandby]) await client.query('SET jit = off')
    const unprivileged = new pg.Client({
      host: workspace.path,
      port: primary.port,
      user: 'nobody_special',
      database: 'postgres',
    })
    await unprivileged.connect()
    catalog = await readCatalog(unprivileged)
    await unprivileged.end()
    classifier = createClassifier({ current: () => catalog })
    await replayed()
  })

  afterAll(async () => {
    for (const client of [onPrimary, onStandby]) await client?.end()
    for (const server of [standby, primary]) await server?.stop()
    workspace.remove()
  })

  async function replayed(): Promise<void> {
    const { rows } = await onPrimary.query<{ lsn: string }>('SELECT pg_current_wal_flush_lsn() AS lsn')
    const caughtUp = 'SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn AS done'
    while ((await onStandby.query<{ done: boolean }>(caughtUp, [rows[0]?.lsn])).rows[0]?.done !== true) {
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }

  interface Answer {
    readonly code: string | null
    readonly rows: unknown
  }

  /** The code of the error, or null. */
  async function ask(client: pg.Client, text: string): Promise<Answer> {
    try {
      const { rows } = await client.query({ text, rowMode: 'array' })
      return { code: null, rows }
    } catch (error) {
      return { code: error instanceof pg.DatabaseError ? (error.code ?? '?') : String(error), rows: null }
    }
  }

  /** In a transaction, of which nothing stays. */
  async function run(client: pg.Client, text: string): Promise<Answer> {
    await client.query('BEGIN')
    const answer = await ask(client, text)
    await client.query('ROLLBACK')
    return answer
  }

  test('each read of the table is one', () => {
    const wrong = READS.filter((text) => classifier.classify(text).kind !== 'read')
    expect(wrong.map((text) => [text, classifier.classify(text)])).toEqual([])
  })

  test('each of the others goes to the primary, for its reason', () => {
    const wrong = PRIMARY.filter(([text, reason]) => {
      const verdict = classifier.classify(text)
      return verdict.kind !== 'primary' || !verdict.reason.includes(reason)
    })
    expect(wrong.map(([text]) => [text, classifier.classify(text)])).toEqual([])
  })

  test('a standby runs each read of the table', async () => {
    const refused: unknown[] = []
    for (const text of READS.filter((one) => !one.includes('$1') && !one.startsWith('COPY'))) {
      const { code } = await run(onStandby, text)
      if (code !== null && REFUSALS.has(code)) refused.push([text, code])
    }
    expect(refused).toEqual([])
  })

  test('a view that is replaced, and a table made unlogged, are what they are now after the next reading', async () => {
    expect(classifier.classify('SELECT * FROM v').kind).toBe('read')
    await onPrimary.query(
      'BEGIN; CREATE OR REPLACE VIEW v AS SELECT a, writes()::text AS b FROM t; ALTER TABLE other SET UNLOGGED',
    )
    const changed = await onPrimary.query({
      text: CATALOG_SQL.replace('SET LOCAL transaction_read_only = on;', ''),
      rowMode: 'array',
    })
    await onPrimary.query('ROLLBACK')
    const built = new CatalogBuilder()
    for (const { rows } of changed as unknown as pg.QueryArrayResult<[string, string]>[])
      for (const row of rows) built.add(row)
    const later = createClassifier({ current: () => built })
    for (const name of ['v', 'over_v', 'other'])
      expect(later.classify(`SELECT * FROM ${name}`).kind).toBe('primary')
  })

  test('a temporary table that hides another is one, and by a name of its own it changes nothing', async () => {
    const session = await primary.connect()
    await session.query('CREATE TEMP TABLE passing (a int); CREATE TEMP TABLE t (a int)')
    const later = await readCatalog(session)
    await session.query('DROP TABLE passing, pg_temp.t')
    await session.end()
    expect(later.relations.get('t')).toBe('a temporary table')
    expect(later.relations.has('passing')).toBe(false)
    expect((await readCatalog(onPrimary)).relations).toEqual(catalog.relations)
  })

  test('everything called pg_… that is not volatile has been decided, and every volatile that is harmless exists', async () => {
    const decided = new Set([...SAME_PG, ...DIFFERS])
    const { rows } = await onPrimary.query<{ name: string; volatile: string }>(
      `SELECT proname AS name, max(provolatile) AS volatile FROM pg_proc
       WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind <> 'p' GROUP BY 1`,
    )
    const patterns = new RegExp(SAME_PG_PATTERN)
    const left = rows
      .filter(({ name, volatile }) => name.startsWith('pg_') && volatile !== 'v')
      .map(({ name }) => name)
      .filter((name) => !decided.has(name) && !patterns.test(name))
      .filter((name) => !KEPT_ON_THE_PRIMARY.has(name) && !/^pg_(stat_get|event_trigger)_/.test(name))
    expect(left).toEqual([])
    for (const name of HARMLESS_VOLATILE)
      expect(rows.find((row) => row.name === name)?.volatile ?? 'v').toBe('v')
  })

  test('a function that may run anywhere gives the same on the standby, and is not refused there', async () => {
    const { rows } = await onPrimary.query<{ name: string; types: string[] }>(
      `SELECT proname AS name, ARRAY(SELECT format_type(a, NULL) FROM unnest(proargtypes) a) AS types FROM pg_proc p
       WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f' AND pronargs <= 4 ORDER BY proname, oid`,
    )
    const calls = rows
      .filter(
        ({ name, types }) =>
          catalog.functions.get(name) === true && !CHANGES_BY_ITSELF.test(name) && isCallable(name, types),
      )
      .map(({ name, types }) => `SELECT "${name}"(${types.map((type) => sample(type)).join(', ')})`)
    expect(calls.length).toBeGreaterThan(1500)
    const wrong = await differing(calls)
    expect(wrong).toEqual([])
  })

  test('a relation of PostgreSQL that may be read anywhere has the same rows on the standby', async () => {
    const { rows } = await onPrimary.query<{ schema: string; name: string }>(
      `SELECT relnamespace::regnamespace::text AS schema, relname AS name FROM pg_class
       WHERE relkind IN ('r', 'v') AND relnamespace IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)`,
    )
    for (const { name } of rows) expect(catalog.relations.has(name)).toBe(true)
    const safe = rows.filter(({ name }) => catalog.relations.get(name) === null)
    expect(safe.length).toBeGreaterThan(100)
    const texts = safe.map(
      ({ schema, name }) => `SELECT md5(string_agg(x::text, ';' ORDER BY x::text)) FROM ${schema}.${name} x`,
    )
    expect(await differing(texts)).toEqual([])
  })

  test('a setting that may be shown anywhere is the same on the standby', async () => {
    const { rows } = await onPrimary.query<{ name: string }>('SELECT name FROM pg_settings ORDER BY name')
    const texts = rows.filter(({ name }) => !differsByNode(name)).map(({ name }) => `SHOW "${name}"`)
    expect(texts.length).toBeGreaterThan(200)
    expect(await differing(texts)).toEqual([])
  })

  /** Those that a standby refuses, or answers otherwise than the primary. */
  async function differing(texts: readonly string[]): Promise<readonly unknown[]> {
    const found: unknown[] = []
    for (const text of texts) {
      const [first, second] = await Promise.all([ask(onPrimary, text), ask(onStandby, text)])
      if (second.code !== first.code) found.push([text, first.code, second.code])
      else if (JSON.stringify(first.rows) !== JSON.stringify(second.rows))
        found.push([text, first.rows, second.rows])
    }
    return found
  }

  test('of statements made at random, a standby refuses no read', async () => {
    let reads = 0
    await fc.assert(
      fc.asyncProperty(statements(), async (text) => {
        if (classifier.classify(text).kind !== 'read') return
        reads += 1
        const { code } = await run(onStandby, text)
        expect(REFUSALS.has(code ?? '') ? [text, code] : null).toBeNull()
      }),
      { numRuns: 400 },
    )
    expect(reads).toBeGreaterThan(80)
  })

  test('of statements made at random, a standby refuses many that are none: the test can fail', async () => {
    let refused = 0
    for (const text of fc.sample(statements(), 150)) {
      if (classifier.classify(text).kind === 'read') continue
      const { code } = await run(onStandby, text)
      if (REFUSALS.has(code ?? '')) refused += 1
    }
    expect(refused).toBeGreaterThan(15)
  })
})

/** Not volatile, called pg_…, and on the primary all the same: they ask about the node, its sessions or its files. */
const KEPT_ON_THE_PRIMARY = new Set([
  ...[
    'pg_available_extension_versions',
    'pg_available_extensions',
    'pg_extension_update_paths',
    'pg_config',
    'pg_numa_available',
  ],
  ...[
    'pg_backend_pid',
    'pg_listening_channels',
    'pg_my_temp_schema',
    'pg_cursor',
    'pg_prepared_statement',
    'pg_show_all_settings',
  ],
  ...['pg_conf_load_time', 'pg_postmaster_start_time', 'pg_tablespace_location', 'pg_get_replication_slots'],
  ...['pg_current_snapshot', 'pg_current_xact_id', 'pg_current_xact_id_if_assigned'],
  ...['pg_walfile_name', 'pg_walfile_name_offset', 'pg_split_walfile_name'],
  // Refused by a standby, although it only looks.
  'pg_replication_origin_oid',
])

/** The clock, and what is different at each call. */
const CHANGES_BY_ITSELF =
  /^(now|random|random_normal|clock_timestamp|timeofday|gen_random_uuid|uuidv\d|transaction_timestamp|statement_timestamp|pg_sleep.*|array_sample|array_shuffle|age)$/

const SAMPLES: Readonly<Record<string, string>> = {
  ...{
    integer: '1',
    bigint: '1',
    smallint: '1::smallint',
    numeric: '1',
    real: '1',
    'double precision': '1',
    oid: '1259',
    text: "'t'",
  },
  ...{
    name: "'t'",
    boolean: 'true',
    regclass: "'t'::regclass",
    'character varying': "'t'",
    character: "'t'",
    '"char"': "'t'",
  },
  ...{
    json: "'{}'::json",
    jsonb: "'{}'::jsonb",
    bytea: "'t'::bytea",
    xml: "'<a/>'::xml",
    pg_lsn: "'0/1'::pg_lsn",
  },
  ...{
    interval: "'1 day'::interval",
    date: "'2020-01-01'::date",
    inet: "'10.0.0.1'::inet",
    regtype: "'int'::regtype",
  },
  ...{
    'timestamp with time zone': "'2020-01-01'::timestamptz",
    'timestamp without time zone': "'2020-01-01'::timestamp",
  },
  ...{
    regconfig: "'simple'::regconfig",
    xid: "'1'::xid",
    xid8: "'1'::xid8",
    'text[]': "'{t}'::text[]",
    'oid[]': "'{1259}'::oid[]",
  },
  ...{
    anyelement: '1',
    anynonarray: '1',
    anyarray: "'{1}'::int[]",
    anycompatible: '1',
    anycompatiblearray: "'{1}'::int[]",
  },
}

function sample(type: string): string {
  return SAMPLES[type] ?? `NULL::${type}`
}

/** The server's own parts are called by nobody, and pseudotypes have no NULL of their own. */
function isCallable(name: string, types: readonly string[]): boolean {
  return (
    types.every(
      (type) =>
        type in SAMPLES ||
        !/^(internal|cstring|any|record|trigger|event_trigger|.*handler|unknown|void)/.test(type),
    ) && !/^(lo_|pg_terminate|pg_cancel)/.test(name)
  )
}

/** Statements out of parts of the schema, safe ones and others, some nested. */
function statements(): fc.Arbitrary<string> {
  const relation = fc.constantFrom(
    ...[
      't',
      'v',
      'over_v',
      'stored',
      'whole',
      's.t',
      'tenants',
      'pg_class',
      'pg_tables',
      'unlogged',
      'over_unlogged',
      'calling',
    ],
    ...[
      'over_calling',
      'parent',
      'numbered',
      'builtin',
      'locking',
      'guarded',
      'seq',
      'pg_locks',
      'information_schema.columns',
    ],
  )
  const value = fc.constantFrom(
    ...[
      '1',
      "'x'",
      'abs(-1)',
      'now()',
      'random()',
      'stable_one(1)',
      'current_user',
      "upper('a')",
      '1 + 1',
      '1 <~> 1',
      '1::positive',
    ],
    ...[
      'writes()',
      "nextval('seq')",
      'txid_current()',
      'by_default()',
      '1 <+> 1',
      '1::checked',
      'pg_export_snapshot()',
      'lo_create(0)',
    ],
    ...[
      'overloaded(1)',
      "pg_notify('a', 'b')",
      'pg_current_wal_lsn()',
      "set_config('work_mem', '1MB', true)",
      'gen_random_uuid()',
    ],
  )
  const simple = fc.oneof(
    {
      weight: 3,
      arbitrary: fc.tuple(value, relation).map(([one, from]) => `SELECT ${one} FROM ${from} LIMIT 3`),
    },
    { weight: 3, arbitrary: value.map((one) => `SELECT ${one}`) },
    { weight: 2, arbitrary: relation.map((from) => `SELECT * FROM ${from} LIMIT 3`) },
    { weight: 1, arbitrary: relation.map((from) => `TABLE ${from}`) },
    { weight: 1, arbitrary: value.map((one) => `VALUES (${one})`) },
    { weight: 1, arbitrary: relation.map((from) => `SELECT * FROM ${from} FOR UPDATE`) },
    { weight: 1, arbitrary: fc.constant('SELECT added(a), summed(a) FROM t') },
  )
  const wrap = fc.constantFrom<(inner: string) => string>(
    (inner) => inner,
    (inner) => `SELECT * FROM (${inner}) q`,
    (inner) => `WITH q AS MATERIALIZED (${inner}) SELECT * FROM q`,
    (inner) => `SELECT EXISTS (${inner})`,
    (inner) => `SELECT count(*) FROM t, LATERAL (${inner}) q`,
    (inner) => `EXPLAIN (ANALYZE) ${inner}`,
    (inner) => `DECLARE c CURSOR FOR ${inner}`,
    (inner) => `SELECT 1 UNION ALL SELECT count(*)::int FROM (${inner}) q`,
    (inner) =>
      `WITH w AS (INSERT INTO written VALUES (9) RETURNING a) ${inner.startsWith('SELECT') ? inner : 'SELECT * FROM w'}`,
  )
  return fc.tuple(wrap, wrap, simple).map(([outer, inner, text]) => {
    const once = inner(text)
    return /^(EXPLAIN|DECLARE)/.test(once) ? once : outer(once)
  })
}
