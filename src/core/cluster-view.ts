/**
 * What one agent knows at one moment: the immutable input of `decide`. Store facts, facts of the local PostgreSQL, reports of the
 * other nodes. Everything but `primacy` (read just now) and the local facts is a hint with an age (docs/architecture: what is
 * trusted). Instants are milliseconds of a monotonic clock.
 */
import type { ErrorCode } from '../errors/codes.ts'
import type { Ballot } from './ballot.ts'
import type { DirectoryState, Member, PostmasterState, RecoveryFacts, ServerFacts } from './facts.ts'
import type { Identity, Knowledge, Primacy, Rule, StaleMark } from './primacy.ts'

import type { TimelineHistory, TimelinePosition } from './timeline.ts'

export interface ClusterView {
  readonly now: number
  readonly self: string
  readonly spec: Spec
  readonly store: StoreView
  readonly local: LocalView
}

/** What the operator wants. */
export interface Spec {
  /** In the order of the configuration; the first is preferred at bootstrap. */
  readonly members: readonly Member[]
  readonly durability: 'quorum' | 'async'
  readonly rtoMs: number
  readonly whenStandbyLost: 'relax' | 'block'
  /** Of this node; 0 votes but is not elected. */
  readonly priority: number
  /** Major version of the binaries of this node. */
  readonly major: number
}

export interface Versioned<T> {
  readonly value: T
  /** The key's modRevision: what a compare-and-swap compares. */
  readonly revision: bigint
}

export type StoreView =
  /** Not read successfully in this cycle; `last` is what was read before, a hint only. */
  | {
      readonly kind: 'unreachable'
      readonly reason: string
      readonly sinceMs: number
      readonly last: StoreFacts | null
    }
  /** It answers, and has forgotten what this node or another one knows: restored from an old copy, emptied, or another cluster's. */
  | {
      readonly kind: 'stale'
      readonly code: 'store-stale' | 'store-empty' | 'system-identifier'
      readonly reason: string
      readonly sinceMs: number
      /** What it says. */
      readonly facts: StoreFacts
      /** The same with what this node knows in the place of primacy; a hint only. */
      readonly last: StoreFacts | null
    }
  | { readonly kind: 'read'; readonly facts: StoreFacts }

export interface StoreFacts {
  readonly primacy: Versioned<Primacy> | null
  readonly identity: Identity | null
  readonly claim: Versioned<BootstrapClaim> | null
  readonly nodes: ReadonlyMap<string, NodeReport>
  /** Those of primacy's epoch; read only while there is an election. */
  readonly ballots: readonly Ballot[]
  readonly switchover: Versioned<SwitchoverRequest> | null
  readonly failover: Versioned<FailoverRequest> | null
  /** Nobody shall start an election by itself (`pause`, `down`); null when failover is automatic. */
  readonly paused: Pause | null
  /** Who holds the lease of I10; null when nobody does. Matters only to rules without acknowledgements. */
  readonly leaseHolder: string | null
  /** A node has found that the store forgot what that node knows; only an operator takes it away (`recover-store`). */
  readonly stale: StaleMark | null
}

/** Instants in what operators ask for are ISO 8601 by the clock of the agent that was asked: for people, never for a decision. */
export interface Pause {
  readonly reason: string
  readonly by: string
  readonly at: string
}

/** A planned change of primary; the primary's agent, which took it, acts on it. */
export interface SwitchoverRequest {
  readonly to: string
  /** Of the primacy that the operator saw: in any other epoch the request is void. */
  readonly epoch: number
  /** Of the agent that took it: its successor does not carry out late what nobody waits for any more. null: scheduled, not yet due. */
  readonly session: string | null
  /** When it shall begin; null: at once. */
  readonly at: string | null
  readonly by: string
  readonly requestedAt: string
}

