/**
 * A table of the tour's own on the primary, for as long as a station needs it. It is gone afterwards however the tour ends, by SIGKILL too: a
 * second session waits for a lock that the first one holds, and drops the schema when that is released, which PostgreSQL does itself
 * as soon as the first session ends.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import { UnderstudyError } from '../../errors/codes.ts'
import { proofSql } from '../proof-sql.ts'
import type { Sight } from './sight.ts'

export const TOUR_SCHEMA = 'understudy_tour'
export const TOUR_SQL = proofSql(TOUR_SCHEMA)

const LOCK = `hashtext('${TOUR_SCHEMA}')`
const WAITING_WITHIN_MS = 5_000

/** `use` gets the session that holds the lock. Errors: already-running, connect-failed, timeout. */
export async function withProofTable<T>(
  sight: Sight,
  primary: string,
  use: (writer: pg.Client) => Promise<T>,
): Promise<T> {
  const writer = await sight.open(primary)
  let remover: Remover | null = null
  try {
    const { rows } = await writer.query<{ taken: string }>(`SELECT pg_try_advisory_lock(${LOCK}) AS taken`)
    if (rows[0]?.taken !== 't')
      throw new UnderstudyError('already-running', 'another tour of this cluster is under way', {
        hint: 'Wait until it has ended.',
      })
    remover = await waitingRemover(sight, primary, writer)
    for (const statement of TOUR_SQL.create) await writer.query(statement)
    return await use(writer)
  } finally {
    // Ends the session, and with it the lock.
    await writer.end().catch(() => {})
    await remover?.removed
    await remover?.client.end().catch(() => {})
  }
}

interface Remover {
  readonly client: pg.Client
  /** Never fails: who cannot remove it leaves it to the next tour. */
  readonly removed: Promise<void>
}

/** Nothing is made before it is seen to wait: a kill in between would leave it. */
async function waitingRemover(sight: Sight, primary: string, writer: pg.Client): Promise<Remover> {
  const client = await sight.open(primary)
  try {
    const { rows } = await client.query<{ pid: string }>('SELECT pg_backend_pid() AS pid')
    await client.query('SET statement_timeout = 0; SET lock_timeout = 0')
    const removed = client
      .query({
        text: `SELECT pg_advisory_lock(${LOCK}); ${TOUR_SQL.remove}`,
        query_timeout: NEVER_MS,
      } as pg.QueryConfig)
      .then(
        () => undefined,
        () => undefined,
      )
    await untilWaiting(writer, rows[0]?.pid ?? '0')
    return { client, removed }
  } catch (error) {
    await client.end().catch(() => {})
    throw error
  }
}

const NEVER_MS = 2_147_483_647

async function untilWaiting(writer: pg.Client, pid: string): Promise<void> {
  const deadlineAt = performance.now() + WAITING_WITHIN_MS
  const question =
    "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $1 AND locktype = 'advisory' AND NOT granted) AS waits"
  for (;;) {
    const { rows } = await writer.query<{ waits: string }>(question, [pid])
    if (rows[0]?.waits === 't') return
    if (performance.now() > deadlineAt)
      throw new UnderstudyError('timeout', 'the session that is to remove the row does not wait for it')
    await sleep(5)
  }
}
