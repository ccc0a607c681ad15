/**
 * WAL as records in a row. A record knows its place, so that "node X has commit C" is one comparison. LSNs are plain numbers here and
 * become bigint only in the view.
 */
export interface WalRecord {
  readonly id: number
  /** Number of records before it. */
  readonly index: number
  readonly timelineId: number
  readonly start: number
  readonly end: number
  readonly what: 'first' | 'commit' | 'proof' | 'checkpoint' | 'shutdown' | 'promotion'
}

let nextId = 0

/** Ids begin anew with each run, so that traces of the same seed are the same. */
export function resetRecords(): void {
  nextId = 0
}

export function append(
  wal: WalRecord[],
  timelineId: number,
  bytes: number,
  what: WalRecord['what'],
): WalRecord {
  const start = wal.at(-1)?.end ?? 0x1000000
  const record = { id: nextId++, index: wal.length, timelineId, start, end: start + bytes, what }
  wal.push(record)
  return record
}

export function endOf(wal: readonly WalRecord[], count = wal.length): number {
  return wal[count - 1]?.end ?? 0
}

export function timelineOf(wal: readonly WalRecord[], count = wal.length): number {
  return wal[count - 1]?.timelineId ?? 0
}

/** Records are shared between the nodes: the last common one being the same means that all before it are. */
export function isPrefix(
  shorter: readonly WalRecord[],
  count: number,
  longer: readonly WalRecord[],
): boolean {
  return count <= longer.length && (count === 0 || shorter[count - 1] === longer[count - 1])
}

/** How many records both have in common from the beginning. */
export function commonLength(a: readonly WalRecord[], b: readonly WalRecord[]): number {
  let low = 0
  let high = Math.min(a.length, b.length)
  while (low < high) {
    const middle = (low + high + 1) >> 1
    if (a[middle - 1] === b[middle - 1]) low = middle
    else high = middle - 1
  }
  return low
}
