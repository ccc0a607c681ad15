/**
 * One round: the clients write, faults are injected and healed as planned, the cluster has to become whole by itself within a bounded time,
 * and then the whole history of the round is checked against what every node has.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Checked } from '../test/lab/clients/checker.ts'
import { type ContractResult, checkContract } from '../test/lab/clients/contract.ts'
import { checkRound } from '../test/lab/clients/final.ts'
import type { Workload } from '../test/lab/clients/workload.ts'
import { faultOf } from '../test/lab/faults/catalogue.ts'
import type { PlannedFault } from '../test/lab/faults/fault.ts'
import type { Lab } from '../test/lab/lab.ts'
import { type Outage, outagesOf } from './outage.ts'
import type { PlannedRound } from './schedule.ts'

export interface RoundResult {
  readonly checked: Checked
  /** From the last heal until all nodes stream under the whole quorum again. */
  readonly healthyAfterMs: number
  readonly epochs: number
  readonly outages: readonly Outage[]
  /** What clients were told through the proxy; null without one. */
  readonly contract: ContractResult | null
  /** Faults that could not be injected or healed: the lab's own trouble. */
  readonly troubles: readonly string[]
}

/** The cluster does not become whole again by itself. */
export class DeadEnd extends Error {}

export interface RoundOptions {
  readonly deadEndMs: number
  /** Tells each fault as it happens. */
  readonly tell: (line: string) => void
}

/** A little life before and after the faults, so that both sides of each are in the history. */
const AFTER_MS = 500

export async function runRound(
  lab: Lab,
  workload: Workload,
  planned: PlannedRound,
  { deadEndMs, tell }: RoundOptions,
): Promise<RoundResult> {
  const before = await lab.status()
  const epochBefore = before?.epoch ?? 0
  tell(`    0.00 s  ${before?.primary} is primary of epoch ${epochBefore}`)
  await workload.begin()
  const beganAtMs = performance.now()
  const since = (): string => `${((performance.now() - beganAtMs) / 1_000).toFixed(2).padStart(6)} s`
  const troubles: string[] = []
  await Promise.all(
    planned.faults.map((fault) =>
      runFault(lab, fault, (line) => tell(`  ${since()}  ${line}`)).catch((error: unknown) => {
        troubles.push(`${fault.kind}: ${String(error)}`)
        tell(`  ${since()}  ${fault.kind}: ${String(error)}`)
      }),
    ),
  )
  await lab.mend()
  const mendedAtMs = performance.now()
  const status = await lab.healthy(deadEndMs).catch((error: Error) => {
    throw new DeadEnd(error.message)
  })
  const healthyAfterMs = performance.now() - mendedAtMs
  await sleep(AFTER_MS)
  await workload.end()
  const outages = outagesOf(workload.acknowledgedAtMs).map((outage) => ({
    ...outage,
    fromMs: outage.fromMs - beganAtMs,
  }))
  const checked = await checkRound(lab, workload)
  const epochs = ((await lab.status())?.epoch ?? status.epoch ?? 0) - epochBefore
  const isPlanned = planned.faults.every(({ kind }) => kind === 'switchover')
  const contract = lab.proxy === null ? null : checkContract(workload.operations, isPlanned)
  return { checked, healthyAfterMs, epochs, outages, contract, troubles }
}

async function runFault(lab: Lab, planned: PlannedFault, tell: (line: string) => void): Promise<void> {
  await sleep(planned.atMs)
  const { what, heal } = await faultOf(planned.kind).inject(lab, planned)
  const sentence = `${planned.kind}${what.startsWith(':') ? '' : ' '}${what}`.trimEnd()
  tell(`${sentence}${planned.forMs > 0 ? `, for ${planned.forMs} ms` : ''}`)
  if (planned.forMs === 0) return heal()
  await sleep(planned.forMs)
  await heal()
  tell(`healed: ${planned.kind}`)
}
