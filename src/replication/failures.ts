/** Turns what sockets, TLS, files and the server report into the codes of src/errors, with the address or path in the message. */
import { UnderstudyError } from '../errors/codes.ts'
import type { ErrorFields } from '../protocol/error-fields.ts'
import { ScramFailure } from '../protocol/scram.ts'
import { ProtocolViolation } from '../protocol/violation.ts'

/** The server answered a command with ErrorResponse; `fields.code` is the SQLSTATE. */
export class ServerError extends UnderstudyError {
  readonly fields: ErrorFields

  constructor(fields: ErrorFields) {
    const detail = fields.detail === undefined ? '' : ` (${fields.detail})`
    super(codeOfSqlState(fields.code), `PostgreSQL says: ${fields.message}${detail}`)
    this.name = 'ServerError'
    this.fields = fields
  }
}

function codeOfSqlState(sqlState: string): 'auth-failed' | 'connect-failed' | 'server-error' {
  // 28: invalid authorization, which includes "no pg_hba.conf entry"; 42501: the role lacks REPLICATION.
  if (sqlState.startsWith('28') || sqlState === '42501') return 'auth-failed'
  // 57P: shutting down, starting up, crashed; 53300: too many connections. All pass.
  if (sqlState.startsWith('57P') || sqlState === '53300') return 'connect-failed'
  return 'server-error'
}

const EXPIRED = new Set(['CERT_HAS_EXPIRED'])
const CERTIFICATE_CODES = new Set([
  'CERT_CHAIN_TOO_LONG',
  'CERT_NOT_YET_VALID',
  'CERT_REVOKED',
  'CERT_SIGNATURE_FAILURE',
  'CERT_UNTRUSTED',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'ERR_TLS_CERT_ALTNAME_INVALID',
  'INVALID_CA',
  'INVALID_PURPOSE',
  'PATH_LENGTH_EXCEEDED',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
])

/** An error of a socket to `where`, before or after it was connected. */
export function connectionFailure(error: unknown, where: string): UnderstudyError {
  if (error instanceof UnderstudyError) return error
  if (error instanceof ScramFailure) {
    return new UnderstudyError('auth-failed', `${where}: ${error.message}`, { cause: error })
  }
  if (error instanceof ProtocolViolation) {
    return new UnderstudyError('protocol-violation', `${where}: ${error.message}`, { cause: error })
  }
  const code = errnoOf(error)
  const message = `${where}: ${error instanceof Error ? error.message : String(error)}`
  if (EXPIRED.has(code)) return new UnderstudyError('certificate-expired', message, { cause: error })
  if (CERTIFICATE_CODES.has(code) || code.startsWith('ERR_SSL') || code.startsWith('ERR_TLS')) {
    return new UnderstudyError('tls-failed', message, { cause: error })
  }
  return new UnderstudyError('connect-failed', message, { cause: error })
}

/** An error of a file operation below `directory`; anything but a full disk and missing rights is `otherwise`. */
export function fileFailure(
  error: unknown,
  directory: string,
  otherwise: 'clone-failed' | 'internal',
): UnderstudyError {
  if (error instanceof UnderstudyError) return error
  const code = errnoOf(error)
  const message = error instanceof Error ? error.message : String(error)
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new UnderstudyError('no-space', `No space left below ${directory} (${message})`, { cause: error })
  }
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') {
    return new UnderstudyError('no-permission', `${directory} cannot be written (${message})`, {
      cause: error,
    })
  }
  return new UnderstudyError(code === '' ? 'internal' : otherwise, message, { cause: error })
}

/** "ENOSPC", "CERT_HAS_EXPIRED" ...; '' for an error without a code. */
export function errnoOf(error: unknown): string {
  if (typeof error !== 'object' || error === null || !('code' in error)) return ''
  return typeof error.code === 'string' ? error.code : ''
}

export function abortedFailure(signal: AbortSignal): UnderstudyError {
  if (signal.reason instanceof UnderstudyError) return signal.reason
  return new UnderstudyError('clone-failed', 'It was aborted', { cause: signal.reason })
}
