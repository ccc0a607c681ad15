/** The running cluster as the tour sees it: a superuser's session with each node, and what the agents say. */
import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import type { ClusterStatus } from '../../api/contract.ts'
import { nodeOf } from '../../config/load.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import { askCluster } from '../api-client.ts'
import type { Scene } from '../by-hand/scene.ts'
import { isReady } from '../local/follow.ts'
import type { OpenCluster } from '../local/open.ts'
import { openSuperuser } from '../superuser.ts'
import type { Row, Seen } from './station.ts'

export const APPLICATION = 'understudy tour'
const ANSWER_MS = 10_000
/** A rewind or a clone of an old primary is under way meanwhile. */
const WHOLE_WITHIN_MS = 120_000
const LOOK_EVERY_MS = 200

export class Sight {
  readonly cluster: OpenCluster
  /** Aborted when the person leaves: nothing new is begun then. */
  readonly signal: AbortSignal
  readonly #scene: Scene
  readonly #clients = new Map<string, pg.Client>()

  constructor(cluster: OpenCluster, scene: Scene, signal: AbortSignal) {
    this.cluster = cluster
    this.#scene = scene
    this.signal = signal
  }

  /** Errors: unreachable. */
  async status(): Promise<ClusterStatus> {
    const status = await askCluster(this.cluster.config.nodes)
    if (status === null) throw new UnderstudyError('unreachable', 'no agent of the cluster answers')
    return status
  }

  /** With who is primary now. Errors: unreachable, no-primary. */
  async scene(): Promise<Scene> {
    const { primary: name, epoch } = await this.status()
    if (name === null || epoch === null)
      throw new UnderstudyError('no-primary', 'no agent knows of a primary')
    const { config } = this.cluster
    const primary = nodeOf(config, name)
    return { ...this.#scene, epoch, primary, standbys: config.nodes.filter((node) => node !== primary) }
  }

  /** Errors: connect-failed, server-error. */
  async query(node: string, sql: string, values: readonly string[] = []): Promise<readonly Row[]> {
    this.signal.throwIfAborted()
    const client = this.#clients.get(node) ?? (await this.#connect(node))
    try {
      return (await client.query<Row>(sql, [...values])).rows
    } catch (error) {
      // It may be the session that is broken: the next question opens another one.
      await this.#drop(node)
      throw new UnderstudyError('server-error', `${node}: ${(error as Error).message}`, { cause: error })
    }
  }

  async look(node: string, sql: string): Promise<Seen> {
    return { on: node, asked: sql, rows: await this.query(node, sql), lines: [] }
  }

  /** A session of its own. The caller ends it. */
  open(node: string): Promise<pg.Client> {
    const options = { applicationName: APPLICATION, asText: true, answerMs: ANSWER_MS } as const
    return openSuperuser(this.cluster.config, nodeOf(this.cluster.config, node), options)
  }

  /** Healthy, and every standby streams under the rule that was asked for. Errors: unhealthy, also when `leave` is aborted before. */
  async untilWhole(leave: AbortSignal, withinMs = WHOLE_WITHIN_MS): Promise<ClusterStatus> {
    const deadlineAt = performance.now() + withinMs
    let last: ClusterStatus | null = null
    while (performance.now() < deadlineAt && !leave.aborted) {
      last = await askCluster(this.cluster.config.nodes)
      if (last !== null && last.phase === 'steady' && isReady(this.cluster.config, last)) return last
      await sleep(LOOK_EVERY_MS, undefined, { signal: leave }).catch(() => {})
    }
    const problem = last?.problems[0]
    throw new UnderstudyError('unhealthy', wholeProblem(last, problem?.message), {
      ...(problem !== undefined && { hint: problem.hint }),
    })
  }

  async close(): Promise<void> {
    await Promise.all([...this.#clients.keys()].map((node) => this.#drop(node)))
  }

  async #connect(node: string): Promise<pg.Client> {
    const client = await this.open(node)
    this.#clients.set(node, client)
    // Its server was stopped or killed: the next question opens another session.
    client.on('end', () => {
      if (this.#clients.get(node) === client) this.#clients.delete(node)
    })
    return client
  }

  async #drop(node: string): Promise<void> {
    const client = this.#clients.get(node)
    this.#clients.delete(node)
    await client?.end().catch(() => {})
  }
}

export function wholeProblem(status: ClusterStatus | null, problem: string | undefined): string {
  if (status === null) return 'no agent of the cluster answers'
  if (problem !== undefined) return `the cluster is not whole: ${problem}`
  const away = status.nodes.filter(({ name, state }) => name !== status.primary && state !== 'streaming')
  if (away.length > 0)
    return `the cluster is not whole: ${away.map(({ name, state }) => `${name} is ${state}`).join(', ')}`
  return 'the cluster is not whole: commits do not wait for all standbys that stream yet'
}
