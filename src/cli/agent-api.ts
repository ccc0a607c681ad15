/** What an agent's API tells and does, from the agent itself and, for the whole cluster, from the other ones. */
import type { Agent } from '../agent/agent.ts'
import { clusterStatus } from '../api/cluster-status.ts'
import type { NodeDetail, ScheduledSwitchover } from '../api/contract.ts'
import type { MetricsInput } from '../api/metrics.ts'
import type { PeerClient } from '../api/peer-client.ts'
import type { ApiSource } from '../api/server.ts'
import type { ResolvedConfig, ResolvedNode } from '../config/load.ts'
import type { SwitchoverRequest } from '../core/cluster-view.ts'
import { currentRule } from '../core/primacy.ts'
import { systemClock } from './compose.ts'
import { proxyEndpoints } from './connection.ts'
import { packageVersion } from './version.ts'

const PEER_DEADLINE_MS = 800
const STORE_DEADLINE_MS = 500

export interface AgentApiParts {
  readonly config: ResolvedConfig
  readonly agent: Agent
  readonly self: string
  readonly peers: PeerClient
  readonly bundle: ApiSource['bundle']
  readonly release: ApiSource['release']
  readonly positions: ApiSource['positions']
}

export function agentApi(parts: AgentApiParts): ApiSource {
  const { config, agent, self, peers, bundle, release, positions } = parts
  const detailOf = async (node: ResolvedNode): Promise<readonly [string, NodeDetail | null]> => {
    const detail = node.name === self ? agent.detail : await peers.nodeDetail(node, PEER_DEADLINE_MS)
    return [node.name, detail]
  }
  const details = async (): Promise<ReadonlyMap<string, NodeDetail | null>> =>
    new Map(await Promise.all(config.nodes.map(detailOf)))
  return {
    node: () => agent.detail,
    why: () => agent.why,
    eventsAfter: (id) => agent.events.after(id),
    subscribe: (listener) => agent.events.subscribe(listener),
    history: () => agent.controls.history(),
    health: () => agent.health,
    metrics: () => metricsOf(config, agent, self),
    switchover: (body) => agent.controls.switchover(body),
    cancelSwitchover: (by) => agent.controls.cancelSwitchover(by),
    failover: async (body) => agent.controls.failover(body, await details()),
    recoverStore: async (body) => agent.controls.recoverStore(body, await details()),
    pause: (body) => agent.controls.pause(body),
    reinit: (body) => agent.controls.reinit(body),
    retireMember: (node, by) => agent.controls.retireMember(node, by),
    admitMember: (node, by) => agent.controls.admitMember(node, by),
    bundle,
    release,
    positions,
    cluster: async () => {
      const store = agent.view?.store
      const facts = store === undefined ? null : store.kind === 'read' ? store.facts : store.last
      const [known, proxies] = await Promise.all([
        details(),
        config.proxy === null ? [] : agent.controls.proxies(STORE_DEADLINE_MS),
      ])
      return clusterStatus({
        cluster: config.cluster,
        durability: config.durability,
        whenStandbyLost: config.whenStandbyLost,
        storeAnswers: store?.kind === 'read',
        primacy: facts?.primacy?.value ?? null,
        paused: facts?.paused ?? null,
        scheduled: scheduledIn(facts?.switchover?.value ?? null),
        endpoints: proxyEndpoints(config),
        proxies,
        members: config.nodes,
        details: known,
        now: systemClock.timestamp(),
      })
    },
  }
}

const STARTED_AT_SECONDS = Date.now() / 1_000 - process.uptime()

function metricsOf(config: ResolvedConfig, agent: Agent, node: string): MetricsInput {
  const store = agent.view?.store
  const facts = store === undefined ? null : store.kind === 'read' ? store.facts : store.last
  const primacy = facts?.primacy?.value ?? null
  const { user, system } = process.cpuUsage()
  return {
    cluster: config.cluster,
    node,
    version: packageVersion(),
    detail: agent.detail,
    health: agent.health,
    phase: primacy?.phase ?? null,
    quorum: primacy === null ? null : currentRule(primacy),
    paused: facts === null ? null : facts.paused !== null,
    process: {
      residentBytes: process.memoryUsage.rss(),
      cpuSeconds: (user + system) / 1_000_000,
      startedAtSeconds: STARTED_AT_SECONDS,
    },
  }
}

/** One that is already being carried out is no schedule any more. */
function scheduledIn(request: SwitchoverRequest | null): ScheduledSwitchover | null {
  if (request === null || request.session !== null || request.at === null) return null
  return { to: request.to, at: request.at, by: request.by }
}
