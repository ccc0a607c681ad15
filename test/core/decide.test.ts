/** The decision, rule by rule: a view in, the rule, its actions out. */
import { describe, expect, it } from 'vitest'
import type { StoreFacts } from '../../src/core/cluster-view.ts'
import { RULES } from '../../src/core/decide.ts'
import type { ServerFacts, SlotFacts } from '../../src/core/facts.ts'
import { decideOn } from '../support/decisions.ts'
import {
  applied,
  behind,
  cluster,
  EMPTY_STORE,
  FLUSH_LSN,
  IDENTITY,
  primacy,
  primaryServer,
  report,
  rule,
  standbyServer,
  storeFacts,
  storeWith,
  walsender,
} from '../support/views.ts'

const STOPPED = { kind: 'stopped' } as const
const ABSENT = { kind: 'absent' } as const
const NOTHING_LOCAL = {
  directory: ABSENT,
  postmaster: STOPPED,
  server: null,
  applied: null,
  promisedEpoch: 0,
} as const

it('has rules with different names', () => {
  const ids = RULES.map((each) => each.id)
  expect(new Set(ids).size).toBe(ids.length)
})

it('leaves a healthy cluster alone', () => {
  for (const self of ['alpha', 'bravo', 'charlie']) {
    const decision = decideOn({ self })
    expect(decision).toMatchObject({ rule: 'keep-running', kinds: [] })
  }
})

describe('bootstrap', () => {
  it('lets the first node of the configuration claim at once, and the others wait for it', () => {
    expect(decideOn({ store: EMPTY_STORE, local: NOTHING_LOCAL })).toMatchObject({
      rule: 'bootstrap-claim',
      kinds: ['claimBootstrap'],
    })
    expect(decideOn({ self: 'bravo', store: EMPTY_STORE, local: NOTHING_LOCAL }).kinds).toEqual([])
  })

  it('lets a later node claim when the first does not come', () => {
    const first = decideOn({ self: 'bravo', now: 1_000, store: EMPTY_STORE, local: NOTHING_LOCAL })
    const later = decideOn(
      { self: 'bravo', now: 3_100, store: EMPTY_STORE, local: NOTHING_LOCAL },
      first.memory,
    )
    expect(later.kinds).toEqual(['claimBootstrap'])
  })

  it('initializes under its own claim only', () => {
    const own = { value: { node: 'alpha', session: 'session-of-alpha' }, revision: 3n }
    const store = { ...EMPTY_STORE, claim: own }
    expect(decideOn({ store, local: NOTHING_LOCAL })).toMatchObject({
      rule: 'bootstrap-initialize',
      kinds: ['initialize'],
    })
    expect(decideOn({ self: 'bravo', store, local: NOTHING_LOCAL })).toMatchObject({
      rule: 'bootstrap-wait',
      kinds: [],
    })
  })

  it('takes the claim of its own killed predecessor over, with the revision that it saw', () => {
    const claim = { value: { node: 'alpha', session: 'an-earlier-one' }, revision: 3n }
    const decision = decideOn({ store: { ...EMPTY_STORE, claim }, local: NOTHING_LOCAL })
    expect(decision.actions).toEqual([
      { kind: 'claimBootstrap', claim: { node: 'alpha', session: 'session-of-alpha' }, expected: 3n },
    ])
  })

  it('publishes the directory that it made, and starts with a rule that waits for nobody', () => {
    const claim = { value: { node: 'alpha', session: 'session-of-alpha' }, revision: 3n }
    const local = { ...NOTHING_LOCAL, directory: cluster(), initialized: IDENTITY.systemIdentifier }
    const decision = decideOn({ store: { ...EMPTY_STORE, claim }, local })
    expect(decision.actions[0]).toMatchObject({
      kind: 'publishCluster',
      claim: 3n,
      identity: IDENTITY,
      primacy: { epoch: 1, primary: 'alpha', phase: 'steady', rules: [{ acks: 0, standbys: [] }] },
    })
  })

  it('never begins a cluster beside data that it did not make', () => {
    const local = { ...NOTHING_LOCAL, directory: cluster() }
    expect(decideOn({ store: EMPTY_STORE, local })).toMatchObject({ rule: 'store-empty', kinds: [] })
  })

  it('moves aside what it made when another node won, and nothing else', () => {
    const local = { ...NOTHING_LOCAL, directory: cluster({ systemIdentifier: '42' }), initialized: '42' }
    expect(decideOn({ self: 'bravo', local })).toMatchObject({ rule: 'bootstrap-lost', kinds: ['moveAside'] })
    expect(decideOn({ self: 'bravo', local: { ...local, promisedEpoch: 1 } }).kinds).toEqual([])
  })
})

