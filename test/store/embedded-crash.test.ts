/** The embedded store's process killed at any moment, its files torn and damaged, its directory contended, its disk full. */

import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, test } from 'vitest'
import type { Store } from '../../src/ports/store.ts'
import { chooseSeed, eventually, post, put, Recorder, seeded, texts, until, value } from './helpers.ts'
import {
  clientOf,
  compiledStoreProcess,
  type StoreServer,
  startEmbeddedServer,
  TOKEN,
  temporaryDirectory,
} from './servers.ts'

const PREFIX = '/understudy/crash/'
const disposals: (() => unknown)[] = []
afterEach(async () => {
  for (const dispose of disposals.splice(0).reverse()) await dispose()
})

async function serve(more: Readonly<Record<string, unknown>> = {}, directory?: string): Promise<StoreServer> {
  const server = await startEmbeddedServer({ more, ...(directory === undefined ? {} : { directory }) })
  disposals.push(() => server.dispose())
  return server
}

function connect(server: StoreServer): Store {
  const store = clientOf(server)
  disposals.push(() => store.close())
  return store
}

/** Starts the process on a directory and waits for its end, which must come by itself. */
function tryToStart(directory: string): { readonly status: number | null; readonly stderr: string } {
  const settings = JSON.stringify({ directory, token: TOKEN })
  const result = spawnSync(process.execPath, [compiledStoreProcess(), settings], {
    timeout: 10_000,
    encoding: 'utf8',
  })
  return { status: result.status, stderr: result.stderr }
}

function fingerprint(directory: string): readonly string[] {
  return readdirSync(directory)
    .sort()
    .map(
      (name) =>
        `${name} ${createHash('sha256')
          .update(readFileSync(join(directory, name)))
          .digest('hex')}`,
    )
}

function logFile(server: StoreServer): string {
  const name = readdirSync(server.directory).find((each) => each.startsWith('log-'))
  if (name === undefined) throw new Error('no log')
  return join(server.directory, name)
}

/** Where the last frame begins and its payload ends, found by walking the frames. */
function lastFrame(file: string): { readonly start: number; readonly end: number } {
  const bytes = readFileSync(file)
  let last = { start: 0, end: 0 }
  for (let at = 0; bytes.readUInt32LE(at) !== 0; at = Math.ceil(last.end / 16) * 16) {
    last = { start: at, end: at + 16 + bytes.readUInt32LE(at) }
  }
  return last
}

describe('killed (SIGKILL) at any moment under writes', () => {
  test('every write that was acknowledged is there, none twice, and revisions go on', async () => {
    const random = seeded(chooseSeed('kill'))
    // Small limits, so that kills hit rotations and growing logs too.
    const server = await serve({ rotateBytes: 24 * 1024, allocationBytes: 8 * 1024 })
    const state: Writers = { acknowledged: new Map(), attempted: new Map(), revisions: [] }
    for (let round = 0; round < 8; round++) {
      const stopped = new AbortController()
      const writers = Array.from({ length: 6 }, (_, index) =>
        write(server, `w${index}`, state, random, stopped.signal),
      )
      await sleep(30 + random() * 250)
      await server.kill()
      stopped.abort()
      await Promise.all(writers)
      await server.start()
      await check(server, state)
    }
    expect(state.revisions.length).toBeGreaterThan(50)
  })
})

interface Writers {
  /** The last counter of each writer that was acknowledged, with its revision. */
  readonly acknowledged: Map<string, { readonly count: number; readonly revision: bigint }>
  readonly attempted: Map<string, number>
  readonly revisions: bigint[]
}

