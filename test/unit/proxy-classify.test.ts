/** What the classifier does by itself: its caches, comments, own settings, limits, and how a snapshot of the catalog comes and goes. */
import fc from 'fast-check'
import { beforeAll, describe, expect, test, vi } from 'vitest'
import { type Catalog, CatalogBuilder, NAME_SEPARATOR } from '../../src/proxy/classify/catalog.ts'
import { CatalogReader, type CatalogReaderOptions } from '../../src/proxy/classify/catalog-reader.ts'
import { createClassifier } from '../../src/proxy/classify/classifier.ts'
import { explainRoute } from '../../src/proxy/classify/explain-route.ts'
import { findHint } from '../../src/proxy/classify/hints.ts'
import { loadParser, MAX_TEXT_LENGTH, parse } from '../../src/proxy/classify/parser.ts'
import { shapeOf } from '../../src/proxy/classify/shape.ts'
import { VerdictCache } from '../../src/proxy/classify/verdict-cache.ts'

const ROWS: readonly (readonly [string, string])[] = [
  ['function safe', ['abs', 'current_setting', 'f'].join(NAME_SEPARATOR)],
  ['function unsafe', ['g', 'nextval'].join(NAME_SEPARATOR)],
  ['relation -', ['t', 'u'].join(NAME_SEPARATOR)],
  ['relation u', 'unlogged'],
  ['operator', ['=', '+', '<', '>', '<=', '>=', '~~', '||', '-'].join(NAME_SEPARATOR)],
]

function catalog(rows = ROWS): Catalog {
  const built = new CatalogBuilder()
  for (const row of rows) built.add(row)
  return built
}

function classifierWith(current: Catalog | null) {
  const source = { catalog: current, current: () => source.catalog }
  return { source, ...bound(createClassifier(source)) }
}

function bound(classifier: ReturnType<typeof createClassifier>) {
  return {
    classifier,
    kind: (text: string) => classifier.classify(text).kind,
    verdict: (text: string) => classifier.classify(text),
  }
}

beforeAll(loadParser)

