/**
 * I10: where commits wait for nobody, votes prove nothing, and only a lease says that an old primary has stopped. Its holder takes it
 * before it becomes writable and stops strictly before it runs out, on the monotonic clock, counted from the last renewal's sending.
 */
import type { ClusterView } from '../cluster-view.ts'
import type { DecisionRule } from '../decision.ts'
import { currentRule, type Primacy } from '../primacy.ts'
import { timersOf } from '../timers.ts'

/** Alone there is nobody who could be promoted instead. */
function needsLease(view: ClusterView, primacy: Primacy): boolean {
  return primacy.primary === view.self && currentRule(primacy).acks === 0 && view.spec.members.length > 1
}

function isHeld(view: ClusterView): boolean {
  const until = view.local.primaryLeaseUntilMs
  return until !== null && view.now < until - timersOf(view.spec.rtoMs).selfFenceMarginMs
}

/** Also while the store does not answer: that is what the lease is for. */
const selfFence: DecisionRule = {
  id: 'self-fence',
  evaluate(view) {
    const facts = view.store.kind === 'read' ? view.store.facts : view.store.last
    const primacy = facts?.primacy?.value
    if (primacy === undefined || !needsLease(view, primacy) || isHeld(view)) return null
    const { local } = view
    const mayWrite =
      local.server?.inRecovery === false ||
      (local.applied?.role === 'primary' && local.postmaster.kind === 'running')
    if (!mayWrite || local.tasks.has('stop')) return null
    return {
      reason:
        'commits wait for nobody, and the lease of the primary runs out: PostgreSQL is stopped before it does (I10)',
      actions: [{ kind: 'stop', mode: 'immediate' }],
    }
  },
}

const takeLease: DecisionRule = {
  id: 'take-lease',
  evaluate(view) {
    if (view.store.kind !== 'read') return null
    const { primacy, leaseHolder } = view.store.facts
    if (
      primacy === null ||
      primacy.value.phase !== 'steady' ||
      !needsLease(view, primacy.value) ||
      isHeld(view)
    )
      return null
    if (view.local.postmaster.kind !== 'stopped') return null
    if (leaseHolder !== null && leaseHolder !== view.self) {
      return { reason: `waits until the lease of ${leaseHolder} has run out (I10)`, actions: [] }
    }
    return {
      reason: 'commits wait for nobody: takes the lease of the primary first (I10)',
      actions: [{ kind: 'takePrimaryLease', expected: primacy.revision }],
    }
  },
}

export const leaseRules: readonly DecisionRule[] = [selfFence, takeLease]
