/**
 * Servers that are there before understudy is: one of Debian's packaged clusters, made by pg_createcluster under a name of its own and dropped
 * again, and a plain one on a data directory with its configuration inside.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import pg from 'pg'
import { connectTo, readTarget } from '../../src/cli/existing/connect.ts'
import { readPostmasterPid } from '../../src/postgres/postmaster-pid.ts'
import { hasMarker, isAlive, listPostgresIn } from '../../src/postgres/processes.ts'
import { signal } from './cluster-processes.ts'
import type { PostgresInstall } from './postgres-installs.ts'
import { freePort, serverUser } from './postgres-server.ts'

export const APPLICATION_PASSWORD = 'as it was before'

export interface ExistingServer {
  readonly port: number
  readonly url: string
  readonly dataDirectory: string
  readonly configDirectory: string
  /** What another start reads: start.conf, or postgresql.conf. */
  readonly startFile: string
  /** As superuser, through the socket, whoever runs it. */
  sql(text: string): Promise<readonly Record<string, unknown>[]>
  /** As the role of an application, over TCP with its password. */
  asApplication(text: string): Promise<readonly Record<string, unknown>[]>
  /** As its service does it. */
  start(): void
  stop(): void
  restart(): void
  remove(): Promise<void>
}

export interface ExistingOptions {
  /** Short, reachable for the user that PostgreSQL runs as. */
  readonly workspace: string
  readonly name: string
  readonly configuration?: readonly string[]
}

/** Why a packaged cluster cannot be made here; null when it can. */
export const DEBIAN_MISSING =
  process.getuid?.() !== 0
    ? 'pg_createcluster needs root'
    : existsSync('/usr/bin/pg_createcluster') && existsSync('/usr/lib/postgresql/15/bin/postgres')
      ? null
      : 'apt install postgresql-15'

export async function openDebianCluster(options: ExistingOptions): Promise<ExistingServer> {
  const { workspace, configuration = [] } = options
  const name = `understudy-${options.name}-${process.pid}`
  const port = await freePort()
  const dataDirectory = path.join(workspace, 'data')
  const configDirectory = `/etc/postgresql/15/${name}`
  const places = [
    '-p',
    String(port),
    '-d',
    dataDirectory,
    '-s',
    workspace,
    '-l',
    path.join(workspace, 'server.log'),
  ]
  command('pg_createcluster', '15', name, ...places)
  const ctl = (...words: readonly string[]): void => command('pg_ctlcluster', '15', name, ...words)
  mkdirSync(path.join(configDirectory, 'conf.d'))
  appendFileSync(path.join(configDirectory, 'postgresql.conf'), "include_dir = 'conf.d'\nfsync = off\n")
  writeFileSync(
    path.join(configDirectory, 'conf.d', 'own.conf'),
    ['work_mem = 7MB', ...configuration, ''].join('\n'),
  )
  ctl('start')
  return await finish({
    ...{ port, dataDirectory, configDirectory },
    startFile: path.join(configDirectory, 'start.conf'),
    url: `postgresql:///postgres?host=${workspace}&port=${port}`,
    start: () => ctl('start'),
    stop: () => ctl('stop', '-m', 'fast'),
    restart: () => ctl('restart'),
    remove: async () => {
      await endAllIn(dataDirectory)
      command('pg_dropcluster', '15', name)
      // It leaves what it has not made.
      rmSync(configDirectory, { recursive: true, force: true })
    },
  })
}

export async function openPlainServer(
  options: ExistingOptions & { readonly install: PostgresInstall },
): Promise<ExistingServer> {
  const { workspace, install, configuration = [] } = options
  const dataDirectory = path.join(workspace, 'data')
  const initdb = [path.join(install.binDirectory, 'initdb'), '-D', dataDirectory, '-U', 'postgres']
  asServer(workspace, [...initdb, '--locale=C.UTF-8', '-N', '--auth=trust'])
  const port = await freePort()
  const lines = [
    `port = ${port}`,
    `unix_socket_directories = '${workspace}'`,
    'fsync = off',
    'work_mem = 7MB',
  ]
  appendFileSync(path.join(dataDirectory, 'postgresql.conf'), `${[...lines, ...configuration].join('\n')}\n`)
  const hba = [
    'local all all trust',
    'local replication all trust',
    'host all all 127.0.0.1/32 scram-sha-256',
  ]
  writeFileSync(path.join(dataDirectory, 'pg_hba.conf'), `${hba.join('\n')}\n`)
  const parts = plainParts({ workspace, install, port })
  parts.start()
  return await finish(parts)
}

