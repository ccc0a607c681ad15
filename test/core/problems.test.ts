/** What a person is told of: each problem with its code, about whom it is, and how grave. */
import { describe, expect, it } from 'vitest'
import type { Failure } from '../../src/core/cluster-view.ts'
import { EMPTY_MEMORY } from '../../src/core/decision.ts'
import type { SlotFacts } from '../../src/core/facts.ts'
import { findProblems } from '../../src/core/problems.ts'
import {
  behind,
  EMPTY_STORE,
  IDENTITY,
  primaryServer,
  rule,
  standbyServer,
  storeFacts,
  storeWith,
  type ViewChanges,
  view,
  walsender,
} from '../support/views.ts'

function found(changes: ViewChanges = {}): readonly string[] {
  return findProblems(view(changes), EMPTY_MEMORY).map(
    ({ severity, code, node }) => `${severity} ${code} ${node ?? 'cluster'}`,
  )
}

function slot(name: string, changes: Partial<SlotFacts>): SlotFacts {
  const [first] = primaryServer().slots
  if (first === undefined) throw new Error('the views have no slot')
  return { ...first, name, ...changes }
}

it('nothing, where everything is as it shall be', () => {
  for (const self of ['alpha', 'bravo']) expect(found({ self })).toEqual([])
})

describe('of the store', () => {
  it('does not answer, forgot, was restored from an old copy, or is another cluster’s', () => {
    expect(found({ store: 'unreachable' })).toEqual(['error store-unreachable alpha'])
    expect(found({ store: EMPTY_STORE })).toEqual(['error store-empty alpha'])
    expect(found({ local: { promisedEpoch: 9 } })).toEqual(['error store-stale alpha'])
    const other = storeFacts({ identity: { ...IDENTITY, systemIdentifier: '1' } })
    expect(found({ store: other })).toEqual(['error system-identifier alpha'])
    expect(found({ store: storeFacts({ identity: { ...IDENTITY, major: 15 } }) })).toEqual([
      'error wrong-major alpha',
    ])
  })
})

describe('of the node', () => {
  const failure: Failure = { code: 'clone-failed', reason: 'it broke', hint: 'Look.', atMs: 0, count: 1 }

  it('its directory, a postmaster that is not ours, work that failed', () => {
    const unusable = {
      kind: 'unusable',
      code: 'no-permission',
      reason: 'it belongs to somebody else',
    } as const
    expect(found({ local: { directory: unusable } })).toEqual(['error no-permission alpha'])
    const foreign = { kind: 'foreign', pid: 5, reason: 'somebody else started it' } as const
    expect(found({ self: 'bravo', local: { postmaster: foreign } })).toEqual([
      'error foreign-postmaster bravo',
    ])
    const failures = new Map([['clone', failure] as const])
    expect(findProblems(view({ self: 'bravo', local: { failures } }), EMPTY_MEMORY)).toMatchObject([
      { code: 'clone-failed', message: 'cloning failed: it broke', hint: 'Look.' },
    ])
  })

  it('a proof that failed is no problem of its own: the rule is tried again or put back', () => {
    expect(found({ local: { failures: new Map([['prove', failure] as const]) } })).toEqual([])
  })

  it('settings that wait for a restart', () => {
    const server = primaryServer({ pendingRestart: ['max_connections', 'shared_buffers'] })
    const [problem] = findProblems(view({ local: { server } }), EMPTY_MEMORY)
    expect(problem).toMatchObject({ code: 'pending-restart', severity: 'warning', node: 'alpha' })
    expect(problem?.message).toContain('max_connections, shared_buffers')
  })

  it('replay that somebody has paused', () => {
    const server = standbyServer('bravo', { replayPaused: true })
    expect(found({ self: 'bravo', local: { server } })).toEqual(['warning replay-paused bravo'])
  })
})

describe('of slots', () => {
  const withSlots = (...slots: readonly SlotFacts[]): ViewChanges => ({
    local: { server: primaryServer({ slots }) },
  })

  it('WAL that is gone: ours is mended by itself, another is to be dropped by hand', () => {
    const lost = { walStatus: 'lost', active: false } as const
    const [ours] = findProblems(view(withSlots(slot('understudy_bravo', lost))), EMPTY_MEMORY)
    expect(ours).toMatchObject({ code: 'slot-lost', severity: 'warning', hint: 'It is made anew by itself.' })
    const [other] = findProblems(view(withSlots(slot('reports', lost))), EMPTY_MEMORY)
    expect(other?.hint).toContain("pg_drop_replication_slot('reports')")
  })

  it('WAL that is kept for nobody, once it is more than PostgreSQL keeps anyhow', () => {
    for (const walStatus of ['extended', 'unreserved'] as const) {
      expect(found(withSlots(slot('reports', { walStatus, active: false })))).toEqual([
        'warning slot-keeps-wal alpha',
      ])
      expect(found(withSlots(slot('reports', { walStatus, active: true })))).toEqual([])
    }
    expect(found(withSlots(slot('reports', { walStatus: 'reserved', active: false })))).toEqual([])
  })
})

describe('of the primary', () => {
  const withStandbys = (...walsenders: ReturnType<typeof walsender>[]): ViewChanges => ({
    local: { server: primaryServer({ walsenders }) },
  })

  it('who does not stream, and when commits wait for it', () => {
    expect(found(withStandbys(walsender('bravo')))).toEqual(['warning not-streaming charlie'])
    expect(found(withStandbys())).toEqual([
      'warning not-streaming bravo',
      'warning not-streaming charlie',
      'error quorum-missing cluster',
    ])
  })

  it('who is far behind with its replay', () => {
    expect(
      found(withStandbys(walsender('bravo', { replayLsn: behind(17_000_000n) }), walsender('charlie'))),
    ).toEqual(['warning lagging bravo'])
    expect(
      found(withStandbys(walsender('bravo', { replayLsn: behind(16_000_000n) }), walsender('charlie'))),
    ).toEqual([])
  })

  it('commits that wait for nobody although they should', () => {
    const store = storeWith({ rules: [rule(0, [])] })
    expect(found({ store })).toEqual(['warning no-quorum-yet cluster'])
    expect(found({ store, durability: 'async' })).toEqual([])
  })
})

it('a slot that nobody uses and that keeps dead rows from being cleaned up', () => {
  const [first, ...rest] = primaryServer().slots.map((each) => ({ ...each, holdsXmin: true }))
  if (first === undefined) throw new Error('the views have no slot')
  expect(found({ local: { server: primaryServer({ slots: [first, ...rest] }) } })).toEqual([])
  const idle = primaryServer({ slots: [{ ...first, active: false }, ...rest] })
  expect(found({ local: { server: idle } })).toContain('warning slot-holds-xmin alpha')
})
