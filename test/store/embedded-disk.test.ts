/** The embedded store on a disk that forgets, fails or is full: what was acknowledged is on it, and what it cannot keep is not acknowledged. */
import { rmSync } from 'node:fs'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import type { Store, StoreResult } from '../../src/ports/store.ts'
import {
  type EmbeddedStore,
  type EmbeddedStoreOptions,
  startEmbeddedStore,
} from '../../src/store/embedded-server.ts'
import { createStoreClient } from '../../src/store/gateway-client.ts'
import { VolatileDisk } from '../support/volatile-disk.ts'
import { chooseSeed, put, Recorder, seeded, texts, until, value } from './helpers.ts'
import { temporaryDirectory } from './servers.ts'

const PREFIX = '/understudy/disk/'
/** So that the log is replaced every few writes. */
const SMALL = { rotateBytes: 3_000, allocationBytes: 4_096, historyLimits: { commits: 30, bytes: 100_000 } }
const disposals: (() => unknown)[] = []
afterEach(async () => {
  for (const dispose of disposals.splice(0).reverse()) await dispose()
})

interface Running {
  readonly server: EmbeddedStore
  readonly store: Store
  readonly events: string[]
}

/** There for its lock only. */
const directory = temporaryDirectory()
afterAll(() => rmSync(directory, { recursive: true, force: true }))

/** A server on the disk. */
async function run(disk: VolatileDisk, over: Partial<EmbeddedStoreOptions> = {}): Promise<Running> {
  const events: string[] = []
  const log = ({ event }: { readonly event: string }): void => void events.push(event)
  const server = await startEmbeddedStore({ directory, token: 'token', disk, log, ...over })
  const store = createStoreClient({
    endpoints: [`http://127.0.0.1:${server.port}`],
    credentials: { token: 'token' },
    // Long: here no answer is late, it comes or it is a bug.
    requestTimeoutMs: 10_000,
    nowMs: () => performance.now(),
  })
  disposals.push(() => server.stop())
  disposals.push(() => store.close())
  return { server, store, events }
}

const putOne = (store: Store, name: string, text: string) =>
  store.transact({ compare: [], success: [{ op: 'put', key: PREFIX + name, value: text }] })

/** What somebody was told: a write acknowledged, or a value read. */
type Told = Map<string, { readonly text: string; readonly revision: bigint }>

function tell(told: Told, name: string, text: string, revision: bigint): void {
  if ((told.get(name)?.revision ?? 0n) < revision) told.set(name, { text, revision })
}

/** Writes and reads until the power is gone; no call may fail before that. */
async function use(
  store: Store,
  told: Told,
  life: number,
  random: () => number,
  isOff: () => boolean,
): Promise<void> {
  const ok = <T>(result: StoreResult<T>): result is { readonly kind: 'ok'; readonly value: T } => {
    if (result.kind !== 'ok' && !isOff()) throw new Error(`life ${life}: ${result.kind}: ${result.reason}`)
    return result.kind === 'ok'
  }
  const write = async (writer: number): Promise<void> => {
    for (let count = 0; ; count++) {
      const name = `${writer}-${count % 7}`
      const text = `${life}.${count} ${'x'.repeat(Math.floor(random() * 1_500))}`
      const result = await putOne(store, name, text)
      if (!ok(result)) return
      tell(told, name, text, result.value.revision)
    }
  }
  const read = async (): Promise<void> => {
    // What can still be read when the power is gone is on disk: a store that needs no disk for it may go on for long.
    while (!isOff()) {
      const listing = await store.list(PREFIX)
      if (!ok(listing)) return
      for (const { key, value: text, modRevision } of listing.value.entries) {
        tell(told, key.slice(PREFIX.length), text, modRevision)
      }
    }
  }
  await Promise.all([write(1), write(2), write(3), write(4), read()])
}

async function expectKept(store: Store, told: Told, life: number): Promise<void> {
  const found = new Map(
    value(await store.list(PREFIX)).entries.map((entry) => [entry.key.slice(PREFIX.length), entry]),
  )
  for (const [name, { text, revision }] of told) {
    const entry = found.get(name)
    expect(entry?.modRevision ?? 0n, `life ${life}: ${name}`).toBeGreaterThanOrEqual(revision)
    if (entry?.modRevision === revision) expect(entry.value, `life ${life}: ${name}`).toBe(text)
  }
}

