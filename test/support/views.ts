/** Builders of views for tests of the decision: a healthy three-node cluster, of which a test changes what it is about. */
import type { Ballot } from '../../src/core/ballot.ts'
import type {
  ClusterView,
  LocalView,
  NodeReport,
  PrimaryProbes,
  StoreFacts,
  SwitchoverRequest,
  Versioned,
  WantedConfiguration,
} from '../../src/core/cluster-view.ts'
import type { DirectoryState, ServerFacts, WalsenderFacts } from '../../src/core/facts.ts'
import { believed } from '../../src/core/knowledge.ts'
import { type Lsn, lsnOf } from '../../src/core/lsn.ts'
import type { Identity, Primacy, Rule } from '../../src/core/primacy.ts'
import { firstTimeline } from '../../src/core/timeline.ts'

export const SYSTEM_IDENTIFIER = '7711099472225316585'
export const FLUSH_LSN = lsnOf(0x5000000n)
export const MEMBERS = ['alpha', 'bravo', 'charlie'].map((name, index) => ({
  name,
  host: '127.0.0.1',
  port: 5501 + index,
}))

export function rule(acks: number, standbys: readonly string[], primary = 'alpha'): Rule {
  return { epoch: 1, primary, acks, standbys }
}

export function primacy(changes: Partial<Primacy> = {}): Primacy {
  return {
    epoch: 1,
    phase: 'steady',
    primary: 'alpha',
    timelineId: 1,
    highestTimelineId: 1,
    rules: [rule(1, ['bravo', 'charlie'])],
    nextRule: null,
    nextXid: null,
    startedBy: 'alpha',
    reason: 'bootstrap',
    planned: false,
    candidate: null,
    override: null,
    writtenOff: {},
    history: firstTimeline(),
    lineage: { number: 1, id: 'first', before: [] },
    ...changes,
  }
}

export const IDENTITY: Identity = { systemIdentifier: SYSTEM_IDENTIFIER, major: 18, createdBy: 'alpha' }

export function report(name: string, changes: Partial<NodeReport> = {}): NodeReport {
  const member = MEMBERS.find((each) => each.name === name)
  return {
    name,
    host: '127.0.0.1',
    port: member?.port ?? 0,
    apiPort: (member?.port ?? 0) + 50,
    role: name === 'alpha' ? 'primary' : 'standby',
    state: name === 'alpha' ? 'running' : 'streaming',
    epoch: 1,
    timelineId: 1,
    systemIdentifier: SYSTEM_IDENTIFIER,
    flushLsn: '0/5000000',
    replayLsn: '0/5000000',
    suspects: null,
    priority: 100,
    vote: 'whole',
    replayPaused: false,
    diskHangs: false,
    ...changes,
  }
}

export function storeFacts(changes: Partial<StoreFacts> = {}): StoreFacts {
  return {
    primacy: { value: primacy(), revision: 7n },
    identity: IDENTITY,
    claim: null,
    nodes: new Map(MEMBERS.map(({ name }) => [name, report(name)])),
    ballots: [],
    switchover: null,
    failover: null,
    paused: null,
    leaseHolder: null,
    stale: null,
    ...changes,
  }
}

/** What the store says after primacy was changed so. */
export function storeWith(changes: Partial<Primacy>, facts: Partial<StoreFacts> = {}): StoreFacts {
  return storeFacts({ primacy: { value: primacy(changes), revision: 8n }, ...facts })
}

export const EMPTY_STORE: StoreFacts = storeFacts({ primacy: null, identity: null, nodes: new Map() })

export function switchoverTo(to: string): Versioned<SwitchoverRequest> {
  const value = {
    to,
    epoch: 1,
    session: 'session-of-alpha',
    at: null,
    by: 'ann@desk',
    requestedAt: '2026-01-01T00:00:00Z',
  }
  return { value, revision: 5n }
}

/** A vote in epoch 2 of somebody who was within timeline 1. */
export function ballot(node: string, changes: Partial<Ballot> & { readonly lsn?: bigint } = {}): Ballot {
  const { lsn, ...rest } = changes
  return {
    epoch: 2,
    node,
    position: { timelineId: 1, lsn: lsnOf(lsn ?? FLUSH_LSN) },
    history: firstTimeline(),
    priority: 100,
    gone: false,
    carries: { acks: 1, standbys: MEMBERS.map((each) => each.name).filter((name) => name !== node) },
    ...rest,
  }
}

/** Nobody answers at either port of the primary, and has not for `silentMs`. */
export function deafProbes(now: number, silentMs: number): PrimaryProbes {
  const probe = { kind: 'silent', atMs: now - silentMs } as const
  return { primary: 'alpha', agent: probe, postgres: probe }
}

export function cluster(
  changes: { readonly systemIdentifier?: string; readonly timelineId?: number } = {},
): DirectoryState {
  return {
    kind: 'cluster',
    major: 18,
    control: {
      systemIdentifier: changes.systemIdentifier ?? SYSTEM_IDENTIFIER,
      state: 'shutDown',
      timelineId: changes.timelineId ?? 1,
      checkpointLsn: FLUSH_LSN,
      redoLsn: FLUSH_LSN,
      minRecoveryLsn: lsnOf(0n),
      minRecoveryTimelineId: 0,
      dataChecksums: true,
      walSegmentSize: 16 * 1024 * 1024,
    },
    standbySignal: false,
    recoverySignal: false,
    backupLabel: false,
  }
}

