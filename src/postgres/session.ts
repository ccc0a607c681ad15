/**
 * One connection to the local server over its socket, as the agent's role unless said otherwise, with deadlines of our own: a wait for a synchronous
 * acknowledgement ignores statement_timeout, and a frozen server answers nothing at all.
 */
import { Socket } from 'node:net'
import { Client, DatabaseError } from 'pg'
import type { Outcome } from '../ports/postgres.ts'
import { AGENT_DATABASE, AGENT_ROLE, socketPath } from './layout.ts'
import { type Failure, failed, ok, systemErrorCode } from './outcome.ts'
import { readSecret } from './secrets.ts'

export interface SessionOptions {
  readonly socketDirectory: string
  readonly port: number
  readonly passwordFile: string
  readonly applicationName: string
  /** The agent's own when left out. */
  readonly role?: string
  /** `name=value` of PostgreSQL's parameters, beside those of every session here. */
  readonly settings?: readonly string[]
  /** Called once, when the connection ends without our doing. */
  readonly onBreak?: (reason: string) => void
}

/**
 * What a user's configuration may set for clients must not hit the agent: its session is idle between looks, and must not wait for a
 * standby. search_path: nothing that a user creates can stand in for a function of PostgreSQL's.
 */
const SETTINGS = [
  'synchronous_commit=local',
  'statement_timeout=0',
  'lock_timeout=0',
  'idle_session_timeout=0',
  'idle_in_transaction_session_timeout=0',
  'search_path=pg_catalog',
  'client_min_messages=error',
  'DateStyle=ISO',
]

function optionsOf(settings: readonly string[]): string {
  return [...SETTINGS, ...settings].map((setting) => `-c ${setting}`).join(' ')
}

export interface Statement {
  readonly text: string
  readonly values?: readonly unknown[]
  /** Prepared under this name, so that it is planned once per connection. */
  readonly name?: string
}

export class Session {
  readonly #client: Client
  readonly #socket: Socket
  #state: 'connecting' | 'open' | 'closed' = 'connecting'

  private constructor(client: Client, socket: Socket) {
    this.#client = client
    this.#socket = socket
  }

  static async connect(options: SessionOptions, deadlineMs: number): Promise<Outcome<Session>> {
    const password = await readSecret(options.passwordFile)
    if (password.kind === 'failed') return password
    const socket = new Socket()
    const client = new Client({
      host: options.socketDirectory,
      port: options.port,
      user: options.role ?? AGENT_ROLE,
      database: AGENT_DATABASE,
      password: password.value,
      application_name: options.applicationName,
      options: optionsOf(options.settings ?? []),
      ssl: false,
      // Ours, so that a hanging connection can be dropped at once: client.end() would wait for the server.
      stream: () => socket,
    })
    const session = new Session(client, socket)
    // Without a listener a lost connection would end the process.
    client.on('error', (error) => session.#broken(error.message, options.onBreak))
    client.on('end', () => session.#broken('the connection ended', options.onBreak))
    const connected = await within(client.connect(), deadlineMs)
    if (connected.kind === 'ok' && session.#state === 'connecting') {
      session.#state = 'open'
      return ok(session)
    }
    session.destroy()
    const where = socketPath(options.socketDirectory, options.port)
    if (connected.kind === 'ok') return failed('connect-failed', `${where}: the connection ended at once`)
    return connected.kind === 'late'
      ? failed('timeout', `no answer through ${where} within ${deadlineMs} ms`)
      : sqlFailure(connected.error, where)
  }

  get isOpen(): boolean {
    return this.#state === 'open'
  }

  /** At the deadline the connection is dropped: its server process may still be waiting, and nothing else may wait behind it. */
  async query(
    statement: Statement,
    deadlineMs: number,
  ): Promise<Outcome<readonly Record<string, unknown>[]>> {
    const config = {
      text: statement.text,
      values: [...(statement.values ?? [])],
      ...(statement.name === undefined ? {} : { name: statement.name }),
    }
    const result = await within(this.#client.query<Record<string, unknown>>(config), deadlineMs)
    if (result.kind === 'ok') return ok(result.value.rows)
    if (result.kind === 'failed') return sqlFailure(result.error, 'the agent’s session')
    this.destroy()
    return failed('timeout', `no answer from PostgreSQL within ${deadlineMs} ms`)
  }

  /** The server process of this connection. */
  async backendPid(deadlineMs: number): Promise<number | null> {
    const rows = await this.query({ text: 'SELECT pg_backend_pid() AS pid' }, deadlineMs)
    const pid = rows.kind === 'ok' ? rows.value[0]?.['pid'] : undefined
    return typeof pid === 'number' ? pid : null
  }

  destroy(): void {
    this.#state = 'closed'
    this.#socket.destroy()
  }

  #broken(reason: string, onBreak: ((reason: string) => void) | undefined): void {
    // An attempt that failed is told by its outcome; only what was open can break.
    const wasOpen = this.#state === 'open'
    this.destroy()
    if (wasOpen) onBreak?.(reason)
  }
}

type Within<T> =
  | { readonly kind: 'ok'; readonly value: T }
  | { readonly kind: 'failed'; readonly error: unknown }
  | { readonly kind: 'late' }

async function within<T>(work: Promise<T>, deadlineMs: number): Promise<Within<T>> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<Within<T>>((resolve) => {
    timer = setTimeout(() => resolve({ kind: 'late' }), deadlineMs)
  })
  const done = work.then(
    (value): Within<T> => ({ kind: 'ok', value }),
    (error: unknown): Within<T> => ({ kind: 'failed', error }),
  )
  try {
    return await Promise.race([done, late])
  } finally {
    clearTimeout(timer)
  }
}

/** SQLSTATE classes 28 (authorization) and 57P (operator intervention: starting, stopping) mean something of their own. */
function sqlFailure(error: unknown, where: string): Failure & { readonly sqlState?: string } {
  const message = error instanceof Error ? error.message : String(error)
  const code = systemErrorCode(error)
  if (!(error instanceof DatabaseError)) return failed('connect-failed', `${where}: ${message}`)
  if (code?.startsWith('28') === true) return failed('auth-failed', `${where}: ${message}`)
  if (code?.startsWith('57P') === true) return failed('connect-failed', `${where}: ${message}`)
  return { ...failed('sql-failed', `${where}: ${message} (SQLSTATE ${code ?? '?'})`), sqlState: code ?? '' }
}

/** What was asked does not fit the state that the server is in (manual: appendix A). */
export const NOT_IN_PREREQUISITE_STATE = '55000'

/** The SQLSTATE of a refused statement, null for any other outcome. */
export function sqlStateOf(outcome: Outcome<unknown>): string | null {
  if (outcome.kind !== 'failed' || !('sqlState' in outcome)) return null
  return typeof outcome.sqlState === 'string' ? outcome.sqlState : null
}
