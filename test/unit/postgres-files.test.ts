/** Files of PostgreSQL's that we read: pg_control, postmaster.pid, and the words of a failed start; and files that we write. */
import {
  chmodSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { moveAside, removeReplaced } from '../../src/postgres/aside.ts'
import { parseControlFile, readControlFile } from '../../src/postgres/control-file.ts'
import { crc32c } from '../../src/postgres/crc32c.ts'
import { inspectDirectory } from '../../src/postgres/directory.ts'
import { writeFileAtomic, writeFileIfDifferent } from '../../src/postgres/durable.ts'
import { sparedEnvironment } from '../../src/postgres/environment.ts'
import { nodeLayout } from '../../src/postgres/layout.ts'
import { markLogs, readLogsSince } from '../../src/postgres/log-tail.ts'
import { newestHistory } from '../../src/postgres/position.ts'
import { parsePostmasterPid } from '../../src/postgres/postmaster-pid.ts'
import { reachableBy } from '../../src/postgres/run-as.ts'
import { ensureSecret, readSecret, renderPassfile, writePassfile } from '../../src/postgres/secrets.ts'
import { explainStartFailure } from '../../src/postgres/start-failure.ts'
import { TRIED_FILE, tryDisk } from '../../src/postgres/try-disk.ts'

const root = mkdtempSync(join(tmpdir(), 'us-files-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))

/** A pg_control as PostgreSQL 15 writes it: version 1300, CRC at 288. */
function control(change: (bytes: Buffer) => void = () => undefined, version = 1300, crcAt = 288): Buffer {
  const bytes = Buffer.alloc(8192)
  bytes.writeBigUInt64LE(7_711_148_929_008_242_234n, 0)
  bytes.writeUInt32LE(version, 8)
  bytes.writeUInt32LE(2, 16)
  bytes.writeBigUInt64LE(0x1_0300_0028n, 32)
  bytes.writeBigUInt64LE(0x1_0300_0000n, 40)
  bytes.writeUInt32LE(3, 48)
  bytes.writeBigUInt64LE(0x1_0400_0000n, 136)
  bytes.writeUInt32LE(4, 144)
  bytes.writeUInt32LE(16 * 1024 * 1024, 228)
  bytes.writeUInt32LE(1, 252)
  change(bytes)
  bytes.writeUInt32LE(crc32c(bytes.subarray(0, crcAt)), crcAt)
  return bytes
}

test('CRC-32C of the standard’s example', () => {
  expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283)
})

describe('pg_control', () => {
  const facts = {
    systemIdentifier: '7711148929008242234',
    state: 'shutDownInRecovery',
    timelineId: 3,
    checkpointLsn: 0x1_0300_0028n,
    redoLsn: 0x1_0300_0000n,
    minRecoveryLsn: 0x1_0400_0000n,
    minRecoveryTimelineId: 4,
    dataChecksums: true,
    walSegmentSize: 16_777_216,
  }

  test.each([
    [1300, 288],
    [1800, 292],
  ])('version %i', (version, crcAt) => {
    expect(parseControlFile(control(undefined, version, crcAt))).toEqual({ kind: 'ok', facts })
  })

  test('a changed bit, half a file, a version from the future', () => {
    const changed = control()
    changed.writeUInt8(changed.readUInt8(33) ^ 4, 33)
    expect(parseControlFile(changed)).toMatchObject({ kind: 'damaged' })
    expect(parseControlFile(control().subarray(0, 100))).toMatchObject({ kind: 'damaged' })
    expect(parseControlFile(control(undefined, 1900))).toEqual({
      kind: 'unknownVersion',
      controlVersion: 1900,
    })
    expect(parseControlFile(control((bytes) => bytes.writeUInt32LE(9, 16)))).toMatchObject({
      kind: 'damaged',
    })
  })

  test('a read in the middle of a write is tried again', async () => {
    const dataDir = join(root, 'torn')
    mkdirSync(join(dataDir, 'global'), { recursive: true })
    const path = join(dataDir, 'global', 'pg_control')
    const torn = control()
    torn.writeUInt8(99, 40)
    writeFileSync(path, torn)
    setTimeout(() => writeFileSync(path, control()), 25)
    expect(await readControlFile(dataDir)).toEqual({ kind: 'ok', value: facts })
    rmSync(path)
    expect(await readControlFile(dataDir)).toMatchObject({ kind: 'failed', code: 'data-damaged' })
  })
})

test('the newest history is found although one that is listed is gone before it is looked at', async () => {
  const wal = join(root, 'histories', 'pg_wal')
  mkdirSync(wal, { recursive: true })
  writeFileSync(join(wal, '00000003.history'), '1\t0/3000000\tpromoted\n')
  // As a name that leads nowhere: listed, and not there.
  symlinkSync(join(wal, 'nothing'), join(wal, '0000000A.history'))
  expect(await newestHistory(join(root, 'histories'))).toBe(3)
})

describe('directories', () => {
  async function look(name: string, files: Readonly<Record<string, string | Buffer>>, major = 15) {
    const dataDir = join(root, name)
    mkdirSync(join(dataDir, 'global'), { recursive: true })
    for (const [file, content] of Object.entries(files)) writeFileSync(join(dataDir, file), content)
    return inspectDirectory(dataDir, major)
  }

  test('a cluster, with its signals', async () => {
    const files = {
      PG_VERSION: '15\n',
      'global/pg_control': control(),
      'standby.signal': '',
      backup_label: '',
    }
    expect(await look('cluster', files)).toMatchObject({
      kind: 'cluster',
      major: 15,
      control: { timelineId: 3 },
      standbySignal: true,
      recoverySignal: false,
      backupLabel: true,
    })
  })

  test.each<[string, Readonly<Record<string, string>>, string]>([
    ['other files', { 'thesis.txt': '' }, 'foreign-data'],
    ['another major version', { PG_VERSION: '14\n' }, 'wrong-major'],
    ['a very old one', { PG_VERSION: '9.6\n' }, 'wrong-major'],
    ['a version that is none', { PG_VERSION: 'x\n' }, 'data-damaged'],
    ['no pg_control', { PG_VERSION: '15\n' }, 'data-damaged'],
    ['a damaged pg_control', { PG_VERSION: '15\n', 'global/pg_control': 'x'.repeat(8192) }, 'data-damaged'],
  ])('%s', async (name, files, code) => {
    expect(await look(name, files)).toMatchObject({ kind: 'unusable', code })
  })

  test('nothing there, an empty one, a file, the root of a file system', async () => {
    expect(await inspectDirectory(join(root, 'none'), 15)).toEqual({ kind: 'absent' })
    mkdirSync(join(root, 'empty'))
    expect(await inspectDirectory(join(root, 'empty'), 15)).toEqual({ kind: 'absent' })
    writeFileSync(join(root, 'file'), '')
    expect(await inspectDirectory(join(root, 'file'), 15)).toMatchObject({ code: 'foreign-data' })
    mkdirSync(join(root, 'mount', 'lost+found'), { recursive: true })
    expect(await inspectDirectory(join(root, 'mount'), 15)).toMatchObject({ code: 'foreign-data' })
  })

  test('what clones have replaced goes, but for the newest and what was moved for another reason', async () => {
    const layout = nodeLayout(join(root, 'replacing'))
    const moved = async (reason: string, at: string) => {
      mkdirSync(layout.dataDir, { recursive: true })
      const { value } = (await moveAside(layout, reason, new Date(at))) as { value: { path: string } }
      return value.path
    }
    expect(await removeReplaced(layout)).toEqual({ kind: 'ok', value: [] })
    const first = await moved('replaced', '2026-11-22T23:30:00Z')
    expect(await removeReplaced(layout)).toEqual({ kind: 'ok', value: [] })
    const kept = await moved('written-off', '2026-11-22T23:31:00Z')
    const many = []
    for (let i = 0; i < 11; i++) many.push(await moved('replaced', '2026-11-22T23:32:00Z'))
    expect(await removeReplaced(layout)).toEqual({ kind: 'ok', value: [first, ...many.slice(0, -1)] })
    expect(readdirSync(join(layout.nodeDir, 'aside')).sort()).toEqual(
      [kept, many.at(-1) ?? ''].map((each) => basename(each)).sort(),
    )
  })

  test('moved aside, each under a name of its own', async () => {
    const layout = nodeLayout(join(root, 'moving'))
    const now = new Date('2026-11-22T23:30:00.123Z')
    const paths: string[] = []
    for (const content of ['first', 'second']) {
      mkdirSync(layout.dataDir, { recursive: true })
      writeFileSync(join(layout.dataDir, 'content'), content)
      const moved = await moveAside(layout, 'diverged: at 0/3000000', now)
      if (moved.kind === 'ok') paths.push(moved.value.path)
    }
    const name = '20261122T233000Z-diverged-at-0-3000000'
    expect(paths).toEqual(['', '-2'].map((suffix) => join(layout.nodeDir, 'aside', `${name}${suffix}`)))
    expect(paths.map((path) => readFileSync(join(path, 'content'), 'utf8'))).toEqual(['first', 'second'])
    expect(await moveAside(layout, 'again', now)).toMatchObject({ kind: 'failed' })
    expect(
      readdirSync(join(layout.nodeDir, 'aside')),
      'a move that failed leaves no empty name',
    ).toHaveLength(2)
  })
})

describe('postmaster.pid', () => {
  const lines = ['4711', '/data', '1795391795', '5501', '/run', '127.0.0.1', '  1234 5', 'standby ']
  test('whole, begun, of a standalone backend, nothing', () => {
    expect(parsePostmasterPid(`${lines.join('\n')}\n`)).toEqual({ pid: 4711, status: 'standby', port: 5501 })
    expect(parsePostmasterPid(`${lines.slice(0, 5).join('\n')}\n`)).toEqual({
      pid: 4711,
      status: null,
      port: 5501,
    })
    expect(parsePostmasterPid('-4711\n/data\n')).toMatchObject({ pid: 4711 })
    expect(parsePostmasterPid('')).toBeNull()
    expect(parsePostmasterPid('x')).toBeNull()
  })
})

describe('why a start failed', () => {
  const stamp = '2026-11-22 23:39:23.227 UTC [6069] '
  test.each<[string, string]>([
    ['LOG:  could not bind IPv4 address "127.0.0.1": Address already in use', 'port-taken'],
    [
      'FATAL:  lock file ".s.PGSQL.5501.lock" already exists\nHINT:  Is another postmaster (PID 1) using socket file "/x"?',
      'port-taken',
    ],
    ['FATAL:  lock file "postmaster.pid" already exists', 'foreign-postmaster'],
    ['FATAL:  pre-existing shared memory block (key 1, ID 2) is still in use', 'foreign-postmaster'],
    ['PANIC:  could not write to file "pg_wal/xlogtemp.1": No space left on device', 'no-space'],
    ['FATAL:  database files are incompatible with server', 'wrong-major'],
    ['FATAL:  private key file "/x.key" has group or world access', 'tls-failed'],
    ['FATAL:  could not load server certificate file "/x.crt": no start line', 'tls-failed'],
    [
      'LOG:  unrecognized configuration parameter "work_men" in file "/x" line 3\nFATAL:  configuration file "/x" contains errors',
      'config-invalid',
    ],
    ['FATAL:  could not load /srv/alpha/conf/pg_hba.conf', 'config-invalid'],
    ['FATAL:  data directory "/x" has wrong ownership', 'no-permission'],
    ['PANIC:  could not locate a valid checkpoint record', 'data-damaged'],
    ['"root" execution of the PostgreSQL server is not permitted.', 'no-unprivileged-user'],
    ['FATAL:  something new', 'postgres-failed'],
    ['', 'postgres-failed'],
  ])('%j', (words, code) => {
    const failure = explainStartFailure({
      startup: stamp + words,
      log: '',
      exit: 'exit code 1',
      logDir: '/log',
    })
    expect(failure.code).toBe(code)
    expect(failure.reason).toContain('/log')
    expect(failure.reason).toContain(words.split('\n')[0] ?? '')
  })

  test('shows what a log gained, not what it had, also after a rotation', async () => {
    const logDir = join(root, 'log')
    mkdirSync(logDir)
    const [one, two] = [join(logDir, 'one'), join(logDir, 'two')]
    writeFileSync(one, 'old')
    writeFileSync(two, 'long ago')
    const mark = await markLogs(logDir)
    writeFileSync(one, 'old new')
    writeFileSync(two, 'anew')
    expect(await readLogsSince(logDir, mark)).toEqual(
      new Map([
        [one, ' new'],
        [two, 'anew'],
      ]),
    )
  })
})

describe('files that we write', () => {
  test('a password is made once, is private, and one open to others is refused', async () => {
    const path = join(root, 'secret')
    const made = await Promise.all(Array.from({ length: 8 }, () => ensureSecret(path)))
    expect(
      new Set(made.map((outcome) => outcome.kind === 'ok' && outcome.value)).size,
      'all got the same',
    ).toBe(1)
    expect(made[0]).toMatchObject({ value: expect.stringMatching(/^[\w-]{43}$/) })
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(readdirSync(root).filter((name) => name.startsWith('secret'))).toEqual(['secret'])
    chmodSync(path, 0o640)
    expect(await readSecret(path)).toMatchObject({
      kind: 'failed',
      code: 'no-permission',
      hint: `chmod 600 ${path}`,
    })
    expect(await ensureSecret(path)).toMatchObject({ kind: 'failed', code: 'no-permission' })
    expect(await readSecret(join(root, 'missing'))).toMatchObject({ kind: 'failed', code: 'no-permission' })
  })

  test('a passfile as libpq reads it', async () => {
    const entry = { host: '::1', port: 5501, database: 'replication', user: 'r', password: 'a:b\\c' } as const
    expect(renderPassfile([entry, { ...entry, host: '*', port: '*' }])).toBe(
      '\\:\\:1:5501:replication:r:a\\:b\\\\c\n*:*:replication:r:a\\:b\\\\c\n',
    )
    const path = join(root, 'passfile')
    expect(await writePassfile(path, [entry])).toMatchObject({ kind: 'ok' })
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(await writePassfile(path, [{ ...entry, password: 'a\nb' }])).toMatchObject({
      kind: 'failed',
      code: 'config-invalid',
    })
  })

  test('replaced at once: who has the old file open keeps it, and equal content is left alone', async () => {
    const path = join(root, 'replaced')
    writeFileSync(path, 'old')
    linkSync(path, `${path}-held`)
    await writeFileAtomic(path, 'new', { durable: true })
    expect([readFileSync(`${path}-held`, 'utf8'), readFileSync(path, 'utf8')]).toEqual(['old', 'new'])
    const { ino } = statSync(path)
    expect(await writeFileIfDifferent(path, 'new', { durable: false })).toBe(false)
    expect(await writeFileIfDifferent(path, 'newer', { durable: false })).toBe(true)
    expect(statSync(path).ino).not.toBe(ino)
  })

  test('the file that tries the disk: made where there is data, then only written over', async () => {
    const dataDir = join(root, 'tried')
    await expect(tryDisk(dataDir)).rejects.toMatchObject({ code: 'ENOENT' })
    mkdirSync(join(dataDir, 'pg_wal'), { recursive: true })
    await tryDisk(dataDir)
    const before = statSync(join(dataDir, TRIED_FILE))
    await tryDisk(dataDir)
    const after = statSync(join(dataDir, TRIED_FILE))
    expect([before.size, after.size, after.ino]).toEqual([8, 8, before.ino])
  })

  test('what another user can reach', async () => {
    const own = statSync(root)
    const other = { name: 'other', uid: own.uid + 4321, gid: own.gid + 4321, home: '/' }
    const inner = join(root, 'reach', 'inner')
    mkdirSync(inner, { recursive: true })
    writeFileSync(join(inner, 'file'), '')
    chmodSync(root, 0o755)
    expect(await reachableBy(other, join(inner, 'file'))).toBe(true)
    expect(await reachableBy(other, join(inner, 'file'), 'write')).toBe(false)
    chmodSync(join(root, 'reach'), 0o750)
    expect(await reachableBy(other, join(inner, 'file'))).toBe(false)
    expect(await reachableBy({ ...other, gid: own.gid }, join(inner, 'file'))).toBe(true)
    expect(await reachableBy({ ...other, uid: own.uid }, inner, 'write')).toBe(true)
    expect(await reachableBy(other, join(root, 'missing'))).toBe(false)
    chmodSync(root, 0o700)
  })
})

test('backends are spared by the kernel only as much as any process, where the postmaster is', () => {
  expect(sparedEnvironment(-900)).toEqual({
    PG_OOM_ADJUST_FILE: '/proc/self/oom_score_adj',
    PG_OOM_ADJUST_VALUE: '0',
  })
  expect(sparedEnvironment(0)).toEqual({})
  expect(sparedEnvironment(200)).toEqual({})
})