describe('the power goes', () => {
  test('at any call to the disk: everything that was acknowledged or read is there, and it always starts again', async () => {
    const random = seeded(chooseSeed('power'))
    const told: Told = new Map()
    let disk = new VolatileDisk()
    let torn = 0
    let lives = 0
    for (let life = 0; life < 50; life++) {
      let left = Math.ceil(random() * 60)
      let next: VolatileDisk | null = null
      const old = disk
      old.holdBack(() => {
        if (--left === 0) next = old.crash(random)
        return Promise.resolve()
      })
      const running = await run(old, SMALL).catch((error: unknown) => {
        // The power went while it was starting.
        expect(error).toMatchObject({ code: 'store-disk' })
        return null
      })
      if (running !== null) {
        lives++
        torn += running.events.filter((event) => event === 'torn-record-cut').length
        await expectKept(running.store, told, life)
        await use(running.store, told, life, random, () => next !== null)
        await running.server.stop()
        running.store.close()
        disposals.length = 0
      }
      if (next === null) throw new Error('the store is gone, but the power is not')
      disk = next
    }
    // The test is only worth something if it has hit starts and the middle of writes, and had something to lose.
    expect(lives).toBeGreaterThan(20)
    expect(lives).toBeLessThan(50)
    expect(torn).toBeGreaterThan(0)
    expect(told.size).toBeGreaterThan(0)
  })

  test('a watch is only told of what will still be there', async () => {
    const disk = new VolatileDisk()
    const { store, server } = await run(disk)
    const recorder = new Recorder()
    const { revision } = value(await store.list(PREFIX))
    store.watch(PREFIX, revision + 1n, recorder, new AbortController().signal)
    await put(store, `${PREFIX}a`, '1')
    let release: () => void = () => {}
    const held = new Promise<void>((resolve) => {
      release = resolve
    })
    let waiting = false
    disk.holdBack(async (call) => {
      if (call !== 'sync') return
      waiting = true
      await held
    })
    const pending = putOne(store, 'b', '2')
    await until('the sync', () => waiting)
    const read = store.get(`${PREFIX}b`)
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(recorder.seen(PREFIX)).toEqual(['a=1'])
    release()
    expect((await pending).kind).toBe('ok')
    expect(value(await read)?.value).toBe('2')
    await until('the event', () => recorder.seen(PREFIX).includes('b=2'))
    await server.stop()
  })
})

