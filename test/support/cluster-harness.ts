/**
 * Whole clusters for tests, run as a person runs them: the built program as a process, `up --detach`, and then looked at from outside.
 * As root the product itself becomes an unprivileged user; an ordinary user runs everything directly. Every cluster has a directory
 * of its own, by which its processes are known and ended, and a range of ports of its own.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { afterAll, afterEach } from 'vitest'
import type { ClusterEvent, ClusterStatus, NodeStatus, Problem } from '../../src/api/contract.ts'
import { askCluster } from '../../src/cli/api-client.ts'
import { ensureBuilt } from './built.ts'
import { type CliResult, cliEnvironment, collect, MAIN } from './cli.ts'
import { reservePorts } from './cluster-ports.ts'
import {
  ageMs,
  type ClusterProcess,
  describeProcesses,
  endAll,
  type ProcessKind,
  processesOf,
  signal,
} from './cluster-processes.ts'
import { Writer } from './cluster-writer.ts'

export const ROOT = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '')
/** Enough on a machine that does other things as well; a test that is well needs a tenth of it. */
const DEADLINE_MS = 60_000
const COMMAND_DEADLINE_MS = 90_000
const LOG_TAIL_LINES = 12
/** A little more than the supervisor asks for (STEADY_MS). */
const GROWN_UP_MS = 2_300

export const EMBEDDED = '18'
export const DEBIAN = '15'
/** scripts/requirements.mjs says at the end of a run what to install. */
export const hasDebian = existsSync(`/usr/lib/postgresql/${DEBIAN}/bin/postgres`)

export interface ClusterOptions {
  /** --pg; the embedded one unless said otherwise. */
  readonly pg?: string
  readonly nodes?: number
  readonly durability?: 'quorum' | 'async'
  /** Flags of the first `up` beside these. */
  readonly flags?: readonly string[]
}

export interface CommandOptions {
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
}

const NAMES = ['alpha', 'bravo', 'charlie', 'delta', 'echo', 'foxtrot', 'golf']

/** A cluster that is not started yet: a directory and ports. */
export async function makeCluster(options: ClusterOptions = {}): Promise<TestCluster> {
  ensureBuilt()
  const cluster = new TestCluster(options, await reservePorts())
  clusters.push(cluster)
  return cluster
}

/** A cluster that is healthy under its durability; fails with what the command said. */
export async function startCluster(options: ClusterOptions = {}): Promise<TestCluster> {
  const cluster = await makeCluster(options)
  const result = await cluster.up()
  if (result.code !== 0) throw new Error(cluster.explain(`up ended with ${result.code}:\n${said(result)}`))
  return cluster
}

export class TestCluster {
  readonly options: ClusterOptions
  readonly portBase: number
  /** The test's own directory; every process of the cluster names it. */
  readonly workspace: string
  /** --data; where the data really is, when the product had to put it elsewhere. */
  data: string
  /** Directories that the cluster's processes are known by: the workspace, and where else its data is. */
  readonly places: string[]
  readonly nodes: readonly string[]
  #failed = false

  constructor(options: ClusterOptions, portBase: number) {
    this.options = options
    this.portBase = portBase
    // Short, because sockets lie below it. Resolved, because that is how /proc names it.
    this.workspace = mkdtempSync(path.join(realpathSync(tmpdir()), 'c-'))
    chmodSync(this.workspace, 0o755)
    this.places = [this.workspace]
    this.data = path.join(this.workspace, 'c')
    this.nodes = NAMES.slice(0, options.nodes ?? 3)
  }

  // --- commands

  /** The flags that the cluster is made with. */
  get firstFlags(): readonly string[] {
    const { pg: version = EMBEDDED, nodes, durability, flags = [] } = this.options
    return [
      ...['--port-base', String(this.portBase), '--pg', version],
      ...(nodes === undefined ? [] : ['--nodes', String(nodes)]),
      ...(durability === undefined ? [] : ['--durability', durability]),
      ...flags,
    ]
  }

  /** `understudy COMMAND … --data …` as a process, with everything that it prints. */
  spawn(args: readonly string[], options: CommandOptions = {}): ChildProcess {
    const [command = '', ...rest] = args
    return spawn(process.execPath, [MAIN, command, '--data', this.data, ...rest], {
      cwd: options.cwd ?? this.workspace,
      env: cliEnvironment(options.env),
      stdio: ['ignore', 'pipe', 'pipe'],
    })
  }

  async run(args: readonly string[], options: CommandOptions = {}): Promise<CliResult> {
    return this.ended(this.spawn(args, options))
  }

