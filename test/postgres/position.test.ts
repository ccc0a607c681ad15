/** What a standby says of the end of its WAL, which is its vote (I3c): never less than what it has flushed, and so acknowledged. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Lsn, lsnOf } from '../../src/core/lsn.ts'
import { endAfter, isTorn } from '../../src/postgres/position.ts'
import { childrenOf } from '../../src/postgres/processes.ts'
import { offsetInSegment, segmentNumberOf, walFileName } from '../../src/protocol/wal-names.ts'
import { eventually, MAJORS, type TestNode, value, Workspace } from './fixture.ts'

describe.each(MAJORS)('a standby of PostgreSQL %i', (major) => {
  let workspace: Workspace
  let alpha: TestNode
  let bravo: TestNode

  beforeAll(async () => {
    workspace = await Workspace.make(`po${major}`)
    alpha = await workspace.primary('alpha', major)
    bravo = await workspace.standby('bravo', alpha)
  })

  afterAll(() => workspace.end())

  async function positionOf(node: TestNode) {
    const { postgres } = node
    const [directory, postmaster] = await Promise.all([
      postgres.inspectDirectory(),
      postgres.inspectPostmaster(),
    ])
    return value(await postgres.stablePosition({ directory, postmaster, deadlineMs: 5_000 }))?.position
  }

  async function startupOf(node: TestNode): Promise<number> {
    const postmaster = await node.postgres.inspectPostmaster()
    if (postmaster.kind !== 'running') throw new Error(`${node.name} does not run`)
    const startup = (await childrenOf(postmaster.pid)).find(({ title }) => title.includes(': startup'))
    if (startup === undefined) throw new Error(`${node.name} replays nothing`)
    return startup.pid
  }

  test('whose startup process hangs says how far it has flushed, and not how far it has replayed', async () => {
    await alpha.sql('CREATE TABLE written (id int)')
    // Frozen while it waits for more: in the middle of a record it may hold a lock that the others of bravo need, too.
    const waits = async (): Promise<boolean> => {
      const { walsenders, flushLsn } = value(await alpha.postgres.observe(5_000))
      const bravos = walsenders[0]
      return bravos?.state === 'streaming' && (bravos.replayLsn ?? 0n) >= (flushLsn ?? 0n)
    }
    await eventually('bravo has replayed what there is', waits)
    const startup = await startupOf(bravo)
    process.kill(startup, 'SIGSTOP')
    await alpha.sql('INSERT INTO written SELECT generate_series(1, 1000)')
    const { flushLsn } = value(await alpha.postgres.observe(5_000))
    if (flushLsn === null) throw new Error('no position')
    const acknowledged = async (): Promise<boolean> =>
      (value(await alpha.postgres.observe(5_000)).walsenders[0]?.flushLsn ?? 0n) >= flushLsn
    await eventually('bravo has acknowledged it', acknowledged)
    value(await alpha.postgres.stop('immediate', 10_000))
    await eventually('it has a position', async () => (await positionOf(bravo)) !== undefined)
    for (let looks = 0; looks < 20; looks++) {
      const position = await positionOf(bravo)
      expect(position?.complete).toBe(false)
      expect(position?.lsn).toBeGreaterThanOrEqual(flushLsn)
    }
    process.kill(startup, 'SIGCONT')
    await eventually('it has replayed all', async () => (await positionOf(bravo))?.complete === true)
    expect((await positionOf(bravo))?.lsn).toBeGreaterThanOrEqual(flushLsn)
  })
})

describe('what lies beyond the last record', () => {
  const directory = mkdtempSync(join(tmpdir(), 'torn-'))
  const walSegmentSize = 1024 * 1024
  const segment = 3
  const at = (offset: number): Lsn => lsnOf(BigInt(segment) * BigInt(walSegmentSize) + BigInt(offset))
  mkdirSync(join(directory, 'pg_wal'))
  afterAll(() => rmSync(directory, { recursive: true }))

  /** A record of that length at that offset, and nothing else. */
  const torn = (offset: number, length: number, from: Lsn, to: Lsn): Promise<boolean> => {
    const bytes = Buffer.alloc(walSegmentSize)
    bytes.writeUInt32LE(length, offset)
    const name = walFileName(1, BigInt(segment), walSegmentSize)
    writeFileSync(join(directory, 'pg_wal', name), bytes)
    return isTorn({ dataDir: directory, timelineId: 1, from, to, walSegmentSize })
  }

  test('is torn when it ends before that record does, or holds none', async () => {
    const from = at(8_200)
    const end = endAfter(from, 100, walSegmentSize)
    expect(await torn(8_200, 100, from, end)).toBe(false)
    expect(await torn(8_200, 100, from, lsnOf(end - 8n))).toBe(true)
    expect(await torn(8_200, 0, from, at(9_000))).toBe(true)
    expect(offsetInSegment(from, walSegmentSize)).toBe(8_200)
    expect(Number(segmentNumberOf(from, walSegmentSize))).toBe(segment)
  })

  test('begins behind the header of a page', async () => {
    const border = at(16_384)
    expect(await torn(16_384 + 24, 100, border, at(16_384 + 24 + 104))).toBe(false)
    expect(await torn(16_384 + 24, 100, border, at(16_384 + 24 + 96))).toBe(true)
    expect(await torn(40, 100, at(0), at(40 + 104))).toBe(false)
    expect(await torn(40, 100, at(0), at(32))).toBe(true)
  })

  test('is not called torn when it cannot be read', async () => {
    const elsewhere = { dataDir: join(directory, 'nowhere'), timelineId: 1, walSegmentSize }
    expect(await isTorn({ ...elsewhere, from: at(8_200), to: at(9_000) })).toBe(false)
  })
})
