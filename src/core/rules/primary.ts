/** The node that primacy names. It starts postgres writable only when primacy, read now, names it for the current epoch (I7). */
import { waitsAfterFailure } from '../backoff.ts'
import type { ClusterView, Versioned, WantedConfiguration } from '../cluster-view.ts'
import type { DecisionRule } from '../decision.ts'
import { currentRule, type Primacy, type Rule, synchronousStandbyNames } from '../primacy.ts'
import { callElection } from './election.ts'
import { leaseDeadlineMs } from './lease.ts'

/** Primacy, when it was read in this cycle and names this node. */
export function ownPrimacy(view: ClusterView): Versioned<Primacy> | null {
  if (view.store.kind !== 'read') return null
  const { primacy } = view.store.facts
  return primacy !== null && primacy.value.primary === view.self && primacy.value.phase === 'steady'
    ? primacy
    : null
}

export function primaryConfiguration(primacy: Primacy, rule: Rule): WantedConfiguration {
  return {
    role: 'primary',
    epoch: primacy.epoch,
    upstream: null,
    synchronousStandbyNames: synchronousStandbyNames(rule),
  }
}

/** The primary's data is gone. Making a new, empty database here would look like success and be the loss of everything. */
const primaryWithoutData: DecisionRule = {
  id: 'primary-without-data',
  evaluate(view) {
    const primacy = ownPrimacy(view)
    if (primacy === null || view.local.directory.kind !== 'absent') return null
    // Others may have it all, or most of it: they shall decide. Where nobody has anything there is nobody to ask.
    const others = currentRule(primacy.value).standbys.length > 0 || somebodyHasData(view)
    const reason = `this node is the primary of the cluster, but its data directory is empty: it is not initialized anew`
    return { reason, actions: others ? [callElection(primacy, view.self, reason)] : [] }
  },
}

function somebodyHasData(view: ClusterView): boolean {
  const reports = view.store.kind === 'read' ? [...view.store.facts.nodes.values()] : []
  return reports.some((report) => report.name !== view.self && report.timelineId !== null)
}

const startPrimary: DecisionRule = {
  id: 'start-primary',
  evaluate(view) {
    const primacy = ownPrimacy(view)
    if (primacy === null || view.local.postmaster.kind !== 'stopped') return null
    const waits = waitsAfterFailure(view, 'start')
    if (waits !== null) return { reason: waits, actions: [] }
    return {
      reason: `primacy names this node for epoch ${primacy.value.epoch}: it starts as primary`,
      actions: [
        { kind: 'promise', epoch: primacy.value.epoch },
        { kind: 'configure', wanted: primaryConfiguration(primacy.value, currentRule(primacy.value)) },
        { kind: 'start', notAfterMs: currentRule(primacy.value).acks === 0 ? leaseDeadlineMs(view) : null },
      ],
    }
  },
}

/** The configuration of a primary whose agent is new is written again: the old agent may have died before the reload. */
const adoptPrimary: DecisionRule = {
  id: 'adopt-primary',
  evaluate(view) {
    const primacy = ownPrimacy(view)
    if (
      primacy === null ||
      view.local.postmaster.kind !== 'running' ||
      view.local.server?.inRecovery !== false
    )
      return null
    const { applied } = view.local
    if (applied?.role === 'primary' && applied.epoch === primacy.value.epoch) return null
    return {
      reason: `PostgreSQL already runs as primary of epoch ${primacy.value.epoch}: this agent takes it over`,
      actions: [
        { kind: 'promise', epoch: primacy.value.epoch },
        { kind: 'configure', wanted: primaryConfiguration(primacy.value, currentRule(primacy.value)) },
      ],
    }
  },
}

const waitForPrimary: DecisionRule = {
  id: 'primary-not-answering',
  evaluate(view) {
    const primacy = ownPrimacy(view)
    if (primacy === null || view.local.server !== null) return null
    return { reason: 'PostgreSQL runs but does not answer yet', actions: [] }
  },
}

/** Named primary, but running in recovery: the files must say otherwise before it can be started as primary. */
const primaryInRecovery: DecisionRule = {
  id: 'primary-in-recovery',
  evaluate(view) {
    const primacy = ownPrimacy(view)
    if (primacy === null || view.local.server?.inRecovery !== true) return null
    return {
      reason: 'primacy names this node, but its PostgreSQL is in recovery: it is started anew as primary',
      actions: [{ kind: 'stop', mode: 'fast' }],
    }
  },
}

export const primaryRules: readonly DecisionRule[] = [
  primaryWithoutData,
  startPrimary,
  adoptPrimary,
  waitForPrimary,
  primaryInRecovery,
]
