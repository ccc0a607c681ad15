/**
 * Walks over a byte stream of protocol messages without taking it apart (manual: "Message Formats"): it finds where messages begin,
 * shows the beginning of each to a visitor, and hands everything on in the pieces in which it came. No message is copied or joined
 * unless its beginning was cut in two, and of a long one only the beginning is ever kept: a row of a gigabyte needs no memory.
 *
 * FrameReader is for an end of the protocol, which wants whole messages. This is for a proxy, which wants bytes to pass.
 */
import { ProtocolViolation } from './violation.ts'

const HEADER_BYTES = 5
/** PostgreSQL's own limit for anything (MaxAllocSize); a longer message cannot be meant. */
const MAX_LENGTH = 0x3fffffff

export interface MessageVisitor {
  /**
   * A message of `type` begins at `chunk[start]`, of which everything up to `seenEnd` is there; the whole message would end at `end`.
   * Returns null to let it pass, or what takes the place of `chunk[start, seenEnd)` (NOTHING: it does not pass). What follows after `seenEnd`
   * passes, unless the visitor calls `discardRest`. `chunk` may be changed in place.
   */
  message(type: number, chunk: Buffer, start: number, seenEnd: number, end: number): Buffer | null
  /** Bytes that pass, in order; aliases a chunk. */
  forward(bytes: Buffer): void
}

/** How many bytes of a message of each type the visitor must see, its header included; 0: there is no such type. */
export type SeenBytes = Uint32Array

/** `wanted` by type letter; types that are listed in `passing` are shown by their header only. */
export function seenBytes(passing: string, wanted: Readonly<Record<string, number>>): SeenBytes {
  const table = new Uint32Array(256)
  for (const letter of passing) table[letter.charCodeAt(0)] = HEADER_BYTES
  for (const [letter, bytes] of Object.entries(wanted)) table[letter.charCodeAt(0)] = bytes
  return table
}

/** What a visitor gives for a message that does not pass. */
export const NOTHING: Buffer = Buffer.alloc(0)

export class MessageScanner {
  readonly #visitor: MessageVisitor
  readonly #seen: SeenBytes
  /** The beginning of a message that was cut off before enough of it could be shown. */
  #held: Buffer[] = []
  #heldBytes = 0
  /** So many bytes, counted from the first held one, are needed to go on. */
  #needed = 0
  /** Of a message that was shown already. */
  #rest = 0
  #discarding = false
  #halted = false

  constructor(visitor: MessageVisitor, seen: SeenBytes) {
    this.#visitor = visitor
    this.#seen = seen
  }

  /** True between two messages: nothing is half-way through. */
  get atBoundary(): boolean {
    return this.#rest === 0 && this.#heldBytes === 0
  }

  /** The beginning of a message that is not shown yet, in pieces. */
  get held(): readonly Buffer[] {
    return this.#held
  }

  /** True when a message has begun to pass and its end has not come. */
  get inMessage(): boolean {
    return this.#rest > 0 && !this.#discarding
  }

  /** For visitors: what is left of the message that is being shown, and replaced, does not pass. */
  discardRest(): void {
    this.#discarding = true
  }

  /** For visitors: nothing behind this message is looked at; `push` gives it back. */
  halt(): void {
    this.#halted = true
  }

  /**
   * Takes the next bytes, in any split; gives back what lies behind a message at which the visitor halted, else null. Throws
   * ProtocolViolation, after which the stream cannot be read on.
   */
  push(chunk: Buffer): Buffer | null {
    this.#halted = false
    const whole = this.#heldBytes === 0 ? chunk : this.#join(chunk)
    if (whole === null) return null
    const at = Math.min(this.#rest, whole.length)
    this.#rest -= at
    const passFrom = this.#discarding ? at : 0
    if (this.#rest === 0) this.#discarding = false
    return this.#walk(whole, passFrom, at)
  }

  /** Keeps the pieces apart until there are enough: joining at each piece would copy a long beginning again and again. */
  #join(chunk: Buffer): Buffer | null {
    this.#held.push(chunk)
    this.#heldBytes += chunk.length
    if (this.#heldBytes < this.#needed) return null
    const whole = Buffer.concat(this.#held, this.#heldBytes)
    this.#held = []
    this.#heldBytes = 0
    return whole
  }

  /** From the message at `first` on; what lies between `unsent` and it passes too. */
  #walk(chunk: Buffer, unsent: number, first: number): Buffer | null {
    const { length } = chunk
    let passFrom = unsent
    let at = first
    while (at < length && !this.#halted) {
      const wanted = at + HEADER_BYTES <= length ? (this.#seen[chunk[at] ?? 0] ?? 0) : HEADER_BYTES
      if (wanted === 0) throw new ProtocolViolation(`there is no message of the type ${chunk[at]}`)
      const end = at + HEADER_BYTES <= length ? at + 1 + lengthAt(chunk, at + 1) : length + 1
      const seenEnd = Math.min(end, at + wanted)
      if (seenEnd > length) {
        this.#hold(chunk, at, seenEnd - at)
        break
      }
      const replacement = this.#visitor.message(chunk[at] ?? 0, chunk, at, seenEnd, end)
      if (replacement !== null) {
        if (at > passFrom) this.#visitor.forward(chunk.subarray(passFrom, at))
        if (replacement.length > 0) this.#visitor.forward(replacement)
        passFrom = this.#discarding ? Math.min(end, length) : seenEnd
      }
      at = Math.min(end, length)
      this.#rest = end - at
      if (this.#rest === 0) this.#discarding = false
    }
    const passEnd = this.#heldBytes > 0 ? length - this.#heldBytes : at
    if (passEnd > passFrom) {
      const all = passFrom === 0 && passEnd === length
      this.#visitor.forward(all ? chunk : chunk.subarray(passFrom, passEnd))
    }
    return this.#halted && at < length ? chunk.subarray(at) : null
  }

  #hold(chunk: Buffer, at: number, needed: number): void {
    this.#held = [chunk.subarray(at)]
    this.#heldBytes = chunk.length - at
    this.#needed = needed
  }
}

/** The length field of a message, which counts itself. */
function lengthAt(chunk: Buffer, at: number): number {
  const length =
    ((chunk[at] ?? 0) << 24) |
    ((chunk[at + 1] ?? 0) << 16) |
    ((chunk[at + 2] ?? 0) << 8) |
    (chunk[at + 3] ?? 0)
  if (length < 4 || length > MAX_LENGTH) {
    throw new ProtocolViolation(`a message has the impossible length ${length}`)
  }
  return length
}
