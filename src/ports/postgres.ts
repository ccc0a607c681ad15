/**
 * What the agent needs from its one local PostgreSQL. The agent acts on it by files, signals and promotion; SQL is for looking,
 * for slots and for the proving commit. Facts are values with an age; expected failure is a value.
 */
import type {
  DirectoryState,
  PostmasterState,
  RecoveryFacts,
  ReplicationConfiguration,
  ServerFacts,
} from '../core/facts.ts'
import type { Lsn } from '../core/lsn.ts'
import type { Rule } from '../core/primacy.ts'
import type { TimelineHistory, TimelinePosition } from '../core/timeline.ts'
import type { ErrorCode } from '../errors/codes.ts'

export type {
  ControlFacts,
  ControlState,
  DirectoryState,
  Member,
  PostmasterState,
  ReplicationConfiguration,
  ServerFacts,
  SlotFacts,
  WalreceiverFacts,
  WalsenderFacts,
} from '../core/facts.ts'

export type Outcome<T = null> =
  | { readonly kind: 'ok'; readonly value: T }
  | { readonly kind: 'failed'; readonly code: ErrorCode; readonly reason: string; readonly hint?: string }

export interface Postgres {
  /** Files and process list only: cheap, never blocks on PostgreSQL. */
  inspectDirectory(): Promise<DirectoryState>
  inspectPostmaster(): Promise<PostmasterState>
  /** Writes a few bytes to the disk of the WAL and comes back when they are on it, or when that has failed: at once where there is no data. */
  tryDisk(): Promise<void>
  /** One SQL look within the deadline; keeps one connection open. */
  observe(deadlineMs: number): Promise<Outcome<ServerFacts>>

  /**
   * initdb, roles, database: everything that a first primary needs, in a directory beside the data directory, which gets its final
   * name (rename, directory fsynced) only at the end, with the server shut down cleanly. Interrupted at any point it leaves nothing
   * under the final name. `beforeNamed` is awaited right before that: whoever is killed then finds its own data again, and knows it.
   */
  initialize(signal: AbortSignal, beforeNamed: (systemIdentifier: string) => Promise<void>): Promise<Outcome>
  /** Removes what interrupted initialize/clone runs left beside the data directory. Never touches the data directory. */
  removeLeftovers(): Promise<readonly string[]>

  /** Writes conf/*, the signal files and sanitizes postgresql.auto.conf. Says what is different now. */
  configure(
    configuration: ReplicationConfiguration,
  ): Promise<Outcome<{ readonly changed: boolean; readonly refused: readonly RefusedParameter[] }>>
  /** Spawns the postmaster detached, so that it outlives the agent. Ends when it accepts connections or has failed (with the log's words). */
  /** `mayBegin` is asked right before the spawn (I10). */
  start(deadlineMs: number, mayBegin?: () => boolean): Promise<Outcome<{ readonly pid: number }>>
  /**
   * fast: SIGINT, and SIGQUIT after the deadline, or as soon as `hasten` aborts. immediate: SIGQUIT. SIGQUIT goes to every process, sent
   * before anything is waited for, so that a postmaster or a disk that hangs holds nothing up; SIGKILL follows. Ok when nothing of it runs.
   */
  stop(mode: 'fast' | 'immediate', deadlineMs: number, hasten?: AbortSignal): Promise<Outcome>
  reload(): Promise<Outcome>
  /** On a connection of its own, so that nothing else waits for it. */
  checkpoint(deadlineMs: number): Promise<Outcome>

  /** On a standby a slot is created at the replay position; reserves WAL at once. An existing one is fine. */
  createSlot(name: string): Promise<Outcome>
  dropSlot(name: string): Promise<Outcome>
  /** Never backwards (55000 is a no-op), never beyond what this node has. */
  advanceSlot(name: string, to: Lsn): Promise<Outcome>
  /** A commit with synchronous_commit=on that must be acknowledged as the rule says, within the deadline (I5's proof). */
  proveCommit(
    deadlineMs: number,
    rule: Pick<Rule, 'acks' | 'standbys'>,
  ): Promise<Outcome<{ readonly commitLsn: Lsn }>>
  /** Ends walsenders by signal; they come back in a moment with the settings in effect. */
  endWalsenders(pids: readonly number[]): Promise<Outcome>

  /** Calls back when the postmaster ends or its connection breaks, as early as can be known. */
  onChange(listener: (what: string) => void): void
  /** By the titles of its processes; null when it is not in recovery, or has not come to replaying yet. */
  inspectRecovery(postmasterPid: number): Promise<RecoveryFacts | null>
  /** null: not stable yet (a walreceiver runs, or replay has not drained what is on disk), or only recovery can tell. */
  stablePosition(request: PositionRequest): Promise<Outcome<StablePosition | null>>
  /** Onto exactly this timeline (I6), that very postmaster; ok when it is out of recovery. `mayBegin` is asked right before. */
  promote(request: PromoteRequest): Promise<Outcome<{ readonly nextXid: string }>>
  /** The highest timeline whose history file PostgreSQL wrote here (ours that fill gaps are empty); 1 when none. */
  newestHistory(): Promise<number>
  /** Ends the walsenders and makes a checkpoint, which is answered only after every setting was read; gives SHOW's names (I5). */
  settle(deadlineMs: number): Promise<Outcome<{ readonly synchronousStandbyNames: string }>>
  /** Has the primary make a checkpoint on its timeline, then pg_rewind. PostgreSQL must be stopped here. */
  rewind(source: RewindFrom, target: RewindTarget, signal: AbortSignal): Promise<Outcome>
  /** Renames a stopped data directory to aside/<time>-<reason>, both directories fsynced; returns the new path (I11). */
  moveAside(reason: string): Promise<Outcome<{ readonly path: string }>>
  /** Of the directories that clones have replaced all but the newest; gives what is gone. */
  removeReplaced(): Promise<Outcome<readonly string[]>>
  /** Closes connections; leaves PostgreSQL running. */
  close(): Promise<void>
}

/** The reason of a directory that a whole clone has replaced: of these only the newest is kept. */
export const REPLACED = 'replaced'

export interface RefusedParameter {
  readonly name: string
  readonly reason: string
  readonly origin: 'configuration' | 'postgresql.auto.conf'
}

/** Where a node's WAL ends, and the history of that timeline. */
export interface StablePosition {
  readonly position: TimelinePosition & { readonly complete: boolean }
  readonly history: TimelineHistory
}

/** With what was just seen of the node. */
export interface PositionRequest {
  readonly directory: DirectoryState
  readonly postmaster: PostmasterState
  readonly deadlineMs: number
}

export interface PromoteRequest {
  /** That it is on now. */
  readonly fromTimelineId: number
  readonly timelineId: number
  readonly postmasterPid: number
  readonly deadlineMs: number
  readonly mayBegin: () => boolean
  /** Ends the waiting; the postmaster, once asked, is promoted all the same unless it is stopped. */
  readonly signal: AbortSignal
}

export interface RewindFrom {
  readonly host: string
  readonly port: number
}

/** What is known of the directory that is rewound, so that what pg_rewind makes of it can be checked. */
export interface RewindTarget {
  /** Of its last record; null when that is not known any more. */
  readonly timelineId: number | null
  /** Where its history and the source's part; null where it is not known. */
  readonly divergence: { readonly timelineId: number; readonly lsn: Lsn } | null
}
