/** What a failed base backup is called: the code that tells a person, or the agent, what to do next. */
import { type ErrorCode, toUnderstudyError, UnderstudyError } from '../errors/codes.ts'
import { ServerError } from './failures.ts'

/** SQLSTATE data_corrupted: page checksums failed; it comes as an error after all data was sent. */
const DATA_CORRUPTED = 'XX001'

/** Codes that say more than 'clone-failed', whenever they happen. */
const SPECIFIC: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'backup-corrupt',
  'clone-failed',
  'foreign-data',
  'internal',
  'no-permission',
  'no-space',
  'protocol-violation',
  'system-identifier',
  'tablespaces',
  'unsupported-version',
])

/** While connecting the connection's own code stands (auth-failed, tls-failed ...); later its loss is a failed clone. */
export function classifyBackupFailure(thrown: unknown, connecting: boolean): UnderstudyError {
  const failure = toUnderstudyError(thrown)
  if (failure instanceof ServerError && failure.fields.code === DATA_CORRUPTED) {
    return new UnderstudyError('backup-corrupt', failure.message, { cause: failure })
  }
  if (connecting && failure.code !== 'server-error') return failure
  if (SPECIFIC.has(failure.code)) return failure
  return new UnderstudyError('clone-failed', failure.message, { cause: failure })
}
