/**
 * The preflight of a switchover, from the primary's view: everything that would make clients wait for a candidate that cannot take
 * over, or leave the new primary without acknowledgements. Pure; shown by `--dry-run`, and looked at again right before it begins.
 */
import { type Check, failed, passed, type Refusal, refusalOf } from './check.ts'
import type { ClusterView, NodeReport } from './cluster-view.ts'
import type { ServerFacts } from './facts.ts'
import { type Lsn, lagBytes } from './lsn.ts'
import { currentRule, type Primacy } from './primacy.ts'
import { ownPrimacy } from './rules/primary.ts'
import { walsenderOf } from './track.ts'

/** More than this to replay would make the clients wait for the candidate. */
export const TOO_FAR_BYTES = 16 * 1024 * 1024

export function switchoverRefusal(view: ClusterView, to: string): Refusal | null {
  return refusalOf(switchoverChecks(view, to))
}

/** In the order in which a person would look; those that make no sense any more are left out. */
export function switchoverChecks(view: ClusterView, to: string): readonly Check[] {
  const primacy = ownPrimacy(view)
  const { server } = view.local
  const first = [primaryCheck(view), pausedCheck(view)]
  if (primacy === null || server === null || server.inRecovery) return first
  const node = nodeCheck(view, to)
  if (node.result === 'failed') return [...first, node]
  return [
    ...first,
    node,
    ...candidateChecks(view, server, to),
    quorumCheck(primacy.value),
    acknowledgementCheck(view, primacy.value, server, to),
  ]
}

/** The one that has replayed most, among those that nothing is in the way of; the highest priority, then the name, among equals. */
export function bestCandidate(view: ClusterView): string | null {
  const { server } = view.local
  if (server === null || view.store.kind !== 'read') return null
  const { nodes } = view.store.facts
  const candidates = view.spec.members
    .map(({ name }) => ({
      name,
      replayed: walsenderOf(server, name)?.replayLsn ?? 0n,
      priority: nodes.get(name)?.priority ?? 0,
    }))
    .filter(({ name }) => name !== view.self && switchoverRefusal(view, name) === null)
  const [best] = candidates.sort((a, b) =>
    a.replayed === b.replayed ? b.priority - a.priority : a.replayed > b.replayed ? -1 : 1,
  )
  return best?.name ?? null
}

function primaryCheck(view: ClusterView): Check {
  const check = 'primary'
  const { server } = view.local
  const primacy = view.store.kind === 'read' ? view.store.facts.primacy?.value : undefined
  if (view.store.kind === 'stale') return failed(check, view.store.code, view.store.reason)
  if (view.store.kind !== 'read')
    return failed(check, 'store-unreachable', `the store does not answer: ${view.store.reason}`)
  if (primacy !== undefined && primacy.phase !== 'steady')
    return failed(
      check,
      'election-running',
      `an election is running (epoch ${primacy.epoch}): ${primacy.reason}`,
    )
  if (ownPrimacy(view) === null)
    return failed(check, 'not-primary', `${view.self} is not the primary${named(primacy)}`)
  if (server === null || server.inRecovery)
    return failed(check, 'not-primary', `PostgreSQL of ${view.self} does not answer as a primary`)
  return passed(check, `${view.self} is the primary of epoch ${primacy?.epoch ?? '?'}, and steady`)
}

function named(primacy: Primacy | undefined): string {
  return primacy === undefined ? '' : `, ${primacy.primary} is`
}

function pausedCheck(view: ClusterView): Check {
  const check = 'not-paused'
  const paused = view.store.kind === 'read' ? view.store.facts.paused : null
  if (paused === null) return passed(check, 'failover is not paused')
  return failed(
    check,
    'failover-paused',
    `failover is paused since ${paused.at} by ${paused.by}: ${paused.reason}`,
  )
}

function nodeCheck(view: ClusterView, to: string): Check {
  const check = 'candidate'
  if (to === view.self) return failed(check, 'already-primary', `${to} is the primary already`)
  if (!view.spec.members.some((each) => each.name === to))
    return failed(check, 'unknown-node', `the cluster has no node ${to}`)
  const report = reportOf(view, to)
  if (report === null)
    return failed(check, 'not-streaming', `the agent of ${to} does not report to the store`)
  if (report.priority === 0)
    return failed(check, 'not-eligible', `${to} has candidatePriority 0: it votes and is never elected`)
  return passed(check, `${to} may be elected (candidatePriority ${report.priority})`)
}

function candidateChecks(view: ClusterView, server: ServerFacts, to: string): readonly Check[] {
  const walsender = walsenderOf(server, to)
  const streams =
    walsender?.state === 'streaming'
      ? passed('streaming', `${to} streams from ${view.self}`)
      : failed('streaming', 'not-streaming', `${to} does not stream from ${view.self}`)
  if (walsender?.state !== 'streaming') return [streams]
  const paused = reportOf(view, to)?.replayPaused === true
  const replays = paused
    ? failed('replaying', 'replay-paused', `replay is paused on ${to}`)
    : passed('replaying', `${to} replays what it gets`)
  return [streams, replays, lagCheck(server, to, walsender.replayLsn)]
}

/** Of a primary's WAL, as its walsender knows the standby; null: not known yet. */
export function replayBehindBytes(server: ServerFacts, replayLsn: Lsn | null): number | null {
  const position = server.insertLsn ?? server.flushLsn
  return position === null || replayLsn === null ? null : lagBytes(replayLsn, position)
}

function lagCheck(server: ServerFacts, to: string, replayLsn: Lsn | null): Check {
  const bytes = replayBehindBytes(server, replayLsn)
  if (bytes === null) return failed('lag', 'lagging', `how far ${to} is behind is not known yet`)
  if (bytes <= TOO_FAR_BYTES) return passed('lag', `${to} has replayed all but ${bytes} bytes`)
  return failed(
    'lag',
    'lagging',
    `${to} has ${bytes} bytes to replay, more than ${TOO_FAR_BYTES}: clients would wait for it`,
  )
}

/** Both rules would have to be satisfied. A change takes a second or is given up after a quarter of a minute. */
function quorumCheck(primacy: Primacy): Check {
  if (primacy.nextRule === null) return passed('quorum', 'the rule of the quorum is not being changed')
  return {
    check: 'quorum',
    result: 'waits',
    message: 'the rule of the quorum is being changed: it begins when that is done',
  }
}

/** The new primary's commits wait for the old one, too, which comes back a moment later than it takes over. */
function acknowledgementCheck(view: ClusterView, primacy: Primacy, server: ServerFacts, to: string): Check {
  const { acks, standbys } = currentRule(primacy)
  const others = standbys.filter(
    (name) => name !== to && walsenderOf(server, name)?.state === 'streaming',
  ).length
  if (others >= acks)
    return passed(
      'acknowledgements',
      `${others} other standby${others === 1 ? '' : 's'} can acknowledge its commits at once`,
    )
  return {
    check: 'acknowledgements',
    result: 'warning',
    message: `only ${others} of the ${acks} standbys that must acknowledge stream besides ${to}: writes wait until ${view.self} streams from it`,
  }
}

function reportOf(view: ClusterView, name: string): NodeReport | null {
  return view.store.kind === 'read' ? (view.store.facts.nodes.get(name) ?? null) : null
}
