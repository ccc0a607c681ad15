/**
 * The role and the function through which a proxy checks passwords, in a cluster that was made before there was a proxy. The agent of the
 * primary makes what is missing, once in each epoch, as the superuser over the socket.
 */
import type { Outcome } from '../ports/postgres.ts'
import { scramVerifier } from '../protocol/scram.ts'
import { PROXY_ROLE } from './layout.ts'
import { failed, ok } from './outcome.ts'
import { loginFunctionStatements, loginGrantStatements, proxyRoleStatement } from './roles.ts'
import { readSecretIfPresent } from './secrets.ts'
import { Session } from './session.ts'

/** The database is the one in which the proxy asks (AGENT_DATABASE). One row; null: it does not exist. */
export const PROXY_FACTS_SQL = `SELECT
  EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) '${PROXY_ROLE}') AS role,
  (SELECT pg_catalog.pg_get_userbyid(nspowner)
    FROM pg_catalog.pg_namespace WHERE nspname OPERATOR(pg_catalog.=) 'understudy') AS schema_owner,
  (SELECT pg_catalog.pg_get_userbyid(p.proowner)
    FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
    WHERE n.nspname OPERATOR(pg_catalog.=) 'understudy' AND p.proname OPERATOR(pg_catalog.=) 'login'
      AND p.proargtypes OPERATOR(pg_catalog.=) '25'::pg_catalog.oidvector) AS function_owner`

export interface ProxyFacts {
  readonly role: boolean
  readonly schemaOwner: string | null
  readonly functionOwner: string | null
}

export function proxyFactsOf(row: Readonly<Record<string, unknown>> | undefined): ProxyFacts {
  const text = (value: unknown): string | null => (typeof value === 'string' ? value : null)
  return {
    role: row?.['role'] === true,
    schemaOwner: text(row?.['schema_owner']),
    functionOwner: text(row?.['function_owner']),
  }
}

/**
 * What is to be done about it, in order and in one transaction; nothing when all is there. What stands under these names and belongs to
 * somebody else is left alone: whoever owns it could show the proxy any verifier. Pure.
 */
export function missingProxyStatements(
  facts: ProxyFacts,
  { superuser, verifier }: { readonly superuser: string; readonly verifier: string },
): Outcome<readonly string[]> {
  const stranger = [facts.schemaOwner, facts.functionOwner].find(
    (owner) => owner !== null && owner !== superuser,
  )
  if (stranger !== undefined)
    return failed(
      'refused',
      `the schema understudy in the database postgres, or its function login, belongs to ${stranger} and not to ${superuser}`,
      'Rename the schema, or give it to the superuser: the proxy reads passwords’ verifiers through it.',
    )
  const made = [
    ...(facts.role ? [] : [proxyRoleStatement(verifier)]),
    ...(facts.functionOwner === null ? loginFunctionStatements() : []),
  ]
  return ok(made.length === 0 ? [] : [...made, ...loginGrantStatements()])
}

export interface ProxyAccessOptions {
  readonly socketDirectory: string
  readonly port: number
  readonly superuser: string
  readonly superuserPassword: string
  /** A file that may be missing: then there is nothing to be made. */
  readonly proxyPassword: string
}

const DEADLINE_MS = 5_000
/** A verifier is no password, and still nobody's business in a log. */
const UNLOGGED = ['log_statement=none', 'log_min_duration_statement=-1', 'log_min_error_statement=panic']

/**
 * On a primary. `made`: something was missing. The commit waits for no standby: none may be there, and what a failover takes away the agent of
 * the next primary makes again. Errors: auth-failed, connect-failed, refused, sql-failed, timeout.
 */
export async function ensureProxyAccess(options: ProxyAccessOptions): Promise<Outcome<'present' | 'made'>> {
  const password = await readSecretIfPresent(options.proxyPassword)
  if (password === null) return ok('present')
  if (password.kind === 'failed') return password
  const session = await Session.connect(
    {
      ...{ socketDirectory: options.socketDirectory, port: options.port, role: options.superuser },
      passwordFile: options.superuserPassword,
      applicationName: 'understudy agent',
      settings: [...UNLOGGED, 'default_transaction_read_only=off'],
    },
    DEADLINE_MS,
  )
  if (session.kind === 'failed') return session
  try {
    return await makeMissing(session.value, options.superuser, scramVerifier({ password: password.value }))
  } finally {
    session.value.destroy()
  }
}

async function makeMissing(
  session: Session,
  superuser: string,
  verifier: string,
): Promise<Outcome<'present' | 'made'>> {
  const rows = await session.query({ text: PROXY_FACTS_SQL }, DEADLINE_MS)
  if (rows.kind === 'failed') return rows
  const missing = missingProxyStatements(proxyFactsOf(rows.value[0]), { superuser, verifier })
  if (missing.kind === 'failed') return missing
  if (missing.value.length === 0) return ok('present')
  for (const text of ['BEGIN', ...missing.value, 'COMMIT']) {
    const done = await session.query({ text }, DEADLINE_MS)
    if (done.kind === 'failed') return done
  }
  return ok('made')
}
