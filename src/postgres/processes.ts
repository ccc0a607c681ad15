/** The process list, from /proc (proc(5)): which processes belong to a data directory, and who they are. Linux only. */
import { readFileSync } from 'node:fs'
import { readdir, readFile, readlink, stat } from 'node:fs/promises'
import { basename } from 'node:path'
import { MARKER_VARIABLE } from './layout.ts'

export interface ProcessFacts {
  readonly pid: number
  readonly parent: number
  /** Ended but not yet reaped: nothing of it runs, although a signal to it still "succeeds". */
  readonly zombie: boolean
  /** The command line; PostgreSQL's children write their title there ("postgres: alpha: walsender …"). */
  readonly title: string
}

/** Null when there is no such process, or it ended while we looked. */
export async function readProcess(pid: number): Promise<ProcessFacts | null> {
  try {
    const [status, commandLine] = await Promise.all([
      readFile(`/proc/${pid}/stat`, 'latin1'),
      readFile(`/proc/${pid}/cmdline`, 'utf8'),
    ])
    // The name stands in parentheses and may itself contain some, so what follows the last one is counted.
    const fields = status.slice(status.lastIndexOf(')') + 2).split(' ')
    return {
      pid,
      parent: Number(fields[1]),
      zombie: fields[0] === 'Z' || fields[0] === 'X',
      title: commandLine.replaceAll('\0', ' ').trim(),
    }
  } catch {
    return null
  }
}

export async function isAlive(pid: number): Promise<boolean> {
  const found = await readProcess(pid)
  return found !== null && !found.zombie
}

/**
 * Whether the process works in `directory`: every process of PostgreSQL changes into its data directory and stays there, which a
 * process that got the number of a dead one does not. Compared by device and inode, so that links and renames do not matter.
 * False when it belongs to somebody else, whose working directory we may not read; postgres judges the same (EPERM: not ours).
 */
export async function worksIn(pid: number, directory: string): Promise<boolean> {
  try {
    const [own, wanted] = await Promise.all([stat(`/proc/${pid}/cwd`), stat(directory)])
    return own.dev === wanted.dev && own.ino === wanted.ino
  } catch {
    return false
  }
}

/**
 * Signals a process and its children at once. Synchronous, from /proc alone: what ends a primary in time must wait neither for a disk that
 * hangs nor for the threads that read it (I10). Children are of the kernel's own list (proc(5), task/<tid>/children).
 */
export function signalFamily(pid: number, signal: NodeJS.Signals): void {
  // The parent first: it must not start another child in place of one that ends.
  signalProcess(pid, signal)
  for (const child of childPids(pid)) signalProcess(child, signal)
}

/** A kernel without that list, or a process that has ended, has no children here: whoever waits for the end finds what is left. */
function childPids(pid: number): readonly number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').split(' ').filter(Boolean).map(Number)
  } catch {
    return []
  }
}

/** As `readMarker`, without waiting. */
export function hasMarker(pid: number, marker: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(`${MARKER_VARIABLE}=${marker}`)
  } catch {
    return false
  }
}

/** Whether its program is called postgres (or postmaster); a deleted program, after an upgrade under its feet, still counts. */
export async function isPostgres(pid: number): Promise<boolean> {
  try {
    const program = basename((await readlink(`/proc/${pid}/exe`)).replace(/ \(deleted\)$/, ''))
    return program === 'postgres' || program === 'postmaster'
  } catch {
    return false
  }
}

/**
 * The value of our marker in the environment that the process was started with. PostgreSQL's children overwrite that memory with
 * their title, so this works for postmasters, initdb and the like only.
 */
export async function readMarker(pid: number): Promise<string | null> {
  try {
    const environment = await readFile(`/proc/${pid}/environ`, 'utf8')
    const prefix = `${MARKER_VARIABLE}=`
    const entry = environment.split('\0').find((variable) => variable.startsWith(prefix))
    return entry === undefined ? null : entry.slice(prefix.length)
  } catch {
    return null
  }
}

/** Every living process of PostgreSQL that works in `directory`. One pass over the process list: a few milliseconds. */
export async function listPostgresIn(directory: string): Promise<readonly ProcessFacts[]> {
  const found: ProcessFacts[] = []
  for (const pid of await listPids()) {
    if (!(await worksIn(pid, directory)) || !(await isPostgres(pid))) continue
    const facts = await readProcess(pid)
    if (facts !== null && !facts.zombie) found.push(facts)
  }
  return found
}

/**
 * The children of a process, by the kernel's own list (proc(5), task/[tid]/children): one read, however many processes there are. It may
 * miss one while another one ends, so what must not be missed is also asked for elsewhere.
 */
export async function childrenOf(pid: number): Promise<readonly ProcessFacts[]> {
  const listed = await readFile(`/proc/${pid}/task/${pid}/children`, 'latin1').catch(() => null)
  const pids = listed === null ? await listPids() : listed.split(' ').filter(Boolean).map(Number)
  const found = await Promise.all(pids.map(readProcess))
  return found.filter((each): each is ProcessFacts => each?.parent === pid && !each.zombie)
}

/** When a process was started, in ticks since the machine was; with its number it names one process for ever. Null: there is none. */
export async function startTicksOf(pid: number): Promise<string | null> {
  try {
    const status = await readFile(`/proc/${pid}/stat`, 'latin1')
    const fields = status.slice(status.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' || fields[0] === 'X' ? null : (fields[19] ?? null)
  } catch {
    return null
  }
}

/** Every living process whose marker says that it was started for `nodeDir`. */
export async function listMarked(nodeDir: string): Promise<readonly ProcessFacts[]> {
  const found: ProcessFacts[] = []
  for (const pid of await listPids()) {
    if (pid === process.pid || (await readMarker(pid)) !== nodeDir) continue
    const facts = await readProcess(pid)
    if (facts !== null && !facts.zombie) found.push(facts)
  }
  return found
}

/** Whether the process holds a file below `directory` open. */
export async function hasOpenBelow(pid: number, directory: string): Promise<boolean> {
  const descriptors = await readdir(`/proc/${pid}/fd`).catch(() => [])
  for (const descriptor of descriptors) {
    const target = await readlink(`/proc/${pid}/fd/${descriptor}`).catch(() => '')
    if (target.startsWith(`${directory}/`)) return true
  }
  return false
}

async function listPids(): Promise<readonly number[]> {
  const names = await readdir('/proc').catch(() => [])
  return names.filter((name) => /^\d+$/.test(name)).map(Number)
}

/** False when there was nothing to signal, or it is not ours to signal. */
export function signalProcess(pid: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(pid, signal)
    return true
  } catch {
    return false
  }
}
