/** Bounds of reads over trees of timelines, and where records end on pages of WAL: against models of both. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { lsnOf } from '../../src/core/lsn.ts'
import { endOfRecords, laterBound, type ReadBound, satisfies, standingOf } from '../../src/core/read-bound.ts'
import type { TimelineAncestor, TimelineHistory } from '../../src/core/timeline.ts'

const CLUSTER = '7000000000000000001'

interface Timeline {
  readonly id: number
  readonly parent: number | null
  /** Where it left its parent. */
  readonly from: number
}

/** Timelines that left one another anywhere, also before where the parent itself began to differ. */
const trees = fc
  .array(fc.record({ parent: fc.nat(), from: fc.integer({ min: 0, max: 40 }) }), { maxLength: 5 })
  .map((branches) => {
    const tree: Timeline[] = [{ id: 1, parent: null, from: 0 }]
    for (const { parent, from } of branches) {
      const of = tree[parent % tree.length]
      if (of !== undefined)
        tree.push({ id: 1 + 2 * tree.length, parent: of.id, from: Math.max(of.from, from) })
    }
    return tree
  })

function timelineOf(tree: readonly Timeline[], id: number): Timeline {
  const found = tree.find((each) => each.id === id)
  if (found === undefined) throw new Error(`no timeline ${id}`)
  return found
}

function historyOf(tree: readonly Timeline[], id: number): TimelineHistory {
  const ancestors: TimelineAncestor[] = []
  for (let at = timelineOf(tree, id); at.parent !== null; at = timelineOf(tree, at.parent))
    ancestors.unshift({ timelineId: at.parent, switchpointLsn: lsnOf(BigInt(at.from)), reason: '' })
  return { timelineId: id, ancestors }
}

/** The model: which timeline wrote each byte before `lsn`, for whoever is at that position. */
function contentOf(tree: readonly Timeline[], id: number, lsn: number): string {
  const { parent, from } = timelineOf(tree, id)
  if (parent === null || lsn <= from) {
    if (parent !== null) return contentOf(tree, parent, lsn)
    return `${id},`.repeat(lsn)
  }
  return contentOf(tree, parent, from) + `${id},`.repeat(lsn - from)
}

const bound = (timelineId: number, lsn: number, systemIdentifier = CLUSTER): ReadBound => ({
  ...{ systemIdentifier, timelineId },
  lsn: lsnOf(BigInt(lsn)),
})

describe('a bound', () => {
  test('is satisfied only by a node that has everything before it', () => {
    let satisfied = 0
    fc.assert(
      fc.property(
        trees,
        fc.nat(),
        fc.nat(),
        fc.nat(),
        fc.nat(60),
        fc.nat(60),
        (tree, a, b, c, at, replayed) => {
          const pick = (n: number): number => tree[n % tree.length]?.id ?? 1
          const [line, standby, writer] = [pick(a), pick(b), pick(c)]
          const history = historyOf(tree, line)
          const position = { timelineId: standby, lsn: lsnOf(BigInt(replayed)) }
          if (!satisfies(position, bound(writer, at), { systemIdentifier: CLUSTER, history })) return
          satisfied++
          const has = contentOf(tree, standby, replayed)
          expect(has.startsWith(contentOf(tree, writer, at))).toBe(true)
        },
      ),
      { numRuns: 3_000 },
    )
    expect(satisfied).toBeGreaterThan(50)
  })

  test('that lies behind where its timeline was left can be reached by nobody', () => {
    const history = historyOf(
      [
        { id: 1, parent: null, from: 0 },
        { id: 3, parent: 1, from: 20 },
      ],
      3,
    )
    const line = { systemIdentifier: CLUSTER, history }
    expect(standingOf(bound(1, 20), line)).toBe('onLine')
    expect(standingOf(bound(1, 21), line)).toBe('past')
    expect(standingOf(bound(3, 1_000), line)).toBe('onLine')
    expect(standingOf(bound(5, 1), line)).toBe('unknown')
    expect(standingOf(bound(1, 1, '42'), line)).toBe('foreign')
    expect(satisfies({ timelineId: 3, lsn: lsnOf(1_000n) }, bound(1, 21), line)).toBe(false)
    expect(laterBound(bound(1, 10), bound(3, 30), line)).toEqual(bound(3, 30))
    expect(laterBound(bound(1, 21), bound(3, 30), line)).toBeNull()
  })
})

describe('the end of the records', () => {
  const sizes = { blockBytes: 256, segmentBytes: 1_024 }
  const header = (at: number): number =>
    at % sizes.segmentBytes === 0 ? 40 : at % sizes.blockBytes === 0 ? 24 : 0

  /** As PostgreSQL lays them out: a record is cut at a page's end and goes on behind the next one's header. */
  function layOut(records: readonly number[]): { readonly ends: readonly number[]; readonly insert: number } {
    let at = sizes.segmentBytes
    const ends: number[] = []
    for (const bytes of records) {
      at += header(at)
      for (let left = bytes; left > 0; ) {
        at += header(at)
        const room = sizes.blockBytes - (at % sizes.blockBytes)
        const taken = Math.min(left, room)
        at += taken
        left -= taken
      }
      ends.push(at)
    }
    return { ends, insert: at + header(at) }
  }

  test('is reached by whoever has replayed the last one, and by nobody before', () => {
    const record = fc.integer({ min: 3, max: 60 }).map((eights) => eights * 8)
    let atBoundaries = 0
    fc.assert(
      fc.property(fc.array(record, { minLength: 1, maxLength: 40 }), (records) => {
        const { ends, insert } = layOut(records)
        const asked = endOfRecords(lsnOf(BigInt(insert)), sizes)
        const last = BigInt(ends.at(-1) ?? 0)
        if (BigInt(insert) !== last) atBoundaries++
        for (const end of ends) expect(BigInt(end) >= asked).toBe(BigInt(end) === last)
      }),
      { numRuns: 3_000 },
    )
    expect(atBoundaries).toBeGreaterThan(10)
  })
})
