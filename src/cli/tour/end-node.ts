/**
 * Ends a node of a local cluster as a power cut would: its agent and its PostgreSQL at once, with SIGKILL. Only where a supervisor starts the
 * agent again, so that the cluster becomes whole by itself whatever happens to this process.
 */
import type { ClusterStatus } from '../../api/contract.ts'
import type { ResolvedNode } from '../../config/load.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import { nodeLayout } from '../../postgres/layout.ts'
import { hasMarker, signalFamily, worksIn } from '../../postgres/processes.ts'
import { partsOf, supervisorPart } from '../local/layout.ts'
import type { OpenCluster } from '../local/open.ts'
import { findForeground, findPart } from '../local/processes.ts'

/** Why no node of this cluster can be ended from here, as a sentence; null: it can. */
export function endObstacle({ local, directory }: OpenCluster): string | null {
  if (local === null)
    return 'the nodes are machines of their own: nothing here may end one, and nothing here could start it again'
  if (findPart(supervisorPart(directory)) === null && findForeground(directory) === null)
    return 'no supervisor runs that would start the node’s agent again (`understudy up --detach` starts one)'
  return null
}

/** Errors: no-permission, connect-failed when the node's processes are not found. */
export async function endNode(
  cluster: OpenCluster,
  node: ResolvedNode,
  status: ClusterStatus,
): Promise<void> {
  const part = partsOf(cluster.directory, cluster.configFile, cluster.config).find(
    ({ name }) => name === node.name,
  )
  const agent = part === undefined ? null : findPart(part)
  const postmaster = status.nodes.find(({ name }) => name === node.name)?.postmasterPid ?? null
  if (agent === null || postmaster === null)
    throw new UnderstudyError('connect-failed', `the processes of ${node.name} were not found`)
  // A number that another program has got meanwhile must not be signalled.
  const ours =
    hasMarker(postmaster, node.directory) && (await worksIn(postmaster, nodeLayout(node.directory).dataDir))
  if (!ours)
    throw new UnderstudyError(
      'no-permission',
      `process ${postmaster} is not known to be ${node.name}’s PostgreSQL`,
      {
        hint: 'Run the command as the user that owns the cluster, or as root.',
      },
    )
  // The agent first: killed alone it is started again and adopts its PostgreSQL, so an end of this process in between does no harm.
  process.kill(agent, 'SIGKILL')
  signalFamily(postmaster, 'SIGKILL')
}
