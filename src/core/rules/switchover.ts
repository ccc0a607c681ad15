/**
 * A planned change of primary, begun by the primary's own agent: preflight, then the compare-and-swap to `electing`; from there on it is
 * an election in which the old primary stops in order and votes, and the candidate takes its last WAL first.
 */
import type { ClusterView } from '../cluster-view.ts'
import type { DecisionRule } from '../decision.ts'
import { lagBytes } from '../lsn.ts'
import { walsenderOf } from '../track.ts'
import { callElection } from './election.ts'
import { ownPrimacy } from './primary.ts'

/** More than this to replay would make the clients wait for the candidate. */
const CANDIDATE_LAG_BYTES = 16 * 1024 * 1024

/** null: it may begin. Otherwise the sentence that says what is in the way; shown by --dry-run too. */
export function switchoverObstacle(view: ClusterView, to: string): string | null {
  const primacy = ownPrimacy(view)
  const { server } = view.local
  if (primacy === null || server === null || server.inRecovery) return 'this node is not the steady primary'
  if (to === view.self) return `${to} is the primary already`
  if (!view.spec.members.some((each) => each.name === to)) return `the cluster has no node ${to}`
  if (primacy.value.nextRule !== null) return 'the rule of the quorum is being changed: try again in a moment'
  const report = view.store.kind === 'read' ? view.store.facts.nodes.get(to) : undefined
  if (report === undefined) return `the agent of ${to} does not report`
  if (report.priority === 0) return `${to} has candidatePriority 0`
  const walsender = walsenderOf(server, to)
  if (walsender?.state !== 'streaming') return `${to} does not stream`
  const { flushLsn, insertLsn } = server
  const position = insertLsn ?? flushLsn
  const behind =
    position === null || walsender.replayLsn === null ? null : lagBytes(walsender.replayLsn, position)
  if (behind === null || behind > CANDIDATE_LAG_BYTES) return `${to} is ${behind ?? 'unknown'} bytes behind`
  return null
}

const switchover: DecisionRule = {
  id: 'switchover',
  evaluate(view) {
    const primacy = ownPrimacy(view)
    if (primacy === null || view.store.kind !== 'read') return null
    const request = view.store.facts.switchover
    if (request === null) return null
    const { to } = request.value
    const drop = { kind: 'dropRequest' as const, expected: request.revision }
    const obstacle = switchoverObstacle(view, to)
    if (obstacle !== null) {
      const reason = `switchover to ${to} refused: ${obstacle}`
      return { reason, actions: [{ ...drop, reason }] }
    }
    const reason = `switchover from ${view.self} to ${to}`
    return { reason, actions: [callElection(primacy, view.self, reason, to), { ...drop, reason }] }
  },
}

/** An office that was just taken is not given on before everybody had time to come. */
const PROVISIONAL_MS = 10_000

/** Priority 0 is elected only when it alone had the newest WAL: as soon as somebody else has it, that one is primary (I4). */
const giveOfficeOn: DecisionRule = {
  id: 'give-office-on',
  evaluate(view, memory) {
    const primacy = ownPrimacy(view)
    if (primacy === null || view.store.kind !== 'read' || view.spec.priority > 0) return null
    if (view.store.facts.paused !== null || memory.office === null) return null
    if (view.now - memory.office.sinceMs < PROVISIONAL_MS) return null
    const to = [...view.store.facts.nodes.values()]
      .filter((each) => each.name !== view.self && switchoverObstacle(view, each.name) === null)
      .sort((a, b) => b.priority - a.priority || (a.name < b.name ? -1 : 1))[0]
    if (to === undefined) return null
    const reason = `${view.self} has candidatePriority 0: ${to.name} takes over from it`
    return { reason, actions: [callElection(primacy, view.self, reason, to.name)] }
  },
}

export const switchoverRules: readonly DecisionRule[] = [switchover, giveOfficeOn]
