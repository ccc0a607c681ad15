/** `understudy pause` and `resume`: whether anybody may be elected. What runs goes on either way. */

import { UnderstudyError } from '../../errors/codes.ts'
import type { Answer } from '../api-client.ts'
import { command } from '../control-client.ts'
import type { ClusterFlags } from '../flags.ts'
import { openCluster } from '../local/open.ts'
import { EXIT, print, printJson } from '../output.ts'

export interface PauseOptions extends ClusterFlags {
  readonly reason: string | null
  readonly json?: true
}

export async function run(options: PauseOptions): Promise<number> {
  const { config } = await openCluster(options)
  const failures: string[] = []
  for (const node of config.nodes) {
    const done = await attempt(() => command(config, node, '/v1/pause', { reason: options.reason }))
    if (done.kind === 'failed') {
      failures.push(done.reason)
      continue
    }
    if (options.json) printJson({ paused: options.reason !== null, reason: options.reason })
    else
      print(options.reason === null ? 'failover is automatic again' : `failover is paused: ${options.reason}`)
    return EXIT.done
  }
  throw new UnderstudyError('unreachable', `no agent could do it (${failures.join('; ')})`)
}

/** Any agent will do: the next one is asked when one does not answer, not when one refuses. */
async function attempt(work: () => Promise<unknown>): Promise<Answer<unknown>> {
  try {
    return { kind: 'ok', value: await work() }
  } catch (error) {
    if (error instanceof UnderstudyError && error.code === 'unreachable')
      return { kind: 'failed', reason: error.message }
    throw error
  }
}
