/** postgres.js through the proxy: it prepares everything by name, pipelines what is asked at once, and has a pool of its own. */
import { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import postgres from 'postgres'
import { expect, LARGE, MODE, runChecks, stateOf } from './checks.mjs'

// It looks at no PGSSLMODE.
const options = {
  ssl: process.env['PGSSLMODE'] === 'require' && { rejectUnauthorized: false },
  onnotice: () => {},
}
const open = (more = {}) => postgres({ ...options, max: 3, ...more })
const sql = open()

await runChecks({
  async transactions() {
    await sql`DROP TABLE IF EXISTS postgres_js_rows`
    await sql`CREATE TABLE postgres_js_rows (id int PRIMARY KEY, body text)`
    await sql.begin(async (tx) => {
      for (let i = 0; i < 100; i++) await tx`INSERT INTO postgres_js_rows VALUES (${i}, ${`row ${i}`})`
    })
    const rolledBack = sql.begin(async (tx) => {
      await tx`DELETE FROM postgres_js_rows`
      throw Object.assign(new Error('roll it back'), { code: 'mine' })
    })
    expect(await stateOf(rolledBack), 'mine')
    await sql.begin(async (tx) => {
      const inside = tx.savepoint(async (inner) => {
        await inner`DELETE FROM postgres_js_rows`
        throw Object.assign(new Error('back to the savepoint'), { code: 'mine' })
      })
      expect(await stateOf(inside), 'mine')
    })
    expect([...(await sql`SELECT count(*)::int AS n FROM postgres_js_rows`)], [{ n: 100 }])
  },

  async prepared() {
    const clients = [1, 2, 3, 4].map(() => open({ max: 1 }))
    for (let round = 0; round < 20; round++)
      for (const client of clients)
        expect([...(await client`SELECT ${round}::int + 1 AS n`)], [{ n: round + 1 }])
    const unprepared = open({ prepare: false })
    for (let i = 0; i < 5; i++) expect([...(await unprepared`SELECT ${i}::int AS n`)], [{ n: i }])
    await Promise.all([...clients, unprepared].map((client) => client.end()))
  },

  async pipeline() {
    const alone = open({ max: 1 })
    const asked = Array.from({ length: 300 }, (_, i) => alone`SELECT ${i}::int AS n`)
    const answers = await Promise.all(asked)
    expect(
      answers.map(([row]) => row.n),
      Array.from({ length: 300 }, (_, i) => i),
    )
    // Errors among them are each its own.
    const mixed = await Promise.all(
      Array.from({ length: 60 }, (_, i) => stateOf(alone`SELECT 1 / ${i % 3}::int AS n`)),
    )
    expect(
      mixed,
      Array.from({ length: 60 }, (_, i) => (i % 3 === 0 ? '22012' : 'no error')),
    )
    const texts = await Promise.all(Array.from({ length: 50 }, (_, i) => alone.unsafe(`SELECT ${i} AS n`)))
    expect(
      texts.map(([row]) => row.n),
      Array.from({ length: 50 }, (_, i) => i),
    )
    await alone.end()
  },

  async copy() {
    const lines = Array.from({ length: 20_000 }, (_, i) => `${1000 + i}\trow ${i} ä\n`)
    await pipeline(Readable.from(lines), await sql`COPY postgres_js_rows FROM STDIN`.writable())
    const chunks = []
    const gather = new Writable({
      write(chunk, _, done) {
        chunks.push(chunk)
        done()
      },
    })
    const out = sql`COPY (SELECT * FROM postgres_js_rows WHERE id >= 1000 ORDER BY id) TO STDOUT`
    await pipeline(await out.readable(), gather)
    expect(Buffer.concat(chunks).toString() === lines.join(''), true)
  },

  async cancel() {
    const sleeping = sql`SELECT pg_sleep(30)`
    const answer = stateOf(sleeping)
    await new Promise((resolve) => setTimeout(resolve, 300))
    sleeping.cancel()
    expect(await answer, '57014')
    expect([...(await sql`SELECT 1 AS n`)], [{ n: 1 }])
  },

  async 'large results'() {
    expect((await sql`SELECT i, repeat('x', 50) FROM generate_series(1, 50000) AS i`).length, 50_000)
    const [row] = await sql`SELECT repeat('y', ${LARGE}) AS y`
    expect(row.y.length, LARGE)
  },

  async 'large parameters'() {
    expect([...(await sql`SELECT length(${'z'.repeat(2 * LARGE)}::text) AS n`)], [{ n: 2 * LARGE }])
    expect([...(await sql`SELECT octet_length(${Buffer.alloc(LARGE, 1)}::bytea) AS n`)], [{ n: LARGE }])
  },

  async cursors() {
    let sum = 0
    for await (const rows of sql`SELECT generate_series(1, 5000)::int AS n`.cursor(700))
      for (const { n } of rows) sum += n
    expect(sum, (5000 * 5001) / 2)
    for await (const rows of sql`SELECT generate_series(1, 100000)::int AS n`.cursor(10)) {
      expect(rows.length, 10)
      break
    }
    expect([...(await sql`SELECT 1 AS n`)], [{ n: 1 }])
  },

  async errors() {
    for (let i = 0; i < 5; i++) {
      expect(await stateOf(sql`SELECT 1 / ${0}::int`), '22012')
      expect(await stateOf(sql`SELECT nothing_like_it`), '42703')
      expect(await stateOf(sql.unsafe('SELECT 1; SELECT 1/0; SELECT 2')), '22012')
    }
    const failed = sql.begin(async (tx) => {
      expect(await stateOf(tx`SELECT nothing`), '42703')
      await tx`SELECT 1`
    })
    // It tells the first one.
    expect(await stateOf(failed), '42703')
    expect([...(await sql`SELECT 2 AS n`)], [{ n: 2 }])
  },

  async settings() {
    const other = open({ max: 1, connection: { application_name: 'postgres.js here' } })
    const show = async (name) => Object.values((await other.unsafe(`SHOW ${name}`))[0])[0]
    for (let i = 0; i < 5; i++) expect(await show('application_name'), 'postgres.js here')
    await other`SET TimeZone = 'Asia/Tokyo'`
    expect(await show('TimeZone'), 'Asia/Tokyo')
    await other`SET work_mem = '123MB'`
    expect(await show('work_mem'), MODE === 'transaction' ? '4MB' : '123MB')
    await other`RESET ALL`
    expect(await show('work_mem'), '4MB')
    await other.end()
  },

  async listen() {
    const other = open()
    const heard = new Promise((resolve) => {
      const listening = other.listen('postgres_js_news', resolve)
      if (MODE === 'transaction') listening.catch((error) => resolve(error.code))
      else listening.then(() => sql.notify('postgres_js_news', 'hello'))
    })
    expect(await heard, MODE === 'transaction' ? '0A000' : 'hello')
    await other.end({ timeout: 1 })
  },

  async 'two-phase'() {
    const name = `postgres.js ${MODE}`
    await sql.begin(async (tx) => {
      await tx`INSERT INTO postgres_js_rows VALUES (-7, 'in two phases')`
      await tx.prepare(name)
    })
    await sql.unsafe(`COMMIT PREPARED '${name}'`)
    const rows = await sql`DELETE FROM postgres_js_rows WHERE id = -7 RETURNING body`
    expect([...rows], [{ body: 'in two phases' }])
  },
})
await sql.end({ timeout: 5 })
