/**
 * Clients that write through a proxy, each over one connection that it never opens anew, and keep what they were told: which rows were
 * acknowledged, which are in doubt, which certainly did not happen, and whatever the contract of docs/proxy.md does not name.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'

const PAUSE_MS = 2
/** Longer than an old primary takes to stop. */
const THOUGHT_MS = 600

/** `autocommit`: one statement per row; `transaction`: BEGIN, a prepared INSERT, COMMIT; `thoughtful`: the same, with a pause inside. */
export type Way = 'autocommit' | 'transaction' | 'thoughtful'

export class ProxyClients {
  readonly acknowledged: number[] = []
  /** 08007. */
  readonly inDoubt: number[] = []
  /** 40001: nothing of it happened. */
  readonly lost: number[] = []
  readonly unforeseen: string[] = []
  /** Of every row that was acknowledged since the last `mark`. */
  #latencies: number[] = []
  #marked = { inDoubt: 0, lost: 0 }
  readonly #pauseMs: number
  /** Of each client, when it had its last acknowledgement. */
  readonly #lastAtMs = new Map<pg.Client, number>()
  /** Their connections are of no use any more; why is in `unforeseen`. */
  readonly #ended = new Set<pg.Client>()
  #longestStallMs = 0
  readonly #clients: readonly pg.Client[]
  readonly #done: Promise<unknown>
  #next = 1
  #stopping = false

  private constructor(clients: readonly (readonly [pg.Client, Way])[], pauseMs: number) {
    this.#pauseMs = pauseMs
    this.#clients = clients.map(([client]) => client)
    this.#done = Promise.all(clients.map(([client, way]) => this.#write(client, way)))
  }

  /** `connect` gives a connection through the proxy; `pauseMs`: of a client between two rows. */
  static async start(
    connect: () => Promise<pg.Client>,
    ways: readonly Way[],
    { pauseMs = PAUSE_MS }: { readonly pauseMs?: number } = {},
  ): Promise<ProxyClients> {
    const clients = await Promise.all(ways.map(async (way) => [await connect(), way] as const))
    await clients[0]?.[0].query('CREATE TABLE IF NOT EXISTS through_proxy (id bigint PRIMARY KEY)')
    return new ProxyClients(clients, pauseMs)
  }

  /** Errors and latencies count from here. */
  mark(): void {
    this.#latencies = []
    this.#longestStallMs = 0
    this.#marked = { inDoubt: this.inDoubt.length, lost: this.lost.length }
  }

  /** Since the last `mark`. `longestStallMs`: the longest time that any client was without an acknowledgement, its failures included. */
  get since(): {
    readonly errors: number
    readonly acknowledged: number
    readonly longestMs: number
    readonly longestStallMs: number
  } {
    const errors = this.inDoubt.length - this.#marked.inDoubt + this.lost.length - this.#marked.lost
    return {
      ...{ errors, acknowledged: this.#latencies.length, longestStallMs: this.#longestStallMs },
      longestMs: this.#latencies.reduce((longest, each) => Math.max(longest, each), 0),
    }
  }

  /** True when every client that goes on has had an acknowledgement since then (performance.now). */
  allSince(atMs: number): boolean {
    return this.#clients.every(
      (client) => this.#ended.has(client) || (this.#lastAtMs.get(client) ?? 0) > atMs,
    )
  }

  /** Ends when each has had its answer. */
  async stop(): Promise<void> {
    this.#stopping = true
    await this.#done
    await Promise.all(this.#clients.map((client) => client.end().catch(() => {})))
  }

  async #write(client: pg.Client, way: Way): Promise<void> {
    while (!this.#stopping) {
      if (!(await this.#writeOne(client, way, this.#next++))) {
        this.#ended.add(client)
        return
      }
      await sleep(this.#pauseMs)
    }
  }

  /** False when the connection is of no use any more. */
  async #writeOne(client: pg.Client, way: Way, id: number): Promise<boolean> {
    const beganAt = performance.now()
    try {
      if (way !== 'autocommit') await client.query('BEGIN')
      await client.query({
        ...(way !== 'autocommit' && { name: 'write' }),
        text: 'INSERT INTO through_proxy (id) VALUES ($1)',
        values: [id],
      })
      if (way === 'thoughtful') await sleep(THOUGHT_MS)
      const ended = way === 'autocommit' ? { command: 'COMMIT' } : await client.query('COMMIT')
      // A COMMIT of a transaction that has failed says so in its tag and in nothing else.
      if (ended.command === 'COMMIT') this.acknowledged.push(id)
      else this.unforeseen.push(`COMMIT was answered with ${ended.command}`)
      const nowMs = performance.now()
      this.#latencies.push(nowMs - beganAt)
      const lastMs = this.#lastAtMs.get(client) ?? beganAt
      this.#longestStallMs = Math.max(this.#longestStallMs, nowMs - lastMs - this.#pauseMs)
      this.#lastAtMs.set(client, nowMs)
      return true
    } catch (error) {
      return this.#note(client, id, error)
    }
  }

  async #note(client: pg.Client, id: number, error: unknown): Promise<boolean> {
    const { code, message, severity } = error as { code?: string; message?: string; severity?: string }
    if (code === '40001') this.lost.push(id)
    else if (code === '08007') this.inDoubt.push(id)
    else this.unforeseen.push(`${severity ?? 'broken'} ${code ?? ''}: ${message ?? String(error)}`)
    if (severity !== 'ERROR') return false
    try {
      await client.query('ROLLBACK')
      return true
    } catch (failure) {
      // Whoever begins in the very moment of a death is told so of a ROLLBACK, too: it began nothing, and there is nothing to take back.
      if ((failure as { code?: string }).code === '08007') return true
      this.unforeseen.push(`ROLLBACK: ${String(failure)}`)
      return false
    }
  }
}
