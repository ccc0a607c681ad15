/** Tries every now and then whether the disk takes a write. What hangs holds one thread of the pool and nothing else. */
import type { Clock } from '../ports/clock.ts'
import type { Postgres } from '../ports/postgres.ts'

/** A write and a flush of a few bytes: often enough that it costs little of `rto` to begin counting, and nothing else. */
const EVERY_MS = 1_000

export class DiskWatch {
  readonly #postgres: Pick<Postgres, 'tryDisk'>
  readonly #clock: Clock
  #triedSinceMs: number | null = null
  #timer: NodeJS.Timeout | undefined
  #closed = false

  constructor(postgres: Pick<Postgres, 'tryDisk'>, clock: Clock) {
    this.#postgres = postgres
    this.#clock = clock
  }

  /** Since when the write has not come back; null: the last one has. */
  get triedSinceMs(): number | null {
    return this.#triedSinceMs
  }

  start(): void {
    if (this.#closed) return
    this.#triedSinceMs = this.#clock.nowMs()
    const ended = (): void => {
      this.#triedSinceMs = null
      if (!this.#closed) this.#timer = setTimeout(() => this.start(), EVERY_MS).unref()
    }
    // A disk that refuses has answered: what is wrong with it is told where something is written.
    this.#postgres.tryDisk().then(ended, ended)
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
  }
}
