/**
 * A client that has logged in: takes its bytes, gets a server for them, and lets them pass. In transaction mode the server goes back when
 * a transaction is over; prepared statements and reported settings follow the client to whichever server comes next.
 */
import type { Socket } from 'node:net'
import { type ErrorText, errorResponse, parameterStatus } from '../protocol/backend-builders.ts'
import { MessageScanner, type MessageVisitor, NOTHING } from '../protocol/message-scanner.ts'
import { FRONTEND } from '../protocol/message-types.ts'
import { ProtocolViolation } from '../protocol/violation.ts'
import type { Cancellable } from './cancel.ts'
import { readChunks } from './chunk-reads.ts'
import { CLIENT_ERRORS } from './client-errors.ts'
import { FRONTEND_SEEN, readFrontendMessage } from './client-messages.ts'
import { ClientStatements } from './client-statements.ts'
import type { LinkedClient } from './linked-client.ts'
import { LocalAnswers, type LocalState } from './local-answers.ts'
import { answersToCommit, type LostServer, lossOf, onlyBegins } from './lost-server.ts'
import { Outbox } from './outbox.ts'
import { type Parameters, setStatement } from './parameters.ts'
import { PAUSED, Pauses } from './pauses.ts'
import { PendingInput } from './pending-input.ts'
import type { Pool, WaitingClient } from './pool.ts'
import type { OwnAnswers } from './reads/own-answers.ts'
import { type ReadingSession, ReadPath } from './reads/read-path.ts'
import type { ServerConnection } from './server-connection.ts'
import type { SessionOptions } from './session-options.ts'
import type { PoolMode } from './settings.ts'
import type { Traffic } from './traffic.ts'

/** Of a client that waits for a server; the rest stays in its own buffers. */
const MAX_PENDING_BYTES = 64 * 1024

