/**
 * The JSON of the agent's HTTP API and of `understudy status --json`. Scripts of users rely on these names: adding is free,
 * renaming is not. LSNs are text as PostgreSQL prints them; instants are ISO 8601 in UTC.
 */

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
  /** null while there is no proxy. */
  readonly endpoints: { readonly auto: string; readonly readWrite: string; readonly readOnly: string } | null
  readonly problems: readonly Problem[]
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
  readonly systemIdentifier: string | null
  readonly postgresVersion: string
  readonly task: TaskProgress | null
  readonly problems: readonly Problem[]
  readonly storeReachable: boolean
  readonly decision: Why
  /** Seen by the primary for each standby that streams from it. */
  readonly standbys: readonly StandbySeen[]
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

/** POST /v1/switchover, to the primary's agent. */
export interface SwitchoverBody {
  /** Left out: the standby that is furthest. */
  readonly to?: string
  readonly dryRun?: boolean
}

export interface SwitchoverAnswer {
  readonly from: string
  readonly to: string
  readonly epoch: number
  /** What the preflight looked at, each as one sentence. */
  readonly checks: readonly string[]
  /** false after a dry run. */
  readonly accepted: boolean
}

/** POST /v1/pause. */
export interface PauseBody {
  /** null: failover is automatic again. */
  readonly reason: string | null
}

/** Every failure of the API and of `--json`. */
export interface ErrorBody {
  readonly error: { readonly code: string; readonly message: string; readonly hint: string }
}
