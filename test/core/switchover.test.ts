/** What an operator may ask of the primary: the preflight of a switchover, requests that are void, and `reinit` of a standby. */

import { describe, expect, it } from 'vitest'
import { refusalOf } from '../../src/core/check.ts'
import type { NodeReport, SwitchoverRequest } from '../../src/core/cluster-view.ts'
import { reinitChecks } from '../../src/core/reinit-checks.ts'
import { bestCandidate, switchoverChecks } from '../../src/core/switchover-checks.ts'
import { voteOf } from '../../src/core/vote.ts'
import { decideOn } from '../support/decisions.ts'
import {
  behind,
  MEMBERS,
  primaryServer,
  report,
  rule,
  standbyServer,
  storeFacts,
  storeWith,
  switchoverTo,
  type ViewChanges,
  view,
  walsender,
} from '../support/views.ts'

const PAUSED = { reason: 'an upgrade', by: 'ann@desk', at: '2026-01-01T00:00:00Z' }

function reports(changes: Readonly<Record<string, Partial<NodeReport>>>): ReadonlyMap<string, NodeReport> {
  return new Map(MEMBERS.map(({ name }) => [name, report(name, changes[name] ?? {})]))
}

describe('the preflight of a switchover', () => {
  const codeOf = (changes: ViewChanges, to = 'bravo') => refusalOf(switchoverChecks(view(changes), to))?.code
  const withWalsender = (changes: Parameters<typeof walsender>[1]) => ({
    local: { server: primaryServer({ walsenders: [walsender('bravo', changes), walsender('charlie')] }) },
  })

  it('says of each look what came of it', () => {
    const checks = switchoverChecks(view(), 'bravo')
    expect(checks.map(({ check, result }) => `${check} ${result}`)).toEqual([
      'primary ok',
      'not-paused ok',
      'candidate ok',
      'streaming ok',
      'replaying ok',
      'lag ok',
      'quorum ok',
      'acknowledgements ok',
    ])
  })

  it('refuses with a code for each thing that is in the way', () => {
    expect(codeOf({ store: 'unreachable' })).toBe('store-unreachable')
    expect(codeOf({ store: storeWith({ phase: 'electing' }) })).toBe('election-running')
    expect(codeOf({ self: 'charlie' })).toBe('not-primary')
    expect(codeOf({ local: { server: null } })).toBe('not-primary')
    expect(codeOf({ store: storeFacts({ paused: PAUSED }) })).toBe('failover-paused')
    expect(codeOf({}, 'alpha')).toBe('already-primary')
    expect(codeOf({}, 'zulu')).toBe('unknown-node')
    expect(codeOf({ store: storeFacts({ nodes: new Map() }) })).toBe('not-streaming')
    expect(codeOf(withWalsender({ state: 'catchup' }))).toBe('not-streaming')
    expect(codeOf({ store: storeFacts({ nodes: reports({ bravo: { priority: 0 } }) }) })).toBe('not-eligible')
    expect(codeOf({ store: storeFacts({ nodes: reports({ bravo: { replayPaused: true } }) }) })).toBe(
      'replay-paused',
    )
    expect(codeOf(withWalsender({ replayLsn: behind(17_000_000n) }))).toBe('lagging')
    expect(codeOf(withWalsender({ replayLsn: null }))).toBe('lagging')
    expect(codeOf({})).toBeUndefined()
  })

  it('waits for a change of the quorum instead of refusing', () => {
    const store = storeWith({ nextRule: rule(1, ['bravo']) })
    const checks = switchoverChecks(view({ store }), 'bravo')
    expect(refusalOf(checks)).toBeNull()
    expect(checks.find(({ check }) => check === 'quorum')?.result).toBe('waits')
  })

  it('warns when nobody else could acknowledge the commits of the new primary', () => {
    const server = primaryServer({ walsenders: [walsender('bravo')] })
    const checks = switchoverChecks(view({ local: { server } }), 'bravo')
    expect(refusalOf(checks)).toBeNull()
    expect(checks.at(-1)).toMatchObject({ check: 'acknowledgements', result: 'warning' })
  })

  it('takes the one that has replayed most when none is named, then the higher priority', () => {
    const server = primaryServer({
      walsenders: [walsender('bravo', { replayLsn: behind(8n) }), walsender('charlie')],
    })
    expect(bestCandidate(view({ local: { server } }))).toBe('charlie')
    const nodes = reports({ charlie: { priority: 200 } })
    expect(bestCandidate(view({ store: storeFacts({ nodes }) }))).toBe('charlie')
    expect(bestCandidate(view())).toBe('bravo')
    expect(bestCandidate(view({ store: storeFacts({ paused: PAUSED }) }))).toBeNull()
  })
})

