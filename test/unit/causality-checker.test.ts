/** The checker of causality must be able to fail: histories by hand, and a modelled proxy with each of the mistakes that it is there for. */
import { describe, expect, test } from 'vitest'
import { type CausalHistory, checkCausality, type Event, type ReadLevel } from '../lab/clients/causality.ts'
import { type Mistake, modelledHistory } from '../support/causality-model.ts'

const write = (
  session: number,
  value: number,
  outcome: 'acknowledged' | 'unknown' = 'acknowledged',
): Event => ({
  ...{ kind: 'write', session, value, outcome, object: 'a' },
})
const read = (session: number, seen: readonly number[], level: ReadLevel = 'session'): Event => ({
  ...{ kind: 'read', session, level, seen, object: 'a', node: null },
})
const take = (session: number, token: number): Event => ({ kind: 'tokenTaken', session, token })
const use = (session: number, token: number): Event => ({ kind: 'tokenUsed', session, token })

function kinds(final: readonly number[], ...events: readonly Event[]): readonly string[] {
  const history: CausalHistory = { events, finals: new Map([['a', final]]) }
  return checkCausality(history).violations.map(({ kind }) => kind)
}

describe('the checker of causality', () => {
  test('finds a session that misses its own write', () => {
    expect(kinds([1], write(1, 1), read(1, []))).toEqual(['missed-own-write'])
    expect(kinds([1], write(1, 1), read(1, [], 'monotonic'))).toEqual(['missed-own-write'])
    expect(kinds([1], write(1, 1), read(1, [1]))).toEqual([])
  })

  test('asks nothing for the writes of others, for unknown ones, for earlier reads, and at level eventual', () => {
    expect(kinds([1], write(2, 1), read(1, []))).toEqual([])
    expect(kinds([1], write(1, 1, 'unknown'), read(1, []))).toEqual([])
    expect(kinds([1], read(1, []), write(1, 1))).toEqual([])
    expect(kinds([1], write(1, 1), read(1, [], 'eventual'))).toEqual([])
    expect(kinds([1], write(1, 1), read(1, [], 'token'))).toEqual([])
  })

  test('excuses a write that was lost with its primary, and counts it', () => {
    const history: CausalHistory = { events: [write(1, 1), read(1, [])], finals: new Map() }
    expect(checkCausality(history)).toMatchObject({ violations: [], lost: 1, demanding: 0 })
  })

  test('finds what a token stands for and is missed, also through two hands', () => {
    expect(kinds([1], write(1, 1), take(1, 7), use(2, 7), read(2, [], 'token'))).toEqual(['missed-by-token'])
    expect(kinds([1], write(1, 1), take(1, 7), use(2, 7), read(2, []))).toEqual(['missed-by-token'])
    expect(
      kinds([1], write(1, 1), take(1, 7), use(2, 7), take(2, 8), use(3, 8), read(3, [], 'token')),
    ).toEqual(['missed-by-token'])
    expect(kinds([1, 2], write(1, 1), take(1, 7), write(1, 2), use(2, 7), read(2, [1], 'token'))).toEqual([])
    expect(kinds([1], write(1, 1), take(1, 7), use(2, 7), use(2, 9), read(2, [], 'token'))).toEqual([])
  })

  test('finds a monotonic session that goes back', () => {
    const other = write(2, 1)
    expect(kinds([1], other, read(1, [1], 'monotonic'), read(1, [], 'monotonic'))).toEqual(['went-back'])
    expect(kinds([1], other, read(1, [1]), read(1, []))).toEqual([])
    expect(kinds([], other, read(1, [1], 'monotonic'), read(1, [], 'monotonic'))).toEqual([])
  })

  test('finds what cannot be: a value of nobody, and a later one without an earlier one', () => {
    expect(kinds([1], read(1, [1], 'eventual'))).toEqual(['impossible'])
    expect(kinds([1, 2], write(2, 1), write(2, 2), read(1, [2], 'eventual'))).toEqual(['impossible'])
    expect(kinds([1, 2], write(2, 1), write(2, 2), write(2, 3), read(1, [1, 3], 'eventual'))).toEqual([])
  })
})

describe('of a modelled proxy', () => {
  const SEEDS = Array.from({ length: 200 }, (_, seed) => seed + 1)

  test('that does it right nothing is wrong, in 200 lives with failovers', () => {
    let demanding = 0
    let lost = 0
    for (const seed of SEEDS) {
      const checked = checkCausality(modelledHistory(seed, 'none'))
      expect({ seed, violations: checked.violations }).toEqual({ seed, violations: [] })
      demanding += checked.demanding
      lost += checked.lost
    }
    // It must have had something to find, and failovers must have lost something.
    expect(demanding).toBeGreaterThan(5000)
    expect(lost).toBeGreaterThan(50)
  })

  test.each<readonly [Mistake, string]>([
    ['bound ignored', 'missed-own-write'],
    ['bound sampled before the commit', 'missed-own-write'],
    ['timeline ignored', 'missed-own-write'],
    ['token ignored', 'missed-by-token'],
    ['monotonic forgotten', 'went-back'],
    ['received taken for replayed', 'missed-own-write'],
  ])('with this mistake it is found: %s', (mistake, kind) => {
    const found = SEEDS.flatMap((seed) => checkCausality(modelledHistory(seed, mistake)).violations)
    expect(found.filter((each) => each.kind === kind).length).toBeGreaterThan(0)
  })
})
