/**
 * Receives WAL over a replication connection into segment files, as pg_receivewal does, across timelines. Its promise to the
 * server: flushLsn in a status update is what is fsynced, never more, because an acknowledged commit may rest on it; and
 * a request for a reply is answered after an fsync, because a server that shuts down waits for it.
 */
import { formatLsn, type Lsn, lsnOf, ZERO_LSN } from '../core/lsn.ts'
import { UnderstudyError } from '../errors/codes.ts'
import { standbyStatusUpdate, WalStreamReader } from '../protocol/replication-messages.ts'
import { segmentStartOf } from '../protocol/wal-names.ts'
import { firstRow, slotIdentifier, timelineHistory } from './commands.ts'
import type { ReplicationConnection } from './connection.ts'
import type { CommandResult } from './exchange.ts'
import { fileFailure } from './failures.ts'
import { WalSegments, type WalSegmentsOptions } from './wal-segments.ts'

export interface WalReceiverOptions extends WalSegmentsOptions {
  readonly connection: ReplicationConnection
  readonly timelineId: number
  /** Streaming begins at the start of the segment that holds it. */
  readonly startLsn: Lsn
  readonly slot?: string
  /**
   * False leaves flushLsn out of status updates: the server then never takes this receiver for a synchronous standby,
   * whatever synchronous_standby_names says, but the slot does not move on either.
   */
  readonly reportFlush: boolean
  /** 'eager' fsyncs after every write (what a synchronous receiver needs), 'segment' after each segment and on request. */
  readonly flush: 'eager' | 'segment'
  /** 10 s when left out; wal_sender_timeout on the server must be longer (60 s by default). */
  readonly statusIntervalMs?: number
  readonly signal?: AbortSignal
  /** After each flush. */
  readonly onFlush?: (flushLsn: Lsn) => void
}

export interface WalReceiverResult {
  readonly timelineId: number
  /** Everything before it is on disk. */
  readonly endLsn: Lsn
}

const DEFAULT_STATUS_INTERVAL_MS = 10_000
/** A status update asks for a reply, so a living server is never silent for this many intervals. */
const SILENT_INTERVALS = 3
const QUEUE_HIGH_BYTES = 4 * 1024 * 1024
const QUEUE_LOW_BYTES = 1024 * 1024
const WRITE_BYTES = 1024 * 1024

export class WalReceiver {
  readonly #options: WalReceiverOptions
  readonly #segments: WalSegments
  #timelineId: number
  #receivedLsn: Lsn
  #stopLsn: Lsn | null = null
  #stopping = false
  #streaming = false
  #queue: Buffer[] = []
  #queueBytes = 0
  #paused = false
  #replyWanted = false
  #pumping: Promise<void> | null = null

  constructor(options: WalReceiverOptions) {
    this.#options = options
    this.#segments = new WalSegments(options)
    this.#timelineId = options.timelineId
    this.#receivedLsn = segmentStartOf(options.startLsn, options.segmentBytes)
  }

  /** End of the WAL that has arrived; not necessarily written yet. */
  get receivedLsn(): Lsn {
    return this.#receivedLsn
  }

  get flushLsn(): Lsn {
    return this.#segments.flushLsn
  }

  /** Ends as soon as everything before `lsn` has arrived, which may be at once. */
  stopAt(lsn: Lsn): void {
    this.#stopLsn = lsn
    this.#stopWhenReached()
  }

