/**
 * Who begins an election, and when: the primary itself, first-hand, or the standbys that see it dead. From there on everyone fences
 * itself and votes (fencing.ts), and the votes are counted (counting.ts).
 */
import type { ClusterView, StoreFacts, Versioned } from '../cluster-view.ts'
import type { Action, DecisionRule, Memory } from '../decision.ts'
import { hasOnlyItsVote, suspecting, suspectsPrimary } from '../detector.ts'
import { diskHangs } from '../disk.ts'
import { overlaps, rulesToSatisfy } from '../election.ts'
import { currentRule, type Override, type Primacy } from '../primacy.ts'
import { timersOf } from '../timers.ts'
import { tallyVotes } from './counting.ts'
import { fenceAndVote, hangs } from './fencing.ts'

function read(
  view: ClusterView,
): { readonly facts: StoreFacts; readonly primacy: Versioned<Primacy> } | null {
  if (view.store.kind !== 'read' || view.store.facts.primacy === null) return null
  return { facts: view.store.facts, primacy: view.store.facts.primacy }
}

/** Of the primary in its steady epoch. */
function readInOffice(view: ClusterView): ReturnType<typeof read> {
  const store = read(view)
  const value = store?.primacy.value
  return value?.phase === 'steady' && value.primary === view.self ? store : null
}

/** What an operator adds to an election. */
export interface Asked {
  readonly planned: boolean
  readonly candidate: string | null
  readonly override: Override | null
}

/** The compare-and-swap to the next epoch, from any phase; every rule stays to be satisfied (M: noCarry). */
export function callElection(
  primacy: Versioned<Primacy>,
  self: string,
  reason: string,
  asked: Partial<Asked> = {},
): Action {
  const { planned = false, candidate = null, override = null } = asked
  const epoch = primacy.value.epoch + 1
  const missing = override?.missing ?? []
  return {
    kind: 'writePrimacy',
    expected: primacy.revision,
    why: reason,
    primacy: {
      ...primacy.value,
      epoch,
      phase: 'electing',
      rules: rulesToSatisfy(primacy.value),
      nextRule: null,
      startedBy: self,
      reason,
      planned,
      candidate,
      override,
      writtenOff: {
        ...primacy.value.writtenOff,
        ...Object.fromEntries(missing.map((name) => [name, epoch])),
      },
    },
  }
}

/** First-hand: its own postmaster has died under this agent. Nothing of it runs any more, so nobody has to wait for anything. */
const resign: DecisionRule = {
  id: 'resign',
  evaluate(view) {
    const store = readInOffice(view)
    if (store === null) return null
    const { postmaster, ranAsPrimaryIn, tasks } = view.local
    if (postmaster.kind !== 'stopped' || ranAsPrimaryIn !== store.primacy.value.epoch || tasks.has('start'))
      return null
    if (currentRule(store.primacy.value).standbys.length === 0 || store.facts.paused !== null) return null
    const reason = `PostgreSQL of the primary ${view.self} has died`
    return { reason, actions: [callElection(store.primacy, view.self, reason)] }
  },
}

/** So many starts in a row that another one will hardly end otherwise. */
const HOPELESS_STARTS = 3

/**
 * Its agent lives, so nobody suspects it, but its PostgreSQL hangs or cannot be started. A backend's crash restarts by itself within
 * `recoveringMs`. As long as enough standbys stream to keep the quorum, it is alive, whatever its agent sees: commits go on.
 */
const resignHelpless: DecisionRule = {
  id: 'resign-helpless',
  evaluate(view, memory) {
    const store = readInOffice(view)
    if (store === null) return null
    if (store.facts.paused !== null) return null
    const why = helpless(view, memory)
    if (why === null || !quorumIsLeft(view, store.primacy.value, store.facts)) return null
    const reason = `PostgreSQL of the primary ${view.self} ${why}, and no quorum streams from it`
    return { reason, actions: [callElection(store.primacy, view.self, reason)] }
  },
}

function helpless(view: ClusterView, memory: Memory): string | null {
  const starts = view.local.failures.get('start')?.count ?? 0
  if (view.local.server === null && starts >= HOPELESS_STARTS) return `could not be started ${starts} times`
  if (!hangs(view, memory)) return null
  return 'does not answer'
}

