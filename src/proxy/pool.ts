/**
 * Server connections of one database, role and set of start-up parameters, to the primary or to one standby: which are free, who waits for one,
 * and when to open another. One to the primary is handed out only when it belongs to the epoch that is known to be in force, and its server says
 * that it is no standby (I9); one to a standby only when its server says that it is one, and while the standby may be read from.
 */

import type { RoutedNode } from '../ports/proxy.ts'
import type { ErrorText } from '../protocol/backend-builders.ts'
import type { ErrorFields } from '../protocol/error-fields.ts'
import type { ScramLoginKeys } from '../protocol/scram.ts'
import { CLIENT_ERRORS } from './client-errors.ts'
import type { Home } from './linked-client.ts'
import type { Parameters } from './parameters.ts'
import type { ServerConnection } from './server-connection.ts'
import { ServerRefusal } from './server-login.ts'
import { WaitingLine } from './waiting-line.ts'

export interface WaitingClient {
  waitingSinceMs: number
  granted(server: ServerConnection): void
  /** FATAL ends the session. */
  refused(error: ErrorText): void
  /** This standby has no server for anybody: another node may have one. */
  elsewhere(why: string): void
}

/** Where a pool's servers are right now. */
export type Destination =
  | { readonly kind: 'open'; readonly epoch: number; readonly node: RoutedNode }
  /** `reason` is for people. */
  | {
      readonly kind: 'held'
      readonly epoch: number
      readonly reason: string
      /** Nothing is heard from there: what was asked may never be answered. */
      readonly isSilent?: boolean
    }

export interface PoolKey {
  readonly user: string
  readonly database: string
  readonly startup: ReadonlyMap<string, string>
}

export interface PoolContext {
  readonly size: (key: PoolKey) => number
  readonly maxWaiting: number
  readonly maxWaitingBytes: number
  readonly holdTimeoutMs: number
  readonly serverIdleTimeoutMs: number
  readonly serverLifetimeMs: number
  readonly role: 'primary' | 'standby'
  readonly ofStandby: (node: string) => PoolContext
  readonly destination: () => Destination
  /** By an operator: nobody gets a server there. */
  readonly isPaused: (database: string) => boolean
  /** Of all pools. */
  readonly waiting: Waiting
  /** Ends whatever the server is working on. */
  readonly cancel: (server: ServerConnection) => void
  /** Opens a connection and logs in. Throws ServerRefusal, or whatever broke. */
  readonly connect: (
    destination: Destination,
    key: PoolKey,
    keys: ScramLoginKeys,
    onClosed: (server: ServerConnection) => void,
  ) => Promise<ServerConnection>
}

export interface Waiting {
  count: number
  /** What they have sent already. */
  bytes: number
  refused: number
}

/** What a pool has right now. */
export interface PoolLook {
  readonly servers: readonly ServerConnection[]
  readonly opening: number
  readonly waiting: number
  readonly size: number
  /** 0: nobody waits. */
  readonly longestWaitMs: number
}

const RETRY_FIRST_MS = 20
const RETRY_AT_MOST_MS = 1_000
/** What a server says to anybody who would ask the same again: the waiting clients are told. */
const LASTING = /^(?:28|3D|42)/

export class Pool implements Home<ServerConnection> {
  readonly key: PoolKey
  /** By node; of a pool of the primary's. */
  readonly standbys = new Map<string, Pool>()
  readonly #context: PoolContext
  readonly #servers = new Set<ServerConnection>()
  readonly #idle: ServerConnection[] = []
  readonly #line = new WaitingLine<WaitingClient>()
  readonly #curious = new Set<(parameters: Parameters | ErrorText) => void>()
  #keys: ScramLoginKeys
  #opening = 0
  #failures = 0
  #retry: NodeJS.Timeout | null = null
  #lastFailure = ''
  #welcome: Parameters | null = null
  /** Older servers are closed when they are free. */
  #newSinceMs = 0
  #closed = false