/** A copy of a plain server that streams from it, as a person would have set it up: over the socket, without a slot. */
export async function openStandbyOf(
  primary: ExistingServer,
  { workspace, install }: { readonly workspace: string; readonly install: PostgresInstall },
): Promise<ExistingServer> {
  const port = await freePort()
  const dataDirectory = path.join(workspace, 'data')
  primary.stop()
  asServer(workspace, ['cp', '-a', primary.dataDirectory, dataDirectory])
  primary.start()
  const lines = [`port = ${port}`, `unix_socket_directories = '${workspace}'`]
  appendFileSync(path.join(dataDirectory, 'postgresql.conf'), `${lines.join('\n')}\n`)
  const conninfo = `host=${path.dirname(primary.dataDirectory)} port=${primary.port} user=postgres`
  appendFileSync(path.join(dataDirectory, 'postgresql.auto.conf'), `primary_conninfo = '${conninfo}'\n`)
  asServer(workspace, ['touch', path.join(dataDirectory, 'standby.signal')])
  const parts = plainParts({ workspace, install, port })
  parts.start()
  return withQueries(parts)
}

function plainParts({
  workspace,
  install,
  port,
}: {
  readonly workspace: string
  readonly install: PostgresInstall
  readonly port: number
}): Parts {
  const dataDirectory = path.join(workspace, 'data')
  const log = path.join(workspace, 'server.log')
  const control = (...words: readonly string[]): void =>
    asServer(workspace, [
      path.join(install.binDirectory, 'pg_ctl'),
      '-D',
      dataDirectory,
      '-l',
      log,
      '-w',
      ...words,
    ])
  return {
    ...{ port, dataDirectory },
    configDirectory: dataDirectory,
    startFile: path.join(dataDirectory, 'postgresql.conf'),
    url: `postgresql:///postgres?host=${workspace}&port=${port}`,
    start: () => control('start'),
    stop: () => control('stop', '-m', 'fast'),
    restart: () => control('restart', '-m', 'fast'),
    remove: () => endAllIn(dataDirectory),
  }
}

function asServer(workspace: string, words: readonly string[]): void {
  const [file = '', ...args] = words
  const ran = spawnSync(file, args, {
    ...(serverUser() ?? {}),
    cwd: '/',
    stdio: ['ignore', 'ignore', 'ignore'],
    env: { ...process.env, LC_ALL: 'C.UTF-8', HOME: workspace },
  })
  if (ran.status !== 0) throw new Error(`${words.join(' ')} failed`)
}

type Parts = Omit<ExistingServer, 'sql' | 'asApplication'>

function withQueries(parts: Parts): ExistingServer {
  return {
    ...parts,
    sql: async (text) => query(await connectTo(readTarget(parts.url), { readOnly: false }), text),
    asApplication: async (text) => {
      const where = { host: '127.0.0.1', port: parts.port, user: 'shop', database: 'shop' }
      const client = new pg.Client({
        ...where,
        password: APPLICATION_PASSWORD,
        connectionTimeoutMillis: 5_000,
      })
      client.on('error', () => {})
      await client.connect()
      return query(client, text)
    },
  }
}

async function finish(parts: Parts): Promise<ExistingServer> {
  const server = withQueries(parts)
  try {
    await server.sql(`CREATE ROLE shop LOGIN PASSWORD '${APPLICATION_PASSWORD}'`)
    await server.sql('CREATE DATABASE shop OWNER shop')
    await server.asApplication("CREATE TABLE item (name text); INSERT INTO item VALUES ('of before')")
    return server
  } catch (error) {
    await server.remove()
    throw error
  }
}

async function query(client: pg.Client, text: string): Promise<readonly Record<string, unknown>[]> {
  try {
    const result = await client.query<Record<string, unknown>>(text)
    return result.rows ?? []
  } finally {
    await client.end().catch(() => {})
  }
}

function command(file: string, ...args: readonly string[]): void {
  execFileSync(file, args, { stdio: ['ignore', 'ignore', 'pipe'] })
}

/** The postmaster that runs there, and whether an agent has started it. null: none. */
export async function postmasterIn(dataDirectory: string): Promise<{ pid: number; ofAgent: boolean } | null> {
  const file = await readPostmasterPid(dataDirectory)
  if (file === null || !(await isAlive(file.pid))) return null
  const nodeDirectory = nodeDirectoryBeside(dataDirectory)
  return { pid: file.pid, ofAgent: hasMarker(file.pid, nodeDirectory) }
}

export function nodeDirectoryBeside(dataDirectory: string): string {
  return path.join(path.dirname(dataDirectory), 'understudy-main-alpha')
}

/** How many postmasters work there: processes of PostgreSQL whose parent is none of them. */
export async function countPostmasters(dataDirectory: string): Promise<number> {
  const found = await listPostgresIn(dataDirectory)
  const pids = new Set(found.map(({ pid }) => pid))
  return found.filter(({ parent }) => !pids.has(parent)).length
}

/** Whatever of PostgreSQL works there. */
export async function endAllIn(dataDirectory: string): Promise<void> {
  for (const { pid } of await listPostgresIn(dataDirectory).catch(() => [])) signal(pid, 'SIGQUIT')
  for (let waited = 0; waited < 100 && (await listPostgresIn(dataDirectory)).length > 0; waited++)
    await new Promise((resolve) => setTimeout(resolve, 100))
}

export function textOf(file: string): string | null {
  return existsSync(file) ? readFileSync(file, 'utf8') : null
}
