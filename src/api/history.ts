/** Records of changes of primary as the API and the command line show them. Pure. */
import { type HistoryRecord, mergeRecords } from '../core/history.ts'
import { beganAt, detectedAt, outageMs, phasesOf } from '../core/history-phases.ts'
import type { HistoryEntry } from './contract.ts'

/** Oldest first. */
export function historyEntries(records: readonly HistoryRecord[]): readonly HistoryEntry[] {
  return records.map((record, index) => {
    const before = records[index - 1]
    // Nobody wrote since the epoch before it began, which had no end.
    const goesOn = before?.epoch === record.epoch - 1 && before.phase !== 'steady'
    return {
      ...record,
      beganAt: beganAt(record),
      detectedAt: detectedAt(record),
      outageMs: goesOn ? null : outageMs(record),
      phases: phasesOf(record),
    }
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
