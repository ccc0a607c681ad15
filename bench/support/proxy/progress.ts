/** Where a long run is, and when it has to end. */
import { loadavg } from 'node:os'

/** On standard error, so that the output is the result and nothing else. */
export class Progress {
  readonly #expectedSeconds: number
  readonly #deadlineMs: number
  readonly #startedAtMs = performance.now()
  readonly #rounds: number
  #late = false
  highestLoad = 0

  constructor(plan: {
    readonly rounds: number
    readonly expectedSeconds: number
    /** performance.now */
    readonly deadlineMs: number
  }) {
    this.#rounds = plan.rounds
    this.#expectedSeconds = plan.expectedSeconds
    this.#deadlineMs = plan.deadlineMs
  }

  /** False: the time is up; said once. */
  goesOn(round: number, what: string): boolean {
    const passed = (performance.now() - this.#startedAtMs) / 1_000
    this.highestLoad = Math.max(this.highestLoad, loadavg()[0] ?? 0)
    if (performance.now() > this.#deadlineMs) {
      if (!this.#late) tell(`the time is up: left out from here on, in round ${round}: ${what}`)
      this.#late = true
      return false
    }
    tell(
      `[${minutes(passed)} of about ${minutes(this.#expectedSeconds)}] round ${round}/${this.#rounds} ${what}`,
    )
    return true
  }
}

export function tell(line: string): void {
  console.error(line)
}

/** "2:05 min" */
export function minutes(seconds: number): string {
  const whole = Math.round(seconds)
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, '0')} min`
}
