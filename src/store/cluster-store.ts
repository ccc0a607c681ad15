/** The typed documents of one cluster over the plain store: names, JSON and compare-and-swap live here and nowhere else. */
import type { BootstrapClaim, NodeReport, Versioned } from '../core/cluster-view.ts'
import { parseIdentity, parsePrimacy } from '../core/primacy.ts'
import type { ClusterFacts, ClusterStore } from '../ports/cluster-store.ts'
import type { KeyValue, Store, StoreResult, Transaction } from '../ports/store.ts'
import { clusterKeys } from './keys.ts'

export function createClusterStore(store: Store, cluster: string): ClusterStore {
  const keys = clusterKeys(cluster)

  const swap = async (transaction: Transaction): Promise<StoreResult<boolean>> => {
    const result = await store.transact(transaction)
    return result.kind === 'ok' ? { kind: 'ok', value: result.value.succeeded } : result
  }

  return {
    async readFacts() {
      const read = await store.transact({
        compare: [],
        success: [
          { op: 'get', key: keys.primacy },
          { op: 'get', key: keys.identity },
          { op: 'get', key: keys.bootstrap },
        ],
      })
      if (read.kind !== 'ok') return read
      const [primacy, identity, claim] = read.value.reads
      return parseFacts(primacy ?? null, identity ?? null, claim ?? null)
    },

    async readNodes() {
      const read = await store.list(keys.nodes)
      if (read.kind !== 'ok') return read
      const reports = read.value.entries.flatMap((entry) => parseReport(entry.value))
      return { kind: 'ok', value: new Map(reports.map((report) => [report.name, report])) }
    },

    claimBootstrap: (claim, expected, leaseId) =>
      swap({
        compare: [
          { key: keys.bootstrap, modRevision: expected ?? 0n },
          { key: keys.primacy, modRevision: 0n },
        ],
        success: [{ op: 'put', key: keys.bootstrap, value: JSON.stringify(claim), leaseId }],
      }),

    publishCluster: (primacy, identity, claim) =>
      swap({
        compare: [
          { key: keys.bootstrap, modRevision: claim },
          { key: keys.primacy, modRevision: 0n },
        ],
        success: [
          { op: 'put', key: keys.primacy, value: JSON.stringify(primacy) },
          { op: 'put', key: keys.identity, value: JSON.stringify(identity) },
          { op: 'put', key: keys.historyOf(primacy.epoch), value: JSON.stringify(primacy) },
          { op: 'delete', key: keys.bootstrap },
        ],
      }),

    writePrimacy: (primacy, expected) =>
      swap({
        compare: [{ key: keys.primacy, modRevision: expected }],
        success: [{ op: 'put', key: keys.primacy, value: JSON.stringify(primacy) }],
      }),

    async putReport(report, leaseId) {
      const put = await store.transact({
        compare: [],
        success: [{ op: 'put', key: keys.node(report.name), value: JSON.stringify(report), leaseId }],
      })
      return put.kind === 'ok' ? { kind: 'ok', value: null } : put
    },

    grantLease: (ttlMs) => store.grantLease(ttlMs),
    renewLease: (leaseId) => store.renewLease(leaseId),
    revokeLease: (leaseId) => store.revokeLease(leaseId),

    watch(onChange, signal) {
      const listener = {
        onEvents: (events: readonly { readonly key: string }[]): void => {
          for (const event of events) onChange(event.key.slice(keys.all.length))
        },
        onGap: (): void => onChange('gap'),
      }
      store.watch(keys.all, 0n, listener, signal)
    },

    close: () => store.close(),
  }
}

/** A document that is there but cannot be read must not look like one that is absent: an absent primacy begins a cluster. */
function parseFacts(
  primacy: KeyValue | null,
  identity: KeyValue | null,
  claim: KeyValue | null,
): StoreResult<ClusterFacts> {
  const damaged = (key: KeyValue): StoreResult<ClusterFacts> => ({
    kind: 'unavailable',
    reason: `the store holds a document at ${key.key} that cannot be read`,
  })
  const readPrimacy = primacy === null ? null : parsePrimacy(primacy.value)
  if (primacy !== null && readPrimacy === null) return damaged(primacy)
  const readIdentity = identity === null ? null : parseIdentity(identity.value)
  if (identity !== null && readIdentity === null) return damaged(identity)
  const readClaim = claim === null ? null : parseClaim(claim.value)
  if (claim !== null && readClaim === null) return damaged(claim)
  return {
    kind: 'ok',
    value: {
      primacy: versioned(readPrimacy, primacy),
      identity: readIdentity,
      claim: versioned(readClaim, claim),
    },
  }
}

function versioned<T>(value: T | null, entry: KeyValue | null): Versioned<T> | null {
  return value === null || entry === null ? null : { value, revision: entry.modRevision }
}

function parseClaim(text: string): BootstrapClaim | null {
  const value = parseJson(text) as Partial<BootstrapClaim> | null
  if (typeof value?.node !== 'string' || typeof value.session !== 'string') return null
  return { node: value.node, session: value.session }
}

/** Reports are hints: one that cannot be read is left out. */
function parseReport(text: string): NodeReport[] {
  const value = parseJson(text) as Partial<NodeReport> | null
  if (typeof value?.name !== 'string' || typeof value.host !== 'string' || typeof value.epoch !== 'number')
    return []
  return [value as NodeReport]
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}
