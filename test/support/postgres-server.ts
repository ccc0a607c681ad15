/**
 * Throw-away PostgreSQL servers for tests, with TLS and SCRAM as in production. PostgreSQL refuses to run as root, so as
 * root they run as the user postgres (or nobody), in a directory that this user can reach.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import {
  appendFileSync,
  chmodSync,
  chownSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import type { TestCertificate } from './certificates.ts'
import type { PostgresInstall } from './postgres-installs.ts'

export interface RunAs {
  readonly uid: number
  readonly gid: number
}

/** Null when this process is an ordinary user and runs the servers itself. */
export function serverUser(): RunAs | null {
  if (process.getuid?.() !== 0) return null
  for (const name of ['postgres', 'nobody']) {
    try {
      const id = (flag: string): number => Number(execFileSync('id', [flag, name], { encoding: 'utf8' }))
      return { uid: id('-u'), gid: id('-g') }
    } catch {
      // Not there; the next one.
    }
  }
  throw new Error('running as root, and neither postgres nor nobody exists to run servers as')
}

/** A directory of its own for one test file, owned by the server's user; removed by its `remove`. */
export function makeWorkspace(label: string): { readonly path: string; readonly remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), `understudy-${label}-`))
  giveToServerUser(path)
  chmodSync(path, 0o755)
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) }
}

export function giveToServerUser(path: string, options: { readonly recursive?: boolean } = {}): void {
  const user = serverUser()
  if (user === null) return
  if (options.recursive === true) execFileSync('chown', ['-R', `${user.uid}:${user.gid}`, path])
  else chownSync(path, user.uid, user.gid)
}

export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  if (address === null || typeof address === 'string') throw new Error('no free port')
  return address.port
}

export interface ServerOptions {
  readonly install: PostgresInstall
  /** Where the data directory, the log and the socket go; a short path, because sockets end at 107 bytes. */
  readonly workspace: string
  readonly name: string
  readonly certificate?: TestCertificate
  /** Lines of postgresql.conf. */
  readonly configuration?: readonly string[]
  readonly initdbArguments?: readonly string[]
}

export class TestServer {
  readonly options: ServerOptions
  readonly dataDirectory: string
  readonly port: number
  #child: ChildProcess | null = null

  constructor(options: ServerOptions, port: number) {
    this.options = options
    this.port = port
    this.dataDirectory = join(options.workspace, options.name)
  }

  get pid(): number {
    return this.#child?.pid ?? 0
  }

  get logFile(): string {
    return `${this.dataDirectory}.log`
  }

  get socketPath(): string {
    return join(this.options.workspace, `.s.PGSQL.${this.port}`)
  }

  /** Starts the postmaster on the data directory as it is, and waits until it accepts connections. */
  async start(): Promise<void> {
    const { install, workspace } = this.options
    const log = openSync(this.logFile, 'a')
    const child = spawn(join(install.binDirectory, 'postgres'), ['-D', this.dataDirectory], {
      stdio: ['ignore', log, log],
      env: { ...process.env, HOME: workspace, LC_ALL: 'C.UTF-8' },
      ...(serverUser() ?? {}),
    })
    this.#child = child
    const killWithUs = (): void => {
      child.kill('SIGKILL')
    }
    process.once('exit', killWithUs)
    child.once('exit', () => process.off('exit', killWithUs))
    for (let waited = 0; !this.#isReady(); waited += 50) {
      if (child.exitCode !== null || waited > 60_000) {
        throw new Error(`${this.options.name} did not start:\n${this.log()}`)
      }
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }

  log(): string {
    return existsSync(this.logFile) ? readFileSync(this.logFile, 'utf8') : ''
  }

  /** SIGINT is a fast shutdown, SIGQUIT an immediate one, SIGKILL a crash. Does nothing when it does not run. */
  async stop(signal: 'SIGINT' | 'SIGQUIT' | 'SIGKILL' = 'SIGINT'): Promise<void> {
    const child = this.#child
    this.#child = null
    if (child === null || child.exitCode !== null || child.signalCode !== null) return
    const ended = new Promise((resolve) => child.once('exit', resolve))
    child.kill(signal)
    await ended
  }

  /** A superuser's session over the Unix socket; the caller ends it. */
  async connect(): Promise<pg.Client> {
    const client = new pg.Client({
      host: this.options.workspace,
      port: this.port,
      user: 'postgres',
      database: 'postgres',
    })
    client.on('error', () => undefined)
    await client.connect()
    return client
  }

  /** One statement as superuser; rows as objects. */
  async sql(text: string, values: readonly unknown[] = []): Promise<readonly Record<string, unknown>[]> {
    const client = await this.connect()
    try {
      const result = await client.query<Record<string, unknown>>(text, [...values])
      return result.rows
    } finally {
      await client.end()
    }
  }

  configure(lines: readonly string[]): void {
    appendFileSync(join(this.dataDirectory, 'postgresql.conf'), `${lines.join('\n')}\n`)
  }

  #isReady(): boolean {
    try {
      const lines = readFileSync(join(this.dataDirectory, 'postmaster.pid'), 'utf8').split('\n')
      return Number(lines[0]) === this.pid && (lines[7] ?? '').startsWith('ready')
    } catch {
      return false
    }
  }
}

