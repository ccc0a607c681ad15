import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FrameReader } from '../../src/protocol/frame-reader.ts'
import { frame } from '../../src/protocol/frontend-messages.ts'
import { ProtocolViolation } from '../../src/protocol/violation.ts'
import { cuts, oneByOne, pieces } from './pieces.ts'

const STREAMED = 'd'.charCodeAt(0)

interface Seen {
  readonly type: number
  readonly body: string
}

/** Reads everything, putting the slices of streamed messages together again. */
function read(chunks: readonly Buffer[]): readonly Seen[] {
  const seen: Seen[] = []
  let streamed: Buffer[] = []
  const reader = new FrameReader(
    {
      frame: (type, body) => seen.push({ type, body: body.toString('hex') }),
      part: (part, offset, total) => {
        expect(offset).toBe(Buffer.concat(streamed).length)
        streamed.push(Buffer.from(part))
        if (offset + part.length === total) {
          seen.push({ type: STREAMED, body: Buffer.concat(streamed).toString('hex') })
          streamed = []
        }
      },
    },
    { streamedType: STREAMED },
  )
  for (const chunk of chunks) reader.push(chunk)
  expect(reader.atBoundary).toBe(true)
  return seen
}

const message = fc.record({
  type: fc.constantFrom(STREAMED, 'T'.charCodeAt(0), 'D'.charCodeAt(0), 'Z'.charCodeAt(0)),
  body: fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
})

describe('FrameReader', () => {
  test('gives the same messages however the stream is split', () => {
    fc.assert(
      fc.property(fc.array(message, { maxLength: 8 }), cuts, (messages, at) => {
        const stream = Buffer.concat(messages.map(({ type, body }) => frame(type, body)))
        const expected = messages.map(({ type, body }) => ({ type, body: body.toString('hex') }))
        expect(read([stream])).toEqual(expected)
        expect(read(pieces(stream, at))).toEqual(expected)
        expect(read(oneByOne(stream))).toEqual(expected)
      }),
    )
  })

  test('hands streamed messages on as they arrive, without waiting for their end', () => {
    const parts: string[] = []
    const reader = new FrameReader(
      { frame: () => undefined, part: (part, offset, total) => parts.push(`${part} ${offset}/${total}`) },
      { streamedType: STREAMED },
    )
    const bytes = frame(STREAMED, Buffer.from('abcdef'))
    reader.push(bytes.subarray(0, 7))
    expect(parts).toEqual(['ab 0/6'])
    expect(reader.atBoundary).toBe(false)
    reader.push(bytes.subarray(7))
    expect(parts).toEqual(['ab 0/6', 'cdef 2/6'])
  })

  test('does not copy a streamed slice', () => {
    const bytes = frame(STREAMED, Buffer.from('abcdef'))
    let slice: Buffer | null = null
    const reader = new FrameReader(
      {
        frame: () => undefined,
        part: (part) => {
          slice = part
        },
      },
      { streamedType: STREAMED },
    )
    reader.push(bytes)
    expect((slice as Buffer | null)?.buffer).toBe(bytes.buffer)
  })

  test('refuses a length that cannot be', () => {
    const reader = new FrameReader({ frame: () => undefined })
    expect(() => reader.push(Buffer.from([0x5a, 0, 0, 0, 3]))).toThrow(ProtocolViolation)
  })

  test('refuses a message that is too long before it is buffered, and not a streamed one', () => {
    const header = (type: number): Buffer => Buffer.from([type, 0, 0, 4, 4])
    const options = { maxBodyBytes: 1023, streamedType: STREAMED }
    const reader = new FrameReader({ frame: () => undefined }, options)
    expect(() => reader.push(header(0x44))).toThrow('claims 1024 bytes')
    expect(() => new FrameReader({ frame: () => undefined }, options).push(header(STREAMED))).not.toThrow()
  })
})
