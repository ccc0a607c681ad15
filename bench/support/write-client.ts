/**
 * A client as an application has it, in a process of its own: writes ids of its own, one after the other, on one connection, and when that
 * fails looks at every node at the same time for one that accepts writes. Each id is sent exactly once. Answers its parent's messages
 * with what became of them; the clock is the monotonic one of the machine, which the parent reads too.
 */
import pg from 'pg'

export interface ClientOptions {
  readonly nodes: readonly { readonly name: string; readonly host: string; readonly port: number }[]
  readonly user: string
  readonly database: string
  readonly password: string
  readonly caPem: string
  /** Between two writes that succeed. */
  readonly intervalMs: number
  /** Between two looks at a node that refused or is a standby. */
  readonly retryMs: number
}

/** What became of one id. `unknown`: sent, and no answer came. */
export interface Attempt {
  readonly id: number
  readonly node: string
  readonly sentAtMs: number
  readonly endedAtMs: number
  readonly outcome: 'acknowledged' | 'refused' | 'unknown'
}

export type ToClient = { readonly kind: 'start'; readonly options: ClientOptions } | { readonly kind: 'stop' }
export type FromClient =
  | { readonly kind: 'attempt'; readonly attempt: Attempt }
  | { readonly kind: 'stopped' }

const CONNECT_TIMEOUT_MS = 1_000
const STATEMENT_TIMEOUT_MS = 1_000
/** A node that accepted a write and did not answer is taken again only when no other is found for so long. */
const DISTRUST_MS = 1_000

/** CLOCK_MONOTONIC, comparable between the processes of one machine. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6
}

class WriteClient {
  readonly #options: ClientOptions
  readonly #distrustedUntilMs = new Map<string, number>()
  #nextId = 1
  #stopping = false

  constructor(options: ClientOptions) {
    this.#options = options
  }

  stop(): void {
    this.#stopping = true
  }

  async run(): Promise<void> {
    while (!this.#stopping) {
      const found = await this.#findWritable()
      if (found === null) continue
      await this.#writeOn(found.node, found.client)
      drop(found.client)
    }
  }

  /** Until an answer does not come, or is a refusal. */
  async #writeOn(node: string, client: pg.Client): Promise<void> {
    while (!this.#stopping) {
      const attempt = await this.#write(node, client)
      tell({ kind: 'attempt', attempt })
      if (attempt.outcome === 'unknown') this.#distrustedUntilMs.set(node, monotonicMs() + DISTRUST_MS)
      if (attempt.outcome !== 'acknowledged') return
      await pause(this.#options.intervalMs)
    }
  }

  async #write(node: string, client: pg.Client): Promise<Attempt> {
    const id = this.#nextId++
    const sentAtMs = monotonicMs()
    const outcome = await within(
      STATEMENT_TIMEOUT_MS,
      client.query('INSERT INTO written (id) VALUES ($1)', [id]),
    ).then(
      (): Attempt['outcome'] => 'acknowledged',
      (error: { readonly severity?: string }): Attempt['outcome'] =>
        // ERROR: rolled back, and the server says so. FATAL or a lost connection: nobody knows.
        error.severity === 'ERROR' ? 'refused' : 'unknown',
    )
    return { id, node, sentAtMs, endedAtMs: monotonicMs(), outcome }
  }

  /** All nodes at once: one that hangs must not hide another. The first that is writable wins. */
  async #findWritable(): Promise<{ readonly node: string; readonly client: pg.Client } | null> {
    const search = new AbortController()
    const stop = setInterval(() => this.#stopping && search.abort(), 50)
    try {
      return await Promise.any(
        this.#options.nodes.map(async (node) => ({
          node: node.name,
          client: await this.#untilWritable(node, search.signal),
        })),
      )
    } catch {
      return null
    } finally {
      clearInterval(stop)
      search.abort()
    }
  }

  async #untilWritable(node: ClientOptions['nodes'][number], signal: AbortSignal): Promise<pg.Client> {
    while (!signal.aborted) {
      const client = this.#isDistrusted(node.name) ? null : await this.#connect(node)
      if (client !== null && (await isWritable(client))) {
        if (!signal.aborted) return client
      }
      if (client !== null) drop(client)
      await pause(this.#options.retryMs)
    }
    throw new Error('another node was found')
  }

  #isDistrusted(node: string): boolean {
    return (this.#distrustedUntilMs.get(node) ?? 0) > monotonicMs()
  }

  async #connect(node: ClientOptions['nodes'][number]): Promise<pg.Client | null> {
    const { user, database, password, caPem } = this.#options
    const client = new pg.Client({
      ...{ host: node.host, port: node.port, user, database, password },
      ssl: { ca: caPem },
      application_name: 'understudy bench',
    })
    client.on('error', () => {})
    try {
      await within(CONNECT_TIMEOUT_MS, client.connect())
      return client
    } catch {
      drop(client)
      return null
    }
  }
}

async function isWritable(client: pg.Client): Promise<boolean> {
  try {
    const asked = client.query<{ standby: boolean }>('SELECT pg_is_in_recovery() AS standby')
    return (await within(STATEMENT_TIMEOUT_MS, asked)).rows[0]?.standby === false
  } catch {
    return false
  }
}

/** end() would wait for a server that may hang. */
function drop(client: pg.Client): void {
  const { stream } = (client as unknown as { connection: { stream: { destroy(): void } } }).connection
  stream.destroy()
}

async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('no answer in time')), ms)
  })
  // What comes later is nobody's business any more.
  work.catch(() => {})
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

function tell(message: FromClient): void {
  process.send?.(message)
}

if (process.send !== undefined) {
  let client: WriteClient | null = null
  process.on('message', (message: ToClient) => {
    if (message.kind === 'stop') {
      client?.stop()
      return
    }
    client = new WriteClient(message.options)
    void client.run().finally(() => {
      tell({ kind: 'stopped' })
      process.disconnect()
    })
  })
  // Whoever wanted to know is gone: a benchmark that was interrupted leaves no client that writes for ever.
  process.on('disconnect', () => process.exit())
}
