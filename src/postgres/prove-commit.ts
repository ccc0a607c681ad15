/** The proof that commits wait for acknowledgement: one that waited and was acknowledged (failover.md, I5). */
import { type Lsn, parseLsn } from '../core/lsn.ts'
import type { Outcome } from '../ports/postgres.ts'
import { failed, ok } from './outcome.ts'
import { Session, type SessionOptions } from './session.ts'

/**
 * A transactional message takes a transaction number and writes WAL, so its commit waits as any client's does, and needs no table.
 * On a connection of its own: when nobody acknowledges, its server process hangs in the commit, whatever statement_timeout says, and
 * must not hold up anything else. `endBackend` ends that process then.
 *
 * commitLsn is the end of WAL right after the acknowledgement, so at or behind the commit record: who has flushed it has the commit.
 */
export async function proveCommit(
  options: SessionOptions,
  deadlineMs: number,
  endBackend: (pid: number) => Promise<void>,
): Promise<Outcome<{ readonly commitLsn: Lsn }>> {
  const deadlineAt = performance.now() + deadlineMs
  const left = (): number => Math.max(1, deadlineAt - performance.now())
  const connected = await Session.connect(options, left())
  if (connected.kind === 'failed') return connected
  const session = connected.value
  const pid = await session.backendPid(left())
  try {
    const prepared = await session.query({ text: 'SET synchronous_commit = on' }, left())
    if (prepared.kind === 'failed') return prepared
    const committed = await session.query(
      { text: `SELECT pg_logical_emit_message(true, 'understudy', 'proof')` },
      left(),
    )
    if (committed.kind === 'failed') {
      if (committed.code === 'timeout' && pid !== null) await endBackend(pid)
      return committed.code === 'timeout'
        ? failed('timeout', `no commit was acknowledged within ${deadlineMs} ms`)
        : committed
    }
    const position = await session.query({ text: 'SELECT pg_current_wal_insert_lsn()::text AS lsn' }, left())
    if (position.kind === 'failed') return position
    const lsn = parseLsn(String(position.value[0]?.['lsn']))
    return lsn === null ? failed('internal', 'PostgreSQL gave no position') : ok({ commitLsn: lsn })
  } finally {
    session.destroy()
  }
}
