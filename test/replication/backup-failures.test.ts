/** Whatever goes wrong while a server is copied: a clear code, and nothing that could start. */
import { execFileSync, spawnSync } from 'node:child_process'
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { BaseBackupOptions } from '../../src/replication/base-backup-options.ts'
import { removeUnfinishedCopy } from '../../src/replication/target-directory.ts'
import { giveToServerUser, serverUser } from '../support/postgres-server.ts'
import { backup, emptyDirectory, type Fixture, failureOf, fill, makeFixture, until } from './fixture.ts'
import { startFlippingRelay } from './flipping-relay.ts'

/** Slow enough to be in the middle of it when the first files arrive. */
const SLOW = { maxRateKb: 4 * 1024 } as const

/** Runs a backup and does something once its files come in. */
function inTheMiddle(
  fixture: Fixture,
  name: string,
  act: () => void,
  options: Partial<BaseBackupOptions> = {},
): Promise<unknown> {
  let acted = false
  return backup(fixture, name, {
    ...SLOW,
    onProgress: ({ phase, bytesDone }) => {
      if (acted || phase !== 'copying' || bytesDone === 0) return
      acted = true
      act()
    },
    ...options,
  })
}

/** PostgreSQL itself refuses to start on it. */
function expectUnstartable(fixture: Fixture, directory: string): void {
  expect(existsSync(join(directory, 'global/pg_control'))).toBe(false)
  expect(existsSync(join(directory, 'standby.signal'))).toBe(false)
  if (!existsSync(join(directory, 'PG_VERSION'))) return
  giveToServerUser(directory, { recursive: true })
  const postgres = join(fixture.primary.options.install.binDirectory, 'postgres')
  const run = spawnSync(postgres, ['-D', directory, '-p', '1'], {
    encoding: 'utf8',
    timeout: 10_000,
    ...(serverUser() ?? {}),
  })
  expect(run.status).not.toBe(0)
  expect(run.signal).toBeNull()
}

function walsender(fixture: Fixture, command: string): Promise<number> {
  return fixture.primary
    .sql('SELECT pid FROM pg_stat_activity WHERE backend_type = $1 AND query LIKE $2', [
      'walsender',
      `${command}%`,
    ])
    .then(([row]) => Number(row?.['pid']))
}

