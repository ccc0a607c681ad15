/**
 * Copies a running server's data directory with BASE_BACKUP, the WAL that the copy needs streamed beside it, so that the
 * result starts as a standby at once (manual: "Streaming Replication Protocol", BASE_BACKUP; "pg_basebackup").
 *
 * Nothing that could start exists before everything was verified against the server's manifest and is durable.
 */
import { join } from 'node:path'
import { formatLsn, type Lsn } from '../core/lsn.ts'
import { toUnderstudyError, UnderstudyError } from '../errors/codes.ts'
import { baseBackupCommand } from '../protocol/base-backup-messages.ts'
import { classifyBackupFailure } from './backup-failures.ts'
import { type BackupPoint, pointOf, refuseTablespaces, totalBytes } from './backup-header.ts'
import { BackupSink } from './backup-sink.ts'
import { type BackupSource, connectSource } from './backup-source.ts'
import type { BaseBackupOptions, BaseBackupPhase, BaseBackupResult } from './base-backup-options.ts'
import type { ManifestChecksums } from './checksums.ts'
import { connectReplication, type ReplicationConnection } from './connection.ts'
import { abortedFailure } from './failures.ts'
import { prepareTarget, publishCopy } from './target-directory.ts'
import { WalReceiver } from './wal-receiver.ts'

const PROGRESS_INTERVAL_MS = 100
const DEFAULT_SYNCS_AT_ONCE = 3
const REPORT_BYTES = 32 * 1024
/** A fast checkpoint of large shared buffers onto a slow disk takes minutes, and the server says nothing meanwhile. */
const CHECKPOINT_SILENCE_MS = 10 * 60_000
const COPY_SILENCE_MS = 60_000
const WAL_STALL_MS = 60_000

/**
 * Throws UnderstudyError: no-space, no-permission, foreign-data (target not empty), tablespaces, system-identifier,
 * unsupported-version, backup-corrupt, connect-failed and its kin while connecting, clone-failed for the rest. The target
 * is then left as it is, without a pg_control: see removeUnfinishedCopy.
 */
export async function takeBaseBackup(options: BaseBackupOptions): Promise<BaseBackupResult> {
  const run = new BaseBackupRun(options)
  const abort = (): void => {
    if (options.signal !== undefined) run.fail(abortedFailure(options.signal))
  }
  options.signal?.addEventListener('abort', abort, { once: true })
  if (options.signal?.aborted === true) abort()
  try {
    return await run.run()
  } catch (error) {
    // Whatever failed, nothing may go on: the WAL beside a backup that is over has no end.
    run.fail(toUnderstudyError(error))
    throw classifyBackupFailure(run.failure, run.phase === 'connecting')
  } finally {
    options.signal?.removeEventListener('abort', abort)
    await run.end()
  }
}

class BaseBackupRun {
  readonly #options: BaseBackupOptions
  readonly #startedAt = performance.now()
  readonly #stop = new AbortController()
  readonly #connections: ReplicationConnection[] = []
  #sink: BackupSink | null = null
  #receiver: WalReceiver | null = null
  #walDone: Promise<unknown> = Promise.resolve()
  #phase: BaseBackupPhase = 'connecting'
  #bytesTotal: number | null = null
  #reportedAt = Number.NEGATIVE_INFINITY
  #reportedBytes = 0
  #failure: UnderstudyError | null = null

  constructor(options: BaseBackupOptions) {
    this.#options = options
  }

  get phase(): BaseBackupPhase {
    return this.#phase
  }

  /** What failed first; other failures follow from it. */
  get failure(): UnderstudyError | null {
    return this.#failure
  }