  /**
   * Runs until stopAt's position is on disk. Throws UnderstudyError when the server ends before, when WAL is gone
   * (ServerError 58P01), on a full disk (no-space), or on abort.
   */
  async run(): Promise<WalReceiverResult> {
    const timer = setInterval(
      () => this.#sendStatus(true),
      this.#options.statusIntervalMs ?? DEFAULT_STATUS_INTERVAL_MS,
    )
    try {
      while (true) {
        if (this.#timelineId > 1) await this.#fetchHistory()
        const result = await this.#stream()
        await this.#pump()
        await this.#segments.close()
        if (this.#stopping) return { timelineId: this.#timelineId, endLsn: this.#segments.flushLsn }
        this.#followTimeline(result)
      }
    } catch (error) {
      throw fileFailure(error, this.#options.directory, 'clone-failed')
    } finally {
      clearInterval(timer)
      // On success it is closed already; on failure the error to report is the first one.
      await this.#pumping?.catch(() => undefined)
      await this.#segments.abandon().catch(() => undefined)
    }
  }

  async #stream(): Promise<CommandResult> {
    const { connection, slot, signal, statusIntervalMs } = this.#options
    const reader = new WalStreamReader({
      xlogData: (lsn, data) => this.#take(lsn, data),
      keepalive: ({ replyRequested }) => this.#answer(replyRequested),
    })
    const from = `${formatLsn(this.#receivedLsn)} TIMELINE ${this.#timelineId}`
    const command = `START_REPLICATION${slot === undefined ? '' : ` SLOT ${slotIdentifier(slot)}`} PHYSICAL ${from}`
    try {
      return await connection.execute(command, {
        copy: {
          begin: () => {
            this.#streaming = true
            this.#stopWhenReached()
          },
          part: (part, offset, total) => reader.part(part, offset, total),
        },
        silenceTimeoutMs: SILENT_INTERVALS * (statusIntervalMs ?? DEFAULT_STATUS_INTERVAL_MS),
        ...(signal === undefined ? {} : { signal }),
      })
    } finally {
      this.#streaming = false
    }
  }

  #take(lsn: Lsn, data: Buffer): void {
    // After our CopyDone the server sends what it had under way; it is beyond what is wanted.
    if (this.#stopping) return
    if (lsn !== this.#receivedLsn) {
      const expected = formatLsn(this.#receivedLsn)
      throw new UnderstudyError('protocol-violation', `WAL jumped to ${formatLsn(lsn)}, expected ${expected}`)
    }
    this.#queue.push(data)
    this.#queueBytes += data.length
    this.#receivedLsn = lsnOf(lsn + BigInt(data.length))
    if (this.#queueBytes > QUEUE_HIGH_BYTES && !this.#paused) {
      this.#paused = true
      this.#options.connection.pause()
    }
    this.#startPump()
    this.#stopWhenReached()
  }

  #answer(replyRequested: boolean): void {
    if (!replyRequested) return
    this.#replyWanted = true
    this.#startPump()
  }

  #stopWhenReached(): void {
    if (this.#stopLsn === null || this.#stopping || !this.#streaming) return
    if (this.#receivedLsn < this.#stopLsn) return
    this.#stopping = true
    this.#options.connection.sendCopyDone()
  }

  #startPump(): void {
    this.#pump().catch((error: unknown) => {
      this.#options.connection.destroy(fileFailure(error, this.#options.directory, 'clone-failed'))
    })
  }

  /** Writes until the queue is empty; one runs at a time, and a second caller waits for the same one. */
  #pump(): Promise<void> {
    this.#pumping ??= this.#writeQueue().finally(() => {
      this.#pumping = null
    })
    return this.#pumping
  }

  async #writeQueue(): Promise<void> {
    while (this.#queueBytes > 0 || this.#replyWanted) {
      const flushedBefore = this.#segments.flushLsn
      if (this.#queueBytes > 0) {
        const lsn = lsnOf(this.#receivedLsn - BigInt(this.#queueBytes))
        await this.#segments.write(this.#timelineId, lsn, this.#dequeue(this.#segments.room(lsn)))
      }
      if (this.#options.flush === 'eager' || (this.#replyWanted && this.#queueBytes === 0)) {
        await this.#segments.flush()
      }
      if (this.#replyWanted && this.#queueBytes === 0) {
        this.#replyWanted = false
        this.#sendStatus(false)
      } else if (this.#segments.flushLsn !== flushedBefore) {
        this.#sendStatus(false)
      }
      if (this.#segments.flushLsn !== flushedBefore) this.#options.onFlush?.(this.#segments.flushLsn)
      if (this.#paused && this.#queueBytes < QUEUE_LOW_BYTES) {
        this.#paused = false
        this.#options.connection.resume()
      }
    }
  }

  /** Takes slices from the front of the queue, `room` bytes at most, cutting the last one where needed. */
  #dequeue(room: number): readonly Buffer[] {
    const limit = Math.min(room, WRITE_BYTES)
    let bytes = 0
    let count = 0
    for (const buffer of this.#queue) {
      if (bytes + buffer.length > limit) break
      bytes += buffer.length
      count++
    }
    const taken = this.#queue.splice(0, count)
    const next = this.#queue[0]
    if (bytes < limit && next !== undefined) {
      taken.push(next.subarray(0, limit - bytes))
      this.#queue[0] = next.subarray(limit - bytes)
      bytes = limit
    }
    this.#queueBytes -= bytes
    return taken
  }

  #sendStatus(replyRequested: boolean): void {
    if (!this.#streaming) return
    this.#options.connection.sendCopyData(
      standbyStatusUpdate({
        writeLsn: this.#segments.writeLsn,
        flushLsn: this.#options.reportFlush ? this.#segments.flushLsn : ZERO_LSN,
        applyLsn: ZERO_LSN,
        nowMs: Date.now(),
        replyRequested,
      }),
    )
  }

  async #fetchHistory(): Promise<void> {
    const { connection } = this.#options
    const { fileName, content } = await timelineHistory(connection, this.#timelineId)
    await this.#segments.writeHistory(fileName, content)
  }

  /** The server ended its timeline: its standby upstream was promoted. Goes on where the next one begins. */
  #followTimeline(result: CommandResult): void {
    const row = firstRow(result.resultSets[0], 'START_REPLICATION')
    const next = row.integer('next_tli')
    if (next <= this.#timelineId) {
      throw new UnderstudyError('protocol-violation', `Timeline ${next} came after ${this.#timelineId}`)
    }
    this.#timelineId = next
    // It may begin before what has arrived on the old timeline (a record cut in half); both are kept.
    this.#receivedLsn = segmentStartOf(row.lsn('next_tli_startpos'), this.#options.segmentBytes)
  }
}
