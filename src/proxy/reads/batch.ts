/**
 * What a client has in hand when it has no server: its first batch, up to the message that the server will answer with ReadyForQuery. Where it
 * runs is decided by all of it, before the first byte is sent. What cannot be known is said to be open, and then is no read. Pure.
 */
import {
  bindStatementName,
  describedKind,
  describedName,
  parseStatementName,
} from '../../protocol/frontend-bodies.ts'
import { FRONTEND } from '../../protocol/message-types.ts'

export interface BatchStatement {
  readonly text: string
  /** It is run, and not only prepared. */
  readonly runs: boolean
}

export interface Batch {
  /**
   * `open`: its end is not in hand, or a text in it is too long to be looked at. `goodbye`: the client leaves. `other`: it holds something
   * that only the primary is asked (a function call).
   */
  readonly kind: 'whole' | 'open' | 'other' | 'goodbye'
  /** Of the batch, from the first byte in hand. */
  readonly bytes: number
  readonly isSimple: boolean
  readonly statements: readonly BatchStatement[]
  /** Names that it gives to statements; the unnamed one's is ''. */
  readonly parsed: readonly string[]
  /** It throws statements away. */
  readonly closes: boolean
}

/** A longer batch is the primary's. */
export const MAX_BATCH_BYTES = 64 * 1024
const HEADER_BYTES = 5
const NONE: readonly never[] = []

const batchOf = (kind: Batch['kind']): Batch => ({
  kind,
  bytes: 0,
  isSimple: false,
  statements: NONE,
  parsed: NONE,
  closes: false,
})
const OPEN = batchOf('open')
const OTHER = batchOf('other')
const GOODBYE = batchOf('goodbye')

export interface BatchReader {
  /** The text that the client has prepared under this name; null: none, or too long to be known. */
  textOf(name: string): string | null
  /** As text; null when what these bytes mean depends on more than themselves. */
  decode(chunk: Buffer, from: number, to: number): string | null
}

/** null: the rest of a message that has begun will say. */
export function readBatch(chunk: Buffer, reader: BatchReader): Batch | null {
  // By far the most frequent one: a simple query and nothing else.
  if (chunk[0] !== FRONTEND.Query) return readExtended(chunk, reader)
  const end = endOf(chunk, 0)
  if (end > MAX_BATCH_BYTES) return OPEN
  if (end > chunk.length) return null
  const text = reader.decode(chunk, HEADER_BYTES, end - 1)
  if (text === null) return OPEN
  return {
    ...{ kind: 'whole', bytes: end, isSimple: true, parsed: NONE, closes: false },
    statements: [{ text, runs: true }],
  }
}

function readExtended(chunk: Buffer, reader: BatchReader): Batch | null {
  const statements: BatchStatement[] = []
  /** Names that were given in this batch. */
  const texts = new Map<string, string>()
  let closes = false
  for (let at = 0; at < chunk.length; ) {
    const end = endOf(chunk, at)
    if (end > MAX_BATCH_BYTES) return OPEN
    if (end > chunk.length) return null
    switch (chunk[at]) {
      case FRONTEND.Parse: {
        const span = parseStatementName(chunk, at, end)
        const textEnd = chunk.indexOf(0, span.to + 1)
        const text = textEnd < end ? reader.decode(chunk, span.to + 1, textEnd) : null
        if (text === null) return OPEN
        texts.set(chunk.toString('utf8', span.from, span.to), text)
        statements.push({ text, runs: false })
        break
      }
      case FRONTEND.Bind: {
        const span = bindStatementName(chunk, at, end)
        const name = chunk.toString('utf8', span.from, span.to)
        const text = texts.get(name) ?? reader.textOf(name)
        if (text === null) return OPEN
        statements.push({ text, runs: true })
        break
      }
      case FRONTEND.Describe:
        // Of one that is not known here the server will say what there is to say.
        if (describedKind(chunk, at, end) === 'statement') {
          const span = describedName(chunk, at, end)
          const name = chunk.toString('utf8', span.from, span.to)
          const text = texts.get(name) ?? reader.textOf(name)
          if (text === null) return OPEN
          if (!texts.has(name)) statements.push({ text, runs: false })
        }
        break
      case FRONTEND.Close:
        if (describedKind(chunk, at, end) === 'statement') closes = true
        break
      case FRONTEND.Execute:
      case FRONTEND.Flush:
        break
      case FRONTEND.Sync:
        return {
          ...{ kind: 'whole', bytes: end, isSimple: false, statements, closes },
          parsed: texts.size === 0 ? NONE : [...texts.keys()],
        }
      case FRONTEND.Terminate:
        return at === 0 ? GOODBYE : OPEN
      default:
        return OTHER
    }
    at = end
  }
  return chunk.length === 0 ? null : OPEN
}

/** May lie beyond the chunk; so it does while the length itself has not come. */
function endOf(chunk: Buffer, at: number): number {
  return at + HEADER_BYTES > chunk.length ? chunk.length + 1 : at + 1 + chunk.readUInt32BE(at + 1)
}
