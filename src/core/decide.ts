/**
 * Decides what this node must do next. Pure: the same view and memory give the same decision. Level-triggered: every cycle looks
 * at the whole view, so a lost event costs a cycle and never correctness. The first rule that applies wins; upkeep that hurts
 * nothing (slots) is appended while PostgreSQL runs.
 */
import type { ClusterView } from './cluster-view.ts'
import type { Decision, DecisionRule, Memory } from './decision.ts'
import { bootstrapRules } from './rules/bootstrap.ts'
import { directoryRules, taskUnderWay } from './rules/directory.ts'
import { electionRules } from './rules/election.ts'
import { fenceRules, leaseRules } from './rules/lease.ts'
import { manualFailoverRules } from './rules/manual-failover.ts'
import { primaryRules } from './rules/primary.ts'
import { promotionRules } from './rules/promotion.ts'
import { quorumRules } from './rules/quorum.ts'
import { slotUpkeep } from './rules/slots.ts'
import { stalePrimary, standbyRules, starved } from './rules/standby.ts'
import { storeRules } from './rules/store.ts'
import { switchoverRules } from './rules/switchover.ts'
import { track } from './track.ts'

export const RULES: readonly DecisionRule[] = [
  ...fenceRules,
  ...directoryRules,
  ...storeRules,
  ...bootstrapRules,
  ...leaseRules,
  ...manualFailoverRules,
  ...electionRules,
  stalePrimary,
  ...promotionRules,
  starved,
  taskUnderWay,
  ...switchoverRules,
  ...primaryRules,
  ...standbyRules,
  ...quorumRules,
]

export function decide(view: ClusterView, before: Memory): Decision {
  const memory = track(view, before)
  for (const rule of RULES) {
    const verdict = rule.evaluate(view, memory)
    if (verdict === null) continue
    return {
      rule: rule.id,
      reason: verdict.reason,
      actions: [...verdict.actions, ...slotUpkeep(view)],
      memory: verdict.memory ?? memory,
    }
  }
  return { rule: 'keep-running', reason: sentence(view), actions: slotUpkeep(view), memory }
}

function sentence(view: ClusterView): string {
  const primacy = view.store.kind === 'read' ? view.store.facts.primacy?.value : null
  if (primacy === null || primacy === undefined) return 'nothing to do'
  return primacy.primary === view.self
    ? `primary of epoch ${primacy.epoch}, everything is as it shall be`
    : `standby that follows ${primacy.primary} in epoch ${primacy.epoch}`
}
