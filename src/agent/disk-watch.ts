/** Tries every now and then whether the disk takes a write. What hangs holds one thread of the pool and nothing else. */
import type { Clock } from '../ports/clock.ts'
import type { Postgres } from '../ports/postgres.ts'

/** A write and a flush of a few bytes: often enough that it costs little of `rto` to begin counting, and nothing else. */
const EVERY_MS = 1_000

export class DiskWatch {
  readonly #postgres: Pick<Postgres, 'tryDisk'>
  readonly #clock: Clock
  readonly #mayTry: () => boolean
  #triedSinceMs: number | null = null
  #timer: NodeJS.Timeout | undefined
  #closed = false

  /** `mayTry`: PostgreSQL of this node runs there. Nothing is written into a directory that is somebody else's. */
  constructor(postgres: Pick<Postgres, 'tryDisk'>, clock: Clock, mayTry: () => boolean) {
    this.#postgres = postgres
    this.#clock = clock
    this.#mayTry = mayTry
  }

  /** Since when the write has not come back; null: the last one has. */
  get triedSinceMs(): number | null {
    return this.#triedSinceMs
  }

  start(): void {
    if (this.#closed) return
    if (!this.#mayTry()) {
      this.#startLater()
      return
    }
    this.#triedSinceMs = this.#clock.nowMs()
    const ended = (): void => {
      this.#triedSinceMs = null
      if (!this.#closed) this.#startLater()
    }
    // A disk that refuses has answered: what is wrong with it is told where something is written.
    this.#postgres.tryDisk().then(ended, ended)
  }

  #startLater(): void {
    this.#timer = setTimeout(() => this.start(), EVERY_MS).unref()
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
  }
}
