import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { formatLsn } from '../../src/core/lsn.ts'
import type { BaseBackupProgress } from '../../src/replication/base-backup-options.ts'
import { giveToServerUser, serverUser } from '../support/postgres-server.ts'
import {
  backup,
  contentOf,
  type Fixture,
  fill,
  makeFixture,
  startLoad,
  until,
  untilCaughtUp,
} from './fixture.ts'

const MB = 1024 * 1024

function mode(path: string): number {
  return statSync(path).mode & 0o777
}

/** Every file and directory below, relative. */
function walk(directory: string, below = ''): readonly string[] {
  return readdirSync(join(directory, below), { withFileTypes: true }).flatMap((found) => {
    const path = join(below, found.name)
    return found.isDirectory() ? [path, ...walk(directory, path)] : [path]
  })
}

/** PostgreSQL's own opinion on a copy. Needs the client tools, which the embedded PostgreSQL lacks. */
function verifyWithPostgres(fixture: Fixture, directory: string): void {
  const { binDirectory, hasClientTools } = fixture.primary.options.install
  if (!hasClientTools) return
  giveToServerUser(directory, { recursive: true })
  execFileSync(join(binDirectory, 'pg_verifybackup'), [directory], { ...(serverUser() ?? {}), stdio: 'pipe' })
}

describe.each([15, 18])('a base backup of PostgreSQL %i', (major) => {
  let fixture: Fixture
  beforeAll(async () => {
    // Segments of 1 MB, so that the backup sees many of them come and go.
    fixture = await makeFixture('backup', major, {
      initdbArguments: ['--wal-segsize=1'],
      // The slot keeps what the backup needs; for the standby's first step after it 16 MB are kept, no more.
      configuration: ['min_wal_size = 2MB', 'max_wal_size = 8MB', 'wal_keep_size = 16MB'],
    })
    await fill(fixture.primary, 20)
  })
  afterAll(() => fixture.end())

  test('under write load becomes a standby that streams and has the same rows', async () => {
    const load = await startLoad(fixture.primary)
    const seen: BaseBackupProgress[] = []
    const result = await backup(fixture, 'bravo', {
      onProgress: (progress) => seen.push(progress),
      // Long enough for a dozen segments to pass.
      maxRateKb: 20 * 1024,
    })
    await load.stop()
    const directory = join(fixture.workspace, 'bravo')
    expect(result.timelineId).toBe(1)
    expect(result.endLsn).toBeGreaterThan(result.startLsn)
    expect(seen.map(({ phase }) => phase).filter((phase, i, all) => phase !== all[i - 1])).toEqual([
      'connecting',
      'checkpoint',
      'copying',
      'finishing',
    ])
    const total = seen.at(-1)?.bytesTotal ?? 0
    expect(Math.abs(result.bytes - total) / total).toBeLessThan(0.2)
    verifyWithPostgres(fixture, directory)

    const segments = readdirSync(join(directory, 'pg_wal')).filter((name) => /^[0-9A-F]{24}$/.test(name))
    expect(segments.length).toBeGreaterThan(3)
    for (const name of segments) expect(statSync(join(directory, 'pg_wal', name)).size).toBe(MB)
    // All but the last one are complete, and must not be archived again by the copy.
    const done = readdirSync(join(directory, 'pg_wal', 'archive_status'))
    expect(done.filter((name) => name.endsWith('.done')).length).toBeGreaterThanOrEqual(segments.length - 1)

    const standby = await fixture.startCopy('bravo')
    await fixture.primary.sql("INSERT INTO load (body) VALUES ('after the backup')")
    await untilCaughtUp(fixture.primary, standby)
    expect(await contentOf(standby)).toEqual(await contentOf(fixture.primary))
    await until('it streams', async () => {
      const rows = await fixture.primary.sql("SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'")
      return rows.length > 0
    })
    expect(standby.log()).not.toMatch(/PANIC|FATAL/)
    // The slot that kept the WAL went with its connection.
    expect(await fixture.primary.sql('SELECT 1 FROM pg_replication_slots')).toEqual([])
  })

  test('keeps nothing that belongs to the source alone, and what the caller brings', async () => {
    await backup(fixture, 'charlie', { manifestChecksums: 'SHA256' })
    const directory = join(fixture.workspace, 'charlie')
    const paths = walk(directory)
    for (const path of [
      'postmaster.pid',
      'postmaster.opts',
      'recovery.signal',
      'global/pg_control.unverified',
    ]) {
      expect(paths).not.toContain(path)
    }
    expect(paths.filter((path) => path.startsWith('.direct'))).toEqual([])
    expect(paths).toEqual(expect.arrayContaining(['backup_label', 'backup_manifest', 'global/pg_control']))
    expect(readFileSync(join(directory, 'postgresql.auto.conf'), 'utf8')).toBe('# ours\n')
    expect(readFileSync(join(directory, 'standby.signal'), 'utf8')).toBe('')
    expect(mode(directory)).toBe(0o700)
    expect(mode(join(directory, 'PG_VERSION'))).toBe(0o600)
    verifyWithPostgres(fixture, directory)
  })
})

