/** Whether a load balancer may send clients to a node: no to writes when it is not sure, no to reads that would be wrong or grow old. */
import { describe, expect, it } from 'vitest'
import type { StoreView } from '../../src/core/cluster-view.ts'
import { healthOf } from '../../src/core/health.ts'
import {
  primaryServer,
  report,
  rule,
  standbyServer,
  storeFacts,
  storeWith,
  type ViewChanges,
  view,
  walsender,
} from '../support/views.ts'

const writes = (changes: ViewChanges = {}): boolean => healthOf(view(changes), 0).primary

function withoutStore(changes: ViewChanges = {}, last = storeFacts()): boolean {
  const store: StoreView = { kind: 'unreachable', reason: 'it is down', sinceMs: 0, last }
  return healthOf({ ...view(changes), store }, 0).primary
}

describe('writes', () => {
  it('go to the primary of the steady epoch and to nobody else', () => {
    expect(writes()).toBe(true)
    expect(writes({ store: storeWith({ epoch: 2, primary: 'bravo' }) })).toBe(false)
    expect(writes({ store: storeWith({ epoch: 2, phase: 'electing' }) })).toBe(false)
    expect(writes({ store: storeWith({ epoch: 2, phase: 'promoting' }) })).toBe(false)
    expect(writes({ local: { promisedEpoch: 2 } })).toBe(false)
    expect(writes({ local: { server: null } })).toBe(false)
    expect(writes({ local: { server: standbyServer('alpha') } })).toBe(false)
    expect(writes({ self: 'bravo' })).toBe(false)
  })

  it('go on without the store as long as a quorum streams: nobody else can have been elected', () => {
    expect(withoutStore()).toBe(true)
    const cut = primaryServer({ walsenders: [] })
    expect(withoutStore({ local: { server: cut } })).toBe(false)
    expect(withoutStore({ local: { server: primaryServer({ walsenders: [walsender('charlie')] }) } })).toBe(
      true,
    )
  })

  it('where they wait for nobody, go on without the store as long as the lease is held (I10)', () => {
    const last = storeWith({ rules: [rule(0, [])] })
    expect(withoutStore({}, last)).toBe(false)
    expect(withoutStore({ local: { primaryLeaseUntilMs: view().now + 60_000 } }, last)).toBe(true)
    expect(withoutStore({ local: { primaryLeaseUntilMs: view().now } }, last)).toBe(false)
  })
})

describe('reads', () => {
  const reads = (changes: ViewChanges = {}, notStreamingMs = 0) =>
    healthOf(view({ self: 'bravo', ...changes }), notStreamingMs)
  const silent = { server: standbyServer('bravo', { walreceiver: null }) }

  it('go to a standby that has followed the primary of this epoch', () => {
    expect(reads({ local: { followedEpoch: 1 } })).toMatchObject({
      standby: true,
      streaming: true,
      acknowledges: 'quorum',
    })
    // Fenced, or a former primary that looks for the end of its WAL: it may have what nobody else has (I8).
    const elsewhere = storeWith({
      epoch: 2,
      primary: 'charlie',
      rules: [{ ...rule(1, ['alpha'], 'charlie'), epoch: 2 }],
    })
    expect(reads({ store: elsewhere, local: { followedEpoch: 1 } }).standby).toBe(false)
  })

  it('go on while a primary is being replaced, from those that followed the last one', () => {
    for (const phase of ['electing', 'promoting'] as const) {
      const store = storeWith({ epoch: 2, phase, primary: 'charlie' })
      expect(reads({ store, local: { followedEpoch: 1 } }).standby).toBe(true)
      expect(reads({ store, local: { followedEpoch: 0 } }).standby).toBe(false)
    }
  })

  it('end where a standby gets nothing for long although the primary runs, and go on where there is none', () => {
    const local = { ...silent, followedEpoch: 1 }
    expect(reads({ local }, 9_000).standby).toBe(true)
    expect(reads({ local }, 11_000).standby).toBe(false)
    const lost = storeFacts({ nodes: new Map([['bravo', report('bravo')]]) })
    expect(reads({ local, store: lost }, 3_600_000).standby).toBe(true)
  })

  it('tell how far behind they are only while it streams', () => {
    const ahead = storeFacts({ nodes: new Map([['alpha', report('alpha', { flushLsn: '0/5000100' })]]) })
    expect(reads({ store: ahead, local: { followedEpoch: 1 } }).lagBytes).toEqual({
      received: 256,
      replayed: 256,
    })
    expect(reads({ local: { ...silent, followedEpoch: 1 } }).lagBytes).toEqual({
      received: null,
      replayed: null,
    })
  })

  it('know who acknowledges: all of them, some of them, nobody', () => {
    const of = (acks: number, standbys: readonly string[]) =>
      reads({ store: storeWith({ rules: [rule(acks, standbys)] }), local: { followedEpoch: 1 } }).acknowledges
    expect(of(2, ['bravo', 'charlie'])).toBe('sync')
    expect(of(1, ['bravo', 'charlie'])).toBe('quorum')
    expect(of(1, ['charlie'])).toBe('async')
    expect(of(0, [])).toBe('async')
  })
})
