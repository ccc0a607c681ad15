/** A store that has forgotten something: who sees it, that nobody acts on it, and what is put back (docs/failover.md, "When the store is gone"). */

import { describe, expect, it } from 'vitest'
import { descends, succeeding } from '../../src/core/knowledge.ts'
import type { Knowledge, Primacy } from '../../src/core/primacy.ts'
import { type MemberKnowledge, planRecovery, type RecoveryInput } from '../../src/core/store-recovery.ts'
import { decideOn } from '../support/decisions.ts'
import {
  EMPTY_STORE,
  IDENTITY,
  MEMBERS,
  primacy,
  report,
  rule,
  SYSTEM_IDENTIFIER,
  storeFacts,
} from '../support/views.ts'

const FIRST = primacy()
const NAMES = MEMBERS.map(({ name }) => name)
const ABSENT = { kind: 'absent' } as const
const STOPPED = { postmaster: { kind: 'stopped' }, server: null, applied: null } as const

function knowing(document: Primacy): Knowledge {
  return { primacy: document, identity: IDENTITY }
}

/** The next one, written upon it. */
function writtenUpon(document: Primacy, id: string, changes: Partial<Primacy> = {}): Primacy {
  return succeeding({ ...document, ...changes }, id)
}

function storeAt(document: Primacy) {
  return storeFacts({ primacy: { value: document, revision: 9n } })
}

describe('the descent of a document', () => {
  it('is seen over the documents in between, and not from the other side of a parting', () => {
    const second = writtenUpon(FIRST, 'second')
    const third = writtenUpon(second, 'third')
    expect(descends(third, FIRST)).toBe(true)
    expect(descends(FIRST, third)).toBe(false)
    expect(descends(writtenUpon(FIRST, 'other'), second)).toBe(false)
    expect(descends(writtenUpon(writtenUpon(FIRST, 'other'), 'one more'), second)).toBe(false)
    expect(descends({ ...third, epoch: 0 }, FIRST)).toBe(false)
  })

  it('is taken for granted behind what is remembered', () => {
    const steps = Array.from({ length: 40 }, (_, step) => `step ${step}`)
    const last = steps.reduce((document, id) => writtenUpon(document, id), FIRST)
    expect(last.lineage.before.length).toBeLessThan(40)
    expect(descends(last, writtenUpon(FIRST, 'never seen'))).toBe(true)
  })
})

describe('a store that was restored from an old copy', () => {
  const changed = writtenUpon(FIRST, 'changed', { nextRule: rule(1, ['bravo', 'charlie', 'delta']) })

  it('is not believed in the same epoch either: it may have forgotten a rule', () => {
    const local = { known: knowing(changed) }
    expect(decideOn({ store: storeAt(FIRST), local })).toMatchObject({
      rule: 'store-stale',
      kinds: ['markStale'],
    })
    expect(decideOn({ store: storeAt(writtenUpon(changed, 'proven')), local }).rule).not.toBe('store-stale')
  })

  it('is not believed when somebody has gone on from there, in whatever epoch', () => {
    const gone = writtenUpon(FIRST, 'gone on', { epoch: 3, phase: 'electing' })
    expect(decideOn({ store: storeAt(gone), local: { known: knowing(changed) } }).rule).toBe('store-stale')
  })

  it('is believed by nobody once one node has said so', () => {
    const store = { ...storeAt(FIRST), stale: { by: 'bravo', epoch: 5 } }
    expect(decideOn({ store, local: { ...STOPPED, known: knowing(FIRST) } })).toMatchObject({
      rule: 'store-stale',
      kinds: [],
    })
    expect(
      decideOn({
        store: { ...EMPTY_STORE, stale: store.stale },
        local: { directory: ABSENT, promisedEpoch: 0 },
      }).kinds,
    ).toEqual([])
  })

  it('does not stop a primary whose commits waited for nobody in those days', () => {
    const old = { ...FIRST, rules: [rule(0, [])] }
    const local = { known: knowing(writtenUpon(old, 'quorum', { rules: [rule(1, ['bravo', 'charlie'])] })) }
    expect(decideOn({ store: storeAt(old), local }).kinds).toEqual(['markStale'])
  })

  it('is another cluster’s when it says so: nothing here is stopped for it, and nothing is said there', () => {
    const store = { ...storeAt(FIRST), identity: { ...IDENTITY, systemIdentifier: '42' } }
    expect(decideOn({ store, local: { known: knowing(FIRST) } })).toMatchObject({
      rule: 'store-stale',
      kinds: [],
    })
  })
})

describe('an empty store', () => {
  it('makes nobody begin who was in a cluster, whatever is left of its data', () => {
    const local = { ...STOPPED, directory: ABSENT }
    for (const more of [{ known: knowing(FIRST) }, { known: null, promisedEpoch: 3 }])
      expect(decideOn({ store: EMPTY_STORE, local: { ...local, promisedEpoch: 0, ...more } })).toMatchObject({
        rule: 'store-emptied',
        kinds: ['markStale'],
      })
  })

  it('makes nobody begin beside others that have data', () => {
    const nodes = new Map([['bravo', report('bravo')]])
    const local = { ...STOPPED, directory: ABSENT, promisedEpoch: 0 }
    expect(decideOn({ store: { ...EMPTY_STORE, nodes }, local })).toMatchObject({
      rule: 'bootstrap-beside-data',
      kinds: [],
    })
  })
})

