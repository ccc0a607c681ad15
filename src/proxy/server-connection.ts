/**
 * One connection to PostgreSQL, as it serves one client after the other. It lets the server's bytes pass to the client that it is linked
 * with, and learns from the beginnings of messages what state the session is in.
 */
import type { Socket } from 'node:net'
import type { RoutedNode } from '../ports/proxy.ts'
import { commandComplete, parameterStatus } from '../protocol/backend-builders.ts'
import { type ErrorFields, parseErrorFields } from '../protocol/error-fields.ts'
import { closeStatement } from '../protocol/frontend-bodies.ts'
import { query, terminate } from '../protocol/frontend-messages.ts'
import { MessageScanner, type MessageVisitor, NOTHING, seenBytes } from '../protocol/message-scanner.ts'
import { BACKEND } from '../protocol/message-types.ts'
import { ProtocolViolation } from '../protocol/violation.ts'
import { readChunks } from './chunk-reads.ts'
import { ASK_AHEAD, ASK_AHEAD_AGAIN, type CommitInDoubt, parseDoubt } from './commit-doubt.ts'
import { type Hidden, type HiddenAnswer, HiddenExchange } from './hidden-exchange.ts'
import type { Home, LinkedClient } from './linked-client.ts'
import { Outbox } from './outbox.ts'
import type { Parameters } from './parameters.ts'
import { RowReader } from './reads/row-reader.ts'
import { tellsNothing, WithheldAnswer } from './reads/withheld-answer.ts'
import { REQUEST, type RequestNote, RequestQueue } from './request-queue.ts'
import { codeOf, isFatal, isHidden, isOutdated, lostFields, parameterOf } from './server-answers.ts'
import type { ServerLogin } from './server-login.ts'
import { effectOfTag, SessionState } from './session-state.ts'
import { PreparedStatements, type UnnamedStatement } from './statements.ts'
import { PLAIN, type Traits } from './traits.ts'

const NOTHING_BOUND = { unnamed: PLAIN, named: PLAIN } as const

const SEEN = seenBytes('DdTtANnsIHGV123c', { C: 5 + 20, E: 5 + 65_536, S: 5 + 65_536, Z: 6 })

export class ServerConnection implements MessageVisitor {
  readonly epoch: number
  readonly node: RoutedNode
  readonly parameters: Parameters
  readonly processId: number
  readonly secretKey: Buffer
  readonly requests: RequestQueue
  readonly prepared = new PreparedStatements()
  readonly state = new SessionState()
  readonly startedAtMs = performance.now()
  /** Of the last ReadyForQuery. */
  status: 'I' | 'T' | 'E' = 'I'
  /** Since when nothing is under way. */
  idleSinceMs = performance.now()
  client: LinkedClient<ServerConnection> | null = null
  home: Home<ServerConnection> | null = null
  unnamed: UnnamedStatement | null = null
  /** What the client sends is data: the server ignores a Sync among it. */
  copyIn = false
  /** Something that may commit was sent and is not answered. */
  mayCommit = false
  /** Something that may roll back was sent and is not answered: what follows it is in no transaction. */
  mayRollBack = false
  /** What is known of the transaction whose COMMIT, and nothing else, is not answered; null: nothing. */
  commitInDoubt: CommitInDoubt | null = null
  /** Of the statements that portals were bound to, in this transaction. */
  bound: { readonly unnamed: Traits; readonly named: Traits } = NOTHING_BOUND
  /** Cancel requests under way: until they are through they could hit the next client. */
  cancelling = 0
  isClosed = false
  readonly #socket: Socket
  readonly #scanner: MessageScanner
  readonly #outbox: Outbox
  readonly #onClosed: (server: ServerConnection) => void
  #lastWords: ErrorFields | null = null
  #own: OwnCommand | null = null
  #withheld: WithheldAnswer | null = null
  #readyAtEnd = false
  #unnamedUnanswered = 0
  /** The client has set parameters back: what is reported before ReadyForQuery is of that (PostgreSQL 14 and later). */
  #resetting = false
  #hidden: Hidden | null = null
  /** Which run of which server this is, once it was asked (commit-doubt.ts): a connection outlives none. */
  #run: string | null = null
  /** The client has been told an error for its COMMIT, which is answered with a tag now. */
  #leaveOutTag = false

