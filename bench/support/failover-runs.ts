/**
 * One cluster of three, one client that writes all the time, and faults one after the other. The outage is the longest gap between two
 * acknowledged writes around the fault, counted from the fault where the last acknowledgement was before it.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import type { ClusterStatus } from '../../src/api/contract.ts'
import { processesOf, signal } from '../../test/support/cluster-processes.ts'
import { labSubject, localSubject, type Subject, type SubjectOptions } from './failover-subject.ts'
import { type Attempt, type FromClient, monotonicMs, type ToClient } from './write-client.ts'

export interface Fault {
  readonly name: string
  readonly title: string
  /** Only where nodes are in network namespaces. */
  readonly inLab?: true
  /** Returns when it is done; what undoes it comes back. */
  inject(cluster: Subject, primary: string): Promise<() => void | Promise<void>>
  /** How long it lasts before it is undone, counted from the first write elsewhere. */
  readonly holdMs: number
}

const NOTHING_TO_UNDO = (): void => {}

/** Agent, postmaster and all of its children. */
function nodePids(cluster: Subject, node: string): readonly number[] {
  const all = processesOf([cluster.directory]).filter((each) => each.node === node)
  return all
    .filter((each) => each.kind === 'agent' || each.kind === 'postmaster' || each.kind === 'backend')
    .map((each) => each.pid)
}

function postgresPids(cluster: Subject, node: string): readonly number[] {
  const all = processesOf([cluster.directory]).filter((each) => each.node === node)
  return all.filter((each) => each.kind === 'postmaster').map((each) => each.pid)
}

export const FAULTS: Readonly<Record<string, Fault>> = {
  node: {
    name: 'node',
    title: 'node death (agent and postgres SIGKILLed)',
    holdMs: 0,
    async inject(cluster, primary) {
      for (const pid of nodePids(cluster, primary)) signal(pid, 'SIGKILL')
      return NOTHING_TO_UNDO
    },
  },
  postgres: {
    name: 'postgres',
    title: 'postgres killed, agent alive',
    holdMs: 0,
    async inject(cluster, primary) {
      for (const pid of postgresPids(cluster, primary)) signal(pid, 'SIGKILL')
      return NOTHING_TO_UNDO
    },
  },
  frozen: {
    name: 'frozen',
    title: 'whole node frozen (SIGSTOP), woken later',
    holdMs: 2_000,
    async inject(cluster, primary) {
      const pids = nodePids(cluster, primary)
      for (const pid of pids) signal(pid, 'SIGSTOP')
      return () => {
        for (const pid of pids) signal(pid, 'SIGCONT')
      }
    },
  },
  switchover: {
    name: 'switchover',
    title: 'planned switchover',
    holdMs: 0,
    async inject(cluster) {
      await cluster.switchover()
      return NOTHING_TO_UNDO
    },
  },
  cut: {
    name: 'cut',
    title: 'whole node cut off (packets dropped)',
    holdMs: 2_000,
    inLab: true,
    async inject(cluster, primary) {
      if (cluster.cutOff === null) throw new Error('this cluster has no network that could be cut')
      return cluster.cutOff(primary)
    },
  },
}

export interface FailoverRun {
  readonly fault: string
  readonly from: string
  readonly to: string
  readonly outageMs: number
  /** From the fault to a cluster that calls itself healthy with all nodes streaming. */
  readonly healedMs: number
  /** From the start of the old primary's agent until it streams; null where its agent was not started anew. */
  readonly rejoinMs: number | null
  /** Milliseconds after the fault, from the events of the agents. */
  readonly phases: readonly string[]
}

const HEALTHY_DEADLINE_MS = 90_000
/** So many acknowledged writes in a row from another node end a run. */
const STREAK = 20

export class FailoverCluster {
  readonly #cluster: Subject
  readonly #client: ChildProcess
  readonly #attempts: Attempt[] = []

  private constructor(cluster: Subject, client: ChildProcess) {
    this.#cluster = cluster
    this.#client = client
    client.on('message', (message: FromClient) => {
      if (message.kind === 'attempt') this.#attempts.push(message.attempt)
    })
  }

  /** `inLab`: in network namespaces, with etcd where it is installed. */
  static async start(
    options: SubjectOptions & { readonly retryMs: number; readonly inLab: boolean },
  ): Promise<FailoverCluster> {
    const cluster = await (options.inLab ? labSubject(options) : localSubject(options))
    try {
      await withClient(cluster, await primaryOf(cluster), (client) =>
        client.query('CREATE TABLE written (id bigint NOT NULL)'),
      )
      const client = fork(fileURLToPath(new URL('./write-client.js', import.meta.url)))
      const message: ToClient = {
        kind: 'start',
        options: {
          nodes: cluster.nodes,
          ...{ user: 'app', database: 'app', password: cluster.password, caPem: cluster.caPem },
          intervalMs: 2,
          retryMs: options.retryMs,
        },
      }
      client.send(message)
      return new FailoverCluster(cluster, client)
    } catch (error) {
      await cluster.remove()
      throw error
    }
  }

