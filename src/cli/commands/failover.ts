/** `understudy failover`: an election by hand, for when none begins by itself or none can end. It says what may be lost before it asks. */
import type { FailoverAnswer, FailoverBody } from '../../api/contract.ts'
import { nodeOf } from '../../config/load.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import { carryOut } from '../change-result.ts'
import { watchChange } from '../change-watch.ts'
import { checkLines } from '../check-lines.ts'
import { confirm } from '../confirm.ts'
import { anyAgent } from '../control-client.ts'
import { planLines } from '../failover-plan.ts'
import type { ClusterFlags } from '../flags.ts'
import { openCluster } from '../local/open.ts'
import { operatorName } from '../operator.ts'
import { colourFor, EXIT, note, print, printJson, widthOf } from '../output.ts'
import { paintFor } from '../paint.ts'
import { tellRefusal } from '../refusal.ts'

export interface FailoverOptions extends ClusterFlags {
  readonly to?: string
  readonly acceptDataLoss?: true
  readonly reason?: string
  readonly dryRun?: true
  readonly yes?: true
  readonly json?: true
}

export async function run(options: FailoverOptions): Promise<number> {
  const { config } = await openCluster(options)
  const json = options.json === true
  if (options.to !== undefined) nodeOf(config, options.to)
  const ask = (body: FailoverBody): Promise<FailoverAnswer> =>
    anyAgent(config, { path: '/v1/failover', body: { ...wish(options), ...body, by: operatorName() } })
  const plan = await ask({ dryRun: true })
  // What would be lost is told in any case: also to whoever may not go on.
  if (!json) tellPlan(plan, options.dryRun === true ? print : note)
  if (plan.refusal !== null) return tellRefusal(plan, json)
  const { epoch, from, to, checks, missing } = plan
  if (options.dryRun === true) {
    if (json) printJson(plan)
    else for (const line of checkLines(checks, paintFor(colourFor(process.stdout)))) print(line)
    return EXIT.done
  }
  if (epoch === null || from === null || to === null)
    throw new UnderstudyError('no-candidate', 'there is nobody who could be elected')
  if (!(await confirm(question(plan), options.yes === true))) {
    note('nothing was changed')
    return EXIT.failed
  }
  const watch = await watchChange(config.nodes)
  try {
    const change = { name: 'failover', from, wanted: to, epoch, checks } as const
    const seen = { to, epoch, ...(plan.mayLoseData && { missing }) }
    return await carryOut({ ...change, ask: () => ask(seen) }, watch, { nodes: config.nodes, json })
  } finally {
    watch.close()
  }
}

function wish(options: FailoverOptions): FailoverBody {
  return {
    ...(options.to !== undefined && { to: options.to }),
    ...(options.acceptDataLoss === true && { acceptDataLoss: true }),
    ...(options.reason !== undefined && { reason: options.reason }),
  }
}

function question({ from, to, mayLoseData }: FailoverAnswer): string {
  const cost = mayLoseData ? ', and lose what only the missing nodes have' : ''
  return `Make ${to} the primary instead of ${from}${cost}?`
}

function tellPlan(plan: FailoverAnswer, out: (line: string) => void): void {
  const stream = out === print ? process.stdout : process.stderr
  for (const line of planLines(plan, { width: widthOf(stream), paint: paintFor(colourFor(stream)) }))
    out(line)
}
