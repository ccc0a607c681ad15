/**
 * Every error of the proxy's own that a client can get, with its SQLSTATE: the part of the contract in docs/proxy.md that a program can
 * rely on. What a server says is passed on as it is.
 */
import type { ErrorText } from '../protocol/backend-builders.ts'

const error = (code: string, message: string, hint?: string): ErrorText => ({
  severity: 'ERROR',
  code,
  message,
  hint,
})
const fatal = (code: string, message: string, hint?: string): ErrorText => ({
  severity: 'FATAL',
  code,
  message,
  hint,
})

export const CLIENT_ERRORS = {
  /** In an explicit transaction that had not sent COMMIT: it certainly did not happen. */
  transactionLost: (why: string): ErrorText =>
    error(
      '40001',
      `the transaction was lost with its server: ${why}`,
      'Nothing of it was committed. Roll back and run it again.',
    ),
  /** A write or a COMMIT without an answer. */
  outcomeUnknown: (why: string): ErrorText =>
    error(
      '08007',
      `the server was lost before it answered: ${why}`,
      'The statement may have been executed or not: look before you repeat it.',
    ),
  inFailedTransaction: (): ErrorText =>
    error('25P02', 'current transaction is aborted, commands ignored until end of transaction block'),
  stateLost: (state: string, why: string): ErrorText =>
    fatal(
      '57P01',
      `the session is over: it had ${state}, which went with its server (${why})`,
      'Connect again, and make what the session needs anew.',
    ),
  noPrimary: (waitedMs: number, why: string): ErrorText =>
    error(
      '57P03',
      `no primary took the statement within ${waitedMs} ms: ${why}`,
      'It was not sent: try it again.',
    ),
  /** On a port, or for a statement, that the primary may not serve. */
  noStandby: (why: string): ErrorText =>
    error(
      '57P03',
      `no standby could serve it: ${why}`,
      'It was not sent: try it again, or use another port.',
    ),
  ownSettingNotAlone: (): ErrorText =>
    error(
      '0A000',
      'settings of understudy are set and shown by a statement of their own, outside a transaction',
      'Send it alone, and what shall follow it afterwards.',
    ),
  queueFull: (limit: number): ErrorText =>
    error(
      '53300',
      `${limit} clients wait for a server connection already`,
      'It was not sent: try it again later.',
    ),
  queueFullOfBytes: (limit: number): ErrorText =>
    error(
      '53300',
      `what waits for a server connection has more than ${limit} bytes already`,
      'It was not sent: try it again later.',
    ),
  tooManyStatements: (limit: number): ErrorText =>
    error(
      '53400',
      `the texts of the prepared statements of this client have more than ${limit} bytes`,
      'Deallocate some, or raise proxy.maxClientStatements.',
    ),
  killed: (): ErrorText => fatal('57P01', 'an operator has ended this session', 'Connect again.'),
  cancelled: (): ErrorText => error('57014', 'canceling statement due to user request'),
  listenRefused: (): ErrorText =>
    error(
      '0A000',
      'LISTEN does not work through a pool in transaction mode',
      'Listen on a pool in session mode, or connect to a node itself.',
    ),
  duplicateStatement: (name: string): ErrorText =>
    error('42P05', `prepared statement "${name}" already exists`),
  /** Also of one that was too long to be taken from server to server. */
  noUnnamedStatement: (): ErrorText =>
    error('26000', 'unnamed prepared statement does not exist', 'Parse and Bind it before one Sync.'),
  statementTooLong: (): ErrorText =>
    error(
      '54000',
      'the prepared statement is too long for transaction mode',
      'Use an unnamed statement for it.',
    ),
  tooManyClients: (limit: number): ErrorText =>
    fatal('53300', `the proxy has ${limit} clients already`, 'Raise proxy.maxClients, or close connections.'),
  tooManyLogins: (limit: number): ErrorText =>
    fatal(
      '53300',
      `${limit} logins are under way at the proxy already`,
      'Try it again, or raise proxy.maxLogins.',
    ),
  loginTimeout: (): ErrorText => fatal('57P05', 'the login took too long'),
  loginUnavailable: (why: string): ErrorText => fatal('57P03', `no login is possible right now: ${why}`),
  authenticationFailed: (user: string): ErrorText =>
    fatal('28P01', `password authentication failed for user "${user}"`),
  tlsRequired: (): ErrorText =>
    fatal('28000', 'the proxy takes TLS connections only', 'Use sslmode=require or more.'),
  replicationRefused: (): ErrorText =>
    fatal(
      '0A000',
      'replication connections do not go through the proxy',
      'Connect to the node itself: `understudy url NODE` prints its address.',
    ),
  noUser: (): ErrorText => fatal('28000', 'no PostgreSQL user name specified in startup packet'),
  idleInTransaction: (ms: number): ErrorText =>
    fatal('25P03', `the transaction was idle for more than ${ms} ms`, 'Commit or roll back sooner.'),
  protocolViolation: (what: string): ErrorText => fatal('08P01', what),
  shuttingDown: (): ErrorText => fatal('57P01', 'the proxy is shutting down', 'Connect again.'),
} as const
