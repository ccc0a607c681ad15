/** Turns the last view and decision into what the API says of this node. Pure functions, and the counting of `since`. */
import type {
  KnownDocument,
  NodeDetail,
  NodePosition,
  NodeRole,
  NodeState,
  NodeStatus,
  Problem,
  SeenHealth,
  TaskProgress,
  Why,
} from '../api/contract.ts'
import type { ClusterView, NodeReport } from '../core/cluster-view.ts'
import type { Memory } from '../core/decision.ts'
import { suspectsPrimary } from '../core/detector.ts'
import { diskHangs } from '../core/disk.ts'
import type { ServerFacts } from '../core/facts.ts'
import { healthOf } from '../core/health.ts'
import { formatLsn, type Lsn, lagBytes, maxLsn } from '../core/lsn.ts'
import { formatPrimacy, type Knowledge } from '../core/primacy.ts'
import type { FoundProblem } from '../core/problems.ts'
import { voteOf } from '../core/vote.ts'
import type { CloneProgress } from '../ports/cloner.ts'
import type { AgentOptions } from './dependencies.ts'
import type { Sightings } from './sightings.ts'

export interface Snapshot {
  readonly view: ClusterView
  /** When that was seen, by the clock of people. */
  readonly at: string
  readonly why: Why
  readonly problems: readonly Problem[]
  readonly task: TaskProgress | null
}

export function nodeDetail(options: AgentOptions, snapshot: Snapshot, sightings: Sightings): NodeDetail {
  const { view } = snapshot
  const { server, directory } = view.local
  const newest = server === null ? null : flushPosition(server)
  return {
    status: nodeStatus(options, view),
    epoch: knownEpoch(view),
    promisedEpoch: view.local.promisedEpoch,
    known: knownDocument(view.local.known),
    systemIdentifier: directory.kind === 'cluster' ? directory.control.systemIdentifier : null,
    postgresVersion: options.postgresVersion,
    task: snapshot.task,
    problems: snapshot.problems,
    storeReachable: view.store.kind === 'read',
    decision: snapshot.why,
    standbys: (server?.walsenders ?? []).map((each) => ({
      name: each.applicationName,
      state: each.state,
      syncState: each.syncState,
      flushLsn: print(each.flushLsn),
      replayLsn: print(each.replayLsn),
      writeLagMs: each.writeLagMs,
      flushLagMs: each.flushLagMs,
      replayLagMs: each.replayLagMs,
    })),
    slots: (server?.slots ?? []).map(({ name, active, walStatus, restartLsn }) => ({
      name,
      active,
      lost: walStatus === 'lost',
      retainedBytes: restartLsn === null || newest === null ? null : lagBytes(restartLsn, newest),
    })),
    vote: voteOf(view),
    priority: view.spec.priority,
    position: positionOf(view),
    lastCommitAt: lastCommitAt(view, snapshot.at),
    streamEndedAt: sightings.streamEndedAt,
    sightings: sightings.all,
  }
}

function knownDocument(known: Knowledge | null): KnownDocument | null {
  if (known === null) return null
  const { primacy, identity } = known
  const { epoch, phase, primary } = primacy
  return { epoch, phase, primary, text: formatPrimacy(primacy), identity }
}

function positionOf(view: ClusterView): NodePosition | null {
  const { position, server } = view.local
  if (position !== null) return { timelineId: position.timelineId, lsn: formatLsn(position.lsn) }
  const lsn = server === null ? null : flushPosition(server)
  return server === null || lsn === null ? null : { timelineId: server.timelineId, lsn: formatLsn(lsn) }
}

function lastCommitAt({ local }: ClusterView, at: string): string | null {
  const ageMs = local.server?.replayAgeMs ?? null
  return ageMs === null ? null : new Date(Date.parse(at) - ageMs).toISOString()
}

/** From which age on a look says nothing any more: the loop looks every second, and each of its waits has a deadline of its own. */
function staleMs(rtoMs: number): number {
  return Math.max(5_000, 2 * rtoMs)
}

export function seenHealth(
  options: AgentOptions,
  { view }: Snapshot,
  sightings: Sightings,
  nowMs: number,
): SeenHealth {
  return {
    health: healthOf(view, sightings.notStreamingMs(nowMs)),
    status: nodeStatus(options, view),
    epoch: knownEpoch(view),
    ageMs: nowMs - view.now,
    staleMs: staleMs(view.spec.rtoMs),
  }
}

