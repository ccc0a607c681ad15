/**
 * A COMMIT that was left without an answer (docs/proxy.md, "A COMMIT in doubt"): what is asked ahead of it, and what the answers of a server
 * mean afterwards. Only what is certain is said. Pure.
 *
 * Numbers of transactions are used again: by a new primary that never had the transaction, and by a primary that lost it when it recovered from a
 * crash. So "committed" may be somebody else's, unless it is the same run of the same server. "aborted", and a number that is not used yet, are
 * certain in any case: where it was used again, the first one is lost.
 */

/** What is known of the transaction before COMMIT is sent. */
export interface CommitInDoubt {
  /** As text; it has written something. */
  readonly xid: string
  /** Which run of which server: it changes with each recovery. */
  readonly run: string
}

export interface AskedServer {
  readonly epoch: number
  readonly node: string
}

export type CommitOutcome =
  | 'committed'
  | 'notCommitted'
  /** It may be over in a moment. */
  | 'inProgress'
  | 'unknown'

/** Statistics are thrown away by each recovery (manual: "The Cumulative Statistics System"), and then begin with another time. */
const RUN = `pg_catalog.concat(EXTRACT(epoch FROM pg_catalog.pg_postmaster_start_time()), '/', EXTRACT(epoch FROM (SELECT stats_reset FROM pg_catalog.pg_stat_wal)))`

/** One value: number and run; no number when the transaction has written nothing, which is not asked for later. */
export const ASK_AHEAD = `SELECT pg_catalog.concat(pg_catalog.pg_current_xact_id_if_assigned(), ' ', ${RUN})`

/** The same where the run is known: the number alone. */
export const ASK_AHEAD_AGAIN = 'SELECT pg_catalog.pg_current_xact_id_if_assigned()'

/** One value: what the number is there, and the run. Fails with `22023` for a number that is not used yet. */
export function askLater({ xid }: CommitInDoubt): string {
  return `SELECT pg_catalog.concat(coalesce(pg_catalog.pg_xact_status('${xid}'::pg_catalog.xid8), 'forgotten'), ' ', ${RUN})`
}

/** Writes WAL and waits for it as a commit does: whatever committed before is then as safe as if it had been acknowledged. */
export const PROVE = `SELECT pg_catalog.pg_logical_emit_message(true, 'understudy', '')`

/** `known`: the run of this connection, when it was asked before. `doubt` null: there is nothing that could be asked for later. */
export function parseDoubt(
  value: string | null,
  known: string | null,
): { readonly run: string | null; readonly doubt: CommitInDoubt | null } {
  const [, xid = '', told] = /^(\d*)(?: (.+))?$/.exec(value ?? '') ?? []
  const run = known ?? told ?? null
  return { run, doubt: xid === '' || run === null ? null : { xid, run } }
}

/** `COMMIT` and nothing else. */
const PLAIN_COMMIT = /^\s*(?:commit|end)(?:\s+(?:work|transaction))?\s*;?\s*$/i

export function isPlainCommit(text: string): boolean {
  return text.length < 64 && PLAIN_COMMIT.test(text)
}

export interface LaterAnswer {
  /** null: it failed. */
  readonly value: string | null
  /** SQLSTATE; null: it did not fail. */
  readonly code: string | null
  readonly at: AskedServer
  /** The first number of transaction of that epoch's primary, as text; null: not known. */
  readonly nextXid: string | null
}

const INVALID_PARAMETER_VALUE = '22023'

export function outcomeOf(doubt: CommitInDoubt, before: AskedServer, later: LaterAnswer): CommitOutcome {
  const { value, code, at, nextXid } = later
  const isOther = at.epoch !== before.epoch || at.node !== before.node
  // A primary that has taken office without it: whoever has that number there came later.
  if (at.epoch > before.epoch && nextXid !== null && BigInt(doubt.xid) >= BigInt(nextXid))
    return 'notCommitted'
  if (code !== null) return code === INVALID_PARAMETER_VALUE ? 'notCommitted' : 'unknown'
  const [, status, run] = /^(in progress|\w+) (.+)$/.exec(value ?? '') ?? []
  if (status === 'aborted') return 'notCommitted'
  if (isOther || run !== doubt.run) return 'unknown'
  if (status === 'committed') return 'committed'
  return status === 'in progress' ? 'inProgress' : 'unknown'
}
