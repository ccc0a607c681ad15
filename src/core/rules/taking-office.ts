/**
 * The elected node, from writable to `steady`: a commit on the new timeline must be flushed by `acks` standbys of its rule, and only then
 * does it say so (M: noSteadyAck). When those do not come and others do, the rule is changed on the way, by the same steps as in office.
 */
import type { ClusterView, Versioned } from '../cluster-view.ts'
import type { Action, Memory, Verdict } from '../decision.ts'
import type { ServerFacts } from '../facts.ts'
import { currentRule, type Primacy, type Rule, sameRule } from '../primacy.ts'
import { desiredRule } from '../quorum.ts'
import { timersOf } from '../timers.ts'
import { caughtUpStandbys } from '../track.ts'
import { callElection } from './election.ts'
import { primaryConfiguration } from './primary.ts'
import { advance, changeOf, describe } from './quorum.ts'

export function takeOffice(
  view: ClusterView,
  memory: Memory,
  primacy: Versioned<Primacy>,
  server: ServerFacts,
): Verdict {
  const { local } = view
  const { value } = primacy
  if (server.timelineId !== value.timelineId) {
    const reason = `${view.self} is writable on timeline ${server.timelineId}, not on ${value.timelineId} as allocated`
    return {
      reason,
      actions: [{ kind: 'stop', mode: 'immediate' }, callElection(primacy, view.self, reason)],
    }
  }
  if (value.nextRule !== null) return changeRule(view, memory, primacy, value.nextRule, server)
  const rule = currentRule(value)
  const proof = proofOf(view, value, rule)
  if (local.applied?.role !== 'primary' || local.applied.epoch !== value.epoch) {
    // The proof takes its time beside the files, which say what is so already.
    return {
      reason: 'promoted: its files say so too',
      actions: [...(proof ?? []), { kind: 'configure', wanted: primaryConfiguration(value, rule) }],
    }
  }
  const other = proof === null ? null : otherRule(view, memory, value, server)
  if (other !== null) return introduce(primacy, value.rules, other)
  if (proof !== null)
    return { reason: `promoted: a commit must be acknowledged by ${describe(rule)}`, actions: proof }
  const why = `${view.self} is primary of epoch ${value.epoch} on timeline ${value.timelineId}`
  const actions: readonly Action[] = [
    { kind: 'writePrimacy', primacy: steady(view, value, rule), expected: primacy.revision, why },
  ]
  return { reason: why, actions }
}

/** null: proven in this epoch. */
function proofOf(view: ClusterView, primacy: Primacy, rule: Rule): readonly Action[] | null {
  const { proven, tasks } = view.local
  if (proven !== null && proven.rule.epoch === primacy.epoch && sameRule(proven.rule, rule)) return null
  return tasks.has('prove') ? [] : [{ kind: 'prove', rule }]
}

function steady(view: ClusterView, primacy: Primacy, rule: Rule): Primacy {
  const { history } = view.local
  return {
    ...primacy,
    phase: 'steady',
    rules: [rule],
    nextRule: null,
    planned: false,
    candidate: null,
    override: null,
    history: history.timelineId === primacy.timelineId ? history : primacy.history,
  }
}

/**
 * Fewer than `acks` of the rule's standbys stream, after everybody has had time to come; what streams instead is enough for another rule.
 * Without this the cluster would wait for nodes that may never come back.
 */
function otherRule(view: ClusterView, memory: Memory, primacy: Primacy, server: ServerFacts): Rule | null {
  const rule = currentRule(primacy)
  if (view.now - (memory.epoch?.seenAtMs ?? view.now) < timersOf(view.spec.rtoMs).silenceMs) return null
  const there = caughtUpStandbys(view, server).filter((name) => rule.standbys.includes(name))
  return there.length >= rule.acks ? null : desiredRule(view, memory, primacy, server)
}

function introduce(primacy: Versioned<Primacy>, rules: readonly Rule[], wanted: Rule): Verdict {
  const { value } = primacy
  const why = `commits shall wait for ${describe(wanted)} instead of ${describe(currentRule(value))}`
  const next: Primacy = { ...value, rules, nextRule: wanted }
  return {
    reason: why,
    actions: [{ kind: 'writePrimacy', primacy: next, expected: primacy.revision, why }],
  }
}

/** One that cannot be proven either is not given up, for the one before could not: it is kept, and a further one introduced. */
function changeRule(
  view: ClusterView,
  memory: Memory,
  primacy: Versioned<Primacy>,
  next: Rule,
  server: ServerFacts,
): Verdict {
  const { value } = primacy
  const change = { ...changeOf(view, memory, next), givingUp: false }
  const late = changeOf(view, memory, next).givingUp
  const rules = [...value.rules, next]
  const other = late ? desiredRule(view, memory, { ...value, rules }, server) : null
  if (other !== null) return introduce(primacy, rules, other)
  const office = { primacy, server }
  return advance(view, { ...memory, change }, office, next, change, steady(view, value, next))
}
