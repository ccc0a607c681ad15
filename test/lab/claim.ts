/**
 * A number for each lab of this machine. Everything that a lab makes bears it: namespaces, links, mounts, directories. Who holds the
 * number holds a lock that the kernel releases when the process dies, so what bears a number whose lock is free is a leftover of a run
 * that was killed, and is removed before the next lab begins.
 */
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, realpathSync, rmSync } from 'node:fs'
import type { Server } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { listen } from '../support/cluster-ports.ts'
import { signal } from '../support/cluster-processes.ts'
import { thawDisk } from './disk.ts'
import { attempt, run } from './shell.ts'

/** Addresses are made from the number, and there are as many networks as there are second bytes left in 127.100.0.0 to 127.199.0.0. */
const NUMBERS = 100

export interface Claim {
  readonly number: number
  /** ulab and the number: begins every name. */
  readonly name: string
  /** Short, because sockets lie below it; open to all, because PostgreSQL runs as another user when this is root. */
  readonly directory: string
  /** After everything that bears the number is gone. */
  release(): Promise<void>
}

/** Removes what killed runs have left, then takes a free number. */
export async function claimLab(): Promise<Claim> {
  await removeAbandoned()
  for (let attempts = 0; attempts < 10 * NUMBERS; attempts++) {
    const number = Math.floor(Math.random() * NUMBERS)
    const lock = await lockOf(number)
    if (lock === null) continue
    const name = nameOf(number)
    const directory = mkdtempSync(path.join(realpathSync(tmpdir()), `${name}-`))
    return {
      number,
      name,
      directory,
      release: async () => {
        await removeAll(name)
        await close(lock)
      },
    }
  }
  throw new Error('every number of a lab is taken on this machine')
}

/** Whatever bears a number that nobody holds. Can be called at any time. */
export async function removeAbandoned(): Promise<void> {
  for (const name of await findNames()) {
    const lock = await lockOf(Number(name.slice(PREFIX.length)))
    if (lock === null) continue
    // What another user has left is not ours to remove, and not in our way.
    await removeAll(name).catch(() => {})
    await close(lock)
  }
}

const PREFIX = 'ulab'
const NAME = /^(ulab\d+)(-.*)?$/

function nameOf(number: number): string {
  return `${PREFIX}${number}`
}

function lockOf(number: number): Promise<Server | null> {
  return listen({ path: `\0understudy-lab-${number}` })
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()))
}

async function findNames(): Promise<ReadonlySet<string>> {
  const seen = [
    ...(await namespaces()),
    ...mounts().map(({ source }) => source),
    ...directories().map((each) => path.basename(each)),
    ...labProcesses().map((each) => each.lab),
  ]
  return new Set(seen.flatMap((each) => NAME.exec(each)?.[1] ?? []))
}

/** Processes first: they hold namespaces and mounts. Each step again until nothing is left, because processes start others. */
async function removeAll(name: string): Promise<void> {
  for (const { target } of mountsOf(name)) await thawDisk(target)
  await endProcesses(name)
  for (const namespace of await namespaces())
    if (NAME.exec(namespace)?.[1] === name) await attempt('ip', ['netns', 'del', namespace])
  await attempt('ip', ['link', 'del', name])
  for (const { target } of mountsOf(name))
    if (!(await attempt('umount', [target]))) await attempt('umount', ['-l', target])
  for (const directory of directories())
    if (NAME.exec(path.basename(directory))?.[1] === name)
      rmSync(directory, { recursive: true, force: true, maxRetries: 3 })
}

async function endProcesses(name: string): Promise<void> {
  const deadline = performance.now() + 10_000
  for (;;) {
    const pids = new Set(labProcesses().flatMap(({ lab, pid }) => (lab === name ? [pid] : [])))
    for (const namespace of await namespaces())
      if (NAME.exec(namespace)?.[1] === name)
        for (const pid of (await run('ip', ['netns', 'pids', namespace]).catch(() => '')).split('\n'))
          if (/^\d+$/.test(pid)) pids.add(Number(pid))
    pids.delete(process.pid)
    if (pids.size === 0) return
    if (performance.now() > deadline) throw new Error(`these processes of ${name} do not end: ${[...pids]}`)
    for (const pid of pids) signal(pid, 'SIGKILL')
    await sleep(20)
  }
}

async function namespaces(): Promise<readonly string[]> {
  try {
    return readdirSync('/run/netns').filter((each) => NAME.test(each))
  } catch {
    return []
  }
}

interface Mount {
  readonly source: string
  readonly target: string
}

function mounts(): readonly Mount[] {
  return readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .map(([source = '', target = '']) => ({ source, target }))
}

/** Also a disk of blocks, whose source is a device: it is mounted in the lab's directory. The inner ones first. */
function mountsOf(name: string): readonly Mount[] {
  const isOurs = (each: string): boolean => NAME.exec(each)?.[1] === name
  return mounts()
    .filter(({ source, target }) => isOurs(source) || target.split(path.sep).some(isOurs))
    .sort((a, b) => b.target.length - a.target.length)
}

function directories(): readonly string[] {
  const parent = realpathSync(tmpdir())
  return readdirSync(parent)
    .filter((each) => NAME.test(each))
    .map((each) => path.join(parent, each))
}

/** Known by a directory of the lab in their command line, their environment or as what they work in. */
function labProcesses(): readonly { readonly lab: string; readonly pid: number }[] {
  const found: { lab: string; pid: number }[] = []
  for (const entry of readdirSync('/proc')) {
    const pid = Number(entry)
    if (!Number.isInteger(pid) || pid === process.pid) continue
    const text = `${read(pid, 'cmdline')}\0${read(pid, 'environ')}\0${workingDirectory(pid)}`
    const lab = /\/(ulab\d+)-[A-Za-z0-9]{6}(?=[/\0]|$)/.exec(text)?.[1]
    if (lab !== undefined && isRunning(pid)) found.push({ lab, pid })
  }
  return found
}

function isRunning(pid: number): boolean {
  const status = read(pid, 'stat')
  return status !== '' && !/^[ZX]/.test(status.slice(status.lastIndexOf(')') + 2))
}

function read(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'latin1')
  } catch {
    return ''
  }
}

function workingDirectory(pid: number): string {
  try {
    return readlinkSync(`/proc/${pid}/cwd`)
  } catch {
    return ''
  }
}