/** initdb (once per kind and process, then copied), TLS and pg_hba as in production, started. */
export async function startPrimary(options: ServerOptions): Promise<TestServer> {
  const server = new TestServer(options, await freePort())
  cpSync(initializedTemplate(options), server.dataDirectory, { recursive: true, verbatimSymlinks: true })
  giveToServerUser(server.dataDirectory, { recursive: true })
  writeConfiguration(server)
  await server.start()
  return server
}

/** A server on a directory that a clone made. */
export async function startStandby(
  options: ServerOptions & { readonly primaryConninfo: string },
): Promise<TestServer> {
  const server = new TestServer(options, await freePort())
  giveToServerUser(server.dataDirectory, { recursive: true })
  server.configure([`port = ${server.port}`, `primary_conninfo = '${options.primaryConninfo}'`])
  writeFileSync(join(server.dataDirectory, 'standby.signal'), '')
  giveToServerUser(server.dataDirectory, { recursive: true })
  await server.start()
  return server
}

const templates = new Map<string, string>()

function initializedTemplate(options: ServerOptions): string {
  const initdbArguments = options.initdbArguments ?? []
  const key = `${options.workspace}-${options.install.major}-${initdbArguments.join(' ')}`
  const known = templates.get(key)
  if (known !== undefined) return known
  const directory = join(options.workspace, `template-${templates.size}`)
  const standard = ['-D', directory, '-U', 'postgres', '-E', 'UTF8', '--locale=C.UTF-8', '-k', '-N']
  execFileSync(
    join(options.install.binDirectory, 'initdb'),
    [...standard, '--auth=trust', ...initdbArguments],
    {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, HOME: options.workspace, LC_ALL: 'C.UTF-8' },
      ...(serverUser() ?? {}),
    },
  )
  templates.set(key, directory)
  return directory
}

function writeConfiguration(server: TestServer): void {
  const { certificate, configuration, workspace } = server.options
  const tls: string[] = []
  if (certificate !== undefined) {
    const key = join(server.dataDirectory, 'server.key')
    copyFileSync(certificate.keyFile, key)
    copyFileSync(certificate.certificateFile, join(server.dataDirectory, 'server.crt'))
    chmodSync(key, 0o600)
    giveToServerUser(key)
    tls.push('ssl = on')
  }
  server.configure([
    `port = ${server.port}`,
    "listen_addresses = '127.0.0.1'",
    `unix_socket_directories = '${workspace}'`,
    'wal_level = replica',
    'max_wal_senders = 10',
    'max_replication_slots = 10',
    'hot_standby = on',
    'shared_buffers = 32MB',
    'fsync = off',
    "log_min_messages = 'info'",
    ...tls,
    ...(configuration ?? []),
  ])
  const hba = ['local all all trust', 'local replication all trust']
  const kind = certificate === undefined ? 'host' : 'hostssl'
  hba.push(`${kind} all all 127.0.0.1/32 scram-sha-256`, `${kind} replication all 127.0.0.1/32 scram-sha-256`)
  writeFileSync(join(server.dataDirectory, 'pg_hba.conf'), `${hba.join('\n')}\n`)
}
