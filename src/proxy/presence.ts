/**
 * That this proxy runs, for the agents to know: before a switchover they have it let nothing begin at the old primary, and it says when
 * nothing is under way there any more. What fails is tried again; a proxy that nobody knows of costs its clients an error, nothing else.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { ClusterStore } from '../ports/cluster-store.ts'
import type { Route, Routing } from '../ports/proxy.ts'

export interface PresenceOptions {
  /** One that no other proxy has. */
  readonly name: string
  readonly store: Pick<ClusterStore, 'grantLease' | 'renewLease' | 'revokeLease' | 'putProxy'>
  readonly routing: Routing
  /** How many statements and transactions are under way on servers. */
  readonly underWay: () => number
}

const TTL_MS = 10_000
const RENEW_EVERY_MS = 3_000
const DRAIN_LOOK_MS = 5

export class Presence {
  readonly #options: PresenceOptions
  readonly #ended = new AbortController()
  #leaseId: bigint | null = null
  #drained: string | null = null
  #unsubscribe: () => void = () => {}

  constructor(options: PresenceOptions) {
    this.#options = options
  }

  start(): void {
    const { routing } = this.#options
    this.#unsubscribe = routing.subscribe((route) => void this.#drain(route))
    void this.#keep()
  }

  async stop(): Promise<void> {
    this.#ended.abort()
    this.#unsubscribe()
    const lease = this.#leaseId
    this.#leaseId = null
    if (lease !== null) await this.#options.store.revokeLease(lease)
  }

  async #keep(): Promise<void> {
    const { store } = this.#options
    while (!this.#ended.signal.aborted) {
      if (this.#leaseId !== null) {
        const renewed = await store.renewLease(this.#leaseId)
        if (renewed.kind === 'ok' && !renewed.value.alive) this.#leaseId = null
      }
      if (this.#leaseId === null && !this.#ended.signal.aborted) await this.#appear()
      await sleep(RENEW_EVERY_MS, undefined, { signal: this.#ended.signal }).catch(() => {})
    }
  }

  async #appear(): Promise<void> {
    const granted = await this.#options.store.grantLease(TTL_MS)
    if (granted.kind !== 'ok') return
    if (this.#ended.signal.aborted) {
      await this.#options.store.revokeLease(granted.value.leaseId)
      return
    }
    this.#leaseId = granted.value.leaseId
    await this.#tell()
  }

  /** Until nothing is under way, or the route has changed again. */
  async #drain(route: Route): Promise<void> {
    if (route.kind !== 'held' || route.hold === undefined) return
    while (this.#options.underWay() > 0) {
      await sleep(DRAIN_LOOK_MS)
      if (this.#options.routing.current !== route || this.#ended.signal.aborted) return
    }
    this.#drained = route.hold
    await this.#tell()
  }

  async #tell(): Promise<void> {
    if (this.#leaseId === null) return
    const report = { name: this.#options.name, drained: this.#drained }
    const told = await this.#options.store.putProxy(report, this.#leaseId)
    // The store may have dropped the lease without our knowing (its restart).
    if (told.kind !== 'ok') this.#leaseId = null
  }
}
