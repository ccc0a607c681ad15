/**
 * The processes of a proxy: one that is all of it, or a primary process with several workers, which serve the ports together. What a proxy has
 * once, however many workers there are, is with the primary process: its presence in the store, its metrics.
 */
import cluster from 'node:cluster'
import { randomBytes } from 'node:crypto'
import { availableParallelism, hostname } from 'node:os'
import type { ResolvedConfig, ResolvedNode } from '../config/load.ts'
import { type ErrorCode, toUnderstudyError, UnderstudyError } from '../errors/codes.ts'
import type { ClusterStore } from '../ports/cluster-store.ts'
import type { Log } from '../ports/log.ts'
import type { ProxyFleet } from '../ports/proxy-view.ts'
import { Presence } from '../proxy/presence.ts'
import { proxyState } from '../proxy/proxy-state.ts'
import { WorkerLink } from '../proxy/worker-link.ts'
import type { WorkerProcess, WorkerTeam } from '../proxy/worker-team.ts'
import { createClusterStore } from '../store/cluster-store.ts'
import { composeStore, createLog } from './compose.ts'
import { composeWorker } from './compose-proxy.ts'
import { type ProxyHttp, serveProxyHttp } from './proxy-http.ts'

export interface ProxyPlace {
  readonly config: ResolvedConfig
  readonly node: ResolvedNode | null
}

/** Which of how many workers a process is, as its command line says it. */
export interface WorkerPlace {
  readonly worker: number
  readonly workers: number
}

const DRAIN_MS = 5_000
const PROCESSORS_PER_WORKER = 2

export function workersOf({ proxy }: ResolvedConfig): number {
  return proxy?.workers ?? Math.max(1, Math.floor(availableParallelism() / PROCESSORS_PER_WORKER))
}

/** The whole proxy in this process. Ends with SIGTERM or SIGINT. */
export async function runAlone({ config, node }: ProxyPlace): Promise<void> {
  const log = proxyLog(node)
  const store = createClusterStore(await composeStore(config), config.cluster)
  const composed = await composeWorker({
    ...{ config, node, store, log, worker: 0, workers: 1, link: null },
    onDrained: (hold) => void presence.drained(hold),
  })
  const presence = presenceOf(store, node, composed.proxy.fleet)
  const ended = untilSignal(() => void composed.reload())
  await composed.start()
  const http = await serveProxyHttp({
    ...{ config, node, log, workers: 1, isPrimary: false, fleet: composed.proxy.fleet },
  })
  presence.start()
  await ended
  await Promise.all([composed.stop(DRAIN_MS), presence.stop(), http.stop()])
  store.close()
}

/** Workers in processes of their own, under this one. Ends with SIGTERM or SIGINT. Errors: whatever kept a worker from its first start. */
export async function runTeam({ config, node }: ProxyPlace, workers: number): Promise<void> {
  const { WorkerTeam: Team } = await import('../proxy/worker-team.ts')
  const log = proxyLog(node)
  const store = createClusterStore(await composeStore(config), config.cluster)
  const team: WorkerTeam = new Team({
    ...{ size: workers, log },
    fork: (worker) => fork({ config, node }, { worker, workers }),
    onDrained: (hold) => void presence.drained(hold),
  })
  const presence = presenceOf(store, node, team)
  const ended = untilSignal(() => void team.ask('reload', {}))
  let http: ProxyHttp | null = null
  try {
    const failure = await team.start()
    if (failure !== null)
      throw new UnderstudyError(failure.code as ErrorCode, failure.message, { hint: failure.hint })
    http = await serveProxyHttp({ config, node, log, workers, isPrimary: true, fleet: team })
    presence.start()
    log.info(`${workers} workers serve`, { pids: team.pids })
    await ended
  } finally {
    await Promise.all([team.stop(DRAIN_MS), presence.stop(), http?.stop()])
    store.close()
  }
}

/** One of several, in a process that `runTeam` has made. Ends when it is told to, or with its primary process. */
export async function runWorker({ config, node }: ProxyPlace, place: WorkerPlace): Promise<void> {
  const log = proxyLog(node, place.worker)
  const link = new WorkerLink(process)
  const ended = untilSignal(() => {})
  try {
    const store = createClusterStore(await composeStore(config), config.cluster)
    const composed = await composeWorker({
      ...{ config, node, store, log, link, ...place },
      onDrained: (hold) => link.drained(hold),
    })
    const told = new Promise<number>((resolve) => link.serve(composed.proxy, resolve))
    for (const database of await link.begin()) composed.proxy.pools.pause(database)
    await composed.start()
    link.ready()
    const drainMs = await Promise.race([told, ended.then(() => DRAIN_MS)])
    await composed.stop(drainMs)
    store.close()
  } catch (error) {
    const { code, message, hint } = toUnderstudyError(error)
    link.failed({ code, message, hint })
    throw error
  } finally {
    link.close()
  }
}

function proxyLog(node: ResolvedNode | null, worker?: number): Log {
  return createLog({
    part: 'proxy',
    ...(node !== null && { node: node.name }),
    ...(worker !== undefined && { worker }),
  })
}

function presenceOf(store: ClusterStore, node: ResolvedNode | null, fleet: ProxyFleet): Presence {
  return new Presence({
    name: `${node?.name ?? hostname()}-${randomBytes(4).toString('hex')}`,
    store,
    state: async () => proxyState(node?.name ?? null, await fleet.ask('look', { sessions: false })),
  })
}

/** SIGHUP is a request to look at the files again, from a terminal that goes away as well. */
function untilSignal(onHangup: () => void): Promise<void> {
  process.on('SIGHUP', onHangup)
  return new Promise<void>((resolve) => {
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, () => resolve())
  })
}

/** It is found by nobody who looks for the proxy: its command line is another one. */
function fork({ config, node }: ProxyPlace, { worker, workers }: WorkerPlace): WorkerProcess {
  const named = node === null ? [] : ['--node', node.name]
  cluster.setupPrimary({
    args: ['proxy', '--config', config.file, ...named, '--worker', `${worker}/${workers}`],
  })
  return cluster.fork() as unknown as WorkerProcess
}
