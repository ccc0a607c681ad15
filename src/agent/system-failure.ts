/** What the file system says against an action, as an expected failure. */
import type { Outcome } from '../ports/postgres.ts'
import { isFull } from './durable-file.ts'

/** A disk that is full or fails ends neither the agent nor what it can still do; the next cycle tries again. Anything else is a bug. */
export function systemFailure(error: unknown): Outcome {
  const { code, message } = error as NodeJS.ErrnoException
  if (typeof code !== 'string') throw error
  const denied = code === 'EACCES' || code === 'EPERM' || code === 'EROFS'
  return {
    kind: 'failed',
    code: isFull(error) ? 'no-space' : denied ? 'no-permission' : 'internal',
    reason: message,
  }
}
