/** The embedded server from outside: who may ask, what it puts up with, time, and its limits. */
import { once } from 'node:events'
import { readdirSync, rmSync } from 'node:fs'
import * as net from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import type { Store } from '../../src/ports/store.ts'
import {
  type EmbeddedStore,
  type EmbeddedStoreOptions,
  startEmbeddedStore,
} from '../../src/store/embedded-server.ts'
import { createStoreClient } from '../../src/store/gateway-client.ts'
import { post, put, Recorder, texts, until, value } from './helpers.ts'
import { TOKEN, temporaryDirectory } from './servers.ts'

const PREFIX = '/understudy/server/'
const disposals: (() => unknown)[] = []
afterEach(async () => {
  for (const dispose of disposals.splice(0).reverse()) await dispose()
})

interface Running {
  readonly server: EmbeddedStore
  readonly url: string
  readonly credentials: { readonly token: string }
  readonly store: Store
  readonly directory: string
  readonly events: string[]
}

async function run(over: Partial<EmbeddedStoreOptions> = {}): Promise<Running> {
  const directory = over.directory ?? temporaryDirectory()
  const events: string[] = []
  const log = ({ event }: { readonly event: string }): void => void events.push(event)
  const server = await startEmbeddedStore({ directory, token: TOKEN, log, ...over })
  const url = `http://127.0.0.1:${server.port}`
  const credentials = { token: TOKEN }
  const nowMs = (): number => performance.now()
  const store = createStoreClient({ endpoints: [url], credentials, requestTimeoutMs: 2_000, nowMs })
  disposals.push(() => rmSync(directory, { recursive: true, force: true }))
  disposals.push(() => server.stop())
  disposals.push(() => store.close())
  return { server, url, credentials, store, directory, events }
}

async function raw(running: Running, text: string): Promise<net.Socket> {
  const socket = net.connect(running.server.port, '127.0.0.1')
  socket.on('error', () => {})
  await once(socket, 'connect')
  socket.write(text)
  return socket
}

const base64 = (text: string): string => Buffer.from(text).toString('base64')

describe('who may ask', () => {
  test('without the token nothing is answered but whether it is alive', async () => {
    const running = await run()
    const paths = [
      'kv/range',
      'kv/put',
      'kv/txn',
      'kv/deleterange',
      'kv/compaction',
      'lease/grant',
      'lease/keepalive',
    ]
    paths.push(
      'lease/revoke',
      'lease/timetolive',
      'watch',
      'maintenance/status',
      'auth/authenticate',
      'nothing',
    )
    for (const path of paths) {
      for (const credentials of [
        {},
        { token: '' },
        { token: `${TOKEN}x` },
        { token: TOKEN.slice(1) },
        { token: `Bearer ${TOKEN}` },
      ]) {
        const { status, text } = await post({ url: running.url, credentials }, `/v3/${path}`, {
          key: base64('k'),
        })
        expect(status, path).toBe(401)
        expect(JSON.parse(text)).toMatchObject({ code: 16 })
      }
    }
    const health = await post({ url: running.url, credentials: {} }, '/health', {})
    expect(health).toEqual({ status: 200, text: '{"health":"true"}' })
    expect(await texts(running.store, '')).toEqual([])
  })

  test('it listens on the loopback address only, unless told otherwise', async () => {
    const running = await run()
    const address = Object.values((await import('node:os')).networkInterfaces())
      .flat()
      .find((each) => each !== undefined && !each.internal && each.family === 'IPv4')?.address
    if (address === undefined) return
    const socket = net.connect(running.server.port, address)
    const [error] = await once(socket, 'error')
    expect(error).toMatchObject({ code: 'ECONNREFUSED' })
  })
})

