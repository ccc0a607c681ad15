import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Commit, Operation } from '../../src/store/embedded/draft.ts'
import { decodeImage, decodeRecord, encodeImage, encodeRecord } from '../../src/store/embedded/records.ts'
import { type StateRecord, StoreState } from '../../src/store/embedded/store-state.ts'

const EVERYTHING = { key: '\0', end: '\0' }
const key = fc.constantFrom('a', 'a/1', 'a/2', 'b', 'é', '\xff', '\xff\xff')
const leaseId = fc.constantFrom('0', '0', '11', '12')
const operation: fc.Arbitrary<Operation> = fc.oneof(
  fc.record({ op: fc.constant('put' as const), key, value: fc.base64String({ maxLength: 8 }), leaseId }),
  fc.record({ op: fc.constant('delete' as const), key, end: fc.constantFrom('', 'a0', '\0', 'b') }),
)

type Step =
  | { readonly do: 'commit'; readonly operations: readonly Operation[] }
  | { readonly do: 'grant' | 'revoke'; readonly leaseId: string }
  | { readonly do: 'compact'; readonly back: number }
  | { readonly do: 'trim'; readonly commits: number }
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('commit' as const),
      operations: fc.array(operation, { minLength: 1, maxLength: 4 }),
    }),
  },
  fc.record({
    do: fc.constantFrom('grant' as const, 'revoke' as const),
    leaseId: fc.constantFrom('11', '12'),
  }),
  fc.record({ do: fc.constant('compact' as const), back: fc.nat(6) }),
  fc.record({ do: fc.constant('trim' as const), commits: fc.nat(8) }),
)

/** Runs the steps as a server would; returns the log that it would have written, and every listing by revision. */
function run(steps: readonly Step[]): {
  readonly state: StoreState
  readonly log: StateRecord[]
  readonly past: Map<number, string>
} {
  const state = new StoreState()
  const log: StateRecord[] = []
  const past = new Map<number, string>()
  const note = (): void => void past.set(state.revision, JSON.stringify(state.range(EVERYTHING)))
  note()
  for (const one of steps) {
    if (one.do === 'commit') {
      const draft = state.begin()
      for (const each of one.operations) {
        if (each.op === 'put') draft.put(each)
        else draft.delete(each)
      }
      const commit = draft.commit()
      if (commit !== null) log.push({ kind: 'commit', ...commit })
    } else if (one.do === 'compact') {
      const revision = state.revision - one.back
      if (revision <= state.compactRevision) continue
      state.compact(revision)
      log.push({ kind: 'compact', revision })
    } else if (one.do === 'trim') {
      state.trim({ commits: one.commits, bytes: 1_000_000 }, state.revision)
    } else {
      const record: StateRecord =
        one.do === 'grant'
          ? { kind: 'grant', leaseId: one.leaseId, ttlSeconds: 5 }
          : { kind: 'revoke', leaseId: one.leaseId }
      state.apply(record)
      log.push(record)
    }
    note()
  }
  return { state, log, past }
}

function historyOf(state: StoreState): readonly Commit[] {
  return Array.from({ length: state.revision + 1 }, (_, revision) => state.commitAt(revision)).filter(
    (commit) => commit !== null,
  )
}

function show(state: StoreState): unknown {
  return { revision: state.revision, entries: state.range(EVERYTHING), leases: state.leaseIds() }
}

test('the log, through JSON, gives the same state again', () => {
  void fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const { state, log } = run(steps)
      const replayed = new StoreState()
      for (const record of log) {
        const decoded = decodeRecord(JSON.parse(JSON.stringify(encodeRecord(record))))
        expect(decoded).not.toBeNull()
        if (decoded !== null) expect(replayed.apply(decoded)).toBe(true)
      }
      expect(show(replayed)).toEqual(show(state))
    }),
  )
})

test('an image, through JSON, gives the same state, the same past and the same history again', () => {
  void fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const { state } = run(steps)
      const image = decodeImage(JSON.parse(JSON.stringify(encodeImage(state.image()))))
      const restored = image === null ? null : StoreState.fromImage(image)
      if (restored === null) throw new Error('the image does not fit')
      expect(show(restored)).toEqual(show(state))
      expect(restored.compactRevision).toBe(state.compactRevision)
      expect(historyOf(restored)).toEqual(historyOf(state))
    }),
  )
})

test('every revision that is not compacted away reads as it was', () => {
  void fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const { state, past } = run(steps)
      for (const [revision, listing] of past) {
        if (revision < state.compactRevision) continue
        expect(JSON.stringify(state.rangeAt(EVERYTHING, revision))).toBe(listing)
      }
    }),
  )
})

test('the history holds every revision since the compaction, once and in order', () => {
  void fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const { state } = run(steps)
      const first = Math.max(2, state.compactRevision)
      const expected = Array.from(
        { length: Math.max(0, state.revision - first + 1) },
        (_, index) => first + index,
      )
      expect(historyOf(state).map(({ revision }) => revision)).toEqual(expected)
    }),
  )
})

test('a record that does not follow is refused', () => {
  const put: Operation = { op: 'put', key: 'a', value: '', leaseId: '0' }
  const state = new StoreState()
  expect(state.apply({ kind: 'commit', revision: 3, operations: [put] })).toBe(false)
  expect(new StoreState().apply({ kind: 'compact', revision: 9 })).toBe(false)
})

test('what is not a record is no record', () => {
  void fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const record = decodeRecord(value)
      if (record !== null) expect(encodeRecord(record)).toEqual(value)
      expect(() => decodeImage(value)).not.toThrow()
    }),
  )
})

test('trimming keeps what was not told yet, and the last commit', () => {
  const { state } = run(
    Array.from(
      { length: 10 },
      (_, index): Step => ({
        do: 'commit',
        operations: [{ op: 'put', key: 'a', value: String(index), leaseId: '0' }],
      }),
    ),
  )
  state.trim({ commits: 3, bytes: 1_000_000 }, 5)
  expect(historyOf(state)[0]?.revision).toBe(6)
  state.trim({ commits: 3, bytes: 1_000_000 }, state.revision)
  expect(historyOf(state)).toHaveLength(3)
  expect(state.compactRevision).toBe(state.revision - 2)
  state.trim({ commits: 3, bytes: 1 }, state.revision)
  expect(historyOf(state)).toHaveLength(1)
})
