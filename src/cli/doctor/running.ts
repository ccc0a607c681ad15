/** Checks of what runs already: whose the ports are, and whether a killed supervisor left parts of the cluster behind. */
import { once } from 'node:events'
import { readFile, stat } from 'node:fs/promises'
import { createServer } from 'node:net'
import path from 'node:path'
import { ERRORS } from '../../errors/codes.ts'
import { enumerate, plural } from '../humanise.ts'
import { oneLine, truncate } from '../text.ts'
import { type Check, check, failing, fine, type Judgement, warning } from './check.ts'
import { abstractSockets, belongsTo, listenerOf, listProcesses, type ProcessSeen } from './proc.ts'
import type { NeededPort, Scene } from './scene.ts'

export interface PortFacts extends NeededPort {
  readonly state: 'free' | 'ours' | 'taken' | 'forbidden'
  /** Who has it, when that may be seen. */
  readonly owner: ProcessSeen | null
}

async function probePorts({ ports, directory, cluster }: Scene): Promise<PortFacts[]> {
  return Promise.all(
    ports.map(async (needed): Promise<PortFacts> => {
      const code = await listenError(needed)
      if (code === null) return { ...needed, state: 'free', owner: null }
      if (code === 'EACCES') return { ...needed, state: 'forbidden', owner: null }
      const owner = await listenerOf(needed.port, needed.host)
      // A node's agent names its configuration, which lies elsewhere than its data.
      const configFile = cluster?.config.file
      const ours =
        owner !== null &&
        (belongsTo(directory, owner.args) || (configFile !== undefined && owner.args.includes(configFile)))
      return { ...needed, state: ours ? 'ours' : 'taken', owner }
    }),
  )
}

/** null: the port can be had. */
async function listenError({ host, port }: NeededPort): Promise<string | null> {
  const server = createServer()
  try {
    server.listen({ host, port, exclusive: true })
    await once(server, 'listening')
    server.close()
    return null
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    return code === 'EADDRINUSE' || code === 'EACCES' ? code : null
  }
}

export function judgePorts(facts: readonly PortFacts[]): Judgement {
  const bad = facts.filter(({ state }) => state === 'taken' || state === 'forbidden')
  if (bad.length === 0) {
    const ours = facts.filter(({ state }) => state === 'ours').length
    const words = [
      ...(ours === 0 ? [] : [`${ours} used by this cluster`]),
      ...(ours === facts.length ? [] : [`${plural(facts.length - ours, 'port')} free`]),
    ]
    return fine(words.join(', '))
  }
  const forbidden = bad.some(({ state }) => state === 'forbidden')
  const words = bad.map(({ port, use, state, owner }) => {
    if (state === 'forbidden') return `${port} (${use}) is for root only`
    const who =
      owner === null
        ? 'another program'
        : `process ${owner.pid}, ${truncate(oneLine(owner.args.join(' ')), 60)}`
    return `${port} (${use}) is used by ${who}`
  })
  return failing(
    words.join('; '),
    forbidden ? 'Choose ports above 1023 with --port-base.' : ERRORS['port-taken'].hint,
  )
}

export interface RunningFacts {
  readonly supervised: boolean
  /** Processes of this cluster, without the children that PostgreSQL starts. */
  readonly processes: readonly ProcessSeen[]
}

async function probeRunning(scene: Scene): Promise<RunningFacts> {
  const { cluster, directory } = scene
  if (cluster === null) return { supervised: false, processes: [] }
  const mine = (await listProcesses()).filter(
    ({ pid, args }) => pid !== process.pid && isPart(args) && belongsTo(directory, args),
  )
  return { supervised: await isSupervised(directory), processes: mine }
}

/** An editor that has the configuration open names the directory too; a part is node with one of these commands, or postgres. */
function isPart(args: readonly string[]): boolean {
  if (path.basename(args[0] ?? '') === 'postgres') return true
  const program = args.findIndex((arg) => path.basename(arg) === 'main.js')
  return program > 0 && ['agent', 'store'].includes(args[program + 1] ?? '')
}

/** The lock of local/lock.ts, looked at without taking it: taking it could make an `up` fail that starts right now. */
async function isSupervised(directory: string): Promise<boolean> {
  const facts = await stat(directory).catch(() => null)
  if (facts === null) return false
  const sockets = abstractSockets(await readFile('/proc/net/unix', 'latin1').catch(() => ''))
  return sockets.has(`understudy-up-${facts.dev}-${facts.ino}`)
}

export function judgeRunning({ supervised, processes }: RunningFacts): Judgement {
  if (processes.length === 0) return fine(supervised ? 'the cluster is starting or stopping' : 'none')
  if (supervised) return fine(`the cluster runs: ${plural(processes.length, 'process', 'processes')}`)
  const pids = enumerate(processes.map(({ pid }) => String(pid)))
  return warning(
    `${plural(processes.length, 'process', 'processes')} of this cluster without a supervisor (${pids})`,
    '`understudy up` takes them over; `understudy down` stops them in order.',
  )
}

export const RUNNING_CHECKS: readonly Check[] = [
  check('ports', 'ports', probePorts, judgePorts),
  check('processes', 'processes', probeRunning, judgeRunning),
]
