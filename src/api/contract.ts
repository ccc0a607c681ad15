/**
 * The JSON of the agent's HTTP API and of `understudy status --json`. Scripts of users rely on these names: adding is free,
 * renaming is not. LSNs are text as PostgreSQL prints them; instants are ISO 8601 in UTC.
 */
import type { Check } from '../core/check.ts'
import type { NodeHealth } from '../core/health.ts'
import type { HistoryRecord } from '../core/history.ts'
import type { PhaseTime } from '../core/history-phases.ts'
import type { NodeLoss } from '../core/what-if.ts'
import type { ProxyState } from '../ports/cluster-store.ts'

export type NodeRole = 'primary' | 'standby' | 'unknown'

export type NodeState =
  | 'running'
  | 'streaming'
  | 'catchingUp'
  | 'cloning'
  | 'rewinding'
  | 'stopped'
  | 'unreachable'
  | 'fenced'

export interface NodeStatus {
  readonly name: string
  readonly role: NodeRole
  readonly state: NodeState
  readonly host: string
  readonly port: number
  readonly apiPort: number
  readonly timelineId: number | null
  readonly flushLsn: string | null
  readonly replayLsn: string | null
  readonly replayLagBytes: number | null
  readonly replayLagMs: number | null
  readonly syncState: 'sync' | 'quorum' | 'potential' | 'async' | null
  /** The node that it streams from. */
  readonly upstream: string | null
  readonly agentPid: number | null
  readonly postmasterPid: number | null
}

export interface Problem {
  readonly code: string
  readonly severity: 'warning' | 'error'
  /** null: it concerns the cluster. */
  readonly node: string | null
  readonly since: string
  readonly message: string
  readonly hint: string
}

export interface ClusterStatus {
  readonly cluster: string
  readonly epoch: number | null
  readonly phase: 'steady' | 'electing' | 'promoting' | null
  readonly primary: string | null
  readonly timelineId: number | null
  readonly durability: 'quorum' | 'async'
  readonly quorum: { readonly acks: number; readonly standbys: readonly string[] } | null
  readonly healthy: boolean
  readonly nodes: readonly NodeStatus[]
  /** host:port of the proxy's ports, with commas between several; null while there is no proxy. */
  readonly endpoints: Endpoints | null
  /** Those that run, as they last said of themselves, some seconds ago; null while the store does not answer. */
  readonly proxies: readonly ProxyStatus[] | null
  /** Nobody is elected by itself; null: failover is automatic. */
  readonly paused: Paused | null
  /** The next planned change of primary. */
  readonly scheduled: ScheduledSwitchover | null
  /** What would happen if each node were lost right now; null while there is no primary in office to begin from. */
  readonly whatIf: readonly NodeLoss[] | null
  readonly problems: readonly Problem[]
}

export interface ProxyStatus extends ProxyState {
  /** One that no other has, and another one after each start. */
  readonly name: string
}

/** null: the proxy does not serve it. */
export interface Endpoints {
  readonly auto: string | null
  readonly readWrite: string | null
  readonly readOnly: string | null
}

export interface ScheduledSwitchover {
  readonly to: string
  readonly at: string
  readonly by: string
}

/** A long task of a node, for progress bars: what it does, how far it is. */
export interface TaskProgress {
  readonly task: 'initialize' | 'clone' | 'rewind' | 'restore'
  readonly phase: string
  readonly bytesDone: number | null
  readonly bytesTotal: number | null
  readonly startedAt: string
}

/** GET /v1/node: what one agent knows of its own node. */
export interface NodeDetail {
  readonly status: NodeStatus
  readonly epoch: number | null
  readonly promisedEpoch: number
  /** The newest document of who is primary that it has read or written, which outlives the store; null: it knows of none. */
  readonly known: KnownDocument | null
  readonly systemIdentifier: string | null
  readonly postgresVersion: string
  readonly task: TaskProgress | null
  readonly problems: readonly Problem[]
  readonly storeReachable: boolean
  readonly decision: Why
  /** Seen by the primary for each standby that streams from it. */
  readonly standbys: readonly StandbySeen[]
  readonly slots: readonly SlotSeen[]
  /** What it could say in an election. */
  readonly vote: 'whole' | 'gone' | 'none'
  /** candidatePriority: 0 votes and is elected only when nobody else has what it has. */
  readonly priority: number
  /** As far as it has WAL; null while PostgreSQL does not answer. */
  readonly position: NodePosition | null
  /** Of a standby: when the last commit that it has replayed was made, by the clock of the primary that made it. */
  readonly lastCommitAt: string | null
  /** Of a standby that streams no more: when that was noticed. */
  readonly streamEndedAt: string | null
  /** Where the other nodes were last seen, by their own reports. */
  readonly sightings: readonly Sighting[]
}

