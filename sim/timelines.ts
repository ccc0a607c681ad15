/**
 * Timelines as PostgreSQL itself goes about them, its gaps included (src/backend/access/transam/timeline.c, xlogrecovery.c); the decision's
 * own arithmetic is another one and is what is tested.
 */
import type { TimelineHistory } from '../src/core/timeline.ts'
import type { Disk } from './node.ts'

/** findNewestTimeLine: history files without a gap from where recovery stands. */
export function newestTimeline(disk: Disk, from: number): number {
  let newest = from
  while (disk.histories.has(newest + 1) || disk.fillers.has(newest + 1)) newest++
  return newest
}

/** tliSwitchPoint: as it stands in the file; null when it is no ancestor. */
export function switchpoint(history: TimelineHistory, timelineId: number): number | null {
  const ancestor = history.ancestors.find((each) => each.timelineId === timelineId)
  return ancestor === undefined ? null : Number(ancestor.switchpointLsn)
}

/** tliOfPointInHistory: the newest first, and a switchpoint belongs to the child. */
export function timelineOfPoint(history: TimelineHistory, lsn: number): number {
  const begins = history.ancestors.map((each) => Number(each.switchpointLsn))
  const path = [...history.ancestors.map((each) => each.timelineId), history.timelineId]
  for (let i = path.length - 1; i >= 0; i--) {
    const begin = begins[i - 1] ?? 0
    const end = begins[i] ?? Number.POSITIVE_INFINITY
    if (begin <= lsn && lsn < end) return path[i] ?? history.timelineId
  }
  return history.timelineId
}

/** rescanLatestTimeLine: recovery goes for a newer one only when that descends from the present one, and not from before here. */
export function rescan(disk: Disk, target: number, replayedLsn: number): number {
  const newest = newestTimeline(disk, target)
  if (newest === target || disk.fillers.has(newest)) return target
  const fork = switchpoint(disk.historyOf(newest), target)
  return fork === null || fork < replayedLsn ? target : newest
}

/** How many records recovery finds that goes for this timeline: those of its ancestors and its own. What is behind a gap it does not see. */
export function readable(disk: Disk, target: number): number {
  const last = disk.wal.at(-1)
  if (last === undefined || last.timelineId === target) return disk.wal.length
  const path = new Set([target, ...disk.historyOf(target).ancestors.map((each) => each.timelineId)])
  const strange = disk.wal.findIndex((record) => !path.has(record.timelineId))
  return strange < 0 ? disk.wal.length : strange
}

/** What the adapter does before each start as standby: PostgreSQL goes for the newest timeline that it has WAL of (timelines.ts there). */
export function settleTimelines(disk: Disk): void {
  const begins = Math.max(disk.controlTimelineId, disk.minTimelineId)
  const goesFor = Math.max(begins, disk.timelineId())
  for (const id of disk.histories.keys()) if (id > goesFor) disk.histories.delete(id)
  disk.fillers.clear()
  for (let gap = begins + 1; gap < goesFor; gap++) if (!disk.histories.has(gap)) disk.fillers.add(gap)
}
