/**
 * Builds the view of one cycle from the modelled world, in the order of src/agent/observe.ts: first the files, the process and SQL, at one
 * moment, while the store is asked at another; then what the agent remembers; and at last the position, the process list before SQL.
 */
import type { ClusterView, LocalView, NodeReport, Probe, StoreFacts } from '../src/core/cluster-view.ts'
import { suspectsPrimary } from '../src/core/detector.ts'
import type {
  DirectoryState,
  PostmasterState,
  ServerFacts,
  SlotFacts,
  WalsenderFacts,
} from '../src/core/facts.ts'
import { believed } from '../src/core/knowledge.ts'
import { formatLsn, type Lsn, lsnOf, ZERO_LSN } from '../src/core/lsn.ts'
import { firstTimeline, type TimelineHistory } from '../src/core/timeline.ts'
import { voteOf } from '../src/core/vote.ts'
import type { SimAgent } from './agent.ts'
import { parseNames } from './names.ts'
import type { Disk, PostgresRun, SimNode, Walsender } from './node.ts'
import { isDrained } from './postgres.ts'
import { readable } from './timelines.ts'
import { endOf, timelineOf } from './wal.ts'
import type { World } from './world.ts'

const ABSENT: DirectoryState = { kind: 'absent' }
const STOPPED: PostmasterState = { kind: 'stopped' }

function lsn(value: number): Lsn {
  return lsnOf(BigInt(value))
}

/** One linearizable look; the other nodes' reports are hints and now and then older. */
export function readFacts(world: World, last: StoreFacts | null): StoreFacts {
  const { store } = world
  const primacy = store.primacy
  const epoch = primacy?.value.epoch
  const old = last !== null && world.random.chance(0.1)
  return {
    primacy,
    identity: store.identity,
    claim: store.liveClaim(),
    nodes: old ? last.nodes : store.liveReports(),
    ballots:
      primacy?.value.phase === 'electing' ? store.ballots.filter((ballot) => ballot.epoch === epoch) : [],
    switchover: store.switchover,
    failover: store.failover,
    paused: store.paused,
    leaseHolder: store.leaseHolder(),
    stale: store.stale,
  }
}

/** What was seen of the node itself at one moment. */
export interface Look {
  readonly run: PostgresRun | null
  readonly disk: Disk
  readonly directory: DirectoryState
  readonly postmaster: PostmasterState
  readonly server: ServerFacts | null
}

export function look(world: World, node: SimNode): Look {
  const { run, disk } = node
  const server = run !== null && answersSql(node) ? serverOf(world, node, run) : null
  const seen = { run, disk, directory: directoryOf(node), postmaster: postmasterOf(run), server }
  node.agent.knows.lastLook = seen
  return seen
}

function answersSql(node: SimNode): boolean {
  return node.run?.status === 'ready' && !node.postgresFrozen && !node.postmasterFrozen
}

/** At the end of the lease, where SQL must not be waited for: the process list, the files, and what was seen before. */
export function glance(node: SimNode, agent: SimAgent): Look {
  const { run, disk } = node
  const seen = agent.knows.lastLook
  const server = run !== null && seen?.run?.pid === run.pid ? seen.server : null
  return { run, disk, directory: directoryOf(node), postmaster: postmasterOf(run), server }
}

type Position = Pick<LocalView, 'position' | 'history'>

export const NOWHERE: Position = { position: null, history: firstTimeline() }

