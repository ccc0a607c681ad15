/** The election that an operator asks for: when it is refused, what the override of I2 covers, and what is kept of whoever was written off. */
import { describe, expect, it } from 'vitest'
import type { FailoverRequest, NodeReport, StoreFacts } from '../../src/core/cluster-view.ts'
import { decide } from '../../src/core/decide.ts'
import { EMPTY_MEMORY, type Memory } from '../../src/core/decision.ts'
import { outlook, ruleOfElected } from '../../src/core/election.ts'
import { failoverOutlook } from '../../src/core/manual-failover.ts'
import type { Override } from '../../src/core/primacy.ts'
import {
  ballot,
  behind,
  FLUSH_LSN,
  MEMBERS,
  primacy,
  report,
  rule,
  standbyServer,
  storeFacts,
  storeWith,
  view,
} from '../support/views.ts'

const AT = '2026-01-01T00:00:00Z'
const KNOWN: Memory = { ...EMPTY_MEMORY, epoch: { number: 1, seenAtMs: 0 } }
const BY = { by: 'ann@desk', at: AT, reason: 'rack 2 burnt' }
const override = (...missing: string[]): Override => ({ ...BY, missing })
const OF_FIVE = rule(2, ['bravo', 'charlie', 'delta', 'echo'])

function request(changes: Partial<FailoverRequest> = {}): StoreFacts['failover'] {
  const value = { epoch: 1, to: null, missing: [], by: 'ann@desk', reason: null, requestedAt: AT, losses: [] }
  return { value: { ...value, ...changes }, revision: 6n }
}

/** Those that still report, streaming from nobody. */
function left(...reports: readonly (string | NodeReport)[]): ReadonlyMap<string, NodeReport> {
  const all = reports.map((each) =>
    typeof each === 'string' ? report(each, { state: 'catchingUp', role: 'standby' }) : each,
  )
  return new Map(all.map((each) => [each.name, each]))
}

function decideAt(store: StoreFacts, self = 'bravo') {
  const local = { server: standbyServer(self, { walreceiver: null }), probes: null }
  const decision = decide(view({ self, store, local }), KNOWN)
  return { ...decision, kinds: decision.actions.map((action) => action.kind) }
}

describe('an election by hand', () => {
  it('begins at the next epoch, and the request goes away', () => {
    const store = storeFacts({ nodes: left('bravo', 'charlie'), failover: request({ to: 'charlie' }) })
    expect(decideAt(store)).toMatchObject({
      rule: 'manual-failover',
      actions: [
        { kind: 'writePrimacy', expected: 7n, primacy: { epoch: 2, candidate: 'charlie', override: null } },
        { kind: 'dropRequest', request: 'failover', expected: 6n, done: true },
      ],
    })
  })

  it('begins while failover is paused, which is what it is for', () => {
    const paused = { reason: 'an upgrade', by: 'ann@desk', at: AT }
    const store = storeFacts({ nodes: left('bravo', 'charlie'), failover: request(), paused })
    expect(decideAt(store).kinds).toEqual(['writePrimacy', 'dropRequest'])
  })

  it.each([
    ['it was asked for in another epoch', { failover: request({ epoch: 0 }) }, {}],
    ['the primary is well', { nodes: storeFacts().nodes }, {}],
    ['its agent alone is dead', { nodes: new Map([...storeFacts().nodes].slice(1)) }, {}],
    ['votes are being counted and suffice', {}, { epoch: 1, phase: 'electing' }],
    ['somebody is being promoted', {}, { epoch: 1, phase: 'promoting', primary: 'charlie' }],
    ['I2 is not satisfied, and nobody said that it need not be', { nodes: left('bravo') }, {}],
    ['others are missing', { failover: request({ missing: ['alpha'] }), nodes: left('bravo') }, {}],
    ['nobody is missing any more', { failover: request({ missing: ['alpha', 'charlie'] }) }, {}],
  ] as const)('is refused when %s', (_, facts, changes) => {
    const usual = { nodes: left('bravo', 'charlie'), failover: request() }
    const decision = decideAt(storeWith(changes, { ...usual, ...facts }))
    expect(decision).toMatchObject({
      rule: 'manual-failover',
      actions: [{ kind: 'dropRequest', done: false }],
    })
  })

  it('carries the override into its epoch, and every later one drops it', () => {
    const missing = ['alpha', 'charlie']
    const store = storeFacts({ nodes: left('bravo'), failover: request({ missing, reason: BY.reason }) })
    const [begun] = decideAt(store).actions
    expect(begun).toMatchObject({
      primacy: { epoch: 2, override: override(...missing), writtenOff: { alpha: 2, charlie: 2 } },
    })
    const electing = storeWith(
      { epoch: 2, phase: 'electing', override: override(...missing), writtenOff: { alpha: 2, charlie: 2 } },
      { nodes: left('bravo'), failover: request({ epoch: 2, missing }) },
    )
    const [again] = decideAt(electing).actions
    expect(again).toMatchObject({ primacy: { epoch: 3, writtenOff: { alpha: 3, charlie: 3 } } })
    const plain = storeWith(
      { epoch: 2, override: override(...missing), writtenOff: { alpha: 2 } },
      { nodes: left('bravo', 'charlie'), failover: request({ epoch: 2 }) },
    )
    expect(decideAt(plain).actions[0]).toMatchObject({
      primacy: { override: null, writtenOff: { alpha: 2 } },
    })
  })
})

