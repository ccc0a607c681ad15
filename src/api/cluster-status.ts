/** Puts the cluster's status together from primacy and what each agent says of its own node. Pure. */
import { lagBytes, parseLsn } from '../core/lsn.ts'
import { currentRule, type Primacy } from '../core/primacy.ts'
import type {
  ClusterStatus,
  Endpoints,
  NodeDetail,
  NodeStatus,
  Paused,
  Problem,
  ScheduledSwitchover,
} from './contract.ts'

export interface StatusInput {
  readonly cluster: string
  readonly durability: 'quorum' | 'async'
  readonly primacy: Primacy | null
  readonly paused: Paused | null
  readonly scheduled: ScheduledSwitchover | null
  readonly endpoints: Endpoints | null
  readonly members: readonly {
    readonly name: string
    readonly host: string
    readonly port: number
    readonly apiPort: number
  }[]
  /** null: that agent did not answer. */
  readonly details: ReadonlyMap<string, NodeDetail | null>
  readonly now: string
}

export function clusterStatus(input: StatusInput): ClusterStatus {
  const { primacy } = input
  const rule = primacy === null ? null : currentRule(primacy)
  const primaryDetail = primacy === null ? null : (input.details.get(primacy.primary) ?? null)
  const nodes = input.members.map((each) =>
    nodeStatus(each, input.details.get(each.name) ?? null, primaryDetail),
  )
  const problems = [...reported(input), ...unanswered(input)]
  return {
    cluster: input.cluster,
    epoch: primacy?.epoch ?? null,
    phase: primacy?.phase ?? null,
    primary: primacy?.primary ?? null,
    timelineId: primacy?.timelineId ?? null,
    durability: input.durability,
    quorum: rule === null ? null : { acks: rule.acks, standbys: rule.standbys },
    healthy: isHealthy(primacy, nodes, problems),
    nodes,
    endpoints: input.endpoints,
    paused: input.paused,
    scheduled: input.scheduled,
    problems,
  }
}

/** Healthy means: the next loss of one node is survived as promised. A warning that changes nothing of that does not count. */
function isHealthy(
  primacy: Primacy | null,
  nodes: readonly NodeStatus[],
  problems: readonly Problem[],
): boolean {
  if (primacy === null || primacy.phase !== 'steady') return false
  if (problems.some((problem) => problem.severity === 'error')) return false
  return nodes.every((node) =>
    node.name === primacy.primary ? node.state === 'running' : node.state === 'streaming',
  )
}

function nodeStatus(
  member: StatusInput['members'][number],
  detail: NodeDetail | null,
  primary: NodeDetail | null,
): NodeStatus {
  if (detail === null) return silent(member)
  const { status } = detail
  const seen = primary?.standbys.find((each) => each.name === member.name)
  if (status.role !== 'standby') return status
  const ahead = parseLsn(primary?.status.flushLsn ?? '')
  const replayed = parseLsn(status.replayLsn ?? '')
  const bytes = ahead === null || replayed === null ? status.replayLagBytes : lagBytes(replayed, ahead)
  return {
    ...status,
    replayLagBytes: bytes,
    replayLagMs: bytes === 0 ? 0 : (seen?.replayLagMs ?? status.replayLagMs),
    syncState: seen?.syncState ?? null,
    state: status.state === 'streaming' && seen?.state === 'catchup' ? 'catchingUp' : status.state,
  }
}

function silent(member: StatusInput['members'][number]): NodeStatus {
  return {
    ...member,
    role: 'unknown',
    state: 'unreachable',
    timelineId: null,
    flushLsn: null,
    replayLsn: null,
    replayLagBytes: null,
    replayLagMs: null,
    syncState: null,
    upstream: null,
    agentPid: null,
    postmasterPid: null,
  }
}

/** Two agents see the same thing of the same node once. */
function reported(input: StatusInput): readonly Problem[] {
  const all = [...input.details.values()].flatMap((detail) => detail?.problems ?? [])
  const unique = new Map(all.map((problem) => [`${problem.node}/${problem.code}`, problem]))
  const silentNodes = new Set(
    input.members.filter((each) => !input.details.get(each.name)).map((each) => each.name),
  )
  return [...unique.values()].filter(
    (problem) => !(problem.code === 'not-streaming' && silentNodes.has(problem.node ?? '')),
  )
}

function unanswered(input: StatusInput): readonly Problem[] {
  return input.members
    .filter((member) => !input.details.get(member.name))
    .map((member) => ({
      code: 'agent-unreachable',
      severity: 'error' as const,
      node: member.name,
      since: input.now,
      message: `the agent of ${member.name} does not answer at ${member.host}:${member.apiPort}`,
      hint: 'Is the node up? `understudy up` starts what is missing of a local cluster; logs are in its logs directory.',
    }))
}