/** What the agent remembers is read after the look, and may be of later. */
export function localView(world: World, node: SimNode, agent: SimAgent, seen: Look, at: Position): LocalView {
  const { state } = node
  return {
    session: agent.session,
    directory: seen.directory,
    postmaster: seen.postmaster,
    server: seen.server,
    promisedEpoch: state.promised,
    known: agent.knows.known,
    initialized: state.initialized,
    applied: agent.knows.applied,
    tasks: new Set(agent.tasks.keys()),
    stopping: agent.knows.stopping,
    failures: new Map(agent.failures),
    proven: agent.knows.proven,
    namesInEffect: agent.knows.namesInEffect,
    promotionAsked: seen.run !== null && state.promoteAsked === seen.run.pid,
    newestHistory: Math.max(1, ...node.disk.histories.keys()),
    position: at.position,
    history: at.history,
    followedEpoch: state.followed,
    probes: agent.knows.probes,
    ranAsPrimaryIn: agent.knows.ranAsPrimaryIn,
    sentinel: state.sentinel,
    primaryLeaseUntilMs: state.lease?.untilMs ?? null,
    awakeSinceMs: agent.awakeSinceMs,
    diskTriedSinceMs: null,
    canRewind: world.canRewind,
    recovery: recoveryOf(node),
    reinitAsked: agent.knows.reinitAsked,
  }
}

function recoveryOf({ run }: SimNode): LocalView['recovery'] {
  if (run === null || run.status !== 'starting' || !run.inRecovery) return null
  return { segment: String(run.replayed), streams: run.walreceiver?.connection != null }
}

/** Without waiting for a position: only a glance does that. */
export function localGlance(world: World, node: SimNode, agent: SimAgent): LocalView {
  return localView(world, node, agent, glance(node, agent), NOWHERE)
}

/** As recovery sees it. */
function endPosition({ disk, run }: SimNode): { readonly timelineId: number; readonly lsn: Lsn } {
  const found = run?.inRecovery === true ? readable(disk, run.timelineId) : disk.wal.length
  return { timelineId: timelineOf(disk.wal, found), lsn: lsn(endOf(disk.wal, found)) }
}

function historyOf(disk: Disk, timelineId: number): TimelineHistory {
  return timelineId <= 1 ? firstTimeline() : disk.historyOf(timelineId)
}

/** The process list; null: a walreceiver runs, so there is no position. */
export function receives(node: SimNode): boolean {
  return node.run !== null && node.run.walreceiver !== null
}

/** Then the position: of a running PostgreSQL by SQL, of a stopped one from its files (src/postgres/position.ts, src/agent/observe.ts). */
export function readPosition(node: SimNode, agent: SimAgent, seen: Look): Position {
  const { run, disk } = node
  const stopped = seen.postmaster.kind === 'stopped'
  if (!disk.present || disk !== seen.disk || stopped !== (run === null)) return NOWHERE
  const position = run === null ? stoppedPosition(node, agent) : runningPosition(node, agent, run)
  return position === null ? NOWHERE : { position, history: historyOf(disk, position.timelineId) }
}

function stoppedPosition(node: SimNode, agent: SimAgent): LocalView['position'] {
  const { disk } = node
  if (disk.state === 'shutDown') return { ...endPosition(node), complete: true }
  const { drained, moves } = agent.knows
  if (drained === null || disk.state !== 'shutDownInRecovery') return null
  const stays = drained.moves === moves || node.agent.keepsDrained
  return stays ? { ...drained.position, complete: true } : null
}

function runningPosition(node: SimNode, agent: SimAgent, run: PostgresRun): LocalView['position'] {
  const { disk } = node
  const here = endPosition(node)
  const waits = run.inRecovery && run.walreceiver === null && isDrained(node)
  const before = agent.knows.drainedAt
  agent.knows.drainedAt = waits ? here.lsn : null
  if (!answersSql(node) || !run.inRecovery || run.walreceiver !== null) return null
  // Seen so twice.
  if (waits && before === here.lsn) {
    const fenced = agent.knows.applied?.role === 'standby' && agent.knows.applied.upstream === null
    agent.knows.drained = fenced ? { moves: agent.knows.moves, position: here } : null
    return { ...here, complete: true }
  }
  if (!agent.keepsDrained) agent.knows.drained = null
  if (!run.streamed || disk.timelineId() !== run.timelineId) return null
  const bound = endOf(disk.wal, disk.flushed) + disk.partial
  return { timelineId: disk.timelineId(), lsn: lsn(bound), complete: false }
}

