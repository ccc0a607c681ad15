/**
 * Which rule the cluster should have, from who streams now and who has been lost for how long. Pure. Specified in docs/failover.md,
 * "Changing the rule".
 */
import type { ClusterView } from './cluster-view.ts'
import type { Memory } from './decision.ts'
import type { ServerFacts } from './facts.ts'
import { acksFor, currentRule, type Primacy, type Rule, sameRule } from './primacy.ts'
import { timersOf } from './timers.ts'
import { caughtUpStandbys } from './track.ts'

/**
 * The rule to change to, or null when the current one is right.
 *
 * Reasons, in order: async asks for nothing; a standby is added only when it streams and is caught up; a lost one is removed only
 * after a delay and only when the operator lets the rule relax; the first quorum needs two standbys; and a rule never falls to zero
 * acknowledgements by itself, because then only a lease could stop an old primary (I10).
 */
export function desiredRule(
  view: ClusterView,
  memory: Memory,
  primacy: Primacy,
  server: ServerFacts,
): Rule | null {
  if (view.spec.durability === 'async') return null
  const current = currentRule(primacy)
  const streaming = caughtUpStandbys(view, server).filter((name) => name !== view.self)
  const known = new Set(view.spec.members.map((each) => each.name))
  const kept = current.standbys.filter(
    (name) => known.has(name) && !streaming.includes(name) && !isGivenUp(view, memory, name),
  )
  const standbys = [...streaming, ...kept].sort()
  if (streaming.length === 0 || (current.acks === 0 && standbys.length < 2)) return null
  const wanted: Rule = {
    epoch: primacy.epoch,
    primary: view.self,
    acks: Math.max(1, acksFor(standbys.length)),
    standbys,
  }
  // More acknowledgements than streaming standbys would stop every write until another one comes.
  if (streaming.length < wanted.acks) return null
  return sameRule(current, wanted) ? null : wanted
}

function isGivenUp(view: ClusterView, memory: Memory, name: string): boolean {
  if (view.spec.whenStandbyLost === 'block') return false
  const since = memory.lostSinceMs[name]
  // While this process slept it saw nobody, so nobody was seen to be away.
  return (
    since !== undefined &&
    view.now - Math.max(since, view.local.awakeSinceMs) >= timersOf(view.spec.rtoMs).standbyLostMs
  )
}
