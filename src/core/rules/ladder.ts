/**
 * How a node gets back onto the primary's history: what it needs to know of the primary, and the ladder of rewind and clone. A rewind opens
 * the directory up in place and is quick; a clone is made beside it. Pure.
 */
import { waitsAfterFailure } from '../backoff.ts'
import { type ClusterView, type LocalView, member, type NodeReport, type TaskKind } from '../cluster-view.ts'
import type { Action, Memory, Verdict } from '../decision.ts'
import type { Member } from '../facts.ts'
import { currentRule, type Primacy } from '../primacy.ts'
import { commonPoint, switchpointOf } from '../timeline.ts'
import { timersOf } from '../timers.ts'

export interface Following {
  readonly primacy: Primacy
  readonly upstream: Member
}

/** Standbys repoint during `promoting` already: the proving commit of the new primary waits for them. */
export function following(view: ClusterView): Following | null {
  if (view.store.kind !== 'read') return null
  const primacy = view.store.facts.primacy?.value
  if (primacy === undefined || primacy.primary === view.self || primacy.phase === 'electing') return null
  const upstream = member(view.spec, primacy.primary)
  return upstream === null ? null : { primacy, upstream }
}

/**
 * It followed this epoch's primary after I8 was checked, so what came since came from there. Unless somebody has promoted it by hand: then
 * pg_control names a timeline that the primary knows nothing of, from the promotion's last record on.
 */
export function hasFollowed(
  local: Pick<LocalView, 'followedEpoch' | 'directory'>,
  primacy: Primacy,
): boolean {
  if (local.followedEpoch !== primacy.epoch) return false
  if (local.directory.kind !== 'cluster') return true
  const { timelineId, minRecoveryTimelineId } = local.directory.control
  // 0: it was shut down as a primary, or never recovered.
  return [timelineId, minRecoveryTimelineId].every(
    (each) => each === 0 || switchpointOf(primacy.history, each) !== null,
  )
}

export function cloneFrom({ primacy, upstream }: Following): readonly Action[] {
  return [
    { kind: 'promise', epoch: primacy.epoch },
    { kind: 'clone', from: upstream.name, host: upstream.host, port: upstream.port, epoch: primacy.epoch },
  ]
}

/**
 * A source must have been promoted, and be on the timeline that it was elected for; steady it need not be: the commit that makes it
 * steady may be waiting for the very node that is to be rewound or cloned.
 */
export function primaryIsUp(view: ClusterView, primacy: Primacy): boolean {
  if (view.store.kind !== 'read') return false
  const report = view.store.facts.nodes.get(primacy.primary)
  return (
    report?.role === 'primary' &&
    report.state === 'running' &&
    report.epoch === primacy.epoch &&
    report.timelineId === primacy.timelineId
  )
}

/**
 * Whoever carries out a rung stops PostgreSQL, where it runs, as its first step: a rule that stopped it would forget the position
 * that it has decided on, which is known only as long as PostgreSQL runs.
 *
 * The ladder, one rung a time, each limited by its own waiting after failures: rewind where the binaries have it, else a new clone.
 */
export function climb(view: ClusterView, memory: Memory, follows: Following, why: string): Verdict {
  const { primacy, upstream } = follows
  if (!primaryIsUp(view, primacy)) return { reason: `${why}: waits until ${upstream.name} runs`, actions: [] }
  const rewindable =
    view.local.canRewind &&
    !holdsWhatIsLost(view, primacy) &&
    !isNamesake(view, primacy) &&
    timesFailed(view, 'rewind') < 2
  const opening = mayBeOpened(view, memory, primacy)
  if (opening.kind === 'wait') return { reason: `${why}: waits ${opening.reason}`, actions: [] }
  // Better opened up than never back: a disk may have no room for two.
  const rewinds = rewindable && (opening.kind === 'yes' || (opening.kind === 'clone' && hasNoRoom(view)))
  const waits = waitsAfterFailure(view, rewinds ? 'rewind' : 'clone')
  if (waits !== null) return { reason: waits, actions: [] }
  if (rewinds) {
    const source = { from: upstream.name, host: upstream.host, port: upstream.port, epoch: primacy.epoch }
    return {
      reason: `${why}: is rewound to ${upstream.name}`,
      actions: [
        { kind: 'promise', epoch: primacy.epoch },
        { kind: 'rewind', ...source },
      ],
    }
  }
  return {
    reason: `${why}: is cloned anew from ${upstream.name}, the old directory stays beside`,
    actions: cloneFrom(follows),
  }
}

