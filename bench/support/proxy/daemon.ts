/** A program that is measured: in a session of its own, as the user that runs PostgreSQL, with its output in a file; ended with all it started. */
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { serverUser } from '../../../test/support/postgres-server.ts'
import { treeOf } from '../cluster-usage.ts'
import type { Target } from './pgbench.ts'

const READY_MS = 20_000
const END_PATIENCE_MS = 5_000

export class Daemon {
  readonly #child: ChildProcess
  readonly #logFile: string

  private constructor(child: ChildProcess, logFile: string) {
    this.#child = child
    this.#logFile = logFile
  }

  static start(
    command: readonly string[],
    options: { readonly directory: string; readonly logFile: string },
  ): Daemon {
    const [program = '', ...args] = command
    const log = openSync(options.logFile, 'a')
    try {
      const child = spawn(program, args, {
        cwd: options.directory,
        // Each its own session, whatever it is: the kernel shares the processor between sessions (autogroup).
        detached: true,
        stdio: ['ignore', log, log],
        env: { PATH: `${process.env['PATH'] ?? ''}:/usr/sbin`, HOME: options.directory, LC_ALL: 'C' },
        ...(serverUser() ?? {}),
      })
      child.on('error', () => {})
      return new Daemon(child, options.logFile)
    } finally {
      closeSync(log)
    }
  }

  get pids(): readonly number[] {
    return this.#child.pid === undefined ? [] : treeOf(this.#child.pid)
  }

  /** Until somebody can log in through it. Errors: what it said instead. */
  async ready(target: Target): Promise<void> {
    const untilMs = performance.now() + READY_MS
    for (;;) {
      const failure = await tryLogin(target)
      if (failure === null) return
      if (this.#child.exitCode !== null || performance.now() > untilMs) {
        const said = readFileSync(this.#logFile, 'utf8').trim().split('\n').slice(-8).join('\n')
        throw new Error(`${this.#child.spawnfile} does not serve: ${failure}\n${said}`)
      }
      await sleep(100)
    }
  }

  /** Can be called twice. */
  async stop(): Promise<void> {
    const { pid } = this.#child
    if (pid === undefined || this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const ended = new Promise((resolve) => this.#child.once('exit', resolve))
    process.kill(-pid, 'SIGTERM')
    await Promise.race([ended, sleep(END_PATIENCE_MS)])
    // Whatever is left of the group.
    try {
      process.kill(-pid, 'SIGKILL')
    } catch {
      // Nothing is.
    }
  }
}

async function tryLogin(target: Target): Promise<string | null> {
  const client = new pg.Client({
    host: target['PGHOST'],
    port: Number(target['PGPORT']),
    user: target['PGUSER'],
    database: target['PGDATABASE'],
    password: target['PGPASSWORD'],
    connectionTimeoutMillis: 2_000,
  })
  client.on('error', () => {})
  try {
    await client.connect()
    await client.query('SELECT 1')
    return null
  } catch (error) {
    return String(error)
  } finally {
    await client.end().catch(() => {})
  }
}
