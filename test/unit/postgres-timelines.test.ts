/** The files before a start as standby: PostgreSQL goes for the newest timeline that it has WAL of, and for no other. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { fillGaps, removeLastFillers, settleTimelines } from '../../src/postgres/timelines.ts'
import { historyFileName, walFileName } from '../../src/protocol/wal-names.ts'
import { cluster } from '../support/views.ts'

const SEGMENT = 16 * 1024 * 1024
let dataDir = ''

beforeEach(() => {
  dataDir = mkdtempSync(join(os.tmpdir(), 'understudy-timelines-'))
  mkdirSync(join(dataDir, 'pg_wal'))
})
afterEach(() => rmSync(dataDir, { recursive: true }))

function has(...names: string[]): void {
  for (const name of names)
    writeFileSync(join(dataDir, 'pg_wal', name), name.endsWith('y') ? '1\t0/1\tx\n' : '')
}

function histories(): readonly number[] {
  const names = readdirSync(join(dataDir, 'pg_wal')).filter((name) => name.endsWith('.history'))
  return names.map((name) => Number.parseInt(name, 16)).sort((a, b) => a - b)
}

function settle(timelineId: number) {
  const directory = cluster({ timelineId })
  if (directory.kind !== 'cluster') throw new Error('no cluster')
  return settleTimelines(dataDir, directory.control)
}

const segment = (timelineId: number): string => walFileName(timelineId, 1n, SEGMENT)

describe('before a standby starts', () => {
  it('gaps below the newest timeline with WAL are filled: a missing file would hide that WAL', async () => {
    has(segment(1), segment(4), historyFileName(4))
    expect(await settle(1)).toMatchObject({ kind: 'ok' })
    expect(histories()).toEqual([2, 3, 4])
  })

  it('histories of timelines that it has no WAL of go away, filled or not', async () => {
    has(segment(3), historyFileName(3), historyFileName(5))
    await fillGaps(dataDir, 3, 5)
    expect(histories()).toEqual([3, 4, 5])
    await settle(1)
    expect(histories()).toEqual([2, 3])
  })

  it('WAL whose history is lost is damage, and no end of what the node has', async () => {
    has(segment(1), segment(4))
    expect(await settle(1)).toMatchObject({ kind: 'failed', code: 'data-damaged' })
    has(segment(1))
    expect(await settle(4)).toMatchObject({ kind: 'ok' })
  })
})

describe('when a promotion is given up', () => {
  it('only what nothing real follows goes away', async () => {
    has(segment(3), historyFileName(3))
    await fillGaps(dataDir, 1, 3)
    await fillGaps(dataDir, 3, 6)
    expect(histories()).toEqual([2, 3, 4, 5])
    await removeLastFillers(dataDir)
    expect(histories()).toEqual([2, 3])
  })
})
