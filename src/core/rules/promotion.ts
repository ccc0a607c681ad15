/**
 * The elected node, from `promoting` to `steady`: it promotes onto the allocated timeline (I6), then a commit must be flushed by
 * `acks` standbys of the new rule, and only then does it say so (M: noSteadyAck). Crashed before it had promoted it tries again;
 * crashed after, on the allocated timeline, it goes on; in any doubt there is a new epoch.
 */
import { waitsAfterFailure } from '../backoff.ts'
import type { ClusterView, Versioned, WantedConfiguration } from '../cluster-view.ts'
import type { Action, DecisionRule, Verdict } from '../decision.ts'
import type { DirectoryState } from '../facts.ts'
import { currentRule, type Primacy, type Rule, sameRule, synchronousStandbyNames } from '../primacy.ts'
import { callElection } from './election.ts'
import { hangs } from './fencing.ts'
import { holdsLease, leaseDeadlineMs } from './lease.ts'
import { describe } from './quorum.ts'

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
    if (rule.acks === 0 && !holdsLease(view)) return takeLease(view, primacy)
    if (local.postmaster.kind === 'stopped') return startElected(view, primacy, local.directory, rule)
    if (local.server === null) {
      // After a backend's crash it may have restarted by itself beside a gap in the timelines, and never becomes consistent (I6).
      const reason = 'elected: PostgreSQL does not answer'
      return { reason, actions: hangs(view, memory) ? [{ kind: 'stop', mode: 'immediate' }] : [] }
    }
    return local.server.inRecovery ? promote(view, primacy, rule) : prove(view, primacy, rule)
  },
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
  if (view.local.newestHistory < primacy.value.timelineId || view.local.promotionAsked) return null
  const reason = `${view.self} had begun timeline ${primacy.value.timelineId} when it crashed: it takes a new one`
  return { reason, actions: [callElection(primacy, view.self, reason)] }
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
  const wanted = promoted ? asPrimary(value, rule) : asCandidate(value, rule)
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

function asPrimary(primacy: Primacy, rule: Rule): WantedConfiguration {
  return { ...asCandidate(primacy, rule), role: 'primary' }
}

function promote(view: ClusterView, primacy: Versioned<Primacy>, rule: Rule): Verdict {
  const { applied, server, promisedEpoch, namesInEffect, promotionAsked, tasks } = view.local
  const { value } = primacy
  if (promotionAsked)
    return { reason: 'elected: the promotion that was asked for takes its time', actions: [] }
  const doubt = inDoubt(view, primacy)
  if (doubt !== null) return doubt
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

/** Writable on the new timeline: the files say so too, and a commit proves the rule. */
function prove(view: ClusterView, primacy: Versioned<Primacy>, rule: Rule): Verdict {
  const { local } = view
  const { value } = primacy
  if (local.server?.timelineId !== value.timelineId) {
    const reason = `${view.self} is writable on timeline ${local.server?.timelineId}, not on ${value.timelineId} as allocated`
    return {
      reason,
      actions: [{ kind: 'stop', mode: 'immediate' }, callElection(primacy, view.self, reason)],
    }
  }
  const proven = local.proven
  const isProven = proven !== null && proven.rule.epoch === value.epoch && sameRule(proven.rule, rule)
  // It takes its time beside the files, which say what is so already.
  const proof: readonly Action[] = isProven || local.tasks.has('prove') ? [] : [{ kind: 'prove', rule }]
  if (local.applied?.role !== 'primary' || local.applied.epoch !== value.epoch) {
    return {
      reason: 'promoted: its files say so too',
      actions: [...proof, { kind: 'configure', wanted: asPrimary(value, rule) }],
    }
  }
  if (!isProven)
    return { reason: `promoted: a commit must be acknowledged by ${describe(rule)}`, actions: proof }
  const why = `${view.self} is primary of epoch ${value.epoch} on timeline ${value.timelineId}`
  const steady: Primacy = {
    ...value,
    phase: 'steady',
    rules: [rule],
    nextRule: null,
    planned: false,
    candidate: null,
    override: null,
    history: local.history.timelineId === value.timelineId ? local.history : value.history,
  }
  return {
    reason: why,
    actions: [{ kind: 'writePrimacy', primacy: steady, expected: primacy.revision, why }],
  }
}

export const promotionRules: readonly DecisionRule[] = [promotion]
