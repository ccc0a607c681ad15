/** `understudy reinit NODE`: the standby is cloned anew from the primary; its old data directory stays beside. */
import type { ReinitAnswer, ReinitBody } from '../../api/contract.ts'
import { nodeOf } from '../../config/load.ts'
import { checkLines } from '../check-lines.ts'
import { confirm } from '../confirm.ts'
import { command } from '../control-client.ts'
import type { ClusterFlags } from '../flags.ts'
import { openCluster } from '../local/open.ts'
import { operatorName } from '../operator.ts'
import { colourFor, EXIT, note, print, printJson } from '../output.ts'
import { paintFor } from '../paint.ts'
import { tellRefusal } from '../refusal.ts'

export interface ReinitOptions extends ClusterFlags {
  readonly node: string
  readonly dryRun?: true
  readonly yes?: true
  readonly json?: true
}

export async function run(options: ReinitOptions): Promise<number> {
  const { config } = await openCluster(options)
  const node = nodeOf(config, options.node)
  const ask = (body: ReinitBody): Promise<ReinitAnswer> =>
    command(config, node, { path: '/v1/reinit', body: { ...body, by: operatorName() } })
  const plan = await ask({ dryRun: true })
  if (plan.refusal !== null) return tellRefusal(plan, options.json === true)
  if (options.dryRun === true) {
    if (options.json) printJson(plan)
    else
      print([
        `${node.name} could be cloned anew now`,
        ...checkLines(plan.checks, paintFor(colourFor(process.stdout))),
      ])
    return EXIT.done
  }
  const question = `Clone ${node.name} anew, and keep its old data beside?`
  if (!(await confirm(question, options.yes === true))) {
    note('nothing was changed')
    return EXIT.failed
  }
  const taken = await ask({})
  if (options.json) printJson({ ...taken, reinit: true })
  else print(`${node.name} is cloned anew; \`understudy status --watch\` shows it.`)
  return EXIT.done
}
