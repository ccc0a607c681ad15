/** `understudy recover-store`: puts back what the store has forgotten, when it was restored from an old copy or has lost its data. */
import type { RecoverStoreAnswer, RecoverStoreBody } from '../../api/contract.ts'
import { nodeOf } from '../../config/load.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import { type ChangeWatch, watchChange } from '../change-watch.ts'
import { checkLines } from '../check-lines.ts'
import { confirm } from '../confirm.ts'
import { anyAgent } from '../control-client.ts'
import type { ClusterFlags } from '../flags.ts'
import { openCluster } from '../local/open.ts'
import { operatorName } from '../operator.ts'
import { colourFor, EXIT, note, print, printJson, widthOf } from '../output.ts'
import { paintFor } from '../paint.ts'
import { recoveryLines } from '../recovery-plan.ts'
import { tellRefusal } from '../refusal.ts'

export interface RecoverStoreOptions extends ClusterFlags {
  readonly without?: readonly string[]
  readonly acceptDataLoss?: true
  readonly reason?: string
  readonly dryRun?: true
  readonly yes?: true
  readonly json?: true
}

export async function run(options: RecoverStoreOptions): Promise<number> {
  const { config } = await openCluster(options)
  const json = options.json === true
  for (const name of options.without ?? []) nodeOf(config, name)
  const ask = (body: RecoverStoreBody): Promise<RecoverStoreAnswer> =>
    anyAgent(config, { path: '/v1/recover-store', body: { ...wish(options), ...body, by: operatorName() } })
  const plan = await ask({ dryRun: true })
  if (!json) tellPlan(plan, options.dryRun === true ? print : note)
  if (plan.refusal !== null) return tellRefusal(plan, json)
  const { epoch } = plan
  if (epoch === null) throw new UnderstudyError('nothing-known', 'there is nothing that could be put back')
  if (options.dryRun === true) {
    if (json) printJson(plan)
    else for (const line of checkLines(plan.checks, paintFor(colourFor(process.stdout)))) print(line)
    return EXIT.done
  }
  if (!(await confirm(question(plan, epoch), options.yes === true))) {
    note('nothing was changed')
    return EXIT.failed
  }
  const watch = await watchChange(config.nodes)
  try {
    const done = await ask({ epoch })
    if (!json) print(`The store knows again what ${done.source} knows. An election begins in epoch ${epoch}.`)
    return await follow(done, epoch, watch, json)
  } finally {
    watch.close()
  }
}

/** That the election does not end by itself is not the recovery's failure: what it waits for is told by `why`. */
async function follow(
  done: RecoverStoreAnswer,
  epoch: number,
  watch: ChangeWatch,
  json: boolean,
): Promise<number> {
  const ending = await watch.ending({
    epoch: epoch - 1,
    refusedKind: 'store-recovery-refused',
    tell: ({ node, message }) => (json ? undefined : note(`  ${node}: ${message}`)),
  })
  if (json) printJson({ ...done, primary: ending.primary, epoch: ending.epoch })
  else print(`${ending.primary} is the primary of epoch ${ending.epoch}.`)
  return EXIT.done
}

function wish({ without, acceptDataLoss, reason }: RecoverStoreOptions): RecoverStoreBody {
  return {
    ...(without !== undefined && { without }),
    ...(acceptDataLoss === true && { acceptDataLoss: true }),
    ...(reason !== undefined && { reason }),
  }
}

function question({ source, losses }: RecoverStoreAnswer, epoch: number): string {
  const cost = losses.length === 0 ? '' : ', and lose what only the nodes know that are left out'
  return `Put back what ${source} knows, as an election in epoch ${epoch}${cost}?`
}

function tellPlan(plan: RecoverStoreAnswer, out: (line: string) => void): void {
  const stream = out === print ? process.stdout : process.stderr
  for (const line of recoveryLines(plan, { width: widthOf(stream), paint: paintFor(colourFor(stream)) }))
    out(line)
}