describe('who is missing', () => {
  it('is everybody of an unsatisfied rule who cannot vote', () => {
    const seen = failoverOutlook(primacy(), left('bravo', report('charlie', { vote: 'none' })), null)
    expect(seen).toMatchObject({ voters: ['bravo'], missing: ['alpha', 'charlie'], mayLose: true })
  })

  it('is nobody when the rules are satisfied without him', () => {
    const seen = failoverOutlook(primacy(), left('bravo', 'charlie'), null)
    expect(seen).toMatchObject({ missing: [], mayLose: false })
  })

  it('counts a node whose data is being replaced: it votes what it had (I12)', () => {
    const seen = failoverOutlook(primacy(), left('bravo', report('charlie', { vote: 'gone' })), null)
    expect(seen.missing).toEqual([])
  })

  it('is nobody where commits waited for nobody, and yet something may be lost', () => {
    const async = primacy({ rules: [rule(0, [])] })
    expect(failoverOutlook(async, left('bravo'), null)).toMatchObject({ missing: [], mayLose: true })
    const back = left('bravo', report('alpha', { state: 'stopped' }))
    expect(failoverOutlook(async, back, null).mayLose).toBe(false)
  })
})

describe('the override of I2', () => {
  const elect = (ballots: ReturnType<typeof ballot>[], changes: Parameters<typeof primacy>[0]) =>
    outlook({
      primacy: primacy({ epoch: 2, phase: 'electing', ...changes }),
      ballots,
      resigned: new Set(),
      preferred: null,
    })

  it('lets the one that is left be elected, and without it nobody is', () => {
    const missing = override('alpha', 'charlie')
    expect(elect([ballot('bravo')], {}).kind).toBe('waiting')
    expect(elect([ballot('bravo')], { override: missing })).toMatchObject({ ballot: { node: 'bravo' } })
  })

  it('still waits for everybody whom the operator did not name', () => {
    const changes = { rules: [OF_FIVE], override: override('alpha', 'charlie', 'delta') }
    expect(elect([ballot('bravo')], changes).kind).toBe('waiting')
    const more = ballot('echo', { lsn: FLUSH_LSN + 8n })
    expect(elect([ballot('bravo'), more], changes)).toMatchObject({ ballot: { node: 'echo' } })
  })

  it('counts the vote of one that came back: who has most wins (I4)', () => {
    const back = ballot('charlie', { lsn: FLUSH_LSN + 8n })
    expect(elect([ballot('bravo'), back], { override: override('alpha', 'charlie') })).toMatchObject({
      kind: 'elected',
      ballot: { node: 'charlie' },
    })
  })

  it('does without data that is gone only when its node was named', () => {
    const gone = ballot('charlie', { gone: true, lsn: FLUSH_LSN + 8n })
    const equal = ballot('charlie', { gone: true })
    expect(elect([ballot('bravo'), equal], {}).kind).toBe('elected')
    expect(elect([ballot('bravo'), gone], {}).kind).toBe('waiting')
    expect(elect([ballot('bravo'), gone], { override: override('alpha') }).kind).toBe('waiting')
    expect(elect([ballot('bravo'), gone], { override: override('alpha', 'charlie') }).kind).toBe('elected')
  })

  it('never stands in for the lease of I10', () => {
    const changes = { rules: [rule(0, [])], override: override('alpha', 'charlie') }
    expect(elect([ballot('bravo')], changes).kind).toBe('waiting')
  })

  it('waits for nobody who was written off, and for nobody at all when nobody is left', () => {
    const of = (missing: readonly string[], carries = ballot('bravo').carries) =>
      ruleOfElected(
        ballot('bravo', { carries }),
        primacy({ epoch: 2, override: override(...missing) }),
        [ballot('bravo')],
        true,
      )
    expect(of(['alpha', 'charlie'])).toMatchObject({ acks: 0, standbys: [] })
    expect(of(['alpha'])).toMatchObject({ acks: 1, standbys: ['charlie'] })
    const five = { acks: 2, standbys: ['alpha', 'charlie', 'delta', 'echo'] }
    expect(of(['alpha', 'charlie', 'delta'], five)).toMatchObject({ acks: 1, standbys: ['echo'] })
  })

  it('gives those that report and have not voted a moment to come', () => {
    const store = storeWith(
      { epoch: 2, phase: 'electing', startedBy: 'bravo', override: override('alpha', 'charlie') },
      { nodes: left('bravo', 'charlie'), ballots: [ballot('bravo')] },
    )
    const local = {
      server: standbyServer('bravo', { walreceiver: null }),
      applied: { role: 'standby', epoch: 2, upstream: null, synchronousStandbyNames: '' },
      promisedEpoch: 2,
    } as const
    const at = (seenAtMs: number) =>
      decide(view({ self: 'bravo', store, local }), { ...EMPTY_MEMORY, epoch: { number: 2, seenAtMs } })
    expect(at(99_000).actions).toEqual([])
    expect(at(96_000).actions).toMatchObject([{ primacy: { phase: 'promoting', primary: 'bravo' } }])
  })
})

