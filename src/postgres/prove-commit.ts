/** The proof that commits wait for acknowledgement: one that waited and was acknowledged (failover.md, I5). */
import { setTimeout as sleep } from 'node:timers/promises'
import { formatLsn, type Lsn, parseLsn } from '../core/lsn.ts'
import { type Rule, synchronousStandbyNames } from '../core/primacy.ts'
import type { Outcome } from '../ports/postgres.ts'
import { DONE, failed, ok } from './outcome.ts'
import { Session, type SessionOptions } from './session.ts'

/** A connection whose commits wait, and the process behind it. */
export interface ProofSession {
  readonly session: Session
  readonly backendPid: number | null
}

/**
 * On a connection of its own: when nobody acknowledges, its server process hangs in the commit, whatever statement_timeout says, and
 * must not hold up anything else. It may be opened on a standby already, and outlives the promotion.
 */
export async function openProofSession(
  options: SessionOptions,
  deadlineMs: number,
): Promise<Outcome<ProofSession>> {
  const connected = await Session.connect(options, deadlineMs)
  if (connected.kind === 'failed') return connected
  const session = connected.value
  const prepared = await session.query({ text: 'SET synchronous_commit = on' }, deadlineMs)
  if (prepared.kind === 'ok') return ok({ session, backendPid: await session.backendPid(deadlineMs) })
  session.destroy()
  return prepared
}

/**
 * A transactional message takes a transaction number and writes WAL, so its commit waits as any client's does, and needs no table.
 * `endBackend` ends the process that waits in vain. The session is closed.
 *
 * commitLsn is the end of WAL right after the acknowledgement, so at or behind the commit record: who has flushed it has the commit.
 */
export async function proveCommit(
  { session, backendPid }: ProofSession,
  deadlineMs: number,
  rule: Pick<Rule, 'acks' | 'standbys'>,
  endBackend: (pid: number) => Promise<void>,
): Promise<Outcome<{ readonly commitLsn: Lsn }>> {
  const deadlineAt = performance.now() + deadlineMs
  const left = (): number => Math.max(1, deadlineAt - performance.now())
  try {
    const committed = await session.query(
      { text: `SELECT pg_logical_emit_message(true, 'understudy', 'proof')` },
      left(),
    )
    if (committed.kind === 'failed') {
      if (committed.code === 'timeout' && backendPid !== null) await endBackend(backendPid)
      return committed.code === 'timeout'
        ? failed('timeout', `no commit was acknowledged within ${deadlineMs} ms`)
        : committed
    }
    const position = await session.query({ text: 'SELECT pg_current_wal_insert_lsn()::text AS lsn' }, left())
    if (position.kind === 'failed') return position
    const lsn = parseLsn(String(position.value[0]?.['lsn']))
    if (lsn === null) return failed('internal', 'PostgreSQL gave no position')
    const flushed = await waitForFlush(session, rule, lsn, left)
    return flushed.kind === 'ok' ? ok({ commitLsn: lsn }) : flushed
  } finally {
    session.destroy()
  }
}

/**
 * Acknowledged is not yet proven: were the names not in effect, the commit would not have waited. So SHOW must give the rule's names, and
 * `acks` of its standbys must report that they have flushed it.
 */
async function waitForFlush(
  session: Session,
  rule: Pick<Rule, 'acks' | 'standbys'>,
  commitLsn: Lsn,
  left: () => number,
): Promise<Outcome> {
  const wanted = synchronousStandbyNames(rule)
  const text = `
    SELECT current_setting('synchronous_standby_names') AS names,
           (SELECT count(DISTINCT application_name) FROM pg_stat_replication
             WHERE application_name = ANY ($1) AND flush_lsn >= $2::pg_lsn)::int AS flushed`
  for (;;) {
    const looked = await session.query({ text, values: [rule.standbys, formatLsn(commitLsn)] }, left())
    if (looked.kind === 'failed') return looked
    const { names, flushed } = looked.value[0] ?? {}
    if (names !== wanted)
      return failed('timeout', `synchronous_standby_names is ${String(names)}, not ${wanted}`)
    if (Number(flushed) >= rule.acks) return DONE
    if (left() <= 1)
      return failed('timeout', `only ${Number(flushed)} of ${rule.acks} standbys have flushed the commit`)
    await sleep(3)
  }
}