describe('a base backup that fails', () => {
  let fixture: Fixture
  beforeAll(async () => {
    fixture = await makeFixture('failing', 15)
    await fill(fixture.primary, 12)
  })
  afterAll(() => fixture.end())

  test('when the connection of the data is ended: clone-failed with the cause', async () => {
    const failure = await failureOf(
      inTheMiddle(fixture, 'ended', () => {
        void walsender(fixture, 'BASE_BACKUP').then((pid) =>
          fixture.primary.sql('SELECT pg_terminate_backend($1)', [pid]),
        )
      }),
    )
    expect(failure.code).toBe('clone-failed')
    expect(failure.message).toMatch(/terminating connection|closed the connection|broke off/)
    expectUnstartable(fixture, join(fixture.workspace, 'ended'))
  })

  test('when the connection of the WAL is ended: clone-failed, long before the data is complete', async () => {
    const failure = await failureOf(
      inTheMiddle(fixture, 'walended', () => {
        void walsender(fixture, 'START_REPLICATION').then((pid) =>
          fixture.primary.sql('SELECT pg_terminate_backend($1)', [pid]),
        )
      }),
    )
    expect(failure.code).toBe('clone-failed')
    expectUnstartable(fixture, join(fixture.workspace, 'walended'))
  })

  test('when the server falls silent: clone-failed after the deadline', async () => {
    let pid = 0
    const { replication: _, ...connection } = { ...fixture.connection, silenceTimeoutMs: 700 }
    const failure = await failureOf(
      inTheMiddle(
        fixture,
        'silent',
        () => {
          void walsender(fixture, 'BASE_BACKUP').then((found) => {
            pid = found
            process.kill(pid, 'SIGSTOP')
          })
        },
        { connection },
      ),
    )
    process.kill(pid, 'SIGCONT')
    expect(failure.code).toBe('clone-failed')
    expect(failure.message).toContain('has sent nothing for')
    expectUnstartable(fixture, join(fixture.workspace, 'silent'))
  })

  test('when it is aborted: at once, and both connections are gone', async () => {
    const stop = new AbortController()
    let abortedAt = 0
    const failure = await failureOf(
      inTheMiddle(
        fixture,
        'aborted',
        () => {
          abortedAt = performance.now()
          stop.abort()
        },
        { signal: stop.signal },
      ),
    )
    expect(failure.code).toBe('clone-failed')
    expect(performance.now() - abortedAt).toBeLessThan(1_000)
    expectUnstartable(fixture, join(fixture.workspace, 'aborted'))
    await until('the walsenders end', async () => {
      const rows = await fixture.primary.sql(
        "SELECT 1 FROM pg_stat_activity WHERE backend_type = 'walsender'",
      )
      return rows.length === 0
    })
    expect(await removeUnfinishedCopy(join(fixture.workspace, 'aborted'))).toBe(true)
    expect(existsSync(join(fixture.workspace, 'aborted'))).toBe(false)
  })

  test('when it was aborted before it began', async () => {
    const failure = await failureOf(backup(fixture, 'never', { signal: AbortSignal.abort() }))
    expect(failure.code).toBe('clone-failed')
    expect(existsSync(join(fixture.workspace, 'never'))).toBe(false)
  })

  test('because the target is not empty: foreign-data, and nothing is touched', async () => {
    const target = emptyDirectory(fixture, 'taken')
    writeFileSync(join(target, 'precious'), 'x')
    expect((await failureOf(backup(fixture, 'taken'))).code).toBe('foreign-data')
    expect(readdirSync(target)).toEqual(['precious'])
  })

  test('because it is another cluster: system-identifier, before the target is made', async () => {
    const failure = await failureOf(
      backup(fixture, 'other', { expectedSystemIdentifier: '7711099472225316585' }),
    )
    expect(failure.code).toBe('system-identifier')
    expect(existsSync(join(fixture.workspace, 'other'))).toBe(false)
  })

  test('because the password is wrong: the code of the connection', async () => {
    const { replication: _, ...connection } = { ...fixture.connection, passwordFrom: () => 'wrong' }
    expect((await failureOf(backup(fixture, 'denied', { connection }))).code).toBe('auth-failed')
  })

  test('on a full disk: no-space', async ({ skip }) => {
    if (process.getuid?.() !== 0) {
      console.warn('SKIPPED: a full disk needs a small tmpfs, and only root can mount one')
      skip('only root can mount a small tmpfs')
    }
    const mount = join(fixture.workspace, 'small-disk')
    mkdirSync(mount)
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', mount])
    try {
      const failure = await failureOf(backup(fixture, 'small-disk/copy'))
      expect(failure.code).toBe('no-space')
      expectUnstartable(fixture, join(mount, 'copy'))
    } finally {
      execFileSync('umount', ['-l', mount])
    }
  })

  test('because of a tablespace: refused before a file is copied', async () => {
    const location = emptyDirectory(fixture, 'space')
    await fixture.primary.sql(`CREATE TABLESPACE extra LOCATION '${location}'`)
    const failure = await failureOf(backup(fixture, 'tablespaces'))
    await fixture.primary.sql('DROP TABLESPACE extra')
    expect(failure.code).toBe('tablespaces')
    expect(failure.message).toContain(location)
    expect(existsSync(join(fixture.workspace, 'tablespaces', 'base'))).toBe(false)
  })

  test('because the source was promoted in the middle', async () => {
    await backup(fixture, 'standby')
    const standby = await fixture.startCopy('standby')
    const { replication: _, ...connection } = {
      ...fixture.connection,
      address: { host: '127.0.0.1', port: standby.port },
    }
    const failure = await failureOf(
      inTheMiddle(fixture, 'promoted', () => void standby.sql('SELECT pg_promote(false)'), { connection }),
    )
    expect(failure.code).toBe('clone-failed')
    expect(failure.message).toContain('promoted')
    expectUnstartable(fixture, join(fixture.workspace, 'promoted'))
  })

  test('because a page of the source is damaged: backup-corrupt, although every byte arrived', async () => {
    const [row] = await fixture.primary.sql("SELECT pg_relation_filepath('filler') AS path")
    const path = join(fixture.primary.dataDirectory, String(row?.['path']))
    await fixture.primary.stop()
    const byte = flipBit(path, 8192 + 4000)
    await fixture.primary.start()
    const failure = await failureOf(backup(fixture, 'damaged'))
    expect(failure.code).toBe('backup-corrupt')
    expect(failure.message).toContain('checksum')
    expectUnstartable(fixture, join(fixture.workspace, 'damaged'))
    await fixture.primary.stop()
    expect(flipBit(path, 8192 + 4000)).not.toBe(byte)
    await fixture.primary.start()
  })

  test('because the server is killed: clone-failed', async () => {
    // kill -9 of the postmaster alone leaves its children running; a machine that dies takes them along.
    const failure = await failureOf(
      inTheMiddle(fixture, 'killed', () => {
        const pids = execFileSync('ps', ['-o', 'pid=', '--ppid', String(fixture.primary.pid)], {
          encoding: 'utf8',
        })
        for (const pid of [fixture.primary.pid, ...pids.trim().split(/\s+/).map(Number)]) {
          process.kill(pid, 'SIGKILL')
        }
      }),
    )
    expect(failure.code).toBe('clone-failed')
    expectUnstartable(fixture, join(fixture.workspace, 'killed'))
  })
})

