/**
 * Proves replication as a person would: a row written on the primary is read on each standby, with the time between the
 * acknowledgement of the commit and the moment at which the standby shows it. Over TCP and TLS, with the certificates checked.
 */
import { randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import { hostInUri } from '../../config/fields.ts'
import type { ResolvedConfig, ResolvedNode } from '../../config/load.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import { SUPERUSER } from '../connection.ts'
import { openClient } from '../open-client.ts'

const DEADLINE_MS = 10_000

export interface ReplicationProof {
  /** From sending the statement to the acknowledged commit. */
  readonly commitMs: number
  readonly standbys: readonly { readonly node: string; readonly delayMs: number }[]
}

export async function proveReplication(config: ResolvedConfig, primary: string): Promise<ReplicationProof> {
  const clients = new Map<string, pg.Client>()
  try {
    for (const node of config.nodes) clients.set(node.name, await connect(config, node))
    const writer = clients.get(primary)
    if (writer === undefined)
      throw new UnderstudyError('no-primary', `${primary} is not in the configuration`)
    const standbys = [...clients].filter(([name]) => name !== primary)
    return await within(DEADLINE_MS, writeAndRead(writer, standbys))
  } finally {
    for (const client of clients.values()) client.end().catch(() => {})
  }
}

async function writeAndRead(
  writer: pg.Client,
  standbys: readonly (readonly [string, pg.Client])[],
): Promise<ReplicationProof> {
  // One string is one transaction. IF NOT EXISTS alone fails when two do it at once: two `up` of the same cluster prove it both.
  await writer.query(`SELECT pg_advisory_xact_lock(hashtext('understudy.proof'));
    CREATE SCHEMA IF NOT EXISTS understudy;
    CREATE TABLE IF NOT EXISTS understudy.proof (id uuid PRIMARY KEY, written_at timestamptz NOT NULL DEFAULT clock_timestamp())`)
  // The delay is that of the row, not that of the table.
  await Promise.all(
    standbys.map(([, reader]) =>
      visible(reader, "SELECT to_regclass('understudy.proof') IS NOT NULL AS seen"),
    ),
  )
  const id = randomUUID()
  const sentAtMs = performance.now()
  await writer.query('INSERT INTO understudy.proof (id) VALUES ($1)', [id])
  const committedAtMs = performance.now()
  const delays = await Promise.all(
    standbys.map(async ([node, reader]) => {
      await visible(reader, `SELECT EXISTS (SELECT FROM understudy.proof WHERE id = '${id}') AS seen`)
      return { node, delayMs: performance.now() - committedAtMs }
    }),
  )
  // The row of another proof that is under way just now stays.
  await writer.query(
    "DELETE FROM understudy.proof WHERE id <> $1 AND written_at < clock_timestamp() - interval '1 minute'",
    [id],
  )
  return { commitMs: committedAtMs - sentAtMs, standbys: delays }
}

async function visible(reader: pg.Client, question: string): Promise<void> {
  for (;;) {
    const { rows } = await reader.query<{ seen: boolean }>(question)
    if (rows[0]?.seen === true) return
    await sleep(1)
  }
}

async function connect(config: ResolvedConfig, node: ResolvedNode): Promise<pg.Client> {
  const password = (await readFile(config.secrets.superuserPassword, 'utf8')).trim()
  const ca = await readFile(config.tls.caFile, 'utf8')
  try {
    return await openClient({
      ...{ host: node.host, port: node.port, user: SUPERUSER, database: 'postgres', password, ssl: { ca } },
      application_name: 'understudy proof',
      connectionTimeoutMillis: 5_000,
    })
  } catch (error) {
    throw new UnderstudyError(
      'connect-failed',
      `${node.name} at ${hostInUri(node.host)}:${node.port}: ${(error as Error).message}`,
      { cause: error },
    )
  }
}

async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  const timer = new AbortController()
  const late = sleep(ms, undefined, { signal: timer.signal }).then(() => {
    throw new UnderstudyError('timeout', `the row was not seen on every standby within ${ms / 1_000} s`)
  })
  late.catch(() => {})
  try {
    return await Promise.race([work, late])
  } finally {
    timer.abort()
  }
}
