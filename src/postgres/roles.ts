/** The SQL that gives a new cluster its roles and the application's database (manual: 22, 5.9). PURE. */
import { AGENT_DATABASE, AGENT_ROLE, PROXY_ROLE, REPLICATION_ROLE } from './layout.ts'

export const ROLES = ['superuser', 'replication', 'agent', 'application'] as const
export type RoleKind = (typeof ROLES)[number]

export interface RoleOptions {
  readonly superuser: string
  readonly applicationRole: string
  readonly database: string
  /**
   * What stands behind PASSWORD, as SQL. The agent gives SCRAM verifiers ("SCRAM-SHA-256$4096:…"), which are stored as they are: no password
   * stands in any statement, log or history.
   */
  readonly passwords: Readonly<Record<RoleKind, string>> & {
    /** null or left out: it is made later (proxy-access.ts). */
    readonly proxy?: string | null
  }
  readonly major: number
}

export interface RoleStatement {
  readonly role: RoleKind | 'proxy'
  readonly sql: string
  readonly why: string
}

/** The agent's sessions: one that looks, one that proves a commit, and some that hang or come from the other members' agents. */
const AGENT_CONNECTIONS = 12

export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

export function quoteLiteral(text: string): string {
  return `'${text.replaceAll("'", "''")}'`
}

export interface ExistingRoleOptions {
  /** Of understudy's own: the one that was there keeps its password. */
  readonly superuser: string
  /** SCRAM verifiers. */
  readonly verifiers: Readonly<Record<Exclude<RoleKind, 'application'>, string>>
  readonly major: number
  /** Those that were made before an interruption. */
  readonly present: ReadonlySet<string>
}

/** For a server that was there before: nothing is said of any role of its own. */
export function existingRoleStatements({
  superuser,
  verifiers,
  major,
  present,
}: ExistingRoleOptions): readonly string[] {
  const make = (name: string, attributes: string, verifier: string): string =>
    `${present.has(name) ? 'ALTER' : 'CREATE'} ROLE ${quoteIdentifier(name)} LOGIN ${attributes} PASSWORD ${quoteLiteral(verifier)}`
  return [
    make(REPLICATION_ROLE, 'REPLICATION', verifiers.replication),
    make(AGENT_ROLE, `REPLICATION CONNECTION LIMIT ${AGENT_CONNECTIONS}`, verifiers.agent),
    make(superuser, 'SUPERUSER', verifiers.superuser),
    ...agentGrants(major).map(({ sql }) => sql),
  ]
}

/** In order; each is one statement without a transaction around it, since CREATE DATABASE allows none. */
export function roleStatements(options: RoleOptions): readonly RoleStatement[] {
  const { superuser, applicationRole, database, passwords } = options
  const application = quoteIdentifier(applicationRole)
  const statements: RoleStatement[] = [
    {
      role: 'superuser',
      sql: `ALTER ROLE ${quoteIdentifier(superuser)} PASSWORD ${passwords.superuser}`,
      why: 'Everybody who comes in has a password.',
    },
    {
      role: 'replication',
      sql: `CREATE ROLE ${quoteIdentifier(REPLICATION_ROLE)} LOGIN REPLICATION PASSWORD ${passwords.replication}`,
      why: 'As this role the standbys copy and stream. It reads no table, and pg_hba.conf lets it in from the members only.',
    },
    ...agentStatements(options),
    ...proxyStatements(options),
  ]
  if (applicationRole !== superuser) {
    statements.push({
      role: 'application',
      sql: `CREATE ROLE ${application} LOGIN PASSWORD ${passwords.application}`,
      why: 'The application is no superuser.',
    })
  }
  if (database !== AGENT_DATABASE) {
    statements.push({
      role: 'application',
      sql: `CREATE DATABASE ${quoteIdentifier(database)} OWNER ${application}`,
      why: 'Its database.',
    })
  }
  return statements
}

function agentStatements({ passwords, major }: RoleOptions): readonly RoleStatement[] {
  return [
    {
      role: 'agent',
      sql: `CREATE ROLE ${quoteIdentifier(AGENT_ROLE)} LOGIN REPLICATION CONNECTION LIMIT ${AGENT_CONNECTIONS} PASSWORD ${passwords.agent}`,
      why: 'REPLICATION also lets it create, advance and drop slots. It is no superuser: it acts by files and signals.',
    },
    ...agentGrants(major),
  ]
}

function agentGrants(major: number): readonly RoleStatement[] {
  const agent = quoteIdentifier(AGENT_ROLE)
  const grants: RoleStatement[] = [
    {
      role: 'agent',
      sql: `GRANT pg_monitor, pg_checkpoint TO ${agent}`,
      why: 'It looks, and it begins a checkpoint.',
    },
    {
      role: 'agent',
      sql: `GRANT EXECUTE ON FUNCTION pg_catalog.pg_wal_replay_resume() TO ${agent}`,
      why: 'A paused standby that is to be promoted must be able to finish its replay.',
    },
  ]
  if (major >= 16) {
    grants.push({
      role: 'agent',
      sql: `GRANT pg_use_reserved_connections TO ${agent}`,
      why: 'When clients have taken every connection the agent must still be able to look.',
    })
  }
  return grants
}

export function proxyRoleStatement(verifier: string): string {
  return proxyRole(quoteLiteral(verifier))
}

function proxyRole(password: string): string {
  return `CREATE ROLE ${quoteIdentifier(PROXY_ROLE)} LOGIN PASSWORD ${password}`
}

function proxyStatements({ passwords: { proxy } }: RoleOptions): readonly RoleStatement[] {
  if (proxy === null || proxy === undefined) return []
  const of = (sql: string, why: string): RoleStatement => ({ role: 'proxy', sql, why })
  return [
    of(proxyRole(proxy), 'As this role a proxy asks how others log in.'),
    ...loginFunctionStatements().map((sql) => of(sql, 'What it may ask.')),
    ...loginGrantStatements().map((sql) => of(sql, 'Nobody else may.')),
  ]
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
