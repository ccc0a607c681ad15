/**
 * Is the primary dead? Pure. Inconclusive evidence means no: a false alarm costs a switch, and data never, but a switch costs
 * somebody's request. Two things must come together at a standby: it gets no WAL any more, and nothing of the primary answers.
 */
import type { ClusterView, PrimaryProbes, Probe } from './cluster-view.ts'
import type { ServerFacts } from './facts.ts'
import type { Primacy } from './primacy.ts'
import { timersOf } from './timers.ts'

export function suspectsPrimary(view: ClusterView, primacy: Primacy): boolean {
  const { server, probes } = view.local
  if (primacy.primary === view.self || primacy.phase === 'electing') return false
  if (server === null || probes === null || probes.primary !== primacy.primary) return false
  return getsNoWal(view, server) && nothingAnswers(view, probes)
}

function getsNoWal(view: ClusterView, server: ServerFacts): boolean {
  if (!server.inRecovery) return false
  if (server.walreceiver === null) return true
  const { silenceMs } = timersOf(view.spec.rtoMs)
  return server.walreceiver.lastMessageAgeMs !== null && server.walreceiver.lastMessageAgeMs >= silenceMs
}

/** Both ports: an agent that answers acts itself, and a postgres that answers is alive whatever its agent says. */
function nothingAnswers(view: ClusterView, probes: PrimaryProbes): boolean {
  return [probes.agent, probes.postgres].every((probe) => isDeaf(view, probe))
}

/** Refused counts at once; silence only after its time, and only what was heard (or not) while this process was awake. */
function isDeaf(view: ClusterView, probe: Probe): boolean {
  if (probe.kind === 'answers') return false
  if (probe.kind === 'refused') return probe.atMs >= view.local.awakeSinceMs
  const sinceMs = Math.max(probe.atMs, view.local.awakeSinceMs)
  return view.now - sinceMs >= timersOf(view.spec.rtoMs).silenceMs
}

/** Who believes that the primary of this epoch is dead, this node included when it does. */
export function suspecting(view: ClusterView, primacy: Primacy): ReadonlySet<string> {
  const reports = view.store.kind === 'read' ? [...view.store.facts.nodes.values()] : []
  const others = reports.filter((report) => report.suspects === primacy.epoch && report.name !== view.self)
  const names = new Set(others.map((report) => report.name))
  if (suspectsPrimary(view, primacy)) names.add(view.self)
  return names
}
