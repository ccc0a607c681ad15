/**
 * GET /metrics: what one agent knows of its node, in Prometheus' text format (version 0.0.4). From the last look, so a scrape costs nothing and
 * never hangs. Names are documented in docs/reference/metrics.md and stay.
 */
import { parseLsn } from '../core/lsn.ts'
import type { ClusterStatus, NodeDetail, SeenHealth } from './contract.ts'
import { counter, gauge, type Labels, type Metric, renderMetric, type Sample } from './prometheus.ts'

export interface MetricsInput {
  readonly cluster: string
  readonly node: string
  readonly version: string
  /** null during the first moments. */
  readonly detail: NodeDetail | null
  readonly health: SeenHealth | null
  readonly phase: ClusterStatus['phase']
  readonly quorum: ClusterStatus['quorum']
  readonly paused: boolean | null
  readonly process: {
    readonly residentBytes: number
    readonly cpuSeconds: number
    readonly startedAtSeconds: number
  }
}

export function renderMetrics(input: MetricsInput): string {
  return [...ofNode(input), ...ofReplication(input), ...ofProcess(input)].map(renderMetric).join('')
}

function ofNode(input: MetricsInput): readonly Metric[] {
  const { detail, health, cluster, node, version, phase } = input
  const one = (value: Sample[1], labels: Labels = {}): readonly Sample[] => [[labels, value]]
  const seen = health?.health
  const fresh = health !== null && health.ageMs <= health.staleMs
  return [
    gauge(
      'understudy_info',
      'Names and versions, as labels.',
      one(1, { cluster, node, version, postgres_version: detail?.postgresVersion ?? '' }),
    ),
    gauge('understudy_postgres_up', 'PostgreSQL of the node answers.', one(fresh && seen?.running === true)),
    gauge('understudy_primary', 'The node may be written to (as GET /primary).', one(fresh && seen?.primary)),
    gauge(
      'understudy_standby',
      'The node is a standby that may be read from (as GET /replica).',
      one(fresh && seen?.standby),
    ),
    gauge('understudy_streaming', 'The node gets WAL by streaming.', one(fresh && seen?.streaming)),
    gauge(
      'understudy_epoch',
      'The newest epoch that the node knows; one more for each change of primary.',
      one(detail?.epoch),
    ),
    gauge(
      'understudy_promised_epoch',
      'The newest epoch that the node has promised.',
      one(detail?.promisedEpoch),
    ),
    gauge('understudy_timeline', 'The timeline that PostgreSQL is on.', one(detail?.status.timelineId)),
    gauge(
      'understudy_phase',
      '1 for the phase of the cluster that the node knows of.',
      ['steady', 'electing', 'promoting'].map((each) => [
        { phase: each },
        phase === null ? null : each === phase,
      ]),
    ),
    gauge('understudy_store_up', 'The store answers this node.', one(detail?.storeReachable)),
    gauge('understudy_paused', 'Failover is paused.', one(input.paused)),
    gauge(
      'understudy_problem',
      'A problem that the node knows of, by its code and severity.',
      [...new Map((detail?.problems ?? []).map((each) => [`${each.code} ${each.node}`, each])).values()].map(
        ({ code, severity, node: where }) => [{ code, severity, about: where ?? '' }, 1],
      ),
    ),
    gauge(
      'understudy_task',
      'A long task that is under way.',
      detail === null || detail.task === null ? [] : [[{ task: detail.task.task }, 1]],
    ),
    gauge(
      'understudy_last_look_age_seconds',
      'Since the agent has last looked at everything; about one at rest.',
      one(health === null ? null : health.ageMs / 1_000),
    ),
  ]
}

function ofReplication(input: MetricsInput): readonly Metric[] {
  const { detail, quorum, health } = input
  const standby = detail?.status.role === 'standby'
  const behind = health?.health.lagBytes
  const names = new Set(quorum?.standbys)
  const walsenders = (detail?.standbys ?? []).filter(({ name }) => names.has(name))
  const streaming = walsenders.filter(({ state }) => state === 'streaming').length
  const own = position(detail?.status.flushLsn)
  const slots = detail?.slots ?? []
  return [
    gauge('understudy_flush_position_bytes', 'The end of the WAL that is on disk.', [[{}, own]]),
    gauge('understudy_replay_position_bytes', 'The end of the WAL that a standby has replayed.', [
      [{}, position(detail?.status.replayLsn)],
    ]),
    gauge('understudy_replay_lag_bytes', 'WAL that a standby has not replayed yet.', [
      [{}, standby ? behind?.replayed : null],
    ]),
    gauge('understudy_receive_lag_bytes', 'WAL that a standby has not received yet.', [
      [{}, standby ? behind?.received : null],
    ]),
    gauge(
      'understudy_replay_lag_seconds',
      'Age of the last commit replayed, while there is more to replay; else 0.',
      [[{}, !standby || detail?.status.replayLagMs == null ? null : detail.status.replayLagMs / 1_000]],
    ),
    gauge('understudy_quorum_acks', 'How many standbys must acknowledge a commit.', [[{}, quorum?.acks]]),
    gauge('understudy_quorum_standbys', 'How many standbys may acknowledge a commit.', [
      [{}, quorum?.standbys.length],
    ]),
    gauge('understudy_quorum_streaming', 'On the primary: how many of these stream.', [
      [{}, detail?.status.role === 'primary' && quorum !== null ? streaming : null],
    ]),
    gauge(
      'understudy_standby_flush_lag_bytes',
      'On the primary: WAL that a standby has not on disk yet.',
      (detail?.standbys ?? []).map((each) => [
        { standby: each.name, state: each.state },
        difference(own, position(each.flushLsn)),
      ]),
    ),
    gauge(
      'understudy_standby_replay_lag_seconds',
      'On the primary: how long ago a standby replayed what was flushed here, while it is behind.',
      (detail?.standbys ?? []).map((each) => [
        { standby: each.name, state: each.state },
        each.replayLagMs === null ? null : each.replayLagMs / 1_000,
      ]),
    ),
    gauge(
      'understudy_slot_active',
      'A replication slot is in use.',
      slots.map(({ name, active }) => [{ slot: name }, active]),
    ),
    gauge(
      'understudy_slot_lost',
      'WAL that a replication slot needs is gone.',
      slots.map(({ name, lost }) => [{ slot: name }, lost]),
    ),
    gauge(
      'understudy_slot_retained_bytes',
      'WAL that is kept for a replication slot.',
      slots.map(({ name, retainedBytes }) => [{ slot: name }, retainedBytes]),
    ),
  ]
}

/** Under the names that every exporter uses. */
function ofProcess({
  process: { residentBytes, cpuSeconds, startedAtSeconds },
}: MetricsInput): readonly Metric[] {
  return [
    gauge('process_resident_memory_bytes', 'Memory of the agent.', [[{}, residentBytes]]),
    counter('process_cpu_seconds_total', 'Processor time of the agent, user and system.', [[{}, cpuSeconds]]),
    gauge('process_start_time_seconds', 'When the agent was started, since 1970.', [[{}, startedAtSeconds]]),
  ]
}

/** As a number of bytes; above 2^53, far beyond any cluster's life, it would lose its last digits. */
function position(lsn: string | null | undefined): number | null {
  const parsed = lsn === null || lsn === undefined ? null : parseLsn(lsn)
  return parsed === null ? null : Number(parsed)
}

function difference(ahead: number | null, behind: number | null): number | null {
  return ahead === null || behind === null ? null : Math.max(0, ahead - behind)
}
