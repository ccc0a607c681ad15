/** The replication commands with a small result (manual: "Streaming Replication Protocol"). Results are read as text: types differ by version. */
import { type Lsn, parseLsn } from '../core/lsn.ts'
import type { TimelineHistory } from '../core/timeline.ts'
import { UnderstudyError } from '../errors/codes.ts'
import { parseTimelineHistory } from '../protocol/timeline-history.ts'
import { parseWalSegmentSize } from '../protocol/wal-names.ts'
import type { ReplicationConnection } from './connection.ts'
import type { ResultSet } from './exchange.ts'

export interface SystemIdentity {
  /** Decimal digits: it does not fit into a number. */
  readonly systemIdentifier: string
  readonly timelineId: number
  /** End of flushed WAL; on a standby the replay or receive position. */
  readonly flushLsn: Lsn
}

/** IDENTIFY_SYSTEM */
export async function identifySystem(connection: ReplicationConnection): Promise<SystemIdentity> {
  const { resultSets } = await connection.execute('IDENTIFY_SYSTEM')
  const row = firstRow(resultSets[0], 'IDENTIFY_SYSTEM')
  return {
    systemIdentifier: row.text('systemid'),
    timelineId: row.integer('timeline'),
    flushLsn: row.lsn('xlogpos'),
  }
}

/** SHOW of one parameter, as the server prints it. */
export async function show(connection: ReplicationConnection, parameter: string): Promise<string> {
  if (!/^[a-z_.]+$/.test(parameter)) throw new UnderstudyError('internal', `SHOW ${parameter}`)
  const { resultSets } = await connection.execute(`SHOW ${parameter}`)
  const value = resultSets[0]?.rows[0]?.[0]
  if (value === undefined || value === null) throw unreadable(`SHOW ${parameter}`)
  return value
}

/** Bytes of a WAL segment of that server. */
export async function walSegmentSize(connection: ReplicationConnection): Promise<number> {
  const text = await show(connection, 'wal_segment_size')
  const bytes = parseWalSegmentSize(text)
  if (bytes === null) throw unreadable(`SHOW wal_segment_size: ${text}`)
  return bytes
}

/**
 * CREATE_REPLICATION_SLOT ... PHYSICAL. A temporary slot goes with its connection. `reserveWal` keeps WAL from the redo
 * position of the last checkpoint on. Throws ServerError 42710 when it exists.
 */
export async function createReplicationSlot(
  connection: ReplicationConnection,
  slot: { readonly name: string; readonly temporary: boolean; readonly reserveWal: boolean },
): Promise<void> {
  const words = ['CREATE_REPLICATION_SLOT', slotIdentifier(slot.name)]
  if (slot.temporary) words.push('TEMPORARY')
  words.push('PHYSICAL')
  if (slot.reserveWal) words.push('RESERVE_WAL')
  await connection.execute(words.join(' '))
}

/** DROP_REPLICATION_SLOT; throws ServerError 55006 while it is in use and does not wait, 42704 when there is none. */
export async function dropReplicationSlot(
  connection: ReplicationConnection,
  name: string,
  options: { readonly wait?: boolean } = {},
): Promise<void> {
  await connection.execute(
    `DROP_REPLICATION_SLOT ${slotIdentifier(name)}${options.wait === true ? ' WAIT' : ''}`,
  )
}

/** READ_REPLICATION_SLOT; null when there is no such slot. restartLsn is null while it reserves nothing. */
export async function readReplicationSlot(
  connection: ReplicationConnection,
  name: string,
): Promise<{ readonly restartLsn: Lsn | null; readonly restartTimelineId: number | null } | null> {
  const { resultSets } = await connection.execute(`READ_REPLICATION_SLOT ${slotIdentifier(name)}`)
  const row = firstRow(resultSets[0], 'READ_REPLICATION_SLOT')
  // A slot that does not exist is a row of NULLs, not an error.
  if (row.optional('slot_type') === null) return null
  const timeline = row.optional('restart_tli')
  return {
    restartLsn: row.optional('restart_lsn') === null ? null : row.lsn('restart_lsn'),
    restartTimelineId: timeline === null ? null : Number(timeline),
  }
}

/** TIMELINE_HISTORY. Never ask for timeline 1: it has no file, and the server answers with an error. */
export async function timelineHistory(
  connection: ReplicationConnection,
  timelineId: number,
): Promise<{ readonly fileName: string; readonly content: string; readonly history: TimelineHistory }> {
  const { resultSets } = await connection.execute(`TIMELINE_HISTORY ${timelineId}`)
  const row = firstRow(resultSets[0], 'TIMELINE_HISTORY')
  const content = row.optional('content') ?? ''
  return { fileName: row.text('filename'), content, history: parseTimelineHistory(timelineId, content) }
}

/** A row whose columns are read by name, and refused when they are not what the command promises. */
export interface NamedRow {
  text(column: string): string
  optional(column: string): string | null
  integer(column: string): number
  lsn(column: string): Lsn
}

export function firstRow(resultSet: ResultSet | undefined, command: string): NamedRow {
  const values = resultSet?.rows[0]
  if (resultSet === undefined || values === undefined) throw unreadable(command)
  const optional = (column: string): string | null => values[resultSet.columns.indexOf(column)] ?? null
  const text = (column: string): string => {
    const value = optional(column)
    if (value === null) throw unreadable(`${command}: ${column}`)
    return value
  }
  return {
    optional,
    text,
    integer: (column) => {
      const value = Number(text(column))
      if (!Number.isSafeInteger(value)) throw unreadable(`${command}: ${column}`)
      return value
    },
    lsn: (column) => {
      const value = parseLsn(text(column))
      if (value === null) throw unreadable(`${command}: ${column}`)
      return value
    },
  }
}

/** PostgreSQL allows nothing else in a slot's name, so nothing needs quoting. */
export function slotIdentifier(name: string): string {
  if (!/^[a-z0-9_]{1,63}$/.test(name)) throw new UnderstudyError('internal', `"${name}" is no slot name`)
  return name
}

function unreadable(what: string): UnderstudyError {
  return new UnderstudyError('protocol-violation', `The server’s answer makes no sense (${what})`)
}
