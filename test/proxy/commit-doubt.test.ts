/** COMMITs that were left without an answer and are looked up: what is certain is said, and nothing else. */
import pg from 'pg'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { query } from '../../src/protocol/frontend-messages.ts'
import { ASK_AHEAD, isPlainCommit, outcomeOf, parseDoubt } from '../../src/proxy/commit-doubt.ts'
import { HiddenExchange } from '../../src/proxy/hidden-exchange.ts'
import { openSocket } from '../../src/replication/socket.ts'
import { ChaosProxy } from '../support/chaos-proxy.ts'
import { ProxyFixture, type RunningProxy } from '../support/proxy-fixture.ts'
import { bind, execute, parse, shown, sync, WireClient } from '../support/wire-client.ts'

const LOCK = 4711

async function until(look: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 8_000
  while (!(await look())) {
    if (performance.now() > deadline) throw new Error('waited in vain')
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

describe.each([15, 18])('a COMMIT in doubt, PostgreSQL %i', (major) => {
  let fixture: ProxyFixture
  let running: RunningProxy
  let wire: ChaosProxy
  let client: WireClient
  /** Keeps COMMITs waiting. */
  let hold: pg.Client
  let next = 1

  beforeAll(async () => {
    fixture = await ProxyFixture.start(major)
    await fixture.sql('CREATE TABLE written (a int); GRANT ALL ON written TO app')
    // COMMIT waits at the very end of the transaction for as long as the test wants.
    await fixture.sql(
      `CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock_shared(${LOCK}); RETURN NULL; END'`,
    )
    await fixture.sql(
      'CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON written DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait()',
    )
    wire = await ChaosProxy.start(fixture.server.port)
    running = await fixture.proxy(
      { resolveCommits: true, defaultPoolSize: 1 },
      {
        openTarget: (_node, signal) =>
          openSocket({
            address: { host: '127.0.0.1', port: wire.port },
            tls: { mode: 'verify-full', caPem: fixture.ca.caPem },
            keepaliveIdleMs: 10_000,
            signal,
          }),
      },
    )
  })
  afterAll(async () => {
    await fixture?.stop()
    await wire?.close()
  })
  beforeEach(async () => {
    hold = new pg.Client({
      ...{ host: fixture.server.options.workspace, port: fixture.server.port },
      ...{ user: 'postgres', database: 'app' },
    })
    hold.on('error', () => {})
    await hold.connect()
    await hold.query(`SELECT pg_advisory_lock(${LOCK})`)
    client = await WireClient.login({ port: running.port })
    running.routing.set(fixture.route)
  })
  afterEach(async () => {
    client.close()
    wire.thaw()
    wire.refuse(false)
    await hold.end().catch(() => {})
  })

  const waiting = async (): Promise<boolean> =>
    (
      await fixture.sql(
        "SELECT 1 FROM pg_stat_activity WHERE usename = 'app' AND wait_event_type = 'Lock' AND query ILIKE 'commit%'",
      )
    ).length > 0
  const isWritten = async (value: number): Promise<boolean> =>
    (await fixture.sql(`SELECT 1 FROM written WHERE a = ${value}`)).length > 0
  /** Gives the value that the transaction writes. Its COMMIT is under way, and waits. */
  const begin = async (): Promise<number> => {
    const value = next++
    expect(await client.ask(`BEGIN; INSERT INTO written VALUES (${value})`)).toContain('Z(T)')
    client.send(query('COMMIT'))
    await until(waiting)
    return value
  }
  const release = (): Promise<unknown> => hold.query('SELECT pg_advisory_unlock_all()')
  const told = async (): Promise<string> => shown(await client.until())

  test('that took place is told as a commit, and nothing of the question is seen when all is well', async () => {
    await release()
    await client.ask('BEGIN; INSERT INTO written VALUES (0)')
    expect(await client.ask('COMMIT')).toBe('C(COMMIT) Z(I)')
    await hold.query(`SELECT pg_advisory_lock(${LOCK})`)
    const value = await begin()
    wire.freeze('down')
    await release()
    await until(() => isWritten(value))
    wire.reset()
    wire.thaw()
    expect(await told()).toBe('C(COMMIT) Z(I)')
    expect(await client.ask(`SELECT a FROM written WHERE a = ${value}`)).toContain(`D(${value})`)
  })

  test('that is still under way is waited for', async () => {
    const value = await begin()
    wire.reset()
    const answer = told()
    await until(async () => running.logged !== undefined && wire.open > 0)
    await new Promise((resolve) => setTimeout(resolve, 300))
    await release()
    expect(await answer).toBe('C(COMMIT) Z(I)')
    expect(await isWritten(value)).toBe(true)
  })

  test('that did not take place is 40001, whoever ended it', async () => {
    const terminated = await begin()
    await fixture.server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'")
    expect(await told()).toBe('E(40001) Z(I)')
    expect(await isWritten(terminated)).toBe(false)
    const killed = await begin()
    const [row] = await fixture.server.sql("SELECT pid FROM pg_stat_activity WHERE usename = 'app'")
    process.kill(Number(row?.['pid']), 'SIGKILL')
    expect(await told()).toBe('E(40001) Z(I)')
    await until(async () => (await isWritten(killed).catch(() => null)) === false)
  })

  test('after a recovery the number may be somebody else’s: 08007', async () => {
    const value = await begin()
    wire.freeze('down')
    await release()
    await until(() => isWritten(value))
    wire.refuse(true)
    const [row] = await fixture.server.sql(
      'SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() LIMIT 1',
    )
    process.kill(Number(row?.['pid']), 'SIGKILL')
    await until(() => isWritten(value).catch(() => false))
    wire.thaw()
    wire.refuse(false)
    expect(await told()).toBe('E(08007) Z(I)')
  })

  test('at a new primary only what is certain is said', async () => {
    for (const [nextXid, expected] of [
      ['3', 'E(40001) Z(I)'],
      ['999999999', 'E(08007) Z(I)'],
      [null, 'E(08007) Z(I)'],
    ] as const) {
      const value = await begin()
      wire.freeze('down')
      await release()
      await until(() => isWritten(value))
      const { epoch } = running.routing.current
      running.routing.set({ kind: 'held', epoch: epoch + 1, reason: 'an election' })
      wire.reset()
      wire.thaw()
      const primary = { name: 'bravo', host: '127.0.0.1', port: fixture.server.port }
      running.routing.set({ kind: 'open', epoch: epoch + 1, primary, nextXid })
      expect([nextXid, await told()]).toEqual([nextXid, expected])
      await hold.query(`SELECT pg_advisory_lock(${LOCK})`)
    }
  })

  test('that comes in another way, or has written nothing, stays 08007', async () => {
    expect(await client.ask('BEGIN; INSERT INTO written VALUES (-1)')).toContain('Z(T)')
    client.send(parse('', 'COMMIT'), bind('', ''), execute(''), sync())
    await until(waiting)
    wire.reset()
    expect(await told()).toMatch(/E\(08007\) Z\(I\)$/)
  })

  test('whose question fails is told so, and has not taken place', async () => {
    await fixture.sql('REVOKE SELECT ON pg_stat_wal FROM public')
    try {
      expect(await client.ask('BEGIN; INSERT INTO written VALUES (-2)')).toContain('Z(T)')
      expect(await client.ask('COMMIT')).toBe('E(42501) Z(I)')
      expect(await isWritten(-2)).toBe(false)
      expect(await client.ask('SELECT 1')).toContain('D(1)')
    } finally {
      await fixture.sql('GRANT SELECT ON pg_stat_wal TO public')
    }
  })
})

describe('what is asked ahead', () => {
  const run = '1/2'
  const doubt = { xid: '100', run }
  const before = { epoch: 1, node: 'a' }
  const later = { value: `committed ${run}`, code: null, at: before, nextXid: null }

  test('is certain only where the number cannot be another one’s', () => {
    expect(outcomeOf(doubt, before, later)).toBe('committed')
    expect(outcomeOf(doubt, before, { ...later, value: 'committed 1/3' })).toBe('unknown')
    expect(outcomeOf(doubt, before, { ...later, value: 'in progress 1/2' })).toBe('inProgress')
    expect(outcomeOf(doubt, before, { ...later, value: 'in progress 1/3' })).toBe('unknown')
    expect(outcomeOf(doubt, before, { ...later, value: 'aborted 1/3' })).toBe('notCommitted')
    expect(outcomeOf(doubt, before, { ...later, value: null, code: '22023' })).toBe('notCommitted')
    expect(outcomeOf(doubt, before, { ...later, value: null, code: '57P01' })).toBe('unknown')
    const elsewhere = { ...later, at: { epoch: 2, node: 'b' } }
    expect(outcomeOf(doubt, before, { ...elsewhere, nextXid: '100' })).toBe('notCommitted')
    expect(outcomeOf(doubt, before, { ...elsewhere, nextXid: '101' })).toBe('unknown')
    expect(outcomeOf(doubt, before, { ...elsewhere, value: 'aborted 9/9' })).toBe('notCommitted')
    // A number of an older epoch's primary says nothing of the one in force.
    expect(outcomeOf(doubt, { epoch: 2, node: 'b' }, { ...later, nextXid: '1' })).toBe('unknown')
  })

  test('is asked for COMMIT alone', () => {
    for (const text of ['COMMIT', ' commit work ; ', 'END', 'end transaction;'])
      expect([text, isPlainCommit(text)]).toEqual([text, true])
    for (const text of ['COMMIT AND CHAIN', 'COMMIT PREPARED', 'COMMIT; SELECT 1', 'ROLLBACK', '-- commit'])
      expect([text, isPlainCommit(text)]).toEqual([text, false])
    expect(parseDoubt(' 1/2', null)).toEqual({ run: '1/2', doubt: null })
    expect(parseDoubt('7 1/2', null)).toEqual({ run: '1/2', doubt: { xid: '7', run: '1/2' } })
    expect(parseDoubt('8', '1/2')).toEqual({ run: '1/2', doubt: { xid: '8', run: '1/2' } })
    expect(parseDoubt(null, '1/2')).toEqual({ run: '1/2', doubt: null })
    expect(parseDoubt('nonsense', null)).toEqual({ run: null, doubt: null })
    expect(ASK_AHEAD).not.toContain(';')
  })

  test('is read from any split of bytes, and hides nothing else', () => {
    const message = (type: string, body: string): Buffer => {
      const bytes = Buffer.from(`${type}\0\0\0\0${body}`, 'latin1')
      bytes.writeInt32BE(bytes.length - 1, 1)
      return bytes
    }
    const notice = message('N', 'SNOTICE\0\0')
    const stream = Buffer.concat([
      ...[message('T', '\0\0'), notice, message('D', '\0\x01\0\0\0\x03abc'), message('C', 'SELECT 1\0')],
      ...[message('Z', 'T'), message('C', 'COMMIT\0')],
    ])
    for (let at = 0; at <= stream.length; at++) {
      const exchange = new HiddenExchange()
      const rest: Buffer[] = []
      let over = false
      for (const chunk of [stream.subarray(0, at), stream.subarray(at)]) {
        const left = over ? chunk : exchange.take(chunk)
        if (left !== null) {
          over = true
          rest.push(left)
        }
      }
      expect(exchange.value).toBe('abc')
      expect(Buffer.concat(exchange.passed)).toEqual(notice)
      expect(Buffer.concat(rest)).toEqual(message('C', 'COMMIT\0'))
    }
  })
})
