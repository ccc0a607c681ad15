/** What `decide` returns: the rule, its sentence, and actions as values, executed in order by agent/act.ts. Pure. */
import type { Ballot } from './ballot.ts'
import type { BootstrapClaim, ClusterView, WantedConfiguration } from './cluster-view.ts'
import type { Lsn } from './lsn.ts'

import type { Identity, Primacy, Rule, StaleMark } from './primacy.ts'

export type Action =
  /** Create the claim (revision null) or take it over from an own predecessor, bound to the own lease. */
  | { readonly kind: 'claimBootstrap'; readonly claim: BootstrapClaim; readonly expected: bigint | null }
  /** Long: initdb and roles, beside the data directory. */
  | { readonly kind: 'initialize' }
  /** One transaction: the claim is still ours and primacy does not exist -> primacy and identity. */
  | {
      readonly kind: 'publishCluster'
      readonly primacy: Primacy
      readonly identity: Identity
      readonly claim: bigint
    }
  /** Tells every node that the store has forgotten something; only while primacy is as it was seen. */
  | { readonly kind: 'markStale'; readonly mark: StaleMark; readonly expected: bigint | null }
  /** Compare-and-swap of primacy. */
  | {
      readonly kind: 'writePrimacy'
      readonly primacy: Primacy
      readonly expected: bigint
      readonly why: string
    }
  /** Fsynced before it returns; never lowers (I3). */
  | { readonly kind: 'promise'; readonly epoch: number }
  /** Writes the files; reloads when PostgreSQL runs. */
  | { readonly kind: 'configure'; readonly wanted: WantedConfiguration }
  /**
   * Long: makes PostgreSQL go for exactly the timeline that it has WAL of when the files say standby (I6, M: posNaive), spawns and waits until
   * it accepts connections. Not spawned after `notAfterMs` of the monotonic clock, read immediately before (I10).
   */
  | { readonly kind: 'start'; readonly notAfterMs: number | null }
  /**
   * Long. Ends a running `promote` task too, so that no promotion reaches a later postmaster. `immediate` hastens a `fast` one that is under
   * way; then no process of PostgreSQL does anything more from its beginning on, whether the postmaster hears signals or hangs (I10).
   */
  | { readonly kind: 'stop'; readonly mode: 'fast' | 'immediate' }
  /** Long: base backup of the upstream beside the data directory, then the swap. */
  | {
      readonly kind: 'clone'
      readonly from: string
      readonly host: string
      readonly port: number
      readonly epoch: number
    }
  | { readonly kind: 'abort'; readonly task: 'clone' }
  /** The passfiles go first, so that no walreceiver can connect once more (I3b, M: walrcvOnly). */
  | { readonly kind: 'removePassfiles' }
  | { readonly kind: 'vote'; readonly ballot: Ballot }
  /**
   * Long: gaps filled so that PostgreSQL takes exactly this timeline (I6), the asking noted in the state directory with the postmaster's
   * pid, then the promotion itself, of that postmaster only and not after `notAfterMs`, read immediately before (I10).
   */
  | {
      readonly kind: 'promote'
      readonly timelineId: number
      readonly epoch: number
      readonly notAfterMs: number | null
    }
  /**
   * Long: makes sure that every process has applied the synchronous_standby_names that SHOW gives: ends the walsenders (a change of the
   * number alone shows nowhere), then a CHECKPOINT, which the checkpointer answers only after it has read the settings. Sets
   * `namesInEffect` (I5).
   */
  | { readonly kind: 'settle' }
  /** Long: pg_rewind from the primary, with the sentinel around it. */
  | {
      readonly kind: 'rewind'
      readonly from: string
      readonly host: string
      readonly port: number
      readonly epoch: number
    }
  /** The lease of I10, in a transaction that compares primacy. */
  | { readonly kind: 'takePrimaryLease'; readonly expected: bigint }
  | { readonly kind: 'dropPrimaryLease' }
  | {
      readonly kind: 'dropRequest'
      readonly request: 'switchover' | 'failover'
      readonly expected: bigint
      readonly reason: string
      /** It was carried out; else it was refused. */
      readonly done: boolean
    }
  | { readonly kind: 'dropReinit'; readonly reason: string }
  /** Renames the data directory away; nothing is deleted (I11). */
  | { readonly kind: 'moveAside'; readonly reason: string }
  /**
   * Long: a commit, and then `acks` of the rule's standbys whose walsenders report its end as flushed. Fails when SHOW gives other names
   * than the rule's, and when it is not acknowledged in time.
   */
  | { readonly kind: 'prove'; readonly rule: Rule }
  | { readonly kind: 'endWalsenders'; readonly pids: readonly number[] }
  | { readonly kind: 'createSlot'; readonly name: string }
  | { readonly kind: 'dropSlot'; readonly name: string }
  | { readonly kind: 'advanceSlot'; readonly name: string; readonly to: Lsn }

/** Carried from cycle to cycle, in and out: no hidden fields. Lost with the agent, so nothing safe may hang on it. */
export interface Memory {
  /** Since when the store is known to be without a cluster: the preferred node gets a head start. */
  readonly emptySinceMs: number | null
  /** Since when each standby of the rule has not been streaming. */
  readonly lostSinceMs: Readonly<Record<string, number>>
  /** The change of rule that is under way, as this agent sees it. */
  readonly change: RuleChange | null
  /** Since when this standby gets no WAL although its primary runs: no progress is unhealthy, whatever the process list says. */
  readonly stuckSinceMs: number | null
  /** The walreceiver that streams, and since when it has been seen so. */
  readonly receiving: { readonly pid: number; readonly sinceMs: number } | null
  /** Since when recovery has been at this segment, and nobody sends any WAL: before it is consistent SQL cannot tell anything. */
  readonly starved: { readonly segment: string; readonly sinceMs: number } | null
  /** Since when the own postmaster has run without answering, while this node was the primary. */
  readonly unansweredSinceMs: number | null
  /** Since when this node has been seen to write in its steady epoch. */
  readonly office: { readonly epoch: number; readonly sinceMs: number } | null
  /** Since when this node knows of the newest epoch: who carries its election on, and from when a new primary may count as silent. */
  readonly epoch: { readonly number: number; readonly seenAtMs: number } | null
  /** How far the own WAL was on the disk when it was last seen to have moved on, and when that was. */
  readonly flushed: { readonly lsn: Lsn; readonly sinceMs: number } | null
}

export interface RuleChange {
  readonly key: string
  readonly startedAtMs: number
  readonly givingUp: boolean
  /** The walsenders that were told to end, because a change of `acks` alone shows nowhere; null: none was yet. */
  readonly ended: readonly number[] | null
}

export const EMPTY_MEMORY: Memory = {
  emptySinceMs: null,
  lostSinceMs: {},
  change: null,
  stuckSinceMs: null,
  receiving: null,
  starved: null,
  unansweredSinceMs: null,
  office: null,
  epoch: null,
  flushed: null,
}

export interface Verdict {
  readonly reason: string
  readonly actions: readonly Action[]
  /** Left out: unchanged. */
  readonly memory?: Memory
}

export interface Decision {
  readonly rule: string
  readonly reason: string
  readonly actions: readonly Action[]
  readonly memory: Memory
}

/** One rule of the ordered list: null when it does not apply. */
export interface DecisionRule {
  readonly id: string
  evaluate(view: ClusterView, memory: Memory): Verdict | null
}
