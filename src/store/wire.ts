/**
 * The JSON dialect of etcd's gateway, as far as client and server share it: proto3 as JSON, where int64 are strings, bytes are base64,
 * and a field that is zero, empty or false is left out. Nothing here throws: what does not fit gives `null`.
 */

export type JsonObject = { readonly [name: string]: unknown }

export function asObject(value: unknown): JsonObject | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : null
}

/** A repeated field: left out means empty. */
export function asList(value: unknown): readonly unknown[] | null {
  if (value === undefined || value === null) return []
  return Array.isArray(value) ? value : null
}

/** Text that should be one JSON object. */
export function parseObject(text: string): JsonObject | null {
  try {
    return asObject(JSON.parse(text))
  } catch {
    return null
  }
}

const INT64_MAX = 2n ** 63n - 1n

/** An int64 field: a decimal string (numbers are accepted where they are exact); left out means 0. */
export function parseInt64(value: unknown): bigint | null {
  if (value === undefined || value === null) return 0n
  if (typeof value === 'number') return Number.isSafeInteger(value) ? BigInt(value) : null
  if (typeof value !== 'string' || !/^-?\d{1,19}$/.test(value)) return null
  const parsed = BigInt(value)
  return parsed > INT64_MAX || parsed < -INT64_MAX - 1n ? null : parsed
}

const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/

/** A bytes field; left out means empty. Buffer.from alone would skip over characters that are not base64. */
export function parseBytes(value: unknown): Buffer | null {
  if (value === undefined || value === null) return Buffer.alloc(0)
  if (typeof value !== 'string' || value.length % 4 !== 0 || !BASE64.test(value)) return null
  return Buffer.from(value, 'base64')
}

export function encodeText(text: string): string {
  return Buffer.from(text, 'utf8').toString('base64')
}

/** The end of the range that holds exactly the keys with this prefix, as etcd's clients compute it (clientv3.GetPrefixRangeEnd). */
export function encodePrefixEnd(prefix: string): string {
  const end = Buffer.from(prefix, 'utf8')
  for (let at = end.length - 1; at >= 0; at--) {
    const byte = end[at]
    if (byte !== undefined && byte < 0xff) {
      end[at] = byte + 1
      return end.subarray(0, at + 1).toString('base64')
    }
  }
  return Buffer.from([0]).toString('base64')
}

/** Fit to stand in a header line; node:http throws on anything else. */
export function isToken(value: unknown): value is string {
  return typeof value === 'string' && /^[\x21-\x7e]+$/.test(value)
}

/** Cuts a stream into lines: chunks are not messages. A line longer than `maxLength` characters ends the stream (push says so). */
export class LineSplitter {
  readonly #maxLength: number
  #parts: string[] = []
  #length = 0

  constructor(maxLength: number) {
    this.#maxLength = maxLength
  }

  /** The complete lines that the chunk ended, without empty ones; null when a line is too long. */
  push(chunk: string): readonly string[] | null {
    const pieces = chunk.split('\n')
    const rest = pieces.pop() ?? ''
    const lines: string[] = []
    for (const piece of pieces) {
      const line = this.rest() + piece
      if (line.trim() !== '') lines.push(line)
    }
    this.#parts.push(rest)
    this.#length += rest.length
    return this.#length > this.#maxLength ? null : lines
  }

  /** What came after the last line end; empties the splitter. */
  rest(): string {
    const text = this.#parts.join('')
    this.#parts = []
    this.#length = 0
    return text
  }
}
