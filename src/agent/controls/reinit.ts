/** `reinit`: this standby is cloned anew. The decision does it, and until the copy is whole the old directory is what counts. */
import type { ReinitAnswer, ReinitBody } from '../../api/contract.ts'
import { refusalOf } from '../../core/check.ts'
import { reinitChecks } from '../../core/reinit-checks.ts'
import type { Outcome } from '../../ports/postgres.ts'
import type { ControlContext } from './context.ts'
import { refusalBody, SOMEBODY } from './context.ts'

export async function requestReinit(
  context: ControlContext,
  { dryRun = false, by = SOMEBODY }: ReinitBody,
  ask: () => void,
): Promise<Outcome<ReinitAnswer>> {
  const view = await context.fresh()
  if (view.kind === 'failed') return view
  const checks = reinitChecks(view.value)
  const refusal = refusalBody(refusalOf(checks))
  const accepted = refusal === null && !dryRun
  if (accepted) {
    ask()
    context.events.add({ kind: 'reinit-requested', message: `${by} asks for it to be cloned anew` })
    context.wake()
  }
  return { kind: 'ok', value: { node: view.value.self, checks, accepted, refusal } }
}
