/** Many seeds over worker processes: half of them 3 nodes and half 5, half quorum and half async. */
import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { RunOptions, RunResult } from './simulate.ts'

export interface SweepOptions {
  readonly firstSeed: number
  readonly seeds: number
  readonly minutes: number
  readonly jobs: number
}

export type Job = Pick<RunOptions, 'seed' | 'minutes' | 'nodes' | 'durability'>
export type Outcome = Omit<RunResult, 'lines'>

const PROGRESS_EVERY = 200

export function printed(simulatedMs: number): string {
  return `${(simulatedMs / 3_600_000).toFixed(1)} simulated hours`
}

/** What a seed runs depends on nothing but the seed, so that sweeps of any range agree on it. */
function jobOf(seed: number, minutes: number): Job {
  const kind = (seed - 1) % 4
  return { seed, minutes, nodes: kind % 2 === 0 ? 3 : 5, durability: kind < 2 ? 'quorum' : 'async' }
}

function replay({ seed, minutes, nodes, durability }: Job): string {
  return `npm run sim -- --seed ${seed} --minutes ${minutes} --nodes ${nodes} --durability ${durability} --trace`
}

class Totals {
  readonly #beganAtMs = Date.now()
  readonly #seeds: number
  done = 0
  simulatedMs = 0
  epochs = 0
  acknowledged = 0
  violations = 0
  slowestHealingMs = 0
  /** What happened: how often, and in which seed first. */
  readonly #coverage = new Map<string, { times: number; readonly seed: number }>()

  constructor(seeds: number) {
    this.#seeds = seeds
  }

  add(job: Job, outcome: Outcome): void {
    this.done++
    this.simulatedMs += outcome.simulatedMs
    this.epochs += outcome.epochs
    this.acknowledged += outcome.acknowledged
    this.slowestHealingMs = Math.max(this.slowestHealingMs, outcome.slowestHealingMs)
    for (const [what, times] of Object.entries(outcome.counts)) {
      const known = this.#coverage.get(what)
      if (known === undefined) this.#coverage.set(what, { times, seed: job.seed })
      else known.times += times
    }
    if (outcome.violation !== null) {
      this.violations++
      console.log(
        `seed ${job.seed}, ${job.nodes} nodes, ${job.durability}: ${outcome.violation}\n  ${replay(job)}`,
      )
    }
    if (this.done % PROGRESS_EVERY === 0) console.log(this.line())
  }

  coverage(): string {
    const rows = [...this.#coverage].sort(([a], [b]) => (a < b ? -1 : 1))
    return rows
      .map(([what, { times, seed }]) => `${String(times).padStart(9)}  ${what} (seed ${seed})`)
      .join('\n')
  }

  line(): string {
    const seconds = Math.round((Date.now() - this.#beganAtMs) / 1_000)
    const parts = [
      `${this.done} of ${this.#seeds} seeds`,
      printed(this.simulatedMs),
      `${this.epochs} epochs`,
      `${this.acknowledged} acknowledged commits`,
      `slowest healing ${Math.round(this.slowestHealingMs / 1_000)} s`,
      `${this.violations} violations`,
    ]
    return `${parts.join(', ')} in ${seconds} s`
  }
}

/** True when nothing was violated and every seed was run. */
export async function sweep({ firstSeed, seeds, minutes, jobs }: SweepOptions): Promise<boolean> {
  const totals = new Totals(seeds)
  let next = firstSeed
  const take = (): Job | null => (next < firstSeed + seeds ? jobOf(next++, minutes) : null)
  await Promise.all(
    Array.from({ length: jobs }, () => runWorker(take, (job, outcome) => totals.add(job, outcome))),
  )
  const complete = totals.done === seeds
  if (!complete) console.log(`${seeds - totals.done} seeds were not run: a worker ended early`)
  const clean = complete && totals.violations === 0
  console.log(totals.coverage())
  console.log(`${clean ? 'clean' : 'NOT CLEAN'}: ${totals.line()}`)
  return clean
}

/** One process that is given one seed after the other. */
function runWorker(take: () => Job | null, done: (job: Job, outcome: Outcome) => void): Promise<void> {
  const worker = fork(fileURLToPath(new URL('./sweep-worker.js', import.meta.url)))
  return new Promise((resolve) => {
    let job: Job | null = null
    const give = (): void => {
      job = take()
      if (job === null) worker.disconnect()
      else worker.send(job)
    }
    worker.on('message', (outcome) => {
      if (job !== null) done(job, outcome as Outcome)
      give()
    })
    worker.on('exit', () => resolve())
    give()
  })
}
