/** What a clone worker and its parent say to each other over IPC: plain JSON, so LSNs are text. */
import type { ErrorCode } from '../errors/codes.ts'
import type { BaseBackupPhase } from './base-backup-options.ts'
import type { ManifestChecksums } from './checksums.ts'
import type { ServerAddress, TlsSettings } from './socket.ts'
import type { FinalFile } from './target-directory.ts'

export interface CloneJob {
  readonly address: ServerAddress
  readonly user: string
  /** Absolute; a line with the database `replication` must match. Left out where the source trusts the connection. */
  readonly passfile?: string
  readonly tls: TlsSettings
  readonly applicationName: string
  /** Absent or empty, beside the final one; the caller renames it when the clone is done. */
  readonly targetDirectory: string
  readonly expectedSystemIdentifier?: string
  /** Written before the copy can start: standby.signal, postgresql.auto.conf. */
  readonly finalFiles: readonly FinalFile[]
  /** Kilobytes per second. */
  readonly maxRateKb?: number
  readonly checkpoint?: 'fast' | 'spread'
  readonly fsync?: boolean
  readonly manifestChecksums?: ManifestChecksums
}

export interface CloneProgressMessage {
  readonly kind: 'progress'
  readonly phase: BaseBackupPhase
  readonly bytesDone: number
  readonly bytesTotal: number | null
}

export interface CloneDone {
  readonly kind: 'done'
  /** As PostgreSQL prints it, "0/3000028". */
  readonly startLsn: string
  readonly endLsn: string
  readonly timelineId: number
  readonly systemIdentifier: string
  readonly bytes: number
  readonly durationMs: number
}

export interface CloneFailed {
  readonly kind: 'failed'
  readonly code: ErrorCode
  readonly message: string
  readonly hint: string
}

export type CloneOutcome = CloneDone | CloneFailed

export type WorkerMessage = CloneProgressMessage | CloneOutcome