  /** Call it when the process is started: what it printed before would be lost. */
  async ended(child: ChildProcess): Promise<CliResult> {
    const timer = setTimeout(() => child.kill('SIGKILL'), COMMAND_DEADLINE_MS)
    try {
      return await collect(child)
    } finally {
      clearTimeout(timer)
    }
  }

  /** `up --detach`; the first time with the flags of the cluster. */
  up(args: readonly string[] = []): Promise<CliResult> {
    return this.run(this.upArguments(args))
  }

  upArguments(args: readonly string[] = []): readonly string[] {
    const known = existsSync(path.join(this.data, 'local.json'))
    return ['up', '--detach', ...(known ? [] : this.firstFlags), ...args]
  }

  down(): Promise<CliResult> {
    return this.run(['down'])
  }

  /** What the agents say now, by the way of the command line but without starting a process; null: none answers. */
  async status(): Promise<ClusterStatus | null> {
    return askCluster(this.nodes.map((name) => ({ name, host: '127.0.0.1', apiPort: this.apiPort(name) })))
  }

  async statusOf(node: string): Promise<NodeStatus | null> {
    return (await this.status())?.nodes.find((each) => each.name === node) ?? null
  }

  async problem(code: string, node: string | null): Promise<Problem | null> {
    const problems = (await this.status())?.problems ?? []
    return problems.find((each) => each.code === code && each.node === node) ?? null
  }

  /** From the files, so that it also works when nothing runs; oldest first. */
  events(): readonly ClusterEvent[] {
    return this.nodes
      .flatMap((node) => readLines(path.join(this.nodeDirectory(node), 'log', 'events.jsonl')))
      .flatMap((line) => {
        try {
          return [JSON.parse(line) as ClusterEvent]
        } catch {
          return []
        }
      })
      .sort((a, b) => a.at.localeCompare(b.at))
  }

  // --- places

  port(node: string): number {
    return this.portBase + 1 + this.nodes.indexOf(node)
  }

  apiPort(node: string): number {
    return this.portBase + 51 + this.nodes.indexOf(node)
  }

  get storePort(): number {
    return this.portBase + 91
  }

  nodeDirectory(node: string): string {
    return path.join(this.data, 'nodes', node)
  }

  dataDirectory(node: string): string {
    return path.join(this.nodeDirectory(node), 'data')
  }

  secret(name: string): string {
    return readFileSync(path.join(this.data, 'secrets', name), 'utf8').trim()
  }

  get caFile(): string {
    return path.join(this.data, 'tls', 'ca.crt')
  }

  /** Directories of an initdb or a clone that did not end. */
  unfinishedDirectories(): readonly string[] {
    return this.nodes.flatMap((node) =>
      list(this.nodeDirectory(node)).filter((name) => name.startsWith('data.new-')),
    )
  }

  // --- processes

  processes(): readonly ClusterProcess[] {
    return processesOf(this.places)
  }

  pids(kind: ProcessKind, node: string | null = null): readonly number[] {
    return this.processes()
      .filter((each) => each.kind === kind && (node === null || each.node === node))
      .map((each) => each.pid)
  }

  storePid(): number {
    return this.#onePid('store')
  }

  supervisorPid(): number {
    return this.#onePid('supervisor')
  }

  agentPid(node: string): number {
    return this.#onePid('agent', node)
  }

  postmasterPid(node: string): number {
    return this.#onePid('postmaster', node)
  }

