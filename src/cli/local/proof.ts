/**
 * Proves replication as a person would: a row written on the primary is read on each standby, with the time between the
 * acknowledgement of the commit and the moment at which the standby shows it. Over TCP and TLS, with the certificates checked.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import type { ResolvedConfig } from '../../config/load.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import { type ProofSql, proofSql } from '../proof-sql.ts'
import { openSuperuser } from '../superuser.ts'

const DEADLINE_MS = 10_000
const PROOF = proofSql('understudy')

export interface ReplicationProof {
  /** From sending the statement to the acknowledged commit. */
  readonly commitMs: number
  readonly standbys: readonly { readonly node: string; readonly delayMs: number }[]
}

export async function proveReplication(config: ResolvedConfig, primary: string): Promise<ReplicationProof> {
  const clients = new Map<string, pg.Client>()
  try {
    for (const node of config.nodes)
      clients.set(node.name, await openSuperuser(config, node, { applicationName: 'understudy proof' }))
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
  await writer.query(
    ["SELECT pg_advisory_xact_lock(hashtext('understudy.proof'))", ...PROOF.create].join(';\n'),
  )
  const { id, ...proof } = await measureRow(PROOF, writer, standbys)
  // The row of another proof that is under way just now stays.
  await writer.query(
    "DELETE FROM understudy.proof WHERE id <> $1 AND written_at < clock_timestamp() - interval '1 minute'",
    [id],
  )
  return proof
}

/** Writes one row into the table, which is there on the primary, and looks for it on each standby. */
export async function measureRow(
  sql: ProofSql,
  writer: Asked,
  standbys: readonly (readonly [string, Asked])[],
): Promise<ReplicationProof & { readonly id: string }> {
  // The delay is that of the row, not that of the table.
  await Promise.all(standbys.map(([, reader]) => visible(reader, sql.exists)))
  const id = randomUUID()
  const sentAtMs = performance.now()
  await writer.query(sql.write, [id])
  const committedAtMs = performance.now()
  const delays = await Promise.all(
    standbys.map(async ([node, reader]) => {
      await visible(reader, sql.read, [id])
      return { node, delayMs: performance.now() - committedAtMs }
    }),
  )
  return { id, commitMs: committedAtMs - sentAtMs, standbys: delays }
}

/** A session, as far as it is needed here. */
export type Asked = Pick<pg.Client, 'query'>

async function visible(reader: Asked, question: string, values: readonly string[] = []): Promise<void> {
  for (;;) {
    const { rows } = await reader.query<{ seen: boolean | string }>(question, [...values])
    // As text where the session gives every value as text.
    if (rows[0]?.seen === true || rows[0]?.seen === 't') return
    await sleep(1)
  }
}

/** Errors: timeout. */
export async function within<T>(ms: number, work: Promise<T>): Promise<T> {
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
