/** A disk that takes no writes and does not say so: who sees it, what follows, and what is no reason for anything. */
import { describe, expect, it } from 'vitest'
import { EMPTY_MEMORY, type Memory } from '../../src/core/decision.ts'
import { findProblems } from '../../src/core/problems.ts'
import { decideOn, ELECTING, KNOWN } from '../support/decisions.ts'
import { FLUSH_LSN, MEMBERS, primaryServer, report, storeFacts, storeWith, view } from '../support/views.ts'

const PAUSED = { reason: 'an upgrade', by: 'ann@desk', at: '2026-01-01T00:00:00Z' }
/** Nothing has come back from the disk for the whole rto of 3 s. */
const HUNG = { diskTriedSinceMs: 97_000 }
const STILL: Memory = { ...KNOWN, flushed: { lsn: FLUSH_LSN, sinceMs: 90_000 } }

function reports(...hanging: string[]) {
  return new Map(MEMBERS.map(({ name }) => [name, report(name, { diskHangs: hanging.includes(name) })]))
}

const nodes = reports()

describe('the disk of the primary', () => {
  const rule = (local: object, memory = STILL, store = storeFacts({ nodes })): string =>
    decideOn({ store, local }, memory).rule

  it('that takes no write for the whole rto ends its office', () => {
    const decision = decideOn({ store: storeFacts({ nodes }), local: HUNG }, STILL)
    expect(decision.rule).toBe('resign-hanging')
    expect(decision.actions).toMatchObject([
      { kind: 'writePrimacy', expected: 7n, primacy: { epoch: 2, phase: 'electing' } },
    ])
  })

  it('does not when it is only slow: a write came back, WAL gets there, or the agent was not awake', () => {
    expect(rule({ diskTriedSinceMs: null })).not.toBe('resign-hanging')
    expect(rule({ diskTriedSinceMs: 97_001 })).not.toBe('resign-hanging')
    expect(rule({ ...HUNG, awakeSinceMs: 97_001 })).not.toBe('resign-hanging')
    const moved = { ...KNOWN, flushed: { lsn: FLUSH_LSN, sinceMs: 97_001 } }
    expect(rule(HUNG, moved)).not.toBe('resign-hanging')
    const movesNow = { ...HUNG, server: primaryServer({ flushLsn: (FLUSH_LSN + 8n) as typeof FLUSH_LSN }) }
    expect(rule(movesNow)).not.toBe('resign-hanging')
  })

  it('does not when nobody could take over: failover is paused, or the others hang, too', () => {
    expect(rule(HUNG, STILL, storeFacts({ nodes, paused: PAUSED }))).not.toBe('resign-hanging')
    expect(rule(HUNG, STILL, storeFacts({ nodes: reports('bravo') }))).not.toBe('resign-hanging')
    expect(rule(HUNG, STILL, storeFacts({ nodes: new Map() }))).not.toBe('resign-hanging')
  })

  it('is not waited for by its fence: PostgreSQL is killed before the promise, which may never get there', () => {
    const store = storeWith(ELECTING)
    expect(decideOn({ store, local: HUNG }, STILL).actions).toEqual([{ kind: 'stop', mode: 'immediate' }])
    const stopping = { ...HUNG, tasks: new Set(['stop']) as ReadonlySet<'stop'> }
    expect(decideOn({ store, local: stopping }, STILL).kinds).toEqual(['promise'])
    expect(decideOn({ store, local: {} }, STILL).kinds).toEqual(['promise', 'stop'])
  })
})

it('a disk that hangs is named, on whichever node it is', () => {
  const of = (self: string, local: object) =>
    findProblems(view({ self, local }), EMPTY_MEMORY).filter(({ code }) => code === 'disk-hangs')
  expect(of('bravo', HUNG)).toMatchObject([{ node: 'bravo', severity: 'error' }])
  expect(of('bravo', { diskTriedSinceMs: 99_990 })).toEqual([])
})
