/**
 * GET /metrics of a proxy. Names follow those of pgbouncer_exporter with `understudy_proxy` in the place of `pgbouncer`, so that dashboards can be
 * carried over; they are documented in docs/reference/metrics.md and stay. Sums are of all workers: one that was begun again begins at 0.
 */
import type { PoolView, StandbyView, TrafficView, WorkerView } from '../ports/proxy-view.ts'
import { counter, gauge, type Labels, type Metric, renderMetric, type Sample } from './prometheus.ts'

export interface ProxyMetricsInput {
  readonly cluster: string
  /** null: it runs at none in particular. */
  readonly node: string | null
  readonly version: string
  /** How many workers there are to be. */
  readonly expected: number
  /** Of the primary process, in bytes; null: there is none. */
  readonly ownMemory: number | null
  readonly workers: readonly WorkerView[]
}

export function renderProxyMetrics(input: ProxyMetricsInput): string {
  return [...ofProxy(input), ...ofStandbys(input), ...ofPools(input), ...ofTraffic(input)]
    .map(renderMetric)
    .join('')
}

function ofProxy({
  cluster,
  node,
  version,
  expected,
  ownMemory,
  workers,
}: ProxyMetricsInput): readonly Metric[] {
  const each = (value: (worker: WorkerView) => Sample[1]): readonly Sample[] =>
    workers.map((worker) => [{ worker: String(worker.worker) }, value(worker)])
  const refused = (why: keyof WorkerView['refused']): Sample => [
    { why },
    workers.reduce((all, worker) => all + worker.refused[why], 0),
  ]
  return [
    gauge('understudy_proxy_up', 'Every worker of the proxy answers.', [[{}, workers.length === expected]]),
    gauge('understudy_proxy_info', 'Names and versions, as labels.', [
      [{ cluster, node: node ?? '', version }, 1],
    ]),
    gauge(
      'understudy_proxy_epoch',
      'The epoch that a worker has followed to.',
      each(({ route }) => route.epoch),
    ),
    gauge(
      'understudy_proxy_open',
      'The worker knows a primary that takes writes; 0: clients are held.',
      each(({ route }) => route.kind === 'open'),
    ),
    gauge(
      'understudy_proxy_used_clients',
      'Clients.',
      each(({ clients }) => clients),
    ),
    gauge(
      'understudy_proxy_login_clients',
      'Clients in the middle of a login.',
      each(({ logins }) => logins),
    ),
    gauge(
      'understudy_proxy_waiting_bytes',
      'What clients that wait for a server connection have sent already.',
      each(({ waitingBytes }) => waitingBytes),
    ),
    counter(
      'understudy_proxy_refused_total',
      'Refused for a limit: clients, logins, or clients that would have had to wait.',
      [refused('clients'), refused('logins'), refused('waiting')],
    ),
    counter(
      'understudy_proxy_cpu_seconds_total',
      'Processor time of a worker, user and system.',
      each(({ cpuSeconds }) => cpuSeconds),
    ),
    gauge('understudy_proxy_resident_memory_bytes', 'Memory of a process of the proxy.', [
      ...each(({ residentBytes }) => residentBytes),
      [{ worker: 'primary-process' }, ownMemory],
    ]),
  ]
}

/** Each worker listens to the agents by itself: the worst of what they know. */
function ofStandbys({ workers }: ProxyMetricsInput): readonly Metric[] {
  const all = workers.flatMap(({ standbys }) => standbys)
  const names = [...new Set(all.map(({ node }) => node))].sort()
  const each = (value: (standby: StandbyView) => number | null): readonly Sample[] =>
    names.map((name) => {
      const values = all.filter(({ node }) => node === name).map(value)
      return [{ standby: name }, values.includes(null) ? null : Math.max(...values.map(Number))]
    })
  const out = each(({ outBecause }) => Number(outBecause !== null))
  return [
    gauge(
      'understudy_proxy_standby_in_rotation',
      'Every worker lets its sessions read there.',
      out.map(([labels, isOut]) => [labels, isOut === 0]),
    ),
    gauge(
      'understudy_proxy_standby_replay_lag_seconds',
      'For how long the primary has had something that is not replayed there.',
      each(({ replayLagMs }) => (replayLagMs === null ? null : replayLagMs / 1_000)),
    ),
    gauge(
      'understudy_proxy_standby_replay_lag_bytes',
      'WAL of the primary that is not replayed there.',
      each(({ replayLagBytes }) => replayLagBytes),
    ),
  ]
}

