/** Proxies before a planned change of primary: they let nothing begin there, what is under way ends, and nothing is held for longer than it must. */
import { afterEach, describe, expect, it } from 'vitest'
import { keepSchedule, requestSwitchover } from '../../src/agent/controls/switchover.ts'
import { Drain } from '../../src/proxy/drain.ts'
import { Presence } from '../../src/proxy/presence.ts'
import { routeOf, StoreRouting } from '../../src/proxy/store-routing.ts'
import { agentParts, factsOf, type Parts } from '../support/agent-parts.ts'
import { MEMBERS, primacy, storeFacts } from '../support/views.ts'

const ends: (() => Promise<void> | void)[] = []
afterEach(async () => {
  for (const end of ends.splice(0)) await end()
})

interface TestProxy {
  readonly routing: StoreRouting
  underWay: number
}

async function proxyOf({ store, clock }: Parts, name = 'p'): Promise<TestProxy> {
  const log = { info: () => {}, warn: () => {}, error: () => {} }
  const routing = new StoreRouting({ store, members: MEMBERS, log, clock })
  const proxy: TestProxy = { routing, underWay: 0 }
  const presence = new Presence({ name, store })
  const drain = new Drain({
    ...{ routing, underWay: () => proxy.underWay },
    onDrained: (hold) => void presence.drained(hold),
  })
  routing.start()
  presence.start()
  ends.push(
    () => presence.stop(),
    () => drain.stop(),
    () => routing.stop(),
  )
  await until(() => routing.current.kind === 'open')
  await until(async () => (await proxies(store)).includes(name))
  return proxy
}

async function proxies(store: Parts['store']): Promise<readonly string[]> {
  const read = await store.readProxies()
  return read.kind === 'ok' ? read.value.map((each) => each.name) : []
}

async function until(look: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 10_000
  while (!(await look())) {
    if (performance.now() > deadline) throw new Error('waited in vain')
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

describe('before a switchover', () => {
  it('nothing begins any more, and the request is written when what was under way has ended', async () => {
    const parts = await agentParts()
    const [busy, idle] = [await proxyOf(parts, 'busy'), await proxyOf(parts, 'idle')]
    busy.underWay = 1
    const answer = requestSwitchover(parts.context, { to: 'bravo' })
    await until(() => [busy, idle].every(({ routing }) => routing.current.kind === 'held'))
    expect(busy.routing.current).toMatchObject({
      epoch: 1,
      reason: 'a switchover to bravo is about to begin',
    })
    expect((await factsOf(parts)).switchover).toBeNull()
    busy.underWay = 0
    expect(await answer).toMatchObject({ kind: 'ok', value: { accepted: true } })
    expect((await factsOf(parts)).switchover?.value.to).toBe('bravo')
    expect(parts.kinds()).toEqual(['proxies-held', 'switchover-requested'])
    // The election is another epoch: the hold has done what it was for, and is taken back.
    const { primacy: now } = await factsOf(parts)
    await parts.store.writePrimacy(primacy({ epoch: 2, primary: 'bravo' }), now?.revision ?? 0n)
    await until(() => busy.routing.current.kind === 'open' && busy.routing.current.primary.name === 'bravo')
    await until(async () => (await parts.store.readHold()).kind === 'ok' && (await holdOf(parts)) === null)
  })

  it('a scheduled one, too', async () => {
    const parts = await agentParts()
    const proxy = await proxyOf(parts)
    await requestSwitchover(parts.context, { to: 'bravo', at: '2026-01-01T00:00:10Z' })
    expect(proxy.routing.current.kind).toBe('open')
    parts.looks({ store: storeFacts(await factsOf(parts)) })
    parts.clock.ms = 10_000
    await keepSchedule(parts.context)
    expect(parts.kinds()).toContain('proxies-held')
    expect((await factsOf(parts)).switchover?.value.session).toBe('session-of-alpha')
  })

  it('what does not end is not waited for, and is named', async () => {
    const parts = await agentParts()
    const proxy = await proxyOf(parts, 'stuck')
    proxy.underWay = 1
    const answer = requestSwitchover(parts.context, { to: 'bravo' })
    await until(() => proxy.routing.current.kind === 'held')
    parts.clock.ms = 3_000
    expect(await answer).toMatchObject({ kind: 'ok', value: { accepted: true } })
    expect(parts.events.after(0)[0]).toMatchObject({ kind: 'proxies-held', details: { left: 1 } })
    proxy.underWay = 0
  })

  it('when it is refused after all, the proxies go on at once', async () => {
    const parts = await agentParts()
    const proxy = await proxyOf(parts)
    const other = { to: 'charlie', epoch: 1, session: 's', at: null, by: 'bob', requestedAt: 'then' }
    proxy.underWay = 1
    const answer = requestSwitchover(parts.context, { to: 'bravo' })
    await until(() => proxy.routing.current.kind === 'held')
    const { primacy: now } = await factsOf(parts)
    await parts.store.requestSwitchover(other, { primacy: now?.revision ?? 0n, request: null })
    proxy.underWay = 0
    expect(await answer).toMatchObject({ value: { accepted: false, refusal: { code: 'request-running' } } })
    expect(await holdOf(parts)).toBeNull()
    await until(() => proxy.routing.current.kind === 'open')
  })
})

describe('a hold', () => {
  it('that nobody takes back ends by itself, and one of another epoch is none', async () => {
    const parts = await agentParts()
    const { routing } = await proxyOf(parts)
    await parts.store.putHold({ id: 'left', epoch: 1, reason: 'left behind' }, 99n)
    await until(() => routing.current.kind === 'held')
    // The store cannot say so any more, either.
    parts.memory.down = true
    parts.clock.ms = 6_000
    await until(() => routing.current.kind === 'open')
    const facts = { identity: null, primacy: { value: primacy(), revision: 1n } }
    expect(routeOf(facts, MEMBERS, { id: 'x', epoch: 0, reason: '' })).toMatchObject({ kind: 'open' })
    expect(routeOf(facts, MEMBERS, { id: 'x', epoch: 1, reason: '' })).toMatchObject({
      kind: 'held',
      hold: 'x',
    })
  })
})

async function holdOf({ store }: Parts): Promise<unknown> {
  const read = await store.readHold()
  return read.kind === 'ok' ? read.value : 'unavailable'
}
