/** What this node could say in an election that began now; the rules of fencing.ts, told to the others beforehand. Pure. */
import type { ClusterView, NodeReport } from './cluster-view.ts'

export function voteOf(view: ClusterView): NodeReport['vote'] {
  const { directory, sentinel } = view.local
  if (sentinel !== null) return sentinel.position === null ? 'none' : 'gone'
  if (directory.kind !== 'cluster') return 'none'
  const identity = view.store.kind === 'read' ? view.store.facts.identity : null
  if (identity === null) return 'whole'
  const ours =
    identity.systemIdentifier === directory.control.systemIdentifier && identity.major === view.spec.major
  return ours ? 'whole' : 'none'
}
