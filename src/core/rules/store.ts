/**
 * What the store forbids. Nothing is stopped because of an unknown error from the store: with acks >= 1 even a stale election would
 * have taken the old primary's acknowledgements away (docs/failover.md, "When the store is gone"). Nothing is started either (I7).
 */
import type { DecisionRule } from '../decision.ts'

const storeUnreachable: DecisionRule = {
  id: 'store-unreachable',
  evaluate(view) {
    if (view.store.kind === 'read') return null
    const what =
      view.local.postmaster.kind === 'running' ? 'PostgreSQL goes on as it is' : 'nothing is started'
    return { reason: `the store does not answer (${view.store.reason}): ${what}`, actions: [] }
  },
}

/** A store restored from an old backup knows an epoch below what this node has promised: nothing acts on it (I1). */
const staleStore: DecisionRule = {
  id: 'store-stale',
  evaluate(view) {
    if (view.store.kind !== 'read') return null
    const primacy = view.store.facts.primacy?.value
    if (primacy === undefined || primacy.epoch >= view.local.promisedEpoch) return null
    return {
      reason: `the store says epoch ${primacy.epoch}, but this node has promised epoch ${view.local.promisedEpoch}: nothing acts on it`,
      actions: [],
    }
  },
}

/**
 * Two nodes began the cluster (the claim of the first ran out under it) and the other one won. Nobody could ever write to what this
 * one made; it is moved aside all the same (P5).
 */
const lostBootstrap: DecisionRule = {
  id: 'bootstrap-lost',
  evaluate(view) {
    if (view.store.kind !== 'read' || view.local.directory.kind !== 'cluster') return null
    const { identity, primacy } = view.store.facts
    const own = view.local.directory.control.systemIdentifier
    if (identity === null || primacy === null || identity.systemIdentifier === own) return null
    if (view.local.initialized !== own || view.local.promisedEpoch > 0) return null
    return {
      reason: `${identity.createdBy} began the cluster first: what this node made is moved aside`,
      actions: [{ kind: 'moveAside', reason: 'bootstrap-lost' }],
    }
  },
}

/** Data of another cluster never takes part in this one. */
const foreignIdentity: DecisionRule = {
  id: 'identity-differs',
  evaluate(view) {
    if (view.store.kind !== 'read' || view.local.directory.kind !== 'cluster') return null
    const { identity } = view.store.facts
    const own = view.local.directory.control.systemIdentifier
    if (identity === null || identity.systemIdentifier === own) return null
    return {
      reason: `the data directory has system identifier ${own}, the cluster has ${identity.systemIdentifier}`,
      actions: view.local.postmaster.kind === 'running' ? [{ kind: 'stop', mode: 'fast' }] : [],
    }
  },
}

const foreignMajor: DecisionRule = {
  id: 'major-differs',
  evaluate(view) {
    if (view.store.kind !== 'read') return null
    const { identity } = view.store.facts
    if (identity === null || identity.major === view.spec.major) return null
    return {
      reason: `the cluster runs PostgreSQL ${identity.major}, this node has the binaries of ${view.spec.major}`,
      actions: [],
    }
  },
}

export const storeRules: readonly DecisionRule[] = [
  storeUnreachable,
  staleStore,
  lostBootstrap,
  foreignIdentity,
  foreignMajor,
]
