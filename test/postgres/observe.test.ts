/** Looking at a primary and its standby, their slots, and the commit that proves the rule. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { formatLsn, lsnOf, ZERO_LSN } from '../../src/core/lsn.ts'
import type { ServerFacts } from '../../src/ports/postgres.ts'
import { readControlFile } from '../../src/postgres/control-file.ts'
import { createPostgres } from '../../src/postgres/create-postgres.ts'
import { isAlive } from '../../src/postgres/processes.ts'
import { eventually, MAJORS, PRIMARY, type TestNode, value, Workspace } from './fixture.ts'

const SYNC = 'ANY 1 ("bravo")'
const RULE = { acks: 1, standbys: ['bravo'] }

describe.each(MAJORS)('a pair of PostgreSQL %i', (major) => {
  let workspace: Workspace
  let alpha: TestNode
  let bravo: TestNode

  beforeAll(async () => {
    workspace = await Workspace.make(`ob${major}`)
    alpha = await workspace.primary('alpha', major)
    bravo = await workspace.standby('bravo', alpha, SYNC)
    await eventually('bravo streams', async () => (await look(alpha)).walsenders[0]?.state === 'streaming')
  })

  afterAll(() => workspace.end())

  async function look(node: TestNode): Promise<ServerFacts> {
    return value(await node.postgres.observe(5_000))
  }

  test('the primary: positions, its walsender, its slot', async () => {
    await alpha.sql('CREATE TABLE seen (n int); INSERT INTO seen VALUES (1)')
    const facts = await look(alpha)
    expect(facts).toMatchObject({
      inRecovery: false,
      timelineId: 1,
      receiveLsn: null,
      replayLsn: null,
      walreceiver: null,
    })
    expect(facts.insertLsn).toBeGreaterThanOrEqual(facts.flushLsn ?? 0n)
    expect(facts.synchronousStandbyNames).toBe(SYNC)
    expect(facts.walsenders).toEqual([
      expect.objectContaining({
        applicationName: 'bravo',
        state: 'streaming',
        syncState: 'quorum',
        syncPriority: 1,
      }),
    ])
    expect(facts.walsenders[0]?.flushLsn).toBeGreaterThan(0n)
    expect(facts.slots).toEqual([
      expect.objectContaining({
        name: 'understudy_bravo',
        active: true,
        physical: true,
        temporary: false,
        walStatus: 'reserved',
        holdsXmin: false,
      }),
    ])
    expect(facts.postmasterStartedAtMs).toBeGreaterThan(Date.now() - 120_000)
    expect(facts.systemIdentifier).toBe(value(await readControlFile(alpha.dataDir)).systemIdentifier)
  })

  test('the standby: receives, replays, and knows from whom', async () => {
    const primary = await look(alpha)
    await eventually(
      'all is replayed',
      async () => ((await look(bravo)).replayLsn ?? ZERO_LSN) >= (primary.flushLsn ?? ZERO_LSN),
    )
    const facts = await look(bravo)
    expect(facts).toMatchObject({
      inRecovery: true,
      timelineId: 1,
      insertLsn: null,
      flushLsn: null,
      replayPaused: false,
      walsenders: [],
    })
    expect(facts.systemIdentifier).toBe(primary.systemIdentifier)
    expect(facts.walreceiver).toMatchObject({
      status: 'streaming',
      senderHost: '127.0.0.1',
      senderPort: alpha.member.port,
      receivedTimelineId: 1,
    })
    expect(facts.walreceiver?.lastMessageAgeMs).toBeLessThan(5_000)
    expect(facts.replayAgeMs).toBeGreaterThanOrEqual(0)
  })

  test('parameters that wait for a restart are named, from the reload on', async () => {
    expect((await look(alpha)).pendingRestart).toEqual([])
    const changed = createPostgres({ ...alpha.options, parameters: { max_locks_per_transaction: 128 } })
    value(await changed.configure({ ...PRIMARY, synchronousStandbyNames: SYNC }))
    value(await alpha.postgres.reload())
    await eventually('it is named', async () => (await look(alpha)).pendingRestart.length === 1)
    expect((await look(alpha)).pendingRestart, 'also when nothing was loaded in between').toEqual([
      'max_locks_per_transaction',
    ])
    // Set back by its value: a line that is only taken away stays pending, as PostgreSQL sees it.
    const back = createPostgres({ ...alpha.options, parameters: { max_locks_per_transaction: 64 } })
    value(await back.configure({ ...PRIMARY, synchronousStandbyNames: SYNC }))
    value(await alpha.postgres.reload())
    await eventually('it is forgotten', async () => (await look(alpha)).pendingRestart.length === 0)
    await changed.close()
    await back.close()
  })

  test('a proof is acknowledged while the standby streams, and the standby then has it', async () => {
    const { commitLsn } = value(await alpha.postgres.proveCommit(5_000, RULE))
    await eventually(
      'bravo has flushed it',
      async () => ((await look(alpha)).walsenders[0]?.flushLsn ?? ZERO_LSN) >= commitLsn,
    )
  })

  test('a proof that nobody acknowledges ends at its deadline and leaves no server process', async () => {
    const { walreceiver } = await look(bravo)
    process.kill(walreceiver?.pid ?? 0, 'SIGSTOP')
    try {
      const began = performance.now()
      expect(await alpha.postgres.proveCommit(400, RULE)).toMatchObject({ kind: 'failed', code: 'timeout' })
      expect(performance.now() - began).toBeLessThan(1_500)
      await eventually('the waiting process is gone', async () => {
        const waiting = await alpha.sql(`SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'`)
        return waiting.length === 0
      })
      expect((await look(alpha)).inRecovery, 'looking is not held up').toBe(false)
    } finally {
      process.kill(walreceiver?.pid ?? 0, 'SIGCONT')
    }
    value(await alpha.postgres.proveCommit(5_000, RULE))
  })

  test('a new rule is in effect after a reload: commits wait for whom it names', async () => {
    value(await alpha.postgres.configure({ ...PRIMARY, synchronousStandbyNames: 'ANY 1 ("charlie")' }))
    value(await alpha.postgres.reload())
    await eventually('it is shown', async () =>
      (await look(alpha)).synchronousStandbyNames.includes('charlie'),
    )
    await eventually(
      'a proof fails',
      async () => (await alpha.postgres.proveCommit(200, RULE)).kind === 'failed',
    )
    value(await alpha.postgres.configure({ ...PRIMARY, synchronousStandbyNames: SYNC }))
    value(await alpha.postgres.reload())
    await eventually(
      'a proof succeeds',
      async () => (await alpha.postgres.proveCommit(1_000, RULE)).kind === 'ok',
    )
  })

  test('walsenders end by signal and come back; nobody else is signalled', async () => {
    const [walsender] = (await look(alpha)).walsenders
    if (walsender === undefined) throw new Error('there is no walsender')
    const { pid: postmaster } = value(await alpha.postgres.start(1_000))
    value(await alpha.postgres.endWalsenders([walsender.pid, postmaster, process.pid]))
    await eventually('another one streams', async () => {
      const [now] = (await look(alpha)).walsenders
      return now?.state === 'streaming' && now.pid !== walsender.pid
    })
    expect(await isAlive(postmaster)).toBe(true)
  })

  test.each(['alpha', 'bravo'])('slots on %s: made, kept, moved only forward, removed', async (name) => {
    const node = name === 'alpha' ? alpha : bravo
    const find = async (): Promise<ServerFacts['slots'][number] | undefined> =>
      (await look(node)).slots.find((slot) => slot.name === 'understudy_delta')
    value(await node.postgres.createSlot('understudy_delta'))
    value(await node.postgres.createSlot('understudy_delta'))
    const made = await find()
    expect(made, 'it reserves WAL at once').toMatchObject({
      active: false,
      physical: true,
      walStatus: 'reserved',
    })
    const from = made?.restartLsn ?? ZERO_LSN
    expect(from).toBeGreaterThan(ZERO_LSN)
    await alpha.sql('INSERT INTO seen SELECT generate_series(1, 1000)')
    const end = (await look(alpha)).flushLsn ?? ZERO_LSN
    await eventually('both have it', async () => ((await look(bravo)).replayLsn ?? ZERO_LSN) >= end)
    value(await node.postgres.advanceSlot('understudy_delta', end))
    expect((await find())?.restartLsn).toBe(end)
    value(await node.postgres.advanceSlot('understudy_delta', from))
    expect((await find())?.restartLsn, 'never backwards').toBe(end)
    value(await node.postgres.advanceSlot('understudy_delta', lsnOf(end + 0x40000000n)))
    const clamped = (await find())?.restartLsn ?? ZERO_LSN
    expect(clamped, `beyond what there is: ${formatLsn(clamped)}`).toBeLessThan(end + 0x40000000n)
    value(await node.postgres.dropSlot('understudy_delta'))
    value(await node.postgres.dropSlot('understudy_delta'))
    expect(await find()).toBeUndefined()
    expect(await node.postgres.advanceSlot('understudy_delta', end)).toMatchObject({
      kind: 'failed',
      code: 'sql-failed',
    })
  })

  test('a slot in use is not dropped, and advancing it is left to its walsender', async () => {
    expect(await alpha.postgres.dropSlot('understudy_bravo')).toMatchObject({
      kind: 'failed',
      code: 'sql-failed',
    })
    value(await alpha.postgres.advanceSlot('understudy_bravo', (await look(alpha)).flushLsn ?? ZERO_LSN))
  })

  test('the agent’s session is not bent by what the user sets for clients', async () => {
    await alpha.sql(`ALTER SYSTEM SET default_transaction_read_only = on`)
    await alpha.sql(`ALTER SYSTEM SET statement_timeout = '1ms'`)
    value(await alpha.postgres.reload())
    await sleep(100)
    const fresh = createPostgres(alpha.options)
    value(await fresh.observe(5_000))
    value(await fresh.createSlot('understudy_echo'))
    value(await fresh.proveCommit(5_000, RULE))
    value(await fresh.dropSlot('understudy_echo'))
    await fresh.close()
    writeFileSync(join(alpha.dataDir, 'postgresql.auto.conf'), '')
    value(await alpha.postgres.reload())
  })

  test('a server that does not answer is late, and looked at again when it does', async () => {
    const { pid } = value(await alpha.postgres.start(1_000))
    value(await alpha.postgres.observe(5_000))
    const [backend] = await alpha.sql(
      `SELECT pid FROM pg_stat_activity WHERE application_name = 'understudy agent alpha'`,
    )
    process.kill(Number(backend?.['pid']), 'SIGSTOP')
    expect(await alpha.postgres.observe(200)).toMatchObject({ kind: 'failed', code: 'timeout' })
    expect((await look(alpha)).inRecovery, 'through a new connection').toBe(false)
    process.kill(Number(backend?.['pid']), 'SIGCONT')
    await alpha.postgres.close()
    expect(await alpha.postgres.observe(200)).toMatchObject({ kind: 'failed', code: 'connect-failed' })
    expect(await isAlive(pid)).toBe(true)
  })

  test('fenced, a standby stops streaming and keeps its timeline; promoted, it shows the new one at once', async () => {
    // Stopped first, so that its WAL ends where bravo's does and it can follow without a rewind.
    value(await alpha.postgres.stop('fast', 10_000))
    value(await bravo.postgres.configure({ role: 'standby', upstream: null, synchronousStandbyNames: '' }))
    value(await bravo.postgres.reload())
    await eventually('no walreceiver runs', async () => (await look(bravo)).walreceiver === null)
    expect(await look(bravo)).toMatchObject({ inRecovery: true, timelineId: 1 })
    const { pid } = value(await bravo.postgres.start(1_000))
    writeFileSync(join(bravo.dataDir, 'promote'), '')
    process.kill(pid, 'SIGUSR1')
    // Without a pause and several at once: a look in whose middle the server is promoted succeeds all the same.
    const lookers = Array.from({ length: 5 }, () => createPostgres(bravo.options))
    await Promise.all(
      lookers.map(async (postgres) => {
        while (value(await postgres.observe(5_000)).inRecovery);
        await postgres.close()
      }),
    )
    expect((await look(bravo)).timelineId).toBe(2)
  })

  test('a standby of the promoted one shows its timeline while it streams, fenced, and after a restart', async () => {
    const facts = async (): Promise<ServerFacts> => value(await again.observe(5_000))
    const again = createPostgres(alpha.options)
    value(await again.configure(await workspace.following(bravo)))
    value(await bravo.postgres.createSlot('understudy_alpha'))
    value(await again.start(30_000))
    await bravo.sql('INSERT INTO seen VALUES (2)')
    await eventually('it follows', async () => (await facts()).walreceiver?.receivedTimelineId === 2)
    const end = (await look(bravo)).flushLsn ?? ZERO_LSN
    await eventually('it has all', async () => ((await facts()).receiveLsn ?? ZERO_LSN) >= end)
    expect((await facts()).timelineId).toBe(2)
    value(await again.configure({ role: 'standby', upstream: null, synchronousStandbyNames: '' }))
    value(await again.reload())
    await eventually('it is fenced', async () => (await facts()).walreceiver === null)
    expect((await facts()).timelineId).toBe(2)
    const { pid } = value(await again.start(1_000))
    process.kill(pid, 'SIGKILL')
    await eventually('it is gone', async () => !(await isAlive(pid)))
    value(await again.start(30_000))
    expect((await facts()).timelineId).toBe(2)
    await again.close()
  })
})
