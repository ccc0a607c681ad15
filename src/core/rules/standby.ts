/**
 * A node that primacy does not name: it joins by a clone, follows the primary, and never accepts writes. Whatever it has must lie
 * within the primary's history before it streams (I8); what does not climbs the ladder: rewound, else cloned anew beside.
 */
import { waitsAfterFailure } from '../backoff.ts'
import { refusalOf } from '../check.ts'
import { type ClusterView, member, type WantedConfiguration } from '../cluster-view.ts'
import type { Action, DecisionRule, Memory, Verdict } from '../decision.ts'
import type { Primacy } from '../primacy.ts'
import { reinitChecks } from '../reinit-checks.ts'
import { isOnHistory, switchpointOf } from '../timeline.ts'
import { isYoung, namesCarried } from './fencing.ts'
import {
  climb,
  cloneFrom,
  type Following,
  following,
  hasFollowed,
  isNamesake,
  primaryIsUp,
} from './ladder.ts'
import { mayWrite } from './lease.ts'

function streamingFrom(view: ClusterView, { primacy, upstream }: Following): WantedConfiguration {
  return {
    role: 'standby',
    epoch: primacy.epoch,
    upstream,
    synchronousStandbyNames: namesCarried(view, primacy),
    ...(view.local.sentinel === null ? {} : { rejoining: true }),
  }
}

function streamingFromNobody(view: ClusterView, primacy: Primacy): WantedConfiguration {
  return {
    role: 'standby',
    epoch: primacy.epoch,
    upstream: null,
    synchronousStandbyNames: namesCarried(view, primacy),
  }
}

const unknownPrimary: DecisionRule = {
  id: 'primary-unknown',
  evaluate(view) {
    if (view.store.kind !== 'read') return null
    const primacy = view.store.facts.primacy?.value
    if (primacy === undefined || member(view.spec, primacy.primary) !== null) return null
    return { reason: `the primary ${primacy.primary} is not in this node's configuration`, actions: [] }
  },
}

/** A second writable server is the worst that can happen: it goes at once, and what it wrote is looked at before it returns. */
export const stalePrimary: DecisionRule = {
  id: 'stop-stale-primary',
  evaluate(view) {
    const follows = following(view)
    const { local } = view
    if (follows === null || !mayWrite(view) || local.tasks.has('stop')) return null
    return {
      reason: `PostgreSQL runs as primary here, but ${follows.primacy.primary} is primary of epoch ${follows.primacy.epoch}`,
      actions: [
        { kind: 'promise', epoch: follows.primacy.epoch },
        { kind: 'stop', mode: 'fast' },
      ],
    }
  },
}

const join: DecisionRule = {
  id: 'join',
  evaluate(view) {
    const follows = following(view)
    if (follows === null) return null
    const { directory, sentinel } = view.local
    if (directory.kind !== 'absent' && (sentinel === null || mayFinishRewind(view, follows.primacy)))
      return null
    const waits = waitsAfterFailure(view, 'clone')
    if (waits !== null) return { reason: waits, actions: [] }
    if (!primaryIsUp(view, follows.primacy))
      return { reason: `waits until ${follows.upstream.name} runs, to clone from it`, actions: [] }
    const why = sentinel === null ? 'has no data' : 'its data was not replaced to the end'
    return { reason: `${why}: clones ${follows.upstream.name}`, actions: cloneFrom(follows) }
  },
}

/**
 * A rewind that has ended well still lacks WAL of its source, which comes by streaming from that epoch's primary and from nobody else. A
 * start that did not end in readers being let in says that this WAL is not to be had: then it is cloned.
 */
function mayFinishRewind({ local }: ClusterView, primacy: Primacy): boolean {
  return (
    local.sentinel?.finished === true &&
    local.sentinel.epoch === primacy.epoch &&
    !local.failures.has('start')
  )
}

type Standing = 'within' | 'diverged' | 'unknown'

/** I8. What was followed in this epoch after such a check is within by itself. */
function standing(view: ClusterView, primacy: Primacy): Standing {
  if (hasFollowed(view.local, primacy)) return 'within'
  const { position } = view.local
  if (position === null) return 'unknown'
  if (isOnHistory(primacy.history, position)) return isNamesake(view, primacy) ? 'diverged' : 'within'
  // A bound: what is beyond may be a torn record, which replay will drop.
  return position.complete ? 'diverged' : 'unknown'
}