export interface KnownDocument {
  readonly epoch: number
  readonly phase: 'steady' | 'electing' | 'promoting'
  readonly primary: string
  /** As it stands, or stood, in the store. */
  readonly text: string
  readonly identity: { readonly systemIdentifier: string; readonly major: number; readonly createdBy: string }
}

/** What the health paths are answered from. */
export interface SeenHealth {
  readonly health: NodeHealth
  readonly status: NodeStatus
  readonly epoch: number | null
  /** Since the agent's last whole look. */
  readonly ageMs: number
  /** From which age on nothing is known any more: the loop hangs. */
  readonly staleMs: number
}

export interface SlotSeen {
  readonly name: string
  readonly active: boolean
  /** WAL that it needs is gone. */
  readonly lost: boolean
  /** WAL that is kept for it; null: not known. */
  readonly retainedBytes: number | null
}

export interface Sighting extends NodePosition {
  readonly node: string
  readonly at: string
}

export interface StandbySeen {
  readonly name: string
  readonly state: string
  readonly syncState: 'sync' | 'quorum' | 'potential' | 'async'
  readonly flushLsn: string | null
  readonly replayLsn: string | null
  readonly writeLagMs: number | null
  readonly flushLagMs: number | null
  readonly replayLagMs: number | null
}

/** GET /v1/why: the rule that decided last, and its sentence (P6). */
export interface Why {
  readonly node: string
  readonly rule: string
  readonly reason: string
  readonly since: string
}

/** GET /v1/events: newest last. */
export interface ClusterEvent {
  /** Grows by one per event of this node; `?after=` asks for later ones. */
  readonly id: number
  readonly at: string
  readonly node: string
  readonly kind: string
  readonly message: string
  readonly rule?: string
  readonly epoch?: number
  readonly details?: Readonly<Record<string, string | number | boolean | null>>
}

/** What every answer to a request for a change has. */
export interface ChangeAnswer {
  readonly checks: readonly Check[]
  /** It was taken; false after a dry run. */
  readonly accepted: boolean
  /** What it is, or would be, refused with; then the status of anything but a dry run is 409. */
  readonly refusal: ErrorBody['error'] | null
}

/** POST /v1/switchover, to the primary's agent. */
export interface SwitchoverBody {
  /** Left out: the standby that is furthest. */
  readonly to?: string | undefined
  readonly dryRun?: boolean | undefined
  /** That the operator saw: in any other one it is refused. */
  readonly epoch?: number | undefined
  /** When it shall begin, ISO 8601 with a time zone; left out: at once. */
  readonly at?: string | undefined
  /** Who asks, for the record. */
  readonly by?: string | undefined
}

export interface SwitchoverAnswer extends ChangeAnswer {
  readonly from: string
  /** null: there is nobody who could be the primary. */
  readonly to: string | null
  readonly epoch: number | null
  readonly at: string | null
}

/** DELETE /v1/switchover. */
export interface CancelAnswer {
  readonly to: string
  readonly at: string | null
  readonly by: string
}

/** POST /v1/failover, to any agent. */
export interface FailoverBody {
  readonly to?: string | undefined
  readonly acceptDataLoss?: boolean | undefined
  readonly dryRun?: boolean | undefined
  readonly epoch?: number | undefined
  /** As the dry run showed them: other ones now, and it is refused. */
  readonly missing?: readonly string[] | undefined
  readonly by?: string | undefined
  readonly reason?: string | undefined
}

export interface FailoverAnswer extends ChangeAnswer {
  readonly epoch: number | null
  readonly phase: ClusterStatus['phase']
  readonly from: string | null
  readonly to: string | null
  readonly rules: readonly {
    readonly primary: string
    readonly acks: number
    readonly standbys: readonly string[]
    /** By the votes that can be had. */
    readonly satisfied: boolean
  }[]
  readonly voters: readonly string[]
  /** Whose votes the unsatisfied rules lack. */
  readonly missing: readonly string[]
  readonly mayLoseData: boolean
  readonly losses: readonly string[]
  readonly nodes: readonly FailoverNode[]
}

