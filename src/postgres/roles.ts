/** The SQL that gives a new cluster its roles and the application's database (manual: 22, 5.9). PURE. */
import { AGENT_DATABASE, AGENT_ROLE, REPLICATION_ROLE } from './layout.ts'

export interface RoleVerifiers {
  /** SCRAM verifiers ("SCRAM-SHA-256$4096:…"), stored as they are: no password stands in any statement, log or history. */
  readonly superuser: string
  readonly replication: string
  readonly agent: string
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

export interface ExistingRoleOptions {
  /** Of understudy's own: the one that was there keeps its password. */
  readonly superuser: string
  readonly verifiers: Omit<RoleVerifiers, 'application'>
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
    ...agentGrants(major),
  ]
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
    ...agentGrants(options.major),
  ]
  if (applicationRole !== superuser) {
    statements.push(`CREATE ROLE ${application} LOGIN PASSWORD ${quoteLiteral(verifiers.application)}`)
  }
  if (database !== AGENT_DATABASE) {
    statements.push(`CREATE DATABASE ${quoteIdentifier(database)} OWNER ${application}`)
  }
  return statements
}

function agentGrants(major: number): readonly string[] {
  const agent = quoteIdentifier(AGENT_ROLE)
  return [
    `GRANT pg_monitor, pg_checkpoint TO ${agent}`,
    // A paused standby that is to be promoted must be able to finish its replay.
    `GRANT EXECUTE ON FUNCTION pg_catalog.pg_wal_replay_resume() TO ${agent}`,
    // When clients have taken every connection the agent must still be able to look.
    ...(major >= 16 ? [`GRANT pg_use_reserved_connections TO ${agent}`] : []),
  ]
}
