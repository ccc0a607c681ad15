/** A connection that can only read, to a server that a person names by a URI (manual: 34.1.1.2). */
import type pg from 'pg'
import { UnderstudyError } from '../../../errors/codes.ts'
import { openClient } from '../../open-client.ts'

const CONNECT_DEADLINE_MS = 5_000
/** A server that is in trouble may answer late; one that does not answer at all is a finding by itself. */
const STATEMENT_DEADLINE_MS = 10_000

/** Of several hosts the first that answers, a primary before any other. Errors: usage, unreachable, auth-failed. */
export async function connectReadOnly(url: string): Promise<pg.Client> {
  const urls = singleHosts(url)
  let standby: pg.Client | null = null
  let failure: UnderstudyError | null = null
  for (const each of urls) {
    try {
      const client = await connect(each)
      if (urls.length === 1 || (await isPrimary(client))) {
        await standby?.end().catch(() => {})
        return client
      }
      if (standby === null) standby = client
      else await client.end().catch(() => {})
    } catch (error) {
      failure ??= error as UnderstudyError
    }
  }
  if (standby !== null) return standby
  throw failure ?? new UnderstudyError('usage', 'the URI names no host')
}

async function isPrimary(client: pg.Client): Promise<boolean> {
  const { rows } = await client.query<{ standby: boolean }>('SELECT pg_is_in_recovery() AS standby')
  return rows[0]?.standby === false
}

/** libpq takes several hosts, node's `pg` one. What only libpq knows is left out. Errors: usage. */
export function singleHosts(url: string): readonly string[] {
  const parts = /^(postgres(?:ql)?:\/\/)([^/?#]*)(.*)$/.exec(url)
  if (parts === null)
    throw new UnderstudyError('usage', 'it is no URI of a PostgreSQL server', {
      hint: 'Write --url postgresql://user@host:5432/database; the password may be in PGPASSWORD or ~/.pgpass.',
    })
  const [, scheme = '', authority = '', rest = ''] = parts
  const at = authority.lastIndexOf('@')
  const user = authority.slice(0, at + 1)
  const where = withoutLibpqOnly(rest)
  return authority
    .slice(at + 1)
    .split(',')
    .map((host) => `${scheme}${user}${host}${where}`)
}

const LIBPQ_ONLY = ['target_session_attrs', 'connect_timeout', 'load_balance_hosts']

function withoutLibpqOnly(rest: string): string {
  const [path = '', query] = rest.split('?')
  if (query === undefined) return path
  const kept = query.split('&').filter((pair) => !LIBPQ_ONLY.includes(pair.split('=')[0] ?? ''))
  return kept.length === 0 ? path : `${path}?${kept.join('&')}`
}

async function connect(url: string): Promise<pg.Client> {
  try {
    return await openClient({
      connectionString: url,
      application_name: 'understudy doctor',
      connectionTimeoutMillis: CONNECT_DEADLINE_MS,
      query_timeout: STATEMENT_DEADLINE_MS + 1_000,
      // Looking must not change anything, whatever is asked.
      options: `-c default_transaction_read_only=on -c statement_timeout=${STATEMENT_DEADLINE_MS} -c search_path=pg_catalog`,
    })
  } catch (error) {
    throw refusalOf(error as Error & { code?: string })
  }
}

function refusalOf(error: Error & { code?: string }): UnderstudyError {
  const wrong = ['28P01', '28000', '3D000'].includes(error.code ?? '')
  return new UnderstudyError(wrong ? 'auth-failed' : 'unreachable', error.message, {
    hint: wrong
      ? 'Name a role that may connect to that database, with its password in the URI, in PGPASSWORD or in ~/.pgpass.'
      : 'Does it run, and does it listen there? A role of its own (GRANT pg_monitor TO …) is enough to look.',
    cause: error,
  })
}
