/** When a task that failed may be tried again: doubling from one second to half a minute, so that a broken disk is not hammered. Pure. */
import type { ClusterView, TaskKind } from './cluster-view.ts'

const FIRST_MS = 1_000
const LONGEST_MS = 30_000

/** null: now. Otherwise a sentence that names the failure and the wait. `longestMs`: where others wait for the task. */
export function waitsAfterFailure(view: ClusterView, task: TaskKind, longestMs = LONGEST_MS): string | null {
  const failure = view.local.failures.get(task)
  if (failure === undefined) return null
  const waitMs = Math.min(longestMs, FIRST_MS * 2 ** (failure.count - 1))
  const leftMs = failure.atMs + waitMs - view.now
  if (leftMs <= 0) return null
  return `${failure.reason} (attempt ${failure.count}; next one in ${Math.ceil(leftMs / 1_000)} s)`
}
