/**
 * The node's lease and its report in the store. The report goes out at once when something changed that others act on, and at most
 * every two seconds when only positions moved: at rest nothing is written at all.
 */
import type { NodeReport } from '../core/cluster-view.ts'
import { timersOf } from '../core/timers.ts'
import type { Clock } from '../ports/clock.ts'
import type { ClusterStore } from '../ports/cluster-store.ts'

const POSITIONS_EVERY_MS = 2_000

interface HeldLease {
  readonly id: bigint
  /** Counted from when the renewal was sent. */
  readonly untilMs: number
}

export class Membership {
  readonly #store: ClusterStore
  readonly #clock: Clock
  readonly #ttlMs: number
  #lease: HeldLease | null = null
  #renewedAtMs = 0
  #reported: { readonly report: NodeReport; readonly atMs: number; readonly leaseId: bigint } | null = null

  constructor(store: ClusterStore, clock: Clock, rtoMs: number) {
    this.#store = store
    this.#clock = clock
    this.#ttlMs = timersOf(rtoMs).membershipMs
  }

  get leaseId(): bigint | null {
    return this.#lease !== null && this.#lease.untilMs > this.#clock.nowMs() ? this.#lease.id : null
  }

  /** Grants or renews when it is time to; cheap otherwise. Failures are tried again in the next cycle. */
  async keepLease(): Promise<void> {
    const now = this.#clock.nowMs()
    if (this.#lease !== null && now - this.#renewedAtMs < this.#ttlMs / 3) return
    if (this.#lease !== null) {
      const renewal = await this.#store.renewLease(this.#lease.id)
      if (renewal.kind !== 'ok') return
      if (renewal.value.alive) {
        this.#hold(this.#lease.id, renewal.value.sentAtMs, renewal.value.ttlMs)
        return
      }
      this.#lease = null
    }
    const grant = await this.#store.grantLease(this.#ttlMs)
    if (grant.kind === 'ok') this.#hold(grant.value.leaseId, grant.value.sentAtMs, grant.value.ttlMs)
  }

  async report(report: NodeReport): Promise<void> {
    const leaseId = this.leaseId
    if (leaseId === null || !this.#isDue(report, leaseId)) return
    const put = await this.#store.putReport(report, leaseId)
    if (put.kind === 'ok') this.#reported = { report, atMs: this.#clock.nowMs(), leaseId }
    // The store may have dropped the lease without our knowing (its restart): the next cycle asks.
    else this.#renewedAtMs = 0
  }

  async leave(): Promise<void> {
    if (this.#lease !== null) await this.#store.revokeLease(this.#lease.id)
    this.#lease = null
  }

  #hold(id: bigint, sentAtMs: number, ttlMs: number): void {
    this.#lease = { id, untilMs: sentAtMs + ttlMs }
    this.#renewedAtMs = sentAtMs
  }

  #isDue(report: NodeReport, leaseId: bigint): boolean {
    const last = this.#reported
    if (last === null || last.leaseId !== leaseId) return true
    if (essence(last.report) !== essence(report)) return true
    const moved = last.report.flushLsn !== report.flushLsn || last.report.replayLsn !== report.replayLsn
    return moved && this.#clock.nowMs() - last.atMs >= POSITIONS_EVERY_MS
  }
}

function essence(report: NodeReport): string {
  return JSON.stringify({ ...report, flushLsn: null, replayLsn: null })
}
