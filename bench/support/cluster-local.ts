/** A local cluster for benchmarks: the built program as a process, in a directory and on ports of its own, ended and removed at the end. */
import { type ChildProcess, spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ClusterStatus } from '../../src/api/contract.ts'
import { askCluster } from '../../src/cli/api-client.ts'

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url))
const NODES = ['alpha', 'bravo', 'charlie']

export interface Finished {
  /** Wall clock, as the events of the agents have it. */
  readonly startedAtMs: number
  readonly seconds: number
  readonly output: string
}

export interface BenchNode {
  readonly name: string
  readonly host: string
  readonly port: number
  readonly apiPort: number
}

export interface RecordedEvent {
  readonly atMs: number
  readonly node: string
  readonly kind: string
  readonly message: string
}

export class BenchCluster {
  readonly directory: string
  readonly data: string
  readonly portBase: number
  readonly #flags: readonly string[]

  private constructor(directory: string, portBase: number, flags: readonly string[]) {
    this.directory = directory
    this.data = path.join(directory, 'c')
    this.portBase = portBase
    this.#flags = flags
  }

  /** `more`: further flags of the first `up`. */
  static async make(version: string, more: readonly string[] = []): Promise<BenchCluster> {
    const directory = mkdtempSync(path.join(tmpdir(), 'understudy-bench-'))
    // As root the product runs as another user, who must get here.
    chmodSync(directory, 0o755)
    const portBase = await freePortBase()
    const flags = ['--pg', version, '--port-base', String(portBase), ...more]
    const cluster = new BenchCluster(directory, portBase, flags)
    // Its processes are not ours: a Ctrl-C would leave them running.
    process.once('SIGINT', () => void cluster.remove().finally(() => process.exit(130)))
    return cluster
  }

  /** `up --detach` until it ends: every node streams under the quorum then, and the proof was made. */
  up(options: { readonly first: boolean }): Promise<Finished> {
    return this.#run(['up', '--detach', ...(options.first ? this.#flags : [])])
  }

  down(): Promise<Finished> {
    return this.#run(['down'])
  }

  /** Any other command, to its end. */
  command(args: readonly string[]): Promise<Finished> {
    return this.#run(args)
  }

  get nodes(): readonly BenchNode[] {
    return NODES.map((name, index) => ({
      name,
      host: '127.0.0.1',
      port: this.portBase + 1 + index,
      apiPort: this.portBase + 51 + index,
    }))
  }

  /** Of the proxy that `up` starts. */
  get proxyPort(): number {
    return this.portBase + 33
  }

  /** What the agents say; null: none answers. */
  status(): Promise<ClusterStatus | null> {
    return askCluster(this.nodes)
  }

  /** The password of a role, by the name of its file. */
  secret(name: string): string {
    return readFileSync(path.join(this.data, 'secrets', name), 'utf8').trim()
  }

  get caPem(): string {
    return readFileSync(path.join(this.data, 'tls', 'ca.crt'), 'utf8')
  }

  /** Of all nodes, oldest first. */
  events(): readonly RecordedEvent[] {
    return NODES.flatMap((node) =>
      readFileSync(path.join(this.data, 'nodes', node, 'log', 'events.jsonl'), 'utf8')
        .trimEnd()
        .split('\n'),
    )
      .map((line) => JSON.parse(line) as { at: string; node: string; kind: string; message: string })
      .map(({ at, node, kind, message }) => ({ atMs: Date.parse(at), node, kind, message }))
      .sort((a, b) => a.atMs - b.atMs)
  }

  /** The ends of PostgreSQL's own logs, for a run that went wrong. */
  postgresLogs(lines: number): readonly { readonly node: string; readonly tail: string }[] {
    return NODES.map((node) => {
      const directory = path.join(this.data, 'nodes', node, 'log')
      const files = readdirSync(directory)
        .filter((name) => name.endsWith('.log'))
        .sort()
      const text = files.map((name) => readFileSync(path.join(directory, name), 'utf8')).join('')
      return { node, tail: text.trimEnd().split('\n').slice(-lines).join('\n') }
    })
  }

  /** When the supervisor had started the parts, each time. */
  partsStartedAtMs(): readonly number[] {
    const log = readFileSync(path.join(this.data, 'logs', 'supervisor.log'), 'utf8')
    return [...log.matchAll(/^(\S+) the parts are started$/gm)].map((match) => Date.parse(match[1] ?? ''))
  }

  /** Stops what runs. A cluster that does not stop keeps its directory, which says what happened. */
  async remove(): Promise<void> {
    if (existsSync(path.join(this.data, 'local.json'))) await this.down()
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 3 })
  }

  #run(args: readonly string[]): Promise<Finished> {
    const [command = '', ...rest] = args
    const startedAtMs = Date.now()
    const beganAt = performance.now()
    const child: ChildProcess = spawn(process.execPath, [MAIN, command, '--data', this.data, ...rest], {
      cwd: this.directory,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let output = ''
    for (const stream of [child.stdout, child.stderr])
      stream?.setEncoding('utf8').on('data', (text: string) => {
        output += text
      })
    return new Promise((resolve, reject) => {
      child.once('error', reject)
      child.once('close', (code) => {
        const seconds = (performance.now() - beganAt) / 1_000
        if (code === 0) resolve({ startedAtMs, seconds, output })
        else reject(new Error(`understudy ${args.join(' ')} ended with ${code}:\n${output}`))
      })
    })
  }
}

/** Below the ports that the kernel gives to outgoing connections. */
async function freePortBase(): Promise<number> {
  for (;;) {
    const base = 10_000 + 100 * Math.floor(Math.random() * 220)
    const free = await Promise.all([1, 2, 3, 51, 52, 53, 91].map((offset) => isFree(base + offset)))
    if (!free.includes(false)) return base
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen({ host: '127.0.0.1', port, exclusive: true }, () => server.close(() => resolve(true)))
  })
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? Number.NaN)) / 2
}

/** "3.21 [3.05-3.60]" */
export function spread(values: readonly number[], digits = 2): string {
  const [low, high] = [Math.min(...values), Math.max(...values)]
  return `${median(values).toFixed(digits)} [${low.toFixed(digits)}-${high.toFixed(digits)}]`
}