describe('what it puts up with', () => {
  test('requests that are none, or ask for what it does not do, are refused and change nothing', async () => {
    const running = await run()
    const key = base64('k')
    const bad: readonly (readonly [string, unknown, number])[] = [
      ['/v3/kv/range', '{bad', 400],
      ['/v3/kv/range', '[]', 400],
      ['/v3/kv/range', {}, 400],
      ['/v3/kv/range', { key: '!!' }, 400],
      ['/v3/kv/range', { key, limit: -1 }, 400],
      ['/v3/kv/range', { key, revision: 'new' }, 400],
      ['/v3/kv/range', { key, revision: '99' }, 400],
      ['/v3/kv/range', { key, sort_order: 'DESCEND' }, 501],
      ['/v3/kv/put', { value: key }, 400],
      ['/v3/kv/put', { key, value: 7 }, 400],
      ['/v3/kv/put', { key, prev_kv: true }, 501],
      ['/v3/kv/put', { key, lease: '77' }, 404],
      ['/v3/kv/txn', { success: [{ request_txn: {} }] }, 501],
      ['/v3/kv/txn', { success: 'all' }, 400],
      ['/v3/kv/txn', { success: [7] }, 400],
      ['/v3/kv/txn', { compare: [{ key, target: 'MOON' }] }, 400],
      ['/v3/kv/txn', { compare: [{ key, range_end: key }] }, 501],
      ['/v3/kv/txn', { success: Array.from({ length: 129 }, () => ({ request_range: { key } })) }, 400],
      ['/v3/kv/compaction', { revision: '99' }, 400],
      ['/v3/lease/grant', { TTL: 'long' }, 400],
      ['/v3/lease/revoke', { ID: '7' }, 404],
      ['/v3/cluster/member/list', {}, 404],
    ]
    for (const [path, body, expected] of bad) {
      const { status, text } = await post(running, path, body)
      expect(status, `${path} ${JSON.stringify(body)}: ${text}`).toBe(expected)
      expect(JSON.parse(text)).toHaveProperty('error')
    }
    expect(value(await running.store.list(PREFIX)).revision).toBe(1n)
  })

  test('a body that is too large is refused before it is read to its end', async () => {
    const running = await run({ maxRequestBytes: 10_000 })
    const head = `POST /v3/kv/put HTTP/1.1\r\nhost: x\r\nauthorization: ${TOKEN}\r\ncontent-length: 100000000\r\n\r\n`
    const socket = await raw(running, head)
    let answer = ''
    socket.setEncoding('utf8').on('data', (text: string) => {
      answer += text
    })
    socket.write('x'.repeat(20_000))
    await once(socket, 'close')
    expect(answer).toContain('400 Bad Request')
    expect(answer).toContain('request is too large')
    await put(running.store, `${PREFIX}a`, '1')
  })

  test('clients that go away in the middle leave nothing behind', async () => {
    const running = await run()
    const body = JSON.stringify({ key: base64(`${PREFIX}half`), value: base64('x'.repeat(1_000)) })
    const head = `POST /v3/kv/put HTTP/1.1\r\nhost: x\r\nauthorization: ${TOKEN}\r\ncontent-length: ${body.length}\r\n\r\n`
    for (const text of ['POST', head.slice(0, 40), head, head + body.slice(0, 500)]) {
      const socket = await raw(running, text)
      await new Promise((resolve) => setTimeout(resolve, 20))
      socket.resetAndDestroy()
    }
    const watching = await raw(running, watchRequest())
    await once(watching, 'data')
    watching.resetAndDestroy()
    await put(running.store, `${PREFIX}a`, '1')
    expect(await texts(running.store, PREFIX)).toEqual(['a=1'])
  })

  test('a watcher that does not read is dropped; the others hear everything', async () => {
    const running = await run({ historyLimits: { commits: 1_000, bytes: 3_000_000 } })
    const lazy = await raw(running, watchRequest())
    await once(lazy, 'data')
    lazy.pause()
    const recorder = new Recorder()
    running.store.watch(PREFIX, 2n, recorder, new AbortController().signal)
    let count = 0
    await until('the lazy watcher’s end', async () => {
      await put(running.store, `${PREFIX}${count++ % 10}`, 'x'.repeat(200_000))
      return running.events.includes('watcher-dropped')
    })
    await until('every event', () => recorder.batches.length === count)
    expect(count).toBeLessThan(200)
    lazy.destroy()
  })
})

