/**
 * Before a planned change of primary the proxies let nothing begin there, and what is under way ends: then nobody is interrupted. It is for
 * latency and for nothing else. A proxy that does not answer, a transaction that does not end, a store that takes no document: none of
 * them is a reason not to go on.
 */
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Hold, ProxyReport } from '../../ports/cluster-store.ts'
import type { ControlContext } from './context.ts'

/** Longer transactions are interrupted: everybody else waits meanwhile. */
const DRAIN_AT_MOST_MS = 2_000
/** Of the document, should this agent end before it takes it back. Above the former, and what follows until the election. */
const TTL_MS = 5_000
const LOOK_EVERY_MS = 100

/** `begin` gives whether the change has begun; if not the proxies go on at once. */
export async function withProxiesHeld<T>(
  context: ControlContext,
  { epoch, reason }: Pick<Hold, 'epoch' | 'reason'>,
  begin: () => Promise<{ readonly begun: boolean; readonly value: T }>,
): Promise<T> {
  const release = await holdProxies(context, { id: randomBytes(8).toString('hex'), epoch, reason })
  const { begun, value } = await begin()
  if (release === null) return value
  if (!begun) await release()
  // Its own election ends a hold: it is of an older epoch then. The request may still come to nothing.
  else void releaseWhenOver(context, epoch, release)
  return value
}

/** Gives what takes it back; null: there is no proxy to be held. */
async function holdProxies(context: ControlContext, hold: Hold): Promise<(() => Promise<void>) | null> {
  const { store } = context
  const proxies = await store.readProxies()
  if (proxies.kind !== 'ok' || proxies.value.length === 0) return null
  const lease = await store.grantLease(TTL_MS)
  if (lease.kind !== 'ok') return null
  const { leaseId } = lease.value
  const put = await store.putHold(hold, leaseId)
  if (put.kind === 'ok') await waitUntilDrained(context, hold, proxies.value.length)
  return async () => {
    await store.revokeLease(leaseId)
  }
}

async function waitUntilDrained(context: ControlContext, hold: Hold, proxies: number): Promise<void> {
  const { clock } = context
  const beganAtMs = clock.nowMs()
  let left: readonly ProxyReport[] = []
  const ended = new AbortController()
  let wake = new AbortController()
  context.store.watch((what) => {
    if (what === 'gap' || what.startsWith('proxies/')) wake.abort()
  }, ended.signal)
  try {
    do {
      wake = new AbortController()
      const read = await context.store.readProxies()
      if (read.kind !== 'ok') return
      left = read.value.filter(({ drained }) => drained !== hold.id)
      if (left.length === 0) break
      await sleep(LOOK_EVERY_MS, undefined, { signal: wake.signal }).catch(() => {})
    } while (clock.nowMs() - beganAtMs < DRAIN_AT_MOST_MS)
  } finally {
    ended.abort()
  }
  const ms = Math.round(clock.nowMs() - beganAtMs)
  const many = proxies === 1 ? 'the proxy lets' : `${proxies} proxies let`
  context.events.add({
    kind: 'proxies-held',
    message:
      left.length === 0
        ? `${many} nothing begin, and what was under way has ended after ${ms} ms`
        : `${many} nothing begin; after ${ms} ms something is still under way at ${left.map(({ name }) => name).join(', ')}, and is interrupted`,
    epoch: hold.epoch,
    details: { ms, left: left.length },
  })
}

/** The document ends by its lease in any case. */
async function releaseWhenOver(
  context: ControlContext,
  epoch: number,
  release: () => Promise<void>,
): Promise<void> {
  const untilMs = context.clock.nowMs() + TTL_MS
  while (context.clock.nowMs() < untilMs) {
    const facts = await context.store.readFacts()
    const over =
      facts.kind === 'ok' && (facts.value.primacy?.value.epoch !== epoch || facts.value.switchover === null)
    if (over) break
    await sleep(LOOK_EVERY_MS)
  }
  await release()
}
