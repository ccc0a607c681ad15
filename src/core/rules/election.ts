/**
 * Starting an election, fencing, voting, electing. Everyone who sees `electing` fences itself and votes, the old primary too (I3, I3');
 * as soon as I2 holds among the ballots, the most advanced is written as `promoting` (I4). Ballots never change, so whoever writes it
 * writes something true, and the compare-and-swap lets one do it.
 */
import { type Ballot, historyWith } from '../ballot.ts'
import type { ClusterView, StoreFacts, Versioned, WantedConfiguration } from '../cluster-view.ts'
import type { Action, DecisionRule, Memory, Verdict } from '../decision.ts'
import { suspecting, suspectsPrimary } from '../detector.ts'
import { outlook, overlaps, ruleOfElected, rulesToSatisfy } from '../election.ts'
import { currentRule, type Primacy, synchronousStandbyNames } from '../primacy.ts'
import { timersOf } from '../timers.ts'
import { mayWrite } from './lease.ts'

function read(
  view: ClusterView,
): { readonly facts: StoreFacts; readonly primacy: Versioned<Primacy> } | null {
  if (view.store.kind !== 'read' || view.store.facts.primacy === null) return null
  return { facts: view.store.facts, primacy: view.store.facts.primacy }
}

/** The compare-and-swap to the next epoch, from any phase; every rule stays to be satisfied (M: noCarry). */
export function callElection(
  primacy: Versioned<Primacy>,
  self: string,
  reason: string,
  planned: string | null = null,
): Action {
  return {
    kind: 'writePrimacy',
    expected: primacy.revision,
    why: reason,
    primacy: {
      ...primacy.value,
      epoch: primacy.value.epoch + 1,
      phase: 'electing',
      rules: rulesToSatisfy(primacy.value),
      nextRule: null,
      startedBy: self,
      reason,
      planned: planned !== null,
      candidate: planned,
    },
  }
}

/** First-hand: its own postmaster has died under this agent. Nothing of it runs any more, so nobody has to wait for anything. */
const resign: DecisionRule = {
  id: 'resign',
  evaluate(view) {
    const store = read(view)
    if (store === null || store.primacy.value.phase !== 'steady' || store.primacy.value.primary !== view.self)
      return null
    const { postmaster, ranAsPrimaryIn, tasks } = view.local
    if (postmaster.kind !== 'stopped' || ranAsPrimaryIn !== store.primacy.value.epoch || tasks.has('start'))
      return null
    if (currentRule(store.primacy.value).standbys.length === 0 || store.facts.paused !== null) return null
    const reason = `PostgreSQL of the primary ${view.self} has died`
    return { reason, actions: [callElection(store.primacy, view.self, reason)] }
  },
}

/** Enough standbys to satisfy I2 must suspect: with fewer an election could not end anyhow. */
const startElection: DecisionRule = {
  id: 'start-election',
  evaluate(view) {
    const store = read(view)
    if (store === null || !suspectsPrimary(view, store.primacy.value)) return null
    const primacy = store.primacy.value
    if (store.facts.paused !== null)
      return {
        reason: `the primary does not answer, but failover is paused: ${store.facts.paused}`,
        actions: [],
      }
    const voters = suspecting(view, primacy)
    // A rule without acknowledgements is satisfied by the end of its primary's lease, which the election waits for (I10).
    const silent = new Set(
      rulesToSatisfy(primacy)
        .filter((rule) => rule.acks === 0)
        .map((rule) => rule.primary),
    )
    if (!overlaps(rulesToSatisfy(primacy), voters, silent)) {
      return {
        reason: `the primary ${primacy.primary} does not answer, but only ${[...voters].sort().join(', ')} see it so`,
        actions: [],
      }
    }
    const reason = `the primary ${primacy.primary} does not answer: ${[...voters].sort().join(', ')} agree`
    return { reason, actions: [callElection(store.primacy, view.self, reason)] }
  },
}

