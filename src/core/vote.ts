/** What this node could say in an election that began now; the rules of fencing.ts, told to the others beforehand. Pure. */
import type { ClusterView, LocalView, NodeReport } from './cluster-view.ts'
import { type Allocated, isAllocated } from './timeline.ts'

export function voteOf(view: ClusterView): NodeReport['vote'] {
  const { directory, sentinel } = view.local
  if (sentinel !== null) return sentinel.position === null ? 'none' : 'gone'
  if (directory.kind !== 'cluster') return 'none'
  const facts = view.store.kind === 'read' ? view.store.facts : null
  const primacy = facts?.primacy?.value ?? view.local.known?.primacy
  if (primacy !== undefined && wasPromotedByHand(view.local, primacy)) return 'gone'
  const identity = facts?.identity ?? null
  if (identity === null) return 'whole'
  const ours =
    identity.systemIdentifier === directory.control.systemIdentifier && identity.major === view.spec.major
  return ours ? 'whole' : 'none'
}

/** By what PostgreSQL has written into pg_control, or says itself: its position, and so its history, is not always looked at. */
export function wasPromotedByHand(
  { directory, server }: Pick<LocalView, 'directory' | 'server'>,
  allocated: Pick<Allocated, 'history'>,
): boolean {
  const control = directory.kind === 'cluster' ? directory.control : null
  const timelines = [control?.timelineId, control?.minRecoveryTimelineId, server?.timelineId]
  // 0: it was shut down as a primary, or never recovered.
  return timelines.some((each) => each != null && each !== 0 && !isAllocated(each, allocated))
}
