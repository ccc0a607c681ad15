/**
 * Writes rows with ever new ids, one after the other, wherever a writable node is, and keeps which of them were acknowledged, which
 * are in doubt (no answer, or an answer that says that it did not wait) and which were refused. What was acknowledged must never be
 * missing afterwards (P1).
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'

const PAUSE_MS = 5
const RETRY_MS = 50

export interface WritableCluster {
  readonly nodes: readonly string[]
  connect(node: string, options: { readonly superuser: boolean }): Promise<pg.Client>
}

export class Writer {
  readonly acknowledged: number[] = []
  readonly inDoubt: number[] = []
  readonly refused: number[] = []
  readonly #cluster: WritableCluster
  #next = 1
  #client: pg.Client | null = null
  #warned = false
  #stopping = false
  #done: Promise<void> = Promise.resolve()
  /** Of the last failure, for when nothing could be written at all. */
  lastError = 'none'

  constructor(cluster: WritableCluster) {
    this.#cluster = cluster
  }

  /** Writes until `stop`; waits for a primary by itself. */
  start(): this {
    this.#stopping = false
    this.#done = this.#run()
    return this
  }

  async stop(): Promise<void> {
    this.#stopping = true
    await this.#done
    await this.#leave()
  }

  /** One row, acknowledged or thrown. */
  async writeOne(): Promise<number> {
    const before = this.acknowledged.length
    await this.#write()
    await this.#leave()
    const id = this.acknowledged[before]
    if (id === undefined) throw new Error(`a row was not acknowledged: ${this.lastError}`)
    return id
  }

  async #run(): Promise<void> {
    while (!this.#stopping) await sleep((await this.#write()) ? PAUSE_MS : RETRY_MS)
  }

  /** False when there is nobody to write to. */
  async #write(): Promise<boolean> {
    const client = this.#client ?? (await this.#findPrimary())
    this.#client = client
    if (client === null) return false
    const id = this.#next++
    this.#warned = false
    try {
      await client.query('INSERT INTO written (id) VALUES ($1)', [id])
      if (this.#warned) this.inDoubt.push(id)
      else this.acknowledged.push(id)
      return true
    } catch (error) {
      this.lastError = String(error)
      const { code, severity } = error as { code?: string; severity?: string }
      // ERROR: the server has rolled it back. Anything else broke the connection, and nobody knows what became of the row.
      if (severity === 'ERROR' && code !== undefined) this.refused.push(id)
      else this.inDoubt.push(id)
      await this.#leave()
      return false
    }
  }

  async #findPrimary(): Promise<pg.Client | null> {
    for (const node of this.#cluster.nodes) {
      let client: pg.Client | null = null
      try {
        client = await this.#cluster.connect(node, { superuser: false })
        const { rows } = await client.query<{ standby: boolean }>('SELECT pg_is_in_recovery() AS standby')
        if (rows[0]?.standby === false) {
          client.on('notice', (notice) => {
            // "canceling wait for synchronous replication": the row is committed here, and perhaps nowhere else.
            if (/synchronous replication/.test(notice.message ?? '')) this.#warned = true
          })
          await client.query('CREATE TABLE IF NOT EXISTS written (id bigint PRIMARY KEY)')
          return client
        }
      } catch (error) {
        this.lastError = String(error)
      }
      await client?.end().catch(() => {})
    }
    return null
  }

  async #leave(): Promise<void> {
    const client = this.#client
    this.#client = null
    await client?.end().catch(() => {})
  }
}
