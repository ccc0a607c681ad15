/** The SQL that gives a new cluster its roles and the application's database (manual: 22, 5.9). PURE. */
import { AGENT_DATABASE, AGENT_ROLE, PROXY_ROLE, REPLICATION_ROLE } from './layout.ts'

export interface RoleVerifiers {
  /** SCRAM verifiers ("SCRAM-SHA-256$4096:…"), stored as they are: no password stands in any statement, log or history. */
  readonly superuser: string
  readonly replication: string
  readonly agent: string
  /** null: it is made later (proxy-access.ts). */
  readonly proxy: string | null
  readonly application: string
}

export interface RoleOptions {
  readonly superuser: string
  readonly applicationRole: string
  readonly database: string
  readonly verifiers: RoleVerifiers
  readonly major: number
}

/** The agent's sessions: one that looks, one that proves a commit, and some that hang or come from the other members' agents. */
const AGENT_CONNECTIONS = 12

export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

function quoteLiteral(text: string): string {
  return `'${text.replaceAll("'", "''")}'`
}

/** In order; each is one statement without a transaction around it, since CREATE DATABASE allows none. */
export function roleStatements(options: RoleOptions): readonly string[] {
  const { verifiers, superuser, applicationRole, database } = options
  const agent = quoteIdentifier(AGENT_ROLE)
  const application = quoteIdentifier(applicationRole)
  const statements = [
    `ALTER ROLE ${quoteIdentifier(superuser)} PASSWORD ${quoteLiteral(verifiers.superuser)}`,
    `CREATE ROLE ${quoteIdentifier(REPLICATION_ROLE)} LOGIN REPLICATION PASSWORD ${quoteLiteral(verifiers.replication)}`,
    // REPLICATION also lets it create, advance and drop slots. It is no superuser: it acts by files and signals.
    `CREATE ROLE ${agent} LOGIN REPLICATION CONNECTION LIMIT ${AGENT_CONNECTIONS} PASSWORD ${quoteLiteral(verifiers.agent)}`,
    `GRANT pg_monitor, pg_checkpoint TO ${agent}`,
    // A paused standby that is to be promoted must be able to finish its replay.
    `GRANT EXECUTE ON FUNCTION pg_catalog.pg_wal_replay_resume() TO ${agent}`,
  ]
  // When clients have taken every connection the agent must still be able to look.
  if (options.major >= 16) statements.push(`GRANT pg_use_reserved_connections TO ${agent}`)
  if (verifiers.proxy !== null)
    statements.push(
      proxyRoleStatement(verifiers.proxy),
      ...loginFunctionStatements(),
      ...loginGrantStatements(),
    )
  if (applicationRole !== superuser) {
    statements.push(`CREATE ROLE ${application} LOGIN PASSWORD ${quoteLiteral(verifiers.application)}`)
  }
  if (database !== AGENT_DATABASE) {
    statements.push(`CREATE DATABASE ${quoteIdentifier(database)} OWNER ${application}`)
  }
  return statements
}

export function proxyRoleStatement(verifier: string): string {
  return `CREATE ROLE ${quoteIdentifier(PROXY_ROLE)} LOGIN PASSWORD ${quoteLiteral(verifier)}`
}

/**
 * The proxy checks a client's password against what the server stores. It may read that through one function, for one role at a time,
 * and only of roles that could log in; a password whose time is over is none. It runs in the database that the function is in.
 */
export function loginFunctionStatements(): readonly string[] {
  const body =
    'SELECT r.rolpassword, true FROM pg_catalog.pg_authid AS r WHERE r.rolname OPERATOR(pg_catalog.=) $1 AND r.rolcanlogin' +
    ' AND (r.rolvaliduntil IS NULL OR r.rolvaliduntil OPERATOR(pg_catalog.>) pg_catalog.now())'
  return [
    'CREATE SCHEMA IF NOT EXISTS understudy',
    `CREATE FUNCTION understudy.login(role_name text, OUT verifier text, OUT found boolean) RETURNS record LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS ${quoteLiteral(body)}`,
    'REVOKE ALL ON FUNCTION understudy.login(text) FROM PUBLIC',
  ]
}

/** Both must be there already. */
export function loginGrantStatements(): readonly string[] {
  const proxy = quoteIdentifier(PROXY_ROLE)
  return [
    `GRANT USAGE ON SCHEMA understudy TO ${proxy}`,
    `GRANT EXECUTE ON FUNCTION understudy.login(text) TO ${proxy}`,
  ]
}
