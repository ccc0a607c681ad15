/** `pause` and `resume`: whether anybody may be elected without being asked for. Any agent can do it; who was first stays on record. */
import type { PauseAnswer, PauseBody } from '../../api/contract.ts'
import type { Outcome } from '../../ports/postgres.ts'
import type { ControlContext } from './context.ts'
import { afterStore, SOMEBODY } from './context.ts'

export async function setPause(
  context: ControlContext,
  { reason, by = SOMEBODY }: PauseBody,
): Promise<Outcome<PauseAnswer>> {
  const read = await context.store.readFacts()
  if (read.kind !== 'ok') return afterStore(read)
  const before = read.value.paused
  const paused = reason === null ? null : (before ?? { reason, by, at: context.clock.timestamp() })
  if (paused === before) return { kind: 'ok', value: { paused, before } }
  const written = await context.store.pause(paused)
  if (written.kind !== 'ok') return afterStore(written)
  const message =
    paused === null ? `${by} lets failover be automatic again` : `${by} pauses failover: ${paused.reason}`
  context.events.add({ kind: paused === null ? 'resumed' : 'paused', message })
  return { kind: 'ok', value: { paused, before } }
}
