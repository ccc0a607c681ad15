/**
 * An election that an operator asked for. Everything that was seen then is looked at again: it is bound to its epoch and to exactly the
 * voters that were missing. Any node may begin it, the compare-and-swap lets one.
 */
import type { DecisionRule } from '../decision.ts'
import { failoverRefusal } from '../manual-failover.ts'
import { callElection } from './election.ts'

const manualFailover: DecisionRule = {
  id: 'manual-failover',
  evaluate(view) {
    if (view.store.kind !== 'read') return null
    const { primacy, failover } = view.store.facts
    if (primacy === null || failover === null) return null
    const { by, requestedAt: at, to, missing, reason: why } = failover.value
    const drop = { kind: 'dropRequest', request: 'failover', expected: failover.revision } as const
    const refusal = failoverRefusal(view.store.facts, primacy.value, failover.value)
    if (refusal !== null) {
      const reason = `failover, asked for by ${by}, is not carried out: ${refusal.message}`
      return { reason, actions: [{ ...drop, reason, done: false }] }
    }
    const without = missing.length === 0 ? '' : `, without the votes of ${missing.join(', ')}`
    const reason = `failover asked for by ${by}${without}${why === null ? '' : `: ${why}`}`
    const override = missing.length === 0 ? null : { missing, by, at, reason: why }
    return {
      reason,
      actions: [
        callElection(primacy, view.self, reason, { candidate: to, override }),
        { ...drop, reason, done: true },
      ],
    }
  },
}

export const manualFailoverRules: readonly DecisionRule[] = [manualFailover]
