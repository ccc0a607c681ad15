/** Whether this node's disk takes writes at all. One that is slow is no reason for anything; one that hangs is worse than one that fails. Pure. */
import type { ClusterView } from './cluster-view.ts'
import type { Memory } from './decision.ts'
import { timersOf } from './timers.ts'

/**
 * For the whole time of a silence no write has come back from it: not the one that tries it, and no WAL either. Reading goes on and every
 * port answers, so nobody else can see it.
 */
export function diskHangs(view: ClusterView, memory: Memory): boolean {
  const dueMs = diskHangDueMs(view, memory)
  return dueMs !== null && dueMs <= view.now
}

/** When it will count as hanging, if nothing comes back until then; null: nothing is being waited for. */
export function diskHangDueMs(view: ClusterView, memory: Memory): number | null {
  const { diskTriedSinceMs, awakeSinceMs } = view.local
  if (diskTriedSinceMs === null) return null
  const heardAtMs = Math.max(diskTriedSinceMs, awakeSinceMs, memory.flushed?.sinceMs ?? 0)
  return heardAtMs + timersOf(view.spec.rtoMs).silenceMs
}