const startStandby: DecisionRule = {
  id: 'start-standby',
  evaluate(view, memory) {
    const follows = following(view)
    if (follows === null || view.local.postmaster.kind !== 'stopped') return null
    if (follows.primacy.phase === 'promoting' && isYoung(view, memory))
      return { reason: `lets ${follows.upstream.name} be promoted first`, actions: [] }
    const waits = waitsAfterFailure(view, 'start')
    if (waits !== null) return { reason: waits, actions: [] }
    const damaged = cloneOfDamaged(view, follows)
    if (damaged !== null) return damaged
    const where = standing(view, follows.primacy)
    if (where === 'diverged')
      return climb(view, memory, follows, 'what it has is not within the history of the primary (I8)')
    const wanted =
      where === 'within' ? streamingFrom(view, follows) : streamingFromNobody(view, follows.primacy)
    return {
      reason:
        where === 'within'
          ? `starts as standby of ${follows.upstream.name}`
          : 'starts without upstream, to find the end of its WAL (I8)',
      actions: [
        { kind: 'promise', epoch: follows.primacy.epoch },
        { kind: 'configure', wanted },
        { kind: 'start', notAfterMs: null },
      ],
    }
  },
}

/** So many times PostgreSQL has said that it cannot begin with these files: another start would not end otherwise. */
const DAMAGED_STARTS = 3

/** null: nothing says that the data is damaged. It is kept beside, for whoever wants to look. */
function cloneOfDamaged(view: ClusterView, follows: Following): Verdict | null {
  const failure = view.local.failures.get('start')
  if (failure?.code !== 'data-damaged' || failure.count < DAMAGED_STARTS) return null
  const { primacy, upstream } = follows
  const why = `its data is damaged (${failure.reason})`
  if (!primaryIsUp(view, primacy))
    return { reason: `${why}: waits until ${upstream.name} runs, to clone from it`, actions: [] }
  const waits = waitsAfterFailure(view, 'clone')
  if (waits !== null) return { reason: waits, actions: [] }
  const other = cloningBefore(view)
  if (other !== null) return { reason: `${why}: is cloned anew after ${other}`, actions: [] }
  return {
    reason: `${why}: is cloned anew from ${upstream.name}, the old directory stays beside`,
    actions: cloneFrom(follows),
  }
}

/**
 * PostgreSQL goes for the newest timeline whose history it has found. When the primary's does not descend from that it says so in its log,
 * for ever, and takes nothing (seen): such a node has heard of a primary that was lost before it followed. A start makes it go for what it
 * has.
 */
function goesAstray(view: ClusterView, primacy: Primacy): boolean {
  const { newestHistory } = view.local
  return newestHistory > 1 && switchpointOf(primacy.history, newestHistory) === null
}

function withoutAstray(view: ClusterView, { primacy, upstream }: Following): Verdict {
  return {
    reason: `goes for timeline ${view.local.newestHistory}, which ${upstream.name} does not descend from: is started anew without it`,
    actions: [
      { kind: 'promise', epoch: primacy.epoch },
      { kind: 'stop', mode: 'fast' },
    ],
  }
}

const follow: DecisionRule = {
  id: 'follow',
  evaluate(view, memory) {
    const follows = following(view)
    if (follows === null || view.local.postmaster.kind !== 'running') return null
    const { primacy, upstream } = follows
    const wanted = streamingFrom(view, follows)
    const { applied } = view.local
    if (sameConfiguration(applied, wanted)) return null
    const promise: Action = { kind: 'promise', epoch: primacy.epoch }
    const where = standing(view, primacy)
    if (where === 'within' && (isFenced(applied, primacy) || hasFollowed(view.local, primacy))) {
      if (goesAstray(view, primacy)) return withoutAstray(view, follows)
      return {
        reason: `follows ${upstream.name} in epoch ${primacy.epoch}`,
        actions: [promise, { kind: 'configure', wanted }],
      }
    }
    if (!isFenced(applied, primacy)) {
      return {
        reason: `${upstream.name} is primary of epoch ${primacy.epoch}: takes no WAL from anybody until it is known to be within its history (I8)`,
        actions: [
          promise,
          { kind: 'removePassfiles' },
          { kind: 'configure', wanted: streamingFromNobody(view, primacy) },
        ],
      }
    }
    if (where === 'unknown') return { reason: 'waits until everything on disk is replayed', actions: [] }
    return climb(view, memory, follows, 'what it has is not within the history of the primary (I8)')
  },
}

function isFenced(applied: WantedConfiguration | null, primacy: Primacy): boolean {
  return (
    applied !== null &&
    applied.role === 'standby' &&
    applied.upstream === null &&
    applied.epoch === primacy.epoch
  )
}

/**
 * In quiet times a standby makes sure that the names it carries are in effect in every process of it (I5): the checkpoint that tells so would
 * otherwise stand between an election and the promotion.
 */
const settleNames: DecisionRule = {
  id: 'settle-names',
  evaluate(view) {
    const follows = following(view)
    const { server, applied, namesInEffect, tasks } = view.local
    if (follows === null || follows.primacy.phase !== 'steady' || server?.walreceiver?.status !== 'streaming')
      return null
    const names = applied?.synchronousStandbyNames ?? ''
    if (names === '' || names !== server.synchronousStandbyNames || names === namesInEffect) return null
    if (tasks.has('settle') || waitsAfterFailure(view, 'settle') !== null) return null
    return {
      reason: 'makes sure that commits would wait here, were this node promoted',
      actions: [{ kind: 'settle' }],
    }
  },
}

