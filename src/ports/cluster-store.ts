/** The documents of one cluster in the store, typed: what the agent reads and the few ways in which it writes. */
import type { Ballot } from '../core/ballot.ts'
import type { BootstrapClaim, NodeReport, SwitchoverRequest, Versioned } from '../core/cluster-view.ts'
import type { Identity, Primacy } from '../core/primacy.ts'
import type { LeaseGrant, LeaseRenewal, StoreResult } from './store.ts'

export interface ClusterFacts {
  readonly primacy: Versioned<Primacy> | null
  readonly identity: Identity | null
  readonly claim: Versioned<BootstrapClaim> | null
  readonly paused: string | null
  readonly switchover: Versioned<SwitchoverRequest> | null
  readonly leaseHolder: string | null
  /** Of primacy's epoch, while it is being elected; empty otherwise. */
  readonly ballots: readonly Ballot[]
}

export interface ExpectedVoters {
  readonly epoch: number
  readonly nodes: readonly string[]
}

export interface ClusterStore {
  /**
   * One linearizable transaction, so that the documents fit together; the ballots of an election right after it, for they never
   * change. A document that cannot be read is `unavailable`, never absent. `voters` saves the second round: whose ballots of which epoch
   * are expected.
   */
  readFacts(voters?: ExpectedVoters): Promise<StoreResult<ClusterFacts>>
  readNodes(): Promise<StoreResult<ReadonlyMap<string, NodeReport>>>

  /** Each of these is one compare-and-swap: false when somebody else was faster. */
  claimBootstrap(
    claim: BootstrapClaim,
    expected: bigint | null,
    leaseId: bigint,
  ): Promise<StoreResult<boolean>>
  publishCluster(primacy: Primacy, identity: Identity, claim: bigint): Promise<StoreResult<boolean>>
  writePrimacy(primacy: Primacy, expected: bigint): Promise<StoreResult<boolean>>
  /** Never overwrites: a ballot once written stays true. */
  castBallot(ballot: Ballot): Promise<StoreResult<boolean>>
  /** I10: only while primacy is as expected, and only when nobody else holds it. */
  takePrimaryLease(node: string, expectedPrimacy: bigint, leaseId: bigint): Promise<StoreResult<boolean>>

  pause(reason: string | null): Promise<StoreResult<null>>
  requestSwitchover(request: SwitchoverRequest): Promise<StoreResult<null>>
  dropSwitchover(expected: bigint): Promise<StoreResult<boolean>>

  putReport(report: NodeReport, leaseId: bigint): Promise<StoreResult<null>>
  grantLease(ttlMs: number): Promise<StoreResult<LeaseGrant>>
  renewLease(leaseId: bigint): Promise<StoreResult<LeaseRenewal>>
  revokeLease(leaseId: bigint): Promise<StoreResult<null>>

  /** Calls back when something of the cluster changes; a hint only. `what` is the document's name, or 'gap'. */
  watch(onChange: (what: string) => void, signal: AbortSignal): void
  close(): void
}
