/** `understudy agent`: one node in the foreground, for `up`, systemd and the like. SIGTERM stops PostgreSQL in order, then the agent. */
import { mkdir, readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import { Agent } from '../../agent/agent.ts'
import { clusterStatus } from '../../api/cluster-status.ts'
import type { NodeDetail, ScheduledSwitchover } from '../../api/contract.ts'
import { PeerClient } from '../../api/peer-client.ts'
import { type ApiSource, serveApi } from '../../api/server.ts'
import { loadConfig, nodeOf, type ResolvedConfig } from '../../config/load.ts'
import type { SwitchoverRequest } from '../../core/cluster-view.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import { findUser } from '../../postgres/run-as.ts'
import { composeAgent, systemClock } from '../compose.ts'
import { proxyEndpoints } from '../connection.ts'
import { acquireLock } from '../local/lock.ts'
import { isRoot, runAs } from '../local/privileges.ts'
import { EXIT } from '../output.ts'

const PEER_DEADLINE_MS = 800

export interface AgentFlags {
  readonly config: string
  readonly node: string
}

export async function run(flags: AgentFlags): Promise<number> {
  const config = await loadConfig(flags.config)
  const node = nodeOf(config, flags.node)
  if (isRoot()) return runAsOwner(config, flags)
  for (const directory of [node.directory, path.join(node.directory, 'log'), node.socketDirectory]) {
    await mkdir(directory, { recursive: true, mode: 0o700 })
  }
  const lock = await acquireLock(node.directory, 'agent')
  if (lock === null)
    throw new UnderstudyError(
      'already-running',
      `another agent of ${node.name} already runs in ${node.directory}`,
    )
  const { options, dependencies } = await composeAgent(config, flags.node)
  const agent = await Agent.open(options, dependencies)
  const peers = new PeerClient()
  const api = await serveApi(apiSource(config, agent, flags.node, peers), {
    host: node.host,
    port: node.apiPort,
    token: (await readFile(config.secrets.apiToken, 'utf8')).trim(),
  })
  stopOnSignals(agent)
  await agent.run()
  peers.close()
  await api.stop()
  await lock.release()
  return EXIT.done
}

/** The configuration's owner is who the cluster was made for. */
async function runAsOwner(config: ResolvedConfig, flags: AgentFlags): Promise<number> {
  const { uid } = await stat(config.file)
  const user = uid === 0 ? await findUser('postgres') : await findUser(uid)
  if (user === null || user.uid === 0) {
    throw new UnderstudyError(
      'no-unprivileged-user',
      `${config.file} belongs to root, and there is no user postgres`,
    )
  }
  return runAs(user, ['agent', '--config', path.resolve(flags.config), '--node', flags.node], config.file)
}

function stopOnSignals(agent: Agent): void {
  const stop = (): void => {
    agent.stop().catch((error: unknown) => {
      process.stderr.write(`${String(error)}\n`)
      process.exit(EXIT.failed)
    })
  }
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, stop)
  // The terminal went away: the agent belongs to its supervisor, not to a terminal.
  process.on('SIGHUP', () => {})
}

function apiSource(config: ResolvedConfig, agent: Agent, self: string, peers: PeerClient): ApiSource {
  const detailOf = async (
    name: string,
    host: string,
    apiPort: number,
  ): Promise<readonly [string, NodeDetail | null]> =>
    name === self ? [name, agent.detail] : [name, await peers.nodeDetail(host, apiPort, PEER_DEADLINE_MS)]
  const details = async (): Promise<ReadonlyMap<string, NodeDetail | null>> =>
    new Map(await Promise.all(config.nodes.map((node) => detailOf(node.name, node.host, node.apiPort))))
  return {
    node: () => agent.detail,
    why: () => agent.why,
    eventsAfter: (id) => agent.events.after(id),
    subscribe: (listener) => agent.events.subscribe(listener),
    history: () => agent.controls.history(),
    switchover: (body) => agent.controls.switchover(body),
    cancelSwitchover: (by) => agent.controls.cancelSwitchover(by),
    failover: async (body) => agent.controls.failover(body, await details()),
    pause: (body) => agent.controls.pause(body),
    reinit: (body) => agent.controls.reinit(body),
    cluster: async () => {
      const store = agent.view?.store
      const facts = store === undefined ? null : store.kind === 'read' ? store.facts : store.last
      return clusterStatus({
        cluster: config.cluster,
        durability: config.durability,
        primacy: facts?.primacy?.value ?? null,
        paused: facts?.paused ?? null,
        scheduled: scheduledIn(facts?.switchover?.value ?? null),
        endpoints: proxyEndpoints(config),
        members: config.nodes,
        details: await details(),
        now: systemClock.timestamp(),
      })
    },
  }
}

/** One that is already being carried out is no schedule any more. */
function scheduledIn(request: SwitchoverRequest | null): ScheduledSwitchover | null {
  if (request === null || request.session !== null || request.at === null) return null
  return { to: request.to, at: request.at, by: request.by }
}