function directoryOf(node: SimNode): DirectoryState {
  const { disk } = node
  if (!disk.present) return ABSENT
  const checkpoint = lsn(endOf(disk.wal, disk.checkpoint))
  return {
    kind: 'cluster',
    major: 18,
    control: {
      systemIdentifier: disk.systemIdentifier,
      state: disk.state,
      timelineId: disk.controlTimelineId,
      checkpointLsn: checkpoint,
      redoLsn: checkpoint,
      minRecoveryLsn: ZERO_LSN,
      minRecoveryTimelineId: disk.minTimelineId,
      dataChecksums: true,
      walSegmentSize: 16 * 1024 * 1024,
    },
    standbySignal: disk.standbySignal,
    recoverySignal: false,
    backupLabel: false,
  }
}

function postmasterOf(run: PostgresRun | null): PostmasterState {
  if (run === null) return STOPPED
  const status = run.status === 'ready' && run.inRecovery ? 'standby' : run.status
  return { kind: 'running', pid: run.pid, status }
}

function serverOf(world: World, node: SimNode, run: PostgresRun): ServerFacts {
  const { disk } = node
  const flushed = lsn(endOf(disk.wal, disk.flushed))
  const { inRecovery } = run
  return {
    inRecovery,
    timelineId: inRecovery ? disk.timelineId() : run.timelineId,
    systemIdentifier: disk.systemIdentifier,
    insertLsn: inRecovery ? null : lsn(disk.end()),
    flushLsn: inRecovery ? null : flushed,
    receiveLsn: inRecovery && run.streamed ? flushed : null,
    replayLsn: inRecovery ? lsn(endOf(disk.wal, run.replayed)) : null,
    replayPaused: false,
    replayAgeMs: null,
    walreceiver: run.walreceiver === null ? null : walreceiverOf(world, run),
    walsenders:
      run.walsenders.size === 0 ? [] : [...run.walsenders.values()].map((each) => walsenderOf(node, each)),
    slots: slotsOf(world, node),
    synchronousStandbyNames: run.names,
    postmasterStartedAtMs: run.startedAtMs,
    pendingRestart: [],
  }
}

function walreceiverOf(world: World, run: PostgresRun): ServerFacts['walreceiver'] {
  const { walreceiver } = run
  if (walreceiver === null) return null
  const { connection } = walreceiver
  const { now } = world.loop
  const silentMs =
    connection === null
      ? now - walreceiver.lastMessageAtMs
      : connection.lostAtMs === null
        ? Math.min(900, now - walreceiver.lastMessageAtMs)
        : now - Math.min(connection.lostAtMs, walreceiver.lastMessageAtMs)
  return {
    pid: run.id + 1,
    status: connection === null ? 'connecting' : 'streaming',
    senderHost: walreceiver.upstream,
    senderPort: 5432,
    receivedTimelineId: null,
    flushLsn: null,
    lastMessageAgeMs: silentMs,
  }
}

function walsenderOf(node: SimNode, walsender: Walsender): WalsenderFacts {
  const position = lsn(endOf(node.disk.wal, walsender.flushed))
  const listed = parseNames(walsender.names).standbys.includes(walsender.name)
  return {
    pid: walsender.pid,
    applicationName: walsender.name,
    state: walsender.flushed === 0 ? 'catchup' : 'streaming',
    sentLsn: position,
    writeLsn: position,
    flushLsn: walsender.flushed === 0 ? null : position,
    replayLsn: position,
    writeLagMs: null,
    flushLagMs: null,
    replayLagMs: null,
    syncState: listed ? 'quorum' : 'async',
    syncPriority: listed ? 1 : 0,
  }
}

const slotCache = new WeakMap<SimNode, readonly SlotFacts[]>()