/** A running change of role never outlasts a newer election: what was started for an older epoch is ended first. */
const electing: DecisionRule = {
  id: 'election',
  evaluate(view, before) {
    const store = read(view)
    if (store === null || store.primacy.value.phase !== 'electing') return null
    const { primacy, facts } = store
    const memory = rememberElection(view, before, primacy.value)
    const voted = facts.ballots.some(
      (ballot) => ballot.epoch === primacy.value.epoch && ballot.node === view.self,
    )
    const own = voted ? null : fenceAndVote(view, primacy.value, facts, memory)
    if (own !== null && own.actions.length > 0) return { ...own, memory }
    const tally = tallyVotes(view, primacy, facts, memory)
    return tally.actions.length > 0 || own === null ? { ...tally, memory } : { ...own, memory }
  },
}

function rememberElection(view: ClusterView, memory: Memory, primacy: Primacy): Memory {
  if (memory.election?.epoch === primacy.epoch) return memory
  return { ...memory, election: { epoch: primacy.epoch, seenAtMs: view.now } }
}

/** The next step of this node towards its ballot. */
function fenceAndVote(view: ClusterView, primacy: Primacy, facts: StoreFacts, memory: Memory): Verdict {
  const { local } = view
  const { epoch } = primacy
  const promise: Action = { kind: 'promise', epoch }
  if (local.sentinel !== null) return voteOfSentinel(view, primacy, promise)
  // The swap at the end of a clone would take away what is being voted.
  if (local.tasks.has('clone') && local.directory.kind === 'cluster') {
    return {
      reason: `election of epoch ${epoch}: the clone beside is given up`,
      actions: [promise, { kind: 'abort', task: 'clone' }],
    }
  }
  if (local.directory.kind !== 'cluster')
    return { reason: `election of epoch ${epoch}: no data, no vote`, actions: [] }
  if (waitsForOldPrimary(view, primacy, facts, memory)) {
    return { reason: `switchover: takes the last WAL of ${currentRule(primacy).primary} first`, actions: [] }
  }
  if (local.tasks.has('stop')) {
    return { reason: `election of epoch ${epoch}: waits for its own PostgreSQL`, actions: [promise] }
  }
  // A primary, or one that may become writable: it stops. A standby only loses its upstream.
  if (mayWrite(view)) {
    return {
      reason: `fences itself for epoch ${epoch}: PostgreSQL is stopped`,
      actions: [promise, { kind: 'stop', mode: 'fast' }],
    }
  }
  if (local.postmaster.kind === 'stopped') return fenceStopped(view, primacy, promise)
  return fenceStandby(view, primacy, promise)
}

/** Until the old primary has voted, or is seen to have ended, or has taken too long. */
function waitsForOldPrimary(view: ClusterView, primacy: Primacy, facts: StoreFacts, memory: Memory): boolean {
  const old = currentRule(primacy).primary
  if (!primacy.planned || old === view.self) return false
  if (facts.ballots.some((ballot) => ballot.node === old && ballot.epoch === primacy.epoch)) return false
  if (view.local.server !== null && view.local.server.walreceiver === null) return false
  const waitedMs = view.now - (memory.election?.seenAtMs ?? view.now)
  return waitedMs < 4 * timersOf(view.spec.rtoMs).candidateMs
}

function fenceStopped(view: ClusterView, primacy: Primacy, promise: Action): Verdict {
  const { local } = view
  if (local.position?.complete === true) return vote(view, primacy, promise)
  // Ended without a clean shutdown: only recovery knows where its WAL ends.
  if (local.tasks.has('start'))
    return {
      reason: `election of epoch ${primacy.epoch}: recovery looks for the end of its WAL`,
      actions: [promise],
    }
  return {
    reason: `election of epoch ${primacy.epoch}: starts fenced, to find the end of its WAL`,
    actions: [
      promise,
      { kind: 'removePassfiles' },
      { kind: 'configure', wanted: fenced(view, primacy) },
      { kind: 'start', notAfterMs: null },
    ],
  }
}

