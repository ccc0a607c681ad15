/** The contract of docs/proxy.md: what a client sees when its server is lost, when there is none, and when the primary changes. */
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseErrorFields } from '../../src/protocol/error-fields.ts'
import { query } from '../../src/protocol/frontend-messages.ts'
import { ProxyFixture, type RunningProxy } from '../support/proxy-fixture.ts'
import {
  bind,
  execute,
  flush,
  parse,
  sendCancelTo,
  shown,
  sync,
  type WireClient,
} from '../support/wire-client.ts'
import { clientsAt } from '../support/wire-clients.ts'

describe.each([15, 18])('when a server is lost, PostgreSQL %i', (major) => {
  let fixture: ProxyFixture
  let running: RunningProxy

  beforeAll(async () => {
    fixture = await ProxyFixture.start(major)
    await fixture.sql('CREATE TABLE written (a int); GRANT ALL ON written TO app')
    running = await fixture.proxy({ defaultPoolSize: 1 })
  })
  afterAll(() => fixture?.stop())

  const login = clientsAt(() => running.port)

  /** As an administrator does it, or as a crash does it. */
  const loseServers = async (how: 'terminated' | 'killed'): Promise<void> => {
    if (how === 'terminated') {
      await fixture.server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'")
      return
    }
    // The postmaster ends every backend and starts anew.
    const rows = await fixture.server.sql("SELECT pid FROM pg_stat_activity WHERE usename = 'app'")
    process.kill(Number(rows[0]?.['pid']), 'SIGKILL')
  }

  const untilGone = async (): Promise<void> => {
    for (let i = 0; i < 200; i++) {
      const gone = await fixture.serverSessions().catch(() => 1)
      if (gone === 0) return
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    throw new Error('the server sessions did not end')
  }

  test.each(['terminated', 'killed'] as const)('an idle client sees nothing but time (%s)', async (how) => {
    const client = await login()
    client.send(parse('p', 'SELECT 41 + 1'), sync())
    await client.until()
    await client.ask("SET application_name = 'still me'")
    await loseServers(how)
    await untilGone()
    client.send(bind('', 'p'), execute(''), sync())
    expect(shown(await client.until())).toBe('2 D(42) C(SELECT 1) Z(I)')
    expect(await client.ask('SHOW application_name')).toContain('D(still me)')
  })

  test('in a transaction that had not sent COMMIT: 40001 once, then as after any error, and it did not happen', async () => {
    const client = await login()
    await client.ask('BEGIN; INSERT INTO written VALUES (1)')
    await loseServers('terminated')
    await untilGone()
    expect(await client.ask('INSERT INTO written VALUES (2)')).toBe('E(40001) Z(E)')
    expect(await client.ask('SELECT 1')).toBe('E(25P02) Z(E)')
    client.send(parse('', 'SELECT 1'), bind('', ''), execute(''), sync())
    expect(shown(await client.until())).toBe('E(25P02) Z(E)')
    expect(await client.ask('ROLLBACK TO SAVEPOINT x')).toBe('E(25P02) Z(E)')
    client.send(query('ROLLBACK'), query('SELECT count(*) FROM written'))
    expect(shown(await client.until(2))).toBe('C(ROLLBACK) Z(I) T D(0) C(SELECT 1) Z(I)')
  })

  test('in the middle of a statement of a transaction', async () => {
    const client = await login()
    await client.ask('BEGIN; INSERT INTO written VALUES (1)')
    client.send(query('SELECT pg_sleep(60)'), query('SELECT 2'))
    await new Promise((resolve) => setTimeout(resolve, 100))
    await loseServers('terminated')
    const answers = await client.until(2)
    // The description of a row may have come before.
    expect(shown(answers)).toMatch(/^(T )?E\(40001\) Z\(E\) E\(25P02\) Z\(E\)$/)
    client.send(parse('', 'rollback'), bind('', ''), execute(''), sync())
    expect(shown(await client.until())).toBe('1 2 C(ROLLBACK) Z(I)')
    expect(await client.ask('SELECT count(*) FROM written')).toContain('D(0)')
  })

  test('a COMMIT into a transaction that is gone says so, and is no success', async () => {
    const client = await login()
    await client.ask('BEGIN; INSERT INTO written VALUES (1)')
    await loseServers('terminated')
    await untilGone()
    expect(await client.ask('COMMIT')).toBe('E(40001) Z(I)')
    expect(await client.ask('SELECT count(*) FROM written')).toContain('D(0)')
    await client.ask('BEGIN; INSERT INTO written VALUES (1)')
    await loseServers('terminated')
    await untilGone()
    client.send(parse('', 'COMMIT'), bind('', ''), execute(''), sync())
    expect(shown(await client.until())).toBe('1 2 E(40001) Z(I)')
    expect(await client.ask('SELECT count(*) FROM written')).toContain('D(0)')
  })

  test('an autocommit write without an answer: 08007, for each that was under way', async () => {
    const client = await login()
    client.send(query('INSERT INTO written SELECT 1 FROM pg_sleep(60)'), query('SELECT 1'))
    await new Promise((resolve) => setTimeout(resolve, 100))
    await loseServers('terminated')
    const answers = await client.until(2)
    expect(shown(answers)).toBe('E(08007) Z(I) E(08007) Z(I)')
    const [first] = answers
    expect(parseErrorFields(first?.body ?? Buffer.alloc(0)).message).toContain('terminating connection')
    expect(await client.ask('SELECT count(*) FROM written')).toContain('D(0)')
  })

  test('a COMMIT without an answer: 08007', async () => {
    const slow =
      'CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON written DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()'
    await fixture.sql(
      "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN NULL; END'",
    )
    await fixture.sql(slow)
    const client = await login()
    await client.ask('BEGIN; INSERT INTO written VALUES (1)')
    client.send(parse('c', 'COMMIT'), bind('', 'c'), execute(''), sync())
    await new Promise((resolve) => setTimeout(resolve, 150))
    await loseServers('terminated')
    expect(shown(await client.until())).toMatch(/^(1 2 )?E\(08007\) Z\(I\)$/)
    await fixture.sql('DROP TRIGGER slow ON written; DROP FUNCTION slow()')
  })

  test('extended messages without their Sync: the error at once, and nothing more until it comes', async () => {
    const client = await login()
    client.send(parse('', 'SELECT pg_sleep(60)'), bind('', ''), flush())
    expect(shown([await client.next(), await client.next()])).toBe('1 2')
    client.send(execute(''), flush())
    await new Promise((resolve) => setTimeout(resolve, 50))
    await loseServers('terminated')
    expect(shown([await client.next()])).toBe('E(08007)')
    client.send(bind('', ''), execute(''), sync())
    expect(shown(await client.until())).toBe('Z(I)')
    expect(await client.ask('SELECT 1')).toContain('D(1)')
  })

  test('in session mode: what cannot move is named, and the session ends', async () => {
    const session = await fixture.proxy({ poolMode: 'session', defaultPoolSize: 3 })
    for (const [make, named] of [
      ['CREATE TEMP TABLE mine (a int)', 'temporary tables'],
      ['LISTEN news', 'LISTEN'],
      ['PREPARE p AS SELECT 1', 'prepared statements'],
      ['DECLARE c CURSOR WITH HOLD FOR SELECT 1', 'a cursor'],
    ] as const) {
      const client = await login(session.port)
      await client.ask(make)
      await loseServers('terminated')
      const { body } = await client.next()
      const { severity, code, message } = parseErrorFields(body)
      expect([severity, code]).toEqual(['FATAL', '57P01'])
      expect(message).toContain(named)
      await client.ended()
    }
    const plain = await login(session.port)
    await plain.ask('SELECT 1')
    await loseServers('terminated')
    await untilGone()
    expect(await plain.ask('SELECT 2')).toBe('T D(2) C(SELECT 1) Z(I)')
  })

  test('while nobody takes writes clients wait, in order, and go on at the new primary', async () => {
    const held = await fixture.proxy({ defaultPoolSize: 1 })
    const waiting = await Promise.all([1, 2, 3, 4].map(() => login(held.port)))
    const inTransaction = waiting[0] as WireClient
    await inTransaction.ask('BEGIN')
    held.routing.set({ kind: 'held', epoch: 2, reason: 'a switchover' })
    // What has begun goes on where it is.
    expect(await inTransaction.ask('COMMIT')).toBe('C(COMMIT) Z(I)')
    const order: number[] = []
    const answers = waiting.map((client, i) => {
      client.send(query(`SELECT ${i}`))
      return client.until().then((messages) => {
        order.push(i)
        return shown(messages)
      })
    })
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(order).toEqual([])
    expect(held.proxy.counts.waiting).toBe(4)
    held.routing.set({ ...fixture.route, epoch: 3 } as typeof held.routing.current)
    expect(await Promise.all(answers)).toEqual([0, 1, 2, 3].map((i) => `T D(${i}) C(SELECT 1) Z(I)`))
    expect(order).toEqual([0, 1, 2, 3])
  })

  test('an older epoch’s server takes no statement any more, and a transaction there is lost (I9)', async () => {
    const moved = await fixture.proxy({ defaultPoolSize: 2 })
    const idle = await login(moved.port)
    const open = await login(moved.port)
    const before = await idle.ask('SELECT pg_backend_pid()')
    await open.ask('BEGIN')
    moved.routing.set({ ...fixture.route, epoch: 2 } as typeof moved.routing.current)
    expect(await open.ask('SELECT 1')).toBe('E(40001) Z(E)')
    expect(await open.ask('ROLLBACK')).toBe('C(ROLLBACK) Z(I)')
    expect(await idle.ask('SELECT pg_backend_pid()')).not.toBe(before)
  })

  test('a server that says of itself that it is a standby is given to nobody until it is none (I9)', async () => {
    const client = await login()
    await fixture.server.stop()
    writeFileSync(path.join(fixture.server.dataDirectory, 'standby.signal'), '')
    await fixture.server.start()
    let answered = false
    client.send(query('SELECT pg_is_in_recovery()'))
    const answer = client.until().finally(() => {
      answered = true
    })
    await new Promise((resolve) => setTimeout(resolve, 500))
    expect(answered).toBe(false)
    await fixture.server.sql('SELECT pg_promote()')
    expect(shown(await answer)).toBe('T D(f) C(SELECT 1) Z(I)')
  })

  test('who waits too long is told, and the connection stays', async () => {
    const short = await fixture.proxy({ holdTimeoutMs: 300, maxWaiting: 2 })
    const [a, b, c] = [await login(short.port), await login(short.port), await login(short.port)]
    short.routing.set({ kind: 'held', epoch: 2, reason: 'an election' })
    a.send(query('SELECT 1'))
    b.send(parse('', 'SELECT 1'), bind('', ''), execute(''), sync(), query('SELECT 2'))
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(await c.ask('SELECT 1'), 'the line is full').toBe('E(53300) Z(I)')
    expect(shown(await a.until())).toBe('E(57P03) Z(I)')
    expect(shown([...(await b.until())])).toBe('E(57P03) Z(I)')
    short.routing.set({ ...fixture.route, epoch: 3 } as typeof short.routing.current)
    expect(shown(await b.until())).toMatch(/^T D\(2\)|E\(57P03\)/)
    expect(await a.ask('SELECT 3')).toBe('T D(3) C(SELECT 1) Z(I)')
  })

  test('who waits can be cancelled', async () => {
    const held = await fixture.proxy()
    const client = await login(held.port)
    held.routing.set({ kind: 'held', epoch: 2, reason: 'an election' })
    client.send(query('SELECT 1'))
    await new Promise((resolve) => setTimeout(resolve, 50))
    await sendCancelTo(held.port, client.processId, client.secretKey)
    expect(shown(await client.until())).toBe('E(57014) Z(I)')
  })

  test('a server that stops and comes back costs time only', async () => {
    const client = await login()
    expect(await client.ask('SELECT 1')).toContain('D(1)')
    await fixture.server.stop()
    client.send(query('SELECT 2'))
    await new Promise((resolve) => setTimeout(resolve, 200))
    await fixture.server.start()
    expect(shown(await client.until())).toBe('T D(2) C(SELECT 1) Z(I)')
  })

  test('a transaction that idles too long ends, and its server serves the next one', async () => {
    const impatient = await fixture.proxy({ idleTransactionTimeoutMs: 200, defaultPoolSize: 1 })
    const idle = await login(impatient.port)
    const next = await login(impatient.port)
    await idle.ask('BEGIN')
    expect(await next.ask('SELECT 1')).toContain('D(1)')
    expect(shown([await idle.next()])).toBe('E(25P03)')
    await idle.ended()
  })

  test('a proxy that stops lets transactions end first', async () => {
    const stopping = await fixture.proxy()
    const [quiet, busy] = [await login(stopping.port), await login(stopping.port)]
    await busy.ask('BEGIN')
    const stopped = stopping.proxy.stop(5_000)
    expect(shown([await quiet.next()])).toBe('E(57P01)')
    expect(await busy.ask('SELECT 1')).toBe('T D(1) C(SELECT 1) Z(T)')
    expect(await busy.ask('COMMIT')).toBe('C(COMMIT) Z(I)')
    expect(shown([await busy.next()])).toBe('E(57P01)')
    await stopped
  })
})