describe('roles', () => {
  const stopped = { postmaster: STOPPED, server: null, applied: null, ranAsPrimaryIn: null }

  it('promises, writes the files, then starts: as primary only when primacy names it (I3, I7)', () => {
    const decision = decideOn({ local: stopped })
    expect(decision.kinds).toEqual(['promise', 'configure', 'start'])
    expect(decision.actions[1]).toMatchObject({
      wanted: { role: 'primary', synchronousStandbyNames: 'ANY 1 ("bravo", "charlie")' },
    })
  })

  it('starts as standby of the primary, with the names that it would need as primary (I5)', () => {
    const decision = decideOn({ self: 'bravo', local: stopped })
    expect(decision.actions[1]).toMatchObject({
      wanted: {
        role: 'standby',
        upstream: { name: 'alpha' },
        synchronousStandbyNames: 'ANY 1 ("alpha", "charlie")',
      },
    })
  })

  it('starts nothing while the store does not answer, and stops nothing either', () => {
    expect(decideOn({ store: 'unreachable', local: stopped }).kinds).toEqual([])
    expect(decideOn({ store: 'unreachable' }).kinds).toEqual([])
  })

  it('acts on no epoch below its promise (I1)', () => {
    expect(decideOn({ local: { ...stopped, promisedEpoch: 2 } })).toMatchObject({
      rule: 'store-stale',
      kinds: ['markStale'],
    })
  })

  it('stops a server that is writable although another node is primary', () => {
    const decision = decideOn({ self: 'bravo', local: { server: primaryServer({ walsenders: [] }) } })
    expect(decision).toMatchObject({ rule: 'stop-stale-primary' })
    expect(decision.kinds.slice(0, 2)).toEqual(['promise', 'stop'])
  })

  it('never initializes a primary anew when its data is gone', () => {
    expect(decideOn({ local: { ...stopped, directory: ABSENT } })).toMatchObject({
      rule: 'primary-without-data',
      kinds: ['writePrimacy'],
    })
    // Where commits wait for nobody the others have most of it; where nobody has anything there is nobody to ask.
    const waitsForNobody = (nodes: StoreFacts['nodes']) =>
      storeWith({ rules: [rule(0, [])] }, { leaseHolder: 'alpha', nodes })
    const local = { ...stopped, directory: ABSENT, primaryLeaseUntilMs: 200_000 }
    const known = waitsForNobody(new Map([['bravo', report('bravo')]]))
    expect(decideOn({ store: known, local }).kinds).toEqual(['writePrimacy'])
    const alone = waitsForNobody(new Map([['bravo', report('bravo', { timelineId: null })]]))
    expect(decideOn({ store: alone, local })).toMatchObject({ rule: 'primary-without-data', kinds: [] })
  })

  it('writes the configuration again when a new agent adopts a running server', () => {
    expect(decideOn({ local: { applied: null } }).kinds).toEqual(['promise', 'configure'])
    expect(decideOn({ self: 'bravo', local: { applied: null } }).kinds).toEqual(['promise', 'configure'])
  })

  it('keeps its hands off another cluster, another major version, a foreign server', () => {
    const foreign = { ...stopped, directory: cluster({ systemIdentifier: '42' }) }
    expect(decideOn({ self: 'bravo', local: foreign })).toMatchObject({ rule: 'identity-differs', kinds: [] })
    const other = storeFacts({ identity: { ...IDENTITY, major: 15 } })
    expect(decideOn({ self: 'bravo', store: other, local: stopped })).toMatchObject({
      rule: 'major-differs',
      kinds: [],
    })
    const postmaster = { kind: 'foreign', pid: 9, reason: 'somebody else' } as const
    expect(decideOn({ self: 'bravo', local: { ...stopped, postmaster } })).toMatchObject({
      rule: 'postmaster-foreign',
      kinds: [],
    })
  })
})

