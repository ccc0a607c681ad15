/**
 * Writes what this node saw of changes of primary into the store: one epoch at a time, each merged with what others have written of it, and
 * never so that anybody waits. A store that does not take it is asked again later.
 */
import { type HistoryRecord, mergeRecords } from '../core/history.ts'
import type { Clock } from '../ports/clock.ts'
import type { ClusterStore } from '../ports/cluster-store.ts'

/** At rest, and after a failure. */
const WRITE_EVERY_MS = 500
const RETRY_MS = 5_000
const SWAPS = 5

export interface Chapter {
  record: HistoryRecord
  /** When this node saw it begin, on the monotonic clock. */
  readonly beganMs: number
  /** Whether there is something that the store does not have yet. */
  fresh: boolean
}

export class HistoryWriter {
  readonly #store: ClusterStore
  readonly #clock: Clock
  #writing = false
  #notBeforeMs = Number.NEGATIVE_INFINITY

  constructor(store: ClusterStore, clock: Clock) {
    this.#store = store
    this.#clock = clock
  }

  /** Beside the caller; does nothing while the last one goes on, or has ended only just. */
  writeOne(chapters: readonly Chapter[]): void {
    if (this.#writing || this.#clock.nowMs() < this.#notBeforeMs) return
    const chapter = chapters.find((each) => each.fresh)
    if (chapter === undefined) return
    this.#writing = true
    // What is noted meanwhile makes it fresh again.
    chapter.fresh = false
    const attempt = this.#write(chapter.record).catch(() => false)
    void attempt.then((written) => {
      this.#writing = false
      if (!written) chapter.fresh = true
      this.#notBeforeMs = this.#clock.nowMs() + (written ? WRITE_EVERY_MS : RETRY_MS)
    })
  }

  async #write(record: HistoryRecord): Promise<boolean> {
    for (let swap = 0; swap < SWAPS; swap++) {
      const before = await this.#store.readRecord(record.epoch)
      if (before.kind !== 'ok') return false
      const merged = before.value === null ? record : mergeRecords(before.value.value, record)
      const done = await this.#store.writeRecord(merged, before.value?.revision ?? null)
      if (done.kind !== 'ok') return false
      if (done.value) return true
    }
    return false
  }
}
