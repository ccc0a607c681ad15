/** `understudy switchover`: a planned change of primary. The preflight is the agent's; what happens is followed until it is done. */
import type { CancelAnswer, SwitchoverAnswer, SwitchoverBody } from '../../api/contract.ts'
import { nodeOf } from '../../config/load.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import { askCluster } from '../api-client.ts'
import { carryOut } from '../change-result.ts'
import { watchChange } from '../change-watch.ts'
import { checkLines } from '../check-lines.ts'
import { confirm } from '../confirm.ts'
import { anyAgent, command } from '../control-client.ts'
import type { ClusterFlags } from '../flags.ts'
import { type OpenCluster, openCluster } from '../local/open.ts'
import { operatorName } from '../operator.ts'
import { colourFor, EXIT, note, print, printJson } from '../output.ts'
import { paintFor } from '../paint.ts'
import { tellRefusal } from '../refusal.ts'

export interface SwitchoverOptions extends ClusterFlags {
  readonly to?: string
  readonly at?: string
  readonly cancel?: true
  readonly dryRun?: true
  readonly yes?: true
  readonly json?: true
}

type Ask = (body: SwitchoverBody) => Promise<SwitchoverAnswer>

export async function run(options: SwitchoverOptions): Promise<number> {
  const cluster = await openCluster(options)
  if (options.cancel === true) return cancel(cluster, options)
  const { config } = cluster
  if (options.to !== undefined) nodeOf(config, options.to)
  const status = await askCluster(config.nodes)
  if (status === null) throw new UnderstudyError('unreachable', 'no agent of the cluster answers')
  if (status.primary === null) throw new UnderstudyError('no-primary', 'no agent knows of a primary')
  const primary = nodeOf(config, status.primary)
  const ask: Ask = (body) =>
    command(config, primary, { path: '/v1/switchover', body: { ...body, by: operatorName() } })
  const wish = { ...(options.to && { to: options.to }), ...(options.at && { at: options.at }) }
  const plan = await ask({ ...wish, dryRun: true })
  if (plan.refusal !== null) return tellRefusal(plan, options.json === true)
  if (options.dryRun === true) return tellPlan(plan, options)
  if (options.json !== true) printChecks(plan, note)
  if (!(await confirm(question(plan), options.yes === true))) {
    note('nothing was changed')
    return EXIT.failed
  }
  return options.at === undefined
    ? begin(cluster, plan, ask, options.json === true)
    : schedule(plan, ask, options)
}

async function begin(cluster: OpenCluster, plan: SwitchoverAnswer, ask: Ask, json: boolean): Promise<number> {
  const { nodes } = cluster.config
  const { from, to, epoch, checks } = plan
  if (to === null || epoch === null) throw new UnderstudyError('no-primary', 'the agent knows of no primary')
  const watch = await watchChange(nodes)
  try {
    const change = { name: 'switchover', from, wanted: to, epoch, checks } as const
    return await carryOut({ ...change, ask: () => ask({ to, epoch }) }, watch, { nodes, json })
  } finally {
    watch.close()
  }
}

async function schedule(plan: SwitchoverAnswer, ask: Ask, options: SwitchoverOptions): Promise<number> {
  const { to, epoch, at } = plan
  const taken = await ask({
    ...(to !== null && { to }),
    ...(epoch !== null && { epoch }),
    ...(at !== null && { at }),
  })
  if (options.json) printJson(taken)
  else
    print(`${taken.to} becomes the primary at ${taken.at}; \`understudy switchover --cancel\` takes it back.`)
  return EXIT.done
}

async function cancel(cluster: OpenCluster, options: SwitchoverOptions): Promise<number> {
  const taken = await anyAgent<CancelAnswer>(cluster.config, {
    path: '/v1/switchover',
    method: 'DELETE',
    body: { by: operatorName() },
  })
  if (options.json) printJson({ cancelled: taken })
  else print(`The switchover to ${taken.to} that ${taken.by} asked for is taken back.`)
  return EXIT.done
}

function tellPlan(plan: SwitchoverAnswer, options: SwitchoverOptions): number {
  if (options.json) printJson(plan)
  else {
    print(`${plan.from} -> ${plan.to}: it could begin ${plan.at === null ? 'now' : `at ${plan.at}`}`)
    printChecks(plan, print)
  }
  return EXIT.done
}

function printChecks(plan: SwitchoverAnswer, out: (line: string) => void): void {
  const stream = out === print ? process.stdout : process.stderr
  for (const line of checkLines(plan.checks, paintFor(colourFor(stream)))) out(line)
}

function question({ from, to, at }: SwitchoverAnswer): string {
  return `Make ${to} the primary instead of ${from}${at === null ? '' : ` at ${at}`}?`
}