function watchRequest(): string {
  const message = `${JSON.stringify({ create_request: { key: base64(PREFIX), range_end: base64(`${PREFIX.slice(0, -1)}0`) } })}\n`
  const head = `POST /v3/watch HTTP/1.1\r\nhost: x\r\nauthorization: ${TOKEN}\r\ntransfer-encoding: chunked\r\n\r\n`
  return `${head}${message.length.toString(16)}\r\n${message}\r\n`
}

describe('time', () => {
  test('a lease runs out on the clock that it is given, and a pause of the process is not held against its holder', async () => {
    let nowMs = 1_000_000
    const running = await run({ nowMs: () => nowMs })
    const { leaseId } = value(await running.store.grantLease(2_000))
    await put(running.store, `${PREFIX}bound`, '', leaseId)
    const left = async (): Promise<unknown> =>
      JSON.parse((await post(running, '/v3/lease/timetolive', { ID: String(leaseId), keys: true })).text)
    /** Longer than the server ever waits between two looks at its leases. */
    const look = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 600))
    expect(await left()).toMatchObject({ TTL: '2', grantedTTL: '2', keys: [base64(`${PREFIX}bound`)] })
    // The whole machine stood still for an hour: nobody could have renewed.
    nowMs += 3_600_000
    await look()
    expect(await left()).toMatchObject({ TTL: '2' })
    nowMs += 900
    await look()
    expect(await left()).toMatchObject({ TTL: '1' })
    expect(value(await running.store.renewLease(leaseId))).toMatchObject({ alive: true, ttlMs: 2_000 })
    for (let step = 0; step < 3; step++) {
      expect(await texts(running.store, PREFIX)).toHaveLength(1)
      nowMs += 900
      await look()
    }
    expect(await texts(running.store, PREFIX)).toEqual([])
    expect(await left()).toMatchObject({ TTL: '-1' })
  })
})

describe('limits', () => {
  test('history is bounded: who comes too late is told so, before and after a restart', async () => {
    const options = { historyLimits: { commits: 5, bytes: 1_000_000 } }
    const first = await run(options)
    const revision = await put(first.store, `${PREFIX}a`, '0')
    for (let index = 1; index < 20; index++) await put(first.store, `${PREFIX}a`, String(index))
    const late = new Recorder()
    first.store.watch(PREFIX, revision, late, new AbortController().signal)
    await until('the gap', () => late.gaps.length === 1)
    await first.server.stop()
    const second = await run({ ...options, directory: first.directory })
    const again = new Recorder()
    const inTime = new Recorder()
    second.store.watch(PREFIX, revision, again, new AbortController().signal)
    second.store.watch(PREFIX, revision + 15n, inTime, new AbortController().signal)
    await until('the gap again', () => again.gaps.length === 1)
    await until('the last five', () => inTime.batches.length === 5)
    expect(inTime.seen(PREFIX)).toEqual(['a=15', 'a=16', 'a=17', 'a=18', 'a=19'])
  })

  test('stopping twice is stopping once, and leaves the directory to the next', async () => {
    const first = await run()
    await put(first.store, `${PREFIX}a`, '1')
    await Promise.all([first.server.stop(), first.server.stop()])
    expect(await first.server.ended).toBeNull()
    expect(await first.store.get(PREFIX)).toMatchObject({ kind: 'unavailable' })
    expect(readdirSync(first.directory)).toHaveLength(2)
    const second = await run({ directory: first.directory })
    expect(await texts(second.store, PREFIX)).toEqual(['a=1'])
    await expect(run({ directory: first.directory })).rejects.toMatchObject({ code: 'already-running' })
  })

  test('many writers share syncs, and each gets a revision of its own', async () => {
    const running = await run()
    const results = await Promise.all(
      Array.from({ length: 200 }, (_, index) => put(running.store, `${PREFIX}${index}`, 'x')),
    )
    expect(new Set(results).size).toBe(200)
    expect(await texts(running.store, PREFIX)).toHaveLength(200)
  })
})
