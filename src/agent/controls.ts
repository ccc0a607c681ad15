/** What operators ask of a running agent through its API; it checks, and writes what the decision then acts on. */
import type { SwitchoverAnswer, SwitchoverBody } from '../api/contract.ts'
import type { ClusterView } from '../core/cluster-view.ts'
import { lagBytes } from '../core/lsn.ts'
import { ownPrimacy } from '../core/rules/primary.ts'
import { switchoverObstacle } from '../core/rules/switchover.ts'
import { walsenderOf } from '../core/track.ts'
import type { ClusterStore } from '../ports/cluster-store.ts'
import type { Outcome } from '../ports/postgres.ts'
import type { StoreResult } from '../ports/store.ts'

/** Errors: refused, with what is in the way. */
export async function requestSwitchover(
  view: ClusterView | null,
  body: SwitchoverBody,
  store: ClusterStore,
  now: string,
): Promise<Outcome<SwitchoverAnswer>> {
  const primacy = view === null ? null : ownPrimacy(view)
  if (view === null || primacy === null)
    return refused('this node is not the steady primary: ask the primary')
  const to = body.to ?? bestStandby(view)
  if (to === null) return refused('no standby streams')
  const obstacle = switchoverObstacle(view, to)
  if (obstacle !== null) return refused(obstacle)
  const answer: SwitchoverAnswer = {
    from: view.self,
    to,
    epoch: primacy.value.epoch,
    checks: checksOf(view, to),
    accepted: body.dryRun !== true,
  }
  if (body.dryRun === true) return { kind: 'ok', value: answer }
  const asked = fromStore(await store.requestSwitchover({ to, requestedAt: now }))
  return asked.kind === 'ok' ? { kind: 'ok', value: answer } : asked
}

/**
 * null: the data directory may be moved aside. Never while something works in it, nor while a primary is being elected: it may be the most
 * advanced copy then (I11).
 */
export function reinitObstacle(view: ClusterView): string | null {
  const { server, applied, tasks } = view.local
  const primacy = view.store.kind === 'read' ? view.store.facts.primacy?.value : undefined
  if (primacy === undefined) return 'the store does not answer: whose data is needed is not known'
  if (server?.inRecovery === false || applied?.role !== 'standby') return 'only a standby can be made anew'
  if (primacy.primary === view.self || primacy.phase !== 'steady')
    return 'a primary is just being chosen: its data may be needed for that'
  const busy = [...tasks][0]
  return busy === undefined ? null : `its data directory is busy (${busy})`
}

export async function pause(reason: string | null, store: ClusterStore): Promise<Outcome> {
  return fromStore(await store.pause(reason))
}

/** The one that has replayed most, among those that nothing is in the way of. */
function bestStandby(view: ClusterView): string | null {
  const { server } = view.local
  if (server === null) return null
  const candidates = view.spec.members
    .map((each) => each.name)
    .filter((name) => name !== view.self && switchoverObstacle(view, name) === null)
  const replayed = (name: string): bigint => walsenderOf(server, name)?.replayLsn ?? 0n
  return (
    [...candidates].sort((a, b) =>
      replayed(a) === replayed(b) ? 0 : replayed(a) > replayed(b) ? -1 : 1,
    )[0] ?? null
  )
}

function checksOf(view: ClusterView, to: string): readonly string[] {
  const { server } = view.local
  const walsender = server === null ? null : walsenderOf(server, to)
  const position = server?.flushLsn ?? null
  const behind =
    position === null || walsender?.replayLsn == null ? 0 : lagBytes(walsender.replayLsn, position)
  return [
    `${view.self} is the steady primary`,
    `${to} streams, ${behind} bytes behind`,
    'no change of the quorum is under way',
  ]
}

function fromStore(result: StoreResult<unknown>): Outcome {
  return result.kind === 'ok'
    ? { kind: 'ok', value: null }
    : { kind: 'failed', code: 'store-unreachable', reason: result.reason }
}

function refused(reason: string): Outcome<never> {
  return { kind: 'failed', code: 'refused', reason }
}
