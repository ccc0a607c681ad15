/** Starts the parts of a lab as processes of their own, at their place of the network, with their output in a file. */
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, existsSync, openSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

/** The checkout: this file is in it, as it was written or compiled. */
export const ROOT = findRoot(path.dirname(fileURLToPath(import.meta.url)))
/** The built program. */
export const MAIN = path.join(ROOT, 'dist', 'src', 'cli', 'main.js')

function findRoot(directory: string): string {
  return existsSync(path.join(directory, 'package.json')) ? directory : findRoot(path.dirname(directory))
}

export interface Program {
  readonly pid: number
  /** Its own end, by itself or by a signal; never rejects. */
  readonly ended: Promise<string>
  /** How it ended; null while it runs. */
  outcome(): string | null
}

export interface ProgramOptions {
  readonly command: readonly string[]
  readonly directory: string
  readonly logFile: string
  readonly env: Readonly<Record<string, string>>
}

/** In a session of its own: a Ctrl-C of the terminal is for the test, which then ends everything in order. */
export function startProgram({ command, directory, logFile, env }: ProgramOptions): Program {
  const [program = '', ...args] = command
  const log = openSync(logFile, 'a', 0o644)
  let child: ChildProcess
  try {
    child = spawn(program, args, {
      cwd: directory,
      detached: true,
      stdio: ['ignore', log, log],
      env: { ...inherited(), ...env },
    })
  } finally {
    closeSync(log)
  }
  let outcome: string | null = null
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(`could not be started: ${error.message}`))
    child.once('exit', (code, signal) => resolve(code === null ? String(signal) : `exit code ${code}`))
  }).then((how) => {
    outcome = how
    return how
  })
  if (child.pid === undefined) throw new Error(`${program} could not be started`)
  return { pid: child.pid, ended, outcome: () => outcome }
}

/** What a service manager would give, and the mark by which a test run knows its processes; nothing else of this process. */
function inherited(): Record<string, string> {
  const kept = ['PATH', 'TMPDIR', 'UNDERSTUDY_TEST_RUN']
  return Object.fromEntries(kept.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])))
}