describe('a request for a switchover', () => {
  const asked = (changes: Partial<SwitchoverRequest>) => {
    const { value, revision } = switchoverTo('bravo')
    return { value: { ...value, ...changes }, revision }
  }

  it('of another epoch, or of an agent that was restarted, is void', () => {
    for (const changes of [{ epoch: 0 }, { session: 'an older one' }]) {
      const decision = decideOn({ store: storeFacts({ switchover: asked(changes) }) })
      expect(decision).toMatchObject({
        rule: 'switchover',
        actions: [{ kind: 'dropRequest', request: 'switchover', done: false }],
      })
    }
  })

  it('that is scheduled is left alone, and goes away with its epoch', () => {
    const at = '2030-01-01T00:00:00Z'
    const scheduled = (epoch: number) => storeFacts({ switchover: asked({ session: null, at, epoch }) })
    expect(decideOn({ store: scheduled(1) }).rule).toBe('keep-running')
    expect(decideOn({ store: scheduled(0) }).kinds).toEqual(['dropRequest'])
  })

  it('waits while the rule of the quorum is being changed', () => {
    const store = storeWith({ nextRule: rule(1, ['bravo']) }, { switchover: asked({}) })
    expect(decideOn({ store }).rule).toBe('quorum-change')
  })

  it('is refused while failover is paused', () => {
    const store = storeFacts({ switchover: asked({}), paused: PAUSED })
    expect(decideOn({ store })).toMatchObject({ kinds: ['dropRequest'] })
  })
})

describe('reinit', () => {
  const codeOf = (changes: ViewChanges) => refusalOf(reinitChecks(view({ self: 'bravo', ...changes })))?.code

  it('is refused for the primary, and while there is nothing to clone from', () => {
    expect(codeOf({ self: 'alpha' })).toBe('already-primary')
    expect(codeOf({ store: 'unreachable' })).toBe('store-unreachable')
    expect(codeOf({ store: storeWith({ phase: 'promoting', primary: 'charlie' }) })).toBe('election-running')
    expect(codeOf({ store: storeFacts({ nodes: reports({ alpha: { state: 'stopped' } }) }) })).toBe(
      'no-primary',
    )
    expect(codeOf({ local: { tasks: new Set(['rewind']) } })).toBe('request-running')
    expect(codeOf({})).toBeUndefined()
  })

  it('is refused for the last standby that acknowledges, and not for one that does so no more', () => {
    const store = storeFacts({ nodes: reports({ charlie: { state: 'stopped' } }) })
    expect(codeOf({ store })).toBe('last-standby')
    const broken = { server: standbyServer('bravo', { walreceiver: null }) }
    expect(codeOf({ store, local: broken })).toBeUndefined()
    const nobody = storeWith({ rules: [rule(0, [])] }, { nodes: reports({ charlie: { state: 'stopped' } }) })
    expect(codeOf({ store: nobody })).toBeUndefined()
  })

  it('clones while the old directory is in place, and looks again right before', () => {
    expect(decideOn({ self: 'bravo', local: { reinitAsked: true } })).toMatchObject({
      rule: 'reinit',
      kinds: ['promise', 'clone'],
    })
    const store = storeFacts({ nodes: reports({ charlie: { state: 'stopped' } }) })
    expect(decideOn({ self: 'bravo', store, local: { reinitAsked: true } }).kinds).toEqual(['dropReinit'])
    expect(decideOn({ local: { reinitAsked: true } }).kinds).toEqual(['dropReinit'])
  })

  it('is the way out of a directory that cannot be used, and of no other way is anything done to it', () => {
    const directory = { kind: 'unusable', code: 'data-damaged', reason: 'pg_control is damaged' } as const
    const local = { directory, postmaster: { kind: 'stopped' }, server: null } as const
    expect(decideOn({ self: 'bravo', local: { ...local, reinitAsked: true } })).toMatchObject({
      rule: 'reinit',
      kinds: ['promise', 'clone'],
    })
    expect(decideOn({ self: 'bravo', local })).toMatchObject({ rule: 'directory-unusable', kinds: [] })
  })

  it('gives way to an election', () => {
    const store = storeWith({ epoch: 2, phase: 'electing' })
    const local = { reinitAsked: true, tasks: new Set(['clone'] as const) }
    expect(decideOn({ self: 'bravo', store, local })).toMatchObject({
      rule: 'election',
      kinds: ['promise', 'abort'],
    })
  })
})

describe('what a node says that it could vote', () => {
  it('is its whole directory, what it had, or nothing (I12)', () => {
    const sentinel = {
      position: { timelineId: 1, lsn: behind(0n) },
      history: view().local.history,
      epoch: 1,
      finished: false,
    }
    const of = (local: object) => voteOf(view({ self: 'bravo', local }))
    expect(of({})).toBe('whole')
    expect(of({ directory: { kind: 'absent' } })).toBe('none')
    expect(of({ sentinel })).toBe('gone')
    expect(of({ sentinel: { ...sentinel, finished: true } })).toBe('gone')
    expect(of({ sentinel: { ...sentinel, position: null } })).toBe('none')
    const store = storeFacts({ identity: { systemIdentifier: '1', major: 18, createdBy: 'zulu' } })
    expect(voteOf(view({ self: 'bravo', store }))).toBe('none')
  })
})
