/** node-postgres through the proxy: simple queries, named statements, cursors, COPY streams. */
import { once } from 'node:events'
import { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import pg from 'pg'
import { from as copyFrom, to as copyTo } from 'pg-copy-streams'
import Cursor from 'pg-cursor'
import { expect, LARGE, MODE, runChecks, stateOf } from './checks.mjs'

const login = async (options = {}) => {
  const client = new pg.Client(options)
  client.on('error', () => {})
  await client.connect()
  return client
}
const main = await login()
const one = async (text, values, client = main) =>
  Object.values((await client.query(text, values)).rows[0])[0]

await runChecks({
  async transactions() {
    await main.query('DROP TABLE IF EXISTS node_pg_rows')
    await main.query('CREATE TABLE node_pg_rows (id int PRIMARY KEY, body text)')
    await main.query('BEGIN')
    for (let i = 0; i < 100; i++)
      await main.query('INSERT INTO node_pg_rows VALUES ($1, $2)', [i, `row ${i}`])
    await main.query('COMMIT')
    await main.query('BEGIN ISOLATION LEVEL SERIALIZABLE')
    await main.query('DELETE FROM node_pg_rows')
    await main.query('ROLLBACK')
    expect(await one('SELECT count(*)::int FROM node_pg_rows'), 100)
    const several = await main.query('SELECT 1 AS a; SELECT 2 AS b')
    expect(
      several.map(({ rows }) => rows),
      [[{ a: 1 }], [{ b: 2 }]],
    )
  },

  async prepared() {
    const clients = await Promise.all([1, 2, 3, 4].map(() => login()))
    for (let round = 0; round < 20; round++) {
      const values = clients.map((client) =>
        client.query({ name: 'plus one', text: 'SELECT $1::int + 1 AS n', values: [round] }),
      )
      for (const { rows } of await Promise.all(values)) expect(rows, [{ n: round + 1 }])
    }
    await Promise.all(clients.map((client) => client.end()))
  },

  async pipeline() {
    // It queues what is asked at once, and sends each when the one before is answered.
    const answers = await Promise.all(Array.from({ length: 200 }, (_, i) => one('SELECT $1::int', [i])))
    expect(
      answers,
      Array.from({ length: 200 }, (_, i) => i),
    )
  },

  async copy() {
    const lines = Array.from({ length: 20_000 }, (_, i) => `${1000 + i}\trow ${i} ä\n`)
    await pipeline(Readable.from(lines), main.query(copyFrom('COPY node_pg_rows FROM STDIN')))
    const chunks = []
    const gather = new Writable({
      write(chunk, _, done) {
        chunks.push(chunk)
        done()
      },
    })
    const out = copyTo('COPY (SELECT * FROM node_pg_rows WHERE id >= 1000 ORDER BY id) TO STDOUT')
    await pipeline(main.query(out), gather)
    expect(Buffer.concat(chunks).toString() === lines.join(''), true)
    const duplicate = pipeline(
      Readable.from(['5\tx\n']),
      main.query(copyFrom('COPY node_pg_rows FROM STDIN')),
    )
    expect(await stateOf(duplicate), '23505')
    expect(await one('SELECT 1'), 1)
  },

  async cancel() {
    const sleeping = await login()
    const answer = stateOf(sleeping.query('SELECT pg_sleep(30)'))
    await new Promise((resolve) => setTimeout(resolve, 200))
    const killer = new pg.Client()
    killer.cancel(sleeping, sleeping.activeQuery ?? sleeping._activeQuery)
    expect(await answer, '57014')
    expect(await one('SELECT 1', [], sleeping), 1)
    await sleeping.end()
  },

  async 'large results'() {
    const { rows } = await main.query("SELECT i, repeat('x', 50) FROM generate_series(1, 50000) AS i")
    expect(rows.length, 50_000)
    expect((await one(`SELECT repeat('y', ${LARGE})`)).length, LARGE)
  },

  async 'large parameters'() {
    expect(await one('SELECT length($1::text)', ['z'.repeat(2 * LARGE)]), 2 * LARGE)
    expect(await one('SELECT octet_length($1::bytea)', [Buffer.alloc(LARGE, 1)]), LARGE)
    expect(await one(`SELECT length('${'q'.repeat(LARGE)}')`), LARGE)
  },

  async cursors() {
    await main.query('BEGIN')
    const cursor = main.query(new Cursor('SELECT generate_series(1, 5000)::int AS n'))
    let sum = 0
    for (let rows = await cursor.read(700); rows.length > 0; rows = await cursor.read(700))
      for (const { n } of rows) sum += n
    await cursor.close()
    await main.query('COMMIT')
    expect(sum, (5000 * 5001) / 2)
    // Left in the middle, and outside a transaction.
    const left = main.query(new Cursor('SELECT generate_series(1, 100000)'))
    expect((await left.read(10)).length, 10)
    await left.close()
    expect(await one('SELECT 1'), 1)
  },

  async errors() {
    for (let i = 0; i < 5; i++) {
      expect(await stateOf(main.query('SELECT 1/0')), '22012')
      expect(await stateOf(main.query('SELECT 1 / $1::int', [0])), '22012')
      expect(await stateOf(main.query({ name: `wrong ${i}`, text: 'SELECT nothing' })), '42703')
      expect(await stateOf(main.query('SELECT 1; SELECT 1/0; SELECT 2')), '22012')
    }
    await main.query('BEGIN')
    expect(await stateOf(main.query('SELECT nothing')), '42703')
    expect(await stateOf(main.query('SELECT 1')), '25P02')
    expect((await main.query('COMMIT')).command, 'ROLLBACK')
    expect(await one('SELECT 2'), 2)
  },

  async settings() {
    const other = await login({ application_name: 'node here', options: '-c work_mem=7MB' })
    const show = (name) => one(`SHOW ${name}`, [], other)
    for (let i = 0; i < 5; i++) expect(await show('application_name'), 'node here')
    expect(await show('work_mem'), '7MB')
    await other.query("SET DateStyle = 'SQL, DMY'")
    expect(await show('DateStyle'), 'SQL, DMY')
    await other.query("SET work_mem = '123MB'")
    expect(await show('work_mem'), MODE === 'transaction' ? '7MB' : '123MB')
    await other.query('RESET work_mem')
    expect(await show('work_mem'), '7MB')
    await other.query('BEGIN')
    await other.query("SET LOCAL work_mem = '64MB'")
    expect(await show('work_mem'), '64MB')
    await other.query('COMMIT')
    expect(await show('work_mem'), '7MB')
    await other.end()
  },

  async listen() {
    const other = await login()
    if (MODE === 'transaction') {
      expect(await stateOf(other.query('LISTEN node_news')), '0A000')
      expect(await one('SELECT 1', [], other), 1)
    } else {
      await other.query('LISTEN node_news')
      const heard = once(other, 'notification')
      await main.query("NOTIFY node_news, 'hello'")
      const [notification] = await heard
      expect(notification.payload, 'hello')
    }
    await other.end()
  },

  async 'two-phase'() {
    await main.query('BEGIN')
    await main.query("INSERT INTO node_pg_rows VALUES (-7, 'in two phases')")
    await main.query(`PREPARE TRANSACTION 'node-pg ${MODE}'`)
    const other = await login()
    await other.query(`COMMIT PREPARED 'node-pg ${MODE}'`)
    await other.end()
    expect(await one('DELETE FROM node_pg_rows WHERE id = -7 RETURNING body'), 'in two phases')
  },
})
await main.end()