function fenceStandby(view: ClusterView, primacy: Primacy, promise: Action): Verdict {
  const { local } = view
  const isFenced =
    local.applied?.upstream === null &&
    local.applied.epoch >= primacy.epoch &&
    local.promisedEpoch >= primacy.epoch
  if (!isFenced) {
    return {
      reason: `fences itself for epoch ${primacy.epoch}: takes no WAL from ${currentRule(primacy).primary} any more`,
      actions: [promise, { kind: 'removePassfiles' }, { kind: 'configure', wanted: fenced(view, primacy) }],
    }
  }
  if (local.server === null || local.server.walreceiver !== null || local.position === null) {
    return { reason: `fenced for epoch ${primacy.epoch}: waits until its position is stable`, actions: [] }
  }
  return vote(view, primacy, promise)
}

function fenced(view: ClusterView, primacy: Primacy): WantedConfiguration {
  return {
    role: 'standby',
    epoch: primacy.epoch,
    upstream: null,
    synchronousStandbyNames: namesCarried(view, primacy),
  }
}

/** The sync names that this node would need as primary, unchanged while it is fenced, so that nothing is reloaded then (I5). */
export function namesCarried(view: ClusterView, primacy: Primacy): string {
  return synchronousStandbyNames(ruleCarried(view, primacy))
}

function ruleCarried(
  view: ClusterView,
  primacy: Primacy,
): { readonly acks: number; readonly standbys: readonly string[] } {
  const rule = currentRule(primacy)
  const standbys = [rule.primary, ...rule.standbys].filter((name) => name !== view.self)
  return { acks: Math.min(rule.acks, standbys.length), standbys }
}

function vote(view: ClusterView, primacy: Primacy, promise: Action): Verdict {
  const { position, history } = view.local
  if (position === null) return { reason: 'has no position to vote', actions: [] }
  const ballot: Ballot = {
    epoch: primacy.epoch,
    node: view.self,
    position: { timelineId: position.timelineId, lsn: position.lsn },
    history,
    priority: view.spec.priority,
    gone: false,
    carries: ruleCarried(view, primacy),
  }
  return { reason: `votes in epoch ${primacy.epoch}`, actions: [promise, { kind: 'vote', ballot }] }
}

/** What the directory had before it was opened up: it counts for I2, blocks who has less, and cannot be elected (I12). */
function voteOfSentinel(view: ClusterView, primacy: Primacy, promise: Action): Verdict {
  const { sentinel } = view.local
  if (sentinel === null || sentinel.position === null)
    return { reason: 'its data is gone, and what it was is not known: no vote', actions: [] }
  const ballot: Ballot = {
    epoch: primacy.epoch,
    node: view.self,
    position: sentinel.position,
    history: sentinel.history,
    priority: view.spec.priority,
    gone: true,
    carries: { acks: 0, standbys: [] },
  }
  return {
    reason: `votes in epoch ${primacy.epoch} for data that is being replaced`,
    actions: [promise, { kind: 'vote', ballot }],
  }
}

function tallyVotes(
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
  if (result.kind === 'behind') {
    return {
      reason: `${head}: ${result.ahead.node} is ahead of ${result.best.node} and is not electable`,
      actions: [],
    }
  }
  const waitedMs = view.now - (memory.election?.seenAtMs ?? view.now)
  const { candidateMs, takeOverMs } = timersOf(view.spec.rtoMs)
  if (value.candidate !== null && result.ballot.node !== value.candidate && waitedMs < candidateMs) {
    return { reason: `${head}: waits for ${value.candidate}`, actions: [] }
  }
  if (waitedMs < place(view, value, result.ballot.node) * takeOverMs)
    return { reason: `${head}: ${value.startedBy} counts the votes`, actions: [] }
  const rule = ruleOfElected(result.ballot, value, facts.ballots, view.spec.durability === 'quorum')
  const timelineId = value.highestTimelineId + 1
  const promoting: Primacy = {
    ...value,
    phase: 'promoting',
    primary: result.ballot.node,
    timelineId,
    highestTimelineId: timelineId,
    rules: [...rulesToSatisfy(value), rule],
    nextRule: null,
    nextXid: null,
    history: historyWith(result.ballot, timelineId),
  }
  const why = `${result.ballot.node} is elected in epoch ${value.epoch}, on timeline ${timelineId}`
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

export const electionRules: readonly DecisionRule[] = [electing, resign, startElection]
