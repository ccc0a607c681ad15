/**
 * The contract, third part: networks and servers that fail halfway. Whatever they do, every call is answered by its deadline, nothing is
 * taken for an answer that is none, and when they come back everything goes on by itself.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Store, StoreResult } from '../../src/ports/store.ts'
import { ChaosProxy } from '../support/chaos-proxy.ts'
import { type ContractSetup, type Subject, useServer } from './contract.ts'
import { eventually, freshPrefix, put, Recorder, until, value } from './helpers.ts'
import { clientOf } from './servers.ts'

const TIMEOUT_MS = 600
/** What a busy machine may add to a deadline before it is called late. */
const LATE_MS = 1_000
const SILENCE_MS = 600

export function faultsContract(setup: ContractSetup): void {
  describe(`${setup.name}: a network that fails`, () => networkTests(useServer(setup)))
  describe(`${setup.name}: a server that hangs`, () => hangingTests(useServer(setup)))
}

interface Behind {
  readonly proxy: ChaosProxy
  /** A client whose way leads through the proxy. */
  readonly store: Store
  readonly signal: AbortSignal
}

function useProxy(subject: Subject): () => Behind {
  let behind: (Behind & { readonly ended: AbortController }) | null = null
  beforeEach(async () => {
    const proxy = await ChaosProxy.start(subject.server.port)
    const ended = new AbortController()
    const store = clientOf(subject.server, {
      endpoints: [proxy.url],
      requestTimeoutMs: TIMEOUT_MS,
      watchSilenceMs: SILENCE_MS,
    })
    behind = { proxy, store, ended, signal: ended.signal }
  })
  afterEach(async () => {
    behind?.ended.abort()
    behind?.store.close()
    await behind?.proxy.close()
  })
  return () => {
    if (behind === null) throw new Error('no proxy')
    return behind
  }
}

/** Every kind of call, with the time that it took. */
async function callAll(
  store: Store,
  prefix: string,
): Promise<readonly (StoreResult<unknown> & { tookMs: number })[]> {
  const swap = { compare: [], success: [{ op: 'put', key: `${prefix}x`, value: 'x' } as const] }
  const calls = [
    () => store.get(prefix),
    () => store.list(prefix),
    () => store.transact(swap),
    () => store.grantLease(5_000),
    () => store.renewLease(4_711n),
    () => store.revokeLease(4_711n),
  ]
  return Promise.all(
    calls.map(async (call) => {
      const startedAtMs = performance.now()
      const result: StoreResult<unknown> = await call()
      return { ...result, tookMs: performance.now() - startedAtMs }
    }),
  )
}

async function expectUnavailable(store: Store, prefix: string): Promise<void> {
  for (const { kind, tookMs } of await callAll(store, prefix)) {
    expect(kind).toBe('unavailable')
    expect(tookMs).toBeLessThan(TIMEOUT_MS + LATE_MS)
  }
}

async function expectAnswers(store: Store, prefix: string): Promise<void> {
  await eventually(() => store.get(prefix))
  for (const { kind } of await callAll(store, prefix)) expect(kind).toBe('ok')
}

