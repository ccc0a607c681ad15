/**
 * The lease of I10, for rules without acknowledgements: counted from when its taking or renewal was SENT, on the monotonic clock. Its id
 * and its end survive the agent, for PostgreSQL does too; after a reboot of the machine nothing of it is left. Its deadline has a timer of
 * its own, set wherever its end is: whatever a loop waits for then, PostgreSQL must not be carried past it.
 */
import { readFileSync } from 'node:fs'
import type { Timers } from '../core/timers.ts'
import type { Clock } from '../ports/clock.ts'
import type { ClusterStore } from '../ports/cluster-store.ts'
import type { Outcome } from '../ports/postgres.ts'
import type { StateDirectory } from './state-directory.ts'

interface Held {
  readonly id: bigint
  readonly untilMs: number
  readonly renewedAtMs: number
}

export class PrimaryLease {
  readonly #store: ClusterStore
  readonly #clock: Clock
  readonly #timers: Timers
  readonly #directory: StateDirectory
  readonly #onDeadline: () => void
  readonly #bootId = bootId()
  #lease: Held | null
  #timer: NodeJS.Timeout | undefined

  /** `onDeadline`: the moment, before the lease ends, at which a primary without acknowledgements must be stopped. */
  constructor(
    store: ClusterStore,
    clock: Clock,
    timers: Timers,
    directory: StateDirectory,
    onDeadline: () => void,
  ) {
    this.#store = store
    this.#clock = clock
    this.#timers = timers
    this.#directory = directory
    this.#onDeadline = onDeadline
    const written = directory.primaryLease
    const ours = written !== null && written.bootId === this.#bootId
    this.#lease = ours ? { id: BigInt(written.leaseId), untilMs: written.untilMs, renewedAtMs: 0 } : null
    this.#watchDeadline()
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
      await this.#hold(leaseId, sentAtMs)
      return { kind: 'ok', value: null }
    }
    await this.#store.revokeLease(leaseId)
    return { kind: 'failed', code: 'store-unreachable', reason: 'the lease of the primary was not to be had' }
  }

  /**
   * To be called every cycle; does something only when it is time to. A renewal that fails, or that says the lease is gone, leaves the
   * old end as it is: it was promised until then.
   */
  async renew(): Promise<void> {
    const lease = this.#lease
    if (lease === null || this.#clock.nowMs() - lease.renewedAtMs < this.#timers.primaryLeaseMs / 4) return
    const renewed = await this.#store.renewLease(lease.id)
    if (renewed.kind === 'ok' && renewed.value.alive) await this.#hold(lease.id, renewed.value.sentAtMs)
  }

  /** Forgotten here before the store gives it to somebody else: a successor of this agent must never find more than the store grants. */
  async drop(): Promise<void> {
    const lease = this.#lease
    if (lease === null) return
    await this.#directory.rememberLease(null)
    this.#lease = null
    this.#watchDeadline()
    await this.#store.revokeLease(lease.id)
  }

  /** No timer is left; the lease is as it was. */
  close(): void {
    clearTimeout(this.#timer)
  }

  /** The store may have rounded up; our own time is what we asked for. */
  async #hold(id: bigint, sentAtMs: number): Promise<void> {
    const untilMs = sentAtMs + this.#timers.primaryLeaseMs
    this.#lease = { id, untilMs, renewedAtMs: sentAtMs }
    this.#watchDeadline()
    await this.#directory.rememberLease({ leaseId: String(id), untilMs, bootId: this.#bootId })
  }

  #watchDeadline(): void {
    clearTimeout(this.#timer)
    if (this.#lease === null) return
    const leftMs = this.#lease.untilMs - this.#timers.selfFenceMarginMs - this.#clock.nowMs()
    this.#timer = setTimeout(this.#onDeadline, Math.max(0, leftMs) + 1)
  }
}

function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  } catch {
    return 'unknown'
  }
}
