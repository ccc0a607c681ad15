/**
 * The first primary. Exactly one node wins: the claim decides who works, but only the transaction that publishes primacy decides who
 * has won, and it succeeds once. A directory that was initialized and not published is worth nothing, since nobody could write to it.
 */
import { waitsAfterFailure } from '../backoff.ts'
import type { ClusterView, StoreFacts } from '../cluster-view.ts'
import type { DecisionRule, Memory, Verdict } from '../decision.ts'
import type { Identity, Primacy } from '../primacy.ts'

/** How long each later member of the configuration waits for the earlier ones before it claims. */
const HEAD_START_MS = 2_000

function noClusterYet(view: ClusterView): StoreFacts | null {
  return view.store.kind === 'read' && view.store.facts.primacy === null ? view.store.facts : null
}

/** Data without a cluster in the store: the wrong store, or one that lost its data. Never begin anew beside it. */
const storeEmpty: DecisionRule = {
  id: 'store-empty',
  evaluate(view) {
    if (noClusterYet(view) === null || view.local.directory.kind !== 'cluster') return null
    if (view.local.initialized === view.local.directory.control.systemIdentifier) return null
    return {
      reason:
        'this node holds data, but the store knows of no cluster: it must be another store, or it lost its data',
      actions: [],
    }
  },
}

/** A node with an empty directory would begin an empty cluster beside one that has only lost its store. */
const besideData: DecisionRule = {
  id: 'bootstrap-beside-data',
  evaluate(view) {
    const facts = noClusterYet(view)
    if (facts === null || view.local.directory.kind !== 'absent') return null
    if (facts.claim !== null && facts.claim.value.node !== view.self) return null
    const holders = [...facts.nodes.values()].filter((each) => each.systemIdentifier !== null)
    if (holders.length === 0) return null
    const names = holders.map(({ name }) => name).sort()
    return {
      reason: `the store knows of no cluster, but data is on ${names.join(', ')}: nothing is begun beside it`,
      actions: [],
    }
  },
}

const claim: DecisionRule = {
  id: 'bootstrap-claim',
  evaluate(view, memory) {
    const facts = noClusterYet(view)
    if (facts === null || facts.claim !== null) return null
    const since = memory.emptySinceMs ?? view.now
    const next: Memory = { ...memory, emptySinceMs: since }
    const place = view.spec.members.findIndex((each) => each.name === view.self)
    const waitsMs = since + Math.max(0, place) * HEAD_START_MS - view.now
    if (waitsMs > 0) {
      return {
        reason: `no cluster yet: ${view.spec.members[0]?.name} may begin it first`,
        actions: [],
        memory: next,
      }
    }
    return {
      reason: 'no cluster yet: this node claims to begin it',
      actions: [
        { kind: 'claimBootstrap', claim: { node: view.self, session: view.local.session }, expected: null },
      ],
      memory: next,
    }
  },
}

const waitForOther: DecisionRule = {
  id: 'bootstrap-wait',
  evaluate(view) {
    const facts = noClusterYet(view)
    if (facts === null || facts.claim === null || facts.claim.value.node === view.self) return null
    return { reason: `${facts.claim.value.node} is beginning the cluster`, actions: [] }
  },
}

/** The claim of a predecessor that was killed would run out with its lease, in the middle of our work. */
const reclaim: DecisionRule = {
  id: 'bootstrap-reclaim',
  evaluate(view) {
    const claim = noClusterYet(view)?.claim
    if (claim === null || claim === undefined || claim.value.session === view.local.session) return null
    return {
      reason: 'this node had begun the cluster before its agent was restarted: it goes on',
      actions: [
        {
          kind: 'claimBootstrap',
          claim: { node: view.self, session: view.local.session },
          expected: claim.revision,
        },
      ],
    }
  },
}

const initialize: DecisionRule = {
  id: 'bootstrap-initialize',
  evaluate(view) {
    const facts = noClusterYet(view)
    if (facts === null || facts.claim === null || view.local.directory.kind !== 'absent') return null
    const waits = waitsAfterFailure(view, 'initialize')
    if (waits !== null) return { reason: waits, actions: [] }
    return {
      reason: 'this node begins the cluster: it makes the first data directory',
      actions: [{ kind: 'initialize' }],
    }
  },
}

const publish: DecisionRule = {
  id: 'bootstrap-publish',
  evaluate(view): Verdict | null {
    const facts = noClusterYet(view)
    const { directory } = view.local
    if (facts === null || facts.claim === null || directory.kind !== 'cluster') return null
    const { systemIdentifier, timelineId } = directory.control
    const identity: Identity = { systemIdentifier, major: directory.major, createdBy: view.self }
    return {
      reason: 'the first data directory is ready: this node becomes primary of epoch 1',
      actions: [
        {
          kind: 'publishCluster',
          primacy: firstPrimacy(view.self, timelineId),
          identity,
          claim: facts.claim.revision,
        },
      ],
    }
  },
}

function firstPrimacy(self: string, timelineId: number): Primacy {
  return {
    epoch: 1,
    phase: 'steady',
    primary: self,
    timelineId,
    highestTimelineId: timelineId,
    rules: [{ epoch: 1, primary: self, acks: 0, standbys: [] }],
    nextRule: null,
    nextXid: null,
    startedBy: self,
    reason: 'bootstrap',
    planned: false,
    candidate: null,
    override: null,
    writtenOff: {},
    history: { timelineId, ancestors: [] },
    lineage: { number: 0, id: '', before: [] },
  }
}

export const bootstrapRules: readonly DecisionRule[] = [
  storeEmpty,
  besideData,
  claim,
  waitForOther,
  reclaim,
  initialize,
  publish,
]
