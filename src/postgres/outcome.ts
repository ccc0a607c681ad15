/** Makers of the port's Outcome, so that expected failure is written the same way everywhere in this adapter. */
import type { ErrorCode } from '../errors/codes.ts'
import type { Outcome } from '../ports/postgres.ts'

export type Failure = Extract<Outcome, { readonly kind: 'failed' }>

export const DONE: Outcome = { kind: 'ok', value: null }

export function ok<T>(value: T): Outcome<T> {
  return { kind: 'ok', value }
}

/** `hint` replaces the code's general one where something more exact can be said. */
export function failed(code: ErrorCode, reason: string, hint?: string): Failure {
  return hint === undefined ? { kind: 'failed', code, reason } : { kind: 'failed', code, reason, hint }
}

/** The `code` of a Node system error ("ENOENT"), or null for anything else that was thrown. */
export function systemErrorCode(thrown: unknown): string | null {
  if (!(thrown instanceof Error) || !('code' in thrown)) return null
  return typeof thrown.code === 'string' ? thrown.code : null
}

/** What can go wrong with a path, in the words of the error list. Unknown system errors keep their own message. */
export function fileFailure(thrown: unknown, path: string): Failure {
  const code = systemErrorCode(thrown)
  const message = thrown instanceof Error ? thrown.message : String(thrown)
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') {
    return failed('no-permission', `${path} cannot be read or written by the user of this process (${code})`)
  }
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return failed('no-space', `no space is left on the file system of ${path}`)
  }
  if (code === 'ENAMETOOLONG') return failed('path-too-long', `the path ${path} is too long`)
  return failed('internal', `${path}: ${message}`)
}
