/**
 * Long work beside the loop: at most one task of a kind at a time, each can be aborted, its end wakes the loop. What failed is kept
 * with how often in a row, so that `decide` can wait longer each time.
 */
import type { Failure, TaskKind } from '../core/cluster-view.ts'
import { ERRORS } from '../errors/codes.ts'
import type { Clock } from '../ports/clock.ts'
import type { Outcome } from '../ports/postgres.ts'

export type TaskEnd = {
  readonly kind: TaskKind
  readonly outcome: Outcome<unknown>
  readonly durationMs: number
}

export class Tasks {
  readonly #clock: Clock
  readonly #onEnd: (end: TaskEnd) => void
  readonly #running = new Map<TaskKind, { readonly abort: AbortController; readonly done: Promise<void> }>()
  readonly #failures = new Map<TaskKind, Failure>()

  constructor(clock: Clock, onEnd: (end: TaskEnd) => void) {
    this.#clock = clock
    this.#onEnd = onEnd
  }

  get running(): ReadonlySet<TaskKind> {
    return new Set(this.#running.keys())
  }

  get failures(): ReadonlyMap<TaskKind, Failure> {
    return new Map(this.#failures)
  }

  /** When everything is as it shall be: what failed on the way there is no problem any more, and is not waited for the next time. */
  forgetFailures(): void {
    this.#failures.clear()
  }

  /** What failed before is of something that is not there any more. */
  forget(kind: TaskKind): void {
    this.#failures.delete(kind)
  }

  /** Does nothing when one of the kind runs already. `work` must end soon after its signal aborts. */
  start<T>(kind: TaskKind, work: (signal: AbortSignal) => Promise<Outcome<T>>): void {
    if (this.#running.has(kind)) return
    const abort = new AbortController()
    const startedAtMs = this.#clock.nowMs()
    const done = settle(work(abort.signal)).then((outcome) => {
      this.#running.delete(kind)
      this.#remember(kind, outcome)
      this.#onEnd({ kind, outcome, durationMs: this.#clock.nowMs() - startedAtMs })
    })
    this.#running.set(kind, { abort, done })
  }

  /** Aborts one of the kind, if there is one, and waits until it has ended. */
  async abort(kind: TaskKind): Promise<void> {
    const task = this.#running.get(kind)
    task?.abort.abort()
    await task?.done
  }

  /** Aborts everything and waits until it has ended. */
  async abortAll(): Promise<void> {
    const all = [...this.#running.values()]
    for (const task of all) task.abort.abort()
    await Promise.all(all.map((task) => task.done))
  }

  #remember(kind: TaskKind, outcome: Outcome<unknown>): void {
    if (outcome.kind === 'ok') {
      this.#failures.delete(kind)
      return
    }
    this.#failures.set(kind, {
      code: outcome.code,
      reason: outcome.reason,
      hint: outcome.hint ?? ERRORS[outcome.code].hint,
      atMs: this.#clock.nowMs(),
      count: (this.#failures.get(kind)?.count ?? 0) + 1,
    })
  }
}

async function settle<T>(work: Promise<Outcome<T>>): Promise<Outcome<T>> {
  try {
    return await work
  } catch (error) {
    return {
      kind: 'failed',
      code: 'internal',
      reason: error instanceof Error ? error.message : String(error),
    }
  }
}
