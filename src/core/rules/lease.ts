/**
 * I10: where commits wait for nobody, votes prove nothing, and only a lease says that an old primary has stopped. Its holder takes it
 * before it becomes writable and stops strictly before it runs out, on the monotonic clock, counted from the last renewal's sending.
 */
import type { ClusterView } from '../cluster-view.ts'
import type { DecisionRule } from '../decision.ts'
import { currentRule, type Primacy } from '../primacy.ts'
import { timersOf } from '../timers.ts'

/**
 * Writable, or on the way to it: files that say primary, or a promotion that is being carried out or was asked for by a predecessor, and
 * may take effect at any moment. Such a node is fenced only by stopping it.
 */
export function mayWrite({ local }: ClusterView): boolean {
  if (local.postmaster.kind !== 'running') return false
  const promoting = local.promotionAsked || local.tasks.has('promote')
  return promoting || local.server?.inRecovery === false || local.applied?.role === 'primary'
}

/** When a primary without acknowledgements must have stopped; null when it holds no lease. */
export function leaseDeadlineMs(view: ClusterView): number | null {
  const until = view.local.primaryLeaseUntilMs
  return until === null ? null : until - timersOf(view.spec.rtoMs).selfFenceMarginMs
}

export function holdsLease(view: ClusterView): boolean {
  const deadlineMs = leaseDeadlineMs(view)
  return deadlineMs !== null && view.now < deadlineMs
}

/** Alone there is nobody who could be promoted instead. */
function needsLease(view: ClusterView, primacy: Primacy): boolean {
  return primacy.primary === view.self && currentRule(primacy).acks === 0 && view.spec.members.length > 1
}

/** A new agent that has not read primacy yet sees from the settings that commits wait for nobody, or, when nothing answers, from the lease. */
function waitsForNobody(view: ClusterView): boolean {
  const facts = view.store.kind === 'read' ? view.store.facts : view.store.last
  const primacy = facts?.primacy?.value
  if (primacy !== undefined) return needsLease(view, primacy)
  const { server } = view.local
  const unprotected =
    server === null ? view.local.primaryLeaseUntilMs !== null : server.synchronousStandbyNames === ''
  return unprotected && view.spec.members.length > 1
}

/** A postmaster that a predecessor left with the lease and that does not answer: it may be writable, whatever is known of it. */
function mayWriteUnseen({ local }: ClusterView): boolean {
  const unseen = local.postmaster.kind === 'running' && local.server === null && local.applied === null
  return unseen && local.primaryLeaseUntilMs !== null
}

/** Also while the store does not answer: that is what the lease is for. So this comes before every rule about the store. */
const selfFence: DecisionRule = {
  id: 'self-fence',
  evaluate(view) {
    const writes = mayWrite(view) || mayWriteUnseen(view)
    if (!writes || view.local.tasks.has('stop') || !waitsForNobody(view) || holdsLease(view)) return null
    return {
      reason:
        'commits wait for nobody, and the lease of the primary runs out: PostgreSQL is stopped before it does (I10)',
      actions: [{ kind: 'stop', mode: 'immediate' }],
    }
  },
}

/** Before the start; and while it runs, when the store has lost the lease that this node still counts on. */
const takeLease: DecisionRule = {
  id: 'take-lease',
  evaluate(view) {
    if (view.store.kind !== 'read') return null
    const { primacy, leaseHolder } = view.store.facts
    if (primacy === null || primacy.value.phase !== 'steady' || !needsLease(view, primacy.value)) return null
    if (holdsLease(view) && leaseHolder === view.self) return null
    if (!holdsLease(view) && view.local.postmaster.kind !== 'stopped') return null
    if (leaseHolder !== null && leaseHolder !== view.self) {
      return { reason: `waits until the lease of ${leaseHolder} has run out (I10)`, actions: [] }
    }
    return {
      reason: 'commits wait for nobody: takes the lease of the primary first (I10)',
      actions: [{ kind: 'takePrimaryLease', expected: primacy.revision }],
    }
  },
}

/** A postmaster that does not answer may be a primary in crash recovery, whatever its files say by now. */
function certainlyNotWritable(view: ClusterView): boolean {
  const { postmaster, server, tasks } = view.local
  if (tasks.has('start') || mayWrite(view)) return false
  return postmaster.kind === 'stopped' || server?.inRecovery === true
}

/** Whoever waits for it must not wait until it runs out. Never while this node may still write. */
const dropLease: DecisionRule = {
  id: 'drop-lease',
  evaluate(view) {
    if (view.store.kind !== 'read' || view.local.primaryLeaseUntilMs === null) return null
    const primacy = view.store.facts.primacy?.value
    if (primacy === undefined) return null
    const inOffice = primacy.primary === view.self && primacy.phase !== 'electing'
    if (inOffice ? currentRule(primacy).acks === 0 : !certainlyNotWritable(view)) return null
    return { reason: 'gives the lease of the primary back (I10)', actions: [{ kind: 'dropPrimaryLease' }] }
  },
}

export const fenceRules: readonly DecisionRule[] = [selfFence]
export const leaseRules: readonly DecisionRule[] = [takeLease, dropLease]