/** Slots are not modelled: all are there and nothing is to be done about them. WAL can be gone all the same (faults). */
function slotsOf(world: World, node: SimNode): readonly SlotFacts[] {
  const known = slotCache.get(node)
  if (known !== undefined) return known
  const slots = world.members.map(
    ({ name }): SlotFacts => ({
      name: `understudy_${name}`,
      active: true,
      temporary: false,
      physical: true,
      restartLsn: null,
      walStatus: 'reserved',
      holdsXmin: false,
    }),
  )
  slotCache.set(node, slots)
  return slots
}

export function viewOf(
  world: World,
  node: SimNode,
  agent: SimAgent,
  facts: StoreFacts | null,
  local: LocalView,
): ClusterView {
  const now = agent.now()
  return {
    now,
    self: node.name,
    spec: world.specOf(node.name),
    store:
      facts === null
        ? {
            kind: 'unreachable',
            reason: 'no answer',
            sinceMs: agent.knows.unreachableSinceMs ?? now,
            last: agent.knows.last,
          }
        : believed(facts, local.known, local.promisedEpoch, agent.knows.unreachableSinceMs ?? now),
    local,
  }
}

export function reportOf(view: ClusterView): NodeReport {
  const { server, applied, promisedEpoch, tasks, postmaster, directory } = view.local
  const primacy = view.store.kind === 'read' ? view.store.facts.primacy?.value : undefined
  const role = server === null ? (applied?.role ?? 'unknown') : server.inRecovery ? 'standby' : 'primary'
  let state = 'unreachable'
  if (tasks.has('clone')) state = 'cloning'
  else if (tasks.has('rewind')) state = 'rewinding'
  else if (postmaster.kind !== 'running' || postmaster.status === 'starting') state = 'stopped'
  else if (server !== null && !server.inRecovery) state = 'running'
  else if (server !== null) state = server.walreceiver?.status === 'streaming' ? 'streaming' : 'catchingUp'
  const replay = server?.replayLsn ?? null
  return {
    name: view.self,
    host: view.self,
    port: 5432,
    apiPort: 5433,
    role,
    state,
    epoch: applied?.epoch ?? promisedEpoch,
    timelineId: server?.timelineId ?? null,
    systemIdentifier: directory.kind === 'cluster' ? directory.control.systemIdentifier : null,
    flushLsn: null,
    replayLsn: replay === null ? null : formatLsn(replay),
    suspects: primacy !== undefined && suspectsPrimary(view, primacy) ? primacy.epoch : null,
    priority: view.spec.priority,
    vote: voteOf(view),
    replayPaused: server?.replayPaused === true,
    diskHangs: false,
  }
}

/** New connections to the two ports of the primary that the store named last. */
export function probe(world: World, node: SimNode, agent: SimAgent): void {
  const primary = agent.knows.last?.primacy?.value.primary
  if (primary === undefined || primary === node.name) {
    agent.knows.probes = null
    return
  }
  const now = agent.now()
  const before = agent.knows.probes?.primary === primary ? agent.knows.probes : null
  const target = world.node(primary)
  const reached = target.machineUp && world.network.connects(node.name, primary)
  const runs = target.run !== null && target.run.status !== 'stopping'
  agent.knows.probes = {
    primary,
    agent: answerOf(reached, target.agent.alive, target.agent.frozen, before?.agent, now),
    postgres: answerOf(
      reached,
      runs,
      target.postgresFrozen || target.postmasterFrozen,
      before?.postgres,
      now,
    ),
  }
}

function answerOf(
  reached: boolean,
  runs: boolean,
  frozen: boolean,
  before: Probe | undefined,
  now: number,
): Probe {
  if (reached && !runs) return { kind: 'refused', atMs: now }
  if (reached && !frozen) return { kind: 'answers', atMs: now }
  return { kind: 'silent', atMs: before === undefined || before.kind === 'refused' ? now : before.atMs }
}
