/** Which timeline PostgreSQL goes for in recovery, what it overlooks otherwise, and what it writes down when it is promoted astray (I6, I8). */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { signalFamily } from '../../src/postgres/processes.ts'
import { parseTimelineHistory } from '../../src/protocol/timeline-history.ts'
import { eventually, MAJORS, type TestNode, value, Workspace } from './fixture.ts'

const FENCED = { role: 'standby', upstream: null, synchronousStandbyNames: '' } as const

describe.each(MAJORS)('timelines of PostgreSQL %i', (major) => {
  let workspace: Workspace
  let alpha: TestNode
  let bravo: TestNode
  let charlie: TestNode

  beforeAll(async () => {
    workspace = await Workspace.make(`tl${major}`)
    alpha = await workspace.primary('alpha', major)
    bravo = await workspace.standby('bravo', alpha)
    charlie = await workspace.standby('charlie', alpha)
    await eventually('both stream', async () => (await isStreaming(bravo)) && (await isStreaming(charlie)))
  })

  afterAll(() => workspace.end())

  async function isStreaming(node: TestNode): Promise<boolean> {
    return value(await node.postgres.observe(5_000)).walreceiver?.status === 'streaming'
  }

  async function fence(node: TestNode): Promise<void> {
    value(await node.postgres.configure(FENCED))
    value(await node.postgres.reload())
    await eventually(
      'it is fenced',
      async () => value(await node.postgres.observe(5_000)).walreceiver === null,
    )
  }

  async function positionOf(node: TestNode) {
    const [directory, postmaster] = await Promise.all([
      node.postgres.inspectDirectory(),
      node.postgres.inspectPostmaster(),
    ])
    return value(await node.postgres.stablePosition({ directory, postmaster, deadlineMs: 5_000 }))
  }

  async function pidOf(node: TestNode): Promise<number> {
    const postmaster = await node.postgres.inspectPostmaster()
    if (postmaster.kind !== 'running') throw new Error(`${node.name} does not run`)
    return postmaster.pid
  }

  async function promote(node: TestNode, timelineId: number): Promise<void> {
    const postmasterPid = await pidOf(node)
    const signal = new AbortController().signal
    value(
      await node.postgres.promote({
        fromTimelineId: value(await node.postgres.observe(5_000)).timelineId,
        timelineId,
        postmasterPid,
        deadlineMs: 20_000,
        mayBegin: () => true,
        signal,
      }),
    )
  }

  function historyOf(node: TestNode, name: string): string {
    return readFileSync(join(node.dataDir, 'pg_wal', name), 'utf8')
  }

  test('a standby that was killed after a failover over a gap has all that it has acknowledged (M: posNaive)', async () => {
    value(await alpha.postgres.stop('fast', 10_000))
    await fence(bravo)
    await promote(bravo, 3)
    value(await bravo.postgres.createSlot('understudy_charlie'))
    value(await charlie.postgres.configure(await workspace.following(bravo)))
    value(await charlie.postgres.reload())
    const [row] = await bravo.sql(`SELECT pg_logical_emit_message(true, 'test', 'acknowledged')::text AS lsn`)
    await eventually('charlie has flushed it', async () => {
      const [flushed] = await bravo.sql(
        `SELECT flush_lsn >= '${row?.['lsn']}' AS it FROM pg_stat_replication`,
      )
      return flushed?.['it'] === true
    })
    signalFamily(await pidOf(charlie), 'SIGKILL')
    await eventually(
      'it is dead',
      async () => (await charlie.postgres.inspectPostmaster()).kind === 'stopped',
    )
    // pg_control knows nothing yet of the new timeline, which lies behind the gap.
    expect(await charlie.postgres.inspectDirectory()).toMatchObject({
      control: { timelineId: 1, minRecoveryTimelineId: 1 },
    })
    value(await charlie.postgres.configure(FENCED))
    value(await charlie.postgres.start(30_000))
    await eventually('its position is stable', async () => {
      const stable = await positionOf(charlie)
      if (stable?.position.complete !== true) return false
      expect(stable.position.timelineId).toBe(3)
      return true
    })
  })

  test('promoted while it goes for a timeline of which it has nothing, it writes a history that goes back; a restart mends it', async () => {
    await fence(charlie)
    await eventually('its position is stable', async () => (await positionOf(charlie)) !== null)
    const stable = await positionOf(charlie)
    const [ahead] = await bravo.sql(
      `SELECT (pg_current_wal_lsn() + 1000000)::text AS lsn, pg_current_wal_lsn()::text AS here`,
    )
    // As a walreceiver leaves it that has heard of a newer primary and got nothing from it.
    const heard = `1\t${historyOf(charlie, '00000003.history').split('\t')[1]}\tx\n3\t${ahead?.['lsn']}\tx\n`
    writeFileSync(join(charlie.dataDir, 'pg_wal', '00000004.history'), heard)
    await eventually('it goes for timeline 4', async () =>
      (await charlie.log()).includes('new target timeline is 4'),
    )
    value(await charlie.postgres.stop('fast', 10_000))
    value(await charlie.postgres.start(30_000))
    expect(existsSync(join(charlie.dataDir, 'pg_wal', '00000004.history'))).toBe(false)
    await promote(charlie, 6)
    const history = parseTimelineHistory(6, historyOf(charlie, '00000006.history'))
    expect(history.ancestors.map((each) => each.timelineId)).toEqual([1, 3])
    expect(stable?.position.timelineId).toBe(3)
  })
})
