/** The whole cluster's status from whichever agent answers first and knows it; null when none does. */

import type { ClusterStatus, NodeDetail } from '../../api/contract.ts'
import type { PeerClient } from '../../api/peer-client.ts'
import type { ResolvedConfig } from '../../config/load.ts'

/** Asks only agents that have just answered for themselves. */
export async function askStatus(
  config: ResolvedConfig,
  client: PeerClient,
  details: ReadonlyMap<string, NodeDetail | null>,
): Promise<ClusterStatus | null> {
  for (const node of config.nodes) {
    if (!details.get(node.name)?.storeReachable) continue
    const status = await client.clusterStatus(node, 2_000)
    if (status !== null) return status
  }
  return null
}
