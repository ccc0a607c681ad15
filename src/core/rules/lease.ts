/**
 * I10: where commits wait for nobody, votes prove nothing, and only a lease says that an old primary has stopped. Its holder takes it
 * before it becomes writable and stops strictly before it runs out, on the monotonic clock, counted from the last renewal's sending.
 */
import type { ClusterView, LocalView } from '../cluster-view.ts'
import type { DecisionRule } from '../decision.ts'
import { currentRule, type Primacy } from '../primacy.ts'
import { timersOf } from '../timers.ts'

/**
 * Writable, or on the way to it: files that say primary, or a promotion that is being carried out or was asked for by a predecessor, and
 * may take effect at any moment. Such a node is fenced only by stopping it. What does not answer may be writable too, whatever its files
 * say by now: a new agent can have written them beside a postmaster that hangs and that read others.
 */
export function mayWrite({ local }: ClusterView): boolean {
  const { postmaster, server, applied } = local
  if (postmaster.kind !== 'running') return false
  if (local.promotionAsked || local.tasks.has('promote') || applied?.role === 'primary') return true
  return server === null ? !recovers(local) : !server.inRecovery
}

/**
 * It does not answer, and is a standby all the same. pg_control is written by what runs: it says archive recovery until a promotion has
 * ended. A start of this agent's own that has not come so far has read the files that this agent has written.
 */
function recovers({ directory, tasks, applied }: LocalView): boolean {
  if (tasks.has('start') && applied?.role === 'standby') return true
  return directory.kind === 'cluster' && directory.control.state === 'inArchiveRecovery'
}

/** When a primary without acknowledgements must have stopped; null when it holds no lease. */
export function leaseDeadlineMs(view: ClusterView): number | null {
  const until = view.local.primaryLeaseUntilMs
  return until === null ? null : until - timersOf(view.spec.rtoMs).selfFenceMarginMs
}

export function holdsLease(view: ClusterView): boolean {
  const deadlineMs = leaseDeadlineMs(view)
  return deadlineMs !== null && view.now < deadlineMs
}

/** Alone there is nobody who could be promoted instead. */
function needsLease(view: ClusterView, primacy: Primacy): boolean {
  return primacy.primary === view.self && currentRule(primacy).acks === 0 && view.spec.members.length > 1
}

/**
 * Whether what runs here may acknowledge commits that nobody else has. Once another epoch has forgotten this node's rule only PostgreSQL
 * can tell: its settings; or, when it does not answer, the lease that it was given. Of a lease an agent without its state directory knows
 * nothing, so where the cluster waits for nobody what does not answer is taken for such a primary.
 */
function waitsForNobody(view: ClusterView): boolean {
  if (view.spec.members.length <= 1) return false
  const facts = view.store.kind === 'read' ? view.store.facts : view.store.last
  const primacy = facts?.primacy?.value
  if (primacy !== undefined && primacy.primary === view.self) return needsLease(view, primacy)
  if (primacy?.rules.some((rule) => rule.acks === 0 && rule.primary === view.self) === true) return true
  const { server } = view.local
  if (server !== null) return server.synchronousStandbyNames === ''
  return view.local.primaryLeaseUntilMs !== null || view.spec.durability === 'async'
}

/**
 * Also while the store does not answer: that is what the lease is for. So this comes before every other rule. A stop in order that is
 * under way may take long (a postmaster that hangs hears no signal, and its backends go on): then it is hastened.
 */
const selfFence: DecisionRule = {
  id: 'self-fence',
  evaluate(view) {
    if (!mayWrite(view) || view.local.stopping === 'immediate') return null
    if (!waitsForNobody(view) || holdsLease(view)) return null
    return {
      reason:
        'commits wait for nobody, and the lease of the primary runs out: PostgreSQL is stopped before it does (I10)',
      actions: [{ kind: 'stop', mode: 'immediate' }],
    }
  },
}

/** Before the start; and while it runs, when the store has lost the lease that this node still counts on. */
const takeLease: DecisionRule = {
  id: 'take-lease',
  evaluate(view) {
    if (view.store.kind !== 'read') return null
    const { primacy, leaseHolder } = view.store.facts
    if (primacy === null || primacy.value.phase !== 'steady' || !needsLease(view, primacy.value)) return null
    if (holdsLease(view) && leaseHolder === view.self) return null
    if (!holdsLease(view) && view.local.postmaster.kind !== 'stopped') return null
    if (leaseHolder !== null && leaseHolder !== view.self) {
      return { reason: `waits until the lease of ${leaseHolder} has run out (I10)`, actions: [] }
    }
    return {
      reason: 'commits wait for nobody: takes the lease of the primary first (I10)',
      actions: [{ kind: 'takePrimaryLease', expected: primacy.revision }],
    }
  },
}

/** A postmaster that does not answer may be a primary in crash recovery, whatever its files say by now. */
function certainlyNotWritable(view: ClusterView): boolean {
  const { postmaster, server, tasks } = view.local
  if (tasks.has('start') || mayWrite(view)) return false
  return postmaster.kind === 'stopped' || server?.inRecovery === true
}

/** Whoever waits for it must not wait until it runs out. Never while this node may still write. */
const dropLease: DecisionRule = {
  id: 'drop-lease',
  evaluate(view) {
    if (view.store.kind !== 'read' || view.local.primaryLeaseUntilMs === null) return null
    const primacy = view.store.facts.primacy?.value
    if (primacy === undefined) return null
    const inOffice = primacy.primary === view.self && primacy.phase !== 'electing'
    if (inOffice ? currentRule(primacy).acks === 0 : !certainlyNotWritable(view)) return null
    return { reason: 'gives the lease of the primary back (I10)', actions: [{ kind: 'dropPrimaryLease' }] }
  },
}

export const fenceRules: readonly DecisionRule[] = [selfFence]
export const leaseRules: readonly DecisionRule[] = [takeLease, dropLease]
