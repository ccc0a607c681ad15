/**
 * State, journal and leases as one: a request changes the state in one turn, and is answered when everything that it may have seen is on
 * disk. Reads wait too, because what they saw could still be lost.
 */
import type { JsonObject } from '../wire.ts'
import type { Outcome } from './execute.ts'
import { type Failure, failure, GRPC } from './failure.ts'
import type { Journal } from './journal.ts'
import { LeaseClock } from './lease-clock.ts'
import type { HistoryLimits, StateRecord, StoreState } from './store-state.ts'

export interface EngineOptions {
  readonly state: StoreState
  readonly nowMs: () => number
  readonly historyLimits: HistoryLimits
  /** Revisions up to `publishedRevision` are durable now. */
  readonly onPublished: () => void
}

/** How long between two looks at the leases, when no deadline is nearer. */
const LONGEST_TICK_MS = 500
/** Later than this, the process did not run in between, and cannot have heard the renewals of that time. */
const PAUSE_MS = 1_000
const LEASE_RECORD_BYTES = 64

export class Engine {
  readonly #options: EngineOptions
  readonly #leases = new LeaseClock()
  #journal: Journal | null = null
  #published: number
  #tick: NodeJS.Timeout | null = null

  constructor(options: EngineOptions) {
    this.#options = options
    this.#published = options.state.revision
    options.state.trim(options.historyLimits, this.#published)
    for (const leaseId of options.state.leaseIds()) this.#startLease(leaseId)
  }

  get state(): StoreState {
    return this.#options.state
  }

  /** The newest revision that is on disk; watchers were told of everything up to it. */
  get publishedRevision(): number {
    return this.#published
  }

  start(journal: Journal): void {
    this.#journal = journal
    this.#schedule()
  }

  /** Ends the clock of the leases and writes what is pending. */
  async stop(): Promise<void> {
    if (this.#tick !== null) clearTimeout(this.#tick)
    this.#tick = null
    const journal = this.#journal
    this.#journal = null
    await journal?.close()
  }

  /** A read: its answer is given when what it saw is durable. */
  async read(action: (state: StoreState) => JsonObject | Failure): Promise<JsonObject | Failure> {
    const answer = action(this.state)
    return (await this.#journal?.durable()) === true ? answer : LOST
  }

  /** A change, caused by a request of `requestBytes`. Refused before anything happened when the disk has no room for it. */
  async write(
    requestBytes: number,
    action: (state: StoreState) => Outcome | Failure,
  ): Promise<JsonObject | Failure> {
    const journal = this.#journal
    if (journal === null) return LOST
    const reservation = await journal.reserve(requestBytes)
    if (reservation === null) return journal.failed ? LOST : FULL
    const outcome = action(this.state)
    const record = 'answer' in outcome ? outcome.record : null
    if (record !== null) {
      this.#follow(record)
      journal.append(record, this.state.revision)
    }
    journal.release(reservation)
    if (!(await journal.durable())) return LOST
    return 'answer' in outcome ? outcome.answer : outcome
  }

  /** Gives a lease its full time again. Not logged: after a restart it has its full time anyway. */
  renewLease(leaseId: string): boolean {
    return this.#leases.renew(leaseId, this.#options.nowMs())
  }

  remainingMs(leaseId: string): number {
    return this.#leases.remainingMs(leaseId, this.#options.nowMs())
  }

  /** Everything up to this revision is on disk. */
  onDurable(revision: number): void {
    if (revision > this.#published) {
      this.#published = revision
      this.#options.onPublished()
    }
    this.state.trim(this.#options.historyLimits, this.#published)
  }

  #follow(record: StateRecord): void {
    if (record.kind === 'grant') this.#startLease(record.leaseId)
    if (record.kind === 'revoke') this.#leases.remove(record.leaseId)
    if (record.kind === 'grant' && this.#tick !== null) this.#schedule()
  }

  #startLease(leaseId: string): void {
    const ttlMs = (this.state.leaseTtlSeconds(leaseId) ?? 0) * 1000
    this.#leases.start(leaseId, ttlMs, this.#options.nowMs())
  }

  #schedule(): void {
    if (this.#tick !== null) clearTimeout(this.#tick)
    const nowMs = this.#options.nowMs()
    const delayMs = Math.min(LONGEST_TICK_MS, Math.max(10, (this.#leases.nextMs() ?? Infinity) - nowMs))
    const expectedAtMs = nowMs + delayMs
    this.#tick = setTimeout(() => {
      if (this.#options.nowMs() - expectedAtMs > PAUSE_MS) this.#leases.renewAll(this.#options.nowMs())
      void this.#expire()
      this.#schedule()
    }, delayMs)
  }

  /** A lease that cannot be ended on disk is not ended: it stays, with its keys, until there is room. */
  async #expire(): Promise<void> {
    const due = this.#leases.due(this.#options.nowMs())
    await Promise.all(
      due.map((leaseId) =>
        this.write(LEASE_RECORD_BYTES, (state) => {
          // It may have been renewed or revoked while room was made for the record.
          const stillDue = this.#leases.due(this.#options.nowMs()).includes(leaseId)
          return stillDue ? revoke(state, leaseId) : { answer: {}, record: null }
        }),
      ),
    )
  }
}

/** The caller knows that the lease exists. */
export function revoke(state: StoreState, leaseId: string): Outcome {
  state.revokeLease(leaseId)
  return { answer: {}, record: { kind: 'revoke', leaseId } }
}

const FULL = failure(GRPC.resourceExhausted, 'etcdserver: mvcc: database space exceeded')
const LOST = failure(GRPC.unavailable, 'etcdserver: the store has stopped, or cannot write to its disk')