interface Summed<T> {
  readonly labels: Labels
  readonly values: readonly T[]
}

/** Each database and role once. */
function grouped<T extends { readonly database: string; readonly user: string }>(
  all: readonly T[],
): readonly Summed<T>[] {
  const groups = new Map<string, T[]>()
  for (const each of all) {
    const key = `${each.database}\0${each.user}`
    groups.set(key, [...(groups.get(key) ?? []), each])
  }
  return [...groups.values()].map((values) => ({
    labels: { database: values[0]?.database ?? '', user: values[0]?.user ?? '' },
    values,
  }))
}

function ofPools({ workers }: ProxyMetricsInput): readonly Metric[] {
  const groups = grouped(workers.flatMap(({ pools }) => pools))
  const summed = (name: string, help: string, value: (pool: PoolView) => number): Metric =>
    gauge(
      `understudy_proxy_pools_${name}`,
      help,
      groups.map(({ labels, values }) => [labels, values.reduce((all, each) => all + value(each), 0)]),
    )
  const greatest = (name: string, help: string, value: (pool: PoolView) => number): Metric =>
    gauge(
      `understudy_proxy_pools_${name}`,
      help,
      groups.map(({ labels, values }) => [labels, Math.max(...values.map(value))]),
    )
  return [
    summed(
      'client_active_connections',
      'Clients that have a server connection, or nothing to ask.',
      (pool) => pool.clientsActive + pool.clientsIdle,
    ),
    summed(
      'client_waiting_connections',
      'Clients that wait for a server connection.',
      ({ clientsWaiting }) => clientsWaiting,
    ),
    greatest(
      'client_maxwait_seconds',
      'How long the client that waits longest has waited.',
      ({ longestWaitMs }) => longestWaitMs / 1_000,
    ),
    summed(
      'server_active_connections',
      'Server connections that work for a client.',
      ({ serversActive }) => serversActive,
    ),
    summed('server_idle_connections', 'Free server connections.', ({ serversIdle }) => serversIdle),
    summed(
      'server_being_canceled_connections',
      'Server connections with a cancel request under way.',
      ({ serversCancelling }) => serversCancelling,
    ),
    summed(
      'server_login_connections',
      'Server connections that are being opened.',
      ({ serversOpening }) => serversOpening,
    ),
    summed('size', 'How many server connections the pool may have.', ({ size }) => size),
    greatest('paused', 'An operator has paused the database.', ({ paused }) => Number(paused)),
  ]
}

function ofTraffic({ workers }: ProxyMetricsInput): readonly Metric[] {
  const groups = grouped(workers.flatMap(({ traffic }) => traffic))
  const total = (name: string, help: string, value: (traffic: TrafficView) => number): Metric =>
    counter(
      `understudy_proxy_stats_${name}`,
      help,
      groups.map(({ labels, values }) => [labels, values.reduce((all, each) => all + value(each), 0)]),
    )
  return [
    total('sql_transactions_pooled_total', 'Transactions.', ({ transactions }) => transactions),
    total('queries_pooled_total', 'Statements: simple queries and executions.', ({ queries }) => queries),
    total('received_bytes_total', 'Bytes from clients.', ({ received }) => received),
    total('sent_bytes_total', 'Bytes to clients.', ({ sent }) => sent),
    total(
      'server_in_transaction_seconds_total',
      'Time of server connections in transactions, sampled.',
      ({ transactionMs }) => transactionMs / 1_000,
    ),
    total(
      'queries_duration_seconds_total',
      'Time of server connections at work, sampled.',
      ({ queryMs }) => queryMs / 1_000,
    ),
    total(
      'client_wait_seconds_total',
      'Time that clients have waited for a server connection.',
      ({ waitMs }) => waitMs / 1_000,
    ),
    total('server_assignments_total', 'Server connections handed out.', ({ assignments }) => assignments),
    total('reads_at_standbys_total', 'Reads that a standby answered.', (traffic) => traffic.readsAtStandbys),
    total(
      'reads_at_primary_total',
      'Reads that the primary answered, because no standby was far enough in time.',
      (traffic) => traffic.readsAtPrimary,
    ),
    total(
      'reads_repeated_total',
      'Reads that were asked of another node, because the first was lost or could not answer.',
      (traffic) => traffic.readsRepeated,
    ),
    total('client_parses_total', 'Statements that clients have prepared.', ({ parses }) => parses),
    total('client_binds_total', 'Executions that were bound to values.', ({ binds }) => binds),
  ]
}
