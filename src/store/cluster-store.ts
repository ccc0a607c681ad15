/** The typed documents of one cluster over the plain store: names, JSON and compare-and-swap live here and nowhere else. */
import { type Ballot, formatBallot } from '../core/ballot.ts'
import type { NodeReport } from '../core/cluster-view.ts'
import { emptyRecord, formatRecord, parseRecord } from '../core/history.ts'
import { formatPrimacy } from '../core/primacy.ts'
import type {
  ClusterFacts,
  ClusterStore,
  ExpectedDocuments,
  NameClaim,
  ProxyDocuments,
  RequestName,
} from '../ports/cluster-store.ts'
import type { Compare, Store, StoreOperation, StoreResult, Transaction } from '../ports/store.ts'
import {
  parseBallots,
  parseFacts,
  parseHold,
  parseNameClaim,
  parseProxies,
  parseReports,
} from './documents.ts'
import { type ClusterKeys, clusterKeys } from './keys.ts'

const SWITCHOVER: RequestName = 'switchover'
const FAILOVER: RequestName = 'failover'

/** Ballots count in their epoch only, and change of primary that long ago is nobody's concern: neither may fill the store. */
const BALLOTS_KEPT = 20
const RECORDS_KEPT = 500

export function createClusterStore(store: Store, cluster: string): ClusterStore {
  const keys = clusterKeys(cluster)
  return {
    ...readers(store, keys),
    ...swaps(store, keys),
    ...writers(store, keys),
    ...historyOf(store, keys),
    ...names(store, keys),
    ...proxyDocuments(store, keys),
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

function readers(store: Store, keys: ClusterKeys): Pick<ClusterStore, 'readFacts' | 'readNodes'> {
  const documents = [
    keys.primacy,
    keys.identity,
    keys.bootstrap,
    keys.spec,
    keys.request(SWITCHOVER),
    keys.request(FAILOVER),
    keys.primaryLease,
    keys.stale,
  ]
  const readBallots = async (facts: ClusterFacts): Promise<StoreResult<readonly Ballot[]>> => {
    const primacy = facts.primacy?.value
    if (primacy?.phase !== 'electing') return { kind: 'ok', value: [] }
    const listed = await store.list(keys.ballotsOf(primacy.epoch))
    return listed.kind === 'ok' ? { kind: 'ok', value: parseBallots(listed.value.entries) } : listed
  }
  return {
    async readFacts(voters) {
      const expected = voters?.nodes.map((node) => keys.ballot(voters.epoch, node)) ?? []
      const read = await store.transact({
        compare: [],
        success: [...documents, ...expected].map((key) => ({ op: 'get', key })),
      })
      if (read.kind !== 'ok') return read
      const facts = parseFacts(read.value.reads)
      if (facts.kind !== 'ok') return facts
      const primacy = facts.value.primacy?.value
      if (voters !== undefined && primacy?.phase === 'electing' && primacy.epoch === voters.epoch) {
        const cast = read.value.reads.slice(documents.length).filter((entry) => entry !== null)
        return { kind: 'ok', value: { ...facts.value, ballots: parseBallots(cast) } }
      }
      const ballots = await readBallots(facts.value)
      return ballots.kind === 'ok'
        ? { kind: 'ok', value: { ...facts.value, ballots: ballots.value } }
        : ballots
    },
    async readNodes() {
      const read = await store.list(keys.nodes)
      if (read.kind !== 'ok') return read
      const reports = parseReports(read.value.entries)
      return { kind: 'ok', value: new Map(reports.map((report: NodeReport) => [report.name, report])) }
    },
  }
}

function proxyDocuments(store: Store, keys: ClusterKeys): ProxyDocuments {
  const put = async (key: string, value: object, leaseId: bigint): Promise<StoreResult<null>> => {
    const operation = { op: 'put', key, value: JSON.stringify(value), leaseId } as const
    const done = await store.transact({ compare: [], success: [operation] })
    return done.kind === 'ok' ? { kind: 'ok', value: null } : done
  }
  return {
    async readHold() {
      const read = await store.get(keys.hold)
      if (read.kind !== 'ok') return read
      return { kind: 'ok', value: read.value === null ? null : parseHold(read.value.value) }
    },
    putHold: (hold, leaseId) => put(keys.hold, hold, leaseId),
    async readProxies() {
      const read = await store.list(keys.proxies)
      return read.kind === 'ok' ? { kind: 'ok', value: parseProxies(read.value.entries) } : read
    },
    putProxy: (report, leaseId) => put(keys.proxy(report.name), report, leaseId),
  }
}

type Names = Pick<ClusterStore, 'readNameClaim' | 'claimName' | 'retireName' | 'freeName'>

function names(store: Store, keys: ClusterKeys): Names {
  return {
    async readNameClaim(node) {
      const read = await store.get(keys.agent(node))
      if (read.kind !== 'ok') return read
      if (read.value === null) return { kind: 'ok', value: null }
      const claim = parseNameClaim(read.value.value)
      return claim === null
        ? { kind: 'unavailable', reason: `the store holds a claim of ${node}'s name that cannot be read` }
        : { kind: 'ok', value: { value: claim, revision: read.value.modRevision } }
    },
    async claimName(node, claim, expected, leaseId) {
      const key = keys.agent(node)
      const result = await store.transact({
        compare: [{ key, modRevision: expected ?? 0n }],
        success: [{ op: 'put', key, value: JSON.stringify(claim), leaseId }],
      })
      return result.kind === 'ok' ? { kind: 'ok', value: result.value.succeeded } : result
    },
    async retireName(node, removed, expected) {
      const key = keys.agent(node)
      const claim: NameClaim = { instance: '', machine: '', session: '', removed }
      const result = await store.transact({
        compare: [{ key, modRevision: expected ?? 0n }],
        success: [
          { op: 'put', key, value: JSON.stringify(claim) },
          { op: 'delete', key: keys.node(node) },
        ],
      })
      return result.kind === 'ok' ? { kind: 'ok', value: result.value.succeeded } : result
    },
    async freeName(node, expected) {
      const key = keys.agent(node)
      const result = await store.transact({
        compare: [{ key, modRevision: expected }],
        success: [{ op: 'delete', key }],
      })
      return result.kind === 'ok' ? { kind: 'ok', value: result.value.succeeded } : result
    },
  }
}

type Swaps = Pick<
  ClusterStore,
  | 'claimBootstrap'
  | 'publishCluster'
  | 'writePrimacy'
  | 'markStale'
  | 'recover'
  | 'castBallot'
  | 'takePrimaryLease'
  | 'requestSwitchover'
  | 'requestFailover'
  | 'dropRequest'
>

function swaps(store: Store, keys: ClusterKeys): Swaps {
  const swap = async (transaction: Transaction): Promise<StoreResult<boolean>> => {
    const result = await store.transact(transaction)
    return result.kind === 'ok' ? { kind: 'ok', value: result.value.succeeded } : result
  }
  // Whoever read the store before the mark came must not act on it after.
  const notStale: Compare = { key: keys.stale, modRevision: 0n }
  return {
    claimBootstrap: (claim, expected, leaseId) =>
      swap({
        compare: [
          { key: keys.bootstrap, modRevision: expected ?? 0n },
          { key: keys.primacy, modRevision: 0n },
          notStale,
        ],
        success: [{ op: 'put', key: keys.bootstrap, value: JSON.stringify(claim), leaseId }],
      }),
    publishCluster: (primacy, identity, claim) =>
      swap({
        compare: [
          { key: keys.bootstrap, modRevision: claim },
          { key: keys.primacy, modRevision: 0n },
          notStale,
        ],
        success: [
          { op: 'put', key: keys.primacy, value: formatPrimacy(primacy) },
          { op: 'put', key: keys.identity, value: JSON.stringify(identity) },
          { op: 'delete', key: keys.bootstrap },
        ],
      }),
    writePrimacy: (primacy, expected) =>
      swap({
        compare: [{ key: keys.primacy, modRevision: expected }, notStale],
        success: [{ op: 'put', key: keys.primacy, value: formatPrimacy(primacy) }],
      }),
    markStale: (mark, expected) =>
      swap({
        compare: [{ key: keys.primacy, modRevision: expected ?? 0n }, notStale],
        success: [{ op: 'put', key: keys.stale, value: JSON.stringify(mark) }],
      }),
    recover: ({ primacy, identity, lease }, expected) =>
      swap({
        compare: [{ key: keys.primacy, modRevision: expected ?? 0n }],
        success: [
          { op: 'put', key: keys.primacy, value: formatPrimacy(primacy) },
          { op: 'put', key: keys.identity, value: JSON.stringify(identity) },
          { op: 'delete', key: keys.stale },
          { op: 'delete', key: keys.bootstrap },
          { op: 'deletePrefix', prefix: keys.requests },
          ...(lease === null ? [] : [leaseOf(keys, lease.holder, lease.leaseId)]),
        ],
      }),
    castBallot: (ballot) => {
      const key = keys.ballot(ballot.epoch, ballot.node)
      return swap({
        compare: [{ key, modRevision: 0n }],
        success: [{ op: 'put', key, value: formatBallot(ballot) }],
      })
    },
    takePrimaryLease: (node, expectedPrimacy, leaseId) =>
      swap({
        compare: [
          { key: keys.primacy, modRevision: expectedPrimacy },
          { key: keys.primaryLease, modRevision: 0n },
          notStale,
        ],
        success: [leaseOf(keys, node, leaseId)],
      }),
    requestSwitchover: (request, expected) => swap(ask(keys, SWITCHOVER, JSON.stringify(request), expected)),
    requestFailover: (request, expected) => swap(ask(keys, FAILOVER, JSON.stringify(request), expected)),
    dropRequest: (request, expected) => {
      const key = keys.request(request)
      return swap({ compare: [{ key, modRevision: expected }], success: [{ op: 'delete', key }] })
    },
  }
}

function leaseOf(keys: ClusterKeys, node: string, leaseId: bigint): StoreOperation {
  return { op: 'put', key: keys.primaryLease, value: JSON.stringify({ node }), leaseId }
}

function ask(
  keys: ClusterKeys,
  request: RequestName,
  value: string,
  expected: ExpectedDocuments,
): Transaction {
  const key = keys.request(request)
  return {
    compare: [
      { key: keys.primacy, modRevision: expected.primacy },
      { key, modRevision: expected.request ?? 0n },
    ],
    success: [{ op: 'put', key, value }],
  }
}

function historyOf(
  store: Store,
  keys: ClusterKeys,
): Pick<ClusterStore, 'readHistory' | 'readRecord' | 'writeRecord'> {
  return {
    async readHistory() {
      const read = await store.list(keys.history)
      if (read.kind !== 'ok') return read
      const records = read.value.entries.map((entry) => parseRecord(entry.value))
      const whole = records.filter((record) => record !== null)
      return { kind: 'ok', value: whole.sort((a, b) => a.epoch - b.epoch) }
    },
    async readRecord(epoch) {
      const read = await store.get(keys.historyOf(epoch))
      if (read.kind !== 'ok') return read
      if (read.value === null) return { kind: 'ok', value: null }
      const value = parseRecord(read.value.value) ?? emptyRecord(epoch)
      return { kind: 'ok', value: { value, revision: read.value.modRevision } }
    },
    async writeRecord(record, expected) {
      const { epoch } = record
      const key = keys.historyOf(epoch)
      const done = await store.transact({
        compare: [{ key, modRevision: expected ?? 0n }],
        success: [
          { op: 'put', key, value: formatRecord(record) },
          ...(epoch > RECORDS_KEPT
            ? [{ op: 'delete', key: keys.historyOf(epoch - RECORDS_KEPT) } as const]
            : []),
          ...(epoch > BALLOTS_KEPT
            ? [{ op: 'deletePrefix', prefix: keys.ballotsOf(epoch - BALLOTS_KEPT) } as const]
            : []),
        ],
      })
      return done.kind === 'ok' ? { kind: 'ok', value: done.value.succeeded } : done
    },
  }
}

function writers(store: Store, keys: ClusterKeys): Pick<ClusterStore, 'pause' | 'putReport'> {
  const write = async (operation: StoreOperation): Promise<StoreResult<null>> => {
    const done = await store.transact({ compare: [], success: [operation] })
    return done.kind === 'ok' ? { kind: 'ok', value: null } : done
  }
  return {
    pause: (pause) => write({ op: 'put', key: keys.spec, value: JSON.stringify({ paused: pause }) }),
    putReport: (report, leaseId) =>
      write({ op: 'put', key: keys.node(report.name), value: JSON.stringify(report), leaseId }),
  }
}
