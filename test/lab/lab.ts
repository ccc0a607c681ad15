/**
 * A laboratory: one cluster of agents, PostgreSQL and a store, each at a place of its own in a network that can be cut, whose parts can be
 * killed, frozen, run out of disk or of time. From outside it is run as in production: a configuration file and `understudy agent` for
 * each node, and nothing of the product is replaced. For scenario tests, the torture program and benchmarks.
 */
import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import type { ClusterEvent, ClusterStatus, Why } from '../../src/api/contract.ts'
import { askCluster, askWhy } from '../../src/cli/api-client.ts'
import { composeStore } from '../../src/cli/compose.ts'
import { anyAgent, command } from '../../src/cli/control-client.ts'
import { demand } from '../../src/cli/local/prepare.ts'
import { reachableProgram } from '../../src/cli/local/privileges.ts'
import { loadConfig, nodeOf, type ResolvedConfig } from '../../src/config/load.ts'
import type { StoreFacts } from '../../src/core/cluster-view.ts'
import { findBinaries } from '../../src/postgres/binaries.ts'
import { chooseRunAs } from '../../src/postgres/run-as.ts'
import { createClusterStore } from '../../src/store/cluster-store.ts'
import { describeProcesses, endAll, processesOf } from '../support/cluster-processes.ts'
import { type Claim, claimLab } from './claim.ts'
import { findFaketime } from './clock.ts'
import { mountBlocks, mountMemory } from './disk.ts'
import { giveTo, type LabFiles, type LabSettings, labFiles, writeFiles } from './files.ts'
import { openLoopback } from './loopback.ts'
import { namespacesMissing, openNamespaces } from './namespaces.ts'
import { CLIENTS, type Cut, type Network, type NetworkOptions } from './network.ts'
import { type AgentEnd, LabNode } from './node.ts'
import { MAIN, ROOT } from './program.ts'
import { LabProxy } from './proxy.ts'
import { LabStore, membersOf, type StoreKind } from './store.ts'

const NAMES = ['alpha', 'bravo', 'charlie', 'delta', 'echo']
const PORT = 15_432
const API_PORT = 18_008
const ETCD_PORT = 12_379
const ETCD_PEER_PORT = 12_380
/** The embedded store listens on 127.0.0.1 only, so each lab's has a port of its own. */
const EMBEDDED_PORT = 25_000
/** The proxy is where the clients are, in the network of this machine. */
const PROXY_PORT = 25_500
const DISK_MB = 640
const LOG_TAIL_LINES = 15

/** Small files, so that a small disk is soon full, and a clone soon done. */
const SMALL: LabSettings['parameters'] = {
  max_wal_size: '96MB',
  min_wal_size: '32MB',
  wal_keep_size: '64MB',
  max_slot_wal_keep_size: '160MB',
  shared_buffers: '32MB',
}

export interface LabOptions {
  /** --pg of `understudy up`: a major version or a directory. */
  readonly pg?: string
  readonly nodes?: 1 | 2 | 3 | 5
  readonly durability?: 'quorum' | 'async'
  readonly store?: StoreKind
  readonly rtoMs?: number
  readonly whenStandbyLost?: 'relax' | 'block'
  readonly candidatePriority?: Readonly<Record<string, number>>
  /** Namespaces where they can be made, unless said otherwise. */
  readonly network?: Network['kind']
  /** Everything between the nodes through proxies, in any kind of network, so that `network.delay` can be called. */
  readonly canDelay?: boolean
  /** Each node's disk is one of blocks, which `freezeDisk` can make hang. Only where mayFreeze(). */
  readonly canFreezeDisk?: boolean
  /** Agents run with libfaketime where it is installed, so that `stepClock` can be called. */
  readonly canStepClock?: boolean
  readonly parameters?: LabSettings['parameters']
  /** A proxy where the clients are. */
  readonly proxy?: boolean
}

export interface WaitOptions {
  readonly deadlineMs?: number
  /** What to say of the last look when it was in vain. */
  readonly seen?: () => string | Promise<string>
}

