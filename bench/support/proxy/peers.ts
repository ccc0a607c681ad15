/**
 * What is measured side by side, and what each was given: the same server through its Unix socket, clients over TCP without TLS, SCRAM on
 * both sides, logging off. Where a program cannot do that, its line says so.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { freePort, giveToServerUser } from '../../../test/support/postgres-server.ts'
import { Daemon } from './daemon.ts'
import type { Mode, Target } from './pgbench.ts'
import { type BenchServer, MOST_DIRECT_CLIENTS, POOL_SIZE } from './server.ts'

const MAIN = fileURLToPath(new URL('../../../src/cli/main.js', import.meta.url))

export const PEER_NAMES = ['direct', 'understudy', 'pgbouncer', 'haproxy', 'pgpool'] as const
export type PeerName = (typeof PEER_NAMES)[number] | 'before'

export interface Peer {
  readonly name: PeerName
  /** What it is and what it was given, for the reader of the figures. */
  readonly given: string
  readonly target: Target
  readonly pids: readonly number[]
  /** Why it is left out of a cell; null: it is not. */
  missing(mode: Mode, clients: number): string | null
  stop(): Promise<void>
}

/** Not installed, and how it gets there. */
export interface MissingPeer {
  readonly name: PeerName
  readonly hint: string
}

interface Place {
  readonly server: BenchServer
  /** For configuration and logs of this peer. */
  readonly directory: string
  readonly port: number
  readonly target: Target
  /** Reads go to standbys. */
  readonly balanced: boolean
}

const NO_POOL = `it takes one server connection for each client, more than ${MOST_DIRECT_CLIENTS} of which are not asked of the server`
const withoutPool = (_: Mode, clients: number): string | null =>
  clients > MOST_DIRECT_CLIENTS ? NO_POOL : null
const anything = (): null => null

/** `before`: the directory of another build of this program, measured beside this one. Errors: that one of them does not serve. */
export async function startPeer(
  name: PeerName,
  server: BenchServer,
  { before, balanced }: { readonly before: string | null; readonly balanced: boolean },
): Promise<Peer | MissingPeer> {
  if (name === 'direct') {
    const given = 'the server’s Unix socket, nothing in between'
    return { name, given, target: server.target, pids: [], missing: withoutPool, stop: async () => {} }
  }
  const directory = path.join(server.cluster.directory, name)
  mkdirSync(directory)
  giveToServerUser(directory)
  const port = await freePort()
  const place: Place = { server, directory, port, target: server.targetAt('127.0.0.1', port), balanced }
  switch (name) {
    case 'understudy':
      return understudy(name, MAIN, place)
    case 'before':
      return understudy(name, path.join(before ?? '', 'dist', 'src', 'cli', 'main.js'), place)
    case 'pgbouncer':
      return pgbouncer(place)
    case 'haproxy':
      return haproxy(place)
    default:
      return pgpool(place)
  }
}

async function understudy(name: 'understudy' | 'before', main: string, place: Place): Promise<Peer> {
  const config = place.server.writeProxyConfiguration(name, place.balanced ? 'auto' : 'readWrite', place.port)
  return serve(place, [process.execPath, main, 'proxy', '--config', config], {
    name,
    given: `\`understudy proxy\` of ${name === 'before' ? main : 'this build'} on Node ${process.version}, transaction mode, pool of ${POOL_SIZE}${place.balanced ? ', the port auto' : ''}, everything else as it comes`,
    missing: anything,
  })
}

async function pgbouncer(place: Place): Promise<Peer | MissingPeer> {
  const version = versionOf('pgbouncer', '--version')
  if (version === null) return { name: 'pgbouncer', hint: 'apt install pgbouncer' }
  const { server, directory, port } = place
  const canPrepare = atLeast(version, 1, 21)
  const users = write(directory, 'users.txt', `"app" "${server.password}"\n`)
  const config = write(
    directory,
    'pgbouncer.ini',
    [
      '[databases]',
      `app = host=${server.primary.socketDirectory} port=${server.primary.port} dbname=app`,
      '[pgbouncer]',
      `listen_addr = 127.0.0.1\nlisten_port = ${port}\nunix_socket_dir =`,
      `auth_type = scram-sha-256\nauth_file = ${users}`,
      `pool_mode = transaction\ndefault_pool_size = ${POOL_SIZE}\nmax_client_conn = 2000`,
      'ignore_startup_parameters = extra_float_digits',
      'log_connections = 0\nlog_disconnections = 0\nlog_stats = 0',
      ...(canPrepare ? ['max_prepared_statements = 200'] : []),
      '',
    ].join('\n'),
  )
  return serve(place, ['pgbouncer', config], {
    name: 'pgbouncer',
    given: `PgBouncer ${version}, pool_mode transaction, default_pool_size ${POOL_SIZE}, passwords in auth_file, logging of connections off`,
    missing: (mode) =>
      mode === 'prepared' && !canPrepare
        ? 'before 1.21 it knows no prepared statements in transaction mode'
        : null,
  })
}