describe('joining', () => {
  it('clones the primary when that runs in the current epoch', () => {
    const decision = decideOn({ self: 'bravo', local: { ...NOTHING_LOCAL } })
    expect(decision.kinds).toEqual(['promise', 'clone'])
    const down = storeFacts({ nodes: new Map([['alpha', report('alpha', { state: 'stopped' })]]) })
    expect(decideOn({ self: 'bravo', store: down, local: { ...NOTHING_LOCAL } }).kinds).toEqual([])
  })

  it('waits longer after every failed clone', () => {
    const failure = { code: 'clone-failed', reason: 'cut', hint: '', atMs: 100_000 } as const
    const kindsAt = (now: number, count: number) =>
      decideOn({
        self: 'bravo',
        now,
        local: { ...NOTHING_LOCAL, failures: new Map([['clone', { ...failure, count }]]) },
      }).kinds
    expect(kindsAt(100_900, 1)).toEqual([])
    expect(kindsAt(101_000, 1)).toEqual(['promise', 'clone'])
    expect(kindsAt(103_900, 3)).toEqual([])
    expect(kindsAt(131_000, 9)).toEqual(['promise', 'clone'])
  })

  it('waits for a task that is under way', () => {
    const decision = decideOn({ self: 'bravo', local: { ...NOTHING_LOCAL, tasks: new Set(['clone']) } })
    expect(decision).toMatchObject({ rule: 'task-under-way', kinds: [] })
  })
})

describe('slots', () => {
  it('exist for every other member, on standbys too', () => {
    const decision = decideOn({ self: 'bravo', local: { server: standbyServer('bravo', { slots: [] }) } })
    expect(decision.actions).toEqual([
      { kind: 'createSlot', name: 'understudy_alpha' },
      { kind: 'createSlot', name: 'understudy_charlie' },
    ])
  })

  it('go with the node that was removed, once nobody uses them; a user’s own stay', () => {
    const slotNamed = (name: string, more = {}): SlotFacts => ({
      ...{ name, active: false, temporary: false, physical: true, restartLsn: FLUSH_LSN },
      ...{ walStatus: 'reserved', holdsXmin: false },
      ...more,
    })
    const server = standbyServer('bravo')
    const slots = [
      ...server.slots,
      slotNamed('understudy_delta'),
      slotNamed('understudy_echo', { active: true }),
      slotNamed('reports'),
    ]
    const { actions } = decideOn({ self: 'bravo', local: { server: { ...server, slots } } })
    expect(actions).toEqual([{ kind: 'dropSlot', name: 'understudy_delta' }])
  })

  it('are advanced on a standby to what the member has, and left alone when it does not report', () => {
    const slot = {
      name: 'understudy_charlie',
      active: false,
      temporary: false,
      physical: true,
      restartLsn: behind(32n * 1024n * 1024n),
      walStatus: 'reserved',
      holdsXmin: false,
    } as const
    const server = standbyServer('bravo')
    const local = {
      server: { ...server, slots: [...server.slots.filter((each) => each.name !== slot.name), slot] },
    }
    expect(decideOn({ self: 'bravo', local }).actions).toMatchObject([
      { kind: 'advanceSlot', to: 0x5000000n },
    ])
    const silent = storeFacts({ nodes: new Map([['alpha', report('alpha')]]) })
    expect(decideOn({ self: 'bravo', store: silent, local }).actions).toEqual([])
  })

  it('of a former primary that hold xmin are made anew: nobody would ever move that on', () => {
    const held = standbyServer('bravo').slots.map((slot) => ({ ...slot, active: false, holdsXmin: true }))
    const kinds = (server: ServerFacts, self: string) => decideOn({ self, local: { server } }).kinds
    expect(kinds(standbyServer('bravo', { slots: held }), 'bravo')).toEqual(['dropSlot', 'dropSlot'])
    // In use, or kept for a standby that is away from its primary, it holds what is needed.
    const used = held.map((slot) => ({ ...slot, active: true }))
    expect(kinds(standbyServer('bravo', { slots: used }), 'bravo')).toEqual([])
    const own = primaryServer().slots.map((slot) => ({ ...slot, active: false, holdsXmin: true }))
    expect(kinds(primaryServer({ slots: own }), 'alpha')).toEqual([])
  })

  it('that are lost are dropped, to be made anew', () => {
    const lost = primaryServer().slots.map((slot) => ({ ...slot, active: false, walStatus: 'lost' as const }))
    expect(decideOn({ local: { server: primaryServer({ slots: lost }) } }).kinds).toEqual([
      'dropSlot',
      'dropSlot',
    ])
  })
})

