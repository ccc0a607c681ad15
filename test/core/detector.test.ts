/** When is a primary called dead, and when will what is seen now be enough? Silence of the stream, and of new connections. */
import { describe, expect, it } from 'vitest'
import type { Probe } from '../../src/core/cluster-view.ts'
import { suspectsPrimary, suspicionDueMs } from '../../src/core/detector.ts'
import type { DirectoryState } from '../../src/core/facts.ts'
import { cluster, primacy, standbyServer, storeFacts, view } from '../support/views.ts'

const NOW = 100_000
const RTO = 3_000
const silentSince = (atMs: number): Probe => ({ kind: 'silent', atMs })
const REFUSED: Probe = { kind: 'refused', atMs: NOW }
const ANSWERS: Probe = { kind: 'answers', atMs: NOW }

interface Seen {
  /** null: there is no walreceiver. */
  readonly messageAgeMs: number | null
  readonly agent: Probe
  readonly postgres: Probe
  readonly awakeSinceMs?: number
}

function seeing({ messageAgeMs, agent, postgres, awakeSinceMs = 0 }: Seen) {
  const { walreceiver } = standbyServer('bravo')
  const silent =
    walreceiver === null || messageAgeMs === null ? null : { ...walreceiver, lastMessageAgeMs: messageAgeMs }
  return view({
    self: 'bravo',
    now: NOW,
    store: storeFacts(),
    local: {
      server: standbyServer('bravo', { walreceiver: silent }),
      probes: { primary: 'alpha', agent, postgres },
      awakeSinceMs,
    },
  })
}

const dueOf = (seen: Seen): number | null => suspicionDueMs(seeing(seen), primacy())

describe('a primary is called dead', () => {
  it('at once when its stream is gone and both ports refuse', () => {
    expect(dueOf({ messageAgeMs: null, agent: REFUSED, postgres: REFUSED })).toBe(NOW)
  })

  it('never while one of its ports answers', () => {
    expect(dueOf({ messageAgeMs: null, agent: ANSWERS, postgres: REFUSED })).toBeNull()
    expect(dueOf({ messageAgeMs: 10_000, agent: REFUSED, postgres: ANSWERS })).toBeNull()
  })

  it('after the rto when its stream is silent and nobody answers since the first doubt', () => {
    const half = silentSince(NOW - RTO / 2)
    expect(dueOf({ messageAgeMs: RTO, agent: half, postgres: half })).toBe(NOW)
    expect(dueOf({ messageAgeMs: RTO - 100, agent: half, postgres: half })).toBe(NOW + 100)
    expect(dueOf({ messageAgeMs: RTO, agent: half, postgres: silentSince(NOW - RTO / 2 + 70) })).toBe(
      NOW + 70,
    )
  })

  it('not by a stream that has much to say: it was heard just now', () => {
    const long = silentSince(NOW - 60_000)
    expect(dueOf({ messageAgeMs: 0, agent: long, postgres: long })).toBe(NOW + RTO)
  })

  it('without a stream only when nobody has answered for the whole rto', () => {
    const half = silentSince(NOW - RTO / 2)
    expect(dueOf({ messageAgeMs: null, agent: half, postgres: half })).toBe(NOW + RTO / 2)
  })

  it('not by what was seen before this process slept', () => {
    const long = silentSince(NOW - 60_000)
    const slept = { messageAgeMs: null, agent: long, postgres: long, awakeSinceMs: NOW - 10 }
    expect(dueOf(slept)).toBe(NOW - 10 + RTO)
    const refusedBefore: Probe = { kind: 'refused', atMs: NOW - 20 }
    expect(dueOf({ ...slept, agent: refusedBefore, postgres: refusedBefore })).toBeNull()
  })

  it('when it is due, and not before', () => {
    const half = silentSince(NOW - RTO / 2)
    expect(suspectsPrimary(seeing({ messageAgeMs: RTO, agent: half, postgres: half }), primacy())).toBe(true)
    expect(suspectsPrimary(seeing({ messageAgeMs: RTO - 1, agent: half, postgres: half }), primacy())).toBe(
      false,
    )
  })

  it('by nobody while another one is being elected, nor by itself', () => {
    const gone = seeing({ messageAgeMs: null, agent: REFUSED, postgres: REFUSED })
    expect(suspicionDueMs(gone, primacy({ phase: 'electing' }))).toBeNull()
    expect(suspicionDueMs(gone, primacy({ primary: 'bravo' }))).toBeNull()
  })

  it('also by a node that waits to be rewound or cloned from it: its vote may be the one that is missing', () => {
    const refusing = { primary: 'alpha', agent: REFUSED, postgres: REFUSED }
    const waiting = (directory: DirectoryState, probes = refusing) =>
      suspicionDueMs(
        view({
          self: 'bravo',
          now: NOW,
          local: { server: null, postmaster: { kind: 'stopped' }, directory, probes },
        }),
        primacy(),
      )
    expect(waiting(cluster())).toBe(NOW)
    const since = silentSince(NOW - RTO / 2)
    expect(waiting(cluster(), { primary: 'alpha', agent: since, postgres: since })).toBe(NOW + RTO / 2)
    // Without data there is nothing to vote.
    expect(waiting({ kind: 'absent' })).toBeNull()
  })

  it('not by a node whose own PostgreSQL does not answer: its stream may go on', () => {
    const probes = { primary: 'alpha', agent: REFUSED, postgres: REFUSED }
    expect(
      suspicionDueMs(view({ self: 'bravo', now: NOW, local: { server: null, probes } }), primacy()),
    ).toBeNull()
  })
})
