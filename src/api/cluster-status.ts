/** Puts the cluster's status together from primacy and what each agent says of its own node. Pure. */
import { hostInUri } from '../config/fields.ts'
import { lagBytes, parseLsn } from '../core/lsn.ts'
import { currentRule, type Primacy } from '../core/primacy.ts'
import { type NodeLoss, whatIf } from '../core/what-if.ts'
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
  readonly whenStandbyLost: 'relax' | 'block'
  /** Of the agent that was asked. */
  readonly storeAnswers: boolean
  readonly primacy: Primacy | null
  readonly paused: Paused | null
  readonly scheduled: ScheduledSwitchover | null
  readonly endpoints: Endpoints | null
  readonly proxies: ClusterStatus['proxies']
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
  const losses = lossesOf(input, nodes)
  const problems = [...reported(input), ...unanswered(input), ...withoutSuccessor(input, losses)]
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
    proxies: input.proxies,
    paused: input.paused,
    scheduled: input.scheduled,
    whatIf: losses,
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

/** From what the agents say now and not from their reports in the store, which are some seconds old. */
function lossesOf(input: StatusInput, nodes: readonly NodeStatus[]): readonly NodeLoss[] | null {
  const { primacy, details, members } = input
  const primary = nodes.find(({ name }) => name === primacy?.primary)
  if (primacy === null || primacy.phase !== 'steady' || primary?.state !== 'running') return null
  const alive = [...details].flatMap(([name, detail]) =>
    detail === null || (input.storeAnswers && !detail.storeReachable) ? [] : [[name, detail] as const],
  )
  const survivors = alive.map(
    ([name, { vote, priority, status }]) =>
      [name, { vote, priority, streams: status.state === 'streaming' }] as const,
  )
  return whatIf({
    primacy,
    members: members.map(({ name }) => name),
    nodes: new Map(survivors),
    storeAnswers: input.storeAnswers,
    paused: input.paused !== null,
    durability: input.durability,
    whenStandbyLost: input.whenStandbyLost,
  })
}

/** What `pause` and a silent store bring about says so itself; alone there is nobody to take over. */
function withoutSuccessor(input: StatusInput, losses: readonly NodeLoss[] | null): readonly Problem[] {
  if (input.paused !== null || !input.storeAnswers || input.members.length < 2) return []
  const loss = losses?.find(({ node }) => node === input.primacy?.primary)
  if (loss === undefined || loss.takesOver.length > 0) return []
  return [
    {
      code: 'no-successor',
      severity: 'warning',
      node: null,
      since: input.now,
      message: `if ${loss.node} were lost now, ${loss.sentence}`,
      hint: 'Bring the missing standbys back: `understudy why` says what each node waits for.',
    },
  ]
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
  const { name, host, port, apiPort } = member
  return {
    ...{ name, host, port, apiPort },
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
      message: `the agent of ${member.name} does not answer at ${hostInUri(member.host)}:${member.apiPort}`,
      hint: 'Is the node up? `understudy up` starts what is missing of a local cluster; logs are in its logs directory.',
    }))
}
