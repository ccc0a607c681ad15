/** The fields of ErrorResponse and NoticeResponse (manual: "Error and Notice Message Fields"). */
import { ProtocolViolation } from './violation.ts'

export interface ErrorFields {
  /** ERROR, FATAL, PANIC, WARNING, NOTICE ...: never translated, unlike the field 'S'. */
  readonly severity: string
  /** SQLSTATE. */
  readonly code: string
  readonly message: string
  readonly detail?: string
  readonly hint?: string
  readonly where?: string
  /** Every field by its letter, for what is not named above. */
  readonly all: ReadonlyMap<string, string>
}

/** Reads the body of ErrorResponse or NoticeResponse. Throws ProtocolViolation when it is not terminated. */
export function parseErrorFields(body: Buffer): ErrorFields {
  const all = new Map<string, string>()
  let offset = 0
  while (true) {
    const letter = body[offset]
    if (letter === undefined) throw new ProtocolViolation('an error message is not terminated')
    if (letter === 0) break
    const end = body.indexOf(0, offset + 1)
    if (end < 0) throw new ProtocolViolation('a field of an error message is not terminated')
    all.set(String.fromCharCode(letter), body.toString('utf8', offset + 1, end))
    offset = end + 1
  }
  const detail = all.get('D')
  const hint = all.get('H')
  const where = all.get('W')
  return {
    severity: all.get('V') ?? all.get('S') ?? 'ERROR',
    code: all.get('C') ?? 'XX000',
    message: all.get('M') ?? '(no message)',
    ...(detail === undefined ? {} : { detail }),
    ...(hint === undefined ? {} : { hint }),
    ...(where === undefined ? {} : { where }),
    all,
  }
}