/** POST /v1/recover-store, to any agent that reaches the store. */
export interface RecoverStoreBody {
  /** Members that are left out, and what they alone know with them. */
  readonly without?: readonly string[] | undefined
  readonly acceptDataLoss?: boolean | undefined
  readonly dryRun?: boolean | undefined
  /** That the dry run would put back: another one now, and it is refused. */
  readonly epoch?: number | undefined
  readonly by?: string | undefined
  readonly reason?: string | undefined
}

export interface RecoverStoreAnswer extends ChangeAnswer {
  /** What the store says now. */
  readonly store: { readonly epoch: number | null; readonly phase: ClusterStatus['phase'] }
  readonly nodes: readonly RecoveryNode[]
  /** Whose document is put back; null: nobody knows any. */
  readonly source: string | null
  /** In which an election begins then. */
  readonly epoch: number | null
  /** Of that document. */
  readonly primary: string | null
  readonly rules: readonly {
    readonly primary: string
    readonly acks: number
    readonly standbys: readonly string[]
  }[]
  readonly losses: readonly string[]
}

export interface RecoveryNode {
  readonly name: string
  readonly answers: boolean
  readonly promisedEpoch: number | null
  readonly known: {
    readonly epoch: number
    readonly phase: ClusterStatus['phase']
    readonly primary: string
  } | null
  readonly timelineId: number | null
  readonly systemIdentifier: string | null
}

/** A node, as far as it can be seen. */
export interface FailoverNode {
  readonly name: string
  readonly answers: boolean
  readonly vote: 'whole' | 'gone' | 'none' | null
  readonly position: NodePosition | null
  /** Behind the most advanced that answers; null on another timeline. */
  readonly behindBytes: number | null
  readonly lastCommitAt: string | null
  readonly streamEndedAt: string | null
}

export interface NodePosition {
  readonly timelineId: number
  readonly lsn: string
}

/** POST /v1/pause; POST /v1/resume takes `by` alone. */
export interface PauseBody {
  /** null: failover is automatic again. */
  readonly reason: string | null
  readonly by?: string | undefined
}

export interface PauseAnswer {
  readonly paused: Paused | null
  /** How it was before. */
  readonly before: Paused | null
}

export interface Paused {
  readonly reason: string
  readonly by: string
  readonly at: string
}

/** POST /v1/reinit, to the standby's agent. */
export interface ReinitBody {
  readonly dryRun?: boolean | undefined
  readonly by?: string | undefined
}

export interface ReinitAnswer extends ChangeAnswer {
  readonly node: string
}

/** POST and DELETE /v1/members/NAME, to any other node's agent. */
export interface MemberAnswer {
  readonly node: string
  /** false: it was so already. */
  readonly changed: boolean
}

/** PUT /v1/bundle, to the agent of the node that it is for. */
export interface BundleBody {
  /** Path in the bundle → content, base64. */
  readonly files: Readonly<Record<string, string>>
  readonly dryRun?: boolean | undefined
  readonly by?: string | undefined
}

export interface BundleAnswer {
  /** Paths of the files that are, or would be, other ones. */
  readonly changed: readonly string[]
  /** The agent starts anew with them; PostgreSQL goes on. */
  readonly restarts: boolean
}

/** POST /v1/release */
export interface ReleaseBody {
  readonly dryRun?: boolean | undefined
  readonly by?: string | undefined
}

/** What a person needs to look after the server. Paths are of the node's machine. */
export interface ReleaseAnswer {
  readonly node: string
  readonly role: 'primary' | 'standby'
  readonly dataDirectory: string
  /** postgres -c config_file=… */
  readonly configFile: string
  readonly nodeDirectory: string
  readonly binDirectory: string
  /** What had started it before understudy did; null: it began with understudy. */
  readonly service: {
    readonly kind: 'debian' | 'plain'
    readonly cluster: string | null
    readonly startFile: string
    readonly startMode: string
    readonly configDirectory: string
    /** Of systemd, under which it ran; null, or left out by an older agent: none. */
    readonly unit?: { readonly name: string; readonly isEnabled: boolean } | null
  } | null
}

/** GET /v1/history: oldest first. */
export interface HistoryEntry extends HistoryRecord {
  readonly beganAt: string | null
  /** When `startedBy` first had the reason for it. */
  readonly detectedAt: string | null
  /** From the loss, or the stop, of the old primary to the first write that the new quorum acknowledged. */
  readonly outageMs: number | null
  readonly phases: readonly PhaseTime[]
}

/** Every failure of the API and of `--json`. */
export interface ErrorBody {
  readonly error: { readonly code: string; readonly message: string; readonly hint: string }
}
