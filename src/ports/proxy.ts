/** What the proxy needs from the outside: where the primary is, how far the standbys are, and how a role logs in. */
import type { Lsn } from '../core/lsn.ts'
import type { Line } from '../core/read-bound.ts'

export interface RoutedNode {
  readonly name: string
  readonly host: string
  readonly port: number
}

/** What reads on standbys need to know of the cluster. */
export interface ReadableCluster {
  readonly line: Line
  readonly members: readonly RoutedNode[]
}

/** Who may be written to, as far as is known. A later epoch always replaces an earlier one (I9). */
export type Route =
  /** The primary of `epoch` takes writes. */
  | {
      readonly kind: 'open'
      readonly epoch: number
      readonly primary: RoutedNode
      /** Left out: nothing is known that would let a standby be read from. */
      readonly cluster?: ReadableCluster
      /** The first number of a transaction that this primary has given in its epoch, as text; null or left out: not known. */
      readonly nextXid?: string | null
    }
  /** Nobody takes writes right now: clients wait. `reason` is for people. */
  | {
      readonly cluster?: ReadableCluster
      readonly kind: 'held'
      readonly epoch: number
      readonly reason: string
      /** Of the hold before a switchover: the primary still runs, so that what is under way there can end. */
      readonly hold?: string
    }

export interface Routing {
  readonly current: Route
  /** Called with each change, at once; ends with the returned function. */
  subscribe(listener: (route: Route) => void): () => void
}

/** How to find a role's verifier (pg_authid.rolpassword). */
export type LoginLookup =
  /** `verifier` null: no password is stored. */
  | { readonly kind: 'found'; readonly verifier: string | null }
  /** It does not exist, may not log in, or its time is over. */
  | { readonly kind: 'unknown' }
  | { readonly kind: 'unavailable'; readonly reason: string }

export interface Logins {
  lookUp(role: string): Promise<LoginLookup>
}

/** What one agent says of its PostgreSQL. */
export interface PositionReading {
  readonly node: string
  /** `unknown`: it does not answer. Then nothing else here counts. */
  readonly role: 'primary' | 'standby' | 'unknown'
  readonly systemIdentifier: string
  /** Of a standby the newest that it has WAL of; null: not known. */
  readonly timelineId: number | null
  /** Of a primary where it inserts next, of a standby up to where it has replayed. */
  readonly lsn: Lsn | null
  /** Of a standby: WAL comes in as a stream. */
  readonly streaming: boolean
  /** Of a standby: replay is paused, or delayed on purpose (recovery_min_apply_delay). */
  readonly heldBack: 'paused' | 'delayed' | null
  /** Another one whenever the server may have begun anew: what was replayed before may have to be replayed again. */
  readonly incarnation: string
}

/** Readings of every node, pushed by the agents: at once when a position moves, and now and then when it does not. */
export interface Positions {
  /** Whose readings are wanted. */
  follow(nodes: readonly string[]): void
  /** Ends with the returned function. `null`: the agent of `node` is not heard any more. */
  subscribe(listener: (node: string, reading: PositionReading | null) => void): () => void
  /** Somebody waits for this node: for a moment it looks as often as it can. */
  hurry(node: string): void
}

/** Where a primary's WAL ends. */
export interface PrimaryPosition {
  readonly timelineId: number
  /** Every commit that was acknowledged before it was asked for ends at or before it. */
  readonly lsn: Lsn
}

/** Asks a primary; rejects when it does not answer, or is none. */
export interface PrimaryPositions {
  ask(primary: RoutedNode): Promise<PrimaryPosition>
}
