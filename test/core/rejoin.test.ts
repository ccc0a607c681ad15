/** How a node comes back: what has diverged, a rewind and its end, a standby that gets no WAL; and what counts while the rule changes. */
import { describe, expect, it } from 'vitest'
import type { NodeReport } from '../../src/core/cluster-view.ts'
import { EMPTY_MEMORY, type Memory } from '../../src/core/decision.ts'
import { rulesToSatisfy } from '../../src/core/election.ts'
import { lsnOf } from '../../src/core/lsn.ts'
import type { Primacy } from '../../src/core/primacy.ts'
import type { ErrorCode } from '../../src/errors/codes.ts'
import { decideOn, ELECTING, fenced, HERE, KNOWN, STOPPED } from '../support/decisions.ts'
import { FLUSH_LSN, report, rule, standbyServer, storeFacts, storeWith, view } from '../support/views.ts'

describe('what has diverged, where commits wait for nobody', () => {
  const office = { epoch: 2, timelineId: 2, highestTimelineId: 2, rules: [rule(0, [])] }
  const history = { timelineId: 2, ancestors: [{ timelineId: 1, switchpointLsn: FLUSH_LSN, reason: '' }] }
  const up = report('alpha', { role: 'primary', state: 'running', epoch: 2, timelineId: 2 })
  const of = (self: string, others: readonly NodeReport[], seenAtMs = 99_000) =>
    decideOn(
      {
        self,
        durability: 'async',
        store: storeWith(
          { ...office, history },
          { nodes: new Map([up, ...others].map((each) => [each.name, each])) },
        ),
        local: fenced(self, { position: { ...HERE, lsn: lsnOf(FLUSH_LSN + 8n) } }),
      },
      { ...EMPTY_MEMORY, epoch: { number: 2, seenAtMs } },
    ).kinds

  it('is opened up one copy after the other, and never the last one beside the primary (I11)', () => {
    const bravo = report('bravo', { state: 'catchingUp' })
    const charlie = report('charlie', { state: 'catchingUp' })
    expect(of('bravo', [charlie])).toEqual(['promise', 'rewind'])
    expect(of('charlie', [bravo])).toEqual([])
    expect(of('charlie', [report('bravo', { state: 'streaming', epoch: 2 })])).toEqual(['promise', 'rewind'])
    expect(of('bravo', [])).toEqual(['promise', 'clone'])
    expect(of('bravo', [report('charlie', { vote: 'gone', state: 'rewinding' })])).toEqual([
      'promise',
      'clone',
    ])
    // Who comes first does not come.
    expect(of('charlie', [bravo], 0)).toEqual(['promise', 'clone'])
  })
})

describe('while the rule is being changed', () => {
  const between = (acks: number, standbys: readonly string[], next: readonly [number, readonly string[]]) => {
    const primacy = {
      ...storeFacts().primacy?.value,
      rules: [rule(acks, [...standbys])],
      nextRule: rule(next[0], [...next[1]]),
    }
    return rulesToSatisfy(primacy as Primacy).map((each) => `${each.acks} of ${each.standbys.join(',')}`)
  }

  it('counts what PostgreSQL makes of both while its processes read the new one (I2)', () => {
    expect(between(1, ['d', 'e'], [2, ['a', 'd', 'e']])).toEqual(['1 of d,e', '1 of a,d,e', '2 of a,d,e'])
    expect(between(2, ['a', 'b', 'c', 'd'], [1, ['d', 'e']])).toEqual([
      '2 of a,b,c,d',
      '1 of a,b,c,d,e',
      '1 of d,e',
    ])
  })

  it('counts nothing more where one of the two says it already, or nothing is promised', () => {
    expect(between(1, ['b', 'c'], [1, ['b']])).toEqual(['1 of b,c', '1 of b'])
    expect(between(0, [], [1, ['b', 'c']])).toEqual(['0 of ', '1 of b,c'])
  })
})

