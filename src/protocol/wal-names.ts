/**
 * WAL segments and the names of their files (src/include/access/xlog_internal.h): 8 hex digits each of timeline, "log" and
 * segment within the log, where a log is 4 GiB whatever the segment size. The segment size is fixed by initdb: a power of
 * two from 1 MB to 1 GB.
 */
import { type Lsn, lsnOf } from '../core/lsn.ts'

const LOG_BYTES = 0x1_0000_0000n

export const MIN_WAL_SEGMENT_BYTES = 1024 * 1024
export const MAX_WAL_SEGMENT_BYTES = 1024 * 1024 * 1024

export function isWalSegmentSize(bytes: number): boolean {
  return (
    Number.isInteger(bytes) &&
    bytes >= MIN_WAL_SEGMENT_BYTES &&
    bytes <= MAX_WAL_SEGMENT_BYTES &&
    Number.isInteger(Math.log2(bytes))
  )
}

/** Number of the segment that holds the byte at `lsn`. */
export function segmentNumberOf(lsn: Lsn, segmentBytes: number): bigint {
  return lsn / BigInt(segmentBytes)
}

export function segmentStart(segmentNumber: bigint, segmentBytes: number): Lsn {
  return lsnOf(segmentNumber * BigInt(segmentBytes))
}

/** `lsn` rounded down to the start of its segment: where WAL is always requested from. */
export function segmentStartOf(lsn: Lsn, segmentBytes: number): Lsn {
  return segmentStart(segmentNumberOf(lsn, segmentBytes), segmentBytes)
}

export function offsetInSegment(lsn: Lsn, segmentBytes: number): number {
  return Number(lsn % BigInt(segmentBytes))
}

/** "000000010000000A000000FF" */
export function walFileName(timelineId: number, segmentNumber: bigint, segmentBytes: number): string {
  const perLog = LOG_BYTES / BigInt(segmentBytes)
  return `${hex8(BigInt(timelineId))}${hex8(segmentNumber / perLog)}${hex8(segmentNumber % perLog)}`
}

/** Null for anything that is not the name of a segment of that size. */
export function parseWalFileName(
  name: string,
  segmentBytes: number,
): { readonly timelineId: number; readonly segmentNumber: bigint } | null {
  if (!/^[0-9A-F]{24}$/.test(name)) return null
  const perLog = LOG_BYTES / BigInt(segmentBytes)
  const timelineId = Number.parseInt(name.slice(0, 8), 16)
  const segment = BigInt(`0x${name.slice(16)}`)
  if (timelineId === 0 || segment >= perLog) return null
  return { timelineId, segmentNumber: BigInt(`0x${name.slice(8, 16)}`) * perLog + segment }
}

/** "00000002.history" */
export function historyFileName(timelineId: number): string {
  return `${hex8(BigInt(timelineId))}.history`
}

/** Null for anything else. */
export function parseHistoryFileName(name: string): number | null {
  const match = /^([0-9A-F]{8})\.history$/.exec(name)
  return match?.[1] === undefined ? null : Number.parseInt(match[1], 16)
}

/** "16MB", "1GB" as SHOW wal_segment_size prints it, in bytes; null when it is no possible segment size. */
export function parseWalSegmentSize(text: string): number | null {
  const match = /^(\d+)(B|kB|MB|GB)$/.exec(text)
  if (match?.[1] === undefined) return null
  const unit = { B: 1, kB: 1024, MB: 1024 ** 2, GB: 1024 ** 3 }[match[2] ?? ''] ?? 0
  const bytes = Number(match[1]) * unit
  return isWalSegmentSize(bytes) ? bytes : null
}

function hex8(value: bigint): string {
  return value.toString(16).toUpperCase().padStart(8, '0')
}
