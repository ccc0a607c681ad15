/** What a record of a change of primary says by the documents alone: primacy, and the request that began it. Pure. */
import type { StoreFacts } from '../core/cluster-view.ts'
import type { Action } from '../core/decision.ts'
import type { Asking, HistoryRecord } from '../core/history.ts'
import { currentRule, type Primacy } from '../core/primacy.ts'

export interface Request {
  readonly epoch: number
  readonly asking: Asking
  /** null: a switchover. */
  readonly losses: readonly string[] | null
}

/** The epoch that it begins; null for anything else. */
export function electionCalled(action: Action): number | null {
  if (action.kind !== 'writePrimacy' || action.primacy.phase !== 'electing') return null
  return action.primacy.epoch
}

export function describeChange(
  primacy: Primacy,
  record: HistoryRecord,
  request: Request | null,
): Partial<HistoryRecord> {
  const { phase, planned, candidate, startedBy, override } = primacy
  const elected = phase !== 'electing'
  const losses = request?.losses ?? record.accepted?.losses ?? []
  const manual = override !== null || (request !== null && request.losses !== null)
  return {
    kind: manual ? 'manual' : planned ? 'switchover' : record.kind,
    phase,
    startedBy,
    asked: record.asked ?? request?.asking ?? null,
    reason: record.reason || primacy.reason,
    from: record.from ?? (elected ? null : currentRule(primacy).primary),
    candidate: record.candidate ?? candidate,
    accepted: override === null ? record.accepted : { ...override, losses },
    ...(elected && { to: primacy.primary, timelineId: primacy.timelineId }),
  }
}

/** A switchover that is only scheduled asks for nothing yet. */
export function requestIn({ switchover, failover }: StoreFacts): Request | null {
  if (failover !== null) {
    const { epoch, by, requestedAt: at, reason, losses } = failover.value
    return { epoch, asking: { by, at, reason }, losses }
  }
  if (switchover === null || switchover.value.session === null) return null
  const { epoch, by, requestedAt: at } = switchover.value
  return { epoch, asking: { by, at, reason: null }, losses: null }
}
