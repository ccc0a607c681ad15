/**
 * Cancel requests (manual: "Canceling Requests in Progress"): a client's key means whatever server serves it at that moment. Until the
 * server has closed the connection that carried the request, it could still hit the next statement: so long it serves nobody else.
 */
import { randomBytes, timingSafeEqual } from 'node:crypto'
import { cancelRequest } from '../protocol/frontend-messages.ts'
import type { OpenTarget } from './open-target.ts'
import type { ServerConnection } from './server-connection.ts'

/** Protocol 3.0 has no room for more; who may guess has a chance of one in four thousand million for each living session. */
const SECRET_BYTES = 4
/** From 3.2 on, as PostgreSQL 18 does. */
const LONG_SECRET_BYTES = 32
const DEADLINE_MS = 5_000
/** Process numbers of one worker; above them stands which worker it is. */
const PER_WORKER = 1 << 20

/** Passes a request to the worker whose key it is; nobody hears whether there is one. */
export type ForeignCancel = (worker: number, processId: number, secretKey: Buffer) => void

export interface Cancellable {
  /** The server that works for it right now. */
  readonly busyServer: ServerConnection | null
  /** It waits for a server: it need not any more. */
  cancelWaiting(): void
  /** The request is through. */
  cancelled(server: ServerConnection): void
}

interface Entry {
  readonly secretKey: Buffer
  session: Cancellable | null
}

export class CancelKeys {
  readonly #openTarget: OpenTarget
  readonly #worker: number
  readonly #foreign: ForeignCancel | undefined
  readonly #entries = new Map<number, Entry>()
  #counter = 0

  constructor(openTarget: OpenTarget, worker: number, foreign?: ForeignCancel) {
    this.#openTarget = openTarget
    this.#worker = worker
    this.#foreign = foreign
  }

  /** A key that no living session has, as long as a client of protocol 3.`minorVersion` takes. */
  take(minorVersion: number): { readonly processId: number; readonly secretKey: Buffer } {
    do this.#counter = (this.#counter + 1) % PER_WORKER
    while (this.#counter === 0 || this.#entries.has(this.#worker * PER_WORKER + this.#counter))
    const processId = this.#worker * PER_WORKER + this.#counter
    const secretKey = randomBytes(minorVersion >= 2 ? LONG_SECRET_BYTES : SECRET_BYTES)
    this.#entries.set(processId, { secretKey, session: null })
    return { processId, secretKey }
  }

  bind(processId: number, session: Cancellable): void {
    const entry = this.#entries.get(processId)
    if (entry !== undefined) entry.session = session
  }

  forget(processId: number): void {
    this.#entries.delete(processId)
  }

  /** Nobody hears whether the key was right. Ends when the request is through, or was for nobody. */
  async request(processId: number, secretKey: Buffer): Promise<void> {
    const worker = Math.floor(processId / PER_WORKER)
    if (worker !== this.#worker) {
      this.#foreign?.(worker, processId, secretKey)
      return
    }
    const entry = this.#entries.get(processId)
    if (entry === undefined || entry.session === null) return
    if (secretKey.length !== entry.secretKey.length || !timingSafeEqual(secretKey, entry.secretKey)) return
    const server = entry.session.busyServer
    if (server === null) entry.session.cancelWaiting()
    else await this.#pass(entry.session, server)
  }

  async #pass(session: Cancellable, server: ServerConnection): Promise<void> {
    server.cancelling++
    try {
      await sendCancel(this.#openTarget, server)
    } finally {
      server.cancelling--
      session.cancelled(server)
    }
  }
}

/** Ends when the server has closed the connection, or after a while. Never throws: a request may always be lost. */
export async function sendCancel(openTarget: OpenTarget, server: ServerConnection): Promise<void> {
  const signal = AbortSignal.timeout(DEADLINE_MS)
  try {
    const socket = await openTarget(server.node, signal)
    await new Promise<void>((resolve) => {
      const done = (): void => {
        socket.destroy()
        resolve()
      }
      signal.addEventListener('abort', done, { once: true })
      socket.on('close', done)
      socket.on('error', done)
      socket.write(cancelRequest(server.processId, server.secretKey))
      socket.resume()
    })
  } catch {
    // The server cannot be reached: there is nothing to cancel that will not end by itself.
  }
}