/**
 * Its timeline has the number of one of the primary's, and began elsewhere: somebody has promoted this node by hand, and the number was then
 * allocated to another one (I6). pg_rewind, which compares numbers, would find nothing to do. While promoting the primary's history is
 * foretold, and not yet what PostgreSQL wrote.
 */
export function isNamesake({ local }: ClusterView, primacy: Primacy): boolean {
  const { position, history } = local
  if (primacy.phase !== 'steady' || position === null || history.timelineId !== position.timelineId)
    return false
  const named = switchpointOf(primacy.history, position.timelineId) !== null
  return named && commonPoint(history, primacy.history)?.timelineId !== position.timelineId
}

/** An operator once did without its vote: acknowledged commits may be here and nowhere else, and a rewind would destroy them (I11). */
export function holdsWhatIsLost(view: ClusterView, primacy: Primacy): boolean {
  const since = primacy.writtenOff[view.self]
  return since !== undefined && view.local.followedEpoch < since
}

function timesFailed(view: ClusterView, task: TaskKind): number {
  return view.local.failures.get(task)?.count ?? 0
}

function hasNoRoom(view: ClusterView): boolean {
  return view.local.failures.get('clone')?.code === 'no-space'
}

/** clone: only beside; never: not even when there is no room beside it. */
type Opening =
  | { readonly kind: 'yes' | 'clone' | 'never' }
  | { readonly kind: 'wait'; readonly reason: string }

/**
 * A directory that is being rewound is nobody's: were the primary lost meanwhile, what it held could not be elected. So somebody else must
 * have it whole (I11): until the primary is steady it may be the only one, besides this node, that has all that was acknowledged; and where
 * commits wait for nobody it may be so afterwards. Mostly others come in a moment; else this node is cloned beside.
 */
function mayBeOpened(view: ClusterView, memory: Memory, primacy: Primacy): Opening {
  const waitedMs = view.now - (memory.epoch?.seenAtMs ?? view.now)
  const patienceMs = timersOf(view.spec.rtoMs).standbyLostMs
  if (primacy.phase !== 'steady')
    return waitedMs < patienceMs
      ? { kind: 'wait', reason: `until others have what ${primacy.primary} has` }
      : { kind: 'never' }
  if (currentRule(primacy).acks > 0) return { kind: 'yes' }
  const others = wholeCopies(view, primacy)
  if (others.some((each) => each.state === 'streaming' && each.epoch === primacy.epoch))
    return { kind: 'yes' }
  // One after the other, in the order of the configuration: two at a time would be each other's only copy.
  const order = view.spec.members.map((each) => each.name)
  const before = others.find((each) => order.indexOf(each.name) < order.indexOf(view.self))
  if (before === undefined) return { kind: others.length > 0 ? 'yes' : 'clone' }
  return waitedMs < 3 * patienceMs
    ? { kind: 'wait', reason: `until ${before.name} follows` }
    : { kind: 'clone' }
}

/** Of the others besides the primary: who says that its data can be elected. */
function wholeCopies(view: ClusterView, primacy: Primacy): readonly NodeReport[] {
  const reports = view.store.kind === 'read' ? [...view.store.facts.nodes.values()] : []
  return reports.filter(
    (each) => each.name !== view.self && each.name !== primacy.primary && each.vote === 'whole',
  )
}
