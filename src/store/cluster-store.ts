/** The typed documents of one cluster over the plain store: names, JSON and compare-and-swap live here and nowhere else. */
import { type Ballot, formatBallot } from '../core/ballot.ts'
import type { NodeReport } from '../core/cluster-view.ts'
import { formatPrimacy } from '../core/primacy.ts'
import type { ClusterFacts, ClusterStore } from '../ports/cluster-store.ts'
import type { Store, StoreOperation, StoreResult, Transaction } from '../ports/store.ts'
import { parseBallots, parseFacts, parseReports } from './documents.ts'
import { type ClusterKeys, clusterKeys } from './keys.ts'

const SWITCHOVER = 'switchover'

export function createClusterStore(store: Store, cluster: string): ClusterStore {
  const keys = clusterKeys(cluster)
  return {
    ...readers(store, keys),
    ...swaps(store, keys),
    ...writers(store, keys),
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
    keys.primaryLease,
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

type Swaps = Pick<
  ClusterStore,
  'claimBootstrap' | 'publishCluster' | 'writePrimacy' | 'castBallot' | 'takePrimaryLease' | 'dropSwitchover'
>

function swaps(store: Store, keys: ClusterKeys): Swaps {
  const swap = async (transaction: Transaction): Promise<StoreResult<boolean>> => {
    const result = await store.transact(transaction)
    return result.kind === 'ok' ? { kind: 'ok', value: result.value.succeeded } : result
  }
  return {
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
          { op: 'put', key: keys.primacy, value: formatPrimacy(primacy) },
          { op: 'put', key: keys.identity, value: JSON.stringify(identity) },
          { op: 'put', key: keys.historyOf(primacy.epoch), value: formatPrimacy(primacy) },
          { op: 'delete', key: keys.bootstrap },
        ],
      }),
    writePrimacy: (primacy, expected) =>
      swap({
        compare: [{ key: keys.primacy, modRevision: expected }],
        success: [
          { op: 'put', key: keys.primacy, value: formatPrimacy(primacy) },
          { op: 'put', key: keys.historyOf(primacy.epoch), value: formatPrimacy(primacy) },
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
        ],
        success: [{ op: 'put', key: keys.primaryLease, value: JSON.stringify({ node }), leaseId }],
      }),
    dropSwitchover: (expected) => {
      const key = keys.request(SWITCHOVER)
      return swap({ compare: [{ key, modRevision: expected }], success: [{ op: 'delete', key }] })
    },
  }
}

function writers(
  store: Store,
  keys: ClusterKeys,
): Pick<ClusterStore, 'pause' | 'requestSwitchover' | 'putReport'> {
  const write = async (operation: StoreOperation): Promise<StoreResult<null>> => {
    const done = await store.transact({ compare: [], success: [operation] })
    return done.kind === 'ok' ? { kind: 'ok', value: null } : done
  }
  return {
    pause: (reason) => write({ op: 'put', key: keys.spec, value: JSON.stringify({ paused: reason }) }),
    requestSwitchover: (request) =>
      write({ op: 'put', key: keys.request(SWITCHOVER), value: JSON.stringify(request) }),
    putReport: (report, leaseId) =>
      write({ op: 'put', key: keys.node(report.name), value: JSON.stringify(report), leaseId }),
  }
}
