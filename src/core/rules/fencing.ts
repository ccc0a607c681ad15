/**
 * Fencing and voting: everyone who sees `electing` promises, makes sure that no WAL of the old primary can reach it any more, waits until
 * its position is stable, and votes; the old primary too (I3, I3').
 */
import { waitsAfterFailure } from '../backoff.ts'
import type { Ballot } from '../ballot.ts'
import type { ClusterView, StoreFacts, WantedConfiguration } from '../cluster-view.ts'
import type { Action, Memory, Verdict } from '../decision.ts'
import { diskHangs } from '../disk.ts'
import { carriedBy, currentRule, type Primacy, synchronousStandbyNames } from '../primacy.ts'
import { endUpTo } from '../timeline.ts'
import { timersOf } from '../timers.ts'
import { mayWrite } from './lease.ts'

/** The next step of this node towards its ballot. */
export function fenceAndVote(
  view: ClusterView,
  primacy: Primacy,
  facts: StoreFacts,
  memory: Memory,
): Verdict {
  const { local } = view
  const { epoch } = primacy
  const promise: Action = { kind: 'promise', epoch }
  if (local.sentinel?.finished === true) return fenceRewound(view, primacy, promise)
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
    // No promise gets to a disk that hangs: what can be done without it comes first.
    if (diskHangs(view, memory) && local.promisedEpoch < epoch)
      return {
        reason: `fences itself for epoch ${epoch}: its disk hangs, PostgreSQL is killed`,
        actions: [{ kind: 'stop', mode: 'immediate' }],
      }
    // What hangs does not stop in order.
    const mode = hangs(view, memory) ? 'immediate' : 'fast'
    return {
      reason: `fences itself for epoch ${epoch}: PostgreSQL is stopped`,
      actions: [promise, { kind: 'stop', mode }],
    }
  }
  if (local.postmaster.kind === 'stopped') return fenceStopped(view, primacy, promise, memory)
  return fenceStandby(view, primacy, promise)
}

/** Until the old primary has voted, or is seen to have ended, or has taken too long. */
function waitsForOldPrimary(view: ClusterView, primacy: Primacy, facts: StoreFacts, memory: Memory): boolean {
  const old = currentRule(primacy).primary
  if (!primacy.planned || old === view.self) return false
  if (facts.ballots.some((ballot) => ballot.node === old && ballot.epoch === primacy.epoch)) return false
  if (view.local.server !== null && view.local.server.walreceiver === null) return false
  const waitedMs = view.now - (memory.epoch?.seenAtMs ?? view.now)
  return waitedMs < 4 * timersOf(view.spec.rtoMs).candidateMs
}

/**
 * Recovery of a primary that has crashed takes processor and disk from whatever else runs on its machine, and its vote is needed only
 * when a standby's is missing. Where votes prove nothing it is the one that matters most.
 */
function yields(view: ClusterView, primacy: Primacy, memory: Memory): boolean {
  const rule = currentRule(primacy)
  return rule.primary === view.self && rule.acks > 0 && isYoung(view, memory)
}

/** Of this epoch, as this node knows it: what can wait does, until those whom clients wait for have had their time. */
export function isYoung(view: ClusterView, memory: Memory): boolean {
  return view.now - (memory.epoch?.seenAtMs ?? view.now) < timersOf(view.spec.rtoMs).yieldMs
}

/** An election may wait for this very vote, so a start that failed, on a full disk perhaps, is tried again soon, and not all the time. */
const VOTE_AGAIN_MS = 1_000

