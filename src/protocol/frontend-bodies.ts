/**
 * Reads and rewrites the names in the extended protocol's messages of a frontend (manual: "Message Formats": Parse, Bind, Describe,
 * Close), for a proxy that keeps prepared statements under names of its own. Works on the bytes; nothing else of a message is read.
 */
import { FRONTEND } from './message-types.ts'
import { ProtocolViolation } from './violation.ts'

const HEADER_BYTES = 5

/** Offsets into the chunk: the name is `[from, to)`, its closing zero at `to`. */
export interface NameSpan {
  readonly from: number
  readonly to: number
}

/** Parse: the statement's name is the first string. `limit` is how far the chunk may be read. */
export function parseStatementName(chunk: Buffer, start: number, limit: number): NameSpan {
  return stringAt(chunk, start + HEADER_BYTES, limit)
}

/** Bind: the portal's name, then the statement's. */
export function bindStatementName(chunk: Buffer, start: number, limit: number): NameSpan {
  return stringAt(chunk, stringAt(chunk, start + HEADER_BYTES, limit).to + 1, limit)
}

export type DescribedKind = 'statement' | 'portal'

/** Describe and Close: 'S' or 'P', then the name. */
export function describedKind(chunk: Buffer, start: number, limit: number): DescribedKind {
  const letter = start + HEADER_BYTES < limit ? chunk[start + HEADER_BYTES] : undefined
  if (letter === 0x53) return 'statement'
  if (letter === 0x50) return 'portal'
  throw new ProtocolViolation('neither a statement nor a portal is named')
}

export function describedName(chunk: Buffer, start: number, limit: number): NameSpan {
  return stringAt(chunk, start + HEADER_BYTES + 1, limit)
}

export function textOf(chunk: Buffer, span: NameSpan): string {
  return chunk.toString('utf8', span.from, span.to)
}

/**
 * The seen beginning of a message, `chunk[start, seenEnd)`, with another name in it and the length corrected; what follows `seenEnd`
 * stays as it is.
 */
export function withName(
  chunk: Buffer,
  start: number,
  seenEnd: number,
  span: NameSpan,
  name: Buffer,
): Buffer {
  const grown = name.length - (span.to - span.from)
  const result = Buffer.allocUnsafe(seenEnd - start + grown)
  chunk.copy(result, 0, start, span.from)
  name.copy(result, span.from - start)
  chunk.copy(result, span.from - start + name.length, span.to, seenEnd)
  result.writeInt32BE(chunk.readInt32BE(start + 1) + grown, 1)
  return result
}

/** `rest` is a Parse's body behind the statement's name: the text, its zero, and the parameter types. */
export function parseMessage(name: Buffer, rest: Buffer): Buffer {
  const bodyBytes = name.length + 1 + rest.length
  const message = Buffer.allocUnsafe(HEADER_BYTES + bodyBytes)
  message[0] = FRONTEND.Parse
  message.writeInt32BE(4 + bodyBytes, 1)
  name.copy(message, HEADER_BYTES)
  message[HEADER_BYTES + name.length] = 0
  rest.copy(message, HEADER_BYTES + name.length + 1)
  return message
}

export function closeStatement(name: string): Buffer {
  const body = Buffer.from(`S${name}\0`, 'utf8')
  const message = Buffer.allocUnsafe(HEADER_BYTES + body.length)
  message[0] = FRONTEND.Close
  message.writeInt32BE(4 + body.length, 1)
  body.copy(message, HEADER_BYTES)
  return message
}

function stringAt(chunk: Buffer, from: number, limit: number): NameSpan {
  const to = chunk.indexOf(0, from)
  if (to < 0 || to >= limit) throw new ProtocolViolation('a name is not terminated, or too long')
  return { from, to }
}
