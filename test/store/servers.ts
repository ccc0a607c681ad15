/**
 * The servers that the contract is tried on, each as a process of its own on a fixed free port, so that it can be frozen, killed and
 * started again: the embedded store, compiled from the sources for the purpose, and etcd.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import * as net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll } from 'vitest'
import type { Store } from '../../src/ports/store.ts'
import type { Credentials } from '../../src/store/gateway/authenticator.ts'
import { createStoreClient, type StoreClientOptions } from '../../src/store/gateway-client.ts'

export const REQUEST_TIMEOUT_MS = 2_000

export interface StoreServer {
  readonly kind: 'embedded' | 'etcd'
  readonly port: number
  readonly url: string
  readonly directory: string
  readonly credentials: Credentials
  readonly pid: number
  /** Starts it again on the same directory and port, after `kill` or `end`. */
  start(): Promise<void>
  /** SIGKILL, and waits for its end. */
  kill(): Promise<void>
  /** SIGTERM, and waits for its end; returns the exit status. */
  end(): Promise<number | null>
  freeze(): void
  thaw(): void
  /** Closes the pipe that it prints into. */
  closeOutput(): void
  /** What it printed. */
  output(): string
  /** Ends it and removes its directory. */
  dispose(): Promise<void>
}

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** A client with the test's defaults; `endpoint` is the server itself unless a proxy stands before it. */
export function clientOf(server: StoreServer, over: Partial<StoreClientOptions> = {}): Store {
  return createStoreClient({
    endpoints: [server.url],
    credentials: server.credentials,
    requestTimeoutMs: REQUEST_TIMEOUT_MS,
    nowMs: () => performance.now(),
    ...over,
  })
}

export async function freePort(): Promise<number> {
  const server = net.createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as net.AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

export function temporaryDirectory(): string {
  return mkdtempSync(join(tmpdir(), 'understudy-store-'))
}

let compiled: string | null = null
let compiledInto: string | null = null
afterAll(() => {
  if (compiledInto !== null) rmSync(compiledInto, { recursive: true, force: true })
})

/** The store's process as JavaScript: Node 20 runs no TypeScript, and what `dist` holds may be older than the sources. */
export function compiledStoreProcess(): string {
  if (compiled === null) {
    const out = temporaryDirectory()
    compiledInto = out
    const options =
      '--module nodenext --target es2023 --types node --skipLibCheck --rewriteRelativeImportExtensions'
    const entry = join(ROOT, 'test/store/store-process.ts')
    const args = [
      '--ignoreConfig',
      '--noCheck',
      '--rootDir',
      ROOT,
      '--outDir',
      out,
      ...options.split(' '),
      entry,
    ]
    execFileSync(join(ROOT, 'node_modules/.bin/tsc'), args, { stdio: ['ignore', 'pipe', 'pipe'] })
    compiled = join(out, 'test/store/store-process.js')
    execFileSync('/bin/sh', ['-c', 'printf %s \'{"type":"module"}\' > "$1"', 'sh', join(out, 'package.json')])
  }
  return compiled
}

export interface EmbeddedServerOptions {
  readonly directory?: string
  readonly token?: string
  /** Further options of startEmbeddedStore, as JSON. */
  readonly more?: Readonly<Record<string, unknown>>
}

export const TOKEN = 'token-of-the-tests'

export async function startEmbeddedServer(options: EmbeddedServerOptions = {}): Promise<StoreServer> {
  const port = await freePort()
  const directory = options.directory ?? temporaryDirectory()
  const token = options.token ?? TOKEN
  const settings = JSON.stringify({ directory, port, token, ...options.more })
  const command = [process.execPath, compiledStoreProcess(), settings] as const
  const server = new ServerProcess({ kind: 'embedded', port, directory, credentials: { token }, command })
  await server.start()
  return server
}

export const ETCD = '/usr/bin/etcd'
/** Why tests on etcd cannot run here; null when they can. */
export const ETCD_MISSING = existsSync(ETCD)
  ? null
  : `${ETCD} is not installed (Debian: apt install etcd-server)`

if (ETCD_MISSING !== null) console.warn(`SKIPPED: tests on etcd, because ${ETCD_MISSING}`)

export interface EtcdServerOptions {
  readonly arguments?: readonly string[]
  readonly credentials?: Credentials
  readonly scheme?: 'http' | 'https'
}

export async function startEtcd(options: EtcdServerOptions = {}): Promise<StoreServer> {
  const [port, peerPort] = [await freePort(), await freePort()]
  const directory = temporaryDirectory()
  const url = `${options.scheme ?? 'http'}://127.0.0.1:${port}`
  const command = [
    ETCD,
    ...etcdArguments('one', directory, url, peerPort, `one=http://127.0.0.1:${peerPort}`),
  ]
  const credentials = options.credentials ?? 'none'
  const server = new ServerProcess({
    kind: 'etcd',
    port,
    directory,
    credentials,
    scheme: options.scheme ?? 'http',
    command: [...command, ...(options.arguments ?? [])],
  })
  await server.start()
  return server
}

/** Three members that elect a leader among them. */
export async function startEtcdCluster(): Promise<readonly StoreServer[]> {
  const members = await Promise.all(
    ['a', 'b', 'c'].map(async (name) => ({ name, port: await freePort(), peerPort: await freePort() })),
  )
  const initial = members.map(({ name, peerPort }) => `${name}=http://127.0.0.1:${peerPort}`).join(',')
  const servers = members.map(({ name, port, peerPort }) => {
    const directory = temporaryDirectory()
    const command = [ETCD, ...etcdArguments(name, directory, `http://127.0.0.1:${port}`, peerPort, initial)]
    return new ServerProcess({ kind: 'etcd', port, directory, credentials: 'none', command })
  })
  await Promise.all(servers.map((server) => server.start()))
  return servers
}

/** Short election times: they also give leases of a second, which the default of two seconds' minimum would not. */
function etcdArguments(
  name: string,
  directory: string,
  url: string,
  peerPort: number,
  initial: string,
): string[] {
  const peer = `http://127.0.0.1:${peerPort}`
  return [
    ...['--name', name, '--data-dir', join(directory, 'data'), '--logger', 'zap'],
    ...['--listen-client-urls', url, '--advertise-client-urls', url],
    ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer, '--initial-cluster', initial],
    ...['--heartbeat-interval', '30', '--election-timeout', '300'],
  ]
}

