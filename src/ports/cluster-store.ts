/** The documents of one cluster in the store, typed: what the agent reads and the few ways in which it writes. */
import type { Ballot } from '../core/ballot.ts'
import type {
  BootstrapClaim,
  FailoverRequest,
  NodeReport,
  Pause,
  SwitchoverRequest,
  Versioned,
} from '../core/cluster-view.ts'
import type { HistoryRecord } from '../core/history.ts'

import type { Identity, Primacy, StaleMark } from '../core/primacy.ts'
import type { LeaseGrant, LeaseRenewal, StoreResult } from './store.ts'

export interface ClusterFacts {
  readonly primacy: Versioned<Primacy> | null
  readonly identity: Identity | null
  readonly claim: Versioned<BootstrapClaim> | null
  readonly paused: Pause | null
  readonly switchover: Versioned<SwitchoverRequest> | null
  readonly failover: Versioned<FailoverRequest> | null
  readonly leaseHolder: string | null
  readonly stale: StaleMark | null
  /** Of primacy's epoch, while it is being elected; empty otherwise. */
  readonly ballots: readonly Ballot[]
}

export type RequestName = 'switchover' | 'failover'

/** Revisions that a request is bound to. */
export interface ExpectedDocuments {
  readonly primacy: bigint
  /** Of the request that is replaced; null: there is none. */
  readonly request: bigint | null
}

export interface Recovered {
  readonly primacy: Primacy
  readonly identity: Identity
  /** Who may still act by a lease of I10 that the store has forgotten, and a new lease for as long as that can be. */
  readonly lease: { readonly holder: string; readonly leaseId: bigint } | null
}

export interface ExpectedVoters {
  readonly epoch: number
  readonly nodes: readonly string[]
}

/** Which agent lives under a name. */
export interface NameClaim {
  /** Of the node's directory, made once. */
  readonly instance: string
  /** Its host's name first; then which of its boots, and which directory. */
  readonly machine: string
  /** Of the agent's process. */
  readonly session: string
  /** Nobody may live under the name any more: by whom it was removed, and when. Then the others are empty. */
  readonly removed?: { readonly by: string; readonly at: string }
}

/** A proxy that runs. */
export interface ProxyReport {
  /** One that no other has. */
  readonly name: string
  /** Of the hold under which nothing of it is under way on the primary any more; null: none. */
  readonly drained: string | null
  /** For those who look; null: it says nothing of it. Some seconds old. */
  readonly state: ProxyState | null
}

/** A proxy as its status shows it. */
export interface ProxyState {
  /** At which it runs; null: at none in particular. */
  readonly node: string | null
  readonly workers: number
  readonly clients: number
  /** Of these, for a server connection. */
  readonly waiting: number
  readonly servers: number
  /** In which it lets clients write, or would. */
  readonly epoch: number
  /** It knows no primary that takes writes. */
  readonly held: boolean
  /** By an operator, all of it or a database. */
  readonly paused: boolean
}

/** The primary of this epoch is about to be another one: proxies let nothing begin there. Only ever for latency's sake. */
export interface Hold {
  readonly id: string
  readonly epoch: number
  /** For people. */
  readonly reason: string
}

/** What agents and proxies say to each other; each document ends with its lease. */
export interface ProxyDocuments {
  /** null: there is none, or none that can be read. */
  readHold(): Promise<StoreResult<Hold | null>>
  putHold(hold: Hold, leaseId: bigint): Promise<StoreResult<null>>
  readProxies(): Promise<StoreResult<readonly ProxyReport[]>>
  putProxy(report: ProxyReport, leaseId: bigint): Promise<StoreResult<null>>
}

export interface ClusterStore extends ProxyDocuments {
  /**
   * One linearizable transaction, so that the documents fit together; the ballots of an election right after it, for they never
   * change. A document that cannot be read is `unavailable`, never absent. `voters` saves the second round: whose ballots of which epoch
   * are expected.
   */
  readFacts(voters?: ExpectedVoters): Promise<StoreResult<ClusterFacts>>
  readNodes(): Promise<StoreResult<ReadonlyMap<string, NodeReport>>>

  /** Each of these is one compare-and-swap: false when somebody else was faster, or when the store is marked as stale. */
  claimBootstrap(
    claim: BootstrapClaim,
    expected: bigint | null,
    leaseId: bigint,
  ): Promise<StoreResult<boolean>>
  publishCluster(primacy: Primacy, identity: Identity, claim: bigint): Promise<StoreResult<boolean>>
  writePrimacy(primacy: Primacy, expected: bigint): Promise<StoreResult<boolean>>
  /** From then on the others fail, whatever those who write know. Only while primacy is as it was seen (null: there is none). */
  markStale(mark: StaleMark, expected: bigint | null): Promise<StoreResult<boolean>>
  /** Puts back what the store has forgotten, and takes the mark away; requests and claims are of another time, and go. */
  recover(recovered: Recovered, expected: bigint | null): Promise<StoreResult<boolean>>
  /** Never overwrites: a ballot once written stays true. */
  castBallot(ballot: Ballot): Promise<StoreResult<boolean>>
  /** I10: only while primacy is as expected, and only when nobody else holds it. */
  takePrimaryLease(node: string, expectedPrimacy: bigint, leaseId: bigint): Promise<StoreResult<boolean>>

  /** null: failover is automatic again. */
  pause(pause: Pause | null): Promise<StoreResult<null>>
  /** false when there is a request already that is not the one to be replaced, or when primacy is not as the operator saw it. */
  requestSwitchover(request: SwitchoverRequest, expected: ExpectedDocuments): Promise<StoreResult<boolean>>
  requestFailover(request: FailoverRequest, expected: ExpectedDocuments): Promise<StoreResult<boolean>>
  dropRequest(request: RequestName, expected: bigint): Promise<StoreResult<boolean>>

  /** Oldest first; what cannot be read is left out. */
  readHistory(): Promise<StoreResult<readonly HistoryRecord[]>>
  readRecord(epoch: number): Promise<StoreResult<Versioned<HistoryRecord> | null>>
  /** Removes what is too old to be looked at, too. */
  writeRecord(record: HistoryRecord, expected: bigint | null): Promise<StoreResult<boolean>>

  /** Who lives under a node's name; null: nobody. */
  readNameClaim(node: string): Promise<StoreResult<Versioned<NameClaim> | null>>
  /** Ends with the lease. */
  claimName(
    node: string,
    claim: NameClaim,
    expected: bigint | null,
    leaseId: bigint,
  ): Promise<StoreResult<boolean>>

  /** For good: no lease ends it. The node's report goes with it. */
  retireName(
    node: string,
    removed: NonNullable<NameClaim['removed']>,
    expected: bigint | null,
  ): Promise<StoreResult<boolean>>
  /** Of a name that was retired. */
  freeName(node: string, expected: bigint): Promise<StoreResult<boolean>>

  putReport(report: NodeReport, leaseId: bigint): Promise<StoreResult<null>>
  grantLease(ttlMs: number): Promise<StoreResult<LeaseGrant>>
  renewLease(leaseId: bigint): Promise<StoreResult<LeaseRenewal>>
  revokeLease(leaseId: bigint): Promise<StoreResult<null>>

  /** Calls back when something of the cluster changes; a hint only. `what` is the document's name, or 'gap'. */
  watch(onChange: (what: string) => void, signal: AbortSignal): void
  close(): void
}