describe('a classifier', () => {
  test('says primary to every query while the catalog is not known, and still knows BEGIN and its own settings', () => {
    const { source, kind } = classifierWith(null)
    expect(kind('SELECT 1')).toBe('primary')
    expect(kind('COPY t TO STDOUT')).toBe('primary')
    expect(kind('BEGIN')).toBe('begin')
    expect(kind("SET understudy.level = 'eventual'")).toBe('setOwn')
    source.catalog = catalog()
    expect(kind('SELECT 1')).toBe('read')
    source.catalog = null
    expect(kind('SELECT 1')).toBe('primary')
  })

  test('forgets its verdicts when the catalog changed', () => {
    const { source, kind } = classifierWith(catalog())
    expect(kind('SELECT f(1)')).toBe('read')
    source.catalog = catalog([...ROWS, ['function unsafe', 'f']])
    expect(kind('SELECT f(1)')).toBe('primary')
    expect(kind('SELECT f(2)')).toBe('primary')
  })

  test('remembers what a standby refused, for all statements of that shape, until the catalog changes', () => {
    const { classifier, source, kind, verdict } = classifierWith(catalog())
    expect(kind("SELECT f('a', 1)")).toBe('read')
    classifier.learnWrite("SELECT f('a', 1)")
    expect(verdict("SELECT f('a', 1)")).toMatchObject({ reason: 'a standby has refused it before' })
    expect(kind("SELECT f('b', 2)")).toBe('primary')
    expect(kind('SELECT f(1)')).toBe('read')
    source.catalog = catalog()
    expect(kind("SELECT f('a', 1)")).toBe('read')
  })

  test('has one verdict for statements that differ in the values of their literals only', () => {
    const { kind } = classifierWith(catalog())
    for (let at = 0; at < 50; at += 1)
      expect(kind(`SELECT * FROM t WHERE a = ${at} AND b = 'x${at}'`)).toBe('read')
    expect(kind('SELECT * FROM t1 WHERE a = 1')).toBe('primary')
  })

  test('never takes the value of one SET for that of another, nor one setting for another', () => {
    const { verdict, kind } = classifierWith(catalog())
    for (const value of ['0', '5', '7.5']) {
      expect(verdict(`SET understudy.max_lag = ${value}`)).toMatchObject({ value })
    }
    for (const value of ['', '0/1', 'a']) {
      expect(verdict(`SET understudy.token = '${value}'`)).toMatchObject({ value })
    }
    expect(kind("SELECT current_setting('')")).toBe('read')
    expect(kind("SELECT current_setting('in_hot_standby')")).toBe('primary')
    expect(kind("SELECT current_setting('work_mem')")).toBe('read')
    expect(kind('SELECT current_setting($1)')).toBe('primary')
  })

  test.each([
    ['SET understudy.target = "read-only"', 'understudy.target', 'read-only', false],
    ['set session Understudy.Level to eventual', 'understudy.level', 'eventual', false],
    ["SET LOCAL understudy.token = '0/1'", 'understudy.token', '0/1', true],
    ['SET understudy.max_lag TO DEFAULT', 'understudy.max_lag', null, false],
    ['RESET understudy.max_lag', 'understudy.max_lag', null, false],
    ["SET understudy.max_lag = '5s'", 'understudy.max_lag', '5s', false],
  ])('knows %s', (text, name, value, local) => {
    expect(classifierWith(null).verdict(text)).toEqual({ kind: 'setOwn', name, value, local })
  })

  test('knows SHOW of its own settings, and no other of that prefix', () => {
    const { verdict, kind } = classifierWith(catalog())
    expect(verdict('SHOW understudy.token')).toEqual({ kind: 'showOwn', name: 'understudy.token' })
    expect(kind("SET understudy.levle = 'eventual'")).toBe('primary')
    expect(kind("SET understudy.level = 'a', 'b'")).toBe('primary')
    expect(kind("SET understudy.level = 'eventual'; SELECT 1")).toBe('primary')
  })

  test.each([
    ['BEGIN', false],
    ['START TRANSACTION READ ONLY', true],
    ['begin transaction isolation level repeatable read read only', true],
    ['BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE', false],
    ['BEGIN READ WRITE', false],
    ['BEGIN READ ONLY READ WRITE', false],
    ['BEGIN READ WRITE, READ ONLY', true],
  ])('says of %s whether it is read-only: %s', (text, readOnly) => {
    expect(classifierWith(null).verdict(text)).toEqual({ kind: 'begin', readOnly, hint: null })
  })

  test('throws at nothing, and says primary to what it cannot look at', () => {
    const { kind, verdict } = classifierWith(catalog())
    expect(kind('SELEC 1')).toBe('primary')
    expect(kind(`SELECT ${'1 + '.repeat(5000)}1`)).toBe('primary')
    expect(kind(`SELECT ${'('.repeat(7000)}1${')'.repeat(7000)}`)).toBe('primary')
    expect(kind(`SELECT ${'NOT '.repeat(4000)}true`)).toBe('primary')
    expect(kind(`SELECT '${'x'.repeat(MAX_TEXT_LENGTH)}'`)).toBe('primary')
    expect(
      verdict(`/* understudy: target=read-only */ SELECT '${'x'.repeat(MAX_TEXT_LENGTH)}'`),
    ).toMatchObject({
      hint: { target: 'read-only' },
    })
    expect(kind('SELECT 1\0; DELETE FROM t')).toBe('primary')
    fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => kind(text) !== undefined))
  })

  test('lets a long flat list through', () => {
    const { kind } = classifierWith(catalog())
    expect(kind(`SELECT * FROM t WHERE a = 1 AND b IN (${'1, '.repeat(3000)}1)`)).toBe('read')
    expect(kind(`SELECT * FROM t WHERE b IN (${"'abc', ".repeat(1500)}'abc')`)).toBe('read')
  })

  test('keeps no statement of any length from being decided soon', () => {
    // Of every kind the deepest and longest that is let through at all; generous, because other work shares the machine.
    const { kind } = classifierWith(catalog())
    const texts = [
      `SELECT ${'1+'.repeat(999)}1`,
      `SELECT ${'(SELECT '.repeat(499)}1${')'.repeat(499)}`,
      `SELECT ${'1 AND '.repeat(2700)}true`,
      `SELECT * FROM t WHERE a IN (${'1,'.repeat(8000)}1)`,
      `SELECT * FROM t${' CROSS JOIN t'.repeat(990)}`,
    ]
    const beganMs = performance.now()
    for (const text of texts) kind(text)
    expect(performance.now() - beganMs).toBeLessThan(10_000)
  })

  test('explains itself in a sentence', () => {
    const { classifier } = classifierWith(catalog())
    expect(explainRoute(classifier, 'SELECT 1')).toBe('May go to a standby: it only reads.')
    expect(explainRoute(classifier, 'SELECT g(1)')).toBe(
      'Goes to the primary: it calls g, and a function of that name is volatile or answers differently on a standby.',
    )
    expect(explainRoute(classifier, '/* understudy: level=primary */ INSERT INTO t VALUES (1)')).toBe(
      'Goes to the primary: INSERT is no read. Its comment asks for level primary.',
    )
    expect(explainRoute(classifier, 'BEGIN READ ONLY')).toContain('may go to a standby')
    expect(explainRoute(classifier, 'SHOW understudy.token')).toBe(
      'Answered by the proxy: it shows understudy.token.',
    )
  })
})