function networkTests(subject: Subject): void {
  const behind = useProxy(subject)

  test('late is not lost: what comes within the deadline is an answer', async () => {
    const { proxy, store } = behind()
    proxy.delay(60)
    const results = await callAll(store, freshPrefix())
    expect(results.map(({ kind }) => kind)).toEqual(results.map(() => 'ok'))
    for (const { tookMs } of results) expect(tookMs).toBeGreaterThanOrEqual(120)
  })

  test('a network that is too slow gives no answers, and none arrives later for somebody else', async () => {
    const { proxy, store } = behind()
    const prefix = freshPrefix()
    proxy.delay(TIMEOUT_MS)
    await expectUnavailable(store, prefix)
    proxy.delay(0)
    await put(store, `${prefix}y`, 'y')
    expect(value(await store.get(`${prefix}y`))?.value).toBe('y')
    expect(value(await store.get(`${prefix}z`))).toBeNull()
  })

  for (const directions of [['up'], ['down'], ['up', 'down']] as const) {
    test(`frozen ${directions.join(' and ')}: calls end by their deadline, and work again after it`, async () => {
      const { proxy, store } = behind()
      const prefix = freshPrefix()
      await expectAnswers(store, prefix)
      proxy.freeze(...directions)
      await expectUnavailable(store, prefix)
      proxy.thaw()
      await expectAnswers(store, prefix)
    })

    test(`frozen ${directions.join(' and ')}: a watch finds out by itself, comes back and has missed nothing`, async () => {
      const { proxy, store, signal } = behind()
      const prefix = freshPrefix()
      const { revision } = value(await store.list(prefix))
      const recorder = new Recorder()
      store.watch(prefix, revision + 1n, recorder, signal)
      await put(subject.store, `${prefix}before`, '1')
      await until('the watch', () => recorder.batches.length === 1)
      const accepted = proxy.accepted
      proxy.freeze(...directions)
      await put(subject.store, `${prefix}while`, '2')
      await until('another connection', () => proxy.accepted > accepted)
      proxy.thaw()
      await until('what was missed', () => recorder.seen(prefix).includes('while=2'))
      expect(new Set(recorder.seen(prefix))).toEqual(new Set(['before=1', 'while=2']))
      expect(recorder.gaps).toEqual([])
    })
  }

  test('quiet is not silence: a watch of which nothing happens keeps its connection', async () => {
    const { proxy, store, signal } = behind()
    const prefix = freshPrefix()
    const recorder = new Recorder()
    const { revision } = value(await store.list(prefix))
    store.watch(prefix, revision + 1n, recorder, signal)
    await put(subject.store, `${prefix}a`, '1')
    await until('the watch', () => recorder.batches.length === 1)
    const accepted = proxy.accepted
    await new Promise((resolve) => setTimeout(resolve, 3 * SILENCE_MS))
    expect(proxy.accepted).toBe(accepted)
  })

  test('a reset ends what was under way at once, and the next call finds a new connection', async () => {
    const { proxy, store } = behind()
    const prefix = freshPrefix()
    await expectAnswers(store, prefix)
    proxy.freeze('down')
    const write = put(store, `${prefix}x`, 'x').catch((error: unknown) => String(error))
    const startedAtMs = performance.now()
    await until('the write under way', async () => (await subject.store.get(`${prefix}x`)).kind === 'ok')
    proxy.reset()
    expect(await write).toMatch(/unavailable/)
    expect(performance.now() - startedAtMs).toBeLessThan(TIMEOUT_MS + LATE_MS)
    proxy.thaw()
    await expectAnswers(store, prefix)
  })

  test('connections that were closed while nobody used them cost a read nothing', async () => {
    const { proxy, store } = behind()
    const prefix = freshPrefix()
    await expectAnswers(store, prefix)
    proxy.reset()
    expect((await store.get(prefix)).kind).toBe('ok')
    await expectAnswers(store, prefix)
    proxy.halfClose()
    expect((await store.get(prefix)).kind).toBe('ok')
    await expectAnswers(store, prefix)
  })

  for (const [name, bytes] of GARBAGE) {
    test(`${name} is no answer`, async () => {
      const { proxy, store } = behind()
      const prefix = freshPrefix()
      proxy.garbage(bytes)
      await expectUnavailable(store, prefix)
      proxy.garbage(null)
      await expectAnswers(store, prefix)
    })
  }
}

const GARBAGE: readonly (readonly [string, string | Buffer])[] = [
  ['a greeting of another protocol', 'SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n'],
  ['an HTML page', 'HTTP/1.1 200 OK\r\ncontent-length: 27\r\n\r\n<html>Welcome, guest</html>'],
  ['JSON that is cut off', 'HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{"header":{"revision'],
  ['an answer that never ends', 'HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n{"header":{'],
  ['bytes without meaning', Buffer.from(Array.from({ length: 512 }, (_, index) => (index * 197) % 256))],
]

function hangingTests(subject: Subject): void {
  test('a server that is stopped (SIGSTOP) and goes on', async () => {
    const prefix = freshPrefix()
    const store = clientOf(subject.server, { requestTimeoutMs: TIMEOUT_MS, watchSilenceMs: SILENCE_MS })
    const recorder = new Recorder()
    const ended = new AbortController()
    const before = value(await store.list(prefix))
    store.watch(prefix, before.revision + 1n, recorder, ended.signal)
    await put(store, `${prefix}before`, '1')
    await until('the watch', () => recorder.batches.length === 1)
    subject.server.freeze()
    await expectUnavailable(store, prefix)
    await new Promise((resolve) => setTimeout(resolve, SILENCE_MS))
    await expectUnavailable(store, prefix)
    subject.server.thaw()
    await expectAnswers(store, prefix)
    await put(store, `${prefix}after`, '2')
    await until('the watch again', () => recorder.seen(prefix).includes('after=2'))
    expect(recorder.gaps).toEqual([])
    ended.abort()
    store.close()
  })

  test('a server that hangs does not make the client busy', async () => {
    const prefix = freshPrefix()
    const proxy = await ChaosProxy.start(subject.server.port)
    const ended = new AbortController()
    const store = clientOf(subject.server, {
      endpoints: [proxy.url],
      requestTimeoutMs: 100,
      watchSilenceMs: 150,
    })
    store.watch(prefix, 0n, new Recorder(), ended.signal)
    await until('the watch', () => proxy.accepted > 0)
    proxy.freeze('up', 'down')
    const cpu = process.cpuUsage()
    const accepted = proxy.accepted
    await new Promise((resolve) => setTimeout(resolve, 2_000))
    // Pauses of 50, 100, 200, … ms between attempts of 100 ms: a handful, not hundreds.
    expect(proxy.accepted - accepted).toBeLessThan(10)
    const { user, system } = process.cpuUsage(cpu)
    expect((user + system) / 1_000).toBeLessThan(200)
    ended.abort()
    store.close()
    await proxy.close()
  })
}
