/** What to look at in a replicated cluster: one query each, the same in the script and in the tour. Pure. */
import { AGENT_ROLE, REPLICATION_ROLE } from '../../postgres/layout.ts'
import { quoteLiteral } from '../../postgres/roles.ts'
import { wrap } from '../text.ts'

const LIST_WIDTH = 90

export interface Look {
  readonly sql: string
  /** What a person types in psql for the same, where that is something else. */
  readonly psql?: string
  readonly says: string
}

export const LOOK_WALSENDERS: Look = {
  sql: `SELECT application_name, client_addr, state, sync_state, sent_lsn, flush_lsn, replay_lsn,
       pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) AS behind_bytes
  FROM pg_stat_replication ORDER BY application_name`,
  says: 'On the primary, one row per standby: state streaming, sync_state async, quorum or sync, and how far it is.',
}

export const LOOK_WALRECEIVER: Look = {
  sql: `SELECT status, sender_host, sender_port, slot_name, flushed_lsn, latest_end_lsn, received_tli
  FROM pg_stat_wal_receiver`,
  says: 'On a standby, one row while it streams, and from whom. No row: look into its log.',
}

export const LOOK_SLOTS: Look = {
  sql: 'SELECT slot_name, slot_type, active, restart_lsn, wal_status FROM pg_replication_slots ORDER BY slot_name',
  says: 'A slot that is not active keeps WAL for a standby that does not take it.',
}

export const LOOK_ROLES: Look = {
  sql: `SELECT rolname, rolcanlogin, rolreplication, rolsuper
  FROM pg_roles WHERE rolcanlogin ORDER BY rolname`,
  psql: '\\du',
  says: `${REPLICATION_ROLE} may log in and replicate, and is no superuser.`,
}

/** Its password can be seen by a superuser only. */
export const LOOK_VERIFIERS: Look = {
  sql: `SELECT rolname, split_part(rolpassword, '$', 1) AS password_stored_as
  FROM pg_authid WHERE rolname IN (${quoteLiteral(REPLICATION_ROLE)}, ${quoteLiteral(AGENT_ROLE)}) ORDER BY rolname`,
  says: 'SCRAM-SHA-256: what is stored does not let anybody log in.',
}

export const LOOK_HBA: Look = {
  sql: `SELECT line_number, type, database, user_name, address, auth_method
  FROM pg_hba_file_rules WHERE 'replication' = ANY (database) OR error IS NOT NULL ORDER BY line_number`,
  says: 'The lines for replication, in the order in which they are tried. A line with an error is not in effect.',
}

export function lookAtSettings(
  names: readonly string[],
  columns: readonly ('setting' | 'unit' | 'context')[] = ['setting', 'unit', 'context'],
): Look {
  const list = wrap(names.map(quoteLiteral).join(', '), LIST_WIDTH).join('\n    ')
  return {
    sql: `SELECT name, ${columns.join(', ')}
  FROM pg_settings
  WHERE name IN (
    ${list})
  ORDER BY name`,
    says: 'What is in effect. What has the context postmaster changes at a restart only, sighup at a reload.',
  }
}