async function haproxy(place: Place): Promise<Peer | MissingPeer> {
  const version = versionOf('haproxy', '-v')
  if (version === null) return { name: 'haproxy', hint: 'apt install haproxy' }
  const { server, directory, port } = place
  const config = write(
    directory,
    'haproxy.cfg',
    [
      'global\n  maxconn 3000',
      'defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h',
      `listen postgres\n  bind 127.0.0.1:${port}`,
      `  server primary unix@${server.primary.socketDirectory}/.s.PGSQL.${server.primary.port}`,
      '',
    ].join('\n'),
  )
  return serve(place, ['haproxy', '-db', '-f', config], {
    name: 'haproxy',
    given: `HAProxy ${version}, mode tcp, as many threads as it takes by itself; it looks at no message and pools nothing`,
    missing: withoutPool,
  })
}

async function pgpool(place: Place): Promise<Peer | MissingPeer> {
  const version = versionOf('pgpool', '--version')
  if (version === null) return { name: 'pgpool', hint: 'apt install pgpool2' }
  const { server, directory, port, balanced } = place
  write(directory, 'pool_passwd', `app:TEXT${server.password}\n`)
  const hba = write(directory, 'pool_hba.conf', 'host all all 127.0.0.1/32 scram-sha-256\n')
  const settings = {
    ...{ listen_addresses: '127.0.0.1', port, socket_dir: directory },
    ...{ pcp_listen_addresses: '', pcp_port: await freePort(), pcp_socket_dir: directory },
    ...{ pid_file_name: path.join(directory, 'pgpool.pid'), logdir: directory, work_dir: directory },
    ...backendsOf(server),
    ...{ backend_clustering_mode: 'streaming_replication', load_balance_mode: balanced ? 'on' : 'off' },
    ...{ enable_pool_hba: 'on', pool_passwd: 'pool_passwd', allow_clear_text_frontend_auth: 'off' },
    ...{ num_init_children: MOST_DIRECT_CLIENTS + 10, max_pool: 1, connection_cache: 'on' },
    ...{ sr_check_period: 0, health_check_period: 0, log_min_messages: 'error', use_watchdog: 'off' },
  }
  const lines = Object.entries(settings).map(
    ([key, value]) => `${key} = ${typeof value === 'number' ? value : `'${value}'`}`,
  )
  const config = write(directory, 'pgpool.conf', `${lines.join('\n')}\n`)
  return serve(place, ['pgpool', '-n', '-f', config, '-a', hba], {
    name: 'pgpool',
    given: `Pgpool-II ${version}, streaming_replication, load balancing ${balanced ? 'of each session over all nodes, as it comes' : 'off'}, a process with a server connection for each client (it has no other pooling)`,
    missing: withoutPool,
  })
}

function backendsOf({ nodes }: BenchServer): Record<string, string | number> {
  return Object.fromEntries(
    nodes.flatMap(({ socketDirectory, port }, index) => [
      [`backend_hostname${index}`, socketDirectory],
      [`backend_port${index}`, port],
      [`backend_weight${index}`, 1],
      [`backend_flag${index}`, `${index === 0 ? 'ALWAYS_PRIMARY|' : ''}DISALLOW_TO_FAILOVER`],
    ]),
  )
}

async function serve(
  place: Place,
  command: readonly string[],
  what: Pick<Peer, 'name' | 'given' | 'missing'>,
): Promise<Peer> {
  const { directory, target } = place
  const daemon = Daemon.start(command, { directory, logFile: path.join(directory, 'log') })
  try {
    await daemon.ready(target)
  } catch (error) {
    await daemon.stop()
    throw error
  }
  return {
    ...what,
    target,
    get pids() {
      return daemon.pids
    },
    stop: () => daemon.stop(),
  }
}

function write(directory: string, name: string, text: string): string {
  const file = path.join(directory, name)
  writeFileSync(file, text, { mode: 0o600 })
  giveToServerUser(file)
  return file
}

/** null: it is not installed. */
function versionOf(program: string, flag: string): string | null {
  const { status, stdout, stderr } = spawnSync(program, [flag], {
    encoding: 'utf8',
    env: { PATH: `${process.env['PATH'] ?? ''}:/usr/sbin` },
  })
  if (status !== 0) return null
  return /(\d+\.\d+(?:\.\d+)?)/.exec(stdout + stderr)?.[1] ?? '?'
}

function atLeast(version: string, major: number, minor: number): boolean {
  const [a = 0, b = 0] = version.split('.').map(Number)
  return a > major || (a === major && b >= minor)
}

/** For measurements that pgbench cannot make. */
export async function connectTo({ target }: Peer): Promise<pg.Client> {
  const client = new pg.Client({
    host: target['PGHOST'],
    port: Number(target['PGPORT']),
    user: target['PGUSER'],
    database: target['PGDATABASE'],
    password: target['PGPASSWORD'],
  })
  client.on('error', () => {})
  await client.connect()
  return client
}
