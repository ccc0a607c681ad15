/**
 * The one postmaster of a node: spawned detached so that it outlives the agent, found again by its lock file, ended by signals.
 * Nothing that an agent of this node did not start is ever signalled.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { type FileHandle, mkdir, open, rename, stat } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Outcome, PostmasterState } from '../ports/postgres.ts'
import type { AdapterLog } from './adapter-log.ts'
import type { Binaries } from './binaries.ts'
import { cleanEnvironment, sparedEnvironment } from './environment.ts'
import { isGiven } from './given.ts'
import type { NodeLayout } from './layout.ts'
import { markLogs, readLogsSince } from './log-tail.ts'
import { DONE, type Failure, failed, fileFailure, ok } from './outcome.ts'
import { readPostmasterPid } from './postmaster-pid.ts'
import {
  childrenOf,
  hasMarker,
  isAlive,
  isPostgres,
  signalFamily,
  signalProcess,
  startTicksOf,
  worksIn,
} from './processes.ts'
import { endOrphans, isMarked, type RemainsOptions, removeStaleLocks } from './remains.ts'
import { explainStartFailure } from './start-failure.ts'
import { waitUntil } from './wait.ts'

const POLL_MS = 10
/** A start that takes longer is a recovery, of minutes perhaps: looking more seldom costs nobody anything. */
const QUICK_START_MS = 2_000
const RECOVERY_POLL_MS = 100
/** An adopted postmaster is not our child: nobody tells us that it ended. A look is one system call. */
const ADOPTED_POLL_MS = 200
/** Backends of a dead postmaster notice it at their next wait, mostly at once. */
const ORPHAN_PATIENCE_MS = 2_000
/** Of a fast stop, for peers that do not do their part of it; and between two looks for such afterwards. */
const PEER_PATIENCE_MS = 1_000
/** After SIGQUIT; then SIGKILL, which only a process inside a hanging file system survives. */
const QUIT_PATIENCE_MS = 1_000
const KILL_PATIENCE_MS = 5_000
/** libuv reports the end of a child a moment after it can be seen in /proc. */
const EXIT_REPORT_PATIENCE_MS = 1_000
/** Begun anew at the start that finds it larger, with the one before kept. */
const STARTUP_LOG_BYTES = 1024 * 1024

/** Between its spawn and its signal handlers a postmaster does a few system calls. */
const RELOAD_PATIENCE_MS = 5_000

const NEVER = new AbortController().signal

export interface PostmasterOptions {
  readonly layout: NodeLayout
  /** Also cluster_name, which stands in the title of every child. */
  readonly node: string
  readonly binaries: Binaries
  readonly port: number
  readonly socketDirectory: string
  readonly log: AdapterLog
  /** Called once per postmaster, when it has ended. */
  readonly onEnd: (what: string) => void
}

export function postmasterArguments({ dataDir, configFile }: NodeLayout): readonly string[] {
  return ['-D', dataDir, '-c', `config_file=${configFile}`]
}

interface Child {
  readonly pid: number
  readonly process: ChildProcess
  /** How it ended; null while it runs. */
  exit: string | null
}

export class Postmaster {
  readonly #options: PostmasterOptions
  readonly #remains: RemainsOptions
  #child: Child | null = null
  /** The postmaster that was last found to be ours: a look at each of its marks takes longer than all other looks of a cycle. */
  #known: { readonly pid: number; readonly startTicks: string } | null = null
  #adopted: { readonly pid: number; readonly timer: NodeJS.Timeout } | null = null

  constructor(options: PostmasterOptions) {
    this.#options = options
    const { nodeDir, dataDir } = options.layout
    this.#remains = { nodeDir, dataDir, node: options.node, log: options.log }
  }