/** An election asked for by an operator, for when none begins by itself or none can end. Any agent acts on it. */
export interface FailoverRequest {
  /** Of the primacy that the operator saw: in any other epoch the request is void. */
  readonly epoch: number
  readonly to: string | null
  /** Voters that I2 asks for and that the operator does without, exactly as seen; empty: only what I2 allows. */
  readonly missing: readonly string[]
  readonly by: string
  readonly reason: string | null
  readonly requestedAt: string
  /** The sentences with which the operator was told what may be lost; for the history. */
  readonly losses: readonly string[]
}

/** Who may initialize the first primary; bound to a lease, so that a dead claimant does not block the cluster. */
export interface BootstrapClaim {
  readonly node: string
  /** Of the agent's process: a restarted agent takes its predecessor's claim over, with its own lease. */
  readonly session: string
}

/** A node's own report, bound to its lease: gone when its agent is. */
export interface NodeReport {
  readonly name: string
  readonly host: string
  readonly port: number
  readonly apiPort: number
  readonly role: 'primary' | 'standby' | 'unknown'
  readonly state: string
  readonly epoch: number
  readonly timelineId: number | null
  readonly systemIdentifier: string | null
  readonly flushLsn: string | null
  readonly replayLsn: string | null
  /** The epoch whose primary this node believes to be dead; null when it does not. */
  readonly suspects: number | null
  readonly priority: number
  /** What it can say in an election: where its data ends, what its data was before it was opened up ("gone", I12), or nothing. */
  readonly vote: 'whole' | 'gone' | 'none'
  readonly replayPaused: boolean
  /** Its disk takes no writes; of an agent that did not look yet: false. */
  readonly diskHangs: boolean
}

/**
 * What new connections to the primary's ports came to. `atMs`: when the last byte was answered, or the refusal was seen; when silent, since
 * when: at the latest when the first of the questions was asked that nobody has answered.
 */
export interface Probe {
  readonly kind: 'answers' | 'refused' | 'silent'
  readonly atMs: number
}

export interface PrimaryProbes {
  readonly primary: string
  readonly agent: Probe
  readonly postgres: Probe
}

/**
 * A data directory that is being rewound, or swapped for a clone: what it held before, so that it can still be voted (I12). Written and
 * fsynced before the first byte of the directory changes.
 */
export interface Sentinel {
  readonly position: TimelinePosition | null
  readonly history: TimelineHistory
  /** Whose primary is the source. */
  readonly epoch: number
  /**
   * The rewind has ended well, but needs WAL of its source before it is consistent: PostgreSQL may be started to stream from that
   * epoch's primary and from nobody else. The shell removes the sentinel when it has seen PostgreSQL accept connections.
   */
  readonly finished: boolean
}

/** How PostgreSQL's files say it shall run; null when this agent has not written them yet. */
export interface WantedConfiguration {
  readonly role: 'primary' | 'standby'
  readonly epoch: number
  readonly upstream: Member | null
  readonly synchronousStandbyNames: string
  /**
   * true: it streams under a name that stands in no rule, so what it flushes acknowledges nothing. Rewound and not consistent yet, it
   * could not be elected for what it has acknowledged (I12).
   */
  readonly rejoining?: true
}

export type TaskKind = 'initialize' | 'clone' | 'rewind' | 'start' | 'stop' | 'prove' | 'promote' | 'settle'

export interface Failure {
  readonly code: ErrorCode
  readonly reason: string
  readonly hint: string
  readonly atMs: number
  /** In a row; a success sets it back. */
  readonly count: number
}

