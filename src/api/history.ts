/** Records of changes of primary as the API and the command line show them. Pure. */
import { beganAt, type HistoryRecord, mergeRecords, outageMs, phasesOf } from '../core/history.ts'
import type { HistoryEntry } from './contract.ts'

/** Oldest first. */
export function historyEntries(records: readonly HistoryRecord[]): readonly HistoryEntry[] {
  return records.map((record, index) => {
    const before = records[index - 1]
    // Nobody wrote since the epoch before it began, which had no end.
    const goesOn = before?.epoch === record.epoch - 1 && before.phase !== 'steady'
    const phases = phasesOf(record)
    return { ...record, beganAt: beganAt(record), outageMs: goesOn ? null : outageMs(record), phases }
  })
}

/** What several agents say of the same epochs, as one list, oldest first. */
export function mergeHistories(lists: readonly (readonly HistoryRecord[])[]): readonly HistoryEntry[] {
  const merged = new Map<number, HistoryRecord>()
  for (const record of lists.flat()) {
    const known = merged.get(record.epoch)
    merged.set(record.epoch, known === undefined ? record : mergeRecords(known, record))
  }
  return historyEntries([...merged.values()].sort((a, b) => a.epoch - b.epoch))
}
