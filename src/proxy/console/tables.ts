/** What `SHOW` shows, from what all workers say. Names and order of columns are PgBouncer's where it has them (its manual, "SHOW commands"). Pure. */
import type { PoolView, SessionView, TrafficView, WorkerView } from '../../ports/proxy-view.ts'
import { addTraffic, emptyTraffic, type Traffic } from '../traffic.ts'
import { HELP, type Shown } from './commands.ts'
import type { ConfigRow } from './context.ts'

export type Cell = string | number | null

export interface Column {
  readonly name: string
  readonly type: 'text' | 'int8'
}

export interface Table {
  readonly columns: readonly Column[]
  readonly rows: readonly (readonly Cell[])[]
}

export interface TableSource {
  readonly workers: readonly WorkerView[]
  readonly config: readonly ConfigRow[]
  readonly version: string
}

const text = (...names: readonly string[]): readonly Column[] => names.map((name) => ({ name, type: 'text' }))
const int8 = (...names: readonly string[]): readonly Column[] => names.map((name) => ({ name, type: 'int8' }))

interface Definition {
  readonly columns: readonly Column[]
  readonly rows: (source: TableSource) => readonly (readonly Cell[])[]
}

const MICROSECONDS = 1_000

const DEFINITIONS: Readonly<Record<Shown, Definition>> = {
  POOLS: {
    columns: [
      ...text('database', 'user'),
      ...int8('cl_active', 'cl_waiting', 'cl_idle', 'sv_active', 'sv_being_canceled', 'sv_idle', 'sv_login'),
      ...int8('maxwait', 'maxwait_us'),
      ...text('pool_mode'),
      ...int8('pool_size'),
    ],
    rows: ({ workers }) =>
      mergedPools(workers).map((pool) => [
        ...[pool.database, pool.user],
        // As PgBouncer counts: who has nothing to ask is active, too.
        ...[pool.clientsActive + pool.clientsIdle, pool.clientsWaiting, pool.clientsIdle],
        ...[pool.serversActive, pool.serversCancelling, pool.serversIdle, pool.serversOpening],
        ...wait(pool.longestWaitMs),
        ...[pool.mode, pool.size],
      ]),
  },
  CLIENTS: {
    columns: [
      ...text('type', 'user', 'database', 'state', 'addr'),
      ...int8('port'),
      ...text('connect_time'),
      ...int8('wait', 'wait_us', 'id', 'remote_pid'),
      ...text('tls', 'application_name'),
      ...int8('prepared_statements'),
      ...text('pool_mode'),
      ...int8('worker'),
    ],
    rows: ({ workers }) =>
      workers.flatMap(({ worker, sessions }) => sessions.map((each) => clientRow(each, worker))),
  },
  SERVERS: {
    columns: [
      ...text('type', 'user', 'database', 'state', 'addr'),
      ...int8('port'),
      ...text('connect_time'),
      ...int8('remote_pid', 'link'),
      ...text('transaction', 'application_name'),
      ...int8('prepared_statements'),
      ...text('node'),
      ...int8('epoch', 'worker'),
    ],
    rows: ({ workers }) =>
      workers.flatMap(({ worker, servers }) =>
        servers.map((each) => [
          ...['S', each.user, each.database, each.state, each.host, each.port, each.connectedAt],
          ...[each.pid, each.clientId, each.transaction, each.applicationName, each.statements],
          ...[each.node, each.epoch, worker],
        ]),
      ),
  },
  STATS: {
    columns: [
      ...text('database'),
      ...int8('total_server_assignment_count', 'total_xact_count', 'total_query_count'),
      ...int8('total_received', 'total_sent', 'total_xact_time', 'total_query_time', 'total_wait_time'),
      ...int8('total_client_parse_count', 'total_bind_count'),
      ...int8('avg_server_assignment_count', 'avg_xact_count', 'avg_query_count', 'avg_recv', 'avg_sent'),
      ...int8('avg_xact_time', 'avg_query_time', 'avg_wait_time'),
      ...int8('avg_client_parse_count', 'avg_bind_count'),
    ],
    rows: ({ workers }) => statsRows(workers),
  },
  DATABASES: {
    columns: [
      ...text('name', 'host'),
      ...int8('port'),
      ...text('database', 'pool_mode'),
      ...int8('pool_size', 'current_connections', 'current_client_connections', 'paused', 'disabled'),
    ],
    rows: ({ workers }) => databaseRows(workers),
  },
  STANDBYS: {
    columns: [
      ...text('standby', 'in_rotation', 'reason', 'replay_lsn'),
      ...int8('lag_bytes', 'lag_us', 'worker'),
    ],
    rows: ({ workers }) =>
      workers.flatMap(({ worker, standbys }) =>
        standbys.map((each) => [
          ...[each.node, each.outBecause === null ? 'yes' : 'no', each.outBecause, each.replayLsn],
          each.replayLagBytes,
          each.replayLagMs === null ? null : Math.round(each.replayLagMs * MICROSECONDS),
          worker,
        ]),
      ),
  },
  LISTS: { columns: [...text('list'), ...int8('items')], rows: ({ workers }) => listRows(workers) },
  WORKERS: {
    columns: [
      ...int8('worker', 'pid', 'clients', 'logins', 'memory_bytes'),
      ...text('started', 'state'),
      ...int8('epoch'),
      ...text('primary', 'reason'),
    ],
    rows: ({ workers }) =>
      workers.map(({ route, ...each }) => [
        ...[each.worker, each.pid, each.clients, each.logins, each.residentBytes, each.startedAt],
        ...[route.kind, route.epoch, route.primary?.name ?? null, route.reason],
      ]),
  },
  CONFIG: {
    columns: text('key', 'value', 'default', 'changeable'),
    rows: ({ config }) =>
      config.map((each) => [each.key, each.value, each.default, each.changeable ? 'yes' : 'no']),
  },
  VERSION: { columns: text('version'), rows: ({ version }) => [[`pg-understudy ${version}`]] },
  HELP: { columns: text('command', 'meaning'), rows: () => HELP },
}

