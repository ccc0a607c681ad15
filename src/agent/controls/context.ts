/** What the controls share: where they look, where they write, and how a refusal is told. */
import type { ErrorBody } from '../../api/contract.ts'
import type { Refusal } from '../../core/check.ts'
import type { ClusterView } from '../../core/cluster-view.ts'
import { ERRORS } from '../../errors/codes.ts'
import type { Clock } from '../../ports/clock.ts'
import type { ClusterStore } from '../../ports/cluster-store.ts'
import type { Outcome } from '../../ports/postgres.ts'
import type { StoreResult } from '../../ports/store.ts'
import type { Chronicle } from '../chronicle.ts'
import type { EventLog } from '../events.ts'

export interface ControlContext {
  /** Of this agent. */
  readonly node: string
  /** How long a primary may act by its lease of I10. */
  readonly primaryLeaseMs: number
  readonly store: ClusterStore
  readonly clock: Clock
  readonly events: EventLog
  readonly chronicle: Chronicle
  /** Of this agent. */
  readonly session: string
  /** The last look; null before the first. */
  view(): ClusterView | null
  /** The last look at this node, with the store read now: somebody may have been faster. */
  fresh(): Promise<Outcome<ClusterView>>
  /** Beside everything else; that it fails, or takes too long, is no reason not to go on. */
  checkpoint(deadlineMs: number): Promise<void>
  wake(): void
}

/** Who asked without saying who. */
export const SOMEBODY = 'somebody at the API'

export function afterStore<T>(result: StoreResult<unknown>): Outcome<T> {
  const reason = result.kind === 'ok' ? 'another node was faster' : result.reason
  return { kind: 'failed', code: 'store-unreachable', reason }
}

export function refusalBody(refusal: Refusal | null): ErrorBody['error'] | null {
  if (refusal === null) return null
  const { code, message, hint = ERRORS[code].hint } = refusal
  return { code, message, hint }
}