  async inspect(): Promise<PostmasterState> {
    const { layout } = this.#options
    const file = await readPostmasterPid(layout.dataDir)
    if (file !== null && (await this.#isKnown(file.pid)))
      return { kind: 'running', pid: file.pid, status: file.status ?? 'starting' }
    // A number that a dead postmaster left and that another program has now is no postmaster.
    if (file === null || !(await this.#isOurDirectory(file.pid))) {
      // Between fork and its lock file only we know that it runs.
      const child = this.#runningChild()
      return child === null || !(await isAlive(child.pid))
        ? { kind: 'stopped' }
        : { kind: 'running', pid: child.pid, status: 'starting' }
    }
    if (this.#runningChild()?.pid !== file.pid && !(await isMarked(file.pid, layout.nodeDir))) {
      const reason = `process ${file.pid} runs ${layout.dataDir} and was not started by understudy`
      const mayEnd = await isGiven(layout.nodeDir, file.pid)
      return { kind: 'foreign', pid: file.pid, reason, ...(mayEnd && { mayEnd }) }
    }
    this.#adopt(file.pid)
    const startTicks = await startTicksOf(file.pid)
    this.#known = startTicks === null ? null : { pid: file.pid, startTicks }
    return { kind: 'running', pid: file.pid, status: file.status ?? 'starting' }
  }

  /** The same number with the same start is the same process, and that stays in its data directory. */
  async #isKnown(pid: number): Promise<boolean> {
    if (this.#known?.pid !== pid) return false
    return (await startTicksOf(pid)) === this.#known.startTicks
  }

  /**
   * Spawns, or goes on with the one that runs, and waits until it accepts connections. The caller did the preflight. `mayBegin` is asked
   * right before the spawn: what a predecessor left may have taken seconds to end.
   */
  async start(deadlineMs: number, mayBegin: () => boolean): Promise<Outcome<{ readonly pid: number }>> {
    const beganAt = performance.now()
    let before = await this.inspect()
    if (before.kind === 'running' && before.status === 'stopping') {
      await this.#waitForEnd(before.pid, deadlineMs)
      before = await this.inspect()
    }
    if (before.kind === 'foreign') return failed('foreign-postmaster', before.reason)
    const logs = await markLogs(this.#options.layout.logDir)
    if (before.kind === 'stopped') {
      const cleared = await this.#clearRemains()
      if (cleared.kind === 'failed') return cleared
      const spawned = await this.#spawn(mayBegin)
      if (spawned.kind === 'failed') return spawned
    }
    for (;;) {
      const now = await this.inspect()
      if (now.kind === 'running' && (now.status === 'ready' || now.status === 'standby'))
        return ok({ pid: now.pid })
      if (now.kind !== 'running') return this.#explain(logs)
      const elapsedMs = performance.now() - beganAt
      if (elapsedMs >= deadlineMs) {
        return failed(
          'timeout',
          `PostgreSQL (process ${now.pid}) did not accept connections within ${deadlineMs} ms and goes on starting`,
        )
      }
      await sleep(elapsedMs < QUICK_START_MS ? POLL_MS : RECOVERY_POLL_MS)
    }
  }

  async stop(mode: 'fast' | 'immediate', deadlineMs: number, hasten: AbortSignal = NEVER): Promise<Outcome> {
    const quitKnown = (): void => this.#quitKnown()
    hasten.addEventListener('abort', quitKnown, { once: true })
    if (mode === 'immediate') quitKnown()
    try {
      return await this.#stop(mode, deadlineMs, hasten)
    } finally {
      hasten.removeEventListener('abort', quitKnown)
    }
  }

  async #stop(mode: 'fast' | 'immediate', deadlineMs: number, hasten: AbortSignal): Promise<Outcome> {
    const state = await this.inspect()
    if (state.kind === 'foreign' && state.mayEnd !== true) return failed('foreign-postmaster', state.reason)
    if (state.kind === 'stopped') return this.#endOrphans(0)
    const { pid } = state
    let ended = false
    if (mode === 'fast' && !hasten.aborted) {
      signalProcess(pid, 'SIGINT')
      ended = await this.#waitForFastEnd(pid, deadlineMs, hasten)
      if (!ended) this.#say('warn', 'PostgreSQL did not stop in time: stopping it at once', { pid })
    }
    if (!ended) {
      signalFamily(pid, 'SIGQUIT')
      ended = await this.#waitForEnd(pid, Math.min(deadlineMs, QUIT_PATIENCE_MS))
    }
    if (!ended) {
      this.#say('warn', 'PostgreSQL did not end when asked to: killing it', { pid })
      signalProcess(pid, 'SIGKILL')
      if (!(await this.#waitForEnd(pid, KILL_PATIENCE_MS))) {
        return failed(
          'postgres-failed',
          `process ${pid} does not end, even when killed: is its disk hanging?`,
        )
      }
    }
    return this.#endOrphans(ended ? ORPHAN_PATIENCE_MS : 0)
  }

  async reload(): Promise<Outcome> {
    const state = await this.inspect()
    if (state.kind === 'foreign') return failed('foreign-postmaster', state.reason)
    if (state.kind === 'stopped')
      return failed('connect-failed', 'PostgreSQL does not run: nothing to reload')
    // Before a postmaster has written its status it has no handler for signals either, and SIGHUP would end it.
    const { dataDir } = this.#options.layout
    const listens = async (): Promise<boolean> => (await readPostmasterPid(dataDir))?.status != null
    if (!(await waitUntil(RELOAD_PATIENCE_MS, listens)))
      return failed('timeout', 'PostgreSQL has only just been started: nothing was reloaded')
    signalProcess(state.pid, 'SIGHUP')
    return DONE
  }

  /** Stops watching; PostgreSQL goes on. */
  close(): void {
    if (this.#adopted !== null) clearInterval(this.#adopted.timer)
    this.#adopted = null
    this.#child?.process.removeAllListeners()
  }

  /** What was known before anything was looked up: our own child, or one that was adopted and carries our mark. */
  #quitKnown(): void {
    const child = this.#runningChild()
    if (child !== null) signalFamily(child.pid, 'SIGQUIT')
    else if (this.#adopted !== null && hasMarker(this.#adopted.pid, this.#options.layout.nodeDir))
      signalFamily(this.#adopted.pid, 'SIGQUIT')
  }

  #runningChild(): Child | null {
    return this.#child !== null && this.#child.exit === null ? this.#child : null
  }

  async #isOurDirectory(pid: number): Promise<boolean> {
    const { dataDir } = this.#options.layout
    return (await worksIn(pid, dataDir)) && (await isPostgres(pid)) && (await isAlive(pid))
  }

  async #spawn(mayBegin: () => boolean): Promise<Outcome> {
    const { layout, binaries } = this.#options
    // A file and not a pipe: PostgreSQL outlives us, and would be ended by writing into a pipe that nobody reads.
    let output: FileHandle
    try {
      await mkdir(layout.logDir, { recursive: true, mode: 0o700 })
      await rotateStartupLog(layout.startupLog)
      output = await open(layout.startupLog, 'a', 0o600)
    } catch (error) {
      return fileFailure(error, layout.startupLog)
    }
    try {
      const env = { ...cleanEnvironment(layout.nodeDir, binaries.env), ...sparedEnvironment() }
      if (!mayBegin()) return failed('timeout', 'the lease of the primary would have run out first')
      const spawned = spawn(binaries.postgres, postmasterArguments(layout), {
        cwd: '/',
        env,
        detached: true,
        stdio: ['ignore', output.fd, output.fd],
      })
      return await this.#follow(spawned)
    } finally {
      await output.close()
    }
  }

  #follow(spawned: ChildProcess): Promise<Outcome> {
    return new Promise((resolve) => {
      spawned.once('error', (error) => resolve(fileFailure(error, this.#options.binaries.postgres)))
      spawned.once('spawn', () => {
        const { pid } = spawned
        if (pid === undefined) return
        const child: Child = { pid, process: spawned, exit: null }
        this.#child = child
        spawned.once('exit', (code, signal) => {
          child.exit = signal === null ? `exit code ${code ?? '?'}` : `signal ${signal}`
          this.#options.onEnd(`the postmaster (process ${pid}) ended with ${child.exit}`)
        })
        // Our event loop must be able to end while it runs on.
        spawned.unref()
        resolve(DONE)
      })
    })
  }

  #adopt(pid: number): void {
    if (this.#runningChild()?.pid === pid || this.#adopted?.pid === pid) return
    if (this.#adopted !== null) clearInterval(this.#adopted.timer)
    this.#say('info', 'going on with the PostgreSQL that runs', { pid })
    const look = async (): Promise<void> => {
      if (await isAlive(pid)) return
      if (this.#adopted?.pid !== pid) return
      clearInterval(this.#adopted.timer)
      this.#adopted = null
      this.#options.onEnd(`the postmaster (process ${pid}) ended`)
    }
    const timer = setInterval(() => void look(), ADOPTED_POLL_MS)
    timer.unref()
    this.#adopted = { pid, timer }
  }

  /**
   * A fast shutdown waits for peers: for each standby until it has flushed the last WAL, and for a client that connected when the shutdown
   * had begun until it has said who it is (authentication_timeout; version 18 ends those by itself). Who can do that has done it within
   * milliseconds; who is cut off or hangs must not be waited for.
   */
  async #waitForFastEnd(pid: number, deadlineMs: number, hasten: AbortSignal): Promise<boolean> {
    const deadlineAt = performance.now() + deadlineMs
    for (;;) {
      const leftMs = deadlineAt - performance.now()
      if (await this.#waitForEnd(pid, Math.min(leftMs, PEER_PATIENCE_MS), hasten)) return true
      if (hasten.aborted || leftMs <= PEER_PATIENCE_MS) return false
      for (const child of await childrenOf(pid))
        if (waitsForPeer(child.title)) signalProcess(child.pid, 'SIGTERM')
    }
  }

  /** False when it goes on after that time, or when the waiting was aborted. */
  async #waitForEnd(pid: number, patienceMs: number, hasten: AbortSignal = NEVER): Promise<boolean> {
    let ended = false
    await waitUntil(patienceMs, async () => {
      ended = !(await isAlive(pid))
      return ended || hasten.aborted
    })
    return ended
  }

  async #clearRemains(): Promise<Outcome> {
    const orphans = await this.#endOrphans(ORPHAN_PATIENCE_MS)
    if (orphans.kind === 'failed') return orphans
    const { socketDirectory, port } = this.#options
    await removeStaleLocks(this.#remains, { directory: socketDirectory, port })
    return DONE
  }

  #endOrphans(patienceMs: number): Promise<Outcome> {
    return endOrphans(this.#remains, patienceMs)
  }

  async #explain(logs: ReadonlyMap<string, number>): Promise<Failure> {
    const { logDir, startupLog } = this.#options.layout
    const child = this.#child
    await waitUntil(EXIT_REPORT_PATIENCE_MS, async () => child === null || child.exit !== null)
    const gained = await readLogsSince(logDir, logs)
    return explainStartFailure({
      startup: gained.get(startupLog) ?? '',
      log: [...gained].flatMap(([path, text]) => (path === startupLog ? [] : [text])).join('\n'),
      exit: this.#child?.exit ?? 'an unknown exit code',
      logDir,
    })
  }

  #say(level: 'info' | 'warn', message: string, fields: Readonly<Record<string, string | number>>): void {
    this.#options.log({ level, message, fields: { node: this.#options.node, ...fields } })
  }
}

/** A walsender, or one that does not know yet whom it serves: until then it bears the title of the postmaster. */
function waitsForPeer(title: string): boolean {
  return title.includes(': walsender ') || !title.startsWith('postgres: ')
}

async function rotateStartupLog(path: string): Promise<void> {
  const found = await stat(path).catch(() => null)
  if (found !== null && found.size > STARTUP_LOG_BYTES) await rename(path, `${path}.old`)
}
