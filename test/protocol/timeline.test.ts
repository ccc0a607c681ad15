import { describe, expect, test } from 'vitest'
import { type Lsn, lsnOf, parseLsn } from '../../src/core/lsn.ts'
import {
  commonPoint,
  firstTimeline,
  isOnHistory,
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