  fail(failure: UnderstudyError): void {
    if (this.#failure !== null) return
    this.#failure = failure
    this.#stop.abort(failure)
    for (const connection of this.#connections) connection.destroy(failure)
  }

  async run(): Promise<BaseBackupResult> {
    this.#enter('connecting')
    const source = await connectSource(
      () => this.#open(),
      this.#options.expectedSystemIdentifier,
      this.#options.connection.applicationName,
    )
    await prepareTarget(this.#options.targetDirectory, source.directoryMode)
    const sink = this.#openSink(source)
    this.#sink = sink
    const { start, end } = await this.#copy(source, sink)
    this.#enter('finishing')
    await Promise.all([this.#awaitWal(end.lsn), sink.files.finish()])
    const manifest = sink.verify()
    const last = manifest.walRanges.at(-1)
    if (last === undefined || last.endLsn !== end.lsn) {
      throw new UnderstudyError('backup-corrupt', 'The manifest names other WAL than the backup needs')
    }
    if (manifest.systemIdentifier !== null && manifest.systemIdentifier !== source.systemIdentifier) {
      throw new UnderstudyError('backup-corrupt', 'The manifest belongs to another cluster')
    }
    await publishCopy({
      signal: this.#stop.signal,
      directory: this.#options.targetDirectory,
      finalFiles: this.#options.finalFiles,
      manifest: sink.manifestText,
      fileMode: source.directoryMode & 0o640,
      fsync: this.#options.fsync ?? true,
    })
    return {
      startLsn: start.lsn,
      endLsn: end.lsn,
      timelineId: end.timelineId,
      systemIdentifier: source.systemIdentifier,
      bytes: sink.bytesDone,
      durationMs: performance.now() - this.#startedAt,
    }
  }

  /** Closes what is open; after a failure too. */
  async end(): Promise<void> {
    await Promise.all(this.#connections.map((connection) => connection.close()))
    await this.#walDone.catch(() => undefined)
    if (this.#failure !== null) await this.#sink?.files.abandon()
  }

  async #open(): Promise<ReplicationConnection> {
    const connection = await connectReplication({
      ...this.#options.connection,
      replication: 'physical',
      signal: this.#stop.signal,
    })
    this.#connections.push(connection)
    // The other connection may have failed while this one came up, and nobody would close it any more.
    if (this.#failure !== null) {
      connection.destroy(this.#failure)
      throw this.#failure
    }
    return connection
  }

  #openSink(source: BackupSource): BackupSink {
    return new BackupSink({
      directory: this.#options.targetDirectory,
      checksums: this.#checksums,
      fsync: this.#options.fsync ?? true,
      syncsAtOnce: this.#options.syncsAtOnce ?? DEFAULT_SYNCS_AT_ONCE,
      directoryMode: source.directoryMode,
      replaced: this.#options.finalFiles.map((file) => file.name),
      onPressure: (hold) => (hold ? source.data.pause() : source.data.resume()),
      onFailure: (failure) => this.fail(failure),
    })
  }

  get #checksums(): ManifestChecksums {
    return this.#options.manifestChecksums ?? 'CRC32C'
  }

  async #copy(
    source: BackupSource,
    sink: BackupSink,
  ): Promise<{ readonly start: BackupPoint; readonly end: BackupPoint }> {
    const { checkpoint = 'fast', maxRateKb, label = 'pg-understudy base backup' } = this.#options
    this.#enter('checkpoint')
    let start: BackupPoint | null = null
    const result = await source.data.execute(
      baseBackupCommand({
        label,
        checkpoint,
        manifestChecksums: this.#checksums,
        ...(maxRateKb === undefined ? {} : { maxRateKb }),
      }),
      {
        silenceTimeoutMs: checkpoint === 'fast' ? CHECKPOINT_SILENCE_MS : Number.POSITIVE_INFINITY,
        signal: this.#stop.signal,
        copy: {
          begin: (resultSets) => {
            refuseTablespaces(resultSets[1])
            start = pointOf(resultSets[0])
            this.#bytesTotal = totalBytes(resultSets[1])
            source.data.limitSilence(this.#options.connection.silenceTimeoutMs ?? COPY_SILENCE_MS)
            this.#enter('copying')
            this.#startWal(source, start)
          },
          part: (part, offset, total) => {
            sink.part(part, offset, total)
            this.#reportBytes(sink.bytesDone)
          },
        },
      },
    )
    if (start === null) throw new UnderstudyError('protocol-violation', 'The server sent no backup')
    return { start, end: pointOf(result.resultSets.at(-1)) }
  }

  #startWal(source: BackupSource, start: BackupPoint): void {
    this.#receiver = new WalReceiver({
      connection: source.wal,
      directory: join(this.#options.targetDirectory, 'pg_wal'),
      segmentBytes: source.segmentBytes,
      partialSuffix: '',
      markArchived: true,
      fileMode: source.directoryMode & 0o640,
      timelineId: start.timelineId,
      startLsn: start.lsn,
      slot: source.slot,
      reportFlush: source.reportFlush,
      flush: 'segment',
      signal: this.#stop.signal,
    })
    this.#walDone = this.#receiver.run()
    this.#walDone.catch((error: unknown) => this.fail(toUnderstudyError(error)))
  }

  /** The WAL up to `endLsn` exists on the server by now; what does not move for a minute will not come. */
  async #awaitWal(endLsn: Lsn): Promise<void> {
    const receiver = this.#receiver
    receiver?.stopAt(endLsn)
    let last = receiver?.receivedLsn
    const timer = setInterval(() => {
      if (receiver?.receivedLsn === last) {
        this.fail(new UnderstudyError('clone-failed', `The WAL up to ${formatLsn(endLsn)} did not arrive`))
      }
      last = receiver?.receivedLsn
    }, WAL_STALL_MS)
    try {
      await this.#walDone
    } finally {
      clearInterval(timer)
    }
  }

  #enter(phase: BaseBackupPhase): void {
    this.#phase = phase
    this.#reportedAt = Number.NEGATIVE_INFINITY
    this.#report()
  }

  /** Reads the clock only now and then: slices of the stream are small and many. */
  #reportBytes(bytesDone: number): void {
    if (bytesDone - this.#reportedBytes < REPORT_BYTES) return
    this.#reportedBytes = bytesDone
    this.#report()
  }

  #report(): void {
    const now = performance.now()
    if (now - this.#reportedAt < PROGRESS_INTERVAL_MS) return
    this.#reportedAt = now
    this.#options.onProgress?.({
      phase: this.#phase,
      bytesDone: this.#sink?.bytesDone ?? 0,
      bytesTotal: this.#bytesTotal,
    })
  }
}
