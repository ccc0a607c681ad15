/** A healthy cluster of three as its agents report it; tests change what they are about. */
import type { ClusterStatus, NodeStatus } from '../../src/api/contract.ts'

const NAMES: readonly string[] = ['alpha', 'bravo', 'charlie']

export function nodeStatus(name: string, over: Partial<NodeStatus> = {}): NodeStatus {
  const index = Math.max(0, NAMES.indexOf(name))
  const primary = index === 0
  return {
    name,
    role: primary ? 'primary' : 'standby',
    state: primary ? 'running' : 'streaming',
    host: '127.0.0.1',
    port: 5501 + index,
    apiPort: 5551 + index,
    timelineId: 1,
    flushLsn: '0/5000148',
    replayLsn: primary ? null : '0/5000148',
    replayLagBytes: primary ? 0 : 1_536 * index,
    replayLagMs: primary ? 0 : 1.2 * index,
    syncState: primary ? null : 'quorum',
    upstream: primary ? null : 'alpha',
    agentPid: 4711 + index,
    postmasterPid: 4811 + index,
    ...over,
  }
}

export function clusterStatus(over: Partial<ClusterStatus> = {}): ClusterStatus {
  return {
    cluster: 'main',
    epoch: 3,
    phase: 'steady',
    primary: 'alpha',
    timelineId: 1,
    durability: 'quorum',
    quorum: { acks: 1, standbys: ['bravo', 'charlie'] },
    healthy: true,
    nodes: NAMES.map((name) => nodeStatus(name)),
    endpoints: null,
    proxies: [],
    paused: null,
    scheduled: null,
    whatIf: [
      {
        node: 'alpha',
        takesOver: ['bravo', 'charlie'],
        writes: 'goOn',
        mayLoseCommits: false,
        sentence: 'bravo or charlie takes over, writes go on',
      },
      ...['bravo', 'charlie'].map((node) => ({
        node,
        takesOver: [],
        writes: 'goOn' as const,
        mayLoseCommits: false,
        sentence: 'writes go on',
      })),
    ],
    problems: [],
    ...over,
  }
}