const DEADLINE_MS = 60_000

export class Lab {
  readonly options: LabOptions
  readonly files: LabFiles
  readonly network: Network
  readonly store: LabStore
  readonly nodes: readonly LabNode[]
  readonly proxy: LabProxy | null
  /** As a client sees the cluster; clients.yaml. */
  readonly config: ResolvedConfig
  /** Agents that ended although nobody ended them: each is a fault of the product, or of the machine. */
  readonly unexpectedEnds: AgentEnd[] = []
  readonly #claim: Claim
  #closed: Promise<void> | null = null

  private constructor(parts: {
    readonly options: LabOptions
    readonly claim: Claim
    readonly files: LabFiles
    readonly network: Network
    readonly store: LabStore
    readonly config: ResolvedConfig
    readonly proxy: LabProxy | null
    makeNode(name: string, onUnexpectedEnd: (end: AgentEnd) => void): LabNode
  }) {
    this.options = parts.options
    this.files = parts.files
    this.network = parts.network
    this.store = parts.store
    this.config = parts.config
    this.proxy = parts.proxy
    this.#claim = parts.claim
    this.nodes = parts.config.nodes.map(({ name }) =>
      parts.makeNode(name, (end) => this.unexpectedEnds.push(end)),
    )
  }

  /** Everything runs; the cluster is not necessarily healthy yet. What fails leaves nothing behind. */
  static async start(options: LabOptions = {}): Promise<Lab> {
    const claim = await claimLab()
    let lab: Lab | null = null
    try {
      lab = await Lab.#make(options, claim)
      lab.store.start()
      const [member] = lab.store.members
      if (member !== undefined) await lab.store.waitUntilReady(lab.config.store.endpoints[0] ?? '')
      for (const node of lab.nodes) node.startAgent()
      lab.proxy?.start()
      return lab
    } catch (error) {
      await lab?.network.close()
      await claim.release()
      throw error
    }
  }

