/**
 * The parts of a local cluster as processes. They are found by their command line and not by files with numbers in them: a file can
 * be missing or stale after a SIGKILL at the wrong moment, the process list cannot.
 */
import { spawn } from 'node:child_process'
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, renameSync, statSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

export const MAIN_PROGRAM = fileURLToPath(new URL('../main.js', import.meta.url))

const ROTATE_LOG_BYTES = 16 * 1024 * 1024

export interface Part {
  /** store, proxy, or a node's name. */
  readonly name: string
  readonly kind: 'store' | 'agent' | 'proxy' | 'supervisor'
  /** Everything after the program's own name; also what it is found by. */
  readonly args: readonly string[]
}

/** The pid of the process that runs exactly this part, or null. Other users' processes are not readable and never match. */
export function findPart(part: Part): number | null {
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    const pid = Number(entry)
    if (pid === process.pid || !isPart(pid, part)) continue
    // Between fork() and exec() a child of the part has the part's command line: it is the parent that is meant.
    const parent = parentOf(pid)
    return isPart(parent, part) ? parent : pid
  }
  return null
}

/** An `understudy up` in the foreground that was told this directory, by name or by being started there. */
export function findForeground(directory: string): number | null {
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry) || Number(entry) === process.pid) continue
    const args = commandLine(Number(entry))
    const at = args.findIndex((each) => path.basename(each) === 'main.js')
    if (at <= 0 || args[at + 1] !== 'up' || isZombie(Number(entry))) continue
    const named = args.indexOf('--data', at)
    const data = named === -1 ? '.understudy' : (args[named + 1] ?? '')
    if (path.resolve(workingDirectory(Number(entry)), data) === directory) return Number(entry)
  }
  return null
}

function workingDirectory(pid: number): string {
  try {
    return readlinkSync(`/proc/${pid}/cwd`)
  } catch {
    return '/'
  }
}

export function isPart(pid: number, part: Part): boolean {
  const args = commandLine(pid)
  const at = args.findIndex((each) => path.basename(each) === 'main.js')
  return at > 0 && args.slice(at + 1).join('\0') === part.args.join('\0') && !isZombie(pid)
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return !isZombie(pid)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** In a session of its own, so that a Ctrl-C of the terminal reaches the supervisor only; output goes to a file, which needs no reader. */
export function startPart(part: Part, logFile: string): number {
  rotate(logFile)
  const log = openSync(logFile, 'a', 0o600)
  try {
    const child = spawn(process.execPath, [...nodeFlags(part), MAIN_PROGRAM, ...part.args], {
      detached: true,
      stdio: ['ignore', log, log],
      cwd: path.dirname(logFile),
    })
    child.on('error', () => {})
    child.unref()
    if (child.pid === undefined) throw new Error(`could not start ${process.execPath}`)
    return child.pid
  } finally {
    closeSync(log)
  }
}

/** Small heaps for small programs: Node would let garbage pile up to a size that suits a server with many gigabytes. */
function nodeFlags(part: Part): readonly string[] {
  // The proxy makes garbage with every byte that passes, and collecting it early would cost more than the memory.
  return part.kind === 'supervisor' || part.kind === 'proxy' ? [] : ['--max-semi-space-size=2']
}

/** true when it is gone within the deadline. */
export async function waitGone(pid: number, deadlineMs: number): Promise<boolean> {
  const until = performance.now() + deadlineMs
  while (isAlive(pid)) {
    if (performance.now() > until) return false
    await sleep(25)
  }
  return true
}

export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch {
    // Gone already: what was wanted is so.
  }
}

function commandLine(pid: number): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1)
  } catch {
    return []
  }
}

function isZombie(pid: number): boolean {
  return statFields(pid)?.[0]?.startsWith('Z') ?? true
}

/** 0: it is gone, or has none. */
function parentOf(pid: number): number {
  return Number(statFields(pid)?.[1] ?? 0)
}

/** State, parent and so on (proc(5)); null: it is gone. The name before them stands in parentheses and may itself contain some. */
function statFields(pid: number): readonly string[] | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return text.slice(text.lastIndexOf(')') + 2).split(' ')
  } catch {
    return null
  }
}

function rotate(file: string): void {
  try {
    if (statSync(file).size > ROTATE_LOG_BYTES) renameSync(file, `${file}.1`)
  } catch {
    // There is none yet.
  }
}
