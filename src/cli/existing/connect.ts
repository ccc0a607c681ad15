/**
 * A session with the server that is to be taken over, as its superuser. On its own machine that is mostly the unix socket and `peer`: root
 * then connects as the user of that name, as `sudo -u postgres psql` would.
 */
import type pg from 'pg'
import { UnderstudyError } from '../../errors/codes.ts'
import { findUser, type SystemUser } from '../../postgres/run-as.ts'
import { openClient } from '../open-client.ts'

const CONNECT_DEADLINE_MS = 5_000
const STATEMENT_DEADLINE_MS = 60_000
/** Where Debian's servers have their sockets, and libpq looks there. */
const SOCKET_DIRECTORY = '/var/run/postgresql'
const SUPERUSER = 'postgres'

export interface Target {
  readonly host: string
  readonly port: number
  readonly user: string
  readonly database: string
  readonly password: string | undefined
}

/** postgresql://user:password@host:port/database, or postgresql:///database?host=/directory&port=5433. Errors: usage. */
export function readTarget(text: string): Target {
  const wrong = (why: string): UnderstudyError =>
    new UnderstudyError('usage', `--from: ${why}`, {
      hint: 'Write --from postgresql:///postgres, or --from postgresql://USER@HOST:PORT/DATABASE; the password may be in PGPASSWORD.',
    })
  const parts = /^postgres(?:ql)?:\/\/(?:([^@/?#]*)@)?([^/?#]*)(?:\/([^?#]*))?(?:\?(.*))?$/.exec(text)
  if (parts === null) throw wrong('it is no URI of a PostgreSQL server')
  const [, credentials = '', authority = '', database = '', query = ''] = parts
  if (authority.includes(',')) throw wrong('it names several hosts, and one server is taken over')
  const given = new URLSearchParams(query)
  const [user = '', password] = credentials.split(':').map(decodeURIComponent)
  const [, bracketed, plain = '', port = ''] = /^(?:\[(.*)\]|([^:]*))(?::(\d+))?$/.exec(authority) ?? []
  const host = given.get('host') ?? decodeURIComponent(bracketed ?? plain)
  const chosen = Number(given.get('port') ?? (port === '' ? '5432' : port))
  if (!Number.isInteger(chosen) || chosen < 1 || chosen > 65_535) throw wrong('its port is none')
  return {
    host: host === '' ? SOCKET_DIRECTORY : host,
    port: chosen,
    user: user === '' ? SUPERUSER : user,
    database: database === '' ? 'postgres' : decodeURIComponent(database),
    password: password ?? process.env['PGPASSWORD'],
  }
}

/** `readOnly`: whatever is asked, nothing is changed. Errors: unreachable, auth-failed. */
export async function connectTo(target: Target, mode: { readonly readOnly: boolean }): Promise<pg.Client> {
  const settings = [
    `statement_timeout=${STATEMENT_DEADLINE_MS}`,
    'search_path=pg_catalog',
    // It may wait for standbys that are not there.
    'synchronous_commit=local',
    `default_transaction_read_only=${mode.readOnly ? 'on' : 'off'}`,
  ]
  const { password, ...where } = target
  try {
    return await asPeer(await peerOf(target), () =>
      openClient({
        ...where,
        ...(password !== undefined && { password }),
        application_name: 'understudy init',
        connectionTimeoutMillis: CONNECT_DEADLINE_MS,
        query_timeout: STATEMENT_DEADLINE_MS + 1_000,
        options: settings.map((setting) => `-c ${setting}`).join(' '),
      }),
    )
  } catch (error) {
    throw refusalOf(target, error as Error & { code?: string })
  }
}

async function peerOf({ host, user }: Target): Promise<SystemUser | null> {
  if (process.getuid?.() !== 0 || !host.startsWith('/')) return null
  return findUser(user)
}

/** The server asks the kernel who has connected: that is decided by the connect itself. Nothing else runs in this process meanwhile. */
async function asPeer<T>(user: SystemUser | null, work: () => Promise<T>): Promise<T> {
  if (user === null || user.uid === 0) return work()
  process.seteuid?.(user.uid)
  try {
    return await work()
  } finally {
    process.seteuid?.(0)
  }
}

function refusalOf({ host, port, user }: Target, error: Error & { code?: string }): UnderstudyError {
  const wrong = ['28P01', '28000', '3D000'].includes(error.code ?? '') || /password/.test(error.message)
  const where = host.startsWith('/') ? `${host}, port ${port}` : `${host}:${port}`
  return new UnderstudyError(wrong ? 'auth-failed' : 'unreachable', `${where}: ${error.message}`, {
    hint: wrong
      ? `Name a superuser that may log in from here. Over the socket ${user} is let in by pg_hba.conf’s \`peer\`: run it as root or as ${user}.`
      : 'Does it run, and does it listen there? `pg_lsclusters` shows Debian’s clusters and their ports.',
    cause: error,
  })
}
