/** One look at a server: ONE statement for everything, so that it fits together, on PostgreSQL 15 to 18. */
import { type Lsn, parseLsn } from '../core/lsn.ts'
import type { Outcome, ServerFacts, SlotFacts, WalreceiverFacts, WalsenderFacts } from '../ports/postgres.ts'
import { failed, ok } from './outcome.ts'

/**
 * $1: pg_conf_load_time() of the look whose pendingRestart is still known, or null. pg_settings is the one costly part (400 rows),
 * and can only change by a reload.
 *
 * The timeline: a primary's is in the name of its current WAL file. A standby's pg_control lags behind until the next restart point,
 * and a walreceiver's is gone with the walreceiver, so the highest is taken of pg_control, the walreceiver, and, only without
 * one, the names of the WAL files up to where this node has WAL.
 */
export const OBSERVE_SQL = `
WITH standing AS MATERIALIZED (
  SELECT pg_is_in_recovery() AS in_recovery,
         CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() END AS receive_lsn,
         CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() END AS replay_lsn
), receiver AS MATERIALIZED (
  SELECT * FROM pg_stat_get_wal_receiver() AS r WHERE r.pid IS NOT NULL
), wal_end AS (
  SELECT pg_wal_lsn_diff(greatest(receive_lsn, replay_lsn), '0/0')::bigint AS byte,
         pg_size_bytes(current_setting('wal_segment_size')) AS segment
  FROM standing
), file_timeline AS (
  SELECT max(('x' || substr(w.name, 1, 8))::bit(32)::bigint) AS id
  FROM wal_end, standing, LATERAL (
    SELECT name FROM pg_ls_waldir() WHERE standing.in_recovery AND NOT EXISTS (SELECT FROM receiver)
  ) AS w
  WHERE w.name ~ '^[0-9A-F]{24}$'
    AND substr(w.name, 9) <= upper(lpad(to_hex(wal_end.byte / 4294967296), 8, '0')
                                || lpad(to_hex(wal_end.byte % 4294967296 / wal_end.segment), 8, '0'))
)
SELECT json_build_object(
  'inRecovery', in_recovery,
  'timelineId', CASE
    WHEN in_recovery THEN greatest(
      (SELECT timeline_id FROM pg_control_checkpoint()),
      (SELECT min_recovery_end_timeline FROM pg_control_recovery()),
      (SELECT received_tli FROM receiver),
      (SELECT id FROM file_timeline))
    ELSE ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::bigint END,
  'systemIdentifier', (SELECT system_identifier::text FROM pg_control_system()),
  'insertLsn', CASE WHEN NOT in_recovery THEN pg_current_wal_insert_lsn() END,
  'flushLsn', CASE WHEN NOT in_recovery THEN pg_current_wal_flush_lsn() END,
  'receiveLsn', receive_lsn,
  'replayLsn', replay_lsn,
  'replayPaused', CASE WHEN in_recovery THEN pg_is_wal_replay_paused() ELSE false END,
  'replayAgeMs', CASE WHEN in_recovery
    THEN extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) * 1000 END,
  'walreceiver', (SELECT json_build_object(
      'pid', pid, 'status', status, 'senderHost', sender_host, 'senderPort', sender_port,
      'receivedTimelineId', received_tli, 'flushLsn', flushed_lsn,
      'lastMessageAgeMs', extract(epoch FROM clock_timestamp() - last_msg_receipt_time) * 1000)
    FROM receiver),
  'walsenders', (SELECT coalesce(json_agg(json_build_object(
      'pid', pid, 'applicationName', application_name, 'state', state,
      'sentLsn', sent_lsn, 'writeLsn', write_lsn, 'flushLsn', flush_lsn, 'replayLsn', replay_lsn,
      'writeLagMs', extract(epoch FROM write_lag) * 1000, 'flushLagMs', extract(epoch FROM flush_lag) * 1000,
      'replayLagMs', extract(epoch FROM replay_lag) * 1000,
      'syncState', sync_state, 'syncPriority', sync_priority)), '[]')
    FROM pg_stat_replication),
  'slots', (SELECT coalesce(json_agg(json_build_object(
      'name', slot_name, 'active', active, 'temporary', temporary, 'physical', slot_type = 'physical',
      'restartLsn', restart_lsn, 'walStatus', wal_status,
      'holdsXmin', xmin IS NOT NULL OR catalog_xmin IS NOT NULL)), '[]')
    FROM pg_replication_slots),
  'synchronousStandbyNames', current_setting('synchronous_standby_names'),
  'postmasterStartedAtMs', extract(epoch FROM pg_postmaster_start_time()) * 1000,
  'confLoadTime', pg_conf_load_time()::text,
  'pendingRestart', CASE WHEN pg_conf_load_time()::text IS DISTINCT FROM $1::text
    THEN (SELECT coalesce(json_agg(name), '[]') FROM pg_settings WHERE pending_restart) END
) AS facts
FROM standing`

/** What a look must remember for the next one on the same connection. */
export interface ObserveMemory {
  readonly confLoadTime: string
  readonly pendingRestart: readonly string[]
}

export interface Look {
  readonly facts: ServerFacts
  readonly memory: ObserveMemory
}

type Json = Readonly<Record<string, unknown>>

/** Reads what OBSERVE_SQL gives. Anything unexpected is a bug in the statement: `internal`, with the field's name. */
export function readLook(row: unknown, memory: ObserveMemory | null): Outcome<Look> {
  try {
    const json = asObject(row, 'facts')
    const confLoadTime = asString(json['confLoadTime'], 'confLoadTime')
    const pendingRestart =
      json['pendingRestart'] === null
        ? (memory?.pendingRestart ?? [])
        : asList(json['pendingRestart'], 'pendingRestart').map((name) => asString(name, 'pendingRestart'))
    return ok({ facts: readFacts(json, pendingRestart), memory: { confLoadTime, pendingRestart } })
  } catch (error) {
    return failed(
      'internal',
      `the look at PostgreSQL cannot be read: ${error instanceof Error ? error.message : ''}`,
    )
  }
}

