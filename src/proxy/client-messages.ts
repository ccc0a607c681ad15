/**
 * What a client's messages mean for the server that they go to: which answers will be owed, what may be left in the session, and, in
 * transaction mode, under which names statements are prepared there. Gives what takes the place of a message, null to let it pass.
 */

import { errorResponse } from '../protocol/backend-builders.ts'
import {
  bindStatementName,
  closeStatement,
  describedKind,
  describedName,
  type NameSpan,
  parseMessage,
  parseStatementName,
  textOf,
  withName,
} from '../protocol/frontend-bodies.ts'
import { query } from '../protocol/frontend-messages.ts'
import { NOTHING, seenBytes } from '../protocol/message-scanner.ts'
import { FRONTEND } from '../protocol/message-types.ts'
import { ProtocolViolation } from '../protocol/violation.ts'
import { CLIENT_ERRORS } from './client-errors.ts'
import type { ClientStatements } from './client-statements.ts'
import { isPlainCommit } from './commit-doubt.ts'
import { REQUEST } from './request-queue.ts'
import type { ServerConnection } from './server-connection.ts'
import type { PoolMode } from './settings.ts'
import { NO_STATEMENT, STATEMENT_PREFIX, type Statement, type UnnamedStatement } from './statements.ts'
import type { Traffic } from './traffic.ts'
import { either, PLAIN, type Traits, traitsOf, UNKNOWN } from './traits.ts'

/** What reading needs of a client's session. */
export interface ReadSession {
  readonly mode: PoolMode
  readonly server: ServerConnection | null
  readonly statements: ClientStatements
  readonly traffic: Traffic
  /** COMMITs without an answer are looked up afterwards. */
  readonly resolvesCommits: boolean
  /** What is left of the message that was replaced does not pass. */
  discardRest(): void
  /** The client says goodbye. */
  terminate(): void
}

const HEADER_BYTES = 5
const MAX_LOOKED_AT_BYTES = 64 * 1024
/** A named statement is kept to be prepared again elsewhere. */
const MAX_NAMED_BYTES = 1024 * 1024
const MAX_NAMES_BYTES = 8 * 1024

export const FRONTEND_SEEN = seenBytes('SHXcdfFp', {
  E: HEADER_BYTES + 1,
  Q: HEADER_BYTES + MAX_LOOKED_AT_BYTES,
  P: HEADER_BYTES + MAX_NAMED_BYTES,
  B: HEADER_BYTES + MAX_NAMES_BYTES,
  D: HEADER_BYTES + MAX_NAMES_BYTES,
  C: HEADER_BYTES + MAX_NAMES_BYTES,
})

const CLOSE_NOTHING = closeStatement(NO_STATEMENT)
/** Fails on any server, at once and in any state, and shows in its log why. */
const REFUSED_TEXT = 'refused by the understudy proxy'
/** Changes nothing where nobody can listen, has no rows, and fails in a failed transaction as DEALLOCATE does. */
const IN_PLACE_OF_DEALLOCATE = 'UNLISTEN *'

export function readFrontendMessage(
  session: ReadSession,
  type: number,
  chunk: Buffer,
  start: number,
  seenEnd: number,
  end: number,
): Buffer | null {
  const { server } = session
  // The server was lost while this chunk was being read: what is left of it has no receiver.
  if (server === null) return null
  switch (type) {
    case FRONTEND.Query:
      session.traffic.queries++
      return readQuery(session, server, chunk, start, seenEnd, end)
    case FRONTEND.Parse:
      session.traffic.parses++
      return readParse(session, server, chunk, start, seenEnd, end)
    case FRONTEND.Bind:
      session.traffic.binds++
      return readBind(session, server, chunk, start, seenEnd)
    case FRONTEND.Describe:
      return readDescribe(session, server, chunk, start, seenEnd)
    case FRONTEND.Close:
      return readClose(session, server, chunk, start, seenEnd)
    case FRONTEND.Execute:
      session.traffic.queries++
      return readExecute(session, server, chunk[start + HEADER_BYTES] === 0)
    case FRONTEND.Sync:
      if (!server.copyIn) server.requests.push(REQUEST.Sync)
      server.synced()
      return null
    case FRONTEND.CopyDone:
    case FRONTEND.CopyFail:
      if (server.copyIn) server.copyIn = false
      else server.requests.push(REQUEST.CopyEnd)
      return null
    case FRONTEND.FunctionCall:
      server.requests.push(REQUEST.FunctionCall)
      note(server, UNKNOWN)
      noteExecuted(session, server, UNKNOWN)
      return null
    case FRONTEND.Terminate:
      session.terminate()
      return NOTHING
    case FRONTEND.PasswordMessage:
      throw new ProtocolViolation('a password was sent when none was asked for')
    default:
      return null
  }
}

function note(server: ServerConnection, traits: Traits): void {
  if (traits.leavesState) server.state.note('temporary tables, locks or settings')
}