export interface LocalView {
  /** Random, new with every start of the agent. */
  readonly session: string
  readonly directory: DirectoryState
  readonly postmaster: PostmasterState
  /** null while PostgreSQL does not answer SQL (stopped, starting, hung). */
  readonly server: ServerFacts | null
  /** Highest epoch promised, from the state directory, fsynced (I3). */
  readonly promisedEpoch: number
  /** The newest document that this node has read or written, which outlives the store; null: it has never known one, or lost it. */
  readonly known: Knowledge | null
  /** Set when this node's data directory was made by initialize: the system identifier that it then got. */
  readonly initialized: string | null
  readonly applied: WantedConfiguration | null
  readonly tasks: ReadonlySet<TaskKind>
  /** How PostgreSQL is being stopped while the task `stop` runs; a stop in order can be hastened. */
  readonly stopping: 'fast' | 'immediate' | null
  readonly failures: ReadonlyMap<TaskKind, Failure>
  /** The last rule whose commit was proven to wait (I5), and when that proof BEGAN. */
  readonly proven: { readonly rule: Rule; readonly atMs: number } | null
  /**
   * The synchronous_standby_names that every process of this postmaster is known to have applied: what it was started with by this agent,
   * or what the last `settle` ended with; null when that is not known (a reload since, or another agent's postmaster). SHOW is no proof
   * (I5).
   */
  readonly namesInEffect: string | null
  /** A promotion was asked of the postmaster that runs now (state directory, with its pid): it may become writable at any moment. */
  readonly promotionAsked: boolean
  /** The highest timeline whose history file PostgreSQL itself has written here; empty files that fill gaps do not count; 1 when none. */
  readonly newestHistory: number
  /**
   * The end of what is on this node's disk, when that is stable (I3c, M: posNaive); null otherwise. The process list is read first and
   * must show no walreceiver, then the position is read; never the other way round.
   * - In recovery and drained (the startup process waits for WAL): the timeline and end of the last complete record; `complete`.
   * - In recovery, not drained, and this postmaster has streamed WAL of that timeline at or past its replay position:
   *   pg_last_wal_receive_lsn() as a bound; not `complete`.
   * - Stopped after a clean shutdown as primary: the end of the shutdown record; `complete`.
   * - Stopped cleanly in recovery: what this agent last saw as drained while `applied` had no upstream, if that was of the postmaster
   *   that ended and it has not been given an upstream since; `complete`. Nothing else is known of a stopped one: recovery must look.
   * - Writable: null.
   */
  readonly position: (TimelinePosition & { readonly complete: boolean }) | null
  /** Of the position's timeline; of the timeline that is written on a primary. */
  readonly history: TimelineHistory
  /**
   * Written and fsynced before files with an upstream are, and after a rewind or clone has ended well, with its epoch.
   * The newest epoch whose primary this node has followed after I8 was checked, from the state directory: what came since came from there.
   */
  readonly followedEpoch: number
  readonly probes: PrimaryProbes | null
  /** The epoch in which this agent has seen its own PostgreSQL run as primary. */
  readonly ranAsPrimaryIn: number | null
  readonly sentinel: Sentinel | null
  /**
   * The end of the own lease of I10, counted from the SENDING of its last taking or renewal; null when it is not held. It and the lease's
   * id survive the agent (state directory, CLOCK_MONOTONIC beside the boot id, no fsync needed), for PostgreSQL does too. The shell
   * renews it by itself while it is held.
   */
  readonly primaryLeaseUntilMs: number | null
  /** When this process started, or went on after a pause longer than `pauseMs`: evidence from before does not count. */
  readonly awakeSinceMs: number
  /** Since when a write that tries the disk of the WAL has not come back; null: the last one has. */
  readonly diskTriedSinceMs: number | null
  readonly canRewind: boolean
  /** Of a PostgreSQL that replays WAL and lets nobody in yet; null otherwise. */
  readonly recovery: RecoveryFacts | null
  /** An operator asked this agent to clone its node anew; forgotten with the agent. */
  readonly reinitAsked: boolean
}

export function member(spec: Spec, name: string): Member | null {
  return spec.members.find((each) => each.name === name) ?? null
}

export function otherMembers(view: ClusterView): readonly Member[] {
  return view.spec.members.filter((each) => each.name !== view.self)
}

/** PostgreSQL allows lower-case letters, digits and _ in slot names; the prefix tells ours from a user's. */
export const SLOT_PREFIX = 'understudy_'

export function slotName(node: string): string {
  return `${SLOT_PREFIX}${node.replaceAll('-', '_')}`
}