function readFacts(json: Json, pendingRestart: readonly string[]): ServerFacts {
  return {
    inRecovery: asBoolean(json['inRecovery'], 'inRecovery'),
    timelineId: asNumber(json['timelineId'], 'timelineId'),
    systemIdentifier: asString(json['systemIdentifier'], 'systemIdentifier'),
    insertLsn: asLsn(json['insertLsn'], 'insertLsn'),
    flushLsn: asLsn(json['flushLsn'], 'flushLsn'),
    receiveLsn: asLsn(json['receiveLsn'], 'receiveLsn'),
    replayLsn: asLsn(json['replayLsn'], 'replayLsn'),
    replayPaused: asBoolean(json['replayPaused'], 'replayPaused'),
    replayAgeMs: orNull(json['replayAgeMs'], 'replayAgeMs', asNumber),
    walreceiver: orNull(json['walreceiver'], 'walreceiver', readWalreceiver),
    walsenders: asList(json['walsenders'], 'walsenders').map(readWalsender),
    slots: asList(json['slots'], 'slots').map(readSlot),
    synchronousStandbyNames: asString(json['synchronousStandbyNames'], 'synchronousStandbyNames'),
    postmasterStartedAtMs: asNumber(json['postmasterStartedAtMs'], 'postmasterStartedAtMs'),
    pendingRestart,
  }
}

function readWalreceiver(value: unknown): WalreceiverFacts {
  const json = asObject(value, 'walreceiver')
  return {
    pid: asNumber(json['pid'], 'walreceiver.pid'),
    status: asString(json['status'], 'walreceiver.status'),
    senderHost: orNull(json['senderHost'], 'senderHost', asString),
    senderPort: orNull(json['senderPort'], 'senderPort', asNumber),
    receivedTimelineId: orNull(json['receivedTimelineId'], 'receivedTimelineId', asNumber),
    flushLsn: asLsn(json['flushLsn'], 'walreceiver.flushLsn'),
    lastMessageAgeMs: orNull(json['lastMessageAgeMs'], 'lastMessageAgeMs', asNumber),
  }
}

function readWalsender(value: unknown): WalsenderFacts {
  const json = asObject(value, 'walsender')
  return {
    pid: asNumber(json['pid'], 'walsender.pid'),
    applicationName: asString(json['applicationName'], 'applicationName'),
    // Null for a walsender that has not begun.
    state: orNull(json['state'], 'state', asString) ?? 'startup',
    sentLsn: asLsn(json['sentLsn'], 'sentLsn'),
    writeLsn: asLsn(json['writeLsn'], 'writeLsn'),
    flushLsn: asLsn(json['flushLsn'], 'flushLsn'),
    replayLsn: asLsn(json['replayLsn'], 'replayLsn'),
    writeLagMs: orNull(json['writeLagMs'], 'writeLagMs', asNumber),
    flushLagMs: orNull(json['flushLagMs'], 'flushLagMs', asNumber),
    replayLagMs: orNull(json['replayLagMs'], 'replayLagMs', asNumber),
    syncState: oneOf(json['syncState'] ?? 'async', 'syncState', ['sync', 'quorum', 'potential', 'async']),
    syncPriority: orNull(json['syncPriority'], 'syncPriority', asNumber) ?? 0,
  }
}

function readSlot(value: unknown): SlotFacts {
  const json = asObject(value, 'slot')
  const statuses = ['reserved', 'extended', 'unreserved', 'lost'] as const
  return {
    name: asString(json['name'], 'slot.name'),
    active: asBoolean(json['active'], 'slot.active'),
    temporary: asBoolean(json['temporary'], 'slot.temporary'),
    physical: asBoolean(json['physical'], 'slot.physical'),
    restartLsn: asLsn(json['restartLsn'], 'slot.restartLsn'),
    walStatus: orNull(json['walStatus'], 'slot.walStatus', (status) => oneOf(status, 'walStatus', statuses)),
    holdsXmin: asBoolean(json['holdsXmin'], 'slot.holdsXmin'),
  }
}

function orNull<T>(value: unknown, field: string, read: (value: unknown, field: string) => T): T | null {
  return value === null || value === undefined ? null : read(value, field)
}

function asObject(value: unknown, field: string): Json {
  if (typeof value !== 'object' || value === null) throw new Error(`${field} is no object`)
  return Object.fromEntries(Object.entries(value))
}

function asList(value: unknown, field: string): readonly unknown[] {
  if (!Array.isArray(value)) throw new Error(`${field} is no list`)
  return value
}

function asString(value: unknown, field: string): string {
  if (typeof value !== 'string') throw new Error(`${field} is no text`)
  return value
}

function asNumber(value: unknown, field: string): number {
  if (typeof value !== 'number') throw new Error(`${field} is no number`)
  return value
}

function asBoolean(value: unknown, field: string): boolean {
  if (typeof value !== 'boolean') throw new Error(`${field} is no boolean`)
  return value
}

function asLsn(value: unknown, field: string): Lsn | null {
  if (value === null) return null
  const lsn = typeof value === 'string' ? parseLsn(value) : null
  if (lsn === null) throw new Error(`${field} is no LSN`)
  return lsn
}

function oneOf<T extends string>(value: unknown, field: string, allowed: readonly T[]): T {
  const found = allowed.find((candidate) => candidate === value)
  if (found === undefined) throw new Error(`${field} is ${String(value)}`)
  return found
}
