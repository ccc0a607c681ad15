/** A node that primacy does not name: it joins by a clone, follows the primary, and never accepts writes. */
import { waitsAfterFailure } from '../backoff.ts'
import { type ClusterView, member, type WantedConfiguration } from '../cluster-view.ts'
import type { DecisionRule } from '../decision.ts'
import type { Member } from '../facts.ts'
import { currentRule, type Primacy, synchronousStandbyNames } from '../primacy.ts'

interface Following {
  readonly primacy: Primacy
  readonly upstream: Member
}

/** Primacy as read in this cycle, when another node that the configuration knows is the steady primary. */
function following(view: ClusterView): Following | null {
  if (view.store.kind !== 'read') return null
  const primacy = view.store.facts.primacy?.value
  if (primacy === undefined || primacy.primary === view.self || primacy.phase !== 'steady') return null
  const upstream = member(view.spec, primacy.primary)
  return upstream === null ? null : { primacy, upstream }
}

/** The sync names that this node would need as primary, carried from joining on, so that nothing is reloaded at a promotion (I5). */
function namesIfPromoted(view: ClusterView, primacy: Primacy): string {
  const rule = currentRule(primacy)
  const standbys = [rule.primary, ...rule.standbys].filter((name) => name !== view.self)
  return synchronousStandbyNames({ acks: rule.acks, standbys })
}

function standbyConfiguration(view: ClusterView, { primacy, upstream }: Following): WantedConfiguration {
  return {
    role: 'standby',
    epoch: primacy.epoch,
    upstream,
    synchronousStandbyNames: namesIfPromoted(view, primacy),
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

/** A second writable server is the worst that can happen: it goes at once, and whatever it wrote is looked at before it returns. */
const stalePrimary: DecisionRule = {
  id: 'stop-stale-primary',
  evaluate(view) {
    const follows = following(view)
    if (follows === null || view.local.server?.inRecovery !== false) return null
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
    if (follows === null || view.local.directory.kind !== 'absent') return null
    const waits = waitsAfterFailure(view, 'clone')
    if (waits !== null) return { reason: waits, actions: [] }
    const { primacy, upstream } = follows
    if (!primaryIsUp(view, primacy))
      return { reason: `waits until ${upstream.name} runs, to clone from it`, actions: [] }
    return {
      reason: `has no data: clones ${upstream.name}`,
      actions: [
        { kind: 'promise', epoch: primacy.epoch },
        {
          kind: 'clone',
          from: upstream.name,
          host: upstream.host,
          port: upstream.port,
          epoch: primacy.epoch,
        },
      ],
    }
  },
}

function primaryIsUp(view: ClusterView, primacy: Primacy): boolean {
  if (view.store.kind !== 'read') return false
  const report = view.store.facts.nodes.get(primacy.primary)
  return report?.role === 'primary' && report.state === 'running' && report.epoch === primacy.epoch
}

/**
 * I8: data that is not within the primary's history never streams. Until the ladder of rejoining exists, a standby whose timeline
 * is newer than the cluster's is left alone, with its data, and said.
 */
const foreignTimeline: DecisionRule = {
  id: 'timeline-differs',
  evaluate(view) {
    const follows = following(view)
    const { directory } = view.local
    if (follows === null || directory.kind !== 'cluster') return null
    const own = Math.max(directory.control.timelineId, directory.control.minRecoveryTimelineId)
    if (own <= follows.primacy.timelineId) return null
    return {
      reason: `the data here is on timeline ${own}, the cluster is on ${follows.primacy.timelineId}: it must not stream (I8)`,
      actions: view.local.postmaster.kind === 'running' ? [{ kind: 'stop', mode: 'fast' }] : [],
    }
  },
}

const startStandby: DecisionRule = {
  id: 'start-standby',
  evaluate(view) {
    const follows = following(view)
    if (follows === null || view.local.postmaster.kind !== 'stopped') return null
    const waits = waitsAfterFailure(view, 'start')
    if (waits !== null) return { reason: waits, actions: [] }
    return {
      reason: `starts as standby of ${follows.upstream.name}`,
      actions: [
        { kind: 'promise', epoch: follows.primacy.epoch },
        { kind: 'configure', wanted: standbyConfiguration(view, follows) },
        { kind: 'start' },
      ],
    }
  },
}

const follow: DecisionRule = {
  id: 'follow',
  evaluate(view) {
    const follows = following(view)
    if (follows === null || view.local.postmaster.kind !== 'running') return null
    const wanted = standbyConfiguration(view, follows)
    if (sameConfiguration(view.local.applied, wanted)) return null
    return {
      reason: `follows ${follows.upstream.name} in epoch ${follows.primacy.epoch}`,
      actions: [
        { kind: 'promise', epoch: follows.primacy.epoch },
        { kind: 'configure', wanted },
      ],
    }
  },
}

function sameConfiguration(a: WantedConfiguration | null, b: WantedConfiguration): boolean {
  return (
    a !== null &&
    a.role === b.role &&
    a.epoch === b.epoch &&
    a.upstream?.name === b.upstream?.name &&
    a.upstream?.host === b.upstream?.host &&
    a.upstream?.port === b.upstream?.port &&
    a.synchronousStandbyNames === b.synchronousStandbyNames
  )
}

export const standbyRules: readonly DecisionRule[] = [
  unknownPrimary,
  stalePrimary,
  join,
  foreignTimeline,
  startStandby,
  follow,
]