function noteExecuted(session: ReadSession, server: ServerConnection, traits: Traits): void {
  if (traits.mayCommit || server.mayRollBack) server.mayCommit = true
  if (traits.mayRollBack) server.mayRollBack = true
  if (traits.forgets && traits.deallocates === null) {
    server.prepared.mayBeForgotten()
    session.statements.mayBeForgotten()
  }
}

/** What a DEALLOCATE means of what the proxy keeps for the client; undefined: the server knows it, or nobody. */
function deallocated(session: ReadSession, { deallocates }: Traits): Statement | undefined {
  if (deallocates === null || session.mode === 'session') return undefined
  return session.statements.get(deallocates)
}

function readExecute(session: ReadSession, server: ServerConnection, ofUnnamedPortal: boolean): null {
  const { unnamed, named } = server.bound
  noteExecuted(session, server, either(unnamed, named))
  const statement = ofUnnamedPortal ? deallocated(session, unnamed) : undefined
  const name = unnamed.deallocates
  if (statement === undefined || name === null) {
    server.requests.push(REQUEST.Execute)
    return null
  }
  session.statements.close(name)
  server.requests.push(REQUEST.Execute, { kind: 'deallocated', name, statement })
  return null
}

function readQuery(
  session: ReadSession,
  server: ServerConnection,
  chunk: Buffer,
  start: number,
  seenEnd: number,
  end: number,
): Buffer | null {
  const text = seenEnd === end ? chunk.toString('latin1', start + HEADER_BYTES, end - 1) : null
  const traits = text === null ? UNKNOWN : traitsOf(text)
  // A simple query destroys the unnamed statement.
  server.unnamed = null
  session.statements.unnamed = null
  if (traits.listens && session.mode === 'transaction') {
    server.requests.push(REQUEST.Query, {
      kind: 'refused',
      error: errorResponse(CLIENT_ERRORS.listenRefused()),
    })
    return query(REFUSED_TEXT)
  }
  const statement = deallocated(session, traits)
  const name = traits.deallocates
  if (statement !== undefined && name !== null) {
    session.statements.close(name)
    server.requests.push(REQUEST.Query, { kind: 'deallocated', name, statement })
    return query(IN_PLACE_OF_DEALLOCATE)
  }
  const alone = server.requests.isSettled && server.status === 'T' && !server.copyIn
  const asks = session.resolvesCommits && traits.mayCommit && alone && text !== null && isPlainCommit(text)
  server.requests.push(REQUEST.Query)
  note(server, traits)
  noteExecuted(session, server, traits)
  return asks ? Buffer.concat([server.askAheadOfCommit(), chunk.subarray(start, end)]) : null
}

function readParse(
  session: ReadSession,
  server: ServerConnection,
  chunk: Buffer,
  start: number,
  seenEnd: number,
  end: number,
): Buffer | null {
  const span = parseStatementName(chunk, start, seenEnd)
  const whole = seenEnd === end
  const rest = chunk.subarray(span.to + 1, seenEnd)
  if (span.from !== span.to && session.mode === 'transaction') {
    if (!whole) return refuse(session, server, CLIENT_ERRORS.statementTooLong())
    return readNamedParse(session, server, textOf(chunk, span), rest)
  }
  const traits = whole
    ? traitsOf(chunk.toString('latin1', span.to + 1, chunk.indexOf(0, span.to + 1)))
    : UNKNOWN
  if (traits.listens && session.mode === 'transaction') {
    return refuse(session, server, CLIENT_ERRORS.listenRefused())
  }
  note(server, traits)
  if (span.from !== span.to) {
    server.state.note('prepared statements')
    server.requests.push(REQUEST.Parse)
    return null
  }
  if (deallocated(session, traits) !== undefined) {
    const text = Buffer.from(`${IN_PLACE_OF_DEALLOCATE}\0\0\0`, 'latin1')
    giveUnnamed(session, server, { rest: text, traits })
    return parseMessage(Buffer.alloc(0), text)
  }
  const isKept = session.mode === 'transaction' && whole && rest.length <= MAX_LOOKED_AT_BYTES
  giveUnnamed(session, server, { rest: isKept ? Buffer.from(rest) : null, traits })
  return null
}

function giveUnnamed(session: ReadSession, server: ServerConnection, statement: UnnamedStatement): void {
  session.statements.unnamed = statement
  server.giveUnnamed(statement, false)
}

function readNamedParse(session: ReadSession, server: ServerConnection, name: string, rest: Buffer): Buffer {
  if (!session.statements.isFree(name)) {
    return refuse(session, server, CLIENT_ERRORS.duplicateStatement(name))
  }
  if (!session.statements.hasRoomFor(rest.length))
    return refuse(session, server, CLIENT_ERRORS.tooManyStatements(session.statements.maxBytes))
  const statement = session.statements.add(name, rest)
  if (statement.traits.listens) {
    session.statements.forget(name, statement)
    return refuse(session, server, CLIENT_ERRORS.listenRefused())
  }
  if (server.prepared.has(statement)) {
    // It is there already; a Close of nothing is answered in its place and in its order.
    server.requests.push(REQUEST.Close, { kind: 'known', name, statement })
    return CLOSE_NOTHING
  }
  return prepare(server, statement, name)
}