describe('unusual sources', () => {
  let fixture: Fixture
  beforeAll(async () => {
    fixture = await makeFixture('sources', 15, { initdbArguments: ['--allow-group-access'] })
    await fill(fixture.primary, 4)
  })
  afterAll(() => fixture.end())

  test('with group access keeps it', async () => {
    await backup(fixture, 'group')
    const directory = join(fixture.workspace, 'group')
    expect(mode(directory)).toBe(0o750)
    expect(mode(join(directory, 'base'))).toBe(0o750)
    expect(mode(join(directory, 'PG_VERSION'))).toBe(0o640)
    expect(mode(join(directory, 'standby.signal'))).toBe(0o640)
  })

  test('with many small files', async () => {
    await fixture.primary.sql(`DO $$BEGIN FOR i IN 1..1500 LOOP
      EXECUTE format('CREATE TABLE small_%s AS SELECT %s AS i', i, i); END LOOP; END$$`)
    await backup(fixture, 'small')
    expect(walk(join(fixture.workspace, 'small')).length).toBeGreaterThan(2400)
    verifyWithPostgres(fixture, join(fixture.workspace, 'small'))
  })

  test('as a standby on its second timeline: history and standby.signal are the copy’s own', async () => {
    const middle = await fixture.startCopy('group')
    await middle.sql('SELECT pg_promote(true)')
    await middle.sql("INSERT INTO load (body) VALUES ('on timeline 2')")
    const address = { host: '127.0.0.1', port: middle.port }
    const { replication: _, ...connection } = { ...fixture.connection, address }
    const result = await backup(fixture, 'second', { connection })
    expect(result.timelineId).toBe(2)
    const directory = join(fixture.workspace, 'second')
    expect(readFileSync(join(directory, 'pg_wal', '00000002.history'), 'utf8')).toMatch(/^1\t/)
    expect(existsSync(join(directory, 'pg_wal', 'archive_status', '00000002.history.done'))).toBe(true)

    // A copy of the copy, from a standby this time: its standby.signal and primary_conninfo must not come along.
    const standby = await fixture.startCopy('second', middle)
    await untilCaughtUp(middle, standby)
    const fromStandby = { ...connection, address: { host: '127.0.0.1', port: standby.port } }
    const again = await backup(fixture, 'third', {
      connection: fromStandby,
      finalFiles: [{ name: 'postgresql.auto.conf', content: '' }],
    })
    expect(again.timelineId).toBe(2)
    expect(existsSync(join(fixture.workspace, 'third', 'standby.signal'))).toBe(false)
    const third = await fixture.startCopy('third', standby)
    await untilCaughtUp(middle, third)
    expect(await contentOf(third)).toEqual(await contentOf(middle))
    expect(formatLsn(again.endLsn)).toMatch(/^[0-9A-F]+\/[0-9A-F]+$/)
  })
})
