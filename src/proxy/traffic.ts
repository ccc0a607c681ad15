/**
 * What has passed, per database and role. On the path of a byte there are additions to numbers in an object and nothing else; times of
 * servers are sampled by the sweep, which gives the same sum without a look at the clock for each statement.
 */
import type { TrafficView } from '../ports/proxy-view.ts'

export type Traffic = { -readonly [Key in keyof TrafficView]: TrafficView[Key] }

/** Roles and databases that exist: a login was proven and the database opened before there is an entry. */
const MAX_ENTRIES = 10_000

/** Of the averages that the console shows, as PgBouncer's `stats_period`. */
const PERIOD_MS = 60_000

export class TrafficTable {
  readonly #entries = new Map<string, Traffic>()
  /** As they were when the last period ended. */
  #totals: ReadonlyMap<string, Traffic> = new Map()
  #added: readonly Traffic[] = []
  #periodMs = 0
  #rolledAtMs = performance.now()

  of(database: string, user: string): Traffic {
    const key = `${database}\0${user}`
    let entry = this.#entries.get(key)
    if (entry === undefined) {
      entry = emptyTraffic(database, user)
      if (this.#entries.size < MAX_ENTRIES) this.#entries.set(key, entry)
    }
    return entry
  }

  /** Copies. */
  get all(): readonly Traffic[] {
    return [...this.#entries.values()].map((entry) => ({ ...entry }))
  }

  /** What was added in the period that ended last, and how long it was; 0 ms before the first one has ended. */
  get lastPeriod(): { readonly ms: number; readonly added: readonly Traffic[] } {
    return { ms: this.#periodMs, added: this.#added }
  }

  /** Ends a period when it is time. */
  roll(nowMs: number): void {
    if (nowMs - this.#rolledAtMs < PERIOD_MS) return
    this.#periodMs = nowMs - this.#rolledAtMs
    this.#rolledAtMs = nowMs
    const before = this.#totals
    this.#totals = new Map([...this.#entries].map(([key, entry]) => [key, { ...entry }]))
    this.#added = [...this.#totals].map(([key, entry]) => minus(entry, before.get(key)))
  }
}

export function emptyTraffic(database: string, user: string): Traffic {
  return {
    ...{ database, user },
    ...{ transactions: 0, queries: 0, received: 0, sent: 0, waitMs: 0, transactionMs: 0, queryMs: 0 },
    ...{ parses: 0, binds: 0, assignments: 0, readsAtStandbys: 0, readsAtPrimary: 0, readsRepeated: 0 },
  }
}

const NUMBERS = [
  'transactions',
  'queries',
  'received',
  'sent',
  'waitMs',
  'transactionMs',
  'queryMs',
  'parses',
  'binds',
  'assignments',
  'readsAtStandbys',
  'readsAtPrimary',
  'readsRepeated',
] as const satisfies readonly (keyof Traffic)[]

/** Adds `more` to `sum`. */
export function addTraffic(sum: Traffic, more: Traffic): void {
  for (const name of NUMBERS) sum[name] += more[name]
}

function minus(later: Traffic, earlier: Traffic | undefined): Traffic {
  const difference = { ...later }
  for (const name of NUMBERS) difference[name] -= earlier?.[name] ?? 0
  return difference
}
