/**
 * Puts records on disk before anybody hears of them, several at a time when they arrive together.
 *
 * Files in the directory: `snapshot` (one frame: a whole state, and which log follows it) and `log-<n>` (frames.ts). A new log begins with
 * every start and whenever the log has grown: new log, snapshot beside the old one, rename, and only then is the old log removed.
 *
 * The rule for errors: room is taken (zeros, synced) BEFORE a record is accepted, so a full disk is found while nothing has happened
 * yet, and only refuses writes. Any other failure to write or sync ends the journal for good: the kernel may report it once and drop
 * the pages, so trying again and then acknowledging could acknowledge what is not on disk. The next start reads what is there, and syncs
 * all of it anew before it serves.
 */
import type { JsonObject } from '../wire.ts'
import { type Disk, errorCode } from './disk.ts'
import { Durability } from './durability.ts'
import { frameSize } from './frames.ts'
import {
  dropNewSnapshot,
  encodeLogPayload,
  isLogName,
  LogFile,
  logName,
  type Position,
  SNAPSHOT_FORMAT,
  useNewSnapshot,
  writeNewSnapshot,
} from './log-file.ts'
import { encodeRecord, RECORD_OVERHEAD_BYTES } from './records.ts'
import type { StateRecord } from './store-state.ts'

export interface JournalOptions {
  readonly disk: Disk
  readonly nowMs: () => number
  /** The state as it is now, with everything that was appended. */
  readonly image: () => JsonObject
  /** Everything up to this revision is on disk. */
  readonly onDurable: (revision: number) => void
  /** Called once: nothing more will ever be written. */
  readonly onFailure: (error: unknown) => void
  /** A full disk, in words, each time that it is found. */
  readonly onFull: (what: string) => void
  /** Room is taken in steps of this many bytes. */
  readonly allocationBytes: number
  /** A log that has grown beyond this is replaced. */
  readonly rotateBytes: number
}

/** A log and a snapshot that are complete on disk but not in use yet. */
interface Prepared {
  readonly log: LogFile
  /** How many of the pending records the snapshot holds. */
  readonly covered: number
}

interface Pending {
  readonly text: string
  readonly size: number
  /** The state's revision after it. */
  readonly revision: number
}

const FRAME_OVERHEAD_BYTES = frameSize(encodeLogPayload(Number.MAX_SAFE_INTEGER, []).length) + 16
const RETRY_EXTEND_MS = 1_000
const RETRY_ROTATE_MS = 10_000

export class Journal {
  readonly #options: JournalOptions
  #log: LogFile | null = null
  #generation: number
  #sequence: number
  #pending: Pending[] = []
  #pendingBytes = 0
  #reservedBytes = 0
  readonly #durability = new Durability()
  #wantingRoom: { readonly size: number; readonly resolve: () => void }[] = []
  #rotating = false
  #failed = false
  #extendAfterMs = 0
  #rotateAfterMs = 0
  #working = false
  #idle: Promise<void> = Promise.resolve()

  private constructor(options: JournalOptions, after: Position) {
    this.#options = options
    this.#generation = after.generation
    this.#sequence = after.sequence
  }

  /** Begins a new log with a snapshot of what was recovered. Rejects with the system's error when that cannot be written. */
  static async start(options: JournalOptions, after: Position): Promise<Journal> {
    const journal = new Journal(options, after)
    await journal.#switchTo(await journal.#prepare())
    await journal.#removeStrays()
    return journal
  }

  /** Closed, or ended by its disk: nothing more is written. */
  get failed(): boolean {
    return this.#failed
  }

