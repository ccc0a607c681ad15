/** The lease of I10, for rules without acknowledgements: counted from when its renewal was SENT, on the monotonic clock. */
import type { Timers } from '../core/timers.ts'
import type { Clock } from '../ports/clock.ts'
import type { ClusterStore } from '../ports/cluster-store.ts'
import type { Outcome } from '../ports/postgres.ts'

export class PrimaryLease {
  readonly #store: ClusterStore
  readonly #clock: Clock
  readonly #timers: Timers
  #lease: { readonly id: bigint; readonly untilMs: number; readonly renewedAtMs: number } | null = null

  constructor(store: ClusterStore, clock: Clock, timers: Timers) {
    this.#store = store
    this.#clock = clock
    this.#timers = timers
  }

  get untilMs(): number | null {
    return this.#lease?.untilMs ?? null
  }

  /** A lease of its own, so that it can be dropped without the node's report. */
  async take(node: string, expectedPrimacy: bigint): Promise<Outcome> {
    const granted = await this.#store.grantLease(this.#timers.primaryLeaseMs)
    if (granted.kind !== 'ok') return { kind: 'failed', code: 'store-unreachable', reason: granted.reason }
    const { leaseId, sentAtMs } = granted.value
    const taken = await this.#store.takePrimaryLease(node, expectedPrimacy, leaseId)
    if (taken.kind === 'ok' && taken.value) {
      // The store may have rounded up; our own time is what we asked for.
      this.#lease = { id: leaseId, untilMs: sentAtMs + this.#timers.primaryLeaseMs, renewedAtMs: sentAtMs }
      return { kind: 'ok', value: null }
    }
    await this.#store.revokeLease(leaseId)
    return { kind: 'failed', code: 'store-unreachable', reason: 'the lease of the primary was not to be had' }
  }

  /** To be called every cycle while it is needed; a renewal that fails changes nothing, the lease simply runs on. */
  async renew(): Promise<void> {
    const lease = this.#lease
    if (lease === null || this.#clock.nowMs() - lease.renewedAtMs < this.#timers.primaryLeaseMs / 4) return
    const renewed = await this.#store.renewLease(lease.id)
    if (renewed.kind !== 'ok') return
    if (!renewed.value.alive) {
      this.#lease = null
      return
    }
    const { sentAtMs } = renewed.value
    this.#lease = { id: lease.id, untilMs: sentAtMs + this.#timers.primaryLeaseMs, renewedAtMs: sentAtMs }
  }

  async drop(): Promise<void> {
    const lease = this.#lease
    this.#lease = null
    if (lease !== null) await this.#store.revokeLease(lease.id)
  }
}