describe('a disk that fails', () => {
  for (const [call, code, expected] of [
    ['sync', 'EIO', 'store-disk'],
    ['sync', 'ENOSPC', 'no-space'],
    ['write', 'EIO', 'store-disk'],
  ] as const) {
    test(`${code} on ${call}: nothing is acknowledged any more, and the server ends`, async () => {
      const disk = new VolatileDisk()
      const { server, store, events } = await run(disk)
      await put(store, `${PREFIX}before`, '1')
      disk.failWith((at, name) => (at === call && name.startsWith('log-') ? code : null))
      const results = await Promise.all(['a', 'b', 'c'].map((name) => putOne(store, name, '2')))
      expect(results.map(({ kind }) => kind)).toEqual(['unavailable', 'unavailable', 'unavailable'])
      disk.failWith(() => null)
      expect((await putOne(store, 'd', '3')).kind).toBe('unavailable')
      expect((await store.get(`${PREFIX}a`)).kind).toBe('unavailable')
      expect(await server.ended).toMatchObject({ code: expected })
      expect(events).toContain('disk-failed')
      const again = await run(disk.crash(() => 0))
      expect(await texts(again.store, PREFIX)).toEqual(['before=1'])
    })
  }

  test('a full disk refuses writes before anything has happened, keeps reading, and goes on by itself', async () => {
    const disk = new VolatileDisk()
    let nowMs = 0
    const { server, store, events } = await run(disk, { allocationBytes: 4_096, nowMs: () => nowMs })
    const { leaseId } = value(await store.grantLease(5_000))
    await put(store, `${PREFIX}bound`, '', leaseId)
    disk.limit(8_192)
    let written = 0
    let last = await putOne(store, 'x', 'x'.repeat(800))
    for (let index = 0; last.kind === 'ok' && index < 50; index++) {
      last = await putOne(store, `${index}`, 'x'.repeat(800))
      if (last.kind === 'ok') written++
    }
    expect(last).toMatchObject({ kind: 'unavailable', reason: expect.stringContaining('space') })
    expect(written).toBeGreaterThan(0)
    expect(await texts(store, PREFIX)).toHaveLength(written + 2)
    const read = await store.transact({ compare: [], success: [{ op: 'get', key: `${PREFIX}bound` }] })
    expect(value(read).reads).toHaveLength(1)
    expect(value(await store.renewLease(leaseId)).alive).toBe(true)
    expect(events).toContain('disk-full')
    disk.limit(1_000_000)
    nowMs += 1_001
    expect((await putOne(store, 'after', '')).kind).toBe('ok')
    await server.stop()
  })

  test('whoever asks for room while the disk is found full is told so too', async () => {
    const disk = new VolatileDisk()
    let nowMs = 0
    const { store, events } = await run(disk, { allocationBytes: 4_096, nowMs: () => nowMs })
    disk.limit(0)
    const text = 'x'.repeat(2_000)
    expect((await putOne(store, 'fits', text)).kind).toBe('ok')
    await until('the first attempt, in advance', () => events.includes('disk-full'))
    nowMs = 2_000
    const late: Promise<StoreResult<unknown>>[] = []
    disk.holdBack(async (call) => {
      // In the middle of the attempt to grow.
      if (call === 'write' && late.length === 0) {
        late.push(putOne(store, 'late', text))
        await new Promise((resolve) => setTimeout(resolve, 100))
      }
    })
    const results = await Promise.all([putOne(store, 'early', text)])
    expect([...results, ...(await Promise.all(late))]).toMatchObject([
      { kind: 'unavailable' },
      { kind: 'unavailable' },
    ])
    expect(await late[0]).toMatchObject({ reason: expect.stringContaining('space') })
  })

  test('no room for a new snapshot: the old log goes on', async () => {
    const disk = new VolatileDisk()
    const { server, store, events } = await run(disk, SMALL)
    disk.failWith((call, name) => (call === 'write' && name === 'snapshot.new' ? 'ENOSPC' : null))
    for (let index = 0; index < 20; index++) await put(store, `${PREFIX}${index}`, 'x'.repeat(500))
    expect(events).toContain('disk-full')
    await server.stop()
    const again = await run(disk.crash(() => 0))
    expect(await texts(again.store, PREFIX)).toHaveLength(20)
  })

  test('an error while the snapshot is exchanged ends the server: nobody knows which one is on disk', async () => {
    const random = seeded(chooseSeed('exchange'))
    for (const call of ['rename', 'syncNames'] as const) {
      const disk = new VolatileDisk()
      const { server, store } = await run(disk, SMALL)
      let names = 0
      // The first syncNames of an exchange comes before the rename and only prepares.
      disk.failWith((at) => (at === call && (call === 'rename' || ++names > 1) ? 'EIO' : null))
      let written = 0
      for (let index = 0; index < 30; index++) {
        if ((await putOne(store, `${index}`, 'x'.repeat(500))).kind === 'ok') written++
      }
      expect(await server.ended).toMatchObject({ code: 'store-disk' })
      const again = await run(disk.crash(random))
      expect((await texts(again.store, PREFIX)).length).toBeGreaterThanOrEqual(written)
      await again.server.stop()
    }
  })

  test('a disk that cannot be read or written at the start is said to be that', async () => {
    for (const [call, code, expected] of [
      ['read', 'EIO', 'store-disk'],
      ['create', 'ENOSPC', 'no-space'],
      ['sync', 'EIO', 'store-disk'],
      ['create', 'EROFS', 'no-permission'],
    ] as const) {
      const disk = new VolatileDisk()
      disk.failWith((at) => (at === call ? code : null))
      await expect(run(disk)).rejects.toMatchObject({ code: expected })
    }
  })
})