  #onePid(kind: ProcessKind, node: string | null = null): number {
    const [pid, ...more] = this.pids(kind, node)
    if (pid !== undefined && more.length === 0) return pid
    const all = describeProcesses(this.processes())
    throw new Error(`there are ${more.length + (pid === undefined ? 0 : 1)} ${kind} of ${node}:\n${all}`)
  }

  /** A postmaster and all of its children; stopping only the postmaster would leave the stream running. */
  postgresPids(node: string): readonly number[] {
    const postmaster = this.postmasterPid(node)
    const children = this.processes().filter((each) => each.parent === postmaster)
    return [postmaster, ...children.map((each) => each.pid)]
  }

  /** Everything at once, as when the machine loses its power but not its disk. */
  async killAll(): Promise<void> {
    await endAll(this.places)
  }

  /** SIGKILL, and waits until it is gone. */
  async kill(pid: number): Promise<void> {
    signal(pid, 'SIGKILL')
    await this.waitFor(`the end of process ${pid}`, () => !this.processes().some((each) => each.pid === pid))
  }

  /** Runs `change` while the node's agent and PostgreSQL are down and nobody starts them; then they are started again. */
  async withNodeDown(node: string, change: () => void | Promise<void>): Promise<void> {
    const supervisor = this.supervisorPid()
    // One that dies young is started again later each time.
    await this.waitFor('an agent of some age', () => ageMs(this.agentPid(node)) > GROWN_UP_MS)
    signal(supervisor, 'SIGSTOP')
    try {
      signal(this.agentPid(node), 'SIGTERM')
      await this.waitFor(`${node} to be down`, () => {
        return this.processes().every((each) => each.node !== node)
      })
      await change()
    } finally {
      signal(supervisor, 'SIGCONT')
    }
  }

  /** Runs `change` while the node's agent does not look. */
  withAgentFrozen(node: string, change: () => void): void {
    const agent = this.agentPid(node)
    signal(agent, 'SIGSTOP')
    try {
      change()
    } finally {
      signal(agent, 'SIGCONT')
    }
  }

  // --- as the user that runs the cluster

  /** Who everything of the cluster belongs to: as root the product has chosen it. */
  get owner(): { readonly uid: number; readonly gid: number } {
    const { uid, gid } = statSync(this.data)
    return { uid, gid }
  }

  /** Standard output; throws with what it said when it fails. Its directory is the workspace, which that user can enter. */
  runAsOwner(program: string, args: readonly string[]): string {
    const result = spawnSync(program, args, {
      cwd: this.workspace,
      encoding: 'utf8',
      env: { PATH: process.env['PATH'] ?? '', HOME: this.workspace, LC_ALL: 'C.UTF-8' },
      ...this.owner,
    })
    if (result.status !== 0)
      throw new Error(`${program} ended with ${result.status}: ${result.stdout}${result.stderr}`)
    return result.stdout
  }

  /** A file or directory that a test made, with everything below it. */
  giveToOwner(file: string): void {
    const { uid, gid } = this.owner
    chownSync(file, uid, gid)
    if (statSync(file).isDirectory()) for (const name of list(file)) this.giveToOwner(path.join(file, name))
  }

  // --- SQL

  /** Over TCP and TLS with the certificate checked, as a client does. The caller ends it. */
  async connect(
    node: string,
    options: pg.ClientConfig & { readonly superuser?: boolean } = {},
  ): Promise<pg.Client> {
    const { superuser = true, database, ...more } = options
    const client = new pg.Client({
      host: '127.0.0.1',
      port: this.port(node),
      user: superuser ? 'postgres' : 'app',
      password: this.secret(superuser ? 'superuser' : 'application'),
      database: database ?? (superuser ? 'postgres' : 'app'),
      ssl: { ca: readFileSync(this.caFile, 'utf8') },
      connectionTimeoutMillis: 5_000,
      query_timeout: 30_000,
      ...more,
    })
    client.on('error', () => {})
    try {
      await client.connect()
      return client
    } catch (error) {
      await client.end().catch(() => {})
      throw error
    }
  }

  /** One statement as superuser; rows as objects. */
  async sql<T extends pg.QueryResultRow = Record<string, unknown>>(
    node: string,
    text: string,
    values: readonly unknown[] = [],
  ): Promise<readonly T[]> {
    const client = await this.connect(node)
    try {
      return (await client.query<T>(text, [...values])).rows
    } finally {
      await client.end().catch(() => {})
    }
  }

  writer(): Writer {
    return new Writer({ nodes: this.nodes, connect: (node, options) => this.connect(node, options) })
  }

  /** Every row that was acknowledged until now is on every node, and nothing that was refused is on any. The writer may go on. */
  async checkAllPresent(writer: Writer): Promise<void> {
    const expected = [...writer.acknowledged]
    for (const node of this.nodes) {
      let rows: ReadonlySet<number> = new Set()
      await this.waitFor(
        `all ${expected.length} acknowledged rows on ${node}`,
        async () => {
          rows = await this.#written(node)
          return expected.every((id) => rows.has(id))
        },
        { seen: () => `missing: ${expected.filter((id) => !rows.has(id)).join(', ')}`, deadlineMs: 20_000 },
      )
      const invented = writer.refused.filter((id) => rows.has(id))
      if (invented.length > 0) throw new Error(`${node} has rows that were refused: ${invented.join(', ')}`)
    }
  }

  async #written(node: string): Promise<ReadonlySet<number>> {
    const client = await this.connect(node, { database: 'app' })
    try {
      const exists = await client.query("SELECT to_regclass('written') IS NOT NULL AS there")
      if (exists.rows[0]?.there !== true) return new Set()
      const { rows } = await client.query<{ id: string }>('SELECT id FROM written')
      return new Set(rows.map(({ id }) => Number(id)))
    } finally {
      await client.end().catch(() => {})
    }
  }

  // --- waiting

  /** Until `probe` gives something; then that. Fails with what was last seen and with what the logs say. */
  async waitFor<T>(
    what: string,
    probe: () => T | Promise<T>,
    options: { readonly deadlineMs?: number; readonly seen?: () => unknown | Promise<unknown> } = {},
  ): Promise<Exclude<T, null | undefined | false>> {
    const { deadlineMs = DEADLINE_MS, seen } = options
    const until = performance.now() + deadlineMs
    let failure = ''
    for (;;) {
      try {
        const value = await probe()
        failure = ''
        if (value !== null && value !== undefined && value !== false)
          return value as Exclude<T, null | undefined | false>
      } catch (error) {
        failure = `\nit failed: ${String(error)}`
      }
      if (performance.now() > until) {
        const last = seen === undefined ? '' : `\nlast seen: ${await Promise.resolve(seen()).catch(String)}`
        throw new Error(this.explain(`waited ${deadlineMs} ms in vain for ${what}${failure}${last}`))
      }
      await sleep(40)
    }
  }

  /** All nodes stream under the whole quorum, and the agents call it healthy. */
  async healthy(): Promise<ClusterStatus> {
    let last: ClusterStatus | null = null
    return this.waitFor(
      'a healthy cluster',
      async () => {
        last = await this.status()
        if (last === null || !last.healthy) return null
        const standbys = this.options.durability === 'async' ? 0 : last.nodes.length - 1
        return (last.quorum?.standbys.length ?? 0) >= (standbys < 2 ? 0 : standbys) ? last : null
      },
      { seen: () => JSON.stringify(last, null, 1) },
    )
  }

  /** What can only be so when nothing is half done: one of each process, no unfinished directory. */
  checkTidy(): void {
    const all = this.processes()
    for (const node of this.nodes)
      for (const kind of ['agent', 'postmaster'] as const) {
        const count = all.filter((each) => each.kind === kind && each.node === node).length
        if (count !== 1) throw new Error(this.explain(`${count} ${kind}s of ${node}`))
      }
    for (const kind of ['store', 'supervisor', 'proxy'] as const) {
      const count = all.filter((each) => each.kind === kind).length
      if (count !== 1) throw new Error(this.explain(`${count} processes are the ${kind}`))
    }
    const unfinished = this.unfinishedDirectories()
    if (unfinished.length > 0) throw new Error(this.explain(`left half done: ${unfinished.join(', ')}`))
  }

  // --- failing and ending

  /** The message, with the processes and the ends of all logs below it. */
  explain(message: string): string {
    const processes = describeProcesses(this.processes().filter((each) => each.kind !== 'backend'))
    return `${message}\n--- processes\n${processes || '  none'}\n${this.logTails()}`
  }

  logTails(lines = LOG_TAIL_LINES): string {
    const files = [
      ...list(path.join(this.data, 'logs')).map((name) => path.join(this.data, 'logs', name)),
      ...this.nodes.flatMap((node) => {
        const directory = path.join(this.nodeDirectory(node), 'log')
        return list(directory).map((name) => path.join(directory, name))
      }),
    ]
    return files
      .map(
        (file) => `--- ${path.relative(this.workspace, file)}\n${readLines(file).slice(-lines).join('\n')}`,
      )
      .join('\n')
  }

  noteFailure(): void {
    this.#failed = true
  }

  /** Ends what still runs, says what a failed test would want to know, removes the directory. Can be called twice. */
  async remove(): Promise<void> {
    if (this.#failed) console.error(this.explain(`a test of the cluster in ${this.data} has failed`))
    await endAll(this.places)
    for (const place of this.places) rmSync(place, { recursive: true, force: true, maxRetries: 3 })
  }
}

const clusters: TestCluster[] = []

afterEach(({ task }) => {
  if (task.result?.state === 'fail') for (const cluster of clusters) cluster.noteFailure()
})

afterAll(async () => {
  for (const cluster of clusters) await cluster.remove()
})

export function said(result: CliResult): string {
  return `${result.stdout}${result.stderr}`.trim()
}

function list(directory: string): readonly string[] {
  try {
    return readdirSync(directory).sort()
  } catch {
    return []
  }
}

function readLines(file: string): readonly string[] {
  try {
    return readFileSync(file, 'utf8').trimEnd().split('\n')
  } catch {
    return []
  }
}
