/** What the proxy reads out of single answers of a server. Pure. */
import { type ErrorFields, parseErrorFields } from '../protocol/error-fields.ts'
import type { RequestNote } from './request-queue.ts'

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
