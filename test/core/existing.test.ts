/** A server that was there before and is given to the agent: everything else comes first, so that clients miss it for one stop and one start. */
import { describe, expect, it } from 'vitest'
import { decide } from '../../src/core/decide.ts'
import { decideOn, KNOWN } from '../support/decisions.ts'
import { EMPTY_STORE, IDENTITY, primacy, report, rule, storeFacts, view } from '../support/views.ts'

const FOREIGN = { kind: 'foreign', pid: 1, reason: 'process 1 runs it' } as const
const GIVEN = { ...FOREIGN, mayEnd: true } as const
const BEFORE = { server: null, applied: null, promisedEpoch: 0, primaryLeaseUntilMs: null } as const
const ALONE = rule(0, [])

describe('a server that was there before', () => {
  it('is left alone while it is not given, whatever the store says', () => {
    for (const store of [EMPTY_STORE, storeFacts()])
      expect(decideOn({ store, local: { ...BEFORE, postmaster: FOREIGN } })).toMatchObject({
        rule: 'postmaster-foreign',
        kinds: [],
      })
  })

  it('begins the cluster while it runs', () => {
    const local = { ...BEFORE, postmaster: GIVEN, initialized: IDENTITY.systemIdentifier }
    expect(decideOn({ store: EMPTY_STORE, local })).toMatchObject({
      rule: 'bootstrap-claim',
      kinds: ['claimBootstrap'],
    })
  })

  it('of which this node was not told begins no cluster', () => {
    const local = { ...BEFORE, postmaster: GIVEN, initialized: null }
    expect(decideOn({ store: EMPTY_STORE, local })).toMatchObject({ rule: 'store-empty', kinds: [] })
  })

  it('is stopped only when the lease is held, where commits wait for nobody (I10)', () => {
    const store = storeFacts({ primacy: { value: primacy({ rules: [ALONE] }), revision: 1n } })
    const local = { ...BEFORE, postmaster: GIVEN }
    expect(decideOn({ store, local })).toMatchObject({ rule: 'take-lease', kinds: ['takePrimaryLease'] })
    const held = storeFacts({
      primacy: { value: primacy({ rules: [ALONE] }), revision: 1n },
      leaseHolder: 'alpha',
    })
    expect(decideOn({ store: held, local: { ...local, primaryLeaseUntilMs: 1e9 } })).toMatchObject({
      rule: 'replace-existing',
      kinds: ['stop'],
    })
  })

  it('becomes a standby only when the primary runs, which it then follows', () => {
    const local = { ...BEFORE, postmaster: GIVEN }
    expect(decideOn({ self: 'bravo', local })).toMatchObject({ rule: 'replace-existing', kinds: ['stop'] })
    const nodes = new Map([['alpha', report('alpha', { state: 'stopped' })]])
    expect(decideOn({ self: 'bravo', store: storeFacts({ nodes }), local })).toMatchObject({
      rule: 'replace-existing',
      kinds: [],
    })
  })

  it('holds the lease while it is alone, so that it need not stop for its first standby (I10)', () => {
    const spec = { members: [{ name: 'alpha', host: 'alpha', port: 5432 }] }
    const alone = (leaseHolder: string | null, primaryLeaseUntilMs: number | null) => {
      const store = storeFacts({ primacy: { value: primacy({ rules: [ALONE] }), revision: 1n }, leaseHolder })
      const seen = view({ store, local: { primaryLeaseUntilMs } })
      const { rule: name, actions } = decide({ ...seen, spec: { ...seen.spec, ...spec } }, KNOWN)
      return { rule: name, kinds: actions.map(({ kind }) => kind) }
    }
    expect(alone(null, null).kinds).toEqual(['takePrimaryLease'])
    expect(alone('alpha', 1e9).kinds).not.toContain('takePrimaryLease')
    // Whoever holds it, nobody could be promoted: it goes on, and waits for nothing.
    expect(alone('bravo', null).kinds).not.toContain('stop')
    expect(alone('bravo', null).rule).not.toBe('take-lease')
  })

  it('is not stopped twice', () => {
    const local = { ...BEFORE, postmaster: GIVEN, tasks: new Set(['stop'] as const) }
    expect(decideOn({ self: 'bravo', local }).kinds).not.toContain('stop')
  })
})