  /**
   * Makes sure that a record caused by a request of `requestBytes` will fit; false when the disk is full or the journal has failed.
   * Returns the reservation, to be given back by `release` once the record was appended.
   */
  async reserve(requestBytes: number): Promise<number | null> {
    const size = requestBytes + RECORD_OVERHEAD_BYTES + FRAME_OVERHEAD_BYTES
    while (!this.#failed && size > this.#room()) {
      if (this.#options.nowMs() < this.#extendAfterMs) return null
      await new Promise<void>((resolve) => {
        this.#wantingRoom.push({ size, resolve })
        this.#wake()
      })
    }
    if (this.#failed) return null
    this.#reservedBytes += size
    return size
  }

  release(reservation: number): void {
    this.#reservedBytes -= reservation
  }

  append(record: StateRecord, revision: number): void {
    const text = JSON.stringify(encodeRecord(record))
    const size = Buffer.byteLength(text) + FRAME_OVERHEAD_BYTES
    this.#pending.push({ text, size, revision })
    this.#pendingBytes += size
    this.#durability.appended()
    this.#wake()
  }

  /** Resolves true once everything appended so far is on disk, at once if it is; false when it will never be. */
  durable(): Promise<boolean> {
    return this.#durability.wait()
  }

  /** Writes what is pending and closes the log. */
  async close(): Promise<void> {
    while (this.#working) await this.#idle
    this.#end()
    await this.#log?.close()
    this.#log = null
  }

  #room(): number {
    const log = this.#log
    if (log === null) return 0
    const left = log.room
    // What is appended while the log is replaced has to fit into the new one.
    const usable = this.#rotating
      ? Math.min(left, this.#options.allocationBytes - FRAME_OVERHEAD_BYTES)
      : left
    return usable - this.#pendingBytes - this.#reservedBytes
  }

  #wake(): void {
    if (this.#working) return
    this.#working = true
    this.#idle = this.#run()
  }

  async #run(): Promise<void> {
    try {
      // The choice of the next step and the end of the work happen in one turn, else a record could come between and stay.
      for (let step = this.#next(); step !== null; step = this.#next()) await step()
    } catch (error) {
      this.#fail(error)
    }
    this.#working = false
  }

  /** One piece of work on the file; there is never more than one at a time. */
  #next(): (() => Promise<void>) | null {
    const log = this.#log
    if (this.#failed || log === null) return null
    const nowMs = this.#options.nowMs()
    if (log.size > this.#options.rotateBytes && nowMs >= this.#rotateAfterMs) return () => this.#replaceLog()
    if (this.#pending.length > 0) return () => this.#flush(log)
    if (this.#needsRoom() && nowMs >= this.#extendAfterMs) return () => this.#extend(log)
    return null
  }

  async #flush(log: LogFile): Promise<void> {
    const batch = this.#pending.splice(0)
    const texts = batch.map(({ text }) => text)
    await log.append(encodeLogPayload(this.#sequence + 1, texts))
    this.#sequence++
    this.#settle(batch)
  }

  #settle(batch: readonly Pending[]): void {
    for (const { size } of batch) this.#pendingBytes -= size
    this.#durability.reached(batch.length)
    const last = batch.at(-1)
    if (last !== undefined) this.#options.onDurable(last.revision)
  }

  #needsRoom(): boolean {
    return this.#wantingRoom.length > 0 || this.#room() < this.#options.allocationBytes / 2
  }

  /** Takes more room at the end of the log; when there is none, whoever waits for it is told so. */
  async #extend(log: LogFile): Promise<void> {
    const most = Math.max(0, ...this.#wantingRoom.map(({ size }) => size))
    const bytes = this.#options.allocationBytes + Math.max(0, most - this.#room())
    const full = await log.extend(bytes)
    if (full !== null) {
      this.#extendAfterMs = this.#options.nowMs() + RETRY_EXTEND_MS
      this.#options.onFull(`the log cannot grow: ${full}`)
    }
    // All of them, also who came in between: when it failed, nothing would wake them later. Who got too little asks again.
    for (const { resolve } of this.#wantingRoom.splice(0)) resolve()
  }

  async #replaceLog(): Promise<void> {
    let next: Prepared
    try {
      next = await this.#prepare()
    } catch (error) {
      if (!isFull(error)) throw error
      this.#rotateAfterMs = this.#options.nowMs() + RETRY_ROTATE_MS
      this.#options.onFull(`no room for a new snapshot: ${errorCode(error)}`)
      return
    }
    await this.#switchTo(next)
  }

  /** Writes a new log and a new snapshot beside the old ones. The snapshot holds what is pending as well, so it makes that durable. */
  async #prepare(): Promise<Prepared> {
    const { disk, image, allocationBytes } = this.#options
    const position = { generation: this.#generation + 1, sequence: this.#sequence }
    const covered = this.#pending.length
    const snapshot = JSON.stringify({ format: SNAPSHOT_FORMAT, ...position, ...image() })
    let log: LogFile | null = null
    this.#rotating = true
    try {
      log = await LogFile.create(disk, position, allocationBytes)
      await writeNewSnapshot(disk, snapshot)
      return { covered, log }
    } catch (error) {
      await log?.close()
      await disk.remove(logName(position.generation)).catch(() => {})
      await dropNewSnapshot(disk)
      this.#rotating = false
      throw error
    }
  }

  /** From the rename on an error is fatal: it is not known which snapshot a crash would leave. Both are complete, and so are their logs. */
  async #switchTo(next: Prepared): Promise<void> {
    const { disk } = this.#options
    await useNewSnapshot(disk)
    const old = this.#log
    this.#log = next.log
    this.#generation = next.log.generation
    this.#rotating = false
    this.#settle(this.#pending.splice(0, next.covered))
    await old?.close()
    if (old !== null) await disk.remove(old.name).catch(() => {})
  }

  /** Logs that an interrupted replacement left behind. */
  async #removeStrays(): Promise<void> {
    const { disk } = this.#options
    for (const name of await disk.list()) {
      if (isLogName(name) && name !== this.#log?.name) await disk.remove(name)
    }
  }

  #fail(error: unknown): void {
    this.#end()
    this.#options.onFailure(error)
  }

  #end(): void {
    this.#failed = true
    this.#durability.failed()
    for (const { resolve } of this.#wantingRoom.splice(0)) resolve()
  }
}

function isFull(error: unknown): boolean {
  return errorCode(error) === 'ENOSPC' || errorCode(error) === 'EDQUOT'
}
