/** The checker of histories must be able to fail: histories that are right but for one thing. */
import { describe, expect, test } from 'vitest'
import { checkHistory, type ViolationKind } from '../lab/clients/checker.ts'
import type { FinalState, History, Operation, Reading } from '../lab/clients/history.ts'

let clock = 0

/** Each begins when the one before has ended, and takes a millisecond, unless said otherwise. */
function operation(value: number, changes: Partial<Operation> = {}): Operation {
  const startedAtMs = ++clock
  return {
    value,
    kind: (changes.list ?? null) === null ? 'insert' : 'append',
    list: null,
    round: 1,
    node: 'alpha',
    timelineId: 1,
    startedAtMs,
    endedAtMs: ++clock,
    outcome: 'acknowledged',
    reason: '',
    ...changes,
  }
}

function reading(items: readonly number[], changes: Partial<Reading> = {}): Reading {
  const startedAtMs = ++clock
  return {
    round: 1,
    node: 'alpha',
    timelineId: 1,
    list: 0,
    items,
    startedAtMs,
    endedAtMs: ++clock,
    ...changes,
  }
}

interface Content {
  readonly values?: readonly number[]
  readonly lists?: readonly (readonly [number, readonly number[]])[]
}

function final(
  node: string,
  { values = [], lists = [] }: Content,
  changes: Partial<FinalState> = {},
): FinalState {
  const checksum = JSON.stringify([values, lists])
  return {
    node,
    role: node === 'alpha' ? 'primary' : 'standby',
    timelineId: 1,
    systemIdentifier: '7',
    checksum,
    values,
    lists: new Map(lists),
    ...changes,
  }
}

function history(
  operations: readonly Operation[],
  content: Content,
  changes: Partial<History> = {},
): History {
  const finals = ['alpha', 'bravo', 'charlie'].map((node) => final(node, content))
  return { durability: 'quorum', operations, readings: [], finals, ...changes }
}

function kindsOf(it: History): readonly ViolationKind[] {
  return checkHistory(it).violations.map(({ kind }) => kind)
}

describe('what is right', () => {
  test('rows, lists, failures that are not there, unknown ones that are or are not', () => {
    const operations = [
      operation(1),
      operation(2, { outcome: 'failed' }),
      operation(3, { outcome: 'unknown' }),
      operation(4, { outcome: 'unknown' }),
      operation(5, { list: 0 }),
      operation(6, { list: 0 }),
    ]
    const it = history(operations, { values: [1, 3], lists: [[0, [5, 6]]] })
    const checked = checkHistory(it)
    expect(checked.violations).toEqual([])
    expect(checked.counts).toEqual({ acknowledged: 3, failed: 1, unknown: 2 })
    expect(checked.unknownPresent).toBe(1)
  })

  test('two that overlap stand in either order', () => {
    const first = operation(1, { list: 0, startedAtMs: 10, endedAtMs: 30 })
    const second = operation(2, { list: 0, startedAtMs: 20, endedAtMs: 25 })
    expect(kindsOf(history([first, second], { lists: [[0, [1, 2]]] }))).toEqual([])
    expect(kindsOf(history([first, second], { lists: [[0, [2, 1]]] }))).toEqual([])
  })

  test('an unknown one may have been committed long after its client gave it up', () => {
    const late = operation(1, { list: 0, outcome: 'unknown', startedAtMs: 10, endedAtMs: 20 })
    const next = operation(2, { list: 0, startedAtMs: 30, endedAtMs: 40 })
    expect(kindsOf(history([late, next], { lists: [[0, [2, 1]]] }))).toEqual([])
  })

  test('an old primary that is cut off shows old lists', () => {
    const operations = [operation(1, { list: 0 }), operation(2, { list: 0, node: 'bravo', timelineId: 2 })]
    const readings = [reading([1], { timelineId: 1 })]
    expect(kindsOf(history(operations, { lists: [[0, [1, 2]]] }, { readings }))).toEqual([])
  })
})

