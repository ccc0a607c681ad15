/**
 * The cluster's documents as they stand in the store, read back. PURE. A document that is there but cannot be read must not look like
 * one that is absent: an absent primacy begins a cluster.
 */
import { type Ballot, parseBallot } from '../core/ballot.ts'
import type { BootstrapClaim, NodeReport, SwitchoverRequest, Versioned } from '../core/cluster-view.ts'
import { parseIdentity, parsePrimacy } from '../core/primacy.ts'
import type { ClusterFacts } from '../ports/cluster-store.ts'
import type { KeyValue, StoreResult } from '../ports/store.ts'

type Read = KeyValue | null | undefined

/** In the order in which cluster-store.ts asks for them. */
export function parseFacts(reads: readonly Read[]): StoreResult<ClusterFacts> {
  const [primacy, identity, claim, spec, switchover, lease] = reads
  const documents = {
    primacy: versioned(primacy, parsePrimacy),
    identity: versioned(identity, parseIdentity),
    claim: versioned(claim, parseClaim),
    spec: versioned(spec, parseSpec),
    switchover: versioned(switchover, parseSwitchover),
    lease: versioned(lease, parseLease),
  }
  const damaged = Object.entries(documents).find(([, document]) => document === 'damaged')
  if (damaged !== undefined) {
    return { kind: 'unavailable', reason: `the store holds a document (${damaged[0]}) that cannot be read` }
  }
  return {
    kind: 'ok',
    value: {
      primacy: whole(documents.primacy),
      identity: whole(documents.identity)?.value ?? null,
      claim: whole(documents.claim),
      paused: whole(documents.spec)?.value.paused ?? null,
      switchover: whole(documents.switchover),
      leaseHolder: whole(documents.lease)?.value.node ?? null,
      ballots: [],
    },
  }
}

/** Reports are hints: one that cannot be read is left out. */
export function parseReports(entries: readonly KeyValue[]): readonly NodeReport[] {
  return entries.flatMap((entry) => {
    const value = parseJson(entry.value) as Partial<NodeReport> | null
    if (typeof value?.name !== 'string' || typeof value.host !== 'string' || typeof value.epoch !== 'number')
      return []
    return [{ suspects: null, priority: 100, ...value } as NodeReport]
  })
}

export function parseBallots(entries: readonly KeyValue[]): readonly Ballot[] {
  return entries.map((entry) => parseBallot(entry.value)).filter((ballot) => ballot !== null)
}

function versioned<T>(entry: Read, parse: (text: string) => T | null): Versioned<T> | null | 'damaged' {
  if (entry === null || entry === undefined) return null
  const value = parse(entry.value)
  return value === null ? 'damaged' : { value, revision: entry.modRevision }
}

function whole<T>(document: Versioned<T> | null | 'damaged'): Versioned<T> | null {
  return document === 'damaged' ? null : document
}

function parseClaim(text: string): BootstrapClaim | null {
  const value = parseJson(text) as Partial<BootstrapClaim> | null
  if (typeof value?.node !== 'string' || typeof value.session !== 'string') return null
  return { node: value.node, session: value.session }
}

function parseSpec(text: string): { readonly paused: string | null } | null {
  const value = parseJson(text) as { paused?: unknown } | null
  if (typeof value !== 'object' || value === null) return null
  return { paused: typeof value.paused === 'string' ? value.paused : null }
}

function parseSwitchover(text: string): SwitchoverRequest | null {
  const value = parseJson(text) as Partial<SwitchoverRequest> | null
  return typeof value?.to === 'string' ? { to: value.to, requestedAt: String(value.requestedAt) } : null
}

function parseLease(text: string): { readonly node: string } | null {
  const value = parseJson(text) as { node?: unknown } | null
  return typeof value?.node === 'string' ? { node: value.node } : null
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}