describe('a comment', () => {
  test.each([
    [
      '/* understudy: target=read-only level=eventual */ SELECT 1',
      { target: 'read-only', level: 'eventual' },
    ],
    ['  /* ORM */ /*understudy: level=monotonic*/SELECT 1', { target: null, level: 'monotonic' }],
    ['/* understudy: target=auto, level=token */', { target: 'auto', level: 'token' }],
    ['SELECT 1 /* understudy: target=read-only */', null],
    ["SELECT '/* understudy: target=read-only */'", null],
    ['-- understudy: target=read-only\nSELECT 1', null],
    ['/* /* understudy: target=read-only */ */ SELECT 1', null],
  ])('%s', (text, hint) => {
    expect(findHint(text)).toEqual({ hint, complaint: null })
  })

  test('that is not understood sends its statement to the primary, and says what is wrong', () => {
    const { verdict } = classifierWith(catalog())
    expect(verdict('/* understudy: level=evntual */ SELECT 1')).toEqual({
      kind: 'primary',
      reason: '"level=evntual" in its comment is neither a target nor a level',
      hint: null,
    })
  })

  test('belongs to its own statement: the same without it, or with another, is not taken for it', () => {
    const { verdict } = classifierWith(catalog())
    expect(verdict('/* understudy: target=read-write */ SELECT 1')).toMatchObject({
      hint: { target: 'read-write' },
    })
    expect(verdict('/* understudy: target=read-only */ SELECT 1')).toMatchObject({
      hint: { target: 'read-only' },
    })
    expect(verdict('SELECT 1')).toMatchObject({ hint: null })
  })
})

