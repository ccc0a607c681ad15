/**
 * The processes of a local cluster, from /proc and not from what the product says of itself: a test must also see what the product
 * has lost sight of. A process belongs to a cluster when its command line, its environment or its working directory names the
 * test's own directory.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

export type ProcessKind =
  | 'up'
  | 'supervisor'
  | 'store'
  | 'proxy'
  /** One of several of a proxy. */
  | 'proxyWorker'
  | 'agent'
  | 'postmaster'
  /** A child of a postmaster, whatever it does. */
  | 'backend'
  /** initdb and what it runs, until the first data directory is whole. */
  | 'initdb'
  | 'clone'
  | 'other'

export interface ClusterProcess {
  readonly pid: number
  readonly parent: number
  readonly kind: ProcessKind
  /** null: it belongs to no single node. */
  readonly node: string | null
  readonly command: string
}

export function processesOf(directories: readonly string[]): readonly ClusterProcess[] {
  const found: ClusterProcess[] = []
  for (const entry of readdirSync('/proc')) {
    const pid = Number(entry)
    if (!Number.isInteger(pid) || pid === process.pid) continue
    const status = read(pid, 'stat')
    const fields = status.slice(status.lastIndexOf(')') + 2).split(' ')
    if (status === '' || fields[0] === 'Z' || fields[0] === 'X') continue
    const args = read(pid, 'cmdline').split('\0').slice(0, -1)
    const environment = read(pid, 'environ')
    const cwd = link(pid, 'cwd')
    const belongs = directories.some(
      (directory) =>
        args.some((each) => each.includes(directory)) ||
        environment.includes(directory) ||
        isBelow(cwd, directory),
    )
    if (!belongs) continue
    const command = args.join(' ').trim()
    found.push({ pid, parent: Number(fields[1]), ...classify(pid, args, environment, cwd), command })
  }
  return found.map((each) => (isJustForked(each, found) ? { ...each, kind: 'backend' } : each))
}

/**
 * Between fork() and exec(), or the moment in which it writes its title, a child has its parent's command line: it is not a second
 * postmaster or agent. On a busy machine such moments are long enough to be seen.
 */
function isJustForked(each: ClusterProcess, all: readonly ClusterProcess[]): boolean {
  return all.some((other) => other.pid === each.parent && other.command === each.command)
}

function classify(
  pid: number,
  args: readonly string[],
  environment: string,
  cwd: string,
): Pick<ClusterProcess, 'kind' | 'node'> {
  const main = args.findIndex((each) => each.endsWith('/main.js'))
  const program = path.basename(link(pid, 'exe').replace(/ \(deleted\)$/, ''))
  if (main > 0 && program === 'node') return classifyOwn(args.slice(main + 1))
  const node = /\bUNDERSTUDY_NODE=[^\0]*\/nodes\/([^/\0]+)/.exec(environment)?.[1] ?? nodeOfPath(cwd)
  if (args.some((each) => each.endsWith('/clone-worker.js'))) return { kind: 'clone', node }
  if (program === 'initdb') return { kind: 'initdb', node }
  if (program !== 'postgres') return { kind: 'other', node }
  // Children write their title over the command line; a postmaster keeps it.
  if (args[0]?.startsWith('postgres: ')) return { kind: 'backend', node: nodeOfPath(cwd) }
  if (['--single', '--boot', '--check', '-V'].some((flag) => args.includes(flag)))
    return { kind: 'initdb', node }
  return { kind: 'postmaster', node: nodeOfPath(args[args.indexOf('-D') + 1] ?? '') ?? node }
}

function classifyOwn(args: readonly string[]): Pick<ClusterProcess, 'kind' | 'node'> {
  switch (args[0]) {
    case 'up':
      return { kind: 'up', node: null }
    case 'supervise':
      return { kind: 'supervisor', node: null }
    case 'store':
      return { kind: 'store', node: null }
    case 'proxy':
      return { kind: args.includes('--worker') ? 'proxyWorker' : 'proxy', node: null }
    case 'agent':
      return { kind: 'agent', node: args[args.indexOf('--node') + 1] ?? null }
    default:
      return { kind: 'other', node: null }
  }
}

function nodeOfPath(text: string): string | null {
  return /\/nodes\/([^/]+)/.exec(text)?.[1] ?? null
}

/** Ends everything of the directories at once, until nothing is left. */
export async function endAll(directories: readonly string[]): Promise<void> {
  const deadline = performance.now() + 10_000
  // Once is not enough: a supervisor may have started something between the look and the signal.
  for (let left = processesOf(directories); left.length > 0; left = processesOf(directories)) {
    if (performance.now() > deadline) throw new Error(`these do not end:\n${describeProcesses(left)}`)
    for (const { pid } of left) signal(pid, 'SIGKILL')
    await sleep(10)
  }
}

export function describeProcesses(processes: readonly ClusterProcess[]): string {
  return processes
    .map(({ pid, parent, kind, node, command }) =>
      `  ${pid} (of ${parent}) ${kind} ${node ?? ''}: ${command}`.slice(0, 200),
    )
    .join('\n')
}

/** False when it is gone already. */
export function signal(pid: number, name: NodeJS.Signals): boolean {
  try {
    process.kill(pid, name)
    return true
  } catch {
    return false
  }
}

export function isRunning(pid: number): boolean {
  const status = read(pid, 'stat')
  return status !== '' && !/^[ZX]/.test(status.slice(status.lastIndexOf(')') + 2))
}

/** How long ago it was started; proc(5): counted in hundredths of a second since the machine was. */
export function ageMs(pid: number): number {
  const status = read(pid, 'stat')
  const startedTicks = Number(status.slice(status.lastIndexOf(')') + 2).split(' ')[19])
  const uptimeSeconds = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0])
  return uptimeSeconds * 1_000 - startedTicks * 10
}

/** 0 is root. */
export function userOf(pid: number): number {
  return Number(/^Uid:\t(\d+)/m.exec(read(pid, 'status'))?.[1] ?? -1)
}

/** Raw command line and environment of a process, for looking for what must not be there. */
export function visibleText(pid: number): string {
  return read(pid, 'cmdline') + read(pid, 'environ')
}

function isBelow(place: string, directory: string): boolean {
  return place === directory || place.startsWith(`${directory}/`)
}

/** '' when the process is gone or belongs to somebody else. */
function read(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'latin1')
  } catch {
    return ''
  }
}

function link(pid: number, name: string): string {
  try {
    return readlinkSync(`/proc/${pid}/${name}`)
  } catch {
    return ''
  }
}