/** Counts up under its name, each step by compare-and-swap on the step before, so that a write that happened twice would fail. */
async function write(
  server: StoreServer,
  name: string,
  state: Writers,
  random: () => number,
  signal: AbortSignal,
): Promise<void> {
  const store = clientOf(server)
  let count = state.acknowledged.get(name)?.count ?? 0
  const found = await store.get(PREFIX + name)
  let revision = found.kind === 'ok' ? (found.value?.modRevision ?? 0n) : 0n
  if (found.kind === 'ok' && found.value !== null) count = Number(found.value.value.split(' ')[0])
  while (!signal.aborted) {
    count++
    state.attempted.set(name, count)
    const text = `${count} ${'x'.repeat(Math.floor(random() * 900))}`
    const result = await store.transact({
      compare: [{ key: PREFIX + name, modRevision: revision }],
      success: [{ op: 'put', key: PREFIX + name, value: text }],
    })
    if (result.kind !== 'ok') break
    if (!result.value.succeeded) throw new Error(`the counter of ${name} was changed by nobody`)
    revision = result.value.revision
    state.acknowledged.set(name, { count, revision })
    state.revisions.push(revision)
  }
  store.close()
}

async function check(server: StoreServer, state: Writers): Promise<void> {
  const store = clientOf(server)
  const listing = await eventually(() => store.list(PREFIX))
  const found = new Map(listing.entries.map((entry) => [entry.key.slice(PREFIX.length), entry]))
  for (const [name, { count, revision }] of state.acknowledged) {
    const entry = found.get(name)
    const present = Number(entry?.value.split(' ')[0])
    expect(present, `${name} was acknowledged at ${count}`).toBeGreaterThanOrEqual(count)
    expect(present).toBeLessThanOrEqual(state.attempted.get(name) ?? 0)
    if (present === count) expect(entry?.modRevision).toBe(revision)
    expect(entry?.version).toBe(BigInt(present))
    expect(listing.revision).toBeGreaterThanOrEqual(revision)
  }
  expect(new Set(state.revisions).size).toBe(state.revisions.length)
  store.close()
}

describe('files', () => {
  test('a torn last record is cut off and reported; everything before it is there', async () => {
    const server = await serve()
    const store = connect(server)
    await put(store, `${PREFIX}kept`, '1')
    await put(store, `${PREFIX}torn`, 'x'.repeat(500))
    await server.kill()
    const { start, end } = lastFrame(logFile(server))
    truncateSync(logFile(server), start + Math.floor((end - start) / 2))
    await server.start()
    expect(await eventually(() => store.get(`${PREFIX}torn`))).toBeNull()
    expect(await texts(store, PREFIX)).toEqual(['kept=1'])
    expect(server.output()).toContain('"event":"torn-record-cut"')
    await put(store, `${PREFIX}after`, '2')
    await server.kill()
    await server.start()
    await eventually(() => store.get(PREFIX))
    expect(await texts(store, PREFIX)).toEqual(['after=2', 'kept=1'])
    expect(server.output().split('torn-record-cut')).toHaveLength(2)
  })

  test('damage in the middle is refused, whatever it is, and nothing is changed', async () => {
    const server = await serve()
    const store = connect(server)
    for (let index = 0; index < 5; index++) await put(store, `${PREFIX}${index}`, 'x'.repeat(200))
    await server.kill()
    const log = logFile(server)
    const [good, snapshot] = [readFileSync(log), readFileSync(join(server.directory, 'snapshot'))]
    const middle = Math.floor(lastFrame(log).start / 2)
    const damages: readonly (readonly [string, () => void])[] = [
      [
        'a flipped bit',
        () =>
          writeFileSync(
            log,
            changed(good, (bytes) => flip(bytes, middle)),
          ),
      ],
      [
        'zeros',
        () =>
          writeFileSync(
            log,
            changed(good, (bytes) => bytes.fill(0, middle, middle + 64)),
          ),
      ],
      [
        'a flipped bit in the last record',
        () =>
          writeFileSync(
            log,
            changed(good, (bytes) => flip(bytes, lastFrame(log).end - 9)),
          ),
      ],
      ['a missing log', () => rmSync(log)],
      ['an empty log', () => truncateSync(log, 0)],
      [
        'a damaged snapshot',
        () =>
          writeFileSync(
            join(server.directory, 'snapshot'),
            changed(snapshot, (bytes) => flip(bytes, 40)),
          ),
      ],
      ['a missing snapshot', () => rmSync(join(server.directory, 'snapshot'))],
      ['an older log in place of the right one', () => writeFileSync(log, good.subarray(48))],
    ]
    for (const [what, damage] of damages) {
      damage()
      const before = fingerprint(server.directory)
      const { status, stderr } = tryToStart(server.directory)
      expect(stderr, what).toContain('store-corrupt')
      expect(status, what).toBe(1)
      expect(fingerprint(server.directory), what).toEqual(before)
      writeFileSync(log, good)
      writeFileSync(join(server.directory, 'snapshot'), snapshot)
    }
    await server.start()
    await eventually(() => store.get(PREFIX))
    expect(await texts(store, PREFIX)).toHaveLength(5)
  })

  test('files are for their owner only', async () => {
    const above = temporaryDirectory()
    disposals.push(() => rmSync(above, { recursive: true, force: true }))
    const directory = join(above, 'store')
    const server = await serve({}, directory)
    await put(connect(server), `${PREFIX}a`, 'secret')
    const modes = execFileSync(
      'stat',
      ['-c', '%a', directory, join(directory, 'snapshot'), logFile(server)],
      { encoding: 'utf8' },
    )
    expect(modes.trim().split('\n')).toEqual(['700', '600', '600'])
  })

  test('a log that is replaced again and again keeps keys, leases, and the history that watches resume from', async () => {
    const server = await serve({ rotateBytes: 4 * 1024, allocationBytes: 4 * 1024 })
    const store = connect(server)
    const { leaseId } = value(await store.grantLease(60_000))
    const first = await put(store, `${PREFIX}bound`, 'x', leaseId)
    for (let index = 0; index < 60; index++)
      await put(store, `${PREFIX}${index % 5}`, `${index} ${'x'.repeat(400)}`)
    expect(readdirSync(server.directory).sort()).toEqual([expect.stringMatching(/^log-\d+$/), 'snapshot'])
    await server.kill()
    await server.start()
    await eventually(() => store.get(PREFIX))
    const recorder = new Recorder()
    store.watch(PREFIX, first + 1n, recorder, new AbortController().signal)
    await until('the whole history', () => recorder.batches.length === 60)
    expect(recorder.seen(PREFIX).map((seen) => seen.split(' ')[0])).toEqual(
      Array.from({ length: 60 }, (_, index) => `${index % 5}=${index}`),
    )
    expect(value(await store.renewLease(leaseId)).alive).toBe(true)
    expect(value(await store.get(`${PREFIX}bound`))?.leaseId).toBe(leaseId)
  })
})