describe('the shape of a text', () => {
  test.each([
    [
      "SELECT a1 FROM t WHERE b = 12 AND c = 'it''s' AND d = $1",
      "SELECT a1 FROM t WHERE b = 0 AND c = '' AND d = $1",
    ],
    ['SELECT "a 1" FROM t LIMIT 10', 'SELECT "a 1" FROM t LIMIT 0'],
    ['SELECT 1.5e10, -3', 'SELECT 0.0e10, -0'],
    ['SELECT é1', 'SELECT é1'],
    ['SELECT 1', 'SELECT 0'],
  ])('%s', (text, shape) => {
    expect(shapeOf(text)).toBe(shape)
  })

  test.each([
    "SELECT E'a'",
    "SELECT U&'a'",
    "SELECT 'a\\'",
    'SELECT $$a$$',
    'SELECT $x$a$x$',
    'SELECT 1 -- a',
    'SELECT 1 /* a */',
    "SELECT 'a",
  ])('is not made of %s', (text) => {
    expect(shapeOf(text)).toBeNull()
  })

  test('stands for texts of one verdict only', () => {
    const word = fc.constantFrom(
      'SELECT',
      '*',
      'FROM',
      't',
      'f(1)',
      'g(2)',
      'WHERE',
      'a',
      '=',
      "'x'",
      "''",
      "'",
      '1',
      '12',
      '"t"',
      '"t 1"',
      ',',
    )
    const more = fc.constantFrom(
      ';',
      '$1',
      '$$',
      '--',
      '/*',
      '*/',
      '\n',
      '\\',
      'E',
      'nextval',
      '(',
      ')',
      'UNION',
      'unlogged',
      'LIMIT',
      '+',
      '-',
    )
    const text = fc.array(fc.oneof(word, more), { maxLength: 12 }).map((words) => `SELECT ${words.join(' ')}`)
    const separate = (one: string) => classifierWith(catalog()).kind(one)
    const { kind } = classifierWith(catalog())
    fc.assert(
      fc.property(text, (one) => {
        expect(kind(one)).toBe(separate(one))
      }),
      { numRuns: 2000 },
    )
  })

  test('of a text that the parser takes is a text that it takes', () => {
    const shape = shapeOf('SELECT a1, \'x\' || "b 2" FROM t1 WHERE a = 1.5 AND b BETWEEN 1 AND 20 LIMIT 5')
    expect(shape).not.toBeNull()
    expect(parse(shape ?? '').kind).toBe('statements')
  })
})

describe('the cache', () => {
  test('is bounded in entries and bytes, and keeps what is used', () => {
    const cache = new VerdictCache<number>({ entries: 100, bytes: 1_000_000 })
    for (let at = 0; at < 1000; at += 1) {
      cache.set(`text ${at}`, at)
      expect(cache.get('text 0')).toBe(0)
      expect(cache.size).toBeLessThanOrEqual(101)
    }
    const small = new VerdictCache<number>({ entries: 100_000, bytes: 100_000 })
    for (let at = 0; at < 1000; at += 1) small.set(`${at}${'x'.repeat(1000)}`, at)
    expect(small.size).toBeLessThan(50)
    small.set('x'.repeat(100_000), 1)
    expect(small.get('x'.repeat(100_000))).toBeUndefined()
  })
})

