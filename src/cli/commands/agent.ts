/** `understudy agent`: one node in the foreground, for `up`, systemd and the like. SIGTERM stops PostgreSQL in order, then the agent. */
import { mkdir, readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import { Agent } from '../../agent/agent.ts'
import { clusterStatus } from '../../api/cluster-status.ts'
import type { NodeDetail, ScheduledSwitchover } from '../../api/contract.ts'
import { PeerClient } from '../../api/peer-client.ts'
import { type ApiSource, type ApiTls, serveApi } from '../../api/server.ts'
import { loadConfig, nodeOf, type ResolvedConfig, type ResolvedNode } from '../../config/load.ts'
import type { SwitchoverRequest } from '../../core/cluster-view.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import { readPem } from '../../postgres/certificate-state.ts'
import { findUser } from '../../postgres/run-as.ts'
import { composeAgent, systemClock } from '../compose.ts'
import { acquireLock } from '../local/lock.ts'
import { demand } from '../local/prepare.ts'
import { isRoot, runAs } from '../local/privileges.ts'
import { checkPlacement, nodeMeant, readBundleMark } from '../machines/placement.ts'
import { type ServiceManager, serviceManager } from '../machines/service-manager.ts'
import { startUpkeep } from '../machines/upkeep.ts'
import { EXIT } from '../output.ts'

const PEER_DEADLINE_MS = 800

export interface AgentFlags {
  readonly config: string
  /** Left out: the node of the bundle that the configuration lies in. */
  readonly node?: string
}

export async function run(flags: AgentFlags): Promise<number> {
  const config = await loadConfig(flags.config)
  const mark = await readBundleMark(config.file)
  const node = nodeOf(config, nodeMeant(mark, flags.node))
  if (isRoot()) return runAsOwner(config, node)
  await checkPlacement(config, node, mark)
  for (const directory of [node.directory, path.join(node.directory, 'log'), node.socketDirectory]) {
    await mkdir(directory, { recursive: true, mode: 0o700 })
  }
  const lock = await acquireLock(node.directory, 'agent')
  if (lock === null)
    throw new UnderstudyError(
      'already-running',
      `another agent of ${node.name} already runs in ${node.directory}`,
    )
  const { options, dependencies, addresses, access } = await composeAgent(config, node.name)
  const agent = await Agent.open(options, dependencies)
  const peers = new PeerClient()
  const readTls = (): Promise<ApiTls | null> => readTlsOf(config, node)
  const api = await serveApi(apiSource(config, agent, node.name, peers), {
    node: node.name,
    listen: node.listen,
    port: node.apiPort,
    token: (await readFile(config.secrets.apiToken, 'utf8')).trim(),
    tls: await readTls(),
  })
  const { events } = agent
  const { log } = dependencies
  const endUpkeep = startUpkeep({ nodes: config.nodes, addresses, access, api, readTls, events, log })
  const manager = serviceManager({ env: process.env, log, loopAgeMs: () => agent.loopAgeMs })
  stopOnSignals(agent, manager)
  manager.ready()
  await agent.run()
  manager.close()
  endUpkeep()
  peers.close()
  await api.stop()
  await lock.release()
  if (agent.nameTakenBy === null) return EXIT.done
  throw new UnderstudyError(
    'name-taken',
    `another agent lives under the name ${node.name}, on ${agent.nameTakenBy}: this one has stopped its PostgreSQL`,
  )
}

async function readTlsOf(config: ResolvedConfig, node: ResolvedNode): Promise<ApiTls | null> {
  if (node.apiCaFile === null) return null
  const read = async (file: string): Promise<string> => {
    const pem = demand(await readPem(file))
    if (pem === null) throw new UnderstudyError('tls-failed', `${file} is missing`)
    return pem
  }
  const [cert, key] = [await read(config.tls.certFile(node.name)), await read(config.tls.keyFile(node.name))]
  return { cert, key }
}

/** The configuration's owner is who the cluster was made for. */
async function runAsOwner(config: ResolvedConfig, node: ResolvedNode): Promise<number> {
  const { uid } = await stat(config.file)
  const user = uid === 0 ? await findUser('postgres') : await findUser(uid)
  if (user === null || user.uid === 0) {
    throw new UnderstudyError(
      'no-unprivileged-user',
      `${config.file} belongs to root, and there is no user postgres`,
    )
  }
  return runAs(user, ['agent', '--config', config.file, '--node', node.name], config.file)
}

function stopOnSignals(agent: Agent, manager: ServiceManager): void {
  const stop = (): void => {
    manager.stopping()
    agent.stop().catch((error: unknown) => {
      process.stderr.write(`${String(error)}\n`)
      process.exit(EXIT.failed)
    })
  }
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, stop)
  // Another program or configuration: this process ends, its supervisor starts the next one, and PostgreSQL hears nothing of it.
  process.on('SIGUSR2', () => agent.leave())
  // The terminal went away: the agent belongs to its supervisor, not to a terminal.
  process.on('SIGHUP', () => {})
}

function apiSource(config: ResolvedConfig, agent: Agent, self: string, peers: PeerClient): ApiSource {
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
