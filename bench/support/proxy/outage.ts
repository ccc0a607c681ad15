/**
 * What fifty clients see that write through the proxy while the primary changes: errors, and the longest time that any of them was without an
 * acknowledgement. A cluster of three as `understudy up` makes it, its own proxy, TLS as it is the default there.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import type { ClusterStatus } from '../../../src/api/contract.ts'
import { processesOf, signal } from '../../../test/support/cluster-processes.ts'
import { ProxyClients, type Way } from '../../../test/support/proxy-clients.ts'
import { BenchCluster } from '../cluster-local.ts'

export type OutageKind = 'switchover' | 'death'

export interface OutageSample {
  readonly kind: OutageKind
  readonly round: number
  /** In the words of the contract: 08007, 40001. */
  readonly inDoubt: number
  readonly lost: number
  /** What the contract does not name. */
  readonly unforeseen: readonly string[]
  readonly longestStallMs: number
  readonly acknowledged: number
}

const CLIENTS = 50
/** The machine is not to be saturated: it is the change of primary that is measured. */
const PAUSE_MS = 20
const HEALTHY_MS = 90_000
const GO_ON_MS = 30_000

export class OutageCluster {
  readonly #cluster: BenchCluster
  readonly #clients: ProxyClients

  private constructor(cluster: BenchCluster, clients: ProxyClients) {
    this.#cluster = cluster
    this.#clients = clients
  }

  static async start(options: { readonly pg: string; readonly rto: string }): Promise<OutageCluster> {
    const cluster = await BenchCluster.make(options.pg, ['--rto', options.rto])
    try {
      await cluster.up({ first: true })
      const ways = Array.from(
        { length: CLIENTS },
        (_, index): Way => (index % 2 === 0 ? 'autocommit' : 'transaction'),
      )
      const clients = await ProxyClients.start(() => connect(cluster), ways, { pauseMs: PAUSE_MS })
      return new OutageCluster(cluster, clients)
    } catch (error) {
      await cluster.remove()
      throw error
    }
  }

  async measure(kind: OutageKind, round: number): Promise<OutageSample> {
    const { primary } = await this.#healthy()
    await this.#goneOn()
    const clients = this.#clients
    const before = {
      inDoubt: clients.inDoubt.length,
      lost: clients.lost.length,
      unforeseen: clients.unforeseen.length,
    }
    clients.mark()
    if (kind === 'switchover') await this.#cluster.command(['switchover', '--yes'])
    else this.#killNode(primary ?? '')
    await this.#goneOn()
    const { longestStallMs, acknowledged } = clients.since
    return {
      ...{ kind, round, longestStallMs, acknowledged },
      inDoubt: clients.inDoubt.length - before.inDoubt,
      lost: clients.lost.length - before.lost,
      unforeseen: clients.unforeseen.slice(before.unforeseen),
    }
  }

  /** Rows that were acknowledged and are not there; or that certainly did not happen and are. */
  async account(): Promise<{
    readonly acknowledged: number
    readonly missing: number
    readonly ghosts: number
  }> {
    await this.#clients.stop()
    const client = await connect(this.#cluster)
    try {
      const { rows } = await client.query<{ id: string }>('SELECT id FROM through_proxy')
      const there = new Set(rows.map(({ id }) => Number(id)))
      return {
        acknowledged: this.#clients.acknowledged.length,
        missing: this.#clients.acknowledged.filter((id) => !there.has(id)).length,
        ghosts: this.#clients.lost.filter((id) => there.has(id)).length,
      }
    } finally {
      await client.end()
    }
  }

  async remove(): Promise<void> {
    await this.#clients.stop()
    await this.#cluster.remove()
  }

  /** Agent, postmaster and all of its children at once. */
  #killNode(node: string): void {
    for (const each of processesOf([this.#cluster.directory]))
      if (each.node === node && ['agent', 'postmaster', 'backend'].includes(each.kind))
        signal(each.pid, 'SIGKILL')
  }

  /** Every client has had an acknowledgement from now on. */
  async #goneOn(): Promise<void> {
    const fromMs = performance.now()
    while (!this.#clients.allSince(fromMs)) {
      if (performance.now() - fromMs > GO_ON_MS)
        throw new Error(`a client does not go on: ${this.#clients.unforeseen.join('; ')}`)
      await sleep(20)
    }
  }

  async #healthy(): Promise<ClusterStatus> {
    const untilMs = performance.now() + HEALTHY_MS
    for (;;) {
      const status = await this.#cluster.status()
      if (status?.healthy === true && status.quorum?.standbys.length === 2) return status
      if (performance.now() > untilMs)
        throw new Error(`not healthy within ${HEALTHY_MS} ms: ${JSON.stringify(status)}`)
      await sleep(50)
    }
  }
}

async function connect(cluster: BenchCluster): Promise<pg.Client> {
  const client = new pg.Client({
    ...{ host: '127.0.0.1', port: cluster.proxyPort, user: 'app', database: 'app' },
    password: cluster.secret('application'),
    ssl: { ca: cluster.caPem },
  })
  client.on('error', () => {})
  await client.connect()
  return client
}