describe('changing the rule', () => {
  const none = rule(0, [])
  const both = rule(1, ['bravo', 'charlie'])
  // A rule that waits for nobody needs the lease of I10.
  const held = { leaseHolder: 'alpha' }
  const first = storeFacts({ ...held, primacy: { value: primacy({ rules: [none] }), revision: 7n } })
  const lease = { primaryLeaseUntilMs: 130_000 }
  const unset = {
    ...lease,
    applied: applied('primary', ''),
    server: primaryServer({ synchronousStandbyNames: '' }),
  }

  it('begins in the store, before PostgreSQL is touched', () => {
    const decision = decideOn({ store: first, local: unset })
    expect(decision.actions).toMatchObject([
      { kind: 'writePrimacy', expected: 7n, primacy: { rules: [none], nextRule: both } },
    ])
  })

  it('does not begin with one standby, nor with one that is not caught up', () => {
    const one = {
      ...unset,
      server: primaryServer({ synchronousStandbyNames: '', walsenders: [walsender('bravo')] }),
    }
    expect(decideOn({ store: first, local: one }).kinds).toEqual([])
    const far = walsender('charlie', { flushLsn: behind(64n * 1024n * 1024n) })
    const behindOne = {
      ...unset,
      server: primaryServer({ synchronousStandbyNames: '', walsenders: [walsender('bravo'), far] }),
    }
    expect(decideOn({ store: first, local: behindOne }).kinds).toEqual([])
  })

  it('asks for nothing with async durability', () => {
    expect(decideOn({ durability: 'async', store: first, local: unset }).kinds).toEqual([])
  })

  const changing = storeFacts({
    ...held,
    primacy: { value: primacy({ rules: [none], nextRule: both }), revision: 8n },
  })

  it('then sets PostgreSQL, waits for the walsenders, asks for a proof, and only then says so', () => {
    const set = decideOn({ store: changing, local: unset })
    expect(set.actions).toMatchObject([
      { kind: 'configure', wanted: { synchronousStandbyNames: 'ANY 1 ("bravo", "charlie")' } },
    ])

    const stale = {
      ...lease,
      server: primaryServer({ walsenders: [walsender('bravo'), walsender('charlie', { syncPriority: 0 })] }),
    }
    expect(decideOn({ store: changing, local: stale }, set.memory).kinds).toEqual([])

    const proof = decideOn({ store: changing, local: lease }, set.memory)
    expect(proof.actions).toEqual([{ kind: 'prove', rule: both }])

    const proven = { rule: both, atMs: 100_500 }
    const said = decideOn({ store: changing, now: 100_600, local: { ...lease, proven } }, proof.memory)
    expect(said.actions).toMatchObject([
      { kind: 'writePrimacy', expected: 8n, primacy: { rules: [both], nextRule: null } },
    ])
  })

  it('does not take an earlier proof for this one', () => {
    const begun = decideOn({ store: changing, now: 100_000, local: lease })
    const proven = { rule: both, atMs: 99_000 }
    expect(
      decideOn({ store: changing, now: 100_100, local: { ...lease, proven } }, begun.memory).kinds,
    ).toEqual(['prove'])
  })

  it('gives up by putting the old rule back and proving that, and only then clears nextRule (M: abortUnsafe)', () => {
    const begun = decideOn({ store: changing, now: 100_000, local: unset })
    const late = decideOn({ store: changing, now: 116_000, local: lease }, begun.memory)
    expect(late.actions).toMatchObject([{ kind: 'configure', wanted: { synchronousStandbyNames: '' } }])
    const freed = primaryServer({
      synchronousStandbyNames: '',
      walsenders: [walsender('bravo', { syncPriority: 0 }), walsender('charlie', { syncPriority: 0 })],
    })
    const back = { ...lease, applied: applied('primary', ''), server: freed }
    const prove = decideOn({ store: changing, now: 116_100, local: back }, late.memory)
    expect(prove.actions).toEqual([{ kind: 'prove', rule: none }])
    const proven = { rule: none, atMs: 116_200 }
    const cleared = decideOn({ store: changing, now: 116_300, local: { ...back, proven } }, prove.memory)
    expect(cleared.actions).toMatchObject([
      { kind: 'writePrimacy', primacy: { rules: [none], nextRule: null } },
    ])
    const again = storeFacts({ ...held, primacy: { value: primacy({ rules: [none] }), revision: 9n } })
    expect(decideOn({ store: again, now: 116_400, local: unset }, cleared.memory).kinds).toEqual([])
  })

  it('ends the walsenders once when only the number changes, for that shows nowhere', () => {
    const wanted = rule(2, ['bravo', 'charlie'])
    const store = storeFacts({ primacy: { value: primacy({ nextRule: wanted }), revision: 8n } })
    const local = {
      applied: applied('primary', 'ANY 2 ("bravo", "charlie")'),
      server: primaryServer({ synchronousStandbyNames: 'ANY 2 ("bravo", "charlie")' }),
    }
    const ended = decideOn({ store, local })
    expect(ended.kinds).toEqual(['endWalsenders'])
    // One that hangs has not heard the signal, and still goes by the old number.
    expect(decideOn({ store, local }, ended.memory).kinds).toEqual([])
    const walsenders = local.server.walsenders.map((each) => ({ ...each, pid: each.pid + 100 }))
    const back = { ...local, server: { ...local.server, walsenders } }
    expect(decideOn({ store, local: back }, ended.memory).kinds).toEqual(['prove'])
  })

  it('removes a lost standby only after a delay, and never the last one', () => {
    const gone = { server: primaryServer({ walsenders: [walsender('bravo')] }) }
    const lost = decideOn({ now: 100_000, local: gone })
    expect(lost.kinds).toEqual([])
    const later = decideOn({ now: 110_000, local: gone }, lost.memory)
    expect(later.actions).toMatchObject([{ kind: 'writePrimacy', primacy: { nextRule: rule(1, ['bravo']) } }])
    expect(decideOn({ now: 110_000, whenStandbyLost: 'block', local: gone }, lost.memory).kinds).toEqual([])
    // A primary that slept meanwhile has not seen that it was away.
    const awake = { ...gone, awakeSinceMs: 109_000 }
    expect(decideOn({ now: 110_000, local: awake }, lost.memory).kinds).toEqual([])
    const alone = { server: primaryServer({ walsenders: [] }) }
    const start = decideOn({ now: 100_000, local: alone })
    expect(decideOn({ now: 200_000, local: alone }, start.memory).kinds).toEqual([])
  })

  it('puts the setting right when somebody changed it', () => {
    const local = { server: primaryServer({ synchronousStandbyNames: '' }) }
    expect(decideOn({ local })).toMatchObject({ rule: 'quorum-keep', kinds: ['configure'] })
  })
})
