/** What the tests of the store share: waiting for events, taking results apart, recording a watch. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Store, StoreResult, WatchEvent, WatchListener } from '../../src/ports/store.ts'

/** Waits until it is so; fails with the description when it never is. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  timeoutMs = 15_000,
): Promise<void> {
  const deadlineMs = performance.now() + timeoutMs
  while (!(await condition())) {
    if (performance.now() > deadlineMs) throw new Error(`waited ${timeoutMs} ms in vain: ${what}`)
    await sleep(5)
  }
}

/** The value of a result that must be one. */
export function value<T>(result: StoreResult<T>): T {
  if (result.kind !== 'ok') throw new Error(`expected a value, got ${result.kind}: ${result.reason}`)
  return result.value
}

/** Repeats what may be unavailable while a server starts. */
export async function eventually<T>(call: () => Promise<StoreResult<T>>): Promise<T> {
  let last: StoreResult<T> | null = null
  await until('the store answers', async () => {
    last = await call()
    return last.kind === 'ok'
  })
  return value(last ?? { kind: 'unavailable', reason: 'never asked' })
}

export async function put(store: Store, key: string, text: string, leaseId?: bigint): Promise<bigint> {
  const lease = leaseId === undefined ? {} : { leaseId }
  const result = await store.transact({ compare: [], success: [{ op: 'put', key, value: text, ...lease }] })
  return value(result).revision
}

export async function texts(store: Store, prefix: string): Promise<readonly string[]> {
  return value(await store.list(prefix)).entries.map(
    (entry) => `${entry.key.slice(prefix.length)}=${entry.value}`,
  )
}

let prefixes = 0

/** A part of the store that no other test touches. */
export function freshPrefix(): string {
  prefixes++
  return `/understudy/test-${process.pid}-${prefixes}/`
}

/** Listens to a watch and keeps everything. */
export class Recorder implements WatchListener {
  readonly batches: (readonly WatchEvent[])[] = []
  readonly gaps: string[] = []

  onEvents(events: readonly WatchEvent[]): void {
    this.batches.push(events)
  }

  onGap(reason: string): void {
    this.gaps.push(reason)
  }

  /** `key=value`, or `key` alone for a delete. */
  seen(prefix: string): readonly string[] {
    return this.batches
      .flat()
      .map(({ key, value: text }) => key.slice(prefix.length) + (text === null ? '' : `=${text}`))
  }
}

/** Posts to the API without the client. */
export async function post(
  server: { readonly url: string; readonly credentials: unknown },
  path: string,
  body: unknown,
): Promise<{ readonly status: number; readonly text: string }> {
  const credentials = server.credentials as { readonly token?: string }
  const headers = credentials.token === undefined ? {} : { authorization: credentials.token }
  const response = await fetch(server.url + path, {
    method: 'POST',
    body: typeof body === 'string' ? body : JSON.stringify(body),
    headers,
    signal: AbortSignal.timeout(10_000),
  })
  return { status: response.status, text: await response.text() }
}

/** A small generator of random numbers with a seed (mulberry32), so that a failing run can be repeated. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

/** The seed of this run: from UNDERSTUDY_SEED when it is set, printed in any case. */
export function chooseSeed(what: string): number {
  const seed = Number(process.env['UNDERSTUDY_SEED'] ?? Math.floor(Math.random() * 1e9))
  console.log(`${what}: UNDERSTUDY_SEED=${seed}`)
  return seed
}
