/**
 * A planned change of primary, begun by the primary's own agent: preflight, then the compare-and-swap to `electing`; from there on it is
 * an election in which the old primary stops in order and votes, and the candidate takes its last WAL first.
 */
import type { ClusterView } from '../cluster-view.ts'
import type { DecisionRule, Verdict } from '../decision.ts'
import { switchoverRefusal } from '../switchover-checks.ts'
import { callElection } from './election.ts'
import { ownPrimacy } from './primary.ts'

const switchover: DecisionRule = {
  id: 'switchover',
  evaluate(view) {
    const primacy = ownPrimacy(view)
    if (primacy === null || view.store.kind !== 'read') return null
    const request = view.store.facts.switchover
    if (request === null) return null
    const { to, by, epoch, session } = request.value
    const drop = { kind: 'dropRequest', request: 'switchover', expected: request.revision } as const
    const refuse = (why: string): Verdict => {
      const reason = `switchover to ${to}, asked for by ${by}, is not carried out: ${why}`
      return { reason, actions: [{ ...drop, reason, done: false }] }
    }
    if (epoch !== primacy.value.epoch)
      return refuse(`it is of epoch ${epoch}, and this is epoch ${primacy.value.epoch}`)
    // Not due yet: the shell, which knows the time of day, takes it up.
    if (session === null) return null
    if (session !== view.local.session) return refuse('the agent that took it was restarted')
    const refusal = switchoverRefusal(view, to)
    if (refusal !== null) return refuse(refusal.message)
    // Both rules would have to be satisfied (I2): the change ends or is given up soon.
    if (primacy.value.nextRule !== null) return null
    const reason = `switchover from ${view.self} to ${to}, asked for by ${by}`
    const asked = { planned: true, candidate: to }
    return {
      reason,
      actions: [callElection(primacy, view.self, reason, asked), { ...drop, reason, done: true }],
    }
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
    if (memory.office === null || primacy.value.nextRule !== null) return null
    if (view.now - memory.office.sinceMs < PROVISIONAL_MS) return null
    const to = successor(view)
    if (to === null) return null
    const reason = `${view.self} has candidatePriority 0: ${to} takes over from it`
    const asked = { planned: true, candidate: to }
    return { reason, actions: [callElection(primacy, view.self, reason, asked)] }
  },
}

function successor(view: ClusterView): string | null {
  if (view.store.kind !== 'read') return null
  const candidates = [...view.store.facts.nodes.values()].filter(
    (each) => each.name !== view.self && switchoverRefusal(view, each.name) === null,
  )
  return candidates.sort((a, b) => b.priority - a.priority || (a.name < b.name ? -1 : 1))[0]?.name ?? null
}

export const switchoverRules: readonly DecisionRule[] = [switchover, giveOfficeOn]