  async run(fault: Fault): Promise<FailoverRun> {
    const before = await this.#healthy()
    const from = before.primary ?? ''
    await this.#streak((attempt) => attempt.node === from)
    // At any moment of whatever the agents do at their own pace.
    await sleep(1_500 + Math.random() * 1_000)
    const faultAtMs = monotonicMs()
    const faultAt = Date.now()
    const first = this.#attempts.length
    const injected = fault.inject(this.#cluster, from)
    await this.#streak((attempt) => attempt.node !== from && attempt.sentAtMs > faultAtMs)
    const outageMs = this.#longestGap(first, faultAtMs)
    const to = this.#attempts.at(-1)?.node ?? ''
    const undo = await injected
    await sleep(fault.holdMs)
    await undo()
    await this.#healthy()
    const healedMs = monotonicMs() - faultAtMs
    const events = this.#cluster.events().filter((event) => event.atMs >= faultAt)
    const started = events.find((event) => event.node === from && event.kind === 'agent-started')
    const rejoined = events.find((event) => event.node === from && event.kind === 'streams')
    return {
      fault: fault.name,
      ...{ from, to, outageMs, healedMs },
      rejoinMs: started === undefined || rejoined === undefined ? null : rejoined.atMs - started.atMs,
      phases: events.map(
        (event) => `${event.atMs - faultAt} ms ${event.node} ${event.kind}: ${event.message}`,
      ),
    }
  }

  /** Every acknowledged row is there once, and nothing is there twice. */
  async account(): Promise<{
    readonly acknowledged: number
    readonly missing: number
    readonly twice: number
  }> {
    const stopped = new Promise<void>((resolve) =>
      this.#client.on('message', (message: FromClient) => message.kind === 'stopped' && resolve()),
    )
    const stop: ToClient = { kind: 'stop' }
    this.#client.send(stop)
    await stopped
    const rows = await withClient(this.#cluster, await primaryOf(this.#cluster), (client) =>
      client.query<{ id: string; count: string }>('SELECT id, count(*) FROM written GROUP BY id'),
    )
    const there = new Map(rows.rows.map((row) => [Number(row.id), Number(row.count)]))
    const acknowledged = this.#attempts.filter((attempt) => attempt.outcome === 'acknowledged')
    return {
      acknowledged: acknowledged.length,
      missing: acknowledged.filter((attempt) => !there.has(attempt.id)).length,
      twice: [...there.values()].filter((count) => count > 1).length,
    }
  }

  async remove(): Promise<void> {
    this.#client.kill('SIGKILL')
    await this.#cluster.remove()
  }

  async #healthy(): Promise<ClusterStatus> {
    try {
      return await until(HEALTHY_DEADLINE_MS, 'a healthy cluster', async () => {
        const status = await this.#cluster.status()
        const whole = status?.healthy === true && status.quorum?.standbys.length === status.nodes.length - 1
        return whole ? status : null
      })
    } catch (error) {
      console.error(await this.#cluster.explain())
      throw error
    }
  }

  async #streak(fits: (attempt: Attempt) => boolean): Promise<void> {
    await until(HEALTHY_DEADLINE_MS, 'acknowledged writes', async () => {
      const last = this.#attempts.slice(-STREAK)
      const good = last.filter((attempt) => attempt.outcome === 'acknowledged' && fits(attempt))
      return good.length === STREAK ? good : null
    })
  }

  #longestGap(first: number, faultAtMs: number): number {
    const ends = this.#attempts
      .slice(first)
      .filter((attempt) => attempt.outcome === 'acknowledged')
      .map((attempt) => attempt.endedAtMs)
    let longest = 0
    let before = faultAtMs
    for (const end of ends) {
      longest = Math.max(longest, end - before)
      before = end
    }
    return longest
  }
}

async function primaryOf(cluster: Subject): Promise<string> {
  return until(HEALTHY_DEADLINE_MS, 'a primary', async () => (await cluster.status())?.primary ?? null)
}

async function withClient<T>(
  cluster: Subject,
  node: string,
  use: (client: pg.Client) => Promise<T>,
): Promise<T> {
  const { host, port } = cluster.nodes.find((each) => each.name === node) ?? { host: '', port: 0 }
  const client = new pg.Client({
    ...{ host, port, user: 'app', database: 'app', password: cluster.password },
    ssl: { ca: cluster.caPem },
  })
  await client.connect()
  try {
    return await use(client)
  } finally {
    await client.end()
  }
}

async function until<T>(deadlineMs: number, what: string, probe: () => Promise<T | null>): Promise<T> {
  const deadline = monotonicMs() + deadlineMs
  for (;;) {
    const value = await probe()
    if (value !== null) return value
    if (monotonicMs() > deadline) throw new Error(`waited ${deadlineMs} ms in vain for ${what}`)
    await sleep(25)
  }
}