/** `name` null: nobody sees the answer. */
function prepare(server: ServerConnection, statement: Statement, name: string | null): Buffer {
  const message = parseMessage(statement.name, statement.rest)
  const isDoubtful = server.prepared.isDoubtful(statement)
  if (isDoubtful) server.requests.push(REQUEST.Close, { kind: 'hidden' })
  server.prepared.add(statement)
  server.requests.push(REQUEST.Parse, { kind: 'prepared', statement, hidden: name === null, name })
  return isDoubtful ? Buffer.concat([closeStatement(statement.name.toString('latin1')), message]) : message
}

/** In the place of a message of the extended protocol goes a Parse that fails. */
function refuse(
  session: ReadSession,
  server: ServerConnection,
  error: Parameters<typeof errorResponse>[0],
): Buffer {
  session.discardRest()
  server.unnamed = null
  server.requests.push(REQUEST.Parse, { kind: 'refused', error: errorResponse(error) })
  return parseMessage(Buffer.alloc(0), Buffer.from(`${REFUSED_TEXT}\0\0\0`, 'latin1'))
}

function readBind(
  session: ReadSession,
  server: ServerConnection,
  chunk: Buffer,
  start: number,
  seenEnd: number,
): Buffer | null {
  const span = bindStatementName(chunk, start, seenEnd)
  const statement = meant(session, chunk, span)
  const traits = statement?.traits ?? PLAIN
  note(server, traits)
  // The portal's name is the first string: it is empty when the statement's begins behind one zero.
  const isUnnamedPortal = span.from === start + HEADER_BYTES + 1
  const { named } = server.bound
  server.bound = isUnnamedPortal
    ? { unnamed: traits, named }
    : { ...server.bound, named: either(named, traits) }
  return use(session, server, REQUEST.Bind, { chunk, start, seenEnd, span }, statement)
}

function readDescribe(
  session: ReadSession,
  server: ServerConnection,
  chunk: Buffer,
  start: number,
  seenEnd: number,
): Buffer | null {
  if (describedKind(chunk, start, seenEnd) === 'portal') {
    server.requests.push(REQUEST.Describe)
    return null
  }
  const span = describedName(chunk, start, seenEnd)
  return use(session, server, REQUEST.Describe, { chunk, start, seenEnd, span }, meant(session, chunk, span))
}

interface Use {
  readonly chunk: Buffer
  readonly start: number
  readonly seenEnd: number
  readonly span: NameSpan
}

/** undefined: the server is asked by the client's name, and says that there is no such statement. */
function meant(
  session: ReadSession,
  chunk: Buffer,
  span: NameSpan,
): Statement | UnnamedStatement | undefined {
  if (span.from === span.to) return session.statements.unnamed ?? undefined
  if (session.mode === 'session') return undefined
  const name = textOf(chunk, span)
  if (name.startsWith(STATEMENT_PREFIX)) throw new ProtocolViolation(`no statement can be called ${name}`)
  return session.statements.get(name)
}

/** A Bind or a Describe of a statement, behind a Parse whose answer nobody sees when the server does not have it. */
function use(
  session: ReadSession,
  server: ServerConnection,
  kind: typeof REQUEST.Bind | typeof REQUEST.Describe,
  { chunk, start, seenEnd, span }: Use,
  statement: Statement | UnnamedStatement | undefined,
): Buffer | null {
  if (statement !== undefined && 'name' in statement) {
    const missing = server.prepared.has(statement) ? null : prepare(server, statement, null)
    server.requests.push(kind, statement.uses)
    const message = withName(chunk, start, seenEnd, span, statement.name)
    return missing === null ? message : Buffer.concat([missing, message])
  }
  const isThere = statement !== undefined && statement === server.unnamed
  if (session.mode === 'session' || span.from !== span.to || isThere) {
    server.requests.push(kind)
    return null
  }
  // Whatever the server has under the empty name is another client's.
  if (statement === undefined || statement.rest === null)
    return refuse(session, server, CLIENT_ERRORS.noUnnamedStatement())
  server.giveUnnamed(statement, true)
  server.requests.push(kind)
  return Buffer.concat([parseMessage(Buffer.alloc(0), statement.rest), chunk.subarray(start, seenEnd)])
}

function readClose(
  session: ReadSession,
  server: ServerConnection,
  chunk: Buffer,
  start: number,
  seenEnd: number,
): Buffer | null {
  const isPortal = describedKind(chunk, start, seenEnd) === 'portal'
  if (isPortal || session.mode === 'session') {
    server.requests.push(REQUEST.Close)
    return null
  }
  const name = textOf(chunk, describedName(chunk, start, seenEnd))
  const statement = session.statements.close(name)
  if (name === '') {
    server.unnamed = null
    server.requests.push(REQUEST.Close)
    return null
  }
  // The server keeps it: others may use it, and this client may come again.
  server.requests.push(REQUEST.Close, { kind: 'closed', name, statement })
  return CLOSE_NOTHING
}