describe('a node that was written off', () => {
  const after = { primary: 'bravo', epoch: 2, timelineId: 2, writtenOff: { charlie: 2 } } as const
  const history = {
    timelineId: 2,
    ancestors: [{ timelineId: 1, switchpointLsn: behind(64n), reason: '' }],
  }
  const nodes = new Map(
    MEMBERS.map(({ name }) => [
      name,
      name === 'bravo'
        ? report(name, { role: 'primary', state: 'running', epoch: 2, timelineId: 2 })
        : report(name),
    ]),
  )
  const diverged = (changes: object, writtenOff: Readonly<Record<string, number>> = after.writtenOff) =>
    decide(
      view({
        self: 'charlie',
        store: storeWith({ ...after, writtenOff, history }, { nodes }),
        local: {
          postmaster: { kind: 'stopped' },
          server: null,
          position: { timelineId: 1, lsn: FLUSH_LSN, complete: true },
          ...changes,
        },
      }),
      KNOWN,
    ).actions.map((action) => action.kind)

  it('is cloned anew when it has diverged, never rewound: what it holds may be nowhere else (I11)', () => {
    expect(diverged({})).toEqual(['promise', 'clone'])
    expect(diverged({}, {})).toEqual(['promise', 'rewind'])
  })

  it('is a node like any other once it has followed that epoch', () => {
    expect(diverged({ followedEpoch: 3 })).toEqual(['promise', 'rewind'])
  })
})
