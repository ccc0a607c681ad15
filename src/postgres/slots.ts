/** Physical replication slots (manual: 27.2.6): what keeps an upstream from removing WAL that a standby has not taken. */
import { formatLsn, type Lsn } from '../core/lsn.ts'
import type { Outcome } from '../ports/postgres.ts'
import { DONE, failed } from './outcome.ts'
import { NOT_IN_PREREQUISITE_STATE, type Session, sqlStateOf } from './session.ts'

const DUPLICATE_OBJECT = '42710'
const UNDEFINED_OBJECT = '42704'
const OBJECT_IN_USE = '55006'

export const CREATE_SLOT = 'SELECT pg_create_physical_replication_slot($1, true)'

/** immediately_reserve: a slot that reserves nothing until its first use may find its WAL gone by then. */
export async function createSlot(session: Session, name: string, deadlineMs: number): Promise<Outcome> {
  const created = await session.query({ text: CREATE_SLOT, values: [name] }, deadlineMs)
  if (created.kind === 'ok') return DONE
  if (sqlStateOf(created) !== DUPLICATE_OBJECT) return created
  const present = await session.query(
    { text: 'SELECT slot_type, wal_status FROM pg_replication_slots WHERE slot_name = $1', values: [name] },
    deadlineMs,
  )
  if (present.kind === 'failed') return present
  return present.value[0]?.['slot_type'] === 'physical'
    ? DONE
    : failed('sql-failed', `the slot ${name} exists and is no physical slot`)
}

/** A slot that is not there is what was wanted. One in use is refused (55006): its walsender has to end first. */
export async function dropSlot(session: Session, name: string, deadlineMs: number): Promise<Outcome> {
  const dropped = await session.query(
    { text: 'SELECT pg_drop_replication_slot($1)', values: [name] },
    deadlineMs,
  )
  return dropped.kind === 'ok' || sqlStateOf(dropped) === UNDEFINED_OBJECT ? DONE : dropped
}

/**
 * PostgreSQL itself stops at what this node has flushed or replayed. Backwards is refused with 55000, and a slot in use (55006) is
 * moved by its own walsender: both leave the slot as it has to be.
 */
export async function advanceSlot(
  session: Session,
  name: string,
  to: Lsn,
  deadlineMs: number,
): Promise<Outcome> {
  const advanced = await session.query(
    { text: 'SELECT pg_replication_slot_advance($1, $2)', values: [name, formatLsn(to)] },
    deadlineMs,
  )
  if (advanced.kind === 'ok') return DONE
  const state = sqlStateOf(advanced)
  return state === NOT_IN_PREREQUISITE_STATE || state === OBJECT_IN_USE ? DONE : advanced
}
