/** What a client's session is made with. */
import type { Socket } from 'node:net'
import type { AskedServer, CommitInDoubt } from './commit-doubt.ts'
import type { Resolved } from './commit-resolver.ts'
import type { Parameters } from './parameters.ts'
import type { Pool } from './pool.ts'
import type { SessionReads } from './reads/session-reads.ts'
import type { PoolMode } from './settings.ts'
import type { StatementRegistry } from './statements.ts'
import type { Traffic } from './traffic.ts'

export interface SessionOptions {
  readonly socket: Socket
  readonly pool: Pool
  readonly mode: PoolMode
  readonly parameters: Parameters
  /** Those of `parameters` that it asked for at its start: RESET leads back to them. */
  readonly began: ReadonlyMap<string, string>
  readonly registry: StatementRegistry
  readonly maxPreparedStatements: number
  readonly maxStatementBytes: number
  readonly traffic: Traffic
  /** Left out: whatever it sends is the primary's. */
  readonly reads?: SessionReads | undefined
  /** It made, changed or dropped something that others may name. */
  readonly schemaChanged?: () => void
  /** Finds out about a COMMIT without an answer; null: nobody asks. */
  readonly resolveCommit: ResolveCommit | null
  readonly onEnd: () => void
}

export type ResolveCommit = (
  doubt: CommitInDoubt,
  before: AskedServer,
  pool: Pool,
  gone: AbortSignal,
) => Promise<Resolved>
