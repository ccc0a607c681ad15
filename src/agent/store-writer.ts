/**
 * The actions that change the cluster's documents: each is one compare-and-swap, told as an event when it has won. What it writes of who is
 * primary this node knows from then on, beside the store.
 */
import { randomBytes } from 'node:crypto'
import type { Action } from '../core/decision.ts'
import { succeeding } from '../core/knowledge.ts'
import type { Identity, Primacy } from '../core/primacy.ts'
import type { ClusterStore } from '../ports/cluster-store.ts'
import type { Outcome } from '../ports/postgres.ts'
import type { StoreResult } from '../ports/store.ts'
import type { EventLog } from './events.ts'
import type { Membership } from './membership.ts'
import type { StateDirectory } from './state-directory.ts'

/** overtaken: somebody else was faster, or the store is not to be believed. */
export type Executed = Outcome<unknown> | { readonly kind: 'overtaken' }

type Of<Kind extends Action['kind']> = Extract<Action, { readonly kind: Kind }>

export interface StoreWriterParts {
  readonly directory: StateDirectory
  readonly membership: Membership
  readonly events: EventLog
}

export class StoreWriter {
  readonly #store: ClusterStore
  readonly #directory: StateDirectory
  readonly #membership: Membership
  readonly #events: EventLog

  constructor(store: ClusterStore, { directory, membership, events }: StoreWriterParts) {
    this.#store = store
    this.#directory = directory
    this.#membership = membership
    this.#events = events
  }

  /** `nextXid`: of the promotion that this agent has made; goes into primacy with `steady`. */
  write(
    action: Of<'claimBootstrap' | 'publishCluster' | 'writePrimacy' | 'markStale'>,
    nextXid: string | null,
  ): Promise<Executed> {
    switch (action.kind) {
      case 'writePrimacy':
        return this.#writePrimacy(action, nextXid)
      case 'publishCluster':
        return this.#publish(action)
      case 'markStale':
        return this.#markStale(action)
      case 'claimBootstrap':
        return this.#claim(action)
    }
  }

  async dropRequest({ request, expected, reason, done }: Of<'dropRequest'>): Promise<Executed> {
    return afterSwap(await this.#store.dropRequest(request, expected), () =>
      this.#events.add({ kind: `${request}-${done ? 'begun' : 'refused'}`, message: reason }),
    )
  }

  async #writePrimacy(
    { primacy: wanted, expected, why }: Of<'writePrimacy'>,
    nextXid: string | null,
  ): Promise<Executed> {
    const isFirst = wanted.phase === 'steady' && wanted.nextXid === null
    const primacy = succeeding(isFirst ? { ...wanted, nextXid } : wanted, newId())
    return afterSwap(await this.#store.writePrimacy(primacy, expected), () => {
      const identity = this.#directory.known?.identity
      if (identity !== undefined) this.#learn(primacy, identity, why)
    })
  }

  async #publish({ primacy: wanted, identity, claim }: Of<'publishCluster'>): Promise<Executed> {
    const primacy = succeeding(wanted, newId())
    return afterSwap(await this.#store.publishCluster(primacy, identity, claim), () =>
      this.#learn(primacy, identity, 'the cluster has begun'),
    )
  }

  async #markStale({ mark, expected }: Of<'markStale'>): Promise<Executed> {
    const { by, epoch } = mark
    return afterSwap(await this.#store.markStale(mark, expected), () =>
      this.#events.add({
        kind: 'store-stale',
        message: `${by} knows of epoch ${epoch}, and tells the others that the store has forgotten it`,
        epoch,
      }),
    )
  }

  async #claim({ claim, expected }: Of<'claimBootstrap'>): Promise<Executed> {
    const { leaseId } = this.#membership
    if (leaseId === null)
      return { kind: 'failed', code: 'store-unreachable', reason: 'this node has no lease yet' }
    return afterSwap(await this.#store.claimBootstrap(claim, expected, leaseId), () =>
      this.#events.add({ kind: 'bootstrap-claimed', message: 'this node begins the cluster' }),
    )
  }

  #learn(primacy: Primacy, identity: Identity, why: string): void {
    this.#directory.learn({ primacy, identity })
    const { epoch, phase, primary, timelineId } = primacy
    this.#events.add({ kind: 'primacy', message: why, epoch, details: { phase, primary, timelineId } })
  }
}

function afterSwap(result: StoreResult<boolean>, tell: () => void): Executed {
  if (result.kind !== 'ok') return { kind: 'failed', code: 'store-unreachable', reason: result.reason }
  if (!result.value) return { kind: 'overtaken' }
  tell()
  return { kind: 'ok', value: null }
}

/** Of a document: unlike any other, in whatever life of the store it is written. */
function newId(): string {
  return randomBytes(6).toString('hex')
}
