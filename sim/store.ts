/**
 * The store: linearizable documents with revisions, and leases. A request takes effect at one moment between sending and answer; the
 * answer may be lost, and a request that the caller has given up on may still take effect later.
 */
import type { Ballot } from '../src/core/ballot.ts'
import type {
  BootstrapClaim,
  FailoverRequest,
  NodeReport,
  Pause,
  SwitchoverRequest,
  Versioned,
} from '../src/core/cluster-view.ts'
import type { Identity, Primacy } from '../src/core/primacy.ts'
import { STORE } from './network.ts'
import type { World } from './world.ts'

export const STORE_DEADLINE_MS = 1_000

export interface PrimaryLease {
  readonly holder: string
  readonly id: number
  readonly untilMs: number
}

export class Store {
  readonly #world: World
  primacy: Versioned<Primacy> | null = null
  identity: Identity | null = null
  claim: (Versioned<BootstrapClaim> & { readonly untilMs: number }) | null = null
  switchover: Versioned<SwitchoverRequest> | null = null
  failover: Versioned<FailoverRequest> | null = null
  paused: Pause | null = null
  lease: PrimaryLease | null = null
  readonly ballots: Ballot[] = []
  readonly reports = new Map<string, { readonly report: NodeReport; readonly untilMs: number }>()
  up = true
  slow = false
  #revision = 1n

  constructor(world: World) {
    this.#world = world
  }

  nextRevision(): bigint {
    return ++this.#revision
  }

  /**
   * `effect` runs at the store at one moment; `answer` gets its value, or null when nothing is known. Exactly one answer, at the latest
   * after the deadline.
   */
  request<T>(from: string, effect: () => T, answer: (value: T | null) => void): void {
    const { random, loop, network } = this.#world
    let answered = false
    const once = (value: T | null): void => {
      if (answered) return
      answered = true
      answer(value)
    }
    loop.after(STORE_DEADLINE_MS, () => once(null))
    const there = this.slow ? random.delay(20, 900, 4_000, 0.2) : random.delay(0.5, 3, 60, 0.01)
    loop.after(there, () => {
      if (!this.up || !network.passes(from, STORE)) return
      const value = effect()
      loop.after(random.delay(0.3, 1.5, 40, 0.01), () => {
        if (network.passes(STORE, from) && this.up) once(value)
      })
    })
  }

  /** Watches: most changes are told soon, some never, some twice. */
  tellWatchers(what: string): void {
    const { random, loop, network, nodes } = this.#world
    for (const node of nodes) {
      const times = random.chance(0.04) ? 0 : random.chance(0.03) ? 2 : 1
      for (let i = 0; i < times; i++) {
        loop.after(random.delay(1, 6, 400, 0.03), () => {
          if (this.up && network.passes(STORE, node.name)) node.agent.storeChanged(what)
        })
      }
    }
  }

  writePrimacy(next: Primacy, expected: bigint, by: string): boolean {
    if (this.primacy === null || this.primacy.revision !== expected) return false
    const before = this.primacy.value
    this.primacy = { value: next, revision: this.nextRevision() }
    this.#world.checks.primacyWritten(before, next, by)
    this.tellWatchers('primacy')
    return true
  }

  putBallot(ballot: Ballot): void {
    const at = this.ballots.findIndex((each) => each.node === ballot.node && each.epoch === ballot.epoch)
    if (at < 0) this.ballots.push(ballot)
    else this.ballots[at] = ballot
    this.#world.checks.ballotWritten(ballot)
    this.tellWatchers('ballots')
  }

  leaseHolder(): string | null {
    if (this.lease !== null && this.lease.untilMs <= this.#world.loop.now) {
      this.#world.trace('store', 'lease-over', `the lease of ${this.lease.holder} has run out`)
      this.lease = null
    }
    return this.lease?.holder ?? null
  }

  /** The transaction compares primacy too; answers the id of the new lease. */
  takeLease(holder: string, expected: bigint, ttlMs: number): number | null {
    if (this.primacy?.revision !== expected) return null
    const current = this.leaseHolder()
    if (current !== null && current !== holder) return null
    this.lease = { holder, id: this.#world.nextId(), untilMs: this.#world.loop.now + ttlMs }
    this.#world.trace('store', 'lease', `${holder} takes the lease of the primary`)
    return this.lease.id
  }

  renewLease(id: number, ttlMs: number): boolean {
    if (this.leaseHolder() === null || this.lease?.id !== id) return false
    this.lease = { ...this.lease, untilMs: this.#world.loop.now + ttlMs }
    return true
  }

  dropLease(id: number): void {
    if (this.lease?.id !== id) return
    this.lease = null
    this.#world.trace('store', 'lease', 'is given back')
    this.tellWatchers('lease')
  }

  liveClaim(): Versioned<BootstrapClaim> | null {
    if (this.claim !== null && this.claim.untilMs <= this.#world.loop.now) this.claim = null
    return this.claim
  }

  liveReports(): ReadonlyMap<string, NodeReport> {
    const live = new Map<string, NodeReport>()
    for (const [name, { report, untilMs }] of this.reports) {
      if (untilMs > this.#world.loop.now) live.set(name, report)
    }
    return live
  }

  stop(): void {
    this.up = false
    this.#world.trace('store', 'DOWN', '')
  }

  /** A new leader of the store gives every lease its full time again. */
  start(): void {
    if (this.up) return
    this.up = true
    this.#world.trace('store', 'UP', '')
    const { now } = this.#world.loop
    if (this.leaseHolder() !== null && this.lease !== null)
      this.lease = { ...this.lease, untilMs: now + this.#world.leaseMs }
    for (const [name, each] of this.reports)
      this.reports.set(name, { ...each, untilMs: now + this.#world.reportTtlMs })
  }
}