describe('a base backup whose bytes change on the way', () => {
  let fixture: Fixture
  beforeAll(async () => {
    fixture = await makeFixture('flipping', 18, { tls: false })
    await fill(fixture.primary, 2)
    await fixture.primary.sql("CREATE TABLE marked AS SELECT 'MARKER-IN-A-TABLE' AS t")
    await fixture.primary.sql('CHECKPOINT')
  })
  afterAll(() => fixture.end())

  async function throughRelay(marker: string, name: string, manifestChecksums: 'SHA256' | 'CRC32C') {
    const relay = await startFlippingRelay(fixture.primary.port, marker)
    const { replication: _, ...connection } = {
      ...fixture.connection,
      address: { host: '127.0.0.1', port: relay.port },
    }
    try {
      const failure = await failureOf(backup(fixture, name, { connection, manifestChecksums }))
      expect(relay.flipped()).toBeGreaterThan(0)
      return failure
    } finally {
      relay.close()
    }
  }

  test.each(['SHA256', 'CRC32C'] as const)('is backup-corrupt by its file’s %s', async (checksums) => {
    const failure = await throughRelay('MARKER-IN-A-TABLE', `flipped-${checksums}`, checksums)
    expect(failure.code).toBe('backup-corrupt')
    expect(failure.message).toMatch(/base\/\d+\/\d+ does not match its .* checksum/)
    expectUnstartable(fixture, join(fixture.workspace, `flipped-${checksums}`))
  })

  test('is backup-corrupt when the manifest itself changed', async () => {
    const failure = await throughRelay('"Path": "PG_VERSION"', 'flipped-manifest', 'CRC32C')
    expect(failure.code).toBe('backup-corrupt')
    expectUnstartable(fixture, join(fixture.workspace, 'flipped-manifest'))
  })

  test('and an undisturbed one is not', async () => {
    await backup(fixture, 'whole')
    expect(existsSync(join(fixture.workspace, 'whole', 'global/pg_control'))).toBe(true)
    expect(await removeUnfinishedCopy(join(fixture.workspace, 'whole'))).toBe(false)
  })
})

/** Flips the lowest bit of one byte and gives what it was before. */
function flipBit(path: string, offset: number): number {
  const fd = openSync(path, 'r+')
  const byte = Buffer.alloc(1)
  readSync(fd, byte, 0, 1, offset)
  const before = byte[0] ?? 0
  writeSync(fd, Buffer.from([before ^ 1]), 0, 1, offset)
  closeSync(fd)
  return before
}