describe('a catalog reader', () => {
  interface Stage {
    readonly reader: CatalogReader
    readonly queries: () => number
    answer: CatalogReaderOptions['query']
    readonly warned: string[]
  }

  async function stage(run: (stage: Stage) => Promise<void>): Promise<void> {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date', 'performance'] })
    let queries = 0
    const warned: string[] = []
    const log = {
      info: () => undefined,
      warn: (text: string) => void warned.push(text),
      error: () => undefined,
    }
    const clock = { nowMs: () => Date.now(), timestamp: () => '' }
    const query: CatalogReaderOptions['query'] = (sql) => {
      queries += 1
      return here.answer(sql)
    }
    const here: Stage = {
      reader: new CatalogReader({ query, clock, log }),
      queries: () => queries,
      answer: () => Promise.resolve(ROWS),
      warned,
    }
    try {
      await run(here)
    } finally {
      here.reader.close()
      vi.useRealTimers()
    }
  }

  test('knows nothing before it was asked and has read', async () => {
    await stage(async ({ reader, queries }) => {
      await vi.advanceTimersByTimeAsync(300_000)
      expect(queries()).toBe(0)
      expect(reader.current()).toBeNull()
      await vi.advanceTimersByTimeAsync(10)
      expect(queries()).toBe(1)
      expect(reader.current()?.functions.get('abs')).toBe(true)
      expect(reader.status()).toMatchObject({ relations: 3, functions: 5, failure: null })
    })
  })

  test('reads again every minute while somebody asks, and gives the same object while nothing changed', async () => {
    await stage(async (here) => {
      here.reader.current()
      await vi.advanceTimersByTimeAsync(10)
      const first = here.reader.current()
      await vi.advanceTimersByTimeAsync(60_000)
      expect(here.queries()).toBe(2)
      expect(here.reader.current()).toBe(first)
      here.answer = () => Promise.resolve([...ROWS, ['function unsafe', 'h']])
      await vi.advanceTimersByTimeAsync(60_000)
      expect(here.reader.current()).not.toBe(first)
      // Nobody asks any more: it stops, and believes nothing when somebody comes back.
      await vi.advanceTimersByTimeAsync(600_000)
      const asked = here.queries()
      await vi.advanceTimersByTimeAsync(600_000)
      expect(here.queries()).toBe(asked)
      expect(here.reader.current()).toBeNull()
    })
  })

  test('reads again soon after DDL, once for many', async () => {
    await stage(async ({ reader, queries }) => {
      reader.current()
      await vi.advanceTimersByTimeAsync(10)
      for (let at = 0; at < 100; at += 1) reader.ddlSeen()
      await vi.advanceTimersByTimeAsync(1100)
      expect(queries()).toBe(2)
      expect(reader.current()).not.toBeNull()
    })
  })

  test('is not kept from reading by DDL that never ends', async () => {
    await stage(async ({ reader, queries }) => {
      reader.current()
      await vi.advanceTimersByTimeAsync(10)
      for (let passedMs = 0; passedMs < 20_000; passedMs += 100) {
        reader.ddlSeen()
        await vi.advanceTimersByTimeAsync(100)
      }
      expect(queries()).toBeGreaterThan(15)
      expect(queries()).toBeLessThan(25)
    })
  })

  test('reads once more when DDL was seen while it read: its snapshot may be older', async () => {
    await stage(async (here) => {
      let done: (() => void) | undefined
      here.answer = () => new Promise((resolve) => (done = () => resolve(ROWS)))
      here.reader.current()
      await vi.advanceTimersByTimeAsync(10)
      here.reader.ddlSeen()
      done?.()
      await vi.advanceTimersByTimeAsync(1100)
      expect(here.queries()).toBe(2)
    })
  })

  test('is not believed for longer than five minutes without being read, and says so once', async () => {
    await stage(async (here) => {
      here.reader.current()
      await vi.advanceTimersByTimeAsync(10)
      here.answer = () => Promise.reject(new Error('gone'))
      const passes = async (ms: number): Promise<void> => {
        for (let passed = 0; passed < ms; passed += 1000) {
          here.reader.current()
          await vi.advanceTimersByTimeAsync(1000)
        }
      }
      await passes(200_000)
      expect(here.reader.current()).not.toBeNull()
      await passes(250_000)
      expect(here.reader.current()).toBeNull()
      expect(here.warned).toHaveLength(1)
      here.answer = () => Promise.resolve(ROWS)
      await passes(61_000)
      expect(here.reader.current()).not.toBeNull()
    })
  })

  test('believes no answer that it does not understand', async () => {
    for (const rows of [
      [],
      [['function safe', null]],
      [['unknown', 'x']],
      [['relation x', 'x']],
      [['a', 'b', 'c']],
    ]) {
      await stage(async (here) => {
        here.answer = () => Promise.resolve(rows)
        here.reader.current()
        await vi.advanceTimersByTimeAsync(10)
        expect(here.reader.current()).toBeNull()
      })
    }
  })
})