export function walsender(name: string, changes: Partial<WalsenderFacts> = {}): WalsenderFacts {
  return {
    pid: 1000 + name.charCodeAt(0),
    applicationName: name,
    state: 'streaming',
    sentLsn: FLUSH_LSN,
    writeLsn: FLUSH_LSN,
    flushLsn: FLUSH_LSN,
    replayLsn: FLUSH_LSN,
    writeLagMs: null,
    flushLagMs: null,
    replayLagMs: null,
    syncState: 'quorum',
    syncPriority: 1,
    ...changes,
  }
}

function slots(names: readonly string[]): ServerFacts['slots'] {
  return names.map((name) => ({
    name: `understudy_${name}`,
    active: true,
    temporary: false,
    physical: true,
    restartLsn: FLUSH_LSN,
    walStatus: 'reserved',
    holdsXmin: false,
  }))
}

const SERVER = {
  timelineId: 1,
  systemIdentifier: SYSTEM_IDENTIFIER,
  replayPaused: false,
  replayAgeMs: null,
  postmasterStartedAtMs: 0,
  pendingRestart: [],
}

export function primaryServer(changes: Partial<ServerFacts> = {}): ServerFacts {
  return {
    ...SERVER,
    inRecovery: false,
    insertLsn: FLUSH_LSN,
    flushLsn: FLUSH_LSN,
    receiveLsn: null,
    replayLsn: null,
    walreceiver: null,
    walsenders: [walsender('bravo'), walsender('charlie')],
    slots: slots(['bravo', 'charlie']),
    synchronousStandbyNames: 'ANY 1 ("bravo", "charlie")',
    ...changes,
  }
}

export function standbyServer(self: string, changes: Partial<ServerFacts> = {}): ServerFacts {
  return {
    ...SERVER,
    inRecovery: true,
    insertLsn: null,
    flushLsn: null,
    receiveLsn: FLUSH_LSN,
    replayLsn: FLUSH_LSN,
    walreceiver: {
      pid: 4242,
      status: 'streaming',
      senderHost: '127.0.0.1',
      senderPort: 5501,
      receivedTimelineId: 1,
      flushLsn: FLUSH_LSN,
      lastMessageAgeMs: 10,
    },
    walsenders: [],
    slots: slots(MEMBERS.map((each) => each.name).filter((name) => name !== self)),
    synchronousStandbyNames: otherNames(self),
    ...changes,
  }
}

export function applied(role: 'primary' | 'standby', names: string): WantedConfiguration {
  const upstream = role === 'standby' ? (MEMBERS[0] ?? null) : null
  return { role, epoch: 1, upstream, synchronousStandbyNames: names }
}

export interface ViewChanges {
  readonly self?: string
  readonly now?: number
  readonly durability?: 'quorum' | 'async'
  readonly priority?: number
  readonly store?: StoreFacts | 'unreachable'
  readonly local?: Partial<LocalView>
  readonly whenStandbyLost?: 'relax' | 'block'
}

/** A node that runs as it shall: alpha the primary, the others its standbys. */
export function view(changes: ViewChanges = {}): ClusterView {
  const self = changes.self ?? 'alpha'
  const primary = self === 'alpha'
  const store = changes.store ?? storeFacts()
  return {
    now: changes.now ?? 100_000,
    self,
    spec: {
      members: MEMBERS,
      durability: changes.durability ?? 'quorum',
      rtoMs: 3_000,
      whenStandbyLost: changes.whenStandbyLost ?? 'relax',
      priority: changes.priority ?? 100,
      major: 18,
    },
    store:
      store === 'unreachable'
        ? { kind: 'unreachable', reason: 'refused', sinceMs: 0, last: null }
        : believed(store, changes.local?.known ?? null, changes.local?.promisedEpoch ?? 1, 0),
    local: {
      session: `session-of-${self}`,
      directory: cluster(),
      postmaster: { kind: 'running', pid: 77, status: primary ? 'ready' : 'standby' },
      server: primary ? primaryServer() : standbyServer(self),
      promisedEpoch: 1,
      known: null,
      initialized: null,
      applied: primary
        ? applied('primary', 'ANY 1 ("bravo", "charlie")')
        : applied('standby', otherNames(self)),
      tasks: new Set(),
      stopping: null,
      failures: new Map(),
      proven: null,
      namesInEffect: primary ? 'ANY 1 ("bravo", "charlie")' : otherNames(self),
      promotionAsked: false,
      newestHistory: 1,
      position: null,
      history: firstTimeline(),
      followedEpoch: primary ? 0 : 1,
      probes: primary ? null : ANSWERING,
      ranAsPrimaryIn: primary ? 1 : null,
      sentinel: null,
      primaryLeaseUntilMs: null,
      awakeSinceMs: 0,
      diskTriedSinceMs: null,
      canRewind: true,
      recovery: null,
      reinitAsked: false,
      ...changes.local,
    },
  }
}

const ANSWERING: PrimaryProbes = {
  primary: 'alpha',
  agent: { kind: 'answers', atMs: 100_000 },
  postgres: { kind: 'answers', atMs: 100_000 },
}

function otherNames(self: string): string {
  const others = MEMBERS.map((each) => each.name).filter((name) => name !== self)
  return `ANY 1 (${others.map((name) => `"${name}"`).join(', ')})`
}

/** `bytes` behind the primary's flush position. */
export function behind(bytes: bigint): Lsn {
  return lsnOf(FLUSH_LSN - bytes)
}