/** An operator asked for it. What it would cost is looked at again; the old directory stays in use until the copy is whole, and then beside. */
const reinit: DecisionRule = {
  id: 'reinit',
  evaluate(view) {
    if (!view.local.reinitAsked) return null
    const refusal = refusalOf(reinitChecks(view))
    const follows = following(view)
    if (refusal !== null || follows === null) {
      const reason = `is not cloned anew: ${refusal?.message ?? 'it follows nobody'}`
      return { reason, actions: [{ kind: 'dropReinit', reason }] }
    }
    return {
      reason: `is cloned anew from ${follows.upstream.name}, as asked for, the old directory stays beside`,
      actions: cloneFrom(follows),
    }
  },
}

/** What it heard of a lost primary may have come by its present one, which had to forget it, too. */
const ASTRAY_MS = 2_000

/** Long enough for a primary to restart and for a walreceiver to try many times. */
const STUCK_MS = 30_000

/** So long the same walreceiver must stream before that is progress. */
const RECEIVING_MS = 3_000

/**
 * A walreceiver calls itself streaming as soon as it is connected, so one that is refused the WAL that it asks for is seen so now and then,
 * for ever.
 */
function hasReceived(view: ClusterView, { receiving }: Memory): boolean {
  return receiving !== null && view.now - receiving.sinceMs >= RECEIVING_MS
}

/** Runs, and gets no WAL although the primary runs: the segments that it needs may be gone. One node at a time climbs the ladder. */
const stuck: DecisionRule = {
  id: 'stuck',
  evaluate(view, memory) {
    const follows = following(view)
    if (follows === null || view.local.server === null) return null
    const { walreceiver } = view.local.server
    const getsNothing = walreceiver?.status !== 'streaming' && view.local.postmaster.kind === 'running'
    if (!getsNothing && !hasReceived(view, memory)) return null
    if (!getsNothing || !primaryIsUp(view, follows.primacy)) {
      return memory.stuckSinceMs === null ? null : quiet({ ...memory, stuckSinceMs: null })
    }
    const since = memory.stuckSinceMs ?? view.now
    const next = { ...memory, stuckSinceMs: since }
    // A restart that does not help is not made for ever.
    const heardOfLost = since + ASTRAY_MS <= view.now && view.now < since + STUCK_MS
    if (heardOfLost && goesAstray(view, follows.primacy)) return withoutAstray(view, follows)
    if (view.now - since < STUCK_MS)
      return { reason: `does not stream from ${follows.upstream.name}`, actions: [], memory: next }
    const other = cloningBefore(view)
    if (other !== null)
      return { reason: `makes no progress: is cloned anew after ${other}`, actions: [], memory: next }
    return {
      reason: 'makes no progress: is cloned anew, the old directory stays beside',
      actions: cloneFrom(follows),
      // The new directory gets its own time to begin streaming.
      memory: { ...memory, stuckSinceMs: null },
    }
  },
}

/**
 * Not consistent yet, and nobody sends the WAL that it needs for that: it would be waited for without end. A new clone brings what it
 * needs with it. Before the rule that waits for a start that is under way.
 */
export const starved: DecisionRule = {
  id: 'starved',
  evaluate(view, memory) {
    const follows = following(view)
    const { starved: waiting } = memory
    if (follows === null || waiting === null || view.now - waiting.sinceMs < STUCK_MS) return null
    if (!primaryIsUp(view, follows.primacy) || view.local.tasks.has('clone') || cloningBefore(view) !== null)
      return null
    const waits = waitsAfterFailure(view, 'clone')
    if (waits !== null) return { reason: waits, actions: [] }
    return {
      reason: `recovery waits at ${waiting.segment} for WAL that ${follows.upstream.name} does not send: is cloned anew, the old directory stays beside`,
      actions: cloneFrom(follows),
    }
  },
}

function quiet(memory: Memory): Verdict {
  return { reason: 'streams again', actions: [], memory }
}

/** Never all at once: the standbys that still stream carry the cluster. */
function cloningBefore(view: ClusterView): string | null {
  if (view.store.kind !== 'read') return null
  const others = [...view.store.facts.nodes.values()].filter((report) => report.name !== view.self)
  return others.find((report) => report.state === 'cloning' || report.state === 'rewinding')?.name ?? null
}

function sameConfiguration(a: WantedConfiguration | null, b: WantedConfiguration): boolean {
  return (
    a !== null &&
    a.role === b.role &&
    a.epoch === b.epoch &&
    a.upstream?.name === b.upstream?.name &&
    a.upstream?.host === b.upstream?.host &&
    a.upstream?.port === b.upstream?.port &&
    a.synchronousStandbyNames === b.synchronousStandbyNames &&
    a.rejoining === b.rejoining
  )
}

export const standbyRules: readonly DecisionRule[] = [
  unknownPrimary,
  reinit,
  join,
  startStandby,
  follow,
  stuck,
  settleNames,
]