  constructor(
    socket: Socket,
    login: ServerLogin,
    options: {
      readonly epoch: number
      readonly node: RoutedNode
      readonly onClosed: (server: ServerConnection) => void
    },
  ) {
    this.#socket = readChunks(socket, (chunk) => this.#take(chunk))
    this.#outbox = new Outbox(this.#socket)
    this.#scanner = new MessageScanner(this, SEEN)
    this.#onClosed = options.onClosed
    this.epoch = options.epoch
    this.node = options.node
    this.parameters = login.parameters
    this.processId = login.processId
    this.secretKey = login.secretKey
    this.requests = new RequestQueue((note) => this.#failed(note))
    this.#socket.on('drain', () => this.client?.serverDrained())
    this.#socket.on('error', (error) => this.#end(error.message))
    this.#socket.on('close', () => this.#end('the server closed the connection'))
    this.#socket.resume()
  }

  get isStandby(): boolean {
    return this.parameters.get('in_hot_standby') === 'on'
  }

  /** Nothing is under way, and no transaction is open, be it one that awaits its Sync. */
  get isIdle(): boolean {
    return this.status === 'I' && this.requests.isSettled && this.#own === null && this.#hidden === null
  }

  /** A message to the client has begun and cannot be finished. */
  get cutOff(): boolean {
    return this.#scanner.inMessage
  }

  /** A Parse of the unnamed statement is about to be sent; `hidden`: its answer is nobody's. */
  giveUnnamed(statement: UnnamedStatement, hidden: boolean): void {
    this.unnamed = statement
    this.#unnamedUnanswered++
    this.requests.push(REQUEST.Parse, { kind: 'unnamed', hidden, statement })
  }

  /** A Sync was sent: behind it nothing that is not answered can be relied on, for it may have been skipped. */
  synced(): void {
    this.prepared.synced()
    // What the server has then may be another client's.
    if (this.#unnamedUnanswered > 0) this.unnamed = null
  }

  send(bytes: Buffer): void {
    this.#outbox.add(bytes)
  }

  /** False when the server does not take it as fast as it comes. */
  flush(): boolean {
    return this.#outbox.flush()
  }

  pause(): void {
    this.#socket.pause()
  }

  resume(): void {
    this.#socket.resume()
  }

  /** Keeps the beginning of the next answer back, so that it can be asked for elsewhere when it ends with one of these SQLSTATEs. */
  withhold(codes: ReadonlySet<string>): void {
    this.#withheld = new WithheldAnswer(codes)
  }

  /** Of what was asked since `withhold` nothing was passed on. */
  get isWithholding(): boolean {
    return this.#withheld !== null
  }

  /** Runs a statement of the proxy's own; its answer goes to nobody else. The server must be idle, or in a transaction and quiet. */
  run(sql: string, done: (error: ErrorFields | null) => void): void {
    this.#begin(sql, { done, error: null, rows: null })
  }

  /** The same, for one whose rows are wanted. */
  askRows(sql: string, done: (rows: readonly (readonly (string | null)[])[] | ErrorFields) => void): void {
    const rows = new RowReader()
    this.#begin(sql, { done: (error) => done(error ?? rows.rows), error: null, rows })
  }

  #begin(sql: string, own: OwnCommand): void {
    this.#own = own
    // A simple query destroys it.
    this.unnamed = null
    this.#socket.write(query(sql))
  }

  /** Asks for one value, as `run` runs a statement. Never rejects: `code` is an SQLSTATE. */
  ask(sql: string): Promise<HiddenAnswer> {
    if (this.isClosed) return Promise.resolve(LOST)
    this.unnamed = null
    return new Promise((done) => {
      this.#hidden = { exchange: new HiddenExchange(), done }
      this.#socket.write(query(sql))
    })
  }

  /** What is to be sent right before the client's COMMIT, while nothing else is under way: its answer is kept in `commitInDoubt`. */
  askAheadOfCommit(): Buffer {
    this.unnamed = null
    this.#hidden = { exchange: new HiddenExchange(), done: null }
    return this.#run === null ? ASKS_AHEAD : ASKS_AHEAD_AGAIN
  }

  /** Closes prepared statements beyond `max`; their answers come before the client's and are left out. */
  closeExcess(max: number): void {
    if (this.prepared.size <= max) return
    for (const statement of this.prepared.takeExcess(max)) {
      this.requests.push(REQUEST.Close, { kind: 'hidden' })
      this.#outbox.add(closeStatement(statement.name.toString('latin1')))
    }
  }

  /** Ends the session; the client, when there is one, is told `why`. */
  close(why: string): void {
    if (this.isClosed) return
    // Said without waiting: PostgreSQL then ends the session without a line in its log.
    if (this.#socket.writable) this.#socket.end(terminate())
    this.#end(why)
  }

  forward(bytes: Buffer): void {
    if (this.#own !== null) this.#own.rows?.push(bytes)
    else if (this.#withheld === null) this.client?.toClient(bytes)
    else if (!this.#withheld.keep(bytes)) this.#pass()
  }

  message(type: number, chunk: Buffer, start: number, seenEnd: number, end: number): Buffer | null {
    if (this.#withheld !== null && this.#staysBack(type, chunk, start, seenEnd, end)) return NOTHING
    switch (type) {
      case BACKEND.DataRow:
      case BACKEND.CopyData:
        return null
      case BACKEND.RowDescription:
      case BACKEND.NoData:
        this.requests.answered(REQUEST.Describe)
        return null
      case BACKEND.CommandComplete:
        if (this.#leaveOutTag) {
          this.#leaveOutTag = false
          this.#scanner.discardRest()
          return NOTHING
        }
        return this.#commandComplete(chunk, start, seenEnd)
      case BACKEND.EmptyQueryResponse:
      case BACKEND.PortalSuspended:
        this.requests.answered(REQUEST.Execute)
        return null
      case BACKEND.ReadyForQuery:
        return this.#ready(chunk[start + 5] ?? 0)
      case BACKEND.BindComplete:
        this.requests.answered(REQUEST.Bind)
        return null
      case BACKEND.ParseComplete:
        return this.#parseComplete()
      case BACKEND.CloseComplete:
        return this.#closeComplete(chunk, start)
      case BACKEND.ErrorResponse:
        return this.#error(chunk, start, seenEnd, end)
      case BACKEND.ParameterStatus:
        return this.#parameterStatus(chunk, start, seenEnd, end)
      case BACKEND.CopyInResponse:
        this.copyIn = this.requests.copyIn()
        return null
      case BACKEND.NoticeResponse:
      case BACKEND.NotificationResponse:
        if (this.client !== null) return null
        // Said to nobody: whoever is linked before the rest of it comes would get half a message.
        this.#scanner.discardRest()
        return NOTHING
      default:
        return null
    }
  }

  #take(chunk: Buffer): void {
    if (this.isClosed) return
    try {
      const rest = this.#hidden === null ? chunk : this.#takeHidden(this.#hidden, chunk)
      if (rest !== null && !this.isClosed) this.#scanner.push(rest)
    } catch (error) {
      if (!(error instanceof ProtocolViolation)) throw error
      this.close(error.message)
      return
    }
    this.client?.flushToClient()
    // What came behind the end of the answer is this client's to its last byte (a setting that changed, a notification).
    if (!this.#readyAtEnd || this.#scanner.inMessage) return
    this.#readyAtEnd = false
    if (this.#own === null && !this.requests.isSettled) return
    const own = this.#own
    this.#own = null
    if (own !== null) {
      own.done(own.error)
      return
    }
    const refusal = this.#withheld?.refusal ?? null
    this.#withheld = null
    if (refusal !== null) this.client?.serverRefused(this, refusal)
    else if (this.status === 'I') this.client?.serverReady(this)
    else this.client?.serverInTransaction(this)
  }

  /** Whether this message of an answer that is withheld is for nobody; one that tells something ends the withholding. */
  #staysBack(type: number, chunk: Buffer, start: number, seenEnd: number, end: number): boolean {
    const withheld = this.#withheld
    if (withheld === null || this.#own !== null) return false
    if (withheld.refusal !== null) {
      if (type === BACKEND.ReadyForQuery) this.#ready(chunk[start + 5] ?? 0)
      this.#scanner.discardRest()
      return true
    }
    if (tellsNothing(type)) return false
    if (type === BACKEND.ErrorResponse && seenEnd === end && !isFatal(chunk, start + 5, seenEnd)) {
      const { code } = parseErrorFields(chunk.subarray(start + 5, end))
      if (withheld.codes.has(code)) {
        withheld.refusal = code
        this.requests.failed()
        return true
      }
    }
    // The session is over, and who serves it next may have the answer.
    if (type === BACKEND.ErrorResponse && isFatal(chunk, start + 5, seenEnd)) return false
    this.#pass()
    return false
  }

  #pass(): void {
    const { pieces } = this.#withheld ?? { pieces: [] }
    this.#withheld = null
    for (const piece of pieces) this.client?.toClient(piece)
  }

  /** Gives what is not of the hidden answer; null: nothing. */
  #takeHidden({ exchange, done }: Hidden, chunk: Buffer): Buffer | null {
    const rest = exchange.take(chunk)
    if (rest === null) return null
    this.#hidden = null
    for (const message of exchange.passed) this.client?.toClient(message)
    if (done === null) this.#askedAhead(exchange)
    else done({ value: exchange.value, code: exchange.error === null ? null : codeOf(exchange.error) })
    return rest
  }

  #askedAhead({ value, error }: HiddenExchange): void {
    if (error === null) {
      const answer = parseDoubt(value, this.#run)
      this.#run = answer.run
      this.commitInDoubt = answer.doubt
      return
    }
    // It was cancelled, or took too long: the transaction has failed by that, and its COMMIT rolls it back. The client hears why.
    this.client?.toClient(error)
    this.#leaveOutTag = true
  }

  #ready(letter: number): Buffer | null {
    this.status = letter === 0x49 ? 'I' : letter === 0x54 ? 'T' : 'E'
    if (this.#own !== null) {
      this.#readyAtEnd = true
      return null
    }
    this.copyIn = false
    this.#resetting = false
    if (this.status === 'I' && this.client !== null) this.client.traffic.transactions++
    this.requests.ready()
    if (!this.requests.isEmpty) return null
    this.mayCommit = false
    this.mayRollBack = false
    this.prepared.settled()
    this.client?.statements.settled()
    this.commitInDoubt = null
    if (this.status === 'I') this.bound = NOTHING_BOUND
    this.idleSinceMs = performance.now()
    this.#readyAtEnd = true
    return null
  }

  #commandComplete(chunk: Buffer, start: number, seenEnd: number): Buffer | null {
    this.#effect(chunk, start, seenEnd)
    const isDeallocate = this.requests.current?.kind === 'deallocated'
    this.requests.answered(REQUEST.Execute)
    return isDeallocate ? commandComplete('DEALLOCATE') : null
  }

  #effect(chunk: Buffer, start: number, seenEnd: number): void {
    const effect = effectOfTag(chunk, start + 5, seenEnd)
    if (effect === null) return
    if (effect === 'changesSchema') {
      this.client?.schemaChanged()
      return
    }
    if (effect === 'forgetsStatements' || effect === 'forgetsEverything') {
      this.prepared.forgotten()
      if (this.#own === null) this.client?.statements.forgetNamed()
    }
    if (this.#own === null && (effect === 'resets' || effect === 'forgetsEverything')) this.#resetting = true
    // What the proxy sets it knows without being told.
    if (this.#own === null || effect === 'forgetsEverything') this.state.apply(effect)
  }

  #parseComplete(): Buffer | null {
    const note = this.requests.answered(REQUEST.Parse)
    if (note?.kind === 'prepared') this.prepared.prepared(note.statement)
    else if (note?.kind === 'unnamed') {
      this.#unnamedUnanswered--
      if (this.#unnamedUnanswered === 0) this.unnamed = note.statement
    }
    return isHidden(note) ? NOTHING : null
  }

  #closeComplete(chunk: Buffer, start: number): Buffer | null {
    const note = this.requests.answered(REQUEST.Close)
    if (note === null) return null
    if (note.kind === 'hidden') return NOTHING
    // The Close stood for a Parse of a statement that was there already: the client asked for one, and gets that answer.
    if (note.kind === 'known') chunk[start] = BACKEND.ParseComplete
    return null
  }

  #error(chunk: Buffer, start: number, seenEnd: number, end: number): Buffer | null {
    if (isFatal(chunk, start + 5, seenEnd) || this.#own !== null) {
      const fields = seenEnd === end ? parseErrorFields(chunk.subarray(start + 5, end)) : null
      if (this.#own !== null && fields !== null) this.#own.error = fields
      if (isFatal(chunk, start + 5, seenEnd)) this.#lastWords = fields
      // The session is over, and what that means for the client is said when the connection closes.
      this.#scanner.discardRest()
      return NOTHING
    }
    this.copyIn = false
    const note = this.requests.failed()
    if (note?.kind === 'refused') {
      this.#scanner.discardRest()
      return note.error
    }
    if (note?.kind === 'deallocated') this.#failed(note)
    else if (note?.kind === 'uses' && seenEnd === end && isOutdated(chunk.subarray(start + 5, end))) {
      // It is cleaned before anybody else gets it.
      this.state.note('outdated statements')
      this.client?.statements.drop(note.statement)
    }
    return null
  }

  #parameterStatus(chunk: Buffer, start: number, seenEnd: number, end: number): Buffer | null {
    if (seenEnd !== end) return null
    const [name, value] = parameterOf(chunk.subarray(start + 5, end))
    this.parameters.set(name, value)
    if (this.#own !== null || this.client === null) return null
    const began = this.#resetting ? this.client.began.get(name) : undefined
    this.client.parameters.set(name, began ?? value)
    return began === undefined ? null : parameterStatus(name, began)
  }

  #failed(note: RequestNote): void {
    switch (note.kind) {
      case 'prepared':
        this.prepared.failed(note.statement)
        if (note.name !== null) this.client?.statements.forget(note.name, note.statement)
        return
      case 'known':
        this.client?.statements.forget(note.name, note.statement)
        return
      case 'unnamed':
        // Whatever is there now may be another client's, or the one before.
        this.unnamed = null
        this.#unnamedUnanswered--
        if (!note.hidden) this.client?.statements.forgetUnnamed(note.statement)
        return
      case 'deallocated':
      case 'closed':
        if (note.statement !== undefined) this.client?.statements.keep(note.name, note.statement)
        return
      default:
    }
  }

  #end(why: string): void {
    if (this.isClosed) return
    this.isClosed = true
    this.#socket.destroySoon()
    const reason = this.#lastWords === null ? why : this.#lastWords.message
    const { client } = this
    const own = this.#own
    this.#own = null
    const hidden = this.#hidden
    this.#hidden = null
    hidden?.done?.(LOST)
    this.#onClosed(this)
    this.client = null
    if (own !== null) own.done(lostFields(reason))
    else client?.serverLost(this, reason)
  }
}

const ASKS_AHEAD = query(ASK_AHEAD)
const ASKS_AHEAD_AGAIN = query(ASK_AHEAD_AGAIN)
const LOST: HiddenAnswer = { value: null, code: '08006' }

interface OwnCommand {
  readonly done: (error: ErrorFields | null) => void
  error: ErrorFields | null
  /** null: they are not wanted. */
  readonly rows: RowReader | null
}
