/** What the proxy reads out of single answers of a server. Pure. */
import { type ErrorFields, parseErrorFields } from '../protocol/error-fields.ts'
import { ProtocolViolation } from '../protocol/violation.ts'
import type { RequestNote } from './request-queue.ts'
import { STATEMENT_PREFIX } from './statements.ts'

export function codeOf(error: Buffer): string {
  return parseErrorFields(error.subarray(5)).code
}

export function isHidden(note: RequestNote | null): boolean {
  if (note?.kind === 'prepared' || note?.kind === 'unnamed') return note.hidden
  return note?.kind === 'hidden'
}

/** The second field is 'V', the severity that is never translated (PostgreSQL 9.6 and later): FATAL or PANIC. */
export function isFatal(chunk: Buffer, from: number, seenEnd: number): boolean {
  const second = chunk.indexOf(0, from) + 1
  if (second <= 0 || second + 1 >= seenEnd || chunk[second] !== 0x56) return false
  return chunk[second + 1] === 0x46 || chunk[second + 1] === 0x50
}

export function lostFields(message: string): ErrorFields {
  return { severity: 'FATAL', code: '08006', message, all: new Map() }
}

/** An error that says that a prepared statement is not there, or not as it was: a table was altered, and who needs it prepares it again. */
export function isOutdated(error: Buffer): boolean {
  const { code, message, all } = parseErrorFields(error)
  if (code === '26000') return message.includes(STATEMENT_PREFIX)
  // "cached plan must not change result type"
  return code === '0A000' && all.get('R') === 'RevalidateCachedQuery'
}

/** Name and value of ParameterStatus. Throws ProtocolViolation. */
export function parameterOf(body: Buffer): readonly [string, string] {
  const nameEnd = body.indexOf(0)
  const valueEnd = body.indexOf(0, nameEnd + 1)
  if (nameEnd < 0 || valueEnd < 0) throw new ProtocolViolation('a parameter is cut short')
  return [body.toString('utf8', 0, nameEnd), body.toString('utf8', nameEnd + 1, valueEnd)]
}