export function nodeReport(options: AgentOptions, view: ClusterView, memory: Memory): NodeReport {
  const status = nodeStatus(options, view)
  const { directory } = view.local
  return {
    name: status.name,
    host: status.host,
    port: status.port,
    apiPort: status.apiPort,
    role: status.role,
    state: status.state,
    epoch: view.local.applied?.epoch ?? view.local.promisedEpoch,
    timelineId: status.timelineId,
    systemIdentifier: directory.kind === 'cluster' ? directory.control.systemIdentifier : null,
    flushLsn: status.flushLsn,
    replayLsn: status.replayLsn,
    suspects: suspectedEpoch(view),
    priority: view.spec.priority,
    vote: voteOf(view),
    replayPaused: view.local.server?.replayPaused === true,
    diskHangs: diskHangs(view, memory),
  }
}

function suspectedEpoch(view: ClusterView): number | null {
  const primacy = view.store.kind === 'read' ? view.store.facts.primacy?.value : undefined
  return primacy !== undefined && suspectsPrimary(view, primacy) ? primacy.epoch : null
}

function nodeStatus(options: AgentOptions, view: ClusterView): NodeStatus {
  const { server, postmaster } = view.local
  const flushLsn = server === null ? null : flushPosition(server)
  const standby = server?.inRecovery === true
  const lag =
    standby && server.replayLsn !== null && flushLsn !== null ? lagBytes(server.replayLsn, flushLsn) : 0
  return {
    name: options.node,
    role: roleOf(view),
    state: stateOf(view),
    host: options.host,
    port: options.port,
    apiPort: options.apiPort,
    timelineId: server?.timelineId ?? null,
    flushLsn: print(flushLsn),
    replayLsn: standby ? print(server.replayLsn) : null,
    replayLagBytes: server === null ? null : lag,
    replayLagMs: server === null ? null : lag === 0 ? 0 : server.replayAgeMs,
    syncState: null,
    upstream: standby && server.walreceiver !== null ? (view.local.applied?.upstream?.name ?? null) : null,
    agentPid: process.pid,
    postmasterPid: postmaster.kind === 'running' ? postmaster.pid : null,
  }
}

/** pg_last_wal_receive_lsn() starts at a segment's beginning after a restart; what was replayed was certainly on disk. */
function flushPosition(server: ServerFacts): Lsn | null {
  const known = [server.flushLsn, server.receiveLsn, server.walreceiver?.flushLsn, server.replayLsn]
  return known.reduce<Lsn | null>(
    (highest, each) => (each == null ? highest : maxLsn(highest ?? each, each)),
    null,
  )
}

function roleOf(view: ClusterView): NodeRole {
  const { server, applied } = view.local
  if (server !== null) return server.inRecovery ? 'standby' : 'primary'
  return applied?.role ?? 'unknown'
}

function stateOf(view: ClusterView): NodeState {
  const { server, postmaster, tasks } = view.local
  if (tasks.has('clone')) return 'cloning'
  if (tasks.has('rewind')) return 'rewinding'
  if (postmaster.kind !== 'running' || postmaster.status === 'starting') return 'stopped'
  if (server === null) return 'unreachable'
  if (!server.inRecovery) return 'running'
  return server.walreceiver?.status === 'streaming' ? 'streaming' : 'catchingUp'
}

function knownEpoch(view: ClusterView): number | null {
  const facts = view.store.kind === 'read' ? view.store.facts : view.store.last
  return facts?.primacy?.value.epoch ?? null
}

function print(lsn: Lsn | null): string | null {
  return lsn === null ? null : formatLsn(lsn)
}

/** Adds since when each problem has been there. */
export class ProblemClock {
  readonly #since = new Map<string, string>()

  stamp(found: readonly FoundProblem[], now: string): readonly Problem[] {
    const keys = new Set(found.map(keyOf))
    for (const key of this.#since.keys()) if (!keys.has(key)) this.#since.delete(key)
    return found.map((problem) => {
      const since = this.#since.get(keyOf(problem)) ?? now
      this.#since.set(keyOf(problem), since)
      return { ...problem, since }
    })
  }
}

function keyOf(problem: FoundProblem): string {
  return `${problem.node ?? ''}/${problem.code}`
}

export function taskProgress(
  view: ClusterView,
  clone: CloneProgress | null,
  startedAt: string,
): TaskProgress | null {
  if (view.local.tasks.has('initialize')) {
    return { task: 'initialize', phase: 'initdb', bytesDone: null, bytesTotal: null, startedAt }
  }
  if (!view.local.tasks.has('clone')) return null
  return {
    task: 'clone',
    phase: clone?.phase ?? 'connecting',
    bytesDone: clone?.bytesDone ?? 0,
    bytesTotal: clone?.bytesTotal ?? null,
    startedAt,
  }
}