export class ClientSession
  implements MessageVisitor, LinkedClient<ServerConnection>, WaitingClient, Cancellable, ReadingSession
{
  readonly mode: PoolMode
  readonly parameters: Parameters
  readonly statements: ClientStatements
  readonly traffic: Traffic
  readonly began: ReadonlyMap<string, string>
  waitingSinceMs = 0
  server: ServerConnection | null = null
  readonly #socket: Socket
  readonly #pool: Pool
  readonly #options: SessionOptions
  readonly #scanner: MessageScanner
  readonly #outbox: Outbox
  readonly #pauses: Pauses
  readonly #pending: PendingInput
  /** The pool in which it waits for a server. */
  #waitingIn: Pool | null = null
  /** A server is linked, and is being set up before the client's bytes go there. */
  #preparing = false
  #local: LocalAnswers | OwnAnswers | null = null
  readonly #reads: ReadPath | null
  /** It is being found out whether its COMMIT took place. */
  #resolving: AbortController | null = null
  #ended = false
  /** All that was sent to a server that was free, as long as nothing of its answer has come. */
  #sentAlone: Buffer | null = null

  constructor(options: SessionOptions) {
    this.#options = options
    this.began = options.began
    this.#socket = readChunks(options.socket, (chunk) => this.take(chunk))
    this.#pool = options.pool
    this.mode = options.mode
    this.parameters = options.parameters
    this.statements = new ClientStatements(options.registry, options.maxStatementBytes)
    this.traffic = options.traffic
    this.#reads = options.reads === undefined ? null : new ReadPath(this, options.reads)
    this.#pending = new PendingInput((bytes) => options.pool.holds(bytes))
    this.#scanner = new MessageScanner(this, FRONTEND_SEEN)
    this.#outbox = new Outbox(this.#socket)
    this.#pauses = new Pauses(this.#socket)
    this.#socket.on('drain', () => this.server?.resume())
    this.#socket.on('drain', () => this.#pauses.remove(PAUSED.client))
    this.#socket.on('error', () => this.#end())
    this.#socket.on('close', () => this.#end())
  }

  /** Nothing of it is under way: it could end and miss nothing. */
  get isQuiet(): boolean {
    if (this.#isWaiting || this.#local !== null || !this.#pending.isEmpty || this.#resolving !== null)
      return false
    return this.server === null || (this.server.isIdle && !this.#preparing)
  }

  /** A statement or a transaction of it is under way on the primary. */
  get isUnderWay(): boolean {
    if (this.#reads?.isAtStandby === true) return false
    return this.server !== null && (!this.server.isIdle || this.#preparing)
  }

  get pool(): Pool {
    return this.#pool
  }

  get resolvesCommits(): boolean {
    return this.#options.resolveCommit !== null && this.#reads?.isAtStandby !== true
  }

  get isWaiting(): boolean {
    return this.#isWaiting
  }

  /** Since when it keeps a server in a transaction and asks nothing; null when it does not. */
  get idleInTransactionSinceMs(): number | null {
    const { server } = this
    return server !== null && server.status !== 'I' && server.requests.isEmpty ? server.idleSinceMs : null
  }

  get busyServer(): ServerConnection | null {
    const { server } = this
    return server === null || this.#preparing || server.requests.isEmpty ? null : server
  }

  cancelWaiting(): void {
    if (!this.#isWaiting) return
    this.#waitNoMore()
    this.refused(CLIENT_ERRORS.cancelled())
  }

  cancelled(server: ServerConnection): void {
    server.home?.cancelled(server)
  }

  take(chunk: Buffer): void {
    if (this.#ended) return
    this.traffic.received += chunk.length
    if (this.#canPump) {
      this.#pump(chunk)
    } else if (chunk[0] === FRONTEND.Terminate && this.#pending.isEmpty && this.#scanner.atBoundary) {
      // Nobody needs a server to say goodbye.
      this.#end()
    } else {
      const bearable = this.#pending.push(chunk)
      if (!bearable || this.#pending.bytes > MAX_PENDING_BYTES) this.#pauses.add(PAUSED.waiting)
      this.#seekServer()
    }
  }

  /** The pool has a server for it. */
  granted(server: ServerConnection): void {
    this.#waitingIn = null
    this.traffic.assignments++
    if (this.waitingSinceMs > 0) this.traffic.waitMs += performance.now() - this.waitingSinceMs
    this.waitingSinceMs = 0
    this.server = server
    server.client = this
    if (this.#reads?.mustAsk(server) !== true) {
      this.#setUp(server)
      return
    }
    this.#preparing = true
    this.#reads.ask(server, () => {
      this.#preparing = false
      if (this.#ended) this.#leave(server)
      else this.#setUp(server)
    })
  }

  elsewhere(): void {
    this.#waitingIn = null
    this.#reads?.elsewhere()
  }

  /** Nothing was sent; the statement that waits is refused. `fatal` ends the session. */
  refused(error: ErrorText): void {
    this.#waitingIn = null
    this.waitingSinceMs = 0
    this.#reads?.dropped()
    if (error.severity === 'FATAL') {
      this.fail(error)
      return
    }
    this.#answerLocally({ error, inTransaction: false, skipping: false })
    this.#drain()
  }

  /** Says why, and ends the session. */
  fail(error: ErrorText): void {
    if (this.#ended) return
    this.#outbox.add(errorResponse({ ...error, severity: 'FATAL' }))
    this.#outbox.flush()
    this.#end()
  }

  message(type: number, chunk: Buffer, start: number, seenEnd: number, end: number): Buffer | null {
    const local = this.#local
    if (local !== null) {
      if (type === FRONTEND.Terminate) {
        this.terminate()
        return NOTHING
      }
      local.take(type, chunk.subarray(start + 5, seenEnd))
      if (local.isOver) {
        this.#local = null
        this.#scanner.halt()
      }
      // Nor may the rest of it, which is still to come, reach the server that the next message gets.
      this.#scanner.discardRest()
      return NOTHING
    }
    const passes = readFrontendMessage(this, type, chunk, start, seenEnd, end)
    if (this.#reads?.endsAt(type, end <= chunk.length) === true) this.#scanner.halt()
    return passes
  }

  forward(bytes: Buffer): void {
    this.server?.send(bytes)
  }

  /** For the reader of messages: what is left of the one that it has replaced does not pass. */
  discardRest(): void {
    this.#scanner.discardRest()
  }

  /** The client says goodbye; what it sent before is finished for nobody. */
  terminate(): void {
    this.#scanner.halt()
    this.#ended = true
  }

  toClient(bytes: Buffer): void {
    this.#sentAlone = null
    this.traffic.sent += bytes.length
    this.#outbox.add(bytes)
  }

  flushToClient(): void {
    if (this.#ended || this.#outbox.flush()) return
    this.#pauses.add(PAUSED.client)
    this.server?.pause()
  }

  schemaChanged(): void {
    this.#options.schemaChanged?.()
  }

  serverDrained(): void {
    this.#pauses.remove(PAUSED.server)
  }

  serverReady(server: ServerConnection): void {
    if (this.#scanner.inMessage) return
    if (this.mode === 'session') this.#setAgain(server)
    if (this.mode === 'session') return
    this.#reads?.answered(server)
    this.#unlink(server)
    server.home?.release(server)
    if (this.#reads !== null) this.#drain()
  }

  serverInTransaction(): void {
    if (this.#reads === null) return
    this.#reads.answeredInTransaction()
    this.#drain()
  }

  serverRefused(server: ServerConnection, code: string): void {
    this.#unlink(server)
    server.home?.release(server)
    this.#reads?.refusedByStandby(code)
  }

  serverLost(server: ServerConnection, why: string): void {
    this.server = null
    // No other server can make anything of the rest of a message, or worse: it would read messages in it.
    if (this.#scanner.inMessage) this.#scanner.discardRest()
    this.#pauses.remove(PAUSED.server)
    if (this.#preparing) {
      // Not a byte of the client went there.
      this.#preparing = false
      this.#reads?.lost(server)
      this.#seekServer()
      return
    }
    const onlyRead = this.#reads?.isReading === true
    if (this.#reads?.lost(server) === true) return
    if (this.#resolve(server, why)) return
    this.#lost(server, why, onlyRead)
  }

  #lost(server: LostServer, why: string, onlyRead: boolean): void {
    const loss = lossOf(server, this.mode, why, onlyRead)
    if (loss.kind === 'fatal') {
      this.fail(loss.error)
      return
    }
    if (loss.kind === 'cutOff') {
      this.#end()
      return
    }
    if (this.#sentAlone !== null && onlyBegins(this.#sentAlone)) {
      this.#pending.putBack(this.#sentAlone)
      this.#seekServer()
      return
    }
    for (const bytes of loss.answers) this.#outbox.add(bytes)
    if (loss.next !== null) this.#answerLocally(loss.next)
    this.flushToClient()
    this.#drain()
  }

  inHand(): Buffer | null {
    return this.#pending.joined(this.#scanner.held)
  }

  acquire(pool: Pool): void {
    if (this.#ended) return
    this.#waitingIn = pool
    pool.acquire(this)
  }

  answerWith(answers: OwnAnswers): void {
    this.#local = answers
    this.#drain()
  }

  putBack(bytes: Buffer): void {
    this.#pending.putBack(bytes)
  }

  get isHeldUp(): boolean {
    return this.#pauses.has(PAUSED.waiting)
  }

  leave(): void {
    this.#end()
  }

  letGo(server: ServerConnection): void {
    this.#preparing = false
    if (this.server !== server) return
    this.#unlink(server)
    server.home?.release(server)
  }

  /** True: what is said of its COMMIT is said later. */
  #resolve(server: ServerConnection, why: string): boolean {
    const { commitInDoubt: doubt, requests } = server
    const { resolveCommit } = this.#options
    if (resolveCommit === null || doubt === null || server.cutOff) return false
    if (requests.owed !== 1 || requests.isOpen || (this.mode === 'session' && server.state.held !== null))
      return false
    this.#resolving = new AbortController()
    const at = { epoch: server.epoch, node: server.node.name }
    void resolveCommit(doubt, at, this.#pool, this.#resolving.signal).then((outcome) => {
      this.#resolving = null
      if (this.#ended) return
      for (const bytes of answersToCommit(outcome, why)) this.#outbox.add(bytes)
      this.flushToClient()
      this.#drain()
    })
    return true
  }

  /** There is somebody to answer what the client sends. */
  get #canPump(): boolean {
    if (this.#local !== null) return true
    return this.server !== null && !this.#preparing && this.#reads?.isBatchSent !== true
  }

  get #isWaiting(): boolean {
    return this.#waitingIn !== null || this.#reads?.isPlacing === true
  }

  #waitNoMore(): void {
    this.#waitingIn?.leave(this)
    this.#waitingIn = null
    this.#reads?.cancelPlacing()
  }

  #seekServer(): void {
    if (this.#isWaiting || this.#ended || this.server !== null || this.#resolving !== null) return
    if (this.#reads === null) this.acquire(this.#pool)
    else this.#reads.seek()
  }

  /** Makes the server the client's, and sends what is in hand. */
  #setUp(server: ServerConnection): void {
    if (this.#setAgain(server)) return
    if (this.mode === 'transaction') server.closeExcess(this.#options.maxPreparedStatements)
    this.#reads?.sending(server)
    this.#drain()
  }

  /** True when the server has other settings than the client, which it is given. */
  #setAgain(server: ServerConnection): boolean {
    const isSame = server.parameters.number === this.parameters.number
    const differences = isSame ? [] : this.parameters.differences(server.parameters)
    if (differences.length > 0) this.#prepare(server, differences)
    return differences.length > 0
  }

  #prepare(server: ServerConnection, differences: readonly (readonly [string, string])[]): void {
    this.#preparing = true
    server.run(setStatement(differences), (error) => {
      if (server.isClosed) {
        this.serverLost(server, error?.message ?? '')
        return
      }
      this.#preparing = false
      if (error !== null) {
        this.#unlink(server)
        server.home?.release(server)
        this.fail({ severity: 'FATAL', code: error.code, message: error.message })
        return
      }
      // As the server writes them: else a value that is only written in another way would be set again each time.
      for (const [name, asked] of differences) {
        const actual = server.parameters.get(name)
        if (actual === undefined || actual === asked) continue
        this.parameters.set(name, actual)
        this.#outbox.add(parameterStatus(name, actual))
      }
      if (this.#ended) {
        this.#leave(server)
        return
      }
      this.#reads?.sending(server)
      this.#drain()
    })
  }

  #drain(): void {
    while (!this.#pending.isEmpty && !this.#ended) {
      if (!this.#canPump) {
        this.#seekServer()
        return
      }
      const chunk = this.#pending.shift()
      if (chunk === undefined) break
      this.#pump(chunk)
    }
    this.#pauses.remove(PAUSED.waiting)
  }

  #pump(chunk: Buffer): void {
    this.#sentAlone = this.server?.isIdle === true && this.#scanner.atBoundary ? chunk : null
    let rest: Buffer | null
    try {
      rest = this.#scanner.push(chunk)
    } catch (error) {
      if (!(error instanceof ProtocolViolation)) throw error
      this.fail(CLIENT_ERRORS.protocolViolation(error.message))
      return
    }
    if (this.#ended) {
      this.#close()
      return
    }
    const { server } = this
    if (server !== null && !server.flush()) this.#pauses.add(PAUSED.server)
    if (server === null) this.flushToClient()
    // Nothing that is answered was sent (a Flush, the rest of a COPY that failed): no answer will tell that the server is free.
    else if (server.isIdle) this.serverReady(server)
    if (rest === null) return
    this.#pending.putBack(rest)
    this.#drain()
  }

  #answerLocally(state: LocalState): void {
    this.#local = new LocalAnswers(state, (bytes) => this.#outbox.add(bytes), this.statements)
  }

  #unlink(server: ServerConnection): void {
    this.server = null
    server.client = null
    if (this.#pauses.has(PAUSED.client)) server.resume()
    this.#pauses.remove(PAUSED.server)
  }

  #end(): void {
    if (this.#ended) return
    this.#ended = true
    this.#close()
  }

  /** Once: `#ended` was set before. */
  #close(): void {
    this.#waitNoMore()
    this.#resolving?.abort()
    this.#pending.clear()
    const { server } = this
    if (server !== null && !this.#preparing) this.#leave(server)
    this.#reads?.end()
    this.#socket.destroySoon()
    this.#options.onEnd()
  }

  /** What the client left half-way is taken back, or goes with its server. */
  #leave(server: ServerConnection): void {
    const abandonedInMessage = this.#scanner.inMessage
    this.#unlink(server)
    server.home?.abandon(server, abandonedInMessage)
  }
}