export const ROUTE_COLUMNS: readonly Column[] = text('port', 'target', 'reason')

export function columnsOf(what: Shown): readonly Column[] {
  return DEFINITIONS[what].columns
}

export function tableOf(what: Shown, source: TableSource): Table {
  const { columns, rows } = DEFINITIONS[what]
  return { columns, rows: rows(source) }
}

/** Each database and role once, whichever workers have them. */
function mergedPools(workers: readonly WorkerView[]): readonly PoolView[] {
  const merged = new Map<string, PoolView>()
  for (const { pools } of workers)
    for (const pool of pools) {
      const key = `${pool.database}\0${pool.user}`
      const known = merged.get(key)
      merged.set(key, known === undefined ? pool : joined(known, pool))
    }
  return [...merged.values()].sort((a, b) => order(a, b))
}

function joined(a: PoolView, b: PoolView): PoolView {
  return {
    ...a,
    size: a.size + b.size,
    paused: a.paused || b.paused,
    clientsActive: a.clientsActive + b.clientsActive,
    clientsWaiting: a.clientsWaiting + b.clientsWaiting,
    clientsIdle: a.clientsIdle + b.clientsIdle,
    serversActive: a.serversActive + b.serversActive,
    serversIdle: a.serversIdle + b.serversIdle,
    serversCancelling: a.serversCancelling + b.serversCancelling,
    serversOpening: a.serversOpening + b.serversOpening,
    longestWaitMs: Math.max(a.longestWaitMs, b.longestWaitMs),
  }
}

function order(a: PoolView, b: PoolView): number {
  const [left, right] = [`${a.database}\0${a.user}`, `${b.database}\0${b.user}`]
  return left < right ? -1 : left > right ? 1 : 0
}

function wait(ms: number): readonly [number, number] {
  return [Math.floor(ms / 1_000), Math.round((ms % 1_000) * MICROSECONDS)]
}

