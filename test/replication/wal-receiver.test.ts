/** The WAL receiver by itself, as an archive would use it: every byte, no promise too much, across a promotion. */
import { mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Lsn, lsnOf, parseLsn } from '../../src/core/lsn.ts'
import { createReplicationSlot, identifySystem } from '../../src/replication/commands.ts'
import { connectReplication, type ReplicationConnection } from '../../src/replication/connection.ts'
import { WalReceiver, type WalReceiverOptions } from '../../src/replication/wal-receiver.ts'
import type { TestServer } from '../support/postgres-server.ts'
import { backup, type Fixture, failureOf, fill, makeFixture, startLoad, until } from './fixture.ts'

const MB = 1024 * 1024

interface Receiving {
  readonly receiver: WalReceiver
  readonly running: Promise<unknown>
  readonly connection: ReplicationConnection
  readonly directory: string
}

async function currentLsn(server: TestServer): Promise<Lsn> {
  const [row] = await server.sql('SELECT pg_current_wal_flush_lsn()::text AS lsn')
  return parseLsn(String(row?.['lsn'])) ?? lsnOf(0n)
}

describe('WalReceiver', () => {
  let fixture: Fixture
  beforeAll(async () => {
    fixture = await makeFixture('wal', 15, {
      initdbArguments: ['--wal-segsize=1'],
      configuration: ['wal_keep_size = 64MB'],
    })
    await fill(fixture.primary, 1)
  })
  afterAll(() => fixture.end())

  /** Streams from now on into `name`; its application name is `name` too. */
  async function receive(name: string, options: Partial<WalReceiverOptions> = {}, server = fixture.primary) {
    const address = { host: '127.0.0.1', port: server.port }
    const connection = await connectReplication({ ...fixture.connection, address, applicationName: name })
    await createReplicationSlot(connection, { name, temporary: true, reserveWal: true })
    const directory = join(fixture.workspace, name)
    mkdirSync(directory)
    const identity = await identifySystem(connection)
    const receiver = new WalReceiver({
      connection,
      directory,
      segmentBytes: MB,
      partialSuffix: '.partial',
      markArchived: false,
      fileMode: 0o600,
      timelineId: identity.timelineId,
      startLsn: identity.flushLsn,
      slot: name,
      reportFlush: true,
      flush: 'eager',
      ...options,
    })
    const running = receiver.run()
    running.catch(() => undefined)
    return { receiver, running, connection, directory } satisfies Receiving
  }

  async function replicationOf(name: string): Promise<Record<string, unknown> | undefined> {
    const text = `SELECT state, sync_state, flush_lsn::text, write_lsn::text FROM pg_stat_replication
      WHERE application_name = $1`
    return (await fixture.primary.sql(text, [name]))[0]
  }

  test('has every byte that the server has, and gives final names to complete segments only', async () => {
    const { receiver, running, connection, directory } = await receive('complete', { flush: 'segment' })
    const load = await startLoad(fixture.primary)
    await new Promise((resolve) => setTimeout(resolve, 700))
    await load.stop()
    const end = await currentLsn(fixture.primary)
    receiver.stopAt(end)
    const result = (await running) as { endLsn: Lsn }
    await connection.close()
    expect(result.endLsn).toBeGreaterThanOrEqual(end)
    const names = readdirSync(directory).sort()
    expect(names.length).toBeGreaterThan(3)
    expect(names.filter((name) => name.endsWith('.partial'))).toEqual([names.at(-1)])
    for (const name of names) {
      expect(statSync(join(directory, name)).size).toBe(MB)
      if (name.endsWith('.partial')) continue
      const original = readFileSync(join(fixture.primary.dataDirectory, 'pg_wal', name))
      expect(readFileSync(join(directory, name)).equals(original), name).toBe(true)
    }
  })

  test('acknowledges a synchronous commit, and never more than is on its disk', async () => {
    const flushed: Lsn[] = []
    const { receiver, running, connection } = await receive('witness', {
      onFlush: (lsn) => flushed.push(lsn),
    })
    await fixture.primary.sql("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (witness)'")
    await fixture.primary.sql('SELECT pg_reload_conf()')
    await until('it is a synchronous standby', async () => {
      return (await replicationOf('witness'))?.['sync_state'] === 'quorum'
    })
    for (let i = 0; i < 20; i++) {
      await fixture.primary.sql("INSERT INTO load (body) VALUES ('acknowledged')")
      const reported = parseLsn(String((await replicationOf('witness'))?.['flush_lsn'])) ?? lsnOf(0n)
      expect(receiver.flushLsn).toBeGreaterThanOrEqual(reported)
    }
    expect(flushed.length).toBeGreaterThanOrEqual(20)
    expect([...flushed].sort((a, b) => (a < b ? -1 : 1))).toEqual(flushed)
    // Without the receiver a commit waits.
    connection.pause()
    const client = await fixture.primary.connect()
    let committed = false
    const commit = client.query("INSERT INTO load (body) VALUES ('waits')").then(() => {
      committed = true
    })
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(committed).toBe(false)
    connection.resume()
    await commit
    await client.end()
    await fixture.primary.sql('ALTER SYSTEM RESET synchronous_standby_names')
    await fixture.primary.sql('SELECT pg_reload_conf()')
    receiver.stopAt(await currentLsn(fixture.primary))
    await running
    await connection.close()
  })

  test('is no synchronous standby, even by "*", when it does not report what it flushed', async () => {
    await fixture.primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
    await fixture.primary.sql('SELECT pg_reload_conf()')
    const { receiver, running, connection } = await receive('copying', { reportFlush: false })
    const client = await fixture.primary.connect()
    await client.query("SET synchronous_commit = local; INSERT INTO load (body) VALUES ('x')")
    await client.end()
    await until('it has written something', async () => {
      return (await replicationOf('copying'))?.['write_lsn'] !== null
    })
    expect(await replicationOf('copying')).toMatchObject({ sync_state: 'async', flush_lsn: null })
    await fixture.primary.sql('ALTER SYSTEM RESET synchronous_standby_names')
    await fixture.primary.sql('SELECT pg_reload_conf()')
    receiver.stopAt(await currentLsn(fixture.primary))
    await running
    await connection.close()
  })

  test('follows a standby that is promoted to its new timeline', async () => {
    await backup(fixture, 'bravo')
    const standby = await fixture.startCopy('bravo')
    const { receiver, running, connection, directory } = await receive('follower', {}, standby)
    await fixture.primary.sql("INSERT INTO load (body) VALUES ('before the promotion')")
    await standby.sql('SELECT pg_promote(true)')
    await standby.sql("INSERT INTO load (body) VALUES ('after the promotion')")
    receiver.stopAt(await currentLsn(standby))
    expect(await running).toMatchObject({ timelineId: 2 })
    await connection.close()
    const names = readdirSync(directory)
    expect(names).toContain('00000002.history')
    // The end of timeline 1 is kept beside the beginning of timeline 2.
    expect(names.some((name) => /^00000001.*\.partial$/.test(name))).toBe(true)
    const newest = names.filter((name) => name.startsWith('00000002') && !name.endsWith('.history'))
    expect(newest.length).toBeGreaterThan(0)
    expect(readFileSync(join(directory, newest[0] ?? '')).includes('after the promotion')).toBe(true)
  })

  test('lets a server shut down, and has the WAL of its shutdown', async () => {
    const { receiver, running } = await receive('last', { flush: 'segment', reportFlush: false })
    await fixture.primary.sql("INSERT INTO load (body) VALUES ('last words')")
    const before = await currentLsn(fixture.primary)
    const started = performance.now()
    await fixture.primary.stop('SIGINT')
    expect(performance.now() - started).toBeLessThan(5_000)
    expect((await failureOf(running)).code).toBe('connect-failed')
    expect(receiver.flushLsn).toBeGreaterThan(before)
  })
})