function changed(bytes: Buffer, change: (copy: Buffer) => void): Buffer {
  const copy = Buffer.from(bytes)
  change(copy)
  return copy
}

function flip(bytes: Buffer, at: number): void {
  bytes.writeUInt8(bytes.readUInt8(at) ^ 0x04, at)
}

describe('processes', () => {
  test('a second server on the directory is refused, by whatever path, until the first is dead', async () => {
    const server = await serve()
    const second = tryToStart(server.directory)
    expect(second).toMatchObject({ status: 1 })
    expect(second.stderr).toContain('already-running')
    const beside = temporaryDirectory()
    disposals.push(() => rmSync(beside, { recursive: true, force: true }))
    const link = join(beside, 'link')
    execFileSync('ln', ['-s', server.directory, link])
    expect(tryToStart(link).stderr).toContain('already-running')
    await server.kill()
    await server.start()
    await eventually(() => connect(server).get(PREFIX))
  })

  test('SIGTERM ends it cleanly, with what was asked answered', async () => {
    const server = await serve()
    const store = connect(server)
    const recorder = new Recorder()
    store.watch(PREFIX, 0n, recorder, new AbortController().signal)
    await put(store, `${PREFIX}a`, '1')
    const writes = Array.from({ length: 20 }, (_, index) =>
      store.transact({ compare: [], success: [{ op: 'put', key: `${PREFIX}late${index}`, value: '' }] }),
    )
    await writes[0]
    expect(await server.end()).toBe(0)
    const results = await Promise.all(writes)
    const acknowledged = results.filter(({ kind }) => kind === 'ok').length
    expect(acknowledged).toBeGreaterThan(0)
    expect(server.output()).toContain('"event":"stopped"')
    await server.start()
    await eventually(() => store.get(PREFIX))
    expect((await texts(store, `${PREFIX}late`)).length).toBeGreaterThanOrEqual(acknowledged)
  })

  test('it outlives whoever read its log', async () => {
    const server = await serve()
    const store = connect(server)
    await put(store, `${PREFIX}a`, '1')
    server.closeOutput()
    // Its last line finds no reader.
    expect(await server.end()).toBe(0)
  })

  test('a port that is taken and a directory that cannot be written are said to be that', async () => {
    const server = await serve()
    const directory = temporaryDirectory()
    disposals.push(() => rmSync(directory, { recursive: true, force: true }))
    const start = (settings: object): string =>
      spawnSync(process.execPath, [compiledStoreProcess(), JSON.stringify({ token: TOKEN, ...settings })], {
        timeout: 10_000,
        encoding: 'utf8',
      }).stderr
    expect(start({ directory, port: server.port })).toContain('port-taken')
    expect(start({ directory: '/sys/understudy' })).toContain('no-permission')
    expect(start({ directory: compiledStoreProcess() })).toContain('config-invalid')
    expect(start({ directory, token: '' })).toContain('config-invalid')
  })
})

