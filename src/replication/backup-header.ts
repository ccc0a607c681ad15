/** What BASE_BACKUP says before the data: where the backup begins, and what it consists of. */
import type { Lsn } from '../core/lsn.ts'
import { UnderstudyError } from '../errors/codes.ts'
import { firstRow } from './commands.ts'
import type { ResultSet } from './exchange.ts'

export interface BackupPoint {
  readonly lsn: Lsn
  readonly timelineId: number
}

/** Start or end of the backup. */
export function pointOf(resultSet: ResultSet | undefined): BackupPoint {
  const row = firstRow(resultSet, 'BASE_BACKUP')
  return { lsn: row.lsn('recptr'), timelineId: row.integer('tli') }
}

/** The server's estimate. */
export function totalBytes(tablespaces: ResultSet | undefined): number {
  const column = tablespaces?.columns.indexOf('size') ?? -1
  let kilobytes = 0
  for (const row of tablespaces?.rows ?? []) kilobytes += Number(row[column] ?? 0)
  return kilobytes * 1024
}

/** Throws 'tablespaces'. The row of the data directory itself has neither oid nor location. */
export function refuseTablespaces(tablespaces: ResultSet | undefined): void {
  const column = tablespaces?.columns.indexOf('spclocation') ?? -1
  const locations = (tablespaces?.rows ?? [])
    .map((row) => row[column] ?? null)
    .filter((location) => location !== null)
  if (locations.length > 0) {
    throw new UnderstudyError('tablespaces', `The source has tablespaces (${locations.join(', ')})`)
  }
}
