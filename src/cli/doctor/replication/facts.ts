/** What one primary tells of its replication, read in one read-only session. */
import type pg from 'pg'

export interface StandbyFacts {
  readonly pid: number
  readonly name: string
  readonly user: string
  /** null: the unix socket. */
  readonly address: string | null
  readonly state: string
  readonly syncState: string
  /** Bytes that it has still to replay. */
  readonly behindBytes: number | null
  readonly replayLagMs: number | null
  /** Transactions since the oldest one that it keeps from being cleaned up; null: none. */
  readonly xminAge: number | null
  readonly tls: boolean | null
  readonly hasSlot: boolean
}

export interface SlotFacts {
  readonly name: string
  readonly type: string
  readonly active: boolean
  readonly temporary: boolean
  /** WAL that it holds, in bytes; null: it has never been used. */
  readonly heldBytes: number | null
  /** reserved, extended, unreserved, lost. */
  readonly walStatus: string | null
  readonly xminAge: number | null
}

export interface HbaFacts {
  readonly line: number
  readonly type: string | null
  readonly databases: readonly string[]
  readonly users: readonly string[]
  readonly address: string | null
  readonly netmask: string | null
  readonly method: string | null
  readonly error: string | null
}

export interface ArchiverFacts {
  readonly archivedCount: number
  readonly failedCount: number
  readonly lastFailedWal: string | null
  /** The newest attempt failed. */
  readonly fails: boolean
  readonly failingForMs: number | null
  /** Segments that wait; null: not to be seen. */
  readonly waiting: number | null
}

export interface ReplicationFacts {
  readonly version: string
  readonly inRecovery: boolean
  /** Of a standby: where it streams from. */
  readonly upstream: string | null
  readonly settings: ReadonlyMap<string, string>
  readonly standbys: readonly StandbyFacts[]
  readonly slots: readonly SlotFacts[]
  /** null: this role may not see it. */
  readonly hba: readonly HbaFacts[] | null
  readonly archiver: ArchiverFacts | null
  /** Roles that may replicate and log in. */
  readonly replicationRoles: readonly string[]
  /** It sees the standbys' positions. */
  readonly seesAll: boolean
  readonly user: string
}

const NAMES = [
  ...['wal_level', 'max_wal_senders', 'max_replication_slots', 'max_slot_wal_keep_size', 'wal_keep_size'],
  ...['hot_standby', 'wal_log_hints', 'data_checksums', 'synchronous_standby_names', 'synchronous_commit'],
  ...[
    'archive_mode',
    'archive_command',
    'archive_library',
    'wal_sender_timeout',
    'fsync',
    'full_page_writes',
  ],
  ...['listen_addresses', 'password_encryption', 'ssl'],
]

export async function readReplication(client: pg.Client): Promise<ReplicationFacts> {
  const ask = async <T extends pg.QueryResultRow>(text: string, values?: unknown[]): Promise<readonly T[]> =>
    (await client.query<T>(text, values)).rows
  /** null: this role may not. */
  const askIfAllowed = <T extends pg.QueryResultRow>(text: string): Promise<readonly T[] | null> =>
    ask<T>(text).catch((error: { code?: string }) => {
      if (error.code === '42501') return null
      throw error
    })
  const [server] = await ask<{ version: string; standby: boolean; user: string; sees: boolean }>(
    `SELECT current_setting('server_version') AS version, pg_is_in_recovery() AS standby, current_user AS user,
            pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS sees`,
  )
  const settings = await ask<{ name: string; setting: string }>(
    'SELECT name, CASE WHEN name = ANY($2) THEN current_setting(name) ELSE setting END AS setting FROM pg_settings WHERE name = ANY($1)',
    // As a person writes them, with their unit.
    [NAMES, ['max_slot_wal_keep_size', 'wal_keep_size', 'wal_sender_timeout']],
  )
  const standby = server?.standby ?? false
  return {
    version: server?.version ?? '',
    inRecovery: standby,
    upstream: standby ? ((await askIfAllowed<{ from: string }>(UPSTREAM))?.[0]?.from ?? null) : null,
    settings: new Map(settings.map(({ name, setting }) => [name, setting])),
    standbys: standby ? [] : (await ask<StandbyRow>(STANDBYS)).map(readStandby),
    slots: (await ask<SlotRow>(SLOTS)).map(readSlot),
    hba: await askIfAllowed<HbaFacts>(HBA),
    archiver: await readArchiver(ask, askIfAllowed),
    replicationRoles: (await ask<{ name: string }>(ROLES)).map(({ name }) => name),
    seesAll: server?.sees ?? false,
    user: server?.user ?? '',
  }
}

