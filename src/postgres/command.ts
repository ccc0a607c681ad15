/** Runs a short program (initdb, openssl, postgres --version) to its end, with a deadline, in a process group of its own. */
import { spawn } from 'node:child_process'
import { systemErrorCode } from './outcome.ts'

export interface CommandOptions {
  readonly env: Readonly<Record<string, string>>
  readonly deadlineMs: number
  readonly cwd?: string
  /** Written to standard input: the way for what must not stand in a process list. */
  readonly input?: string
  readonly signal?: AbortSignal
  /** Bytes of each output that are kept, from its end. */
  readonly keepOutput?: number
}

export type CommandResult =
  | {
      readonly kind: 'exited'
      readonly exitCode: number | null
      readonly stdout: string
      readonly stderr: string
    }
  | { readonly kind: 'notFound' }
  | { readonly kind: 'notPermitted' }
  /** Ended by us: the deadline passed or the signal was aborted. */
  | { readonly kind: 'interrupted'; readonly reason: 'deadline' | 'aborted'; readonly stderr: string }

/** More than this of output is of no use to a reader of an error and is dropped from the front. */
const KEPT_OUTPUT = 64 * 1024

/** Never rejects. The whole process group is killed at the deadline, since initdb has children of its own. */
export function runCommand(
  file: string,
  args: readonly string[],
  options: CommandOptions,
): Promise<CommandResult> {
  if (options.signal?.aborted === true) {
    return Promise.resolve({ kind: 'interrupted', reason: 'aborted', stderr: '' })
  }
  return new Promise((resolve) => {
    let stdout = ''
    let stderr = ''
    const kept = options.keepOutput ?? KEPT_OUTPUT
    let ended: 'deadline' | 'aborted' | null = null
    const child = spawn(file, args, {
      cwd: options.cwd ?? '/',
      env: options.env,
      detached: true,
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    const end = (reason: 'deadline' | 'aborted'): void => {
      ended ??= reason
      killGroup(child.pid)
    }
    const onAbort = (): void => end('aborted')
    const timer = setTimeout(() => end('deadline'), options.deadlineMs)
    options.signal?.addEventListener('abort', onAbort, { once: true })
    const settle = (result: CommandResult): void => {
      clearTimeout(timer)
      options.signal?.removeEventListener('abort', onAbort)
      resolve(result)
    }
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout = (stdout + text).slice(-kept)
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(-kept)
    })
    // A program that ends before it has read its input breaks the pipe; its exit code says what happened.
    child.stdin.on('error', () => undefined)
    child.stdin.end(options.input ?? '')
    child.on('error', (error) => settle({ kind: spawnFailure(error) }))
    child.on('close', (exitCode) =>
      settle(
        ended === null
          ? { kind: 'exited', exitCode, stdout, stderr }
          : { kind: 'interrupted', reason: ended, stderr },
      ),
    )
  })
}

function spawnFailure(error: Error): 'notFound' | 'notPermitted' {
  return systemErrorCode(error) === 'EACCES' ? 'notPermitted' : 'notFound'
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // Already gone: that is what was wanted.
  }
}

/** The last `count` lines that say something. */
export function lastLines(text: string, count: number): string {
  return text
    .split('\n')
    .filter((line) => line.trim() !== '')
    .slice(-count)
    .join('\n')
}
