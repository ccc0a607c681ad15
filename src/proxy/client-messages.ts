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

export const FRONTEND_SEEN = seenBytes('ESHXcdfFp', {
  Q: HEADER_BYTES + MAX_LOOKED_AT_BYTES,
  P: HEADER_BYTES + MAX_NAMED_BYTES,
  B: HEADER_BYTES + MAX_NAMES_BYTES,
  D: HEADER_BYTES + MAX_NAMES_BYTES,
  C: HEADER_BYTES + MAX_NAMES_BYTES,
})

const UNNAMED = { kind: 'unnamed', hidden: false } as const
const CLOSE_NOTHING = closeStatement(NO_STATEMENT)
/** Fails on any server, at once and in any state, and shows in its log why. */
const REFUSED_TEXT = 'refused by the understudy proxy'

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
      noteExecuted(server, either(server.bound.unnamed, server.bound.named))
      server.requests.push(REQUEST.Execute)
      return null
    case FRONTEND.Sync:
      if (!server.copyIn) server.requests.push(REQUEST.Sync)
      return null
    case FRONTEND.CopyDone:
    case FRONTEND.CopyFail:
      if (server.copyIn) server.copyIn = false
      else server.requests.push(REQUEST.CopyEnd)
      return null
    case FRONTEND.FunctionCall:
      server.requests.push(REQUEST.FunctionCall)
      note(server, UNKNOWN)
      noteExecuted(server, UNKNOWN)
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

function noteExecuted(server: ServerConnection, traits: Traits): void {
  if (traits.mayCommit || server.mayRollBack) server.mayCommit = true
  if (traits.mayRollBack) server.mayRollBack = true
}

function readQuery(
  session: ReadSession,
  server: ServerConnection,
  chunk: Buffer,
  start: number,
  seenEnd: number,
  end: number,
): Buffer | null {
  const traits = seenEnd === end ? traitsOf(chunk.toString('latin1', start + HEADER_BYTES, end - 1)) : UNKNOWN
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
  server.requests.push(REQUEST.Query)
  note(server, traits)
  noteExecuted(server, traits)
  return null
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
  const isKept = session.mode === 'transaction' && whole && rest.length <= MAX_LOOKED_AT_BYTES
  session.statements.unnamed = { rest: isKept ? Buffer.from(rest) : null, traits }
  server.unnamed = session.statements.unnamed
  server.requests.push(REQUEST.Parse, UNNAMED)
  return null
}

function readNamedParse(session: ReadSession, server: ServerConnection, name: string, rest: Buffer): Buffer {
  if (session.statements.get(name) !== undefined) {
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
    server.requests.push(REQUEST.Close, { kind: 'known' })
    return CLOSE_NOTHING
  }
  server.prepared.add(statement)
  server.requests.push(REQUEST.Parse, { kind: 'prepared', statement, hidden: false, name })
  return parseMessage(statement.name, statement.rest)
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
    const prepare = prepareMissing(server, statement)
    server.requests.push(kind)
    const message = withName(chunk, start, seenEnd, span, statement.name)
    return prepare === null ? message : Buffer.concat([prepare, message])
  }
  const isThere = statement !== undefined && statement === server.unnamed
  if (session.mode === 'session' || span.from !== span.to || isThere) {
    server.requests.push(kind)
    return null
  }
  // Whatever the server has under the empty name is another client's.
  if (statement === undefined || statement.rest === null)
    return refuse(session, server, CLIENT_ERRORS.noUnnamedStatement())
  server.unnamed = statement
  server.requests.push(REQUEST.Parse, { kind: 'unnamed', hidden: true })
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

/** A Parse whose answer nobody sees, when the server does not have it. */
function prepareMissing(server: ServerConnection, statement: Statement): Buffer | null {
  if (server.prepared.has(statement)) return null
  server.prepared.add(statement)
  server.requests.push(REQUEST.Parse, { kind: 'prepared', statement, hidden: true, name: null })
  return parseMessage(statement.name, statement.rest)
}
