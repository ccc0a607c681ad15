/** `understudy pause` and `resume`: whether anybody may be elected without being asked for. What runs goes on either way. */
import type { PauseAnswer, Paused } from '../../api/contract.ts'
import { anyAgent } from '../control-client.ts'
import type { ClusterFlags } from '../flags.ts'
import { openCluster } from '../local/open.ts'
import { operatorName } from '../operator.ts'
import { EXIT, note, print, printJson } from '../output.ts'

export interface PauseOptions extends ClusterFlags {
  /** null: resume. */
  readonly reason: string | null
  readonly json?: true
}

export async function run(options: PauseOptions): Promise<number> {
  const { config } = await openCluster(options)
  const { reason } = options
  const by = operatorName()
  const request =
    reason === null ? { path: '/v1/resume', body: { by } } : { path: '/v1/pause', body: { reason, by } }
  const { paused, before } = await anyAgent<PauseAnswer>(config, request)
  if (options.json) printJson({ paused: paused !== null, ...paused, before })
  else if (paused === null) tellResumed(before)
  else tellPaused(paused, before)
  return EXIT.done
}

function tellResumed(before: Paused | null): void {
  print('Failover is automatic.')
  if (before === null) note('It was not paused.')
  else note(`It was paused since ${before.at} by ${before.by}: ${before.reason}`)
}

function tellPaused(paused: Paused, before: Paused | null): void {
  if (before !== null) note('It was paused already, which stays as it was.')
  print(`Failover is PAUSED since ${paused.at} by ${paused.by}: ${paused.reason}`)
  print('Nobody is elected by itself until `understudy resume`.')
}
