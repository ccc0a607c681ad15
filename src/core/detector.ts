/**
 * Is the primary dead? Pure. Inconclusive evidence means no: a false alarm costs a switch, and data never, but a switch costs
 * somebody's request. Two things must come together at a standby: it gets no WAL any more, and nothing of the primary answers.
 */
import type { ClusterView, Probe } from './cluster-view.ts'
import type { ServerFacts } from './facts.ts'
import type { Primacy } from './primacy.ts'
import { timersOf } from './timers.ts'

export function suspectsPrimary(view: ClusterView, primacy: Primacy): boolean {
  const dueMs = suspicionDueMs(view, primacy)
  return dueMs !== null && dueMs <= view.now
}

/**
 * When what is seen now will be enough to call the primary dead, if nothing changes; null: never. A stream that is silent for the whole
 * time, and new connections that are not answered for the half of it that came after the first doubt; where there is no stream any
 * more, connections that are not answered for the whole time. A refused one counts at once.
 */
export function suspicionDueMs(view: ClusterView, primacy: Primacy): number | null {
  const { server, probes } = view.local
  if (primacy.primary === view.self || primacy.phase === 'electing') return null
  if (probes === null || probes.primary !== primacy.primary) return null
  const { silenceMs, doubtMs } = timersOf(view.spec.rtoMs)
  const streamMs = streamDueMs(view, silenceMs)
  if (streamMs === null) return null
  // Both ports: an agent that answers acts itself, and a postgres that answers is alive whatever its agent says.
  const patienceMs = streams(server) ? doubtMs : silenceMs
  const ports = [probes.agent, probes.postgres].map((probe) => deafDueMs(view, probe, patienceMs))
  return ports.reduce<number | null>(
    (due, each) => (due === null || each === null ? null : Math.max(due, each)),
    streamMs,
  )
}

/** One that only tries to connect, again and again, gets nothing either, and counts its own beginning as a message. */
function streams(server: ServerFacts | null): boolean {
  return server?.walreceiver?.status === 'streaming'
}

function streamDueMs(view: ClusterView, silenceMs: number): number | null {
  const { server } = view.local
  if (server === null) return hasOnlyItsVote(view) ? view.now : null
  if (!server.inRecovery) return null
  if (!streams(server)) return view.now
  const ageMs = server.walreceiver?.lastMessageAgeMs ?? null
  return ageMs === null ? null : view.now - ageMs + silenceMs
}

/**
 * Nothing runs here that could tell of a stream: it waits to be rewound or cloned from this very primary, or for WAL of it before it lets
 * anybody in. What is on its disk can be voted all the same, and an election may need that vote (I2): an elected node that dies before this
 * one has come back to it would else end everything.
 */
export function hasOnlyItsVote({ local }: ClusterView): boolean {
  if (local.directory.kind !== 'cluster') return false
  return local.postmaster.kind === 'stopped' || local.recovery?.streams === false
}

/** Only what was heard (or not) while this process was awake counts. */
function deafDueMs(view: ClusterView, probe: Probe, patienceMs: number): number | null {
  if (probe.kind === 'answers') return null
  if (probe.kind === 'refused') return probe.atMs >= view.local.awakeSinceMs ? view.now : null
  return Math.max(probe.atMs, view.local.awakeSinceMs) + patienceMs
}

/** Who believes that the primary of this epoch is dead, this node included when it does. */
export function suspecting(view: ClusterView, primacy: Primacy): ReadonlySet<string> {
  const reports = view.store.kind === 'read' ? [...view.store.facts.nodes.values()] : []
  const others = reports.filter((report) => report.suspects === primacy.epoch && report.name !== view.self)
  const names = new Set(others.map((report) => report.name))
  if (suspectsPrimary(view, primacy)) names.add(view.self)
  return names
}
