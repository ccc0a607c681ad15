/**
 * The process of one node's agent: its lock, its API, its upkeep, and what signals do to it. A new bundle makes the agent start anew inside
 * the same process, with no supervisor's help: PostgreSQL, the lease and the report go over from one to the next.
 */
import { mkdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { Agent } from '../agent/agent.ts'
import type { BundleAnswer, BundleBody, ReleaseAnswer, ReleaseBody } from '../api/contract.ts'
import type { ApiTls, Listening } from '../api/listen.ts'
import { PeerClient } from '../api/peer-client.ts'
import { serveApi } from '../api/server.ts'
import { loadConfig, nodeOf, type ResolvedConfig, type ResolvedNode } from '../config/load.ts'
import { UnderstudyError } from '../errors/codes.ts'
import type { NameClaim } from '../ports/cluster-store.ts'
import type { Outcome } from '../ports/postgres.ts'
import { readPem } from '../postgres/certificate-state.ts'
import { PositionWatch } from '../postgres/position-watch.ts'
import { ensureProxyAccess } from '../postgres/proxy-access.ts'
import { agentApi } from './agent-api.ts'
import { composeAgent, systemClock } from './compose.ts'
import { acquireLock, type Lock } from './local/lock.ts'
import { demand } from './local/prepare.ts'
import { checkPlacement, readBundleMark } from './machines/placement.ts'
import { applyStaged, stageBundle } from './machines/receive.ts'
import { finishRelease, refuseReleased, releaseNode } from './machines/release-node.ts'
import { type ServiceManager, serviceManager } from './machines/service-manager.ts'
import { startUpkeep, type Upkeep } from './machines/upkeep.ts'

export class AgentProcess {
  readonly #lock: Lock
  readonly #manager: ServiceManager
  #running: RunningAgent
  /** It was told to end as a process, and not to go on with another agent. */
  #ending = false

  private constructor(lock: Lock, running: RunningAgent) {
    this.#lock = lock
    this.#running = running
    const { log } = running
    this.#manager = serviceManager({ env: process.env, log, loopAgeMs: () => this.#running.agent.loopAgeMs })
  }

  /** Errors: already-running, wrong-bundle, wrong-host, and whatever an agent cannot begin without. */
  static async open(config: ResolvedConfig, node: ResolvedNode): Promise<AgentProcess> {
    await checkPlacement(config, node, await readBundleMark(config.file))
    await refuseReleased(config, node)
    for (const directory of [node.directory, path.join(node.directory, 'log'), node.socketDirectory])
      await mkdir(directory, { recursive: true, mode: 0o700 })
    const lock = await acquireLock(node.directory, 'agent')
    if (lock === null)
      throw new UnderstudyError(
        'already-running',
        `another agent of ${node.name} already runs in ${node.directory}`,
      )
    return new AgentProcess(lock, await startAgent(config, node))
  }

  stopOnSignals(onFailure: (error: unknown) => void): void {
    const stop = (): void => {
      this.#ending = true
      this.#manager.stopping()
      this.#running.agent.stop().catch(onFailure)
    }
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, stop)
    // Another program: this process ends, its supervisor starts the next one, and PostgreSQL hears nothing of it.
    process.on('SIGUSR2', () => {
      this.#ending = true
      this.#running.agent.leave()
    })
    // The terminal went away: the agent belongs to its supervisor, not to a terminal.
    process.on('SIGHUP', () => {})
  }

  /** Until it was told to end. Errors: name-taken, node-removed. */
  async run(): Promise<void> {
    this.#manager.ready()
    for (;;) {
      const { agent, config, node, close } = this.#running
      await agent.run()
      await close()
      if (agent.rival !== null) {
        await this.#end()
        throw givenWay(node.name, agent.rival)
      }
      if (this.#running.released) {
        await finishRelease(config, node)
        break
      }
      // A signal that comes while the next one starts finds it.
      if (this.#ending) break
      this.#running = await startAnew(config, node)
      if (this.#ending) this.#running.agent.leave()
    }
    await this.#end()
  }

  async #end(): Promise<void> {
    this.#manager.close()
    await this.#lock.release()
  }
}

interface RunningAgent {
  readonly config: ResolvedConfig
  readonly node: ResolvedNode
  readonly agent: Agent
  readonly log: Awaited<ReturnType<typeof composeAgent>>['dependencies']['log']
  /** Its PostgreSQL was given up: no other agent follows. */
  readonly released: boolean
  /** API and upkeep; the agent has ended. */
  close(): Promise<void>
}

async function startAnew(config: ResolvedConfig, node: ResolvedNode): Promise<RunningAgent> {
  await applyStaged(config.file)
  const next = await loadConfig(config.file)
  return startAgent(next, nodeOf(next, node.name))
}

async function startAgent(config: ResolvedConfig, node: ResolvedNode): Promise<RunningAgent> {
  const { options, dependencies, addresses, access, binDirectory } = await composeAgent(config, node.name)
  const { log } = dependencies
  const agent = await Agent.open(options, dependencies)
  const { events } = agent
  const peers = new PeerClient()
  const readTls = (): Promise<ApiTls | null> => readTlsOf(config, node)
  const running: { api?: Listening; upkeep?: Upkeep; released: boolean } = { released: false }
  const bundle = (body: BundleBody): Promise<Outcome<BundleAnswer>> =>
    takeBundle({ config, node, agent, body, lookAgain: () => running.upkeep?.look() })
  const release = async ({ by, dryRun = false }: ReleaseBody): Promise<Outcome<ReleaseAnswer>> => {
    const { postgres } = dependencies
    const released = await releaseNode({ config, node, postgres, binDirectory, by, dryRun })
    if (released.kind === 'ok' && !dryRun) {
      running.released = true
      events.add({ kind: 'released', message: `${by ?? 'somebody'} released this node: PostgreSQL goes on` })
      setTimeout(() => agent.leave(), ANSWER_MS)
    }
    return released
  }
  const positions = positionsOf(config, node)
  const api = await serveApi(
    agentApi({ config, agent, self: node.name, peers, bundle, release, positions }),
    {
      node: node.name,
      listen: node.listen,
      port: node.apiPort,
      token: (await readFile(config.secrets.apiToken, 'utf8')).trim(),
      tls: await readTls(),
    },
  )
  const upkeep = startUpkeep({
    ...{ nodes: config.nodes, addresses, access, api, readTls, events, log },
    primaryEpoch: () => primaryEpochOf(agent, node.name),
    ensureProxyAccess: () =>
      ensureProxyAccess({
        ...{ socketDirectory: node.socketDirectory, port: node.port, superuser: config.postgres.superuser },
        superuserPassword: config.secrets.superuserPassword,
        proxyPassword: config.secrets.proxyPassword,
      }),
  })
  running.upkeep = upkeep
  return {
    ...{ config, node, agent, log },
    get released() {
      return running.released
    },
    close: async () => {
      upkeep.stop()
      peers.close()
      positions.close()
      await api.stop()
    },
  }
}

function positionsOf({ secrets }: ResolvedConfig, node: ResolvedNode): PositionWatch {
  return new PositionWatch({
    node: node.name,
    session: {
      socketDirectory: node.socketDirectory,
      port: node.port,
      passwordFile: secrets.agentPassword,
      applicationName: 'understudy positions',
    },
    nowMs: systemClock.nowMs,
  })
}

/** As of its last look. */
function primaryEpochOf({ view }: Agent, self: string): number | null {
  const primacy = view?.store.kind === 'read' ? view.store.facts.primacy?.value : undefined
  const isPrimary = primacy?.phase === 'steady' && primacy.primary === self
  return isPrimary && view?.local.server?.inRecovery === false ? primacy.epoch : null
}

interface TakeBundle {
  readonly config: ResolvedConfig
  readonly node: ResolvedNode
  readonly agent: Agent
  readonly body: BundleBody
  readonly lookAgain: () => void
}

/** The answer goes out before the agent starts anew. */
async function takeBundle({
  config,
  node,
  agent,
  body,
  lookAgain,
}: TakeBundle): Promise<Outcome<BundleAnswer>> {
  const staged = await stageBundle({ config, node, files: body.files, dryRun: body.dryRun === true })
  if (staged.kind !== 'ok' || body.dryRun === true || staged.value.changed.length === 0) return staged
  const { changed, restarts } = staged.value
  agent.events.add({
    kind: 'bundle-taken',
    message: `${body.by ?? 'somebody'} brought ${changed.join(', ')}`,
  })
  if (restarts) setTimeout(() => agent.leave(), ANSWER_MS)
  else {
    await applyStaged(config.file)
    lookAgain()
  }
  return staged
}

const ANSWER_MS = 50

function givenWay(node: string, { machine, removed }: NameClaim): UnderstudyError {
  if (removed !== undefined)
    return new UnderstudyError(
      'node-removed',
      `${node} was removed from the cluster by ${removed.by}, ${removed.at}`,
    )
  return new UnderstudyError(
    'name-taken',
    `another agent lives under the name ${node}, on ${machine.split(' ')[0]}: this one has stopped its PostgreSQL`,
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