describe('what is put back', () => {
  const steady = writtenUpon(FIRST, 'steady', {
    epoch: 4,
    rules: [{ ...rule(1, ['bravo', 'charlie']), epoch: 4 }],
  })
  const changing = writtenUpon(steady, 'changing', { nextRule: { ...rule(1, ['bravo']), epoch: 4 } })

  function member(
    name: string,
    known: Primacy | null,
    changes: Partial<MemberKnowledge> = {},
  ): MemberKnowledge {
    return {
      name,
      promisedEpoch: known?.epoch ?? 0,
      known: known === null ? null : knowing(known),
      systemIdentifier: SYSTEM_IDENTIFIER,
      timelineId: 1,
      ...changes,
    }
  }

  function plan(answers: readonly MemberKnowledge[], changes: Partial<RecoveryInput> = {}) {
    const made = planRecovery({
      self: 'alpha',
      members: NAMES,
      answers: new Map(answers.map((each) => [each.name, each])),
      store: { primacy: { value: FIRST, revision: 2n }, identity: IDENTITY, stale: null, leaseHolder: null },
      without: [],
      acceptDataLoss: false,
      by: 'ann@desk',
      reason: null,
      id: 'recovered',
      ...changes,
    })
    const refusal = made.checks.find(({ result }) => result === 'failed')?.code ?? null
    return { ...made, refusal, back: made.document?.primacy ?? null }
  }

  const ALL = [
    member('alpha', changing),
    member('bravo', steady),
    member('charlie', steady, { promisedEpoch: 6 }),
  ]

  it('is the newest document that anybody knows, with every rule, above every promise (I1, I2)', () => {
    const { refusal, source, back } = plan(ALL)
    expect({ refusal, source }).toEqual({ refusal: null, source: 'alpha' })
    expect(back).toMatchObject({
      epoch: 7,
      phase: 'electing',
      primary: 'alpha',
      rules: [
        { acks: 1, standbys: ['bravo', 'charlie'] },
        { acks: 1, standbys: ['bravo'] },
      ],
      nextRule: null,
      override: null,
    })
    for (const { known } of ALL)
      if (back !== null && known !== null) expect(descends(back, known.primacy)).toBe(true)
  })

  it('allocates timelines above every one that is known anywhere (I6)', () => {
    const [alpha, bravo, charlie] = ALL
    if (alpha === undefined || bravo === undefined || charlie === undefined) throw new Error('three')
    expect(plan([alpha, bravo, { ...charlie, timelineId: 9 }]).back?.highestTimelineId).toBe(9)
  })

  it('keeps the rules of what was written by somebody who did not know better', () => {
    const gone = writtenUpon(FIRST, 'gone on', { epoch: 5, phase: 'electing' })
    const { back } = plan([member('alpha', changing), member('bravo', gone), member('charlie', steady)])
    expect(back?.rules).toHaveLength(3)
    expect(back?.epoch).toBe(6)
  })

  it('lets an election wait for the lease of a primary that the store has forgotten (I10)', () => {
    const alone = writtenUpon(FIRST, 'alone', { epoch: 2, rules: [rule(0, [])] })
    const answers = NAMES.map((name) => member(name, alone))
    expect(plan(answers).leaseHolder).toBe('alpha')
    expect(plan(ALL).leaseHolder).toBeNull()
  })

  it('is refused while a member is silent, or has lost what it knew, unless it is left out', () => {
    const two = ALL.slice(0, 2)
    expect(plan(two).refusal).toBe('member-silent')
    expect(plan([...two, member('charlie', null)]).refusal).toBe('member-silent')
    expect(plan(two, { without: ['charlie'] }).refusal).toBe('data-loss')
    const accepted = plan(two, { without: ['charlie'], acceptDataLoss: true })
    expect(accepted.refusal).toBeNull()
    expect(accepted.losses.join(' ')).toContain('charlie')
    // Whoever is left out may know of elections that nobody here knows of, and have commits that nobody else has (I11).
    expect(accepted.back?.epoch).toBeGreaterThan(5)
    expect(accepted.back?.highestTimelineId).toBeGreaterThan(1)
    expect(accepted.back?.writtenOff).toEqual({ charlie: accepted.back?.epoch })
  })

  it('leaves nobody out who answers and knows', () => {
    expect(plan(ALL, { without: ['bravo'], acceptDataLoss: true }).refusal).toBe('voter-reachable')
  })

  it('is refused when the store knows everything', () => {
    const store = {
      primacy: { value: steady, revision: 2n },
      identity: IDENTITY,
      stale: null,
      leaseHolder: null,
    }
    const answers = NAMES.map((name) => member(name, steady))
    expect(plan(answers, { store }).refusal).toBe('nothing-to-recover')
    // By whom it was marked has been answered by what the nodes know; the mark must go all the same.
    expect(plan(answers, { store: { ...store, stale: { by: 'bravo', epoch: 4 } } }).refusal).toBeNull()
  })

  it('is refused when nobody knows anything, and when it is not one cluster', () => {
    const empty = { primacy: null, identity: null, stale: null, leaseHolder: null }
    expect(
      plan(
        NAMES.map((name) => member(name, null)),
        { store: empty },
      ).refusal,
    ).toBe('nothing-known')
    const [alpha, bravo, charlie] = ALL
    if (alpha === undefined || bravo === undefined || charlie === undefined) throw new Error('three')
    expect(plan([alpha, bravo, { ...charlie, systemIdentifier: '42' }]).refusal).toBe('system-identifier')
    const foreign = { ...empty, identity: { ...IDENTITY, systemIdentifier: '42' } }
    expect(plan(ALL, { store: foreign }).refusal).toBe('system-identifier')
  })

  it('gives an empty store its identity again', () => {
    const store = { primacy: null, identity: null, stale: null, leaseHolder: null }
    expect(plan(ALL, { store })).toMatchObject({ refusal: null, document: { identity: IDENTITY } })
  })
})