describe('what is wrong', () => {
  test('an acknowledged row is missing', () => {
    expect(kindsOf(history([operation(1), operation(2)], { values: [1] }))).toEqual(['lost'])
  })

  test('an acknowledged append is missing: the one after it wrote the list back as it was before (lost update)', () => {
    const operations = [operation(1, { list: 0 }), operation(2, { list: 0, kind: 'rewrite' })]
    expect(kindsOf(history(operations, { lists: [[0, [2]]] }))).toEqual(['lost'])
  })

  test('something is there twice', () => {
    expect(kindsOf(history([operation(1)], { values: [1, 1] }))).toEqual(['duplicated'])
    expect(kindsOf(history([operation(1, { list: 0 })], { lists: [[0, [1, 1]]] }))).toEqual(['duplicated'])
  })

  test('something is there that nobody sent, or that had failed, or in another place', () => {
    expect(kindsOf(history([], { values: [1] }))).toEqual(['phantom'])
    expect(kindsOf(history([operation(1, { outcome: 'failed' })], { values: [1] }))).toEqual(['phantom'])
    const operations = [operation(1, { list: 0 })]
    expect(kindsOf(history(operations, { lists: [[1, [1]]] }))).toEqual(['phantom'])
  })

  test('a list has another order than the one in which its appends were acknowledged', () => {
    const operations = [operation(1, { list: 0 }), operation(2, { list: 0 }), operation(3, { list: 0 })]
    expect(kindsOf(history(operations, { lists: [[0, [2, 1, 3]]] }))).toEqual(['order'])
  })

  test('two nodes acknowledged on one timeline', () => {
    const operations = [operation(1), operation(2, { node: 'bravo' })]
    expect(kindsOf(history(operations, { values: [1, 2] }))).toEqual(['two-primaries'])
  })

  test('an old primary acknowledged what began after a new one had acknowledged', () => {
    const operations = [operation(1), operation(2, { node: 'bravo', timelineId: 2 }), operation(3)]
    expect(kindsOf(history(operations, { values: [1, 2, 3] }))).toEqual(['stale-acknowledgement'])
  })

  test('what an old primary had begun before it may still be acknowledged, but must be there', () => {
    const old = operation(1, { startedAtMs: 10, endedAtMs: 100 })
    const fresh = operation(2, { node: 'bravo', timelineId: 2, startedAtMs: 20, endedAtMs: 30 })
    expect(kindsOf(history([old, fresh], { values: [1, 2] }))).toEqual([])
    expect(kindsOf(history([old, fresh], { values: [2] }))).toEqual(['lost'])
  })

  test('a reader was shown what is gone', () => {
    const operations = [operation(1, { list: 0 }), operation(2, { list: 0, outcome: 'unknown' })]
    const readings = [reading([1, 2])]
    expect(kindsOf(history(operations, { lists: [[0, [1]]] }, { readings }))).toEqual(['lost-reading'])
  })

  test('a new primary did not show what had been acknowledged before', () => {
    const operations = [operation(1, { list: 0 })]
    const readings = [reading([], { node: 'bravo', timelineId: 2 })]
    expect(kindsOf(history(operations, { lists: [[0, [1]]] }, { readings }))).toEqual(['stale-reading'])
  })

  test('the nodes differ at the end: in content, timeline, identity, or in who accepts writes', () => {
    const content = { values: [1] }
    const with1 = (changes: Partial<FinalState>): History =>
      history([operation(1)], content, {
        finals: [final('alpha', content), final('bravo', content, changes)],
      })
    expect(kindsOf(with1({}))).toEqual([])
    for (const changes of [
      { checksum: 'x' },
      { timelineId: 2 },
      { systemIdentifier: '8' },
      { role: 'primary' },
    ] as const)
      expect(kindsOf(with1(changes)), JSON.stringify(changes)).toEqual(['nodes-differ'])
  })
})

describe('async mode', () => {
  const next = (value: number): Operation => operation(value, { node: 'bravo', timelineId: 2 })

  test('the end of a timeline may go with its primary, and is counted', () => {
    const operations = [operation(1), operation(2), operation(3), next(4)]
    const checked = checkHistory(history(operations, { values: [1, 4] }, { durability: 'async' }))
    expect(checked.violations).toEqual([])
    expect(checked.exposed.map(({ value }) => value)).toEqual([2, 3])
  })

  test('a hole in a timeline may not be', () => {
    const operations = [operation(1), operation(2), operation(3), next(4)]
    const checked = checkHistory(history(operations, { values: [1, 3, 4] }, { durability: 'async' }))
    expect(checked.violations.map(({ kind }) => kind)).toEqual(['lost'])
  })

  test('nothing of the newest timeline may be lost', () => {
    const operations = [operation(1), operation(2)]
    const checked = checkHistory(history(operations, { values: [1] }, { durability: 'async' }))
    expect(checked.violations.map(({ kind }) => kind)).toEqual(['lost'])
  })
})
