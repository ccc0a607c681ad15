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
import { NO_STATEMENT, STATEMENT_PREFIX, type Statement } from './statements.ts'
import { PLAIN, type Traits, traitsOf, UNKNOWN } from './traits.ts'

/** What reading needs of a client's session. */
export interface ReadSession {
  readonly mode: PoolMode
  readonly server: ServerConnection | null
  readonly statements: ClientStatements
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
      return readQuery(session, server, chunk, start, seenEnd, end)
    case FRONTEND.Parse:
      return readParse(session, server, chunk, start, seenEnd, end)
    case FRONTEND.Bind:
      return readBind(session, server, chunk, start, seenEnd)
    case FRONTEND.Describe:
      return readDescribe(session, server, chunk, start, seenEnd)
    case FRONTEND.Close:
      return readClose(session, server, chunk, start, seenEnd)
    case FRONTEND.Execute:
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
  if (traits === PLAIN) return
  if (traits.leavesState) server.state.note('temporary tables, locks or settings')
  if (traits.mayCommit) server.mayCommit = true
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
    if (!whole) return refuseParse(session, server, CLIENT_ERRORS.statementTooLong())
    return readNamedParse(session, server, textOf(chunk, span), rest)
  }
  const traits = whole
    ? traitsOf(chunk.toString('latin1', span.to + 1, chunk.indexOf(0, span.to + 1)))
    : UNKNOWN
  if (traits.listens && session.mode === 'transaction') {
    return refuseParse(session, server, CLIENT_ERRORS.listenRefused())
  }
  if (session.mode === 'transaction') {
    session.statements.unnamed =
      whole && rest.length <= MAX_LOOKED_AT_BYTES ? { rest: Buffer.from(rest), traits } : null
    server.unnamed = session.statements.unnamed
  } else if (span.from !== span.to) server.state.note('prepared statements')
  server.requests.push(REQUEST.Parse)
  note(server, traits)
  return null
}

function readNamedParse(session: ReadSession, server: ServerConnection, name: string, rest: Buffer): Buffer {
  if (session.statements.get(name) !== undefined) {
    return refuseParse(session, server, CLIENT_ERRORS.duplicateStatement(name))
  }
  const statement = session.statements.add(name, rest)
  if (statement.traits.listens) {
    session.statements.forget(name, statement)
    return refuseParse(session, server, CLIENT_ERRORS.listenRefused())
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

function refuseParse(
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
  const missing = span.from === span.to ? unnamedMissing(session, server) : null
  const statement = span.from === span.to ? undefined : named(session, textOf(chunk, span))
  const prepare = missing ?? (statement === undefined ? null : prepareMissing(server, statement))
  server.requests.push(REQUEST.Bind)
  if (statement !== undefined) note(server, statement.traits)
  if (statement === undefined && prepare === null) return null
  const bind =
    statement === undefined
      ? chunk.subarray(start, seenEnd)
      : withName(chunk, start, seenEnd, span, statement.name)
  return prepare === null ? bind : Buffer.concat([prepare, bind])
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
  const missing = span.from === span.to ? unnamedMissing(session, server) : null
  const statement = span.from === span.to ? undefined : named(session, textOf(chunk, span))
  const prepare = missing ?? (statement === undefined ? null : prepareMissing(server, statement))
  server.requests.push(REQUEST.Describe)
  if (statement === undefined && prepare === null) return null
  const describe =
    statement === undefined
      ? chunk.subarray(start, seenEnd)
      : withName(chunk, start, seenEnd, span, statement.name)
  return prepare === null ? describe : Buffer.concat([prepare, describe])
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
  if (name === '') {
    session.statements.unnamed = null
    server.unnamed = null
    server.requests.push(REQUEST.Close)
    return null
  }
  // The server keeps it: others may use it, and this client may come again.
  server.requests.push(REQUEST.Close, { kind: 'closed', name })
  return CLOSE_NOTHING
}

/** undefined: the server is asked by the client's name, and says that there is no such statement. */
function named(session: ReadSession, name: string): Statement | undefined {
  if (session.mode === 'session') return undefined
  if (name.startsWith(STATEMENT_PREFIX)) throw new ProtocolViolation(`no statement can be called ${name}`)
  return session.statements.get(name)
}

/** A Parse whose answer nobody sees, when the server does not have it. */
function prepareMissing(server: ServerConnection, statement: Statement): Buffer | null {
  if (server.prepared.has(statement)) return null
  server.prepared.add(statement)
  server.requests.push(REQUEST.Parse, { kind: 'prepared', statement, hidden: true, name: null })
  return parseMessage(statement.name, statement.rest)
}

/** The unnamed statement was parsed on another server, or somebody else's is there. */
function unnamedMissing(session: ReadSession, server: ServerConnection): Buffer | null {
  const { unnamed } = session.statements
  if (session.mode === 'session' || unnamed === null || server.unnamed === unnamed) return null
  server.unnamed = unnamed
  note(server, unnamed.traits)
  server.requests.push(REQUEST.Parse, { kind: 'hidden' })
  return parseMessage(Buffer.alloc(0), unnamed.rest)
}
