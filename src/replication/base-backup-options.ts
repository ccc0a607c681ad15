/** What a base backup is asked for, how far it is, and what it gives. */
import type { Lsn } from '../core/lsn.ts'
import type { ManifestChecksums } from './checksums.ts'
import type { ReplicationConnectionOptions } from './connection.ts'
import type { FinalFile } from './target-directory.ts'

export type BaseBackupPhase = 'connecting' | 'checkpoint' | 'copying' | 'finishing'

export interface BaseBackupProgress {
  readonly phase: BaseBackupPhase
  readonly bytesDone: number
  /** The server's estimate, made before it begins; null until then. */
  readonly bytesTotal: number | null
}

export interface BaseBackupOptions {
  readonly connection: Omit<ReplicationConnectionOptions, 'replication' | 'signal'>
  /** Absent or empty. The caller names it beside the final place and renames it. */
  readonly targetDirectory: string
  /** Decimal digits; a server with another one is refused before anything is copied. */
  readonly expectedSystemIdentifier?: string
  /** Written into the copy after everything else and before it can start: postgresql.auto.conf, standby.signal. */
  readonly finalFiles: readonly FinalFile[]
  /** At most ten times a second, and at every change of phase. */
  readonly onProgress?: (progress: BaseBackupProgress) => void
  readonly signal?: AbortSignal
  /** Kilobytes per second, 32 to 1048576. */
  readonly maxRateKb?: number
  /** 'fast' when left out. */
  readonly checkpoint?: 'fast' | 'spread'
  /** True when left out; false is for tests and benchmarks. */
  readonly fsync?: boolean
  /**
   * 3 when left out, which fits the thread pool's four threads. More of them are faster with many small files, because the
   * kernel serves flushes that wait at the same time together: 2.7 against 4.2 s for 7000 files with 12 of 16.
   */
  readonly syncsAtOnce?: number
  /**
   * CRC32C when left out, as with pg_basebackup: SHA-256 makes the server, whose one process is the bottleneck, half as slow
   * again, and over TLS nothing can be put between that a CRC would miss.
   */
  readonly manifestChecksums?: ManifestChecksums
  readonly label?: string
}

export interface BaseBackupResult {
  readonly startLsn: Lsn
  readonly endLsn: Lsn
  /** Of the end. */
  readonly timelineId: number
  readonly systemIdentifier: string
  /** Bytes of the archive that was received; WAL is not counted. */
  readonly bytes: number
  readonly durationMs: number
}
