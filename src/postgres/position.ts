/**
 * The end of what is on this node's disk, when it is stable (docs/failover.md, "Position" and I3c). Never pg_control's checkpoint, and
 * never a bare LSN: the timeline comes from the history of the newest timeline that the node has WAL of.
 */
import { open, readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { type Lsn, lsnOf, maxLsn, parseLsn } from '../core/lsn.ts'
import { firstTimeline, type TimelineHistory, timelineAt } from '../core/timeline.ts'
import type { ControlFacts, Outcome, StablePosition } from '../ports/postgres.ts'
import { parseTimelineHistory } from '../protocol/timeline-history.ts'
import {
  historyFileName,
  offsetInSegment,
  parseHistoryFileName,
  parseWalFileName,
  segmentNumberOf,
  walFileName,
} from '../protocol/wal-names.ts'
import { failed, ok, systemErrorCode } from './outcome.ts'
import type { Session } from './session.ts'

/**
 * `drained`: the startup process has replayed everything on disk and waits for more (src/backend/access/transam/xlogrecovery.c,
 * WaitForWALToBecomeAvailable). It only asks a walreceiver for WAL after that, which is why a receive position that is not null
 * proves that this postmaster had drained its disk before it streamed.
 */
const POSITION_SQL = `
SELECT pg_is_in_recovery() AS in_recovery,
       pg_last_wal_receive_lsn()::text AS receive_lsn,
       pg_last_wal_replay_lsn()::text AS replay_lsn,
       EXISTS (SELECT FROM pg_stat_get_wal_receiver() AS r WHERE r.pid IS NOT NULL)
         OR EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'walreceiver') AS receiving,
       coalesce((SELECT wait_event IN ('RecoveryRetrieveRetryInterval', 'RecoveryWalStream')
                   FROM pg_stat_activity WHERE backend_type = 'startup'), false) AS drained`

export interface PositionMemory {
  /** Replay position of the last look that found the startup process waiting; the same twice is believed. */
  drainedAt: Lsn | null
}

/** null: not stable yet, look again. */
export async function runningPosition(
  session: Session,
  dataDir: string,
  walSegmentSize: number,
  memory: PositionMemory,
  deadlineMs: number,
): Promise<Outcome<StablePosition | null>> {
  const rows = await session.query({ name: 'position', text: POSITION_SQL }, deadlineMs)
  if (rows.kind === 'failed') return rows
  const row = rows.value[0] ?? {}
  const replay = parseLsn(String(row['replay_lsn']))
  const receive = parseLsn(String(row['receive_lsn']))
  if (row['in_recovery'] !== true || row['receiving'] === true || replay === null) {
    memory.drainedAt = null
    return ok(null)
  }
  const drained = row['drained'] === true && memory.drainedAt === replay
  memory.drainedAt = row['drained'] === true ? replay : null
  // Behind its replay it says nothing: a walreceiver begins at a segment's start.
  if (!drained && (receive === null || receive < replay)) return ok(null)
  const bound = receive === null ? replay : maxLsn(receive, replay)
  const newest = await newestTimeline(dataDir, bound, walSegmentSize)
  // What it waits in may be what it waited in before it hung, or was not given the processor: then whole records lie beyond (M: posNaive).
  const complete =
    drained &&
    (bound === replay ||
      (await isTorn({ dataDir, timelineId: newest, from: replay, to: bound, walSegmentSize })))
  const lsn = complete ? replay : bound
  const history = await readHistory(dataDir, newest)
  if (history === null)
    return failed('data-damaged', `the history of timeline ${newest} is missing in ${dataDir}`)
  const timelineId = lastTimeline(history, lsn)
  const own = timelineId === newest ? history : await readHistory(dataDir, timelineId)
  if (own === null)
    return failed('data-damaged', `the history of timeline ${timelineId} is missing in ${dataDir}`)
  return ok({ position: { timelineId, lsn, complete }, history: own })
}

/** Of a cleanly stopped primary: its shutdown checkpoint is its last record. Anything else is found by recovery only. */
export async function stoppedPosition(
  dataDir: string,
  control: ControlFacts,
): Promise<StablePosition | null> {
  if (control.state !== 'shutDown') return null
  const end = await recordEnd(dataDir, control.timelineId, control.checkpointLsn, control.walSegmentSize)
  const history = await readHistory(dataDir, control.timelineId)
  if (end === null || history === null) return null
  return { position: { timelineId: control.timelineId, lsn: end, complete: true }, history }
}

/** The highest timeline that PostgreSQL itself has begun or received here: its history files hold text, ours that fill gaps are empty. */
export async function newestHistory(dataDir: string): Promise<number> {
  const directory = join(dataDir, 'pg_wal')
  const names = await readdir(directory).catch(() => [])
  let newest = 1
  for (const name of names) {
    const timelineId = parseHistoryFileName(name)
    if (timelineId === null || timelineId <= newest) continue
    // A filler of the agent's own may go at any moment: before a promotion those at the end are removed.
    const found = await stat(join(directory, name)).catch(nullIfGone)
    if (found !== null && found.size > 0) newest = timelineId
  }
  return newest
}

function nullIfGone(error: unknown): null {
  if (systemErrorCode(error) !== 'ENOENT') throw error
  return null
}

/** The timeline of the last byte before `lsn`. */
function lastTimeline(history: TimelineHistory, lsn: Lsn): number {
  return lsn === 0n ? history.timelineId : timelineAt(history, lsnOf(lsn - 1n))
}

/** null when the file is missing or unreadable; timeline 1 has none. */
export async function readHistory(dataDir: string, timelineId: number): Promise<TimelineHistory | null> {
  if (timelineId === 1) return firstTimeline()
  try {
    return parseTimelineHistory(
      timelineId,
      await readFile(join(dataDir, 'pg_wal', historyFileName(timelineId)), 'utf8'),
    )
  } catch {
    return null
  }
}

/** The highest timeline with a segment that may hold the byte before `lsn`. Segments made in advance lie behind it. */
async function newestTimeline(dataDir: string, lsn: Lsn, walSegmentSize: number): Promise<number> {
  const last = segmentNumberOf(lsnOf(lsn > 0n ? lsn - 1n : 0n), walSegmentSize)
  let newest = 1
  for (const name of await readdir(join(dataDir, 'pg_wal'))) {
    const parsed = parseWalFileName(name, walSegmentSize)
    if (parsed !== null && parsed.segmentNumber <= last) newest = Math.max(newest, parsed.timelineId)
  }
  return newest
}

interface Torn {
  readonly dataDir: string
  readonly timelineId: number
  /** The end of a record. */
  readonly from: Lsn
  /** How far there is WAL on disk. */
  readonly to: Lsn
  readonly walSegmentSize: number
}

/** Whether what lies between holds no whole record: the primary died, or the stream ended, in the middle of one. */
export async function isTorn({ dataDir, timelineId, from, to, walSegmentSize }: Torn): Promise<boolean> {
  const start = recordStart(from, walSegmentSize)
  if (start >= to) return true
  const end = await recordEnd(dataDir, timelineId, start, walSegmentSize)
  // Without its first bytes it cannot be told: then it is not called torn, and the look is done again.
  return end !== null && (end === start || end > to)
}

/** A record does not begin on a page's border: the page's header does. */
function recordStart(at: Lsn, walSegmentSize: number): Lsn {
  if (at % BigInt(PAGE_BYTES) !== 0n) return at
  return lsnOf(at + BigInt(at % BigInt(walSegmentSize) === 0n ? LONG_HEADER_BYTES : SHORT_HEADER_BYTES))
}

const PAGE_BYTES = 8192
const SHORT_HEADER_BYTES = 24
const LONG_HEADER_BYTES = 40

/** Where the record at `start` ends: its length is its first field (xlogrecord.h), and each page that it enters has a header. */
async function recordEnd(
  dataDir: string,
  timelineId: number,
  start: Lsn,
  walSegmentSize: number,
): Promise<Lsn | null> {
  const name = walFileName(timelineId, segmentNumberOf(start, walSegmentSize), walSegmentSize)
  try {
    const handle = await open(join(dataDir, 'pg_wal', name), 'r')
    try {
      const { buffer, bytesRead } = await handle.read(
        Buffer.alloc(4),
        0,
        4,
        offsetInSegment(start, walSegmentSize),
      )
      return bytesRead === 4 ? endAfter(start, buffer.readUInt32LE(0), walSegmentSize) : null
    } finally {
      await handle.close()
    }
  } catch {
    return null
  }
}

/** Pure: `length` bytes of record from `start` on, over page borders, rounded up to 8 as the next record would be. */
export function endAfter(start: Lsn, length: number, walSegmentSize: number): Lsn {
  let left = length
  let at: bigint = start
  for (;;) {
    const room = PAGE_BYTES - Number(at % BigInt(PAGE_BYTES))
    if (left <= room) return lsnOf((at + BigInt(left) + 7n) & ~7n)
    left -= room
    at += BigInt(room)
    at += BigInt(at % BigInt(walSegmentSize) === 0n ? LONG_HEADER_BYTES : SHORT_HEADER_BYTES)
  }
}
