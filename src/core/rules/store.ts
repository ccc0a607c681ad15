/**
 * What the store forbids. Nothing is stopped because of an unknown error from the store: with acks >= 1 even a stale election would
 * have taken the old primary's acknowledgements away (docs/failover.md, "When the store is gone"). Nothing is started either (I7).
 */
import type { ClusterView, StoreView } from '../cluster-view.ts'
import type { Action, DecisionRule } from '../decision.ts'

type StaleStore = Extract<StoreView, { kind: 'stale' }>

const storeUnreachable: DecisionRule = {
  id: 'store-unreachable',
  evaluate(view) {
    if (view.store.kind !== 'unreachable') return null
    const what =
      view.local.postmaster.kind === 'running' ? 'PostgreSQL goes on as it is' : 'nothing is started'
    return { reason: `the store does not answer (${view.store.reason}): ${what}`, actions: [] }
  },
}

/** What the first node that found it so tells the others: those who know less than it must not act on the store either. */
function tell(view: ClusterView, store: StaleStore): readonly Action[] {
  const { known, promisedEpoch } = view.local
  const epoch = Math.max(promisedEpoch, known?.primacy.epoch ?? 0)
  if (store.code === 'system-identifier' || store.facts.stale !== null || epoch === 0) return []
  const expected = store.facts.primacy?.revision ?? null
  return [{ kind: 'markStale', mark: { by: view.self, epoch }, expected }]
}

/**
 * Restored from an old copy, so that it has forgotten an epoch or a rule; emptied; or another cluster's. Nothing acts on it (I1), and
 * what runs goes on, until an operator puts back what the nodes know.
 */
function disbelief(id: string, codes: readonly StaleStore['code'][]): DecisionRule {
  return {
    id,
    evaluate(view) {
      const { store } = view
      if (store.kind !== 'stale' || !codes.includes(store.code)) return null
      return { reason: `${store.reason}: nothing acts on it`, actions: tell(view, store) }
    },
  }
}

const staleStore = disbelief('store-stale', ['store-stale', 'system-identifier'])
const emptiedStore = disbelief('store-emptied', ['store-empty'])

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
  emptiedStore,
  lostBootstrap,
  foreignIdentity,
  foreignMajor,
]
