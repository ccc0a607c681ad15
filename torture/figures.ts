/** The sums of a run, and how they are printed. */
import { isBroken } from '../test/lab/clients/checker.ts'
import type { ContractResult, Told } from '../test/lab/clients/contract.ts'
import { median } from './outage.ts'
import type { RoundResult } from './round.ts'
import type { PlannedRound } from './schedule.ts'

export class Figures {
  readonly #injected = new Map<string, number>()
  readonly #healthyAfterMs: number[] = []
  readonly #outagesMs: number[] = []
  #rounds = 0
  #epochs = 0
  #acknowledged = 0
  #failed = 0
  #unknown = 0
  #unknownPresent = 0
  #exposed = 0
  #violations = 0
  #lostReadings = 0
  readonly #told = new Map<Told, number>()
  #breaches = 0
  /** Rounds in which the primary changed by switchovers alone, and those of them that no client noticed. */
  #planned = 0
  #unnoticed = 0

  add(planned: PlannedRound, result: RoundResult): void {
    const { checked } = result
    this.#rounds++
    for (const { kind } of planned.faults) this.#injected.set(kind, (this.#injected.get(kind) ?? 0) + 1)
    this.#healthyAfterMs.push(result.healthyAfterMs)
    this.#epochs += result.epochs
    const [longest] = result.outages
    if (longest !== undefined && result.epochs > 0) this.#outagesMs.push(longest.ms)
    this.#acknowledged += checked.counts.acknowledged
    this.#failed += checked.counts.failed
    this.#unknown += checked.counts.unknown
    this.#unknownPresent += checked.unknownPresent
    this.#exposed += checked.exposed.length
    this.#violations += checked.violations.filter(isBroken).length
    this.#lostReadings += checked.violations.length - checked.violations.filter(isBroken).length
    if (result.contract !== null) this.#addContract(planned, result, result.contract)
  }

  #addContract(planned: PlannedRound, { epochs }: RoundResult, { counts, breaches }: ContractResult): void {
    this.#breaches += breaches.length
    for (const [told, times] of Object.entries(counts))
      this.#told.set(told as Told, (this.#told.get(told as Told) ?? 0) + times)
    if (epochs === 0 || !planned.faults.every(({ kind }) => kind === 'switchover')) return
    this.#planned += epochs
    if (breaches.length === 0) this.#unnoticed += epochs
  }

  lines(): readonly string[] {
    const faults = [...this.#injected].sort((a, b) => b[1] - a[1]).map(([kind, times]) => `${kind} ${times}`)
    const total = [...this.#injected.values()].reduce((sum, each) => sum + each, 0)
    return [
      `${this.#rounds} rounds, ${total} faults: ${faults.join(', ')}`,
      `epochs: ${this.#epochs}`,
      `writes: ${this.#acknowledged} acknowledged, ${this.#failed} failed, ${this.#unknown} unknown (${this.#unknownPresent} of these are there)`,
      `acknowledged and lost: ${this.#exposed} within the exposure of async mode; violations: ${this.#violations}; shown to readers and lost, never acknowledged: ${this.#lostReadings}`,
      `longest write outage of a round that changed the epoch: median ${seconds(median(this.#outagesMs))}, longest ${seconds(maximum(this.#outagesMs))}`,
      ...this.#contractLines(),
      `whole again after the last heal: median ${seconds(median(this.#healthyAfterMs))}, longest ${seconds(maximum(this.#healthyAfterMs))}`,
    ]
  }

  #contractLines(): readonly string[] {
    if (this.#told.size === 0) return []
    const told = (what: Told): number => this.#told.get(what) ?? 0
    return [
      `through the proxy: ${told('inDoubt')} in doubt (08007), ${told('lost')} lost (40001), ${told('heldTooLong')} held too long (57P03), ${told('queueFull')} too many (53300), ${told('patience')} left by the client, ${told('own')} of the server’s own; not in the contract: ${this.#breaches}`,
      `planned switchovers without an error: ${this.#unnoticed} of ${this.#planned}`,
    ]
  }
}

function maximum(numbers: readonly number[]): number | null {
  return numbers.length === 0 ? null : Math.max(...numbers)
}

function seconds(ms: number | null): string {
  return ms === null ? '-' : `${(ms / 1_000).toFixed(2)} s`
}
