/**
 * What must be counted from cycle to cycle whichever rule decides: since when each standby of the rule has not been streaming, since when
 * the own PostgreSQL has not answered, since when it has been in office. Pure.
 */
import type { ClusterView } from './cluster-view.ts'
import type { Memory } from './decision.ts'
import type { ServerFacts, WalsenderFacts } from './facts.ts'
import { lagBytes } from './lsn.ts'
import { currentRule } from './primacy.ts'

/** A standby further behind than one segment would hold every commit up while it catches up. */
const CAUGHT_UP_BYTES = 16 * 1024 * 1024

export function track(view: ClusterView, before: Memory): Memory {
  const memory = trackEpoch(
    view,
    trackRecovery(view, trackReceiving(view, trackFlushed(view, trackOwn(view, before)))),
  )
  if (view.store.kind !== 'read') return memory
  const primacy = view.store.facts.primacy?.value
  const { server } = view.local
  if (primacy === undefined || primacy.primary !== view.self || server === null || server.inRecovery) {
    return Object.keys(memory.lostSinceMs).length === 0 ? memory : { ...memory, lostSinceMs: {} }
  }
  const streaming = new Set(caughtUpStandbys(view, server))
  const lost = currentRule(primacy).standbys.filter((name) => !streaming.has(name))
  const lostSinceMs = Object.fromEntries(lost.map((name) => [name, memory.lostSinceMs[name] ?? view.now]))
  return { ...memory, lostSinceMs }
}

function trackEpoch(view: ClusterView, memory: Memory): Memory {
  const primacy = view.store.kind === 'read' ? view.store.facts.primacy?.value : undefined
  if (primacy === undefined || memory.epoch?.number === primacy.epoch) return memory
  // A new primary gets its own time before a standby counts as stuck.
  return { ...memory, epoch: { number: primacy.epoch, seenAtMs: view.now }, stuckSinceMs: null }
}

function trackOwn(view: ClusterView, memory: Memory): Memory {
  const facts = view.store.kind === 'read' ? view.store.facts : view.store.last
  const primacy = facts?.primacy?.value
  const { server, postmaster } = view.local
  const running = postmaster.kind === 'running'
  const own = primacy?.primary === view.self
  const hangs = server === null && running && (own || memory.unansweredSinceMs !== null)
  const unansweredSinceMs = hangs ? (memory.unansweredSinceMs ?? view.now) : null
  const rules = own && primacy?.phase === 'steady' && server?.inRecovery === false
  const epoch = primacy?.epoch ?? 0
  const office = !rules ? null : memory.office?.epoch === epoch ? memory.office : { epoch, sinceMs: view.now }
  if (unansweredSinceMs === memory.unansweredSinceMs && office === memory.office) return memory
  return { ...memory, unansweredSinceMs, office }
}

/** Of a standby as well: what it has received and not yet on the disk is not counted. */
function trackFlushed(view: ClusterView, memory: Memory): Memory {
  const { server } = view.local
  const lsn = server?.flushLsn ?? server?.walreceiver?.flushLsn ?? null
  if (lsn === null || lsn === memory.flushed?.lsn) return memory
  return { ...memory, flushed: { lsn, sinceMs: view.now } }
}

/** What is not seen is no change: PostgreSQL may be too busy to answer. */
function trackReceiving(view: ClusterView, memory: Memory): Memory {
  const { server } = view.local
  if (server === null) return memory
  const pid = server.walreceiver?.status === 'streaming' ? server.walreceiver.pid : null
  if (pid === (memory.receiving?.pid ?? null)) return memory
  return { ...memory, receiving: pid === null ? null : { pid, sinceMs: view.now } }
}

function trackRecovery(view: ClusterView, memory: Memory): Memory {
  const { recovery } = view.local
  if (recovery === null || recovery.streams)
    return memory.starved === null ? memory : { ...memory, starved: null }
  if (memory.starved?.segment === recovery.segment) return memory
  return { ...memory, starved: { segment: recovery.segment, sinceMs: view.now } }
}

/** Members whose walsender streams and is caught up, in the order of the configuration. */
export function caughtUpStandbys(view: ClusterView, server: ServerFacts): readonly string[] {
  return view.spec.members
    .filter((each) => isCaughtUp(walsenderOf(server, each.name), server))
    .map((each) => each.name)
}

/** The member's walsender; application_name is set by us in primary_conninfo. Base backups have other names. */
export function walsenderOf(server: ServerFacts, name: string): WalsenderFacts | null {
  const all = server.walsenders.filter((each) => each.applicationName === name)
  return all.find((each) => each.state === 'streaming') ?? all[0] ?? null
}

function isCaughtUp(walsender: WalsenderFacts | null, server: ServerFacts): boolean {
  if (walsender?.state !== 'streaming' || walsender.flushLsn === null || server.flushLsn === null)
    return false
  return lagBytes(walsender.flushLsn, server.flushLsn) <= CAUGHT_UP_BYTES
}