describe('a rewind that has ended well', () => {
  const sentinel = { position: HERE, history: view().local.history, epoch: 1, finished: true }
  const stopped = { ...STOPPED, applied: null, sentinel }

  it('is finished by streaming from its source, while that is primary; else it is cloned', () => {
    expect(decideOn({ self: 'bravo', local: stopped }).kinds).toEqual(['promise', 'configure', 'start'])
    const older = { ...stopped, sentinel: { ...sentinel, epoch: 0 } }
    expect(decideOn({ self: 'bravo', local: older }).kinds).toEqual(['promise', 'clone'])
    const begun = { ...stopped, sentinel: { ...sentinel, finished: false } }
    expect(decideOn({ self: 'bravo', local: begun }).kinds).toEqual(['promise', 'clone'])
  })

  it('streams under a name that is in no rule until readers are let in, then under its own (I12)', () => {
    const [, configure] = decideOn({ self: 'bravo', local: stopped }).actions
    expect(configure).toMatchObject({ kind: 'configure', wanted: { rejoining: true } })
    if (configure?.kind !== 'configure') throw new Error('no configure')
    const { actions } = decideOn({ self: 'bravo', local: { applied: configure.wanted, followedEpoch: 1 } })
    expect(actions).toMatchObject([{ kind: 'promise' }, { kind: 'configure', wanted: { epoch: 1 } }])
    expect(actions[1]).not.toHaveProperty('wanted.rejoining')
  })

  it('ends its stream, and votes what it had before: it has acknowledged nothing since (I12)', () => {
    const store = storeWith(ELECTING)
    expect(decideOn({ self: 'bravo', store, local: { sentinel } }).kinds).toEqual(['promise', 'stop'])
    const { actions } = decideOn({ self: 'bravo', store, local: { ...stopped, promisedEpoch: 2 } })
    const { lsn, timelineId } = HERE
    expect(actions[1]).toMatchObject({ kind: 'vote', ballot: { gone: true, position: { lsn, timelineId } } })
  })

  it('is cloned when the WAL that it needs to be consistent does not come', () => {
    const local = {
      server: null,
      sentinel,
      recovery: { segment: '000000010000000000000003', streams: false },
    }
    const starting = {
      ...local,
      postmaster: { kind: 'running', pid: 1, status: 'starting' },
      tasks: new Set(['start'] as const),
    } as const
    const waits = (sinceMs: number) => ({ ...KNOWN, starved: { segment: local.recovery.segment, sinceMs } })
    const of = (sinceMs: number, more: object = {}) =>
      decideOn({ self: 'bravo', local: { ...starting, ...more } }, waits(sinceMs))
    expect(of(80_000)).toMatchObject({ rule: 'task-under-way' })
    expect(of(60_000)).toMatchObject({ rule: 'starved', kinds: ['promise', 'clone'] })
    // It goes on replaying, or is being sent some.
    expect(of(60_000, { recovery: { segment: '000000010000000000000004', streams: false } }).rule).toBe(
      'task-under-way',
    )
    expect(of(60_000, { recovery: { ...local.recovery, streams: true } }).rule).toBe('task-under-way')
  })
})

describe('a standby whose data cannot be started', () => {
  const failing = (count: number, code: ErrorCode = 'data-damaged') => {
    const failure = { code, reason: 'no valid checkpoint record', hint: '', atMs: 0, count }
    return { ...STOPPED, applied: null, failures: new Map([['start', failure]] as const) }
  }
  const of = (local: object, nodes: readonly NodeReport[] = [PRIMARY]) =>
    decideOn({
      self: 'bravo',
      store: storeFacts({ nodes: new Map(nodes.map((each) => [each.name, each])) }),
      local,
    }).kinds
  const PRIMARY = report('alpha', { role: 'primary', state: 'running', timelineId: 1 })

  it('is cloned beside it after a few attempts, one node at a time', () => {
    expect(of(failing(2))).toEqual(['promise', 'configure', 'start'])
    expect(of(failing(3))).toEqual(['promise', 'clone'])
    expect(of(failing(3), [PRIMARY, report('charlie', { state: 'cloning' })])).toEqual([])
    expect(of(failing(3), [])).toEqual([])
    // What a clone would not mend.
    expect(of(failing(9, 'config-invalid'))).toEqual(['promise', 'configure', 'start'])
  })
})

describe('a standby that gets no WAL', () => {
  const { walreceiver } = standbyServer('bravo')
  const refused = walreceiver === null ? null : { ...walreceiver, pid: 77 }
  const of = (seen: typeof refused, memory: Partial<Memory>) =>
    decideOn(
      { self: 'bravo', local: { server: standbyServer('bravo', { walreceiver: seen }) } },
      { ...KNOWN, ...memory },
    )

  it('is cloned anew after a while, and streams again only when one walreceiver has streamed for a moment', () => {
    expect(of(null, { stuckSinceMs: 80_000 })).toMatchObject({ rule: 'stuck', kinds: [] })
    expect(of(null, { stuckSinceMs: 70_000 })).toMatchObject({ rule: 'stuck', kinds: ['promise', 'clone'] })
    const lasting = of(refused, { stuckSinceMs: 70_000, receiving: { pid: 77, sinceMs: 90_000 } })
    expect(lasting.memory.stuckSinceMs).toBe(null)
  })

  it('is not taken for one that streams because its walreceiver connects again and again', () => {
    // Each is another process, and each says that it streams until it is refused.
    const before = { stuckSinceMs: 70_000, receiving: { pid: 76, sinceMs: 90_000 } }
    expect(of(refused, before).memory.stuckSinceMs).toBe(70_000)
    expect(of(null, before)).toMatchObject({ rule: 'stuck', kinds: ['promise', 'clone'] })
  })
})
