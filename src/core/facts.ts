/**
 * Facts about one PostgreSQL as the decision sees them, and how it shall be configured. Values only; the adapter in src/postgres
 * obtains them. Pure.
 */
import type { ErrorCode } from '../errors/codes.ts'
import type { Lsn } from './lsn.ts'

/** pg_controldata's "Database cluster state". */
export type ControlState =
  | 'startingUp'
  | 'shutDown'
  | 'shutDownInRecovery'
  | 'shuttingDown'
  | 'inCrashRecovery'
  | 'inArchiveRecovery'
  | 'inProduction'

/** Read from global/pg_control (src/include/catalog/pg_control.h), CRC checked. */
export interface ControlFacts {
  /** A 64-bit number kept as text: it does not fit a double. */
  readonly systemIdentifier: string
  readonly state: ControlState
  readonly timelineId: number
  readonly checkpointLsn: Lsn
  readonly redoLsn: Lsn
  readonly minRecoveryLsn: Lsn
  readonly minRecoveryTimelineId: number
  readonly dataChecksums: boolean
  readonly walSegmentSize: number
}

export type DirectoryState =
  /** It does not exist, or is empty. */
  | { readonly kind: 'absent' }
  | {
      readonly kind: 'cluster'
      readonly major: number
      readonly control: ControlFacts
      readonly standbySignal: boolean
      readonly recoverySignal: boolean
      readonly backupLabel: boolean
    }
  /** Something is there that must not be started or overwritten. */
  | { readonly kind: 'unusable'; readonly code: ErrorCode; readonly reason: string }

export type PostmasterState =
  | { readonly kind: 'stopped' }
  /** status from line 8 of postmaster.pid: starting, ready (accepts connections; standby too), stopping. */
  | {
      readonly kind: 'running'
      readonly pid: number
      readonly status: 'starting' | 'ready' | 'standby' | 'stopping'
    }
  /** A postmaster in our directory that no agent of this node started. */
  | { readonly kind: 'foreign'; readonly pid: number; readonly reason: string }

export interface WalreceiverFacts {
  readonly pid: number
  readonly status: string
  readonly senderHost: string | null
  readonly senderPort: number | null
  readonly receivedTimelineId: number | null
  readonly flushLsn: Lsn | null
  readonly lastMessageAgeMs: number | null
}

export interface WalsenderFacts {
  readonly pid: number
  readonly applicationName: string
  readonly state: string
  readonly sentLsn: Lsn | null
  readonly writeLsn: Lsn | null
  readonly flushLsn: Lsn | null
  readonly replayLsn: Lsn | null
  readonly writeLagMs: number | null
  readonly flushLagMs: number | null
  readonly replayLagMs: number | null
  readonly syncState: 'sync' | 'quorum' | 'potential' | 'async'
  readonly syncPriority: number
}

export interface SlotFacts {
  readonly name: string
  readonly active: boolean
  readonly temporary: boolean
  readonly physical: boolean
  readonly restartLsn: Lsn | null
  readonly walStatus: 'reserved' | 'extended' | 'unreserved' | 'lost' | null
  readonly holdsXmin: boolean
}

/** One look through SQL; everything from one statement, so that it fits together. */
export interface ServerFacts {
  readonly inRecovery: boolean
  readonly timelineId: number
  readonly systemIdentifier: string
  /** pg_current_wal_insert_lsn / flush_lsn on a primary, null on a standby. */
  readonly insertLsn: Lsn | null
  readonly flushLsn: Lsn | null
  /** pg_last_wal_receive_lsn / replay_lsn on a standby, null on a primary. */
  readonly receiveLsn: Lsn | null
  readonly replayLsn: Lsn | null
  readonly replayPaused: boolean
  /** Age of the last replayed commit, null when unknown; meaningful only while replayLsn < receiveLsn. */
  readonly replayAgeMs: number | null
  readonly walreceiver: WalreceiverFacts | null
  readonly walsenders: readonly WalsenderFacts[]
  readonly slots: readonly SlotFacts[]
  /** SHOW synchronous_standby_names: no proof that commits wait (I5). */
  readonly synchronousStandbyNames: string
  readonly postmasterStartedAtMs: number
  readonly pendingRestart: readonly string[]
}

/** What the processes of a PostgreSQL that is starting tell of its recovery. */
export interface RecoveryFacts {
  /** The segment that is being replayed or waited for. */
  readonly segment: string
  /** Its walreceiver takes WAL. */
  readonly streams: boolean
}

/** How a node's PostgreSQL must be configured right now; rendered to files by the adapter, nothing else writes them. */
export interface ReplicationConfiguration {
  readonly role: 'primary' | 'standby'
  /** null: stream from nobody (fenced, or primary). */
  readonly upstream: {
    readonly name: string
    readonly host: string
    readonly port: number
    readonly passfile: string
    /** Under a name that stands in no synchronous_standby_names, so that nothing waits for it (I12). */
    readonly rejoining: boolean
  } | null
  /** The value of synchronous_standby_names, '' when commits wait for nobody. Standbys carry it too (I5). */
  readonly synchronousStandbyNames: string
}

export interface Member {
  readonly name: string
  /** Host name or address as the other members reach it. */
  readonly host: string
  readonly port: number
}
