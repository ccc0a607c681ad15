/**
 * The cluster's documents as they stand in the store, read back. PURE. A document that is there but cannot be read must not look like
 * one that is absent: an absent primacy begins a cluster.
 */
import { type Ballot, parseBallot } from '../core/ballot.ts'
import type {
  BootstrapClaim,
  FailoverRequest,
  NodeReport,
  Pause,
  SwitchoverRequest,
  Versioned,
} from '../core/cluster-view.ts'
import { parseIdentity, parsePrimacy, type StaleMark } from '../core/primacy.ts'
import type { ClusterFacts, Hold, NameClaim, ProxyReport, ProxyState } from '../ports/cluster-store.ts'
import type { KeyValue, StoreResult } from '../ports/store.ts'

type Read = KeyValue | null | undefined

/** In the order in which cluster-store.ts asks for them. */
export function parseFacts(reads: readonly Read[]): StoreResult<ClusterFacts> {
  const [primacy, identity, claim, spec, switchover, failover, lease, stale] = reads
  const documents = {
    primacy: versioned(primacy, parsePrimacy),
    identity: versioned(identity, parseIdentity),
    claim: versioned(claim, parseClaim),
    spec: versioned(spec, parseSpec),
    switchover: versioned(switchover, parseSwitchover),
    failover: versioned(failover, parseFailover),
    lease: versioned(lease, parseLease),
    stale: versioned(stale, parseStale),
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
      failover: whole(documents.failover),
      leaseHolder: whole(documents.lease)?.value.node ?? null,
      stale: whole(documents.stale)?.value ?? null,
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
    return [
      {
        suspects: null,
        priority: 100,
        vote: 'whole',
        replayPaused: false,
        diskHangs: false,
        ...value,
      } as NodeReport,
    ]
  })
}

export function parseNameClaim(text: string): NameClaim | null {
  const value = parseJson(text) as Partial<NameClaim> | null
  const { instance, machine, session, removed } = value ?? {}
  if (typeof instance !== 'string' || typeof machine !== 'string' || typeof session !== 'string') return null
  if (removed === undefined) return { instance, machine, session }
  const { by, at } = (removed ?? {}) as { readonly by?: unknown; readonly at?: unknown }
  return { instance, machine, session, removed: { by: String(by), at: String(at) } }
}

export function parseHold(text: string): Hold | null {
  const { id, epoch, reason } = (parseJson(text) as Partial<Hold> | null) ?? {}
  if (typeof id !== 'string' || typeof epoch !== 'number' || typeof reason !== 'string') return null
  return { id, epoch, reason }
}

/** One that cannot be read is left out. */
export function parseProxies(entries: readonly KeyValue[]): readonly ProxyReport[] {
  return entries.flatMap((entry) => {
    const { name, drained, state } = (parseJson(entry.value) as Partial<ProxyReport> | null) ?? {}
    if (typeof name !== 'string') return []
    return [
      { name, drained: typeof drained === 'string' ? drained : null, state: parseProxyState(state ?? null) },
    ]
  })
}

function parseProxyState(state: Partial<ProxyState> | null): ProxyState | null {
  if (state === null || typeof state !== 'object') return null
  const { node, workers, clients, waiting, servers, epoch, held, paused } = state
  const numbers = [workers, clients, waiting, servers, epoch]
  if (!numbers.every((each) => typeof each === 'number')) return null
  return {
    ...(state as ProxyState),
    node: typeof node === 'string' ? node : null,
    held: held === true,
    paused: paused === true,
  }
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

function parseSpec(text: string): { readonly paused: Pause | null } | null {
  const value = parseJson(text) as { paused?: unknown } | null
  if (typeof value !== 'object' || value === null) return null
  return { paused: parsePause(value.paused) }
}

/** An unreadable one still pauses: whoever wrote it wanted that. */
function parsePause(value: unknown): Pause | null {
  if (value === null || value === undefined) return null
  const { reason, by, at } = value as { reason?: unknown; by?: unknown; at?: unknown }
  return { reason: textOr(reason, String(value)), by: textOr(by, 'somebody'), at: textOr(at, 'unknown') }
}

/** Of no epoch: a request that cannot be read is void, and whoever would act on it removes it. */
const VOID = -1

function parseSwitchover(text: string): SwitchoverRequest {
  const value = (parseJson(text) ?? {}) as Partial<Record<keyof SwitchoverRequest, unknown>>
  return {
    to: textOr(value.to, 'nobody'),
    epoch: typeof value.epoch === 'number' ? value.epoch : VOID,
    session: typeof value.session === 'string' ? value.session : null,
    at: typeof value.at === 'string' ? value.at : null,
    by: textOr(value.by, 'somebody'),
    requestedAt: textOr(value.requestedAt, 'unknown'),
  }
}

function parseFailover(text: string): FailoverRequest {
  const value = (parseJson(text) ?? {}) as Partial<Record<keyof FailoverRequest, unknown>>
  const missing = namesOf(value.missing)
  return {
    epoch: typeof value.epoch === 'number' && missing !== null ? value.epoch : VOID,
    to: typeof value.to === 'string' ? value.to : null,
    missing: missing ?? [],
    by: textOr(value.by, 'somebody'),
    reason: typeof value.reason === 'string' ? value.reason : null,
    requestedAt: textOr(value.requestedAt, 'unknown'),
    losses: namesOf(value.losses) ?? [],
  }
}

function namesOf(value: unknown): readonly string[] | null {
  return Array.isArray(value) && value.every((each) => typeof each === 'string') ? value : null
}

function textOr(value: unknown, otherwise: string): string {
  return typeof value === 'string' ? value : otherwise
}

function parseLease(text: string): { readonly node: string } | null {
  const value = parseJson(text) as { node?: unknown } | null
  return typeof value?.node === 'string' ? { node: value.node } : null
}

/** An unreadable one says the same: whoever wrote it did not believe the store. */
function parseStale(text: string): StaleMark {
  const value = (parseJson(text) ?? {}) as Partial<Record<keyof StaleMark, unknown>>
  return { by: textOr(value.by, 'a node'), epoch: typeof value.epoch === 'number' ? value.epoch : 0 }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}
