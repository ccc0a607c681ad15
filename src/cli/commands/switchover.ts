/** `understudy switchover`: a planned change of primary. The preflight is the agent's; what happens is followed until it is done. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { ClusterStatus, SwitchoverAnswer } from '../../api/contract.ts'
import { nodeOf } from '../../config/load.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import { askCluster } from '../api-client.ts'
import { confirm } from '../confirm.ts'
import { command } from '../control-client.ts'
import type { ClusterFlags } from '../flags.ts'
import { humanDuration } from '../humanise.ts'
import { type OpenCluster, openCluster } from '../local/open.ts'
import { colourFor, EXIT, note, print, printJson } from '../output.ts'
import { type Phase, phasesOf } from '../phases.ts'
import { createStepView } from '../steps.ts'

export interface SwitchoverOptions extends ClusterFlags {
  readonly to?: string
  readonly dryRun?: true
  readonly yes?: true
  readonly json?: true
}

const DEADLINE_MS = 60_000
const LOOK_EVERY_MS = 50

export async function run(options: SwitchoverOptions): Promise<number> {
  const cluster = await openCluster(options)
  const { config } = cluster
  if (options.to !== undefined) nodeOf(config, options.to)
  const primary = (await askCluster(config.nodes))?.primary ?? null
  if (primary === null) throw new UnderstudyError('no-primary', 'no agent knows of a primary')
  const ask = (dryRun: boolean): Promise<SwitchoverAnswer> =>
    command(config, nodeOf(config, primary), '/v1/switchover', {
      ...(options.to && { to: options.to }),
      dryRun,
    })
  const plan = await ask(true)
  if (options.dryRun === true) {
    if (options.json) printJson(plan)
    else
      print([`${plan.from} -> ${plan.to}: it could begin now`, ...plan.checks.map((check) => `  ${check}`)])
    return EXIT.done
  }
  if (!(await confirm(`Make ${plan.to} the primary instead of ${plan.from}?`, options.yes === true))) {
    note('nothing was changed')
    return EXIT.failed
  }
  await ask(false)
  return follow(cluster, plan, options.json === true)
}

async function follow(cluster: OpenCluster, plan: SwitchoverAnswer, json: boolean): Promise<number> {
  const view = createStepView({ stream: process.stderr, plain: json, colour: colourFor(process.stderr) })
  view.step('switchover', `${plan.from} -> ${plan.to}`)
  const startedAtMs = performance.now()
  try {
    const status = await waitForEnd(cluster, plan, startedAtMs, (text) => view.detail('switchover', text))
    const phases = await phasesOf(cluster.config.nodes, status.epoch ?? 0)
    const durationMs = Math.round(performance.now() - startedAtMs)
    const reached = status.primary === plan.to
    const words = reached
      ? `${plan.to} is the primary of epoch ${status.epoch}`
      : `${status.primary} is the primary, not ${plan.to}`
    if (reached) view.done('switchover', words, durationMs)
    else view.fail('switchover', words)
    view.close()
    if (json) printJson({ from: plan.from, to: status.primary, epoch: status.epoch, durationMs, phases })
    else print(phases.map(({ name, ms }: Phase) => `  ${name}: ${humanDuration(ms)}`))
    return reached ? EXIT.done : EXIT.failed
  } finally {
    view.close()
  }
}

async function waitForEnd(
  cluster: OpenCluster,
  plan: SwitchoverAnswer,
  startedAtMs: number,
  tell: (text: string) => void,
): Promise<ClusterStatus> {
  while (performance.now() - startedAtMs < DEADLINE_MS) {
    const status = await askCluster(cluster.config.nodes)
    if (status !== null && status.phase === 'steady' && (status.epoch ?? 0) > plan.epoch) return status
    if (status !== null) tell(`epoch ${status.epoch ?? '?'}, ${status.phase ?? '?'}`)
    await sleep(LOOK_EVERY_MS)
  }
  throw new UnderstudyError('timeout', `the switchover has not ended within ${DEADLINE_MS / 1_000} s`)
}