  constructor(key: PoolKey, keys: ScramLoginKeys, context: PoolContext) {
    this.key = key
    this.#keys = keys
    this.#context = context
  }

  /** From the newest login: a password may have been changed. */
  useKeys(keys: ScramLoginKeys): void {
    this.#keys = keys
    for (const standby of this.standbys.values()) standby.useKeys(keys)
  }

  get isUnused(): boolean {
    for (const standby of this.standbys.values()) if (!standby.isUnused) return false
    return this.#servers.size + this.#opening + this.#line.size + this.#curious.size === 0
  }

  /** The pool of the same clients at a standby; made when there is none. */
  standby(node: string): Pool {
    const known = this.standbys.get(node)
    if (known !== undefined) return known
    const pool = new Pool(this.key, this.#keys, this.#context.ofStandby(node))
    this.standbys.set(node, pool)
    return pool
  }

  /**
   * What the server reports at a login; a server is asked when none has been yet. Gives an error to tell, instead; also when `gone` says
   * that nobody wants to know any more.
   */
  welcome(gone: AbortSignal): Promise<Parameters | ErrorText> {
    if (this.#welcome !== null) return Promise.resolve(this.#welcome)
    return new Promise((resolve) => {
      const tell = (answer: Parameters | ErrorText): void => {
        gone.removeEventListener('abort', forget)
        resolve(answer)
      }
      const forget = (): void => {
        this.#curious.delete(tell)
        tell(CLIENT_ERRORS.loginUnavailable(this.#whyNone()))
      }
      if (gone.aborted) {
        forget()
        return
      }
      gone.addEventListener('abort', forget)
      this.#curious.add(tell)
      this.#open()
    })
  }

  /** Answers with `granted` or `refused`, at once or later. */
  acquire(client: WaitingClient): void {
    const server = this.#line.size === 0 ? this.#takeIdle() : null
    if (server !== null) {
      client.granted(server)
      return
    }
    const { waiting, maxWaiting, maxWaitingBytes } = this.#context
    if (waiting.count >= maxWaiting || waiting.bytes > maxWaitingBytes) {
      const byBytes = waiting.count < maxWaiting
      waiting.refused++
      client.refused(
        byBytes ? CLIENT_ERRORS.queueFullOfBytes(maxWaitingBytes) : CLIENT_ERRORS.queueFull(maxWaiting),
      )
      return
    }
    client.waitingSinceMs = performance.now()
    this.#line.add(client)
    waiting.count++
    this.#open()
  }

  /** A client holds so many bytes more, or fewer, than before. False when all of them hold too many. */
  holds(bytes: number): boolean {
    const { waiting, maxWaitingBytes } = this.#context
    waiting.bytes += bytes
    return waiting.bytes <= maxWaitingBytes
  }

  look(nowMs: number): PoolLook {
    const first = this.#line.first()
    return {
      servers: [...this.#servers],
      opening: this.#opening,
      waiting: this.#line.size,
      size: this.#context.size(this.key),
      longestWaitMs: first === null ? 0 : nowMs - first.waitingSinceMs,
    }
  }

  /** Closes what is free; gives how many servers are not released yet. */
  pause(): number {
    for (const server of [...this.#idle]) server.close('an operator has paused the proxy')
    return this.#servers.size + this.#opening
  }

  /** Closes what is free, and everything else when it is released. Gives how many these are. */
  reconnect(): number {
    this.#newSinceMs = performance.now()
    const all = this.#servers.size
    for (const server of [...this.#idle]) server.close('an operator asked for new connections')
    return all
  }

  /** They may be handed out again. */
  resume(): void {
    this.#serveWaiting()
    this.#open()
  }

  /** It does not wait any more. */
  leave(client: WaitingClient): void {
    if (this.#line.remove(client)) this.#context.waiting.count--
  }

  /** Nobody uses it any more; it is cleaned where that is needed. */
  release(server: ServerConnection): void {
    if (server.isClosed || server.cancelling > 0) return
    if (!this.#isUsable(server) || this.#isOld(server)) {
      server.close('it is not needed any more')
      this.#open()
      return
    }
    const cleaning = server.state.cleaning
    if (cleaning === null) {
      this.#offer(server)
      return
    }
    server.run(cleaning, (error) => {
      if (error !== null) {
        server.close(`it could not be cleaned: ${error.message}`)
        return
      }
      server.state.clear()
      this.#offer(server)
    })
  }

  /** The cancel requests against it are through. */
  cancelled(server: ServerConnection): void {
    if (server.client === null && server.cancelling === 0 && !server.isClosed) this.release(server)
  }

  /** Its client has gone: an open transaction is rolled back, anything else that is under way goes with the connection. */
  abandon(server: ServerConnection, inMessage: boolean): void {
    if (server.isClosed) return
    if (inMessage || !server.requests.isSettled) {
      // A statement that runs on would find out only when it has something to say.
      this.#context.cancel(server)
      server.close('its client has gone')
      return
    }
    server.state.note('what its client left')
    if (server.status === 'I') {
      this.release(server)
      return
    }
    server.run('ROLLBACK', (error) => {
      if (error !== null) server.close(`it could not be rolled back: ${error.message}`)
      else this.release(server)
    })
  }

  /** Servers of another epoch are nobody's any more; clients that wait may have a new one (I9). */
  destinationChanged(): void {
    const destination = this.#context.destination()
    if (destination.kind !== 'open') {
      if (this.#context.role !== 'standby') return
      this.#sendElsewhere(destination.reason)
      if (destination.isSilent !== true) return
      // Whoever has seen nothing of an answer yet can have it from another node.
      for (const server of [...this.#servers]) if (server.isWithholding) server.close(destination.reason)
      return
    }
    for (const server of [...this.#servers]) {
      if (server.epoch !== destination.epoch) server.close(`${server.node.name} is not the primary any more`)
    }
    this.#failures = 0
    this.#cancelRetry()
    this.resume()
  }

  /** Time has passed: who has waited too long is told, what nobody needs is closed. */
  sweep(nowMs: number): void {
    const { holdTimeoutMs, serverIdleTimeoutMs } = this.#context
    // Who is made to wait by an operator waits until the operator says so.
    const isPaused = this.#context.isPaused(this.key.database)
    for (let client = this.#line.first(); client !== null && !isPaused; client = this.#line.first()) {
      if (nowMs - client.waitingSinceMs < holdTimeoutMs) break
      this.leave(client)
      client.refused(CLIENT_ERRORS.noPrimary(holdTimeoutMs, this.#whyNone()))
    }
    for (const server of [...this.#idle]) {
      if (nowMs - server.idleSinceMs > serverIdleTimeoutMs || this.#isOld(server)) server.close('it was idle')
    }
  }

  close(why: string): void {
    this.#closed = true
    this.#cancelRetry()
    for (const server of [...this.#servers]) server.close(why)
  }

  /** Where servers are handed out right now. */
  #destination(): Destination {
    const destination = this.#context.destination()
    if (!this.#context.isPaused(this.key.database)) return destination
    return { kind: 'held', epoch: destination.epoch, reason: 'an operator has paused the proxy' }
  }

  #whyNone(): string {
    const destination = this.#destination()
    if (destination.kind === 'held') return destination.reason
    return this.#lastFailure === '' ? 'every server connection is in use' : this.#lastFailure
  }

  #isUsable(server: ServerConnection): boolean {
    const destination = this.#context.destination()
    if (server.isStandby !== (this.#context.role === 'standby')) return false
    // While nobody takes writes, servers are kept: it may be the same primary that goes on.
    return server.epoch === destination.epoch || destination.kind === 'held'
  }

  #isOld(server: ServerConnection): boolean {
    const { startedAtMs } = server
    return startedAtMs < this.#newSinceMs || performance.now() - startedAtMs > this.#context.serverLifetimeMs
  }

  #takeIdle(): ServerConnection | null {
    if (this.#destination().kind !== 'open') return null
    for (let server = this.#idle.pop(); server !== undefined; server = this.#idle.pop()) {
      if (server.isClosed) continue
      if (this.#isUsable(server)) return server
      server.close(`${server.node.name} is no ${this.#context.role}`)
    }
    return null
  }

  #offer(server: ServerConnection): void {
    if (server.isClosed) return
    if (this.#line.size > 0 && this.#destination().kind === 'open') {
      const client = this.#line.take()
      if (client !== null) {
        this.#context.waiting.count--
        client.granted(server)
        return
      }
    }
    this.#idle.push(server)
  }

  /** What was free while nobody was to have it. */
  #serveWaiting(): void {
    while (this.#line.size > 0) {
      const server = this.#takeIdle()
      if (server === null) return
      this.#offer(server)
    }
  }

  #open(): void {
    if (this.#closed || this.#retry !== null || this.#destination().kind !== 'open') return
    const wanted = this.#line.size + (this.#welcome === null && this.#curious.size > 0 ? 1 : 0)
    const size = this.#context.size(this.key)
    while (this.#opening < wanted && this.#servers.size + this.#opening < size) {
      this.#opening++
      void this.#openOne()
    }
  }

  async #openOne(): Promise<void> {
    try {
      const destination = this.#context.destination()
      const server = await this.#context.connect(destination, this.key, this.#keys, (closed) =>
        this.#forget(closed),
      )
      this.#opening--
      this.#opened(server)
    } catch (error) {
      this.#opening--
      this.#failed(error)
    }
  }

  #opened(server: ServerConnection): void {
    // It may have been lost, or its epoch may have ended, while it was opened.
    if (server.isClosed) {
      this.#failed(new Error('the server closed the connection'))
      return
    }
    if (this.#closed || !this.#isUsable(server)) {
      server.close('it is not needed any more')
      this.#failed(new Error(`${server.node.name} is no ${this.#context.role}`))
      return
    }
    server.home = this
    this.#servers.add(server)
    this.#failures = 0
    this.#lastFailure = ''
    this.#welcome = server.parameters
    this.#tellCurious(server.parameters)
    this.#offer(server)
  }

  #failed(error: unknown): void {
    if (this.#closed) return
    this.#lastFailure = error instanceof Error ? error.message : String(error)
    if (error instanceof ServerRefusal && LASTING.test(error.fields.code) && this.#servers.size === 0) {
      this.#refuseAll(error.fields)
      return
    }
    this.#failures++
    // A standby that is full still serves those who wait for one of its servers.
    if (this.#context.role === 'standby' && this.#servers.size === 0) this.#sendElsewhere(this.#lastFailure)
    const waitMs = Math.min(RETRY_AT_MOST_MS, RETRY_FIRST_MS * 2 ** (this.#failures - 1))
    this.#retry ??= setTimeout(() => {
      this.#retry = null
      this.#open()
    }, waitMs)
  }

  #sendElsewhere(why: string): void {
    for (let client = this.#line.take(); client !== null; client = this.#line.take()) {
      this.#context.waiting.count--
      client.elsewhere(why)
    }
  }

  #refuseAll({ code, message, hint }: ErrorFields): void {
    const error: ErrorText = { severity: 'FATAL', code, message, hint }
    this.#tellCurious(error)
    for (let client = this.#line.take(); client !== null; client = this.#line.take()) {
      this.#context.waiting.count--
      client.refused(error)
    }
  }

  #tellCurious(answer: Parameters | ErrorText): void {
    const curious = [...this.#curious]
    this.#curious.clear()
    for (const tell of curious) tell(answer)
  }

  #forget(server: ServerConnection): void {
    this.#servers.delete(server)
    const at = this.#idle.indexOf(server)
    if (at !== -1) this.#idle.splice(at, 1)
    // Not from inside: the client that has lost it is told first.
    queueMicrotask(() => this.#open())
  }

  #cancelRetry(): void {
    if (this.#retry !== null) clearTimeout(this.#retry)
    this.#retry = null
  }
}
