/**
 * The primary that a rewind copies from. pg_rewind takes its timeline from pg_control, which is behind until the first checkpoint after a
 * promotion has ended: it would find nothing to rewind, or the wrong point to begin at, and leave blocks that nobody will ever notice.
 */
import { readFile } from 'node:fs/promises'
import { Client } from 'pg'
import type { Outcome } from '../ports/postgres.ts'
import { DONE, failed } from './outcome.ts'
import type { RewindSource } from './rewind.ts'

/** The checkpoint writes every dirty page. */
const CHECKPOINT_DEADLINE_MS = 600_000
const CONNECT_TIMEOUT_MS = 10_000

const STANDING = `
SELECT pg_is_in_recovery() AS in_recovery,
       (SELECT timeline_id FROM pg_control_checkpoint()) AS control_timeline,
       CASE WHEN NOT pg_is_in_recovery()
         THEN ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::bigint END AS timeline`

interface Standing {
  readonly in_recovery: boolean
  readonly control_timeline: number
  readonly timeline: string | null
}

/** Until the source's pg_control says the timeline that it writes; `password` is the superuser's. */
export async function checkpointSource(source: RewindSource, password: string): Promise<Outcome> {
  const client = new Client({
    ...{ host: source.host, port: source.port, user: source.user, database: 'postgres', password },
    ssl: { ca: await readFile(source.caFile, 'utf8') },
    application_name: 'understudy rewind',
    options: '-c statement_timeout=0 -c search_path=pg_catalog',
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    query_timeout: CHECKPOINT_DEADLINE_MS,
  })
  client.on('error', () => {})
  try {
    await client.connect()
    const before = (await client.query<Standing>(STANDING)).rows[0]
    if (before === undefined || before.in_recovery || before.timeline === null)
      return failed('rewind-failed', 'the source of the rewind is not a primary')
    if (before.control_timeline === Number(before.timeline)) return DONE
    await client.query('CHECKPOINT')
    const after = (await client.query<Standing>(STANDING)).rows[0]
    return after?.control_timeline === Number(before.timeline)
      ? DONE
      : failed(
          'rewind-failed',
          `the source of the rewind stays on timeline ${after?.control_timeline} in pg_control`,
        )
  } catch (error) {
    return failed(
      'rewind-failed',
      `the source of the rewind cannot be asked: ${error instanceof Error ? error.message : String(error)}`,
    )
  } finally {
    client.end().catch(() => undefined)
  }
}