  static async #make(options: LabOptions, claim: Claim): Promise<Lab> {
    const user = demand(await chooseRunAs({ checkout: ROOT }))
    const names = NAMES.slice(0, options.nodes ?? 3)
    const kind = options.store ?? 'etcd'
    const members = membersOf(kind)
    const storePort = kind === 'embedded' ? EMBEDDED_PORT + claim.number : ETCD_PORT
    const proxyPort = options.proxy === true ? PROXY_PORT + claim.number : null
    chmodSync(claim.directory, 0o755)
    const owner = user ?? { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 }
    const mount = (directory: string, sizeMb: number): Promise<boolean> =>
      user === null
        ? Promise.resolve(false)
        : mountMemory({ name: claim.name, directory, sizeMb, user: owner })
    await mount(claim.directory, 4 * 1_024)
    const files = labFiles(claim.directory)
    const filled = new Map<string, boolean>()
    for (const name of names) {
      mkdirSync(files.nodeDirectory(name), { recursive: true, mode: 0o700 })
      const directory = files.nodeDirectory(name)
      if (options.canFreezeDisk === true) {
        await mountBlocks({ directory, sizeMb: DISK_MB, user: owner })
        filled.set(name, true)
      } else filled.set(name, await mount(directory, DISK_MB))
    }
    const network = await openNetwork(options, {
      number: claim.number,
      name: claim.name,
      places: [...names, ...members],
      services: [
        ...names.flatMap((at) => [PORT, API_PORT].map((port) => ({ at, port }))),
        ...members.map((at) => ({ at, port: storePort })),
      ],
      local: kind === 'embedded' ? members : [],
      canDelay: options.canDelay ?? false,
      runAs: user,
    })
    try {
      const request = options.pg ?? '15'
      const cacheDir = path.join(claim.directory, 'binaries')
      const binaries = demand(await findBinaries({ request, cacheDir, runAs: user }))
      await writeFiles(
        files,
        {
          nodes: names,
          durability: options.durability ?? 'quorum',
          rtoMs: options.rtoMs ?? 3_000,
          whenStandbyLost: options.whenStandbyLost ?? 'relax',
          binaries: binaries.kind === 'embedded' ? String(binaries.major) : binaries.binDir,
          candidatePriority: options.candidatePriority ?? {},
          parameters: { ...SMALL, ...options.parameters },
          port: PORT,
          apiPort: API_PORT,
          store: { members, port: storePort, token: kind === 'embedded' },
          proxyPort,
        },
        network,
      )
      if (user !== null) giveTo(user, claim.directory)
      const reachable = user === null ? null : await reachableProgram(user, ROOT)
      const { node, program } = reachable ?? { node: process.execPath, program: MAIN }
      const faketime = options.canStepClock === true ? findFaketime() : null
      const store = { kind, files, network, port: storePort, peerPort: ETCD_PEER_PORT, node, program }
      return new Lab({
        options,
        claim,
        files,
        network,
        store: new LabStore(store),
        config: await loadConfig(files.configFile(CLIENTS)),
        proxy: proxyPort === null ? null : new LabProxy({ files, network, port: proxyPort, node, program }),
        makeNode: (name, onUnexpectedEnd) => {
          const canFill = filled.get(name) ?? false
          return new LabNode({ name, files, network, node, program, faketime, canFill, onUnexpectedEnd })
        },
      })
    } catch (error) {
      await network.close()
      throw error
    }
  }

  get directory(): string {
    return this.files.directory
  }

  get durability(): 'quorum' | 'async' {
    return this.options.durability ?? 'quorum'
  }

  get rtoMs(): number {
    return this.config.rtoMs
  }

  node(name: string): LabNode {
    const found = this.nodes.find((each) => each.name === name)
    if (found === undefined) throw new Error(`the lab has no node ${name}`)
    return found
  }

  // --- what the cluster says of itself

  /** null: no agent answers. */
  status(): Promise<ClusterStatus | null> {
    return askCluster(this.config.nodes)
  }

  /** By the documents in the store; null while it does not answer. */
  async facts(): Promise<Omit<StoreFacts, 'nodes'> | null> {
    const store = createClusterStore(await composeStore(this.config), this.config.cluster)
    try {
      const facts = await store.readFacts()
      return facts.kind === 'ok' ? facts.value : null
    } finally {
      store.close()
    }
  }

  /** The node that primacy names, by the store, else by the agents. */
  async primary(): Promise<string | null> {
    const facts = await this.facts()
    return facts?.primacy?.value.primary ?? (await this.status())?.primary ?? null
  }

  async why(): Promise<readonly Why[]> {
    const answers = await Promise.all(this.config.nodes.map((node) => askWhy(node)))
    return answers.flatMap((answer, index) =>
      answer.kind === 'ok'
        ? [answer.value]
        : [{ node: this.nodes[index]?.name ?? '?', rule: 'silent', reason: answer.reason, since: '' }],
    )
  }

  /** From the files, so that it also works when nothing runs; oldest first by the agents' own clocks. */
  events(): readonly ClusterEvent[] {
    return this.nodes
      .flatMap((node) => readLines(path.join(node.directory, 'log', 'events.jsonl')))
      .flatMap((line) => {
        try {
          return [JSON.parse(line) as ClusterEvent]
        } catch {
          return []
        }
      })
      .sort((a, b) => a.at.localeCompare(b.at))
  }

  // --- operators

  /** Errors: what the agent refused with; unreachable. */
  async switchover(to?: string): Promise<void> {
    const primary = await this.primary()
    if (primary === null) throw new Error('no agent knows of a primary')
    await command(this.config, nodeOf(this.config, primary), {
      path: '/v1/switchover',
      body: to === undefined ? {} : { to },
    })
  }

  async reinit(node: string): Promise<void> {
    await command(this.config, nodeOf(this.config, node), { path: '/v1/reinit', body: {} })
  }

  /** By the first agent that answers; null: failover is automatic again. */
  async pause(reason: string | null): Promise<void> {
    await anyAgent(this.config, { path: '/v1/pause', body: { reason } })
  }

  // --- SQL

  /** Over TCP and TLS with the certificate checked, as a client does. The caller ends it. */
  async connect(
    node: string,
    options: pg.ClientConfig & { readonly superuser?: boolean } = {},
  ): Promise<pg.Client> {
    const { superuser = true, ...more } = options
    const client = new pg.Client({ ...this.connectionOf(node, superuser), ...more })
    client.on('error', () => {})
    try {
      await client.connect()
      return client
    } catch (error) {
      await client.end().catch(() => {})
      throw error
    }
  }

  connectionOf(node: string, superuser: boolean): pg.ClientConfig {
    const { host, port } = nodeOf(this.config, node)
    const { application, tls } = this.config
    return {
      ...{ host, port },
      user: superuser ? 'postgres' : application.user,
      password: this.secret(superuser ? 'superuser' : 'application'),
      database: superuser ? 'postgres' : application.database,
      ssl: { ca: readFileSync(tls.caFile, 'utf8') },
      connectionTimeoutMillis: 5_000,
      query_timeout: 30_000,
    }
  }

  /** Through the proxy, which a lab with one has. */
  proxyConnection(): pg.ClientConfig {
    if (this.proxy === null) throw new Error('this lab has no proxy')
    return {
      ...this.connectionOf(this.config.nodes[0]?.name ?? '', false),
      host: '127.0.0.1',
      port: this.proxy.port,
    }
  }

  /** Into the application's database. */
  superuserOf(node: string): pg.ClientConfig {
    return { ...this.connectionOf(node, true), database: this.config.application.database }
  }

  /** One statement as superuser; rows as objects. */
  async sql<T extends pg.QueryResultRow = Record<string, unknown>>(
    node: string,
    text: string,
    options: { readonly values?: readonly unknown[]; readonly database?: string } = {},
  ): Promise<readonly T[]> {
    const { values = [], database = 'postgres' } = options
    const client = await this.connect(node, { database })
    try {
      return (await client.query<T>(text, [...values])).rows
    } finally {
      await client.end().catch(() => {})
    }
  }

  secret(name: string): string {
    return readFileSync(this.files.secretFile(name), 'utf8').trim()
  }

  // --- waiting

  /** Looks until it is true, and returns what it is. A look that throws counts as "not yet". */
  async waitFor<T>(
    what: string,
    look: () => T | Promise<T>,
    { deadlineMs = DEADLINE_MS, seen }: WaitOptions = {},
  ): Promise<NonNullable<Exclude<T, false>>> {
    const deadline = performance.now() + deadlineMs
    let failure = ''
    for (;;) {
      try {
        const value = await look()
        if (value !== null && value !== undefined && value !== false)
          return value as NonNullable<Exclude<T, false>>
        failure = ''
      } catch (error) {
        failure = `\nlast failure: ${String(error)}`
      }
      if (performance.now() > deadline) {
        const last = seen === undefined ? '' : `\nlast seen: ${await seen()}`
        throw new Error(await this.explain(`waited ${deadlineMs} ms in vain for ${what}${failure}${last}`))
      }
      await sleep(50)
    }
  }

  /** All nodes stream under the whole quorum, and the agents call it healthy. */
  async healthy(deadlineMs = DEADLINE_MS): Promise<ClusterStatus> {
    let last: ClusterStatus | null = null
    return this.waitFor(
      'a healthy cluster',
      async () => {
        last = await this.status()
        return last !== null && isWhole(last) ? last : null
      },
      { seen: () => JSON.stringify(last, null, 1), deadlineMs },
    )
  }

  // --- the network

  readonly #cuts = new Set<readonly Cut[]>()

  /** Beside the cuts that there are; returns what mends exactly these, which can be called twice. */
  async part(cuts: readonly Cut[]): Promise<() => Promise<void>> {
    this.#cuts.add(cuts)
    await this.network.cut([...this.#cuts].flat())
    return async () => {
      if (this.#cuts.delete(cuts)) await this.network.cut([...this.#cuts].flat())
    }
  }

  // --- mending, explaining and ending

  /** Everything that a fault can have done is undone, except to data. */
  async mend(): Promise<void> {
    this.#cuts.clear()
    await this.network.cut([])
    if (this.network.canDelay) this.network.delay([])
    for (const member of this.store.members) this.store.thaw(member)
    this.store.start()
    for (const node of this.nodes) {
      if (this.options.canFreezeDisk === true) await node.thawDisk()
      node.thaw()
      if (node.canFill) node.freeDisk()
      if (node.canStepClock) node.stepClock(0)
      node.startAgent()
    }
  }

  /** What an operator does now and then: directories that were moved aside are kept for him, and would fill a small disk. */
  removeAside(): void {
    for (const node of this.nodes)
      rmSync(path.join(node.directory, 'aside'), { recursive: true, force: true, maxRetries: 3 })
  }

  /** The message, with what each agent says, the processes and the ends of all logs below it. */
  async explain(message: string): Promise<string> {
    const why = (await this.why()).map(({ node, rule, reason }) => `  ${node}: ${rule}: ${reason}`)
    const processes = processesOf([this.directory]).filter(({ kind }) => kind !== 'backend')
    const tails = this.#logFiles().map(
      (file) =>
        `--- ${path.relative(this.directory, file)}\n${readLines(file).slice(-LOG_TAIL_LINES).join('\n')}`,
    )
    return [message, '--- why', ...why, '--- processes', describeProcesses(processes), ...tails].join('\n')
  }

  #logFiles(): readonly string[] {
    const directories = [
      path.join(this.directory, 'logs'),
      ...this.nodes.map((node) => path.join(node.directory, 'log')),
    ]
    return directories.flatMap((directory) =>
      existsSync(directory) ? readdirSync(directory).map((name) => path.join(directory, name)) : [],
    )
  }

  /** Logs, events, promises and configurations; no data and no secrets. */
  keepLogs(directory: string): void {
    mkdirSync(directory, { recursive: true })
    const keep = (from: string, to: string): void => {
      if (existsSync(from)) cpSync(from, path.join(directory, to), { recursive: true })
    }
    keep(path.join(this.directory, 'logs'), 'logs')
    for (const { name, directory: from } of this.nodes) {
      keep(path.join(from, 'log'), path.join(name, 'log'))
      keep(path.join(from, 'state'), path.join(name, 'state'))
      keep(path.join(from, 'conf'), path.join(name, 'conf'))
    }
  }

  /** Ends everything and removes it. Can be called twice. */
  close(): Promise<void> {
    this.#closed ??= this.#end()
    return this.#closed
  }

  async #end(): Promise<void> {
    for (const node of this.nodes) await node.kill('node').catch(() => {})
    await endAll([this.directory])
    await this.network.close()
    await this.#claim.release()
  }
}

/** Both ends must say so: a standby knows that it streams a moment before its primary has looked. */
export function isWhole(status: ClusterStatus): boolean {
  if (!status.healthy) return false
  const standbys = status.nodes.filter(({ name }) => name !== status.primary)
  const wanted = status.durability === 'async' || standbys.length < 2 ? 0 : standbys.length
  return (
    standbys.every(({ state, syncState }) => state === 'streaming' && syncState !== null) &&
    (status.quorum?.standbys.length ?? 0) >= wanted
  )
}

async function openNetwork(options: LabOptions, network: NetworkOptions): Promise<Network> {
  if (options.network === 'proxies') return openLoopback(network)
  const missing = await namespacesMissing()
  if (missing === null) return openNamespaces(network)
  if (options.network === 'namespaces') throw new Error(missing)
  return openLoopback(network)
}

function readLines(file: string): readonly string[] {
  try {
    return readFileSync(file, 'utf8').trimEnd().split('\n')
  } catch {
    return []
  }
}
