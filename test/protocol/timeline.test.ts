import { describe, expect, test } from 'vitest'
import { type Lsn, lsnOf, parseLsn } from '../../src/core/lsn.ts'
import {
  beganByHand,
  commonPoint,
  firstTimeline,
  isAllocated,
  isOnHistory,
  nextAllocated,
  switchpointOf,
  timelineAt,
} from '../../src/core/timeline.ts'
import { parseTimelineHistory } from '../../src/protocol/timeline-history.ts'
import { ProtocolViolation } from '../../src/protocol/violation.ts'

function lsn(text: string): Lsn {
  return parseLsn(text) ?? lsnOf(0n)
}

const CONTENT = `# written by hand
1\t0/A011A00\tno recovery target specified

  3\t0/C000000\tbefore 2026-11-22 12:00:00+00
`
const history = parseTimelineHistory(5, CONTENT)

describe('parseTimelineHistory', () => {
  test('reads ancestors, skips comments and empty lines', () => {
    expect(history).toEqual({
      timelineId: 5,
      ancestors: [
        { timelineId: 1, switchpointLsn: lsn('0/A011A00'), reason: 'no recovery target specified' },
        { timelineId: 3, switchpointLsn: lsn('0/C000000'), reason: 'before 2026-11-22 12:00:00+00' },
      ],
    })
    // An empty file is what reserves a timeline (I6).
    expect(parseTimelineHistory(4, '')).toEqual({ timelineId: 4, ancestors: [] })
  })

  test.each([
    ['no position', '1\n'],
    ['words', 'one\t0/1\tx\n'],
    ['a position that is none', '1\t0-1\tx\n'],
    ['timelines out of order', '2\t0/1\tx\n1\t0/2\tx\n'],
    ['itself as ancestor', '5\t0/1\tx\n'],
  ])('refuses %s', (_, content) => {
    expect(() => parseTimelineHistory(5, content)).toThrow(ProtocolViolation)
  })
})

describe('timeline arithmetic', () => {
  test('a switchpoint belongs to the child', () => {
    expect(timelineAt(history, lsn('0/A0119FF'))).toBe(1)
    expect(timelineAt(history, lsn('0/A011A00'))).toBe(3)
    expect(timelineAt(history, lsn('0/BFFFFFF'))).toBe(3)
    expect(timelineAt(history, lsn('5/0'))).toBe(5)
    expect(timelineAt(firstTimeline(), lsn('5/0'))).toBe(1)
  })

  test('finds where an ancestor was left', () => {
    expect(switchpointOf(history, 3)).toBe(lsn('0/C000000'))
    expect(switchpointOf(history, 5)).toBe('current')
    expect(switchpointOf(history, 2)).toBeNull()
  })

  test('a node may go on when it has not passed the switchpoint of its timeline (I8)', () => {
    expect(isOnHistory(history, { timelineId: 1, lsn: lsn('0/A011A00') })).toBe(true)
    expect(isOnHistory(history, { timelineId: 1, lsn: lsn('0/A011A01') })).toBe(false)
    expect(isOnHistory(history, { timelineId: 5, lsn: lsn('9/0') })).toBe(true)
    expect(isOnHistory(history, { timelineId: 4, lsn: lsn('0/1') })).toBe(false)
  })

  test('a history that goes back, as PostgreSQL writes it, ends its timelines at the later switchpoint (I8)', () => {
    // Promoted at 0/A000000 of timeline 1, while it went for timeline 2, which begins at 0/B000000.
    const back = parseTimelineHistory(3, '1\t0/B000000\tx\n2\t0/A000000\tx\n')
    expect(isOnHistory(back, { timelineId: 1, lsn: lsn('0/A000000') })).toBe(true)
    expect(isOnHistory(back, { timelineId: 1, lsn: lsn('0/A000001') })).toBe(false)
    expect(isOnHistory(back, { timelineId: 2, lsn: lsn('0/B000001') })).toBe(false)
    expect(timelineAt(back, lsn('0/A800000'))).toBe(3)
    expect(commonPoint(back, firstTimeline())).toEqual({ timelineId: 1, lsn: lsn('0/A000000') })
  })

  test('two histories part where one of them left their last common timeline', () => {
    const sibling = parseTimelineHistory(4, '1\t0/A011A00\tx\n3\t0/B000000\tx\n')
    expect(commonPoint(history, sibling)).toEqual({ timelineId: 3, lsn: lsn('0/B000000') })
    expect(commonPoint(sibling, history)).toEqual({ timelineId: 3, lsn: lsn('0/B000000') })
    expect(commonPoint(history, firstTimeline())).toEqual({ timelineId: 1, lsn: lsn('0/A011A00') })
    expect(commonPoint(history, history)).toEqual({ timelineId: 5, lsn: 'same' })
    expect(commonPoint(history, { timelineId: 9, ancestors: [] })).toBeNull()
    // Both continue on a timeline 3, left at different points, into a timeline of the same number: not the same one.
    const other = parseTimelineHistory(5, '1\t0/A011A00\tx\n3\t0/BFFFFFF\tx\n')
    expect(commonPoint(history, other)).toEqual({ timelineId: 3, lsn: lsn('0/BFFFFFF') })
  })
})

describe('which numbers are allocated (I6)', () => {
  const history = (timelineId: number, ...ancestors: number[]) => ({
    timelineId,
    ancestors: ancestors.map((each) => ({ timelineId: each, switchpointLsn: lsnOf(0x1000n), reason: '' })),
  })
  const cluster = (highestTimelineId: number, timelineId: number, ...ancestors: number[]) => ({
    highestTimelineId,
    history: history(timelineId, ...ancestors),
  })

  test('every second one, so that what somebody begins by hand is never one of them', () => {
    const fresh = cluster(1, 1)
    expect(nextAllocated(fresh)).toBe(3)
    expect(beganByHand(history(2, 1), fresh)).toBe(true)
    const later = cluster(7, 5, 1, 3)
    expect(nextAllocated(later)).toBe(9)
    for (const timelineId of [1, 3, 5, 7]) expect(isAllocated(timelineId, later)).toBe(true)
    for (const timelineId of [2, 4, 6, 8]) expect(isAllocated(timelineId, later)).toBe(false)
    // Promoted by hand twice: the number is ours, what it came by is not.
    expect(beganByHand(history(7, 1, 3, 5, 6), later)).toBe(true)
    expect(beganByHand(history(7, 1, 3, 5), later)).toBe(false)
  })

  test('beginning with the timeline of a server from before, whose own past is not held against anybody', () => {
    const taken = cluster(4, 4)
    expect(nextAllocated(taken)).toBe(6)
    expect(beganByHand(history(4, 1, 2, 3), taken)).toBe(false)
    expect(beganByHand(history(5, 1, 2, 3, 4), taken)).toBe(true)
    const later = cluster(6, 6, 1, 2, 3, 4)
    expect(nextAllocated(later)).toBe(8)
    expect(beganByHand(history(6, 1, 2, 3, 4), later)).toBe(false)
    expect(beganByHand(history(5, 1, 2, 3, 4), later)).toBe(true)
  })

  test('a store that was put back may know of a number that nobody has allocated: the next one is beyond', () => {
    expect(nextAllocated(cluster(6, 3, 1))).toBe(7)
    expect(nextAllocated(cluster(7, 3, 1))).toBe(9)
  })
})
