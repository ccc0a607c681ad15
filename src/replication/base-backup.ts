/**
 * Copies a running server's data directory with BASE_BACKUP, the WAL that the copy needs streamed beside it, so that the
 * result starts as a standby at once (manual: "Streaming Replication Protocol", BASE_BACKUP; "pg_basebackup").
 *
 * Nothing that could start exists before everything was verified against the server's manifest and is durable.
 */
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { formatLsn, type Lsn } from '../core/lsn.ts'
import { toUnderstudyError, UnderstudyError } from '../errors/codes.ts'
import { baseBackupCommand } from '../protocol/base-backup-messages.ts'
import { classifyBackupFailure } from './backup-failures.ts'
import { BackupSink } from './backup-sink.ts'
import type { ManifestChecksums } from './checksums.ts'
import { createReplicationSlot, firstRow, identifySystem, show, walSegmentSize } from './commands.ts'
import {
  connectReplication,
  type ReplicationConnection,
  type ReplicationConnectionOptions,
} from './connection.ts'
import type { ResultSet } from './exchange.ts'
import { abortedFailure } from './failures.ts'
import { type FinalFile, prepareTarget, publishCopy } from './target-directory.ts'
import { WalReceiver } from './wal-receiver.ts'

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

const PROGRESS_INTERVAL_MS = 100
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

interface Source {
  readonly data: ReplicationConnection
  readonly wal: ReplicationConnection
  readonly slot: string
  readonly systemIdentifier: string
  readonly segmentBytes: number
  readonly directoryMode: number
  readonly reportFlush: boolean
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
    const source = await this.#connect()
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

  async #connect(): Promise<Source> {
    const [data, wal] = await Promise.all([this.#open(), this.#open()])
    if (data.serverMajor < 15) {
      throw new UnderstudyError('unsupported-version', `The source runs PostgreSQL ${data.serverMajor}`)
    }
    const [identity, walIdentity] = await Promise.all([identifySystem(data), identifySystem(wal)])
    const expected = this.#options.expectedSystemIdentifier ?? identity.systemIdentifier
    // Both connections: behind a name with two addresses they may reach two servers.
    for (const { systemIdentifier } of [identity, walIdentity]) {
      if (systemIdentifier === expected) continue
      const found = `the source is cluster ${systemIdentifier}, expected ${expected}`
      throw new UnderstudyError('system-identifier', found)
    }
    const slot = `understudy_clone_${process.pid}_${randomBytes(4).toString('hex')}`
    await createReplicationSlot(wal, { name: slot, temporary: true, reserveWal: true })
    return {
      data,
      wal,
      slot,
      systemIdentifier: identity.systemIdentifier,
      segmentBytes: await walSegmentSize(wal),
      directoryMode: (await show(wal, 'data_directory_mode')).endsWith('750') ? 0o750 : 0o700,
      // '*' would make this receiver a synchronous standby, and a commit would rest on a copy that is not one yet.
      reportFlush: !(await show(wal, 'synchronous_standby_names')).includes('*'),
    }
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

  #openSink(source: Source): BackupSink {
    return new BackupSink({
      directory: this.#options.targetDirectory,
      checksums: this.#checksums,
      fsync: this.#options.fsync ?? true,
      directoryMode: source.directoryMode,
      replaced: this.#options.finalFiles.map((file) => file.name),
      onPressure: (hold) => (hold ? source.data.pause() : source.data.resume()),
      onFailure: (failure) => this.fail(failure),
    })
  }

  get #checksums(): ManifestChecksums {
    return this.#options.manifestChecksums ?? 'CRC32C'
  }

  async #copy(source: Source, sink: BackupSink): Promise<{ readonly start: Point; readonly end: Point }> {
    const { checkpoint = 'fast', maxRateKb, label = 'pg-understudy base backup' } = this.#options
    this.#enter('checkpoint')
    let start: Point | null = null
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
            source.data.limitSilence(COPY_SILENCE_MS)
            this.#enter('copying')
            this.#startWal(source, start)
          },
          part: (part, offset, total) => {
            sink.part(part, offset, total)
            this.#report()
          },
        },
      },
    )
    if (start === null) throw new UnderstudyError('protocol-violation', 'The server sent no backup')
    return { start, end: pointOf(result.resultSets.at(-1)) }
  }

  #startWal(source: Source, start: Point): void {
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

interface Point {
  readonly lsn: Lsn
  readonly timelineId: number
}

function pointOf(resultSet: ResultSet | undefined): Point {
  const row = firstRow(resultSet, 'BASE_BACKUP')
  return { lsn: row.lsn('recptr'), timelineId: row.integer('tli') }
}

function totalBytes(tablespaces: ResultSet | undefined): number {
  const column = tablespaces?.columns.indexOf('size') ?? -1
  let kilobytes = 0
  for (const row of tablespaces?.rows ?? []) kilobytes += Number(row[column] ?? 0)
  return kilobytes * 1024
}

/** The row of the data directory itself has neither oid nor location. */
function refuseTablespaces(tablespaces: ResultSet | undefined): void {
  const column = tablespaces?.columns.indexOf('spclocation') ?? -1
  const locations = (tablespaces?.rows ?? [])
    .map((row) => row[column] ?? null)
    .filter((location) => location !== null)
  if (locations.length > 0) {
    throw new UnderstudyError('tablespaces', `The source has tablespaces (${locations.join(', ')})`)
  }
}
