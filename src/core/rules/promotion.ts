/**
 * The elected node, until it is writable: it promotes onto the allocated timeline (I6); what comes then is in taking-office.ts. Crashed
 * before it had promoted it tries again; crashed after, on the allocated timeline, it goes on; in any doubt there is a new epoch.
 */
import { waitsAfterFailure } from '../backoff.ts'
import type { ClusterView, Versioned, WantedConfiguration } from '../cluster-view.ts'
import type { DecisionRule, Memory, Verdict } from '../decision.ts'
import type { DirectoryState } from '../facts.ts'
import { currentRule, type Primacy, type Rule, synchronousStandbyNames } from '../primacy.ts'
import { timersOf } from '../timers.ts'
import { callElection } from './election.ts'
import { hangs } from './fencing.ts'
import { holdsLease, leaseDeadlineMs } from './lease.ts'
import { primaryConfiguration } from './primary.ts'
import { describe } from './quorum.ts'
import { takeOffice } from './taking-office.ts'

/** Read in this cycle, and naming this node for an epoch that is being promoted. */
function elected(view: ClusterView): Versioned<Primacy> | null {
  if (view.store.kind !== 'read') return null
  const { primacy } = view.store.facts
  return primacy !== null && primacy.value.phase === 'promoting' && primacy.value.primary === view.self
    ? primacy
    : null
}

const promotion: DecisionRule = {
  id: 'promotion',
  evaluate(view, memory) {
    const primacy = elected(view)
    if (primacy === null) return null
    const { local } = view
    if (local.sentinel !== null || local.directory.kind !== 'cluster') {
      const reason = `the elected node ${view.self} has no whole data directory`
      return { reason, actions: [callElection(primacy, view.self, reason)] }
    }
    if (local.tasks.has('promote') || local.tasks.has('start') || local.tasks.has('stop')) {
      return { reason: `elected in epoch ${primacy.value.epoch}: promotion is under way`, actions: [] }
    }
    const rule = currentRule(primacy.value)
    if (rule.acks === 0 && !isLeaseOwn(view)) return takeLease(view, primacy)
    if (local.postmaster.kind === 'stopped') return startElected(view, primacy, local.directory, rule)
    if (local.server === null) {
      // After a backend's crash it may have restarted by itself beside a gap in the timelines, and never becomes consistent (I6).
      const reason = 'elected: PostgreSQL does not answer'
      return { reason, actions: hangs(view, memory) ? [{ kind: 'stop', mode: 'immediate' }] : [] }
    }
    return local.server.inRecovery
      ? promote(view, primacy, rule, memory)
      : takeOffice(view, memory, primacy, local.server)
  },
}

/** By the own clock and by the store: a lease that only one of them knows of protects nobody. */
function isLeaseOwn(view: ClusterView): boolean {
  return holdsLease(view) && view.store.kind === 'read' && view.store.facts.leaseHolder === view.self
}

/** I10: nobody may still be acknowledging without standbys. */
function takeLease(view: ClusterView, primacy: Versioned<Primacy>): Verdict {
  const holder = view.store.kind === 'read' ? view.store.facts.leaseHolder : null
  if (holder !== null && holder !== view.self) {
    return {
      reason: `elected, without acknowledgements: waits until the lease of ${holder} has run out (I10)`,
      actions: [],
    }
  }
  return {
    reason: 'elected, without acknowledgements: takes the lease first (I10)',
    actions: [{ kind: 'takePrimaryLease', expected: primacy.revision }],
  }
}

/** Whether a promotion had begun here that did not end: then the timeline may have content, and nobody may begin it once more (I6). */
function inDoubt(view: ClusterView, primacy: Versioned<Primacy>): Verdict | null {
  if (view.local.newestHistory < primacy.value.timelineId) return null
  const reason = `${view.self} had begun timeline ${primacy.value.timelineId} when it crashed: it takes a new one`
  return { reason, actions: [callElection(primacy, view.self, reason)] }
}

/**
 * PostgreSQL goes for the newest timeline whose history it has found, here one that was begun elsewhere and of which this node has nothing:
 * its primary was lost before anybody followed. Promoted so, it would write down a history that goes back, by which WAL that the new
 * timeline does not have belongs to it (seen: I8). Only a restart makes it go for its own, which every start does.
 */
function goesAstray(view: ClusterView, primacy: Primacy): boolean {
  const { newestHistory } = view.local
  return newestHistory > parentOf(primacy) && newestHistory < primacy.timelineId
}

/** The timeline of the elected node's ballot. */
function parentOf(primacy: Primacy): number {
  return primacy.history.ancestors.at(-1)?.timelineId ?? primacy.timelineId
}

