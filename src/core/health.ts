/**
 * Whether clients may be sent to this node, for load balancers that ask its agent (I9). Pure. A node that is not sure says no to writes, and
 * no to reads only where they would be wrong or grow old: a standby without a primary still has the newest data that there is.
 */
import { type ClusterView, member, type StoreFacts } from './cluster-view.ts'
import type { ServerFacts } from './facts.ts'
import { type Lsn, lagBytes, maxLsn, parseLsn } from './lsn.ts'
import { currentRule, type Primacy } from './primacy.ts'
import { hasFollowed } from './rules/ladder.ts'
import { holdsLease } from './rules/lease.ts'
import { timersOf } from './timers.ts'
import { walsenderOf } from './track.ts'

export interface NodeHealth {
  /** PostgreSQL answers. */
  readonly running: boolean
  /** Writes may be sent here. */
  readonly primary: boolean
  /** It is a standby, and reads may be sent here. */
  readonly standby: boolean
  readonly streaming: boolean
  /** Of a standby: `received` is what it has not got yet, `replayed` what readers do not see yet; null: not known. */
  readonly lagBytes: { readonly received: number | null; readonly replayed: number | null }
  /** Of a standby: `sync` when every commit waits for it, `quorum` when it is one of those of which enough must acknowledge. */
  readonly acknowledges: 'sync' | 'quorum' | 'async' | null
  readonly reason: string
}

/** `notStreamingMs`: for how long this node has got no WAL; 0 while it does. */
export function healthOf(view: ClusterView, notStreamingMs: number): NodeHealth {
  const { server } = view.local
  const facts = view.store.kind === 'read' ? view.store.facts : view.store.last
  const primacy = facts?.primacy?.value ?? null
  const streaming = server?.walreceiver?.status === 'streaming'
  const nothing: NodeHealth = {
    running: server !== null,
    primary: false,
    standby: false,
    streaming,
    lagBytes: { received: null, replayed: null },
    acknowledges: null,
    reason: '',
  }
  if (server === null) return { ...nothing, reason: 'PostgreSQL does not answer' }
  if (facts === null || primacy === null) return { ...nothing, reason: 'who is primary is not known here' }
  if (server.inRecovery) {
    const why = notForReads(view, facts, primacy, notStreamingMs)
    return {
      ...nothing,
      standby: why === null,
      lagBytes: lagOf(view, facts, primacy, server),
      acknowledges: acknowledgesIn(primacy, view.self),
      reason: why ?? `follows ${primacy.primary} in epoch ${primacy.epoch}`,
    }
  }
  const why = notForWrites(view, primacy, server)
  return { ...nothing, primary: why === null, reason: why ?? `primary of epoch ${primacy.epoch}` }
}

/** null: the primary in office. */
function notForWrites(view: ClusterView, primacy: Primacy, server: ServerFacts): string | null {
  if (primacy.primary !== view.self) return `${primacy.primary} is primary of epoch ${primacy.epoch}`
  if (primacy.phase !== 'steady') return `epoch ${primacy.epoch} is not steady yet: ${primacy.phase}`
  if (primacy.epoch < view.local.promisedEpoch) return 'has promised a newer epoch'
  if (view.store.kind === 'read') return null
  // Whoever was elected meanwhile has taken its acknowledgements away: as long as enough standbys stream nobody was.
  const { acks, standbys } = currentRule(primacy)
  const streams = standbys.filter((name) => walsenderOf(server, name)?.state === 'streaming').length
  if (acks > 0 && streams >= acks) return null
  if (acks === 0 && (view.spec.members.length === 1 || holdsLease(view))) return null
  return 'the store does not answer, and too few standbys stream to be sure that nobody else is primary'
}

/** null: what it shows lies within the history of the primary, and grows. */
function notForReads(
  view: ClusterView,
  facts: StoreFacts,
  primacy: Primacy,
  notStreamingMs: number,
): string | null {
  const { local } = view
  // What came since it followed an epoch came from there; a node that has not may hold rows that nobody else has (I8).
  const known = primacy.phase === 'steady' ? primacy.epoch : (primacy.rules[0]?.epoch ?? primacy.epoch)
  if (primacy.primary === view.self && primacy.phase === 'steady')
    return 'it is to be the primary, and PostgreSQL is in recovery'
  const astray = local.followedEpoch === primacy.epoch && !hasFollowed(local, primacy)
  if (local.followedEpoch < known || astray)
    return `it has not followed ${primacy.primary} in epoch ${primacy.epoch} yet`
  const report = facts.nodes.get(primacy.primary)
  const runs = report?.role === 'primary' && report.state === 'running'
  if (runs && notStreamingMs > timersOf(view.spec.rtoMs).standbyLostMs)
    return `${primacy.primary} runs, and it gets no WAL from there`
  return null
}

function acknowledgesIn(primacy: Primacy, self: string): NodeHealth['acknowledges'] {
  const { acks, standbys } = currentRule(primacy)
  if (acks === 0 || !standbys.includes(self)) return 'async'
  return acks === standbys.length ? 'sync' : 'quorum'
}

/** Against the furthest that is known of the primary: what it has sent here, or has reported, some seconds ago. Without a stream nobody knows. */
function lagOf(
  view: ClusterView,
  facts: StoreFacts,
  primacy: Primacy,
  server: ServerFacts,
): NodeHealth['lagBytes'] {
  if (server.walreceiver?.status !== 'streaming' || member(view.spec, primacy.primary) === null)
    return { received: null, replayed: null }
  const reported = parseLsn(facts.nodes.get(primacy.primary)?.flushLsn ?? '')
  const received = furthest([server.walreceiver.flushLsn, server.receiveLsn, server.replayLsn])
  const newest = furthest([reported, received])
  const behind = (lsn: Lsn | null): number | null =>
    lsn === null || newest === null ? null : lagBytes(lsn, newest)
  return { received: behind(received), replayed: behind(server.replayLsn) }
}

function furthest(positions: readonly (Lsn | null)[]): Lsn | null {
  return positions.reduce<Lsn | null>(
    (most, each) => (each === null ? most : maxLsn(most ?? each, each)),
    null,
  )
}
