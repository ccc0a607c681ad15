/**
 * Keeps the parts of a local cluster running: starts what is missing, adopts what a killed predecessor left, starts a part that
 * died again after a second, and stops everything in order. The parts live in sessions of their own and outlive a SIGKILL of the
 * supervisor; the next one finds them.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { UnderstudyError } from '../../errors/codes.ts'
import { askPrimary } from './ask.ts'
import { logFile, partsOf } from './layout.ts'
import { stopLeftPostmaster } from './leftovers.ts'
import type { OpenCluster } from './open.ts'
import { pauseForStop, resumeAfterStop } from './pause.ts'
import { findPart, isPart, type Part, signal, startPart, waitGone } from './processes.ts'

const LOOK_EVERY_MS = 250
const RESTART_AFTER_MS = 1_000
const RESTART_AT_MOST_MS = 10_000
/** A part that ran this long can run: it is started again after a second. One that dies sooner waits longer each time. */
const STEADY_MS = 2_000
/** A primary that has not come by then is looked for among the others. */
const RESUME_AFTER_MS = 15_000
const STOP_DEADLINE_MS = 90_000

interface Running {
  readonly part: Part
  pid: number
  startedAtMs: number
  /** When it may be started again; null while it runs. */
  restartAtMs: number | null
  deaths: number
}

export class Supervisor {
  readonly #cluster: OpenCluster
  readonly #say: (message: string) => void
  #running: Running[] = []
  #stopping = false

  constructor(cluster: OpenCluster, say: (message: string) => void) {
    this.#cluster = cluster
    this.#say = say
  }

  /** Adopts or starts every part. The agents wait for the store by themselves. */
  startAll(): void {
    const { directory, configFile, config } = this.#cluster
    this.#running = partsOf(directory, configFile, config).map((part) => {
      const adopted = findPart(part)
      if (adopted !== null) this.#say(`${part.name}: already runs (process ${adopted}), taken over`)
      const pid = adopted ?? startPart(part, logFile(directory, part.name))
      return { part, pid, startedAtMs: performance.now(), restartAtMs: null, deaths: 0 }
    })
  }

  /** Until `stop` or the signal. */
  async watch(abort: AbortSignal): Promise<void> {
    void this.#resume(abort)
    while (!this.#stopping && !abort.aborted) {
      for (const each of this.#running) this.#look(each)
      await sleep(LOOK_EVERY_MS, undefined, { signal: abort }).catch(() => {})
    }
  }

  /** The proxy, then the primary, while its standbys can still take its last WAL; then the standbys; the store last. Can be called twice. */
  async stop(onProgress: (message: string) => void = () => {}): Promise<void> {
    this.#stopping = true
    await stopParts(this.#cluster, onProgress)
  }

  /** Failover goes on when the primary is back, or after a while without it: before that every standby would find it dead. */
  async #resume(abort: AbortSignal): Promise<void> {
    const startedAtMs = performance.now()
    while (!this.#stopping && !abort.aborted) {
      await sleep(LOOK_EVERY_MS, undefined, { signal: abort }).catch(() => {})
      const waited = performance.now() - startedAtMs > RESUME_AFTER_MS
      if (!waited && (await askPrimary(this.#cluster.config)) === null) continue
      if (await resumeAfterStop(this.#cluster)) return
    }
  }

  #look(each: Running): void {
    const now = performance.now()
    if (each.restartAtMs === null) {
      if (isPart(each.pid, each.part)) return
      each.deaths = now - each.startedAtMs > STEADY_MS ? 1 : each.deaths + 1
      const waitMs = Math.min(RESTART_AT_MOST_MS, RESTART_AFTER_MS * 2 ** (each.deaths - 1))
      each.restartAtMs = now + waitMs
      this.#say(
        `${each.part.name}: has ended and is started again in ${Math.round(waitMs / 100) / 10} s (${logFile(this.#cluster.directory, each.part.name)})`,
      )
      return
    }
    if (now < each.restartAtMs) return
    each.pid = findPart(each.part) ?? startPart(each.part, logFile(this.#cluster.directory, each.part.name))
    each.startedAtMs = now
    each.restartAtMs = null
  }
}

/**
 * Stops whatever of the cluster runs, with or without a supervisor: the proxy first, so that its clients are told and do not find out.
 * Errors: timeout, when a part does not end.
 */
export async function stopParts(
  cluster: OpenCluster,
  onProgress: (message: string) => void,
): Promise<readonly string[]> {
  const { directory, configFile, config } = cluster
  const parts = partsOf(directory, configFile, config)
  const agents = parts.filter((part) => part.kind === 'agent')
  if (findPart(parts[0] ?? { name: '', kind: 'store', args: [] }) !== null) await pauseForStop(cluster)
  const primary = await askPrimary(config)
  const first = agents.filter((part) => part.name === primary)
  const rest = agents.filter((part) => part.name !== primary)
  const stopped: string[] = []
  const ofKind = (kind: Part['kind']): readonly Part[] => parts.filter((part) => part.kind === kind)
  for (const group of [ofKind('proxy'), first, rest, ofKind('store')]) {
    const ended = await Promise.all(group.map((part) => stopPart(cluster, part, onProgress)))
    stopped.push(...ended.filter((name) => name !== null))
  }
  return stopped
}

async function stopPart(
  cluster: OpenCluster,
  part: Part,
  onProgress: (message: string) => void,
): Promise<string | null> {
  const pid = findPart(part)
  if (pid !== null) {
    onProgress(part.name)
    signal(pid, 'SIGTERM')
    if (!(await waitGone(pid, STOP_DEADLINE_MS))) {
      throw new UnderstudyError(
        'timeout',
        `${part.name} (process ${pid}) has not ended after ${STOP_DEADLINE_MS / 1_000} s`,
      )
    }
  }
  // An agent that was killed has left its PostgreSQL behind.
  const left = part.kind === 'agent' ? await stopLeftPostmaster(cluster, part.name) : false
  return pid !== null || left ? part.name : null
}
