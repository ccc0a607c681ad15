/** What a running server tells of itself, read in one read-only session of a superuser. */
import type pg from 'pg'
import { UnderstudyError } from '../../errors/codes.ts'
import { AGENT_DATABASE, AGENT_ROLE, PROXY_ROLE, REPLICATION_ROLE } from '../../postgres/layout.ts'
import { ROOT_ROLE } from './names.ts'

export interface FileSetting {
  readonly name: string
  /** As it stands in the file, without its quotes. */
  readonly value: string
  readonly file: string
  readonly line: number
}

export interface ExistingSlot {
  readonly name: string
  readonly type: 'physical' | 'logical'
  readonly active: boolean
  /** WAL that it holds. */
  readonly heldBytes: number
}

export interface ExistingStandby {
  readonly name: string
  readonly user: string
  /** null: the unix socket. */
  readonly address: string | null
}

export interface ServerLook {
  /** "15.20 (Debian …)" */
  readonly version: string
  readonly major: number
  readonly user: string
  readonly isSuperuser: boolean
  readonly inRecovery: boolean
  readonly systemIdentifier: string
  readonly timelineId: number
  readonly backendPid: number
  readonly database: string
  /** Of the database that --from names. */
  readonly databaseOwner: string
  /** In effect. */
  readonly settings: ReadonlyMap<string, string>
  /** Of the configuration files, postgresql.auto.conf left out: the last line of each name, which is the one that counts. */
  readonly fileSettings: readonly FileSetting[]
  readonly fileErrors: readonly string[]
  /** From the command line, beside where the files are. */
  readonly commandLine: readonly { readonly name: string; readonly value: string }[]
  /** They count only after a restart, whoever makes it. */
  readonly pendingRestart: readonly string[]
  readonly slots: readonly ExistingSlot[]
  readonly standbys: readonly ExistingStandby[]
  readonly tablespaces: readonly string[]
  /** The agents look from it. */
  readonly hasAgentDatabase: boolean
  /** Those of understudy's roles that exist. */
  readonly ownRoles: readonly string[]
  readonly hbaErrors: readonly string[]
  readonly dataBytes: number
}

const FILES_AND_PLACES = new Set([
  ...['config_file', 'hba_file', 'ident_file', 'external_pid_file', 'data_directory'],
  ...['unix_socket_directories', 'port', 'listen_addresses'],
])

/** Errors: not-superuser, unsupported-version, server-error. */
export async function lookAtServer(client: pg.Client): Promise<ServerLook> {
  try {
    const base = await readBase(client)
    if (!base.isSuperuser)
      throw new UnderstudyError('not-superuser', `${base.user} is no superuser of that server`)
    return { ...base, ...(await readFiles(client)), ...(await readRest(client)) }
  } catch (error) {
    if (error instanceof UnderstudyError) throw error
    throw new UnderstudyError('server-error', (error as Error).message, { cause: error })
  }
}

type Base = Pick<
  ServerLook,
  | 'version'
  | 'major'
  | 'user'
  | 'isSuperuser'
  | 'inRecovery'
  | 'systemIdentifier'
  | 'timelineId'
  | 'backendPid'
  | 'database'
  | 'databaseOwner'
>

async function readBase(client: pg.Client): Promise<Base> {
  const { rows } = await client.query<Base>(`
    SELECT current_setting('server_version') AS version,
           current_setting('server_version_num')::int / 10000 AS major,
           current_user::text AS "user",
           (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS "isSuperuser",
           pg_is_in_recovery() AS "inRecovery",
           (SELECT system_identifier::text FROM pg_control_system()) AS "systemIdentifier",
           (SELECT timeline_id FROM pg_control_checkpoint()) AS "timelineId",
           pg_backend_pid() AS "backendPid",
           current_database()::text AS database,
           (SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = current_database()) AS "databaseOwner"`)
  const [row] = rows
  if (row === undefined) throw new UnderstudyError('server-error', 'the server told nothing of itself')
  return row
}

async function readFiles(
  client: pg.Client,
): Promise<
  Pick<
    ServerLook,
    'settings' | 'fileSettings' | 'fileErrors' | 'commandLine' | 'pendingRestart' | 'hbaErrors'
  >
> {
  const settings = await client.query<{ name: string; value: string; source: string; pending: boolean }>(
    `SELECT name, current_setting(name, true) AS value, source, pending_restart AS pending FROM pg_settings`,
  )
  const files = await client.query<FileSetting & { seqno: number; error: string | null }>(
    `SELECT name, setting AS value, sourcefile AS file, sourceline AS line, seqno, error
     FROM pg_file_settings ORDER BY seqno`,
  )
  const hba = await client.query<{ line_number: number; error: string }>(
    'SELECT line_number, error FROM pg_hba_file_rules WHERE error IS NOT NULL',
  )
  const last = new Map<string, FileSetting>()
  for (const { name, value, file, line, error } of files.rows)
    if (isUsable(error) && !file.endsWith('/postgresql.auto.conf'))
      last.set(name, { name, value, file, line })
  return {
    settings: new Map(settings.rows.map(({ name, value }) => [name, value])),
    fileSettings: [...last.values()],
    fileErrors: files.rows
      .filter(({ error }) => !isUsable(error))
      .map(({ file, line, name, error }) => `${file}:${line}: ${name}: ${error}`),
    commandLine: settings.rows
      .filter(({ name, source }) => source === 'command line' && !FILES_AND_PLACES.has(name))
      .map(({ name, value }) => ({ name, value })),
    pendingRestart: settings.rows.filter(({ pending }) => pending).map(({ name }) => name),
    hbaErrors: hba.rows.map(({ line_number: line, error }) => `line ${line}: ${error}`),
  }
}

/** A value that only waits for a restart is told as an error, too. */
function isUsable(error: string | null): boolean {
  return error === null || error === 'setting could not be applied'
}

async function readRest(
  client: pg.Client,
): Promise<
  Pick<ServerLook, 'slots' | 'standbys' | 'tablespaces' | 'hasAgentDatabase' | 'ownRoles' | 'dataBytes'>
> {
  const slots = await client.query<ExistingSlot>(
    `SELECT slot_name::text AS name, slot_type AS type, active,
            coalesce(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                                          ELSE pg_current_wal_lsn() END, restart_lsn), 0)::float8 AS "heldBytes"
     FROM pg_replication_slots WHERE NOT temporary ORDER BY slot_name`,
  )
  const standbys = await client.query<ExistingStandby>(
    `SELECT application_name AS name, usename::text AS "user", host(client_addr) AS address
     FROM pg_stat_replication ORDER BY application_name`,
  )
  const tablespaces = await client.query<{ name: string }>(
    `SELECT spcname::text AS name FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global')`,
  )
  const roles = await client.query<{ name: string }>(
    'SELECT rolname::text AS name FROM pg_roles WHERE rolname = ANY ($1)',
    [[REPLICATION_ROLE, AGENT_ROLE, PROXY_ROLE, ROOT_ROLE]],
  )
  const database = await client.query('SELECT FROM pg_database WHERE datname = $1 AND datallowconn', [
    AGENT_DATABASE,
  ])
  const size = await client.query<{ bytes: number }>(
    'SELECT sum(pg_database_size(oid))::float8 AS bytes FROM pg_database',
  )
  return {
    slots: slots.rows,
    standbys: standbys.rows,
    tablespaces: tablespaces.rows.map(({ name }) => name),
    hasAgentDatabase: database.rows.length > 0,
    ownRoles: roles.rows.map(({ name }) => name),
    dataBytes: size.rows[0]?.bytes ?? 0,
  }
}
