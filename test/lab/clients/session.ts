/**
 * A client's connection to one node, of which every use has a deadline: whoever hangs is abandoned by closing the socket, as an application
 * with a time limit does. How a statement ended is said in the words of the history.
 */
import { Socket } from 'node:net'
import pg from 'pg'
import type { Outcome } from './history.ts'

/** How to reach a node, as pg.Client takes it. */
export type ConnectionOf = (node: string) => pg.ClientConfig

export interface Refusal {
  readonly outcome: Exclude<Outcome, 'acknowledged'>
  readonly reason: string
}

export class Session {
  readonly node: string
  readonly #client: pg.Client
  readonly #socket: Socket
  #broken: string | null = null
  #unconfirmed = false

  private constructor(node: string, client: pg.Client, socket: Socket) {
    this.node = node
    this.#client = client
    this.#socket = socket
    client.on('error', (error) => {
      this.#broken ??= error.message
    })
    client.on('end', () => {
      this.#broken ??= 'the connection has ended'
    })
    client.on('notice', ({ message }) => {
      // "canceling wait for synchronous replication": it is committed there, and perhaps nowhere else.
      if (/synchronous replication/.test(message ?? '')) this.#unconfirmed = true
    })
  }

  /** Throws when it is not there within the deadline. */
  static async open(node: string, connectionOf: ConnectionOf, deadlineMs: number): Promise<Session> {
    const socket = new Socket()
    const options = { ...connectionOf(node), stream: () => socket, connectionTimeoutMillis: deadlineMs }
    const client = new pg.Client({ ...options, query_timeout: 0 })
    const session = new Session(node, client, socket)
    try {
      await within(deadlineMs, client.connect())
      return session
    } catch (error) {
      session.abandon()
      throw error
    }
  }

  get isOpen(): boolean {
    return this.#broken === null
  }

  /** Throws whatever went wrong; then the session is abandoned unless the server has said that only the statement failed. */
  async query<T extends pg.QueryResultRow>(
    text: string,
    values: readonly unknown[],
    deadlineMs: number,
  ): Promise<pg.QueryResult<T>> {
    this.#unconfirmed = false
    try {
      const result = await within(deadlineMs, this.#client.query<T>(text, [...values]))
      if (this.#unconfirmed) throw new Unconfirmed()
      return result
    } catch (error) {
      if (!isStatementError(error)) this.abandon()
      throw error
    }
  }

  /** At once, and without a word to the server: that may be what hangs. */
  abandon(): void {
    this.#broken ??= 'abandoned'
    this.#socket.destroy()
    this.#client.end().catch(() => {})
  }

  async close(): Promise<void> {
    if (this.isOpen) await within(1_000, this.#client.end()).catch(() => {})
    this.abandon()
  }
}

class Unconfirmed extends Error {
  override readonly message = 'the wait for the standbys was given up'
}

/** ERROR: the server has rolled the statement's transaction back. FATAL and whatever broke the connection say nothing of that. */
function isStatementError(error: unknown): error is pg.DatabaseError {
  return error instanceof pg.DatabaseError && error.severity === 'ERROR'
}

/** What the proxy says of a statement that may have been executed. */
const IN_DOUBT = '08007'

/** Of a statement that would have committed. */
export function refusalOf(error: unknown): Refusal {
  const reason = reasonOf(error)
  if (!isStatementError(error) || error.code === IN_DOUBT) return { outcome: 'unknown', reason }
  return { outcome: 'failed', reason }
}

/** With the code where there is one. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof pg.DatabaseError)) return error instanceof Error ? error.message : String(error)
  return `${error.severity === 'ERROR' ? '' : `${error.severity} `}${error.code}: ${error.message}`
}

async function within<T>(deadlineMs: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${deadlineMs} ms`)), deadlineMs)
  })
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
    // What is abandoned fails later, and nobody listens any more.
    work.catch(() => {})
  }
}
