/**
 * What the agent needs from the coordination store: etcd v3 semantics (linearizable reads, compare-and-swap transactions,
 * leases, watches). Both stores, etcd and the embedded one, are reached through this port by ONE client.
 *
 * Expected failure is a value. `unavailable` after a write means: it may or may not have happened; the caller reads again.
 * `now` values are from a monotonic clock in milliseconds; a lease is counted from when its renewal was SENT.
 */
import type { ErrorCode } from '../errors/codes.ts'

export type StoreResult<T> =
  | { readonly kind: 'ok'; readonly value: T }
  /** No answer in time, connection refused, or an answer that makes no sense: nothing can be concluded. */
  | { readonly kind: 'unavailable'; readonly reason: string }
  /** A definite no that repeating does not change: credentials, a gateway that is switched off. */
  | { readonly kind: 'refused'; readonly code: ErrorCode; readonly reason: string }

export interface KeyValue {
  readonly key: string
  /** UTF-8 text; all our documents are JSON. */
  readonly value: string
  readonly createRevision: bigint
  readonly modRevision: bigint
  readonly version: bigint
  /** 0n when the key has no lease. */
  readonly leaseId: bigint
}

export type Compare =
  /** modRevision 0n: the key does not exist. */
  | { readonly key: string; readonly modRevision: bigint }
  | { readonly key: string; readonly createRevision: bigint }

export type StoreOperation =
  | { readonly op: 'put'; readonly key: string; readonly value: string; readonly leaseId?: bigint }
  | { readonly op: 'delete'; readonly key: string }
  | { readonly op: 'deletePrefix'; readonly prefix: string }
  | { readonly op: 'get'; readonly key: string }

export interface Transaction {
  readonly compare: readonly Compare[]
  readonly success: readonly StoreOperation[]
  readonly failure?: readonly StoreOperation[]
}

export interface TransactionResult {
  readonly succeeded: boolean
  /** Store revision after the transaction; a put's modRevision when it succeeded. */
  readonly revision: bigint
  /** The keys that `get` operations of the branch taken have read, in order; null where a key does not exist. */
  readonly reads: readonly (KeyValue | null)[]
}

export interface Listing {
  /** The revision at which the listing holds; a watch from revision + 1 misses nothing. */
  readonly revision: bigint
  readonly entries: readonly KeyValue[]
}

export interface LeaseGrant {
  readonly leaseId: bigint
  /** As granted by the store, which may round up. */
  readonly ttlMs: number
  /** Monotonic instant when the request was sent: the lease is certainly held until sentAtMs + ttlMs. */
  readonly sentAtMs: number
}

export type LeaseRenewal =
  | { readonly alive: true; readonly ttlMs: number; readonly sentAtMs: number }
  /** The store no longer knows it (etcd: an answer without TTL). */
  | { readonly alive: false }

export interface WatchEvent {
  readonly type: 'put' | 'delete'
  readonly key: string
  /** null for a delete. */
  readonly value: string | null
  readonly modRevision: bigint
}

/** A watch is a hint that wakes the loop early: correctness never depends on it. */
export interface WatchListener {
  onEvents(events: readonly WatchEvent[], revision: bigint): void
  /** Events may have been missed (reconnect after compaction, a resumed stream that could not resume): read everything again. */
  onGap(reason: string): void
}

export interface Store {
  get(key: string): Promise<StoreResult<KeyValue | null>>
  list(prefix: string): Promise<StoreResult<Listing>>
  transact(transaction: Transaction): Promise<StoreResult<TransactionResult>>
  grantLease(ttlMs: number): Promise<StoreResult<LeaseGrant>>
  renewLease(leaseId: bigint): Promise<StoreResult<LeaseRenewal>>
  /** Revoking an unknown lease is ok: what was wanted is so. */
  revokeLease(leaseId: bigint): Promise<StoreResult<null>>
  /** Watches keys under `prefix` from `fromRevision` on, reconnecting by itself, until `signal` aborts. */
  watch(prefix: string, fromRevision: bigint, listener: WatchListener, signal: AbortSignal): void
  /** Ends every connection; requests under way end as `unavailable`. Can be called twice. */
  close(): void
}