interface ProcessOptions {
  readonly kind: StoreServer['kind']
  readonly port: number
  readonly directory: string
  readonly credentials: Credentials
  readonly command: readonly string[]
  readonly scheme?: 'http' | 'https'
}

const running = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

class ServerProcess implements StoreServer {
  readonly kind: StoreServer['kind']
  readonly port: number
  readonly directory: string
  readonly credentials: Credentials
  readonly #command: readonly string[]
  readonly #scheme: 'http' | 'https'
  #child: ChildProcess | null = null
  #ended: Promise<number | null> = Promise.resolve(null)
  #output = ''

  constructor(options: ProcessOptions) {
    this.kind = options.kind
    this.port = options.port
    this.directory = options.directory
    this.credentials = options.credentials
    this.#command = options.command
    this.#scheme = options.scheme ?? 'http'
  }

  get url(): string {
    return `${this.#scheme}://127.0.0.1:${this.port}`
  }

  get pid(): number {
    return this.#child?.pid ?? 0
  }

  async start(): Promise<void> {
    const [program = '', ...args] = this.#command
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    running.add(child)
    this.#child = child
    const collect = (text: string): void => {
      this.#output += text
    }
    child.stdout.setEncoding('utf8').on('data', collect)
    child.stderr.setEncoding('utf8').on('data', collect)
    let over = false
    this.#ended = new Promise((resolve) => {
      child.once('close', (code) => {
        over = true
        running.delete(child)
        resolve(code)
      })
    })
    while (!(await this.#isReady())) {
      if (over) throw new Error(`the ${this.kind} server ended: ${this.#output.slice(-2_000)}`)
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  }

  /** Over https the caller has to try for itself: only it has the certificates. */
  async #isReady(): Promise<boolean> {
    if (!(await canConnect(this.port))) return false
    if (this.#scheme === 'https') return true
    const health = await fetch(`${this.url}/health`, { signal: AbortSignal.timeout(500) }).catch(() => null)
    await health?.text()
    return health?.status === 200
  }

  async kill(): Promise<void> {
    this.#child?.kill('SIGKILL')
    await this.#ended
  }

  end(): Promise<number | null> {
    this.#child?.kill('SIGTERM')
    return this.#ended
  }

  freeze(): void {
    this.#child?.kill('SIGSTOP')
  }

  thaw(): void {
    this.#child?.kill('SIGCONT')
  }

  closeOutput(): void {
    this.#child?.stdout?.destroy()
  }

  output(): string {
    return this.#output
  }

  async dispose(): Promise<void> {
    await this.kill()
    rmSync(this.directory, { recursive: true, force: true })
  }
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1')
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}
