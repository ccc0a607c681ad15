/**
 * That this proxy runs, for the agents to know: before a switchover they have it let nothing begin at the old primary, and it says when
 * nothing is under way there any more, at none of its workers. What fails is tried again; a proxy that nobody knows of costs its clients an
 * error, nothing else.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { ClusterStore, ProxyState } from '../ports/cluster-store.ts'

export interface PresenceOptions {
  /** One that no other proxy has. */
  readonly name: string
  readonly store: Pick<ClusterStore, 'grantLease' | 'renewLease' | 'revokeLease' | 'putProxy'>
  /** What it tells beside that; null: nothing is known right now. */
  readonly state?: () => Promise<ProxyState | null>
}

const TTL_MS = 10_000
const RENEW_EVERY_MS = 3_000
/** A write to the store is a write to a disk: how many clients there are is told not more often. */
const TELL_STATE_EVERY_MS = 10_000

export class Presence {
  readonly #options: PresenceOptions
  readonly #ended = new AbortController()
  #leaseId: bigint | null = null
  #drained: string | null = null
  #state: ProxyState | null = null
  #toldStateAtMs = Number.NEGATIVE_INFINITY

  constructor(options: PresenceOptions) {
    this.#options = options
  }

  start(): void {
    void this.#keep()
  }

  async stop(): Promise<void> {
    this.#ended.abort()
    const lease = this.#leaseId
    this.#leaseId = null
    if (lease !== null) await this.#options.store.revokeLease(lease)
  }

  /** Under this hold nothing is under way any more. */
  async drained(hold: string): Promise<void> {
    this.#drained = hold
    await this.#tell()
  }

  async #keep(): Promise<void> {
    const { store } = this.#options
    while (!this.#ended.signal.aborted) {
      if (this.#leaseId !== null) {
        const renewed = await store.renewLease(this.#leaseId)
        if (renewed.kind === 'ok' && !renewed.value.alive) this.#leaseId = null
      }
      if (this.#ended.signal.aborted) return
      if (this.#leaseId === null) await this.#appear()
      else await this.#tellState()
      await sleep(RENEW_EVERY_MS, undefined, { signal: this.#ended.signal }).catch(() => {})
    }
  }

  async #appear(): Promise<void> {
    this.#state = await this.#look()
    const granted = await this.#options.store.grantLease(TTL_MS)
    if (granted.kind !== 'ok') return
    if (this.#ended.signal.aborted) {
      await this.#options.store.revokeLease(granted.value.leaseId)
      return
    }
    this.#leaseId = granted.value.leaseId
    await this.#tell()
  }

  async #tellState(): Promise<void> {
    const state = await this.#look()
    const isOld = performance.now() - this.#toldStateAtMs > TELL_STATE_EVERY_MS
    if (isOld ? JSON.stringify(state) === JSON.stringify(this.#state) : !hasTurned(this.#state, state)) return
    this.#state = state
    await this.#tell()
  }

  async #look(): Promise<ProxyState | null> {
    return (await this.#options.state?.().catch(() => null)) ?? null
  }

  async #tell(): Promise<void> {
    if (this.#leaseId === null) return
    this.#toldStateAtMs = performance.now()
    const report = { name: this.#options.name, drained: this.#drained, state: this.#state }
    const told = await this.#options.store.putProxy(report, this.#leaseId)
    // The store may have dropped the lease without our knowing (its restart).
    if (told.kind !== 'ok') this.#leaseId = null
  }
}

/** Something that nobody should have to wait for. */
function hasTurned(before: ProxyState | null, now: ProxyState | null): boolean {
  return before?.epoch !== now?.epoch || before?.held !== now?.held || before?.paused !== now?.paused
}