type Ask = <T extends pg.QueryResultRow>(text: string) => Promise<readonly T[]>
type AskIfAllowed = <T extends pg.QueryResultRow>(text: string) => Promise<readonly T[] | null>

async function readArchiver(ask: Ask, askIfAllowed: AskIfAllowed): Promise<ArchiverFacts | null> {
  const [row] = await ask<ArchiverRow>(ARCHIVER)
  if (row === undefined) return null
  const waiting = await askIfAllowed<{ count: string }>(WAITING)
  return {
    archivedCount: Number(row.archived_count),
    failedCount: Number(row.failed_count),
    lastFailedWal: row.last_failed_wal,
    fails: row.fails,
    failingForMs: row.failing_for_ms === null ? null : Number(row.failing_for_ms),
    waiting: waiting === null ? null : Number(waiting[0]?.count ?? 0),
  }
}

interface StandbyRow {
  readonly pid: number
  readonly name: string
  readonly user: string
  readonly address: string | null
  readonly state: string | null
  readonly sync_state: string | null
  readonly behind_bytes: string | null
  readonly replay_lag_ms: string | null
  readonly xmin_age: string | null
  readonly tls: boolean | null
  readonly has_slot: boolean
}

function readStandby(row: StandbyRow): StandbyFacts {
  return {
    ...{ pid: row.pid, name: row.name, user: row.user, address: row.address },
    ...{ state: row.state ?? 'unknown', syncState: row.sync_state ?? 'unknown', tls: row.tls },
    behindBytes: numberOf(row.behind_bytes),
    replayLagMs: numberOf(row.replay_lag_ms),
    xminAge: numberOf(row.xmin_age),
    hasSlot: row.has_slot,
  }
}

interface SlotRow {
  readonly name: string
  readonly type: string
  readonly active: boolean
  readonly temporary: boolean
  readonly held_bytes: string | null
  readonly wal_status: string | null
  readonly xmin_age: string | null
}

function readSlot(row: SlotRow): SlotFacts {
  return {
    ...{ name: row.name, type: row.type, active: row.active, temporary: row.temporary },
    ...{ walStatus: row.wal_status, heldBytes: numberOf(row.held_bytes), xminAge: numberOf(row.xmin_age) },
  }
}

interface ArchiverRow {
  readonly archived_count: string
  readonly failed_count: string
  readonly last_failed_wal: string | null
  readonly fails: boolean
  readonly failing_for_ms: string | null
}

function numberOf(text: string | null): number | null {
  return text === null ? null : Number(text)
}

/** A standby has no current position; what it has received stands for it. */
const HERE = 'CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END'

const STANDBYS = `
SELECT r.pid, r.application_name AS name, r.usename AS user, host(r.client_addr) AS address, r.state, r.sync_state,
       pg_wal_lsn_diff(pg_current_wal_lsn(), r.replay_lsn)::bigint AS behind_bytes,
       (extract(epoch FROM r.replay_lag) * 1000)::bigint AS replay_lag_ms,
       age(r.backend_xmin) AS xmin_age, s.ssl AS tls,
       EXISTS (SELECT FROM pg_replication_slots WHERE active_pid = r.pid) AS has_slot
FROM pg_stat_replication r LEFT JOIN pg_stat_ssl s USING (pid) ORDER BY 2, 1`

const SLOTS = `
SELECT slot_name AS name, slot_type AS type, active, temporary, wal_status,
       pg_wal_lsn_diff(${HERE}, restart_lsn)::bigint AS held_bytes,
       greatest(age(xmin), age(catalog_xmin)) AS xmin_age
FROM pg_replication_slots ORDER BY 1`

const HBA = `
SELECT line_number AS line, type, coalesce(database, '{}') AS databases, coalesce(user_name, '{}') AS users, address, netmask,
       auth_method AS method, error
FROM pg_hba_file_rules ORDER BY line_number`

const ARCHIVER = `
SELECT archived_count, failed_count, last_failed_wal,
       coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false) AS fails,
       (extract(epoch FROM clock_timestamp() - coalesce(last_archived_time, stats_reset)) * 1000)::bigint AS failing_for_ms
FROM pg_stat_archiver`

const WAITING = `SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'`

const ROLES = 'SELECT rolname AS name FROM pg_roles WHERE rolreplication AND rolcanlogin ORDER BY 1'

/** The password of primary_conninfo, if there is one, is shown to superusers only and is not asked for. */
const UPSTREAM = `SELECT sender_host || ':' || sender_port AS from FROM pg_stat_wal_receiver`
