/** The status of a cluster as the command line sees it: what an agent says, or, when none answers, that none does. */
import type { ClusterStatus } from '../api/contract.ts'
import type { ResolvedConfig } from '../config/load.ts'
import { ERRORS } from '../errors/codes.ts'
import { type AskOptions, askCluster } from './api-client.ts'
import { proxyEndpoints } from './connection.ts'
import { EXIT } from './output.ts'

export interface SeenStatus {
  readonly status: ClusterStatus
  readonly answered: boolean
}

type KnownCluster = Pick<ResolvedConfig, 'cluster' | 'durability' | 'nodes' | 'proxy'>

export async function readStatus(config: KnownCluster, options: AskOptions = {}): Promise<SeenStatus> {
  const status = await askCluster(config.nodes, options)
  if (status !== null) return { status, answered: true }
  return { status: unreachableStatus(config, new Date()), answered: false }
}

/** Pure: what is known from the configuration alone. */
export function unreachableStatus(config: KnownCluster, now: Date): ClusterStatus {
  return {
    cluster: config.cluster,
    epoch: null,
    phase: null,
    primary: null,
    timelineId: null,
    durability: config.durability,
    quorum: null,
    healthy: false,
    nodes: config.nodes.map(({ name, host, port, apiPort }) => ({
      name,
      role: 'unknown',
      state: 'unreachable',
      host,
      port,
      apiPort,
      timelineId: null,
      flushLsn: null,
      replayLsn: null,
      replayLagBytes: null,
      replayLagMs: null,
      syncState: null,
      upstream: null,
      agentPid: null,
      postmasterPid: null,
    })),
    endpoints: proxyEndpoints(config),
    proxies: null,
    paused: null,
    scheduled: null,
    whatIf: null,
    problems: [
      {
        code: 'unreachable',
        severity: 'error',
        node: null,
        since: now.toISOString(),
        message: 'no agent of the cluster answers',
        hint: ERRORS.unreachable.hint,
      },
    ],
  }
}

export function statusExitCode({ status, answered }: SeenStatus): number {
  if (!answered) return EXIT.unreachable
  return status.healthy ? EXIT.done : EXIT.unhealthy
}