/**
 * It answers and streams, so nobody else can see that no commit ends any more. It cannot say that it has stopped, for a process that waits
 * for such a disk cannot be ended: where commits are acknowledged nobody needs to know (I2), elsewhere its lease has to run out (I10).
 */
const resignHanging: DecisionRule = {
  id: 'resign-hanging',
  evaluate(view, memory) {
    const store = readInOffice(view)
    if (store === null) return null
    if (store.facts.paused !== null || !diskHangs(view, memory)) return null
    if (!othersWrite(store.primacy.value, store.facts)) return null
    const reason = `the disk of the primary ${view.self} takes no writes`
    return { reason, actions: [callElection(store.primacy, view.self, reason)] }
  },
}

/** Where they share the disk that hangs, another one could not promise anything either. */
function othersWrite(primacy: Primacy, facts: StoreFacts): boolean {
  const writing = [...facts.nodes.values()].filter((each) => each.name !== primacy.primary && !each.diskHangs)
  if (writing.length === 0) return false
  const names = new Set(writing.map((each) => each.name))
  return overlaps(rulesToSatisfy(primacy), names, new Set([primacy.primary]))
}

/** Enough standbys for I2 report that they get no WAL; where votes prove nothing, all that report, and there must be one. */
function quorumIsLeft(view: ClusterView, primacy: Primacy, facts: StoreFacts): boolean {
  const reports = [...facts.nodes.values()].filter((each) => each.name !== view.self)
  const left = new Set(reports.filter((each) => each.state !== 'streaming').map((each) => each.name))
  if (currentRule(primacy).acks === 0 && (left.size === 0 || left.size < reports.length)) return false
  return overlaps(rulesToSatisfy(primacy), left, new Set([view.self]))
}

/** Enough standbys to satisfy I2 must suspect: with fewer an election could not end anyhow. */
const startElection: DecisionRule = {
  id: 'start-election',
  evaluate(view, memory) {
    const store = read(view)
    if (store === null || !suspectsPrimary(view, store.primacy.value)) return null
    const primacy = store.primacy.value
    if (isNew(view, memory)) return null
    if (store.facts.paused !== null) {
      const reason = `the primary does not answer, but failover is paused: ${store.facts.paused.reason}`
      return hasOnlyItsVote(view) ? null : { reason, actions: [] }
    }
    const voters = suspecting(view, primacy)
    // A rule without acknowledgements is satisfied by the end of its primary's lease, which the election waits for (I10).
    const silent = new Set(
      rulesToSatisfy(primacy)
        .filter((rule) => rule.acks === 0)
        .map((rule) => rule.primary),
    )
    if (!overlaps(rulesToSatisfy(primacy), voters, silent)) {
      const reason = `the primary ${primacy.primary} does not answer, but only ${[...voters].sort().join(', ')} see it so`
      // Its PostgreSQL must be started meanwhile where that is possible: readers need no primary.
      return hasOnlyItsVote(view) ? null : { reason, actions: [] }
    }
    const reason = `the primary ${primacy.primary} does not answer: ${[...voters].sort().join(', ')} agree`
    return { reason, actions: [callElection(store.primacy, view.self, reason)] }
  },
}

/**
 * Silence from before the epoch began says nothing about its primary: one that is cut from this standby only would be elected anew
 * many times a second. Refused connections are of now.
 */
function isNew(view: ClusterView, memory: Memory): boolean {
  const { probes } = view.local
  if (probes?.agent.kind === 'refused' && probes.postgres.kind === 'refused') return false
  return memory.epoch !== null && view.now - memory.epoch.seenAtMs < timersOf(view.spec.rtoMs).silenceMs
}

/** A running change of role never outlasts a newer election: what was started for an older epoch is ended first. */
const electing: DecisionRule = {
  id: 'election',
  evaluate(view, memory) {
    const store = read(view)
    if (store === null || store.primacy.value.phase !== 'electing') return null
    const { primacy, facts } = store
    const voted = facts.ballots.some(
      (ballot) => ballot.epoch === primacy.value.epoch && ballot.node === view.self,
    )
    const own = voted ? null : fenceAndVote(view, primacy.value, facts, memory)
    if (own !== null && own.actions.length > 0) return own
    const tally = tallyVotes(view, primacy, facts, memory)
    return tally.actions.length > 0 || own === null ? tally : own
  },
}

export const electionRules: readonly DecisionRule[] = [
  electing,
  resign,
  resignHelpless,
  resignHanging,
  startElection,
]
