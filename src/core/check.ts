/** A preflight as values: what was looked at, and what came of it, for a person who asks for a change. Pure. */
import type { ErrorCode } from '../errors/codes.ts'

export interface Check {
  /** Stable: scripts may compare it. */
  readonly check: string
  /** waits: the change begins when this has passed by itself; warning: it can begin, at a price. */
  readonly result: 'ok' | 'waits' | 'warning' | 'failed'
  readonly message: string
  /** Of a check that has failed: what the change is refused with. */
  readonly code?: ErrorCode
  readonly hint?: string
}

export interface Refusal {
  readonly code: ErrorCode
  readonly message: string
  readonly hint?: string
}

export function passed(check: string, message: string): Check {
  return { check, result: 'ok', message }
}

export function failed(check: string, code: ErrorCode, message: string, hint?: string): Check {
  return { check, result: 'failed', message, code, ...(hint !== undefined && { hint }) }
}

/** What the first check that has failed refuses the change with; null when none has. */
export function refusalOf(checks: readonly Check[]): Refusal | null {
  const failed = checks.find((each) => each.result === 'failed')
  if (failed === undefined) return null
  const { code = 'refused', message, hint } = failed
  return hint === undefined ? { code, message } : { code, message, hint }
}
