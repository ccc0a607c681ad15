/** One run of pgbench, as numbers: its own report, and with `latencies` its log of every transaction ("Per-Transaction Logging"). */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'

export type Mode = 'simple' | 'extended' | 'prepared'

/** Where it connects to, as libpq's environment has it. */
export type Target = Readonly<Record<`PG${string}`, string>>

export interface PgbenchRun {
  readonly script: 'select-only' | 'tpcb-like'
  readonly mode: Mode
  readonly clients: number
  readonly seconds: number
  /** Keeps the time of each transaction, for percentiles; costs pgbench some of its processor time. */
  readonly latencies: boolean
}

export interface PgbenchResult {
  readonly transactions: number
  readonly tps: number
  readonly meanMs: number
  /** Sorted; empty without `latencies`. */
  readonly latenciesMs: readonly number[]
}

/** More threads than clients is an error; and the machine's other half is for the servers. */
const THREADS = 2

export class Pgbench {
  readonly #program: string

  private constructor(program: string) {
    this.#program = program
  }

  /** Debian's, which is not in the PATH everywhere. Errors: that there is none. */
  static find(): Pgbench {
    const debian = '/usr/lib/postgresql/15/bin/pgbench'
    const program = existsSync(debian) ? debian : 'pgbench'
    if (spawnSync(program, ['--version']).status === 0) return new Pgbench(program)
    throw new Error('there is no pgbench; apt install postgresql-15, or postgresql-contrib')
  }

  async initialise(target: Target, scale: number): Promise<void> {
    await this.#run(target, ['-i', '-q', '-s', String(scale)], scale * 5 + 60)
  }

  /** Errors: what pgbench said, when a client failed or it did not end in time. */
  async run(
    target: Target,
    { script, mode, clients, seconds, latencies }: PgbenchRun,
  ): Promise<PgbenchResult> {
    const directory = latencies ? mkdtempSync(path.join(tmpdir(), 'understudy-pgbench-')) : null
    try {
      const output = await this.#run(
        target,
        [
          ...[
            '-n',
            '-b',
            script,
            '-M',
            mode,
            '-c',
            String(clients),
            '-j',
            String(Math.min(THREADS, clients)),
          ],
          ...['-T', String(seconds + loginSeconds(clients))],
          ...(directory === null ? [] : ['-l', '--log-prefix', path.join(directory, 'log')]),
        ],
        seconds + 30 + clients / 20,
      )
      const transactions = numberIn(output, /actually processed: (\d+)/)
      if (transactions === 0) throw new Error(`pgbench: ${clients} logins took longer than its time`)
      return {
        transactions,
        tps: numberIn(output, /tps = ([\d.]+)/),
        meanMs: numberIn(output, /latency average = ([\d.]+)/),
        latenciesMs: directory === null ? [] : readLatencies(directory),
      }
    } finally {
      if (directory !== null) rmSync(directory, { recursive: true, force: true })
    }
  }

  #run(target: Target, args: readonly string[], deadlineSeconds: number): Promise<string> {
    const child = spawn(this.#program, args, {
      env: { PATH: process.env['PATH'], ...target },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: Math.ceil(1_000 * deadlineSeconds),
      killSignal: 'SIGKILL',
    })
    let output = ''
    let complaints = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      complaints = (complaints + text).slice(-4_000)
    })
    return new Promise((resolve, reject) => {
      child.once('error', reject)
      child.once('close', (code, signal) => {
        if (code === 0) resolve(output)
        else reject(new Error(`pgbench ${args.join(' ')} ended with ${code ?? signal}: ${complaints.trim()}`))
      })
    })
  }
}

/** They count in the time that pgbench is given, and not in what it reports; a thousand take seconds. */
export function loginSeconds(clients: number): number {
  return Math.round(clients / 200)
}

function numberIn(output: string, pattern: RegExp): number {
  return Number(pattern.exec(output)?.[1] ?? Number.NaN)
}

/** The third column is the time in microseconds. */
function readLatencies(directory: string): readonly number[] {
  const all: number[] = []
  for (const file of readdirSync(directory))
    for (const line of readFileSync(path.join(directory, file), 'latin1').split('\n')) {
      const microseconds = Number(line.split(' ', 3)[2])
      if (microseconds > 0) all.push(microseconds / 1_000)
    }
  return all.sort((a, b) => a - b)
}

/** `sorted` in ascending order; `share` between 0 and 1. NaN of nothing. */
export function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}
