/** The documents of one cluster in the store, typed: what the agent reads and the few ways in which it writes. */
import type { BootstrapClaim, NodeReport, Versioned } from '../core/cluster-view.ts'
import type { Identity, Primacy } from '../core/primacy.ts'
import type { LeaseGrant, LeaseRenewal, StoreResult } from './store.ts'

export interface ClusterFacts {
  readonly primacy: Versioned<Primacy> | null
  readonly identity: Identity | null
  readonly claim: Versioned<BootstrapClaim> | null
}

export interface ClusterStore {
  /** One linearizable transaction, so that the documents fit together. A document that cannot be read is `unavailable`, never absent. */
  readFacts(): Promise<StoreResult<ClusterFacts>>
  readNodes(): Promise<StoreResult<ReadonlyMap<string, NodeReport>>>

  /** Each of these is one compare-and-swap: false when somebody else was faster. */
  claimBootstrap(
    claim: BootstrapClaim,
    expected: bigint | null,
    leaseId: bigint,
  ): Promise<StoreResult<boolean>>
  publishCluster(primacy: Primacy, identity: Identity, claim: bigint): Promise<StoreResult<boolean>>
  writePrimacy(primacy: Primacy, expected: bigint): Promise<StoreResult<boolean>>

  putReport(report: NodeReport, leaseId: bigint): Promise<StoreResult<null>>
  grantLease(ttlMs: number): Promise<StoreResult<LeaseGrant>>
  renewLease(leaseId: bigint): Promise<StoreResult<LeaseRenewal>>
  revokeLease(leaseId: bigint): Promise<StoreResult<null>>

  /** Calls back when something of the cluster changes; a hint only. `what` is the document's name, or 'gap'. */
  watch(onChange: (what: string) => void, signal: AbortSignal): void
  close(): void
}