const FULL_NEEDS_ROOT = process.getuid?.() === 0 ? null : 'mounting a small file system needs root'
if (FULL_NEEDS_ROOT !== null) console.warn(`SKIPPED: a full disk, because ${FULL_NEEDS_ROOT}`)

describe.skipIf(FULL_NEEDS_ROOT !== null)(
  `a full disk${FULL_NEEDS_ROOT === null ? '' : ` (skipped: ${FULL_NEEDS_ROOT})`}`,
  () => {
    test('writes are refused, reads go on, nothing is lost, and room lets it go on', async () => {
      const directory = temporaryDirectory()
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=512k', 'understudy-test', directory])
      disposals.push(() => {
        execFileSync('umount', [directory])
        rmSync(directory, { recursive: true, force: true })
      })
      const inside = join(directory, 'store')
      mkdirSync(inside)
      const server = await startEmbeddedServer({
        directory: inside,
        more: { allocationBytes: 32 * 1024, rotateBytes: 10 * 1024 * 1024 },
      })
      disposals.push(() => server.kill())
      const store = connect(server)
      const large = 'x'.repeat(8 * 1024)
      let acknowledged = 0
      let refusal = ''
      for (let index = 0; !refusal.includes('space') && index < 200; index++) {
        const result = await store.transact({
          compare: [],
          success: [{ op: 'put', key: `${PREFIX}${index}`, value: large }],
        })
        if (result.kind === 'ok') acknowledged++
        else refusal = `${result.kind}: ${result.reason}`
      }
      expect(refusal).toMatch(/^unavailable: .*space/)
      expect(acknowledged).toBeGreaterThan(5)
      const kept = (await texts(store, PREFIX)).length
      expect(kept).toBeGreaterThanOrEqual(acknowledged)
      expect(server.output()).toContain('"event":"disk-full"')
      expect((await post(server, '/health', {})).status).toBe(200)
      execFileSync('mount', ['-o', 'remount,size=4m', directory])
      await eventually(() =>
        store.transact({ compare: [], success: [{ op: 'put', key: `${PREFIX}room`, value: large }] }),
      )
      await server.kill()
      await server.start()
      await eventually(() => store.get(PREFIX))
      expect(await texts(store, PREFIX)).toHaveLength(kept + 1)
      await server.kill()
      fill(join(directory, 'filler'))
      const before = fingerprint(inside)
      expect(tryToStart(inside).stderr).toContain('no-space')
      expect(fingerprint(inside)).toEqual(before)
    })
  },
)

/** Takes every byte of the file system. */
function fill(path: string): void {
  for (let size = 64 * 1024; size >= 1; size = Math.floor(size / 4)) {
    try {
      for (;;) appendFileSync(path, Buffer.alloc(size))
    } catch {
      // Full for this size; a smaller one may still fit.
    }
  }
}