function fenceStopped(view: ClusterView, primacy: Primacy, promise: Action, memory: Memory): Verdict {
  const { local } = view
  // A start under way has files that may name the old primary: it is waited for, and then fenced.
  if (local.tasks.has('start'))
    return {
      reason: `election of epoch ${primacy.epoch}: waits for its own PostgreSQL to start`,
      actions: [promise],
    }
  if (local.position?.complete === true) return vote(view, primacy, promise)
  if (yields(view, primacy, memory)) {
    return {
      reason: `election of epoch ${primacy.epoch}: lets those vote first that only have to say where they are`,
      actions: local.promisedEpoch < primacy.epoch ? [promise] : [],
    }
  }
  const waits = waitsAfterFailure(view, 'start', VOTE_AGAIN_MS)
  if (waits !== null) {
    const actions = local.promisedEpoch < primacy.epoch ? [promise] : []
    return { reason: `election of epoch ${primacy.epoch}: ${waits}`, actions }
  }
  // Ended without a clean shutdown: only recovery knows where its WAL ends.
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
  return synchronousStandbyNames(carriedBy(view.self, currentRule(primacy)))
}

function vote(view: ClusterView, primacy: Primacy, promise: Action): Verdict {
  const { position, history } = view.local
  if (position === null) return { reason: 'has no position to vote', actions: [] }
  if (position.timelineId > primacy.highestTimelineId) return voteBeforeAstray(view, primacy, promise)
  const ballot: Ballot = {
    epoch: primacy.epoch,
    node: view.self,
    position: { timelineId: position.timelineId, lsn: position.lsn },
    history,
    priority: view.spec.priority,
    gone: false,
    carries: carriedBy(view.self, currentRule(primacy)),
  }
  return { reason: `votes in epoch ${primacy.epoch}`, actions: [promise, { kind: 'vote', ballot }] }
}

/**
 * Somebody has promoted it by hand. What came then is nobody's, and must not win because its timeline has the highest number; what it had
 * before counts, and cannot be elected as it is (I6, I12).
 */
function voteBeforeAstray(view: ClusterView, primacy: Primacy, promise: Action): Verdict {
  const { position, history } = view.local
  const held = position === null ? null : endUpTo(history, position, primacy.highestTimelineId)
  if (held === null)
    return { reason: 'what it has is on a timeline that nobody has allocated: no vote', actions: [] }
  return voteGone(
    view,
    primacy,
    promise,
    held,
    'was promoted by somebody else, and votes for what it had before',
  )
}

/**
 * Rewound, and perhaps streaming already before it is consistent. That acknowledged nothing, so what the directory had before is still all
 * that counts; only its stream must end.
 */
function fenceRewound(view: ClusterView, primacy: Primacy, promise: Action): Verdict {
  const { local } = view
  if (local.postmaster.kind === 'stopped' && !local.tasks.has('start'))
    return voteOfSentinel(view, primacy, promise)
  const reason = `election of epoch ${primacy.epoch}: rewound and not consistent yet, its stream ends`
  return { reason, actions: local.tasks.has('stop') ? [promise] : [promise, { kind: 'stop', mode: 'fast' }] }
}

/** What the directory had before it was opened up: it counts for I2, blocks who has less, and cannot be elected (I12). */
function voteOfSentinel(view: ClusterView, primacy: Primacy, promise: Action): Verdict {
  const { sentinel } = view.local
  if (sentinel === null || sentinel.position === null)
    return { reason: 'its data is gone, and what it was is not known: no vote', actions: [] }
  const held = { position: sentinel.position, history: sentinel.history }
  return voteGone(view, primacy, promise, held, 'votes for data that is being replaced')
}

function voteGone(
  view: ClusterView,
  primacy: Primacy,
  promise: Action,
  held: Pick<Ballot, 'position' | 'history'>,
  what: string,
): Verdict {
  const ballot: Ballot = {
    epoch: primacy.epoch,
    node: view.self,
    ...held,
    priority: view.spec.priority,
    gone: true,
    carries: { acks: 0, standbys: [] },
  }
  return {
    reason: `election of epoch ${primacy.epoch}: ${what}`,
    actions: [promise, { kind: 'vote', ballot }],
  }
}

/** Its own PostgreSQL has not answered for longer than a restart after a crash takes. */
export function hangs(view: ClusterView, memory: Memory): boolean {
  const since = memory.unansweredSinceMs
  return since !== null && view.now - since >= timersOf(view.spec.rtoMs).recoveringMs
}
