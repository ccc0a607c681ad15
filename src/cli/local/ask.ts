/** Asks the agents of a local cluster, all at the same time, each within a deadline. */

import type { NodeDetail } from '../../api/contract.ts'
import { PeerClient } from '../../api/peer-client.ts'
import type { ResolvedConfig } from '../../config/load.ts'

const DEADLINE_MS = 1_000

/** null for those that did not answer. */
export async function askNodes(
  config: ResolvedConfig,
  client: PeerClient,
): Promise<ReadonlyMap<string, NodeDetail | null>> {
  const answers = await Promise.all(
    config.nodes.map(async (node) => [node.name, await client.nodeDetail(node, DEADLINE_MS)] as const),
  )
  return new Map(answers)
}

/** The node that runs as primary right now, by what the agents say of themselves. */
export async function askPrimary(config: ResolvedConfig): Promise<string | null> {
  const client = new PeerClient()
  try {
    const details = await askNodes(config, client)
    return [...details].find(([, detail]) => detail?.status.role === 'primary')?.[0] ?? null
  } finally {
    client.close()
  }
}
