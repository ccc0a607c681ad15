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
import { succeeding } from '../src/core/knowledge.ts'
import type { Identity, Knowledge, Primacy, StaleMark } from '../src/core/primacy.ts'
import { STORE } from './network.ts'
import type { World } from './world.ts'

export const STORE_DEADLINE_MS = 1_000

export interface PrimaryLease {
  readonly holder: string
  readonly id: number
  readonly untilMs: number
}

/** Of the documents at one moment; reports go with their leases. */
export interface Copy {
  readonly primacy: Versioned<Primacy>
  readonly identity: Identity | null
  readonly switchover: Versioned<SwitchoverRequest> | null
  readonly failover: Versioned<FailoverRequest> | null
  readonly paused: Pause | null
  readonly lease: PrimaryLease | null
  readonly ballots: readonly Ballot[]
}

const COPIES_KEPT = 30

export class Store {
  readonly #world: World
  primacy: Versioned<Primacy> | null = null
  identity: Identity | null = null
  claim: (Versioned<BootstrapClaim> & { readonly untilMs: number }) | null = null
  switchover: Versioned<SwitchoverRequest> | null = null
  failover: Versioned<FailoverRequest> | null = null
  paused: Pause | null = null
  lease: PrimaryLease | null = null
  ballots: Ballot[] = []
  stale: StaleMark | null = null
  /** What it knew when it was replaced by something older; null: it knows all that it was told. */
  forgot: Primacy | null = null
  readonly copies: Copy[] = []
  /** Grows when it is replaced: requests of before are lost with their connections. */
  #life = 0
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
    const life = this.#life
    loop.after(there, () => {
      if (!this.up || life !== this.#life || !network.passes(from, STORE)) return
      const value = effect()
      loop.after(random.delay(0.3, 1.5, 40, 0.01), () => {
        if (network.passes(STORE, from) && this.up && life === this.#life) once(value)
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

  /** What holds whether the store remembers it or not. */
  get truth(): Primacy | undefined {
    return this.forgot ?? this.primacy?.value
  }

  /** Answers the document as it was written. */
  writePrimacy(wanted: Primacy, expected: bigint, by: string): Primacy | null {
    if (this.primacy === null || this.primacy.revision !== expected || this.stale !== null) return null
    this.#copy(this.primacy)
    const before = this.primacy.value
    const next = succeeding(wanted, String(this.#world.nextId()))
    this.primacy = { value: next, revision: this.nextRevision() }
    this.#world.checks.primacyWritten(before, next, by)
    this.tellWatchers('primacy')
    return next
  }

  #copy(primacy: Versioned<Primacy>): void {
    const { identity, switchover, failover, paused, lease } = this
    this.copies.push({ primacy, identity, switchover, failover, paused, lease, ballots: [...this.ballots] })
    if (this.copies.length > COPIES_KEPT) this.copies.shift()
  }

  /** By an old copy, or by nothing; it is down afterwards. */
  replace(copy: Copy | null): void {
    this.forgot = this.primacy?.value ?? null
    this.stop()
    this.#life++
    this.primacy = copy?.primacy ?? null
    this.identity = copy?.identity ?? null
    this.switchover = copy?.switchover ?? null
    this.failover = copy?.failover ?? null
    this.paused = copy?.paused ?? null
    this.lease = copy?.lease ?? null
    this.ballots = [...(copy?.ballots ?? [])]
    this.claim = null
    this.stale = null
    this.reports.clear()
    this.copies.length = 0
    // Reports move it all the time, so nobody meets a revision that it had before.
    this.#revision += BigInt(1 + this.#world.random.int(1_000))
  }

  markStale(mark: StaleMark, expected: bigint | null): boolean {
    if ((this.primacy?.revision ?? null) !== expected || this.stale !== null) return false
    this.stale = mark
    this.#world.trace('store', 'STALE', `${mark.by} knows of epoch ${mark.epoch}`)
    this.tellWatchers('stale')
    return true
  }

  recover(
    { primacy, identity }: Knowledge,
    lease: { readonly holder: string; readonly ttlMs: number } | null,
    expected: bigint | null,
  ): boolean {
    if ((this.primacy?.revision ?? null) !== expected || this.forgot === null) return false
    this.primacy = { value: primacy, revision: this.nextRevision() }
    this.identity = identity
    this.stale = null
    this.claim = null
    this.switchover = null
    this.failover = null
    if (lease !== null)
      this.lease = {
        holder: lease.holder,
        id: this.#world.nextId(),
        untilMs: this.#world.loop.now + lease.ttlMs,
      }
    const { forgot } = this
    this.forgot = null
    this.#world.checks.recovered(forgot, primacy)
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
    if (this.primacy?.revision !== expected || this.stale !== null) return null
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
