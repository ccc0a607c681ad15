/** The SQL by which a row proves replication: written on the primary, read on a standby. Pure. */
import { quoteIdentifier } from '../postgres/roles.ts'

export interface ProofSql {
  readonly create: readonly string[]
  readonly write: string
  readonly exists: string
  readonly read: string
  readonly remove: string
}

/** `schema` is of its own, so that removing it removes nothing else. `$1` is the row's uuid. */
export function proofSql(schema: string): ProofSql {
  const own = quoteIdentifier(schema)
  const table = `${own}.proof`
  return {
    create: [
      `CREATE SCHEMA IF NOT EXISTS ${own}`,
      `CREATE TABLE IF NOT EXISTS ${table} (id uuid PRIMARY KEY, written_at timestamptz NOT NULL DEFAULT clock_timestamp())`,
    ],
    write: `INSERT INTO ${table} (id) VALUES ($1)`,
    exists: `SELECT to_regclass('${schema}.proof') IS NOT NULL AS seen`,
    read: `SELECT EXISTS (SELECT FROM ${table} WHERE id = $1) AS seen`,
    remove: `DROP SCHEMA IF EXISTS ${own} CASCADE`,
  }
}
