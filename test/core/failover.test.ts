/** The decision from the first suspicion to a steady epoch: who votes, who is elected, who is promoted, who follows. */
import { describe, expect, it } from 'vitest'
import { EMPTY_MEMORY, type Memory } from '../../src/core/decision.ts'
import type { ControlState } from '../../src/core/facts.ts'
import { type Lsn, lsnOf } from '../../src/core/lsn.ts'
import type { Primacy } from '../../src/core/primacy.ts'
import { decideOn, ELECTING, fenced, HERE, KNOWN, STOPPED } from '../support/decisions.ts'
import {
  ballot,
  behind,
  cluster,
  deafProbes,
  FLUSH_LSN,
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

const BOTH = [rule(1, ['bravo', 'charlie'])]

const PAUSED = { reason: 'an upgrade', by: 'ann@desk', at: '2026-01-01T00:00:00Z' }

function clusterIn(state: ControlState) {
  const directory = cluster()
  return directory.kind === 'cluster' ? { ...directory, control: { ...directory.control, state } } : directory
}

function reports(...suspecting: string[]) {
  return new Map(
    MEMBERS.map(({ name }) => [name, report(name, { suspects: suspecting.includes(name) ? 1 : null })]),
  )
}

describe('suspecting the primary', () => {
  const server = standbyServer('bravo', { walreceiver: null })
  const deaf = { server, probes: deafProbes(100_000, 3_000) }

  it('needs all that I2 needs: with acks 1 that is every standby', () => {
    const alone = decideOn({ self: 'bravo', store: storeFacts({ nodes: reports() }), local: deaf })
    expect(alone).toMatchObject({ rule: 'start-election', kinds: [] })
    const both = decideOn({ self: 'bravo', store: storeFacts({ nodes: reports('charlie') }), local: deaf })
    expect(both.actions).toMatchObject([
      { kind: 'writePrimacy', expected: 7n, primacy: { epoch: 2, phase: 'electing', rules: BOTH } },
    ])
  })

  it('takes silence for death only after its time, awake, and when no WAL comes', () => {
    const store = storeFacts({ nodes: reports('charlie') })
    const of = (local: object) => decideOn({ self: 'bravo', store, local: { ...deaf, ...local } }).rule
    expect(of({ probes: deafProbes(100_000, 2_900) })).not.toBe('start-election')
    expect(of({ awakeSinceMs: 98_000 })).not.toBe('start-election')
    expect(of({ server: standbyServer('bravo') })).not.toBe('start-election')
  })

  it('gives a primary that was only just elected its time', () => {
    const store = storeFacts({ nodes: reports('charlie') })
    const known = (seenAtMs: number) => ({ ...EMPTY_MEMORY, epoch: { number: 1, seenAtMs } })
    expect(decideOn({ self: 'bravo', store, local: deaf }, known(97_100)).rule).not.toBe('start-election')
    expect(decideOn({ self: 'bravo', store, local: deaf }, known(97_000)).rule).toBe('start-election')
  })

  it('takes a refused connection for death at once', () => {
    const refused = { kind: 'refused', atMs: 99_999 } as const
    const probes = { primary: 'alpha', agent: refused, postgres: refused }
    const store = storeFacts({ nodes: reports('charlie') })
    expect(decideOn({ self: 'bravo', store, local: { server, probes } }).kinds).toEqual(['writePrimacy'])
  })

  it('starts nothing while failover is paused', () => {
    const store = storeFacts({ nodes: reports('charlie'), paused: PAUSED })
    expect(decideOn({ self: 'bravo', store, local: deaf })).toMatchObject({
      rule: 'start-election',
      kinds: [],
    })
  })

  it('still starts its own PostgreSQL while too few others see it so', () => {
    const refused = { kind: 'refused', atMs: 99_999 } as const
    const probes = { primary: 'alpha', agent: refused, postgres: refused }
    const local = { server: null, postmaster: { kind: 'stopped' }, probes } as const
    const alone = storeFacts({ nodes: reports() })
    expect(decideOn({ self: 'bravo', store: alone, local }).rule).toBe('start-standby')
    const both = storeFacts({ nodes: reports('charlie') })
    expect(decideOn({ self: 'bravo', store: both, local }).kinds).toEqual(['writePrimacy'])
  })

  it('carries the rule of a change that was under way along (M: noCarry)', () => {
    const nextRule = rule(1, ['bravo'])
    const store = storeWith({ nextRule }, { nodes: reports('charlie') })
    const { actions } = decideOn({ self: 'bravo', store, local: deaf })
    expect(actions).toMatchObject([{ primacy: { rules: [...BOTH, nextRule], nextRule: null } }])
  })
})

describe('resigning', () => {
  it('comes at once when the own postmaster has died', () => {
    expect(decideOn({ local: STOPPED })).toMatchObject({ rule: 'resign', kinds: ['writePrimacy'] })
  })

  it('is for one who has seen it run in this epoch, alone for nobody, and not while failover is paused', () => {
    expect(decideOn({ local: { ...STOPPED, ranAsPrimaryIn: null } }).rule).toBe('start-primary')
    const paused = storeFacts({ paused: PAUSED })
    expect(decideOn({ store: paused, local: STOPPED }).rule).not.toBe('resign')
    const alone = storeWith({ rules: [rule(0, [])] }, { leaseHolder: 'alpha' })
    const local = { ...STOPPED, primaryLeaseUntilMs: 130_000 }
    expect(decideOn({ store: alone, local }).rule).toBe('start-primary')
  })
})

describe('a primary whose data directory cannot be used', () => {
  const directory = { kind: 'unusable', code: 'data-damaged', reason: 'pg_control is damaged' } as const
  const local = { ...STOPPED, directory }

  it('resigns: its agent answers, so nobody else would ever suspect it', () => {
    expect(decideOn({ local })).toMatchObject({ rule: 'resign-unusable', kinds: ['writePrimacy'] })
  })

  it('not while something runs, while failover is paused, alone, or when it is no primary', () => {
    const kinds = (changes: ViewChanges) => decideOn({ local, ...changes }).kinds
    expect(kinds({ local: { directory } })).toEqual([])
    expect(kinds({ local: { ...local, tasks: new Set(['start'] as const) } })).toEqual([])
    expect(kinds({ store: storeFacts({ paused: PAUSED }) })).toEqual([])
    expect(kinds({ store: storeWith({ rules: [rule(0, [])] }) })).toEqual([])
    expect(kinds({ self: 'bravo' })).toEqual([])
    expect(kinds({ store: storeWith(ELECTING) })).toEqual([])
    expect(kinds({ local: { ...local, promisedEpoch: 2 } })).toEqual([])
  })
})

describe('a primary that lives and cannot serve', () => {
  const hung = { server: null }
  const since: Memory = { ...KNOWN, unansweredSinceMs: 97_000 }
  const states = (bravo: string, charlie: string) =>
    new Map([
      ['bravo', report('bravo', { state: bravo })],
      ['charlie', report('charlie', { state: charlie })],
    ])
  const of = (nodes: ReturnType<typeof states>, memory = since, local: object = hung) =>
    decideOn({ store: storeFacts({ nodes }), local }, memory)

  it('resigns when it has not answered for long and no quorum streams from it', () => {
    const left = states('catchingUp', 'catchingUp')
    expect(of(left)).toMatchObject({ rule: 'resign-helpless', kinds: ['writePrimacy'] })
    expect(of(left, { ...since, unansweredSinceMs: 97_100 }).kinds).toEqual([])
  })

  it('never does while a quorum streams, whatever it sees itself', () => {
    expect(of(states('streaming', 'catchingUp')).kinds).toEqual([])
  })

  it('resigns when it could not be started three times', () => {
    const failure = { code: 'internal', reason: 'no space left', hint: '', atMs: 99_000 } as const
    const failed = (count: number) => ({
      ...STOPPED,
      ranAsPrimaryIn: null,
      failures: new Map([['start', { ...failure, count }]]),
    })
    const left = states('catchingUp', 'catchingUp')
    expect(of(left, KNOWN, failed(3)).rule).toBe('resign-helpless')
    expect(of(left, KNOWN, failed(2)).rule).toBe('start-primary')
  })
})

describe('fencing and voting', () => {
  const store = storeWith(ELECTING)

  it('promises, removes the passfiles, then empties the upstream, in this order (I3)', () => {
    const decision = decideOn({ self: 'bravo', store })
    expect(decision.kinds).toEqual(['promise', 'removePassfiles', 'configure'])
    expect(decision.actions[2]).toMatchObject({ wanted: { upstream: null, epoch: 2 } })
  })

  it('waits until no walreceiver runs and the position is stable (M: walrcvOnly, posNaive)', () => {
    const receiving = fenced('bravo', { server: standbyServer('bravo') })
    expect(decideOn({ self: 'bravo', store, local: receiving }).kinds).toEqual([])
    expect(decideOn({ self: 'bravo', store, local: fenced('bravo', { position: null }) }).kinds).toEqual([])
    const { actions } = decideOn({ self: 'bravo', store, local: fenced('bravo') })
    expect(actions).toMatchObject([
      { kind: 'promise' },
      { kind: 'vote', ballot: { epoch: 2, node: 'bravo' } },
    ])
  })

  it('makes the primary stop and vote too (I3, M: primaryNoVote)', () => {
    expect(decideOn({ store }).kinds).toEqual(['promise', 'stop'])
    const ended = decideOn({ store, local: { ...STOPPED, promisedEpoch: 2, position: HERE } })
    expect(ended.kinds).toEqual(['promise', 'vote'])
  })

  it('stops a node whose promotion may still take effect', () => {
    const asked = fenced('bravo', { promotionAsked: true })
    expect(decideOn({ self: 'bravo', store, local: asked }).kinds).toEqual(['promise', 'stop'])
  })

  it('starts a stopped node fenced, to find the end of its WAL', () => {
    const decision = decideOn({ self: 'bravo', store, local: { ...STOPPED, applied: null } })
    expect(decision.kinds).toEqual(['promise', 'removePassfiles', 'configure', 'start'])
  })

  it('does not start it again all the time when that fails, and soon, because its vote may be waited for', () => {
    const failure = { code: 'postgres-failed', reason: 'the disk is full', hint: '', count: 9 } as const
    const of = (atMs: number) => {
      const failures = new Map([['start', { ...failure, atMs }]] as const)
      return decideOn({
        self: 'bravo',
        store,
        local: { ...STOPPED, applied: null, promisedEpoch: 2, failures },
      })
    }
    expect(of(99_500)).toMatchObject({ rule: 'election', kinds: [] })
    expect(of(99_500).reason).toContain('the disk is full')
    expect(of(98_900).kinds).toContain('start')
  })

  it('votes what a directory had that is being replaced, as gone (I12)', () => {
    const sentinel = { position: HERE, history: view().local.history, epoch: 1, finished: false }
    const { actions } = decideOn({ self: 'bravo', store, local: { ...STOPPED, sentinel } })
    expect(actions).toMatchObject([{ kind: 'promise' }, { kind: 'vote', ballot: { gone: true } }])
  })

  it('of a node that somebody has promoted by hand votes what it had before, as gone (I6, I12)', () => {
    const ancestors = [{ timelineId: 1, switchpointLsn: behind(64n), reason: '' }]
    const astray = {
      position: { timelineId: 2, lsn: FLUSH_LSN, complete: true },
      history: { timelineId: 2, ancestors },
    }
    const votes = (highestTimelineId: number) =>
      decideOn({
        self: 'bravo',
        store: storeWith({ ...ELECTING, highestTimelineId }),
        local: { ...STOPPED, ...astray },
      }).actions.at(-1)
    expect(votes(1)).toMatchObject({
      kind: 'vote',
      ballot: {
        gone: true,
        position: { timelineId: 1, lsn: behind(64n) },
        history: { timelineId: 1, ancestors: [] },
      },
    })
    expect(votes(2)).toMatchObject({ ballot: { gone: false, position: { timelineId: 2, lsn: FLUSH_LSN } } })
  })

  it('lets a standby take the last WAL of a planned change first', () => {
    const planned = storeWith({ ...ELECTING, planned: true, candidate: 'bravo', startedBy: 'alpha' })
    expect(decideOn({ self: 'bravo', store: planned }).kinds).toEqual([])
  })
})

describe('counting', () => {
  const counted = (ballots: ReturnType<typeof ballot>[], changes = {}, more: ViewChanges = {}) => {
    const store = storeWith({ ...ELECTING, ...changes }, { ballots })
    return decideOn({ self: 'bravo', store, local: fenced('bravo'), ...more })
  }

  it('elects the most advanced, on a new timeline, and appends its rule (I2, I4, I6)', () => {
    const { actions } = counted([ballot('bravo'), ballot('charlie', { lsn: FLUSH_LSN + 8n })])
    const promoting = {
      phase: 'promoting',
      epoch: 2,
      primary: 'charlie',
      timelineId: 2,
      highestTimelineId: 2,
    }
    expect(actions).toMatchObject([{ kind: 'writePrimacy', primacy: promoting }])
    const rules = [...BOTH, { epoch: 2, primary: 'charlie', acks: 1 }]
    expect(actions).toMatchObject([{ primacy: { rules } }])
  })

  it('compares the timeline before the LSN (M: bareLsn)', () => {
    const newer = ballot('charlie', { position: { timelineId: 2, lsn: lsnOf(1n) } })
    expect(counted([ballot('bravo'), newer]).actions).toMatchObject([{ primacy: { primary: 'charlie' } }])
  })

  it('ends with the vote of the primary alone, or of every standby, with acks 1 (I2)', () => {
    expect(counted([ballot('bravo')]).kinds).toEqual([])
    expect(counted([ballot('bravo'), ballot('alpha')]).kinds).toEqual(['writePrimacy'])
  })

  it('honours every rule since the last steady (M: noCarry, dropI2)', () => {
    const rules = [...BOTH, rule(1, ['alpha', 'charlie'], 'bravo')]
    expect(counted([ballot('bravo')], { rules }).kinds).toEqual([])
    expect(counted([ballot('bravo'), ballot('charlie')], { rules }).kinds).toEqual(['writePrimacy'])
  })

  it('never elects what is gone, and waits while that is ahead (I12)', () => {
    const gone = ballot('charlie', { gone: true, lsn: FLUSH_LSN + 8n })
    expect(counted([ballot('bravo'), gone])).toMatchObject({ rule: 'election', kinds: [] })
    expect(counted([ballot('bravo'), ballot('charlie', { gone: true })]).actions).toMatchObject([
      { primacy: { primary: 'bravo' } },
    ])
  })

  it('elects priority 0 only when it is ahead and nobody else came in time (I4)', () => {
    const all = [ballot('bravo'), ballot('charlie', { priority: 0, lsn: FLUSH_LSN + 8n })]
    const early = { ...KNOWN, epoch: { number: 2, seenAtMs: 99_000 } }
    const store = storeWith(ELECTING, { ballots: all })
    expect(decideOn({ self: 'bravo', store, local: fenced('bravo') }, early).kinds).toEqual([])
    const late = { ...early, epoch: { number: 2, seenAtMs: 96_000 } }
    expect(decideOn({ self: 'bravo', store, local: fenced('bravo') }, late).actions).toMatchObject([
      { primacy: { primary: 'charlie' } },
    ])
  })

  it('waits for whoever reports where votes prove nothing, for the time of rto', () => {
    const store = storeWith({ ...ELECTING, rules: [rule(0, [])] }, { ballots: [ballot('bravo')] })
    const at = (seenAtMs: number) =>
      decideOn(
        { self: 'bravo', durability: 'async', store, local: fenced('bravo') },
        { ...KNOWN, epoch: { number: 2, seenAtMs } },
      ).kinds
    expect(at(98_000)).toEqual([])
    expect(at(97_000)).toEqual(['writePrimacy'])
  })

  it('is left to its starter and to the elected; the others take over later', () => {
    const store = storeWith(
      { ...ELECTING, startedBy: 'alpha' },
      { ballots: [ballot('alpha'), ballot('bravo')] },
    )
    const local = { ...fenced('charlie'), position: { ...HERE, lsn: behind(8n) } }
    const third = {
      self: 'charlie',
      store: { ...store, ballots: [...store.ballots, ballot('charlie')] },
      local,
    }
    const first = decideOn({ ...third, now: 100_000 })
    expect(first.kinds).toEqual([])
    expect(decideOn({ ...third, now: 103_000 }, first.memory).kinds).toEqual(['writePrimacy'])
  })

  it('takes the wanted candidate among equals', () => {
    const all = [ballot('alpha'), ballot('bravo'), ballot('charlie')]
    const planned = { planned: true, candidate: 'charlie' }
    expect(counted(all, planned).actions).toMatchObject([{ primacy: { primary: 'charlie' } }])
  })

  it('needs the end of the old lease where commits waited for nobody (I10)', () => {
    const rules = [rule(0, [])]
    const store = storeWith({ ...ELECTING, rules }, { ballots: [ballot('bravo')], leaseHolder: 'alpha' })
    const local = fenced('bravo')
    const later = { self: 'bravo', durability: 'async', now: 110_000, local } as const
    const first = decideOn({ ...later, now: 100_000, store })
    expect(decideOn({ ...later, store }, first.memory).kinds).toEqual([])
    const over = { ...store, leaseHolder: null }
    expect(decideOn({ ...later, store: over }, first.memory).kinds).toEqual(['writePrimacy'])
  })
})

describe('promotion', () => {
  const own = rule(1, ['alpha', 'charlie'], 'bravo')
  const names = 'ANY 1 ("alpha", "charlie")'
  const ownRule = { ...own, epoch: 2 }
  const promoting = {
    epoch: 2,
    phase: 'promoting',
    primary: 'bravo',
    timelineId: 2,
    highestTimelineId: 2,
    rules: [...BOTH, ownRule],
    history: { timelineId: 2, ancestors: [{ timelineId: 1, switchpointLsn: FLUSH_LSN, reason: '' }] },
  } as const
  const store = storeWith(promoting)
  const ready = {
    promisedEpoch: 2,
    applied: { role: 'standby', epoch: 2, upstream: null, synchronousStandbyNames: names },
    server: standbyServer('bravo', { walreceiver: null, synchronousStandbyNames: names }),
    namesInEffect: names,
  } as const

  it('settles the settings first, and only then promotes onto the allocated timeline (I5, I6)', () => {
    const unsure = { ...ready, namesInEffect: null }
    expect(decideOn({ self: 'bravo', store, local: unsure }).kinds).toEqual(['settle'])
    const { actions } = decideOn({ self: 'bravo', store, local: ready })
    expect(actions).toEqual([{ kind: 'promote', timelineId: 2, epoch: 2, notAfterMs: null }])
  })

  it('takes a new epoch when it had begun the timeline before it crashed (I6)', () => {
    const { actions } = decideOn({ self: 'bravo', store, local: { ...ready, newestHistory: 2 } })
    expect(actions).toMatchObject([{ kind: 'writePrimacy', primacy: { epoch: 3, phase: 'electing' } }])
  })

  it('asks again when an earlier agent may have died between noting that it asks and asking', () => {
    const asked = { ...ready, applied: null, namesInEffect: null, promotionAsked: true }
    expect(decideOn({ self: 'bravo', store, local: asked }).actions).toMatchObject([
      { kind: 'promote', timelineId: 2 },
    ])
  })

  it('does not ask again once the timeline is begun: it ends in a moment, or a backend has crashed in it (I6)', () => {
    const begun = { ...ready, applied: null, promotionAsked: true, newestHistory: 2 }
    const of = (seenAtMs: number) =>
      decideOn({ self: 'bravo', store, local: begun }, { ...EMPTY_MEMORY, epoch: { number: 2, seenAtMs } })
    expect(of(98_000).kinds).toEqual([])
    expect(of(97_000).actions).toMatchObject([{ kind: 'writePrimacy', primacy: { epoch: 3 } }])
  })

  it('is started anew first when it goes for a timeline of which it has nothing (I8)', () => {
    const later = storeWith({ ...promoting, timelineId: 4, highestTimelineId: 4 })
    const heard = { ...ready, newestHistory: 3 }
    expect(decideOn({ self: 'bravo', store: later, local: heard }).kinds).toEqual(['stop'])
    expect(decideOn({ self: 'bravo', store: later, local: ready }).kinds).toEqual(['promote'])
  })

  const promoted = {
    ...ready,
    applied: { ...ready.applied, role: 'primary' },
    server: primaryServer({
      timelineId: 2,
      synchronousStandbyNames: names,
      walsenders: [],
      slots: ready.server.slots,
    }),
  } as const

  it('is steady only after a commit that its own rule has acknowledged (M: noSteadyAck)', () => {
    expect(decideOn({ self: 'bravo', store, local: promoted }).actions).toEqual([
      { kind: 'prove', rule: ownRule },
    ])
    const proven = { rule: ownRule, atMs: 99_000 }
    const { actions } = decideOn({ self: 'bravo', store, local: { ...promoted, proven } })
    const steady = { epoch: 2, phase: 'steady', rules: [ownRule] }
    expect(actions).toMatchObject([{ kind: 'writePrimacy', primacy: steady }])
  })

  it('stops at once when it is writable on any other timeline (I6)', () => {
    const astray = { ...promoted, server: { ...promoted.server, timelineId: 3 } }
    expect(decideOn({ self: 'bravo', store, local: astray }).kinds).toEqual(['stop', 'writePrimacy'])
  })

  it('without acknowledgements takes the lease first, and promotes only before its deadline (I10)', () => {
    const none = { ...ownRule, acks: 0, standbys: [] }
    const facts = { leaseHolder: 'alpha' }
    const of = (more: object, local: object = {}) =>
      decideOn({
        self: 'bravo',
        durability: 'async',
        store: storeWith({ ...promoting, rules: [none] }, { ...facts, ...more }),
        local: {
          ...ready,
          applied: { ...ready.applied, synchronousStandbyNames: '' },
          server: standbyServer('bravo', { walreceiver: null, synchronousStandbyNames: '' }),
          namesInEffect: '',
          ...local,
        },
      })
    expect(of({}).kinds).toEqual([])
    expect(of({ leaseHolder: null }).kinds).toEqual(['takePrimaryLease'])
    const held = of({ leaseHolder: 'bravo' }, { primaryLeaseUntilMs: 103_000 })
    expect(held.actions).toMatchObject([{ kind: 'promote', notAfterMs: 103_000 - 750 }])
  })

  describe('and who follows (I8)', () => {
    const standby = (local: object) => decideOn({ self: 'charlie', store, local })
    const loose = fenced('charlie')

    it('first takes WAL from nobody, then follows when its position is within the history', () => {
      expect(standby({ followedEpoch: 1 }).kinds).toEqual(['promise', 'removePassfiles', 'configure'])
      expect(standby(loose).actions).toMatchObject([
        { kind: 'promise' },
        { kind: 'configure', wanted: { upstream: { name: 'bravo' }, epoch: 2 } },
      ])
    })

    it('is started anew when it goes for a timeline that the primary does not descend from', () => {
      const later = {
        ...promoting,
        timelineId: 3,
        highestTimelineId: 3,
        history: { timelineId: 3, ancestors: promoting.history.ancestors },
      }
      const of = (local: object, memory?: Memory) =>
        decideOn({ self: 'charlie', store: storeWith(later), local }, memory)
      expect(of({ ...loose, newestHistory: 2 }).kinds).toEqual(['promise', 'stop'])
      expect(of({ ...loose, newestHistory: 3 }).kinds).toEqual(['promise', 'configure'])
    })

    it('is rewound when somebody has promoted it by hand, although it had followed this very epoch', () => {
      const up = report('alpha')
      const store = storeFacts({ nodes: new Map([['alpha', up]]) })
      const promoted = {
        ...STOPPED,
        directory: cluster({ timelineId: 2 }),
        position: { timelineId: 2, lsn: FLUSH_LSN, complete: true },
        history: { timelineId: 2, ancestors: [{ timelineId: 1, switchpointLsn: behind(64n), reason: '' }] },
        followedEpoch: 1,
      }
      const kinds = (local: object) => decideOn({ self: 'charlie', store, local }).kinds
      expect(kinds(promoted)).toEqual(['promise', 'rewind'])
      expect(kinds({ ...promoted, canRewind: false })).toEqual(['promise', 'clone'])
      expect(kinds({ ...STOPPED, followedEpoch: 1 })).toEqual(['promise', 'configure', 'start'])
    })

    it('is cloned when being started anew does not make it forget what it has heard of', () => {
      const astray = { newestHistory: 3, server: standbyServer('charlie', { walreceiver: null }) }
      const at = (stuckForMs: number) =>
        decideOn(
          { self: 'charlie', local: { ...astray, followedEpoch: 1 } },
          { ...KNOWN, stuckSinceMs: 100_000 - stuckForMs },
        ).kinds
      expect(at(1_000)).toEqual([])
      expect(at(3_000)).toEqual(['promise', 'stop'])
      expect(at(31_000)).toEqual(['promise', 'clone'])
    })

    it('waits while it does not know where it stands', () => {
      expect(standby({ ...loose, position: null }).kinds).toEqual([])
      const bound = { timelineId: 1, lsn: lsnOf(FLUSH_LSN + 8n), complete: false }
      expect(standby({ ...loose, position: bound }).kinds).toEqual([])
    })

    it('is cloned when its timeline has the number of the primary’s and began elsewhere: pg_rewind would find nothing (I6)', () => {
      const up = report('bravo', { role: 'primary', state: 'running', epoch: 2, timelineId: 2 })
      const real = { timelineId: 2, ancestors: [{ timelineId: 1, switchpointLsn: FLUSH_LSN, reason: '' }] }
      const begun = (switchpointLsn: Lsn) => ({
        position: { timelineId: 2, lsn: FLUSH_LSN, complete: true },
        history: { timelineId: 2, ancestors: [{ timelineId: 1, switchpointLsn, reason: '' }] },
      })
      const of = (local: object) =>
        decideOn({
          self: 'charlie',
          store: storeWith(
            { ...promoting, phase: 'steady', history: real },
            { nodes: new Map([['bravo', up]]) },
          ),
          local: { ...loose, ...local },
        }).kinds
      expect(of(begun(FLUSH_LSN))).toEqual(['promise', 'configure'])
      expect(of(begun(behind(64n)))).toEqual(['promise', 'clone'])
    })

    it('is rewound when it has more, once others have what the primary has; else cloned (I11)', () => {
      const ahead = { ...loose, position: { ...HERE, lsn: lsnOf(FLUSH_LSN + 8n) } }
      expect(standby(ahead).kinds).toEqual([])
      const up = report('bravo', { role: 'primary', state: 'running', epoch: 2, timelineId: 2 })
      const source = { ...store, nodes: new Map([['bravo', up]]) }
      const of = (local: object, phase: Primacy['phase'], seenAtMs = 99_000) =>
        decideOn(
          {
            self: 'charlie',
            store: { ...source, ...storeWith({ ...promoting, phase }, { nodes: source.nodes }) },
            local,
          },
          { ...EMPTY_MEMORY, epoch: { number: 2, seenAtMs } },
        ).kinds
      expect(of(ahead, 'promoting')).toEqual([])
      expect(of(ahead, 'steady')).toEqual(['promise', 'rewind'])
      expect(of({ ...ahead, canRewind: false }, 'steady')).toEqual(['promise', 'clone'])
      // It may be the one that is waited for: then what it has is kept beside.
      expect(of(ahead, 'promoting', 0)).toEqual(['promise', 'clone'])
    })
  })
})

describe('switchover', () => {
  const request = switchoverTo('bravo')

  it('begins with the compare-and-swap, and drops the request', () => {
    const { actions } = decideOn({ store: storeFacts({ switchover: request }) })
    const primacy = { epoch: 2, phase: 'electing', planned: true, candidate: 'bravo', startedBy: 'alpha' }
    expect(actions).toMatchObject([
      { kind: 'writePrimacy', primacy },
      { kind: 'dropRequest', expected: 5n },
    ])
  })

  it('is refused, with the reason, when the candidate is not one', () => {
    const refused = (to: string, local: object = {}, nodes = reports()) =>
      decideOn({ store: storeFacts({ switchover: switchoverTo(to), nodes }), local })
    expect(refused('nobody').kinds).toEqual(['dropRequest'])
    expect(refused('alpha').reason).toContain('is the primary already')
    const zero = new Map([...reports(), ['bravo', report('bravo', { priority: 0 })]])
    expect(refused('bravo', {}, zero).reason).toContain('candidatePriority 0')
    const far = walsender('bravo', { replayLsn: behind(32n * 1024n * 1024n) })
    const lagging = refused('bravo', { server: primaryServer({ walsenders: [far, walsender('charlie')] }) })
    expect(lagging).toMatchObject({ rule: 'switchover', kinds: ['dropRequest'] })
  })
})

describe('an office with candidatePriority 0', () => {
  it('is given on to a standby that has caught up, after a while', () => {
    const office = (sinceMs: number) => ({ ...KNOWN, office: { epoch: 1, sinceMs } })
    expect(decideOn({ priority: 0 }, office(95_000)).kinds).toEqual([])
    expect(decideOn({ priority: 0 }, office(90_000))).toMatchObject({
      rule: 'give-office-on',
      actions: [{ kind: 'writePrimacy', primacy: { phase: 'electing', planned: true, candidate: 'bravo' } }],
    })
  })
})

describe('the lease of I10', () => {
  const rules = [rule(0, [])]
  const async = (local: object, facts: object = {}) =>
    decideOn({ durability: 'async', store: storeWith({ rules }, { leaseHolder: 'alpha', ...facts }), local })
  const server = primaryServer({ synchronousStandbyNames: '' })
  const applied = { role: 'primary', epoch: 1, upstream: null, synchronousStandbyNames: '' } as const
  const running = { server, applied }

  it('is taken before the start, and only when nobody else holds it', () => {
    const stopped = { ...STOPPED, applied: null, ranAsPrimaryIn: null }
    expect(async(stopped, { leaseHolder: null }).kinds).toEqual(['takePrimaryLease'])
    expect(async(stopped, { leaseHolder: 'bravo' }).kinds).toEqual([])
  })

  it('stops PostgreSQL before it runs out, also while the store does not answer', () => {
    expect(async({ ...running, primaryLeaseUntilMs: 101_000 }).kinds).toEqual([])
    expect(async({ ...running, primaryLeaseUntilMs: 100_700 })).toMatchObject({
      rule: 'self-fence',
      actions: [{ kind: 'stop', mode: 'immediate' }],
    })
    const local = { ...running, primaryLeaseUntilMs: 100_700 }
    expect(decideOn({ durability: 'async', store: 'unreachable', local }).rule).toBe('self-fence')
  })

  it('also ends what a predecessor left running with the lease and does not answer', () => {
    const local = { server: null, applied: null, primaryLeaseUntilMs: 100_700 }
    expect(decideOn({ durability: 'async', store: 'unreachable', local }).rule).toBe('self-fence')
    const standby = { server: null, applied: null, directory: clusterIn('inArchiveRecovery') }
    expect(decideOn({ durability: 'async', store: 'unreachable', local: standby }).kinds).toEqual([])
    // Without its state directory an agent knows of no lease, and what hangs may be writable all the same.
    const unknown = { server: null, applied: null, directory: clusterIn('inProduction') }
    expect(decideOn({ durability: 'async', store: 'unreachable', local: unknown }).rule).toBe('self-fence')
    expect(decideOn({ durability: 'quorum', store: 'unreachable', local: unknown }).kinds).toEqual([])
  })

  it('hastens a stop in order that takes longer than the lease: a postmaster that hangs hears no signal', () => {
    const late = { ...running, tasks: new Set(['stop'] as const), primaryLeaseUntilMs: 100_700 }
    expect(async({ ...late, stopping: 'fast' })).toMatchObject({
      rule: 'self-fence',
      actions: [{ kind: 'stop', mode: 'immediate' }],
    })
    expect(async({ ...late, stopping: 'immediate' }).kinds).toEqual([])
  })

  it('ends what hangs and was primary, whatever a new agent has written into its files meanwhile', () => {
    const directory = clusterIn('inProduction')
    const files = { role: 'standby', epoch: 2, upstream: null, synchronousStandbyNames: '' } as const
    const unseen = { directory, server: null, applied: files, promisedEpoch: 2, primaryLeaseUntilMs: 100_700 }
    const electing = storeWith({ ...ELECTING, rules }, { leaseHolder: 'alpha' })
    expect(decideOn({ durability: 'async', store: electing, local: unseen }).rule).toBe('self-fence')
    const newer = {
      epoch: 2,
      phase: 'promoting',
      primary: 'bravo',
      rules: [rule(0, []), rule(0, [], 'bravo')],
    }
    const promoting = storeWith(newer as Partial<Primacy>, { leaseHolder: 'bravo' })
    expect(decideOn({ durability: 'async', store: promoting, local: unseen }).rule).toBe('self-fence')
    const recovering = { ...unseen, directory: clusterIn('inArchiveRecovery') }
    expect(decideOn({ durability: 'async', store: electing, local: recovering }).rule).toBe('election')
  })

  it('is kept by a primary whose directory cannot be read any more', () => {
    const directory = { kind: 'unusable', code: 'data-damaged', reason: 'Input/output error' } as const
    expect(async({ ...running, directory, primaryLeaseUntilMs: 100_700 }).rule).toBe('self-fence')
  })

  it('is not given back while PostgreSQL may still write', () => {
    const electing = { ...ELECTING, rules }
    const of = (local: object) =>
      decideOn({
        store: storeWith(electing, { leaseHolder: 'alpha' }),
        local: { ...local, primaryLeaseUntilMs: 130_000 },
      })
    expect(of(running).kinds).toEqual(['promise', 'stop'])
    expect(of(STOPPED).kinds).toEqual(['dropPrimaryLease'])
  })
})
