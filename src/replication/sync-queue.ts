/** Makes finished files durable in the thread pool while the stream goes on, a few at a time, and closes them. */
import { closeSync, fsync } from 'node:fs'

export interface SyncQueueOptions {
  /** False only closes. */
  readonly fsync: boolean
  /** How many fsyncs run at once; each holds a thread of the pool, and writes need some too. */
  readonly atOnce: number
  readonly onFailure: (error: Error) => void
  /** After each file. */
  readonly onProgress: () => void
}

/**
 * Small files are synced in groups: with all of a group's names and sizes in the journal, one commit serves every fsync of
 * the group, where a file at a time would wait for a commit each (300 against 120 ms for a thousand files).
 */
const GROUP = 128

export class SyncQueue {
  readonly #options: SyncQueueOptions
  #group: number[] = []
  #queue: number[] = []
  #running = 0
  #abandoned = false

  constructor(options: SyncQueueOptions) {
    this.#options = options
  }

  /** Files that wait; each is an open descriptor. */
  get backlog(): number {
    return this.#queue.length
  }

  get isIdle(): boolean {
    return this.#running === 0 && this.#queue.length === 0 && this.#group.length === 0
  }

  add(fd: number, size: 'small' | 'large'): void {
    if (size === 'large') this.#queue.push(fd)
    else this.#group.push(fd)
    if (this.#group.length >= GROUP) this.flush()
    else this.#start()
  }

  /** Does not wait for a group to be full. */
  flush(): void {
    this.#queue.push(...this.#group)
    this.#group = []
    this.#start()
  }

  /** Closes what waits, durable or not; what runs ends by itself. */
  abandon(): void {
    this.#abandoned = true
    for (const fd of [...this.#queue, ...this.#group]) closeSync(fd)
    this.#queue = []
    this.#group = []
  }

  #start(): void {
    while (this.#running < this.#options.atOnce && !this.#abandoned) {
      const fd = this.#queue.shift()
      if (fd === undefined) return
      this.#running++
      if (this.#options.fsync) fsync(fd, (error) => this.#synced(fd, error))
      else setImmediate(() => this.#synced(fd, null))
    }
  }

  #synced(fd: number, error: Error | null): void {
    this.#running--
    if (error !== null) this.#options.onFailure(error)
    try {
      // What is durable already closes at once; a trip through the thread pool would take twenty times as long.
      closeSync(fd)
    } catch (closeError) {
      this.#options.onFailure(closeError instanceof Error ? closeError : new Error(String(closeError)))
    }
    this.#start()
    this.#options.onProgress()
  }
}
