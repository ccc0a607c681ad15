/**
 * A whole cluster that is told to stop must not elect anybody while its nodes go one after the other: failover is paused in the store
 * first, and what was paused for that reason goes on with the next start.
 */

import type { Paused } from '../../api/contract.ts'
import type { ClusterStore } from '../../ports/cluster-store.ts'
import { createClusterStore } from '../../store/cluster-store.ts'
import { composeStore } from '../compose.ts'
import { operatorName } from '../operator.ts'
import type { OpenCluster } from './open.ts'

const REASON = 'the cluster was told to stop'

/** Not by an operator: it ends by itself, once the cluster runs again. */
export function isPausedForStop(paused: Paused | null): boolean {
  return paused?.reason === REASON
}

/** Best effort: with a store that does not answer nobody can be elected anyhow. */
export async function pauseForStop(cluster: OpenCluster): Promise<void> {
  await withStore(cluster, async (store) => {
    const facts = await store.readFacts()
    // What an operator has paused stays so over a stop and a start.
    if (facts.kind === 'ok' && facts.value.paused !== null) return
    await store.pause({ reason: REASON, by: operatorName(), at: new Date().toISOString() })
  })
}

/** true when it is no longer paused for a stop; false: try again. */
export async function resumeAfterStop(cluster: OpenCluster): Promise<boolean> {
  return withStore(cluster, async (store) => {
    const facts = await store.readFacts()
    if (facts.kind !== 'ok') return false
    if (!isPausedForStop(facts.value.paused)) return true
    return (await store.pause(null)).kind === 'ok'
  })
}

async function withStore<T>(cluster: OpenCluster, use: (store: ClusterStore) => Promise<T>): Promise<T> {
  const store = createClusterStore(await composeStore(cluster.config), cluster.config.cluster)
  try {
    return await use(store)
  } finally {
    store.close()
  }
}