function startElected(
  view: ClusterView,
  primacy: Versioned<Primacy>,
  directory: Extract<DirectoryState, { kind: 'cluster' }>,
  rule: Rule,
): Verdict {
  const { value } = primacy
  const own = Math.max(directory.control.timelineId, directory.control.minRecoveryTimelineId)
  const promoted = own === value.timelineId && !directory.standbySignal
  const doubt = promoted ? null : inDoubt(view, primacy)
  if (doubt !== null) return doubt
  const waits = waitsAfterFailure(view, 'start')
  if (waits !== null) return { reason: waits, actions: [] }
  const wanted = promoted ? primaryConfiguration(value, rule) : asCandidate(value, rule)
  return {
    reason: promoted
      ? 'elected and promoted before it crashed: it goes on'
      : 'elected: starts as standby, to be promoted',
    actions: [
      { kind: 'promise', epoch: value.epoch },
      { kind: 'removePassfiles' },
      { kind: 'configure', wanted },
      { kind: 'start', notAfterMs: promoted && rule.acks === 0 ? leaseDeadlineMs(view) : null },
    ],
  }
}

function asCandidate(primacy: Primacy, rule: Rule): WantedConfiguration {
  return {
    role: 'standby',
    epoch: primacy.epoch,
    upstream: null,
    synchronousStandbyNames: synchronousStandbyNames(rule),
  }
}

/**
 * The history is written and the promotion not ended: that takes a moment. But when a backend has crashed in this moment the postmaster has
 * restarted by itself, goes for the timeline that it had begun, and promoted again would take the one after it.
 */
function stillBeginning(view: ClusterView, memory: Memory): Verdict | null {
  const sinceMs = memory.epoch?.seenAtMs ?? view.now
  if (view.now - sinceMs >= timersOf(view.spec.rtoMs).recoveringMs) return null
  return { reason: 'elected: the promotion that was asked for is about to end', actions: [] }
}

function promote(view: ClusterView, primacy: Versioned<Primacy>, rule: Rule, memory: Memory): Verdict {
  const { applied, server, promisedEpoch, namesInEffect, promotionAsked, tasks } = view.local
  const { value } = primacy
  // Noted before it is asked for, so a predecessor may have died in between. Asking twice is asking once: it is the same postmaster, and
  // whoever has a newer epoch than the asking one has stopped it (I3').
  if (promotionAsked && view.local.newestHistory < value.timelineId) {
    const notAfterMs = rule.acks === 0 ? leaseDeadlineMs(view) : null
    return {
      reason: `elected in epoch ${value.epoch}: the promotion that a predecessor may have asked for is asked for again`,
      actions: [{ kind: 'promote', timelineId: value.timelineId, epoch: value.epoch, notAfterMs }],
    }
  }
  const begun = promotionAsked ? stillBeginning(view, memory) : null
  if (begun !== null) return begun
  const doubt = inDoubt(view, primacy)
  if (doubt !== null) return doubt
  if (goesAstray(view, value)) {
    const reason = `elected: goes for timeline ${view.local.newestHistory}, of which it has nothing, and is started anew`
    return { reason, actions: [{ kind: 'stop', mode: 'fast' }] }
  }
  const names = synchronousStandbyNames(rule)
  const ready =
    applied?.role === 'standby' &&
    applied.upstream === null &&
    applied.epoch === value.epoch &&
    applied.synchronousStandbyNames === names &&
    promisedEpoch >= value.epoch
  if (!ready) {
    return {
      reason: `elected in epoch ${value.epoch}: commits shall wait for ${describe(rule)} before there are any (I5)`,
      actions: [
        { kind: 'promise', epoch: value.epoch },
        { kind: 'removePassfiles' },
        { kind: 'configure', wanted: asCandidate(value, rule) },
      ],
    }
  }
  if (server?.synchronousStandbyNames !== names || server.walreceiver !== null) {
    return { reason: 'elected: waits until the settings are read', actions: [] }
  }
  if (namesInEffect !== names) {
    const waits = waitsAfterFailure(view, 'settle')
    return {
      reason: 'elected: every process must have applied the settings before there are commits (I5)',
      actions: tasks.has('settle') || waits !== null ? [] : [{ kind: 'settle' }],
    }
  }
  const notAfterMs = rule.acks === 0 ? leaseDeadlineMs(view) : null
  return {
    reason: `elected in epoch ${value.epoch}: is promoted onto timeline ${value.timelineId}`,
    actions: [{ kind: 'promote', timelineId: value.timelineId, epoch: value.epoch, notAfterMs }],
  }
}

export const promotionRules: readonly DecisionRule[] = [promotion]
