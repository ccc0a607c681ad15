/**
 * Counting: as soon as I2 holds among the ballots, the most advanced is written as `promoting` (I4). Ballots never change, so whoever
 * writes it writes something true, and the compare-and-swap lets one do it.
 */
import { type Ballot, historyWith } from '../ballot.ts'
import type { ClusterView, StoreFacts, Versioned } from '../cluster-view.ts'
import type { Memory, Verdict } from '../decision.ts'
import { outlook, ruleOfElected, rulesToSatisfy } from '../election.ts'
import type { Primacy } from '../primacy.ts'
import { timersOf } from '../timers.ts'

export function tallyVotes(
  view: ClusterView,
  primacy: Versioned<Primacy>,
  facts: StoreFacts,
  memory: Memory,
): Verdict {
  const { value } = primacy
  const resigned = resignedPrimaries(value, facts)
  const result = outlook({ primacy: value, ballots: facts.ballots, resigned, preferred: value.candidate })
  const head = `election of epoch ${value.epoch}`
  if (result.kind === 'waiting') return { reason: `${head}: ${result.reason}`, actions: [] }
  const waitedMs = view.now - (memory.epoch?.seenAtMs ?? view.now)
  const { candidateMs, takeOverMs, silenceMs } = timersOf(view.spec.rtoMs)
  // What it has may be acknowledged, and nobody else has it: it is elected, and gives the office on by itself (I4).
  if (result.kind === 'behind' && waitedMs < (result.best === null ? 2 : 1) * candidateMs) {
    const others = result.best?.node ?? 'anybody who can be elected'
    return {
      reason: `${head}: ${result.ahead.node} is ahead of ${others} and is elected only if nobody else comes`,
      actions: [],
    }
  }
  const winner = result.kind === 'behind' ? result.ahead : result.ballot
  const proved = value.override === null && value.rules.every((rule) => rule.acks > 0)
  const missing = proved ? [] : withoutBallot(value, facts)
  if (missing.length > 0 && waitedMs < silenceMs) {
    return {
      reason: `${head}: its votes do not prove that nobody has more, waits for ${missing.join(', ')}`,
      actions: [],
    }
  }
  if (value.candidate !== null && winner.node !== value.candidate && waitedMs < candidateMs) {
    return { reason: `${head}: waits for ${value.candidate}`, actions: [] }
  }
  if (waitedMs < place(view, value, winner.node) * takeOverMs)
    return { reason: `${head}: ${value.startedBy} counts the votes`, actions: [] }
  return elect(view, primacy, facts, winner)
}

/** Who reports, and so may still have more than those who have voted. */
function withoutBallot(primacy: Primacy, facts: StoreFacts): readonly string[] {
  const voted = new Set(facts.ballots.filter((each) => each.epoch === primacy.epoch).map((each) => each.node))
  return [...facts.nodes.keys()].filter((name) => !voted.has(name)).sort()
}

function elect(view: ClusterView, primacy: Versioned<Primacy>, facts: StoreFacts, winner: Ballot): Verdict {
  const { value } = primacy
  const rule = ruleOfElected(winner, value, facts.ballots, view.spec.durability === 'quorum')
  const timelineId = value.highestTimelineId + 1
  const promoting: Primacy = {
    ...value,
    phase: 'promoting',
    primary: winner.node,
    timelineId,
    highestTimelineId: timelineId,
    rules: [...rulesToSatisfy(value), rule],
    nextRule: null,
    nextXid: null,
    history: historyWith(winner, timelineId),
  }
  const why = `${winner.node} is elected in epoch ${value.epoch}, on timeline ${timelineId}`
  return {
    reason: why,
    actions: [{ kind: 'writePrimacy', primacy: promoting, expected: primacy.revision, why }],
  }
}

/** The starter counts at once, and so does the elected node, which gains most; the others only when those do not. */
function place(view: ClusterView, primacy: Primacy, elected: string): number {
  if (view.self === primacy.startedBy || view.self === elected) return 0
  return 1 + view.spec.members.findIndex((each) => each.name === view.self)
}

/** Primaries whose acknowledgements without standbys are over: their lease is nobody's, or somebody else's (I10). */
function resignedPrimaries(primacy: Primacy, facts: StoreFacts): ReadonlySet<string> {
  const primaries = rulesToSatisfy(primacy).map((rule) => rule.primary)
  return new Set(primaries.filter((name) => facts.leaseHolder !== name))
}
