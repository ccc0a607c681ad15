/** A question of the proxy's own to the primary, through a server of some clients' pool: it waits in line as they do. */
import type { ErrorText } from '../../protocol/backend-builders.ts'
import type { Pool, WaitingClient } from '../pool.ts'
import type { ServerConnection } from '../server-connection.ts'

export type Rows = readonly (readonly (string | null)[])[]

/** Values as text. Rejects when it cannot be asked, or fails. */
export function queryThrough(pool: Pool, sql: string): Promise<Rows> {
  return new Promise((resolve, reject) => {
    pool.acquire(new Asking(sql, resolve, reject))
  })
}

/** The longest question has a limit of its own, of a minute. */
const ANSWER_WITHIN_MS = 70_000

class Asking implements WaitingClient {
  waitingSinceMs = 0
  readonly #sql: string
  readonly #resolve: (rows: Rows) => void
  readonly #reject: (error: Error) => void

  constructor(sql: string, resolve: (rows: Rows) => void, reject: (error: Error) => void) {
    this.#sql = sql
    this.#resolve = resolve
    this.#reject = reject
  }

  granted(server: ServerConnection): void {
    const timer = setTimeout(() => server.close('it did not answer the proxy'), ANSWER_WITHIN_MS)
    server.askRows(this.#sql, (rows) => {
      clearTimeout(timer)
      if ('code' in rows) this.#reject(new Error(rows.message))
      else this.#resolve(rows)
      if (server.isClosed) return
      // What failed may have left a transaction open.
      if (server.status === 'I') server.home?.release(server)
      else server.close('a question of the proxy failed')
    })
  }

  refused({ message }: ErrorText): void {
    this.#reject(new Error(message))
  }

  elsewhere(why: string): void {
    this.#reject(new Error(why))
  }
}
