/**
 * What clients did and saw: the input of the checker, as plain values. Instants are milliseconds of this process's monotonic clock, so that
 * "ended before the other began" means what it says.
 */

/**
 * acknowledged: the server said that it is committed. failed: it certainly is not. unknown: the answer is missing, or says that the wait
 * for the standbys was given up.
 */
export type Outcome = 'acknowledged' | 'failed' | 'unknown'

export interface Operation {
  /** Unique over the whole run. */
  readonly value: number
  /** insert: a row of its own. append: one UPDATE that appends. rewrite: read, append and write back, in a SERIALIZABLE transaction. */
  readonly kind: 'insert' | 'append' | 'rewrite'
  /** null for an insert. */
  readonly list: number | null
  /** All of one round are checked together. */
  readonly round: number
  readonly node: string
  /** The timeline on which the server executed it; null when it did not say. */
  readonly timelineId: number | null
  readonly startedAtMs: number
  readonly endedAtMs: number
  readonly outcome: Outcome
  /** Why it is not acknowledged; '' when it is. */
  readonly reason: string
}

/** A list as a node that accepted writes showed it. */
export interface Reading {
  readonly round: number
  readonly node: string
  readonly timelineId: number
  readonly list: number
  readonly items: readonly number[]
  readonly startedAtMs: number
  readonly endedAtMs: number
}

/** What one node has at the end, when nothing is written any more. */
export interface FinalState {
  readonly node: string
  readonly role: 'primary' | 'standby'
  readonly timelineId: number
  readonly systemIdentifier: string
  /** Of all tables of the clients, in a fixed order. */
  readonly checksum: string
  readonly values: readonly number[]
  /** List -> its items. */
  readonly lists: ReadonlyMap<number, readonly number[]>
}

export interface History {
  readonly durability: 'quorum' | 'async'
  readonly operations: readonly Operation[]
  readonly readings: readonly Reading[]
  readonly finals: readonly FinalState[]
}
