/** Builds the view of one cycle from the modelled world, field by field as the docstrings of cluster-view.ts define them. */
import type { ClusterView, LocalView, NodeReport, Probe, StoreFacts } from '../src/core/cluster-view.ts'
import { suspectsPrimary } from '../src/core/detector.ts'
import type {
  DirectoryState,
  PostmasterState,
  ServerFacts,
  SlotFacts,
  WalsenderFacts,
} from '../src/core/facts.ts'
import { formatLsn, type Lsn, lsnOf, ZERO_LSN } from '../src/core/lsn.ts'
import { firstTimeline, type TimelineHistory } from '../src/core/timeline.ts'
import { voteOf } from '../src/core/vote.ts'
import type { SimAgent } from './agent.ts'
import { parseNames } from './names.ts'
import type { PostgresRun, SimNode, Walsender } from './node.ts'
import { isDrained } from './postgres.ts'
import { endOf } from './wal.ts'
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
  }
}

export type Local = LocalView

export function observeLocal(world: World, node: SimNode, agent: SimAgent, wasReceiving: boolean): Local {
  const { run, state, disk } = node
  const answers = run?.status === 'ready' && !node.postgresFrozen && !node.postmasterFrozen
  const server = run !== null && answers ? serverOf(world, node, run) : null
  if (server !== null && run !== null) noteServer(node, agent, run, server)
  return {
    session: agent.session,
    directory: directoryOf(node),
    postmaster: postmasterOf(run),
    server:
      server === null || !wasReceiving || server.walreceiver !== null ? server : withWalreceiver(server),
    promisedEpoch: state.promised,
    initialized: state.initialized,
    applied: agent.applied,
    tasks: new Set(agent.tasks.keys()),
    failures: new Map(agent.failures),
    proven: agent.proven,
    namesInEffect: run !== null && agent.namesKnown?.run === run.id ? agent.namesKnown.names : null,
    promotionAsked: run !== null && state.promoteAsked === run.id,
    newestHistory: Math.max(1, ...disk.histories.keys()),
    position: wasReceiving ? null : positionOf(node, agent),
    history: historyOf(node),
    followedEpoch: state.followed,
    probes: agent.probes,
    ranAsPrimaryIn: agent.ranAsPrimaryIn,
    sentinel: state.sentinel,
    primaryLeaseUntilMs: state.lease?.untilMs ?? null,
    awakeSinceMs: agent.awakeSinceMs,
    canRewind: world.canRewind,
    reinitAsked: false,
  }
}

/** What the shell learns from looking. */
function noteServer(node: SimNode, agent: SimAgent, run: PostgresRun, server: ServerFacts): void {
  const { applied } = agent
  if (!server.inRecovery && applied?.role === 'primary') agent.ranAsPrimaryIn = applied.epoch
  if (node.state.sentinel?.finished === true) node.state.sentinel = null
  if (server.inRecovery && server.walreceiver === null && isDrained(node) && applied?.upstream === null)
    agent.lastDrained = { run: run.id, position: endPosition(node) }
}

function endPosition(node: SimNode): { readonly timelineId: number; readonly lsn: Lsn } {
  return { timelineId: node.disk.timelineId(), lsn: lsn(node.disk.end()) }
}

function positionOf(node: SimNode, agent: SimAgent): LocalView['position'] {
  const { run, disk, state } = node
  if (!disk.present) return null
  if (run === null) {
    if (disk.state === 'shutDown') return { ...endPosition(node), complete: true }
    const known = disk.state === 'shutDownInRecovery' && agent.lastDrained?.run === disk.endedRun
    return known && agent.lastDrained !== null ? { ...agent.lastDrained.position, complete: true } : null
  }
  if (node.postmasterFrozen) return null
  if (run.status !== 'ready' || node.postgresFrozen || !run.inRecovery || run.walreceiver !== null)
    return null
  if (state.sentinel !== null) return null
  if (isDrained(node)) return { ...endPosition(node), complete: true }
  if (!run.streamed || disk.timelineId() !== run.timelineId) return null
  return {
    timelineId: disk.timelineId(),
    lsn: lsn(endOf(disk.wal, disk.flushed) + disk.partial),
    complete: false,
  }
}

function historyOf(node: SimNode): TimelineHistory {
  const timelineId = node.disk.timelineId()
  return timelineId <= 1 ? firstTimeline() : node.disk.historyOf(timelineId)
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
  return { kind: 'running', pid: run.id, status }
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

/** A process that was there a moment ago counts as there. */
function withWalreceiver(server: ServerFacts): ServerFacts {
  return {
    ...server,
    walreceiver: {
      pid: 1,
      status: 'stopping',
      senderHost: null,
      senderPort: null,
      receivedTimelineId: null,
      flushLsn: null,
      lastMessageAgeMs: null,
    },
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

/** Slots are not modelled: all are there and nothing is to be done about them. */
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
  local: Local,
): ClusterView {
  return {
    now: world.loop.now,
    self: node.name,
    spec: world.specOf(node.name),
    store:
      facts === null
        ? {
            kind: 'unreachable',
            reason: 'no answer',
            sinceMs: agent.unreachableSinceMs ?? world.loop.now,
            last: agent.last,
          }
        : { kind: 'read', facts },
    local,
  }
}

export function reportOf(view: ClusterView): NodeReport {
  const { server, applied, promisedEpoch, tasks, postmaster } = view.local
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
    systemIdentifier: null,
    flushLsn: null,
    replayLsn: replay === null ? null : formatLsn(replay),
    suspects: primacy !== undefined && suspectsPrimary(view, primacy) ? primacy.epoch : null,
    priority: view.spec.priority,
    vote: voteOf(view),
    replayPaused: server?.replayPaused === true,
  }
}

/** New connections to the two ports of the primary that the store named last. */
export function probe(world: World, node: SimNode, agent: SimAgent): void {
  const primary = agent.last?.primacy?.value.primary
  if (primary === undefined || primary === node.name) {
    agent.probes = null
    return
  }
  const { now } = world.loop
  const before = agent.probes?.primary === primary ? agent.probes : null
  const target = world.node(primary)
  const reached = target.machineUp && world.network.connects(node.name, primary)
  const runs = target.run !== null && target.run.status !== 'stopping'
  agent.probes = {
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
