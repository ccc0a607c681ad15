/**
 * How fresh a read must be: a bound is a position on the line of timelines that the cluster has come by, never a bare LSN and never a
 * yes or no. A standby that has replayed up to it shows everything that was committed before it was taken. Pure.
 */
import { type Lsn, lsnOf } from './lsn.ts'
import { isOnHistory, switchpointOf, type TimelineHistory, type TimelinePosition } from './timeline.ts'

export interface ReadBound extends TimelinePosition {
  readonly systemIdentifier: string
}

/** What the cluster's WAL is, from its beginning to now. */
export interface Line {
  readonly systemIdentifier: string
  readonly history: TimelineHistory
}

/**
 * `past`: it lies behind the point where its timeline was left, so that what it stands for may be lost. `unknown`: its timeline is none of
 * the line, or one that is not known yet. Nobody can ever be seen to reach either.
 */
export type BoundStanding = 'onLine' | 'past' | 'unknown' | 'foreign'

export function standingOf(bound: ReadBound, line: Line): BoundStanding {
  if (bound.systemIdentifier !== line.systemIdentifier) return 'foreign'
  const end = switchpointOf(line.history, bound.timelineId)
  if (end === null) return 'unknown'
  return end === 'current' || bound.lsn <= end ? 'onLine' : 'past'
}

/** That whoever reads at `position` misses nothing of what `bound` stands for. */
export function satisfies(position: TimelinePosition, bound: ReadBound, line: Line): boolean {
  return (
    position.lsn >= bound.lsn && standingOf(bound, line) === 'onLine' && isOnHistory(line.history, position)
  )
}

/** The one of two bounds that covers both; null when that cannot be said. */
export function laterBound(a: ReadBound | null, b: ReadBound | null, line: Line): ReadBound | null {
  if (a === null || b === null) return a ?? b
  if (standingOf(a, line) !== 'onLine' || standingOf(b, line) !== 'onLine') return null
  return a.lsn >= b.lsn ? a : b
}

/** XLogLongPHD and XLogShortPHD (xlog_internal.h): what a page of WAL begins with, the first one of a segment and any other. */
const LONG_HEADER_BYTES = 40n
const SHORT_HEADER_BYTES = 24n

/**
 * Where the last record before `insertLsn` ends. Right behind a page's header PostgreSQL inserts next, and the last record ended before it: on
 * an idle primary no standby would ever be seen to replay up to there. No record ends there either, for none is shorter than 24 bytes and one
 * that goes on over the header of a page began before it: so a standby that has passed the page's beginning has all of it.
 */
export function endOfRecords(
  insertLsn: Lsn,
  { blockBytes, segmentBytes }: { readonly blockBytes: number; readonly segmentBytes: number },
): Lsn {
  if (insertLsn % BigInt(segmentBytes) === LONG_HEADER_BYTES) return lsnOf(insertLsn - LONG_HEADER_BYTES)
  if (insertLsn % BigInt(blockBytes) === SHORT_HEADER_BYTES) return lsnOf(insertLsn - SHORT_HEADER_BYTES)
  return insertLsn
}
