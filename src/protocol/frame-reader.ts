/**
 * Cuts a byte stream into the protocol's messages, in either direction (manual: "Message Formats"): one type byte, an int32
 * length that counts itself, the body. Push-style, and any split of the input gives the same messages.
 *
 * Messages of ONE chosen type can be streamed: their body is handed on in the slices in which it arrives, because a base
 * backup is millions of CopyData messages and joining each of them would copy every byte once more.
 */
import { ProtocolViolation } from './violation.ts'

export interface FrameHandler {
  /** A whole message. `body` may alias the input: copy what must outlive the call. */
  frame(type: number, body: Buffer): void
  /**
   * A slice of a message of the streamed type; `offset` bytes of its `total` came before. A message without a body is one
   * empty slice. `part` aliases the input.
   */
  part?(part: Buffer, offset: number, total: number): void
}

export interface FrameReaderOptions {
  /** Type byte of the messages whose body is handed on in slices; needs the handler's `part`. */
  readonly streamedType?: number
  /** A longer message is refused before its body is buffered. Streamed messages are not limited: they are not buffered. */
  readonly maxBodyBytes?: number
}

const HEADER_BYTES = 5
const EMPTY = Buffer.alloc(0)

export class FrameReader {
  readonly #handler: FrameHandler
  readonly #streamedType: number
  readonly #maxBodyBytes: number
  readonly #header = Buffer.alloc(HEADER_BYTES)
  #headerBytes = 0
  #type = 0
  #total = 0
  #received = 0
  #parts: Buffer[] = []

  constructor(handler: FrameHandler, options: FrameReaderOptions = {}) {
    this.#handler = handler
    this.#streamedType = options.streamedType ?? -1
    this.#maxBodyBytes = options.maxBodyBytes ?? 64 * 1024 * 1024
  }

  /** True between two messages: an end of the stream here cuts nothing off. */
  get atBoundary(): boolean {
    return this.#headerBytes === 0
  }

  /** Takes the next bytes, in any split. Throws ProtocolViolation, after which the stream cannot be read on. */
  push(chunk: Buffer): void {
    let offset = 0
    while (offset < chunk.length) {
      if (this.#headerBytes < HEADER_BYTES) {
        offset = this.#takeHeader(chunk, offset)
        if (this.#headerBytes < HEADER_BYTES) return
        if (this.#total === 0) this.#takeBody(EMPTY)
        continue
      }
      const end = Math.min(chunk.length, offset + this.#total - this.#received)
      this.#takeBody(offset === 0 && end === chunk.length ? chunk : chunk.subarray(offset, end))
      offset = end
    }
  }

  #takeHeader(chunk: Buffer, offset: number): number {
    const copied = chunk.copy(
      this.#header,
      this.#headerBytes,
      offset,
      offset + HEADER_BYTES - this.#headerBytes,
    )
    this.#headerBytes += copied
    if (this.#headerBytes === HEADER_BYTES) {
      this.#type = this.#header[0] ?? 0
      const length = this.#header.readInt32BE(1)
      this.#total = length - 4
      this.#received = 0
      if (this.#total < 0) throw new ProtocolViolation(`a message has the impossible length ${length}`)
      if (this.#type !== this.#streamedType && this.#total > this.#maxBodyBytes) {
        const name = String.fromCharCode(this.#type)
        throw new ProtocolViolation(`a message of type '${name}' claims ${this.#total} bytes`)
      }
    }
    return offset + copied
  }

  #takeBody(slice: Buffer): void {
    const before = this.#received
    this.#received += slice.length
    const complete = this.#received === this.#total
    // Before the handler is called: it may throw, or feed the reader again.
    if (complete) this.#headerBytes = 0
    if (this.#type === this.#streamedType) {
      this.#handler.part?.(slice, before, this.#total)
      return
    }
    if (!complete) {
      this.#parts.push(slice)
      return
    }
    const type = this.#type
    let body = slice
    if (this.#parts.length > 0) {
      this.#parts.push(slice)
      body = Buffer.concat(this.#parts, this.#total)
      this.#parts = []
    }
    this.#handler.frame(type, body)
  }
}
