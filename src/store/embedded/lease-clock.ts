/** When leases run out, on a monotonic clock. Kept out of the state: after a restart every lease gets its full time again, as in etcd. Pure. */
export class LeaseClock {
  readonly #deadlines = new Map<string, { readonly ttlMs: number; atMs: number }>()

  /** Starts, or starts anew. */
  start(leaseId: string, ttlMs: number, nowMs: number): void {
    this.#deadlines.set(leaseId, { ttlMs, atMs: nowMs + ttlMs })
  }

  /** Gives a lease its full time again; false when there is none. */
  renew(leaseId: string, nowMs: number): boolean {
    const lease = this.#deadlines.get(leaseId)
    if (lease === undefined) return false
    lease.atMs = nowMs + lease.ttlMs
    return true
  }

  renewAll(nowMs: number): void {
    for (const lease of this.#deadlines.values()) lease.atMs = nowMs + lease.ttlMs
  }

  remove(leaseId: string): void {
    this.#deadlines.delete(leaseId)
  }

  remainingMs(leaseId: string, nowMs: number): number {
    return Math.max(0, (this.#deadlines.get(leaseId)?.atMs ?? nowMs) - nowMs)
  }

  due(nowMs: number): readonly string[] {
    return [...this.#deadlines].flatMap(([leaseId, { atMs }]) => (atMs <= nowMs ? [leaseId] : []))
  }

  /** The next deadline; null without leases. */
  nextMs(): number | null {
    let next: number | null = null
    for (const { atMs } of this.#deadlines.values()) if (next === null || atMs < next) next = atMs
    return next
  }
}