function clientRow(client: SessionView, worker: number): readonly Cell[] {
  return [
    ...['C', client.user, client.database, client.state, client.address, client.port, client.connectedAt],
    ...[...wait(client.waitMs), client.id, client.serverPid],
    ...[client.tls, client.applicationName, client.statements, client.mode, worker],
  ]
}

function byDatabase(traffic: readonly TrafficView[]): ReadonlyMap<string, Traffic> {
  const sums = new Map<string, Traffic>()
  for (const each of traffic) {
    const sum = sums.get(each.database) ?? emptyTraffic(each.database, '')
    addTraffic(sum, each)
    sums.set(each.database, sum)
  }
  return sums
}

function statsRows(workers: readonly WorkerView[]): readonly (readonly Cell[])[] {
  const totals = byDatabase(workers.flatMap(({ traffic }) => traffic))
  const recent = byDatabase(workers.flatMap(({ lastPeriod }) => lastPeriod.added))
  const seconds = Math.max(0, ...workers.map(({ lastPeriod }) => lastPeriod.ms)) / 1_000
  return [...totals.values()]
    .sort((a, b) => (a.database < b.database ? -1 : 1))
    .map((total) => {
      const last = recent.get(total.database) ?? emptyTraffic(total.database, '')
      const rate = (value: number): number => (seconds === 0 ? 0 : Math.round(value / seconds))
      const each = (ms: number, count: number): number =>
        count === 0 ? 0 : Math.round((ms * MICROSECONDS) / count)
      return [
        total.database,
        ...[total.assignments, total.transactions, total.queries, total.received, total.sent],
        ...[total.transactionMs, total.queryMs, total.waitMs].map((ms) => Math.round(ms * MICROSECONDS)),
        ...[total.parses, total.binds],
        ...[last.assignments, last.transactions, last.queries, last.received, last.sent].map(rate),
        ...[each(last.transactionMs, last.transactions), each(last.queryMs, last.queries)],
        ...[rate(last.waitMs * MICROSECONDS), rate(last.parses), rate(last.binds)],
      ]
    })
}

function databaseRows(workers: readonly WorkerView[]): readonly (readonly Cell[])[] {
  const primary = workers.find(({ route }) => route.primary !== null)?.route.primary ?? null
  const pools = mergedPools(workers)
  return [...new Set(pools.map(({ database }) => database))].map((database) => {
    const own = pools.filter((pool) => pool.database === database)
    const sum = (count: (pool: PoolView) => number): number => own.reduce((all, pool) => all + count(pool), 0)
    return [
      ...[database, primary?.host ?? null, primary?.port ?? null, database],
      ...[own[0]?.mode ?? null, Math.max(...own.map(({ size }) => size))],
      sum((pool) => pool.serversActive + pool.serversIdle + pool.serversCancelling + pool.serversOpening),
      sum((pool) => pool.clientsActive + pool.clientsIdle + pool.clientsWaiting),
      ...[own.some(({ paused }) => paused) ? 1 : 0, 0],
    ]
  })
}

function listRows(workers: readonly WorkerView[]): readonly (readonly Cell[])[] {
  const pools = mergedPools(workers)
  const sum = (count: (pool: PoolView) => number): number => pools.reduce((all, pool) => all + count(pool), 0)
  return [
    ['databases', new Set(pools.map(({ database }) => database)).size],
    ['users', new Set(pools.map(({ user }) => user)).size],
    ['pools', pools.length],
    ['workers', workers.length],
    ['free_clients', sum((pool) => pool.clientsIdle)],
    ['used_clients', sum((pool) => pool.clientsActive + pool.clientsWaiting)],
    ['login_clients', workers.reduce((all, { logins }) => all + logins, 0)],
    ['free_servers', sum((pool) => pool.serversIdle)],
    ['used_servers', sum((pool) => pool.serversActive + pool.serversCancelling)],
  ]
}
