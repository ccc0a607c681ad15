import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { frame } from '../../src/protocol/frontend-messages.ts'
import {
  MessageScanner,
  type MessageVisitor,
  NOTHING,
  seenBytes,
} from '../../src/protocol/message-scanner.ts'
import { ProtocolViolation } from '../../src/protocol/violation.ts'
import { cuts, oneByOne, pieces } from './pieces.ts'

/** D passes unseen, Q is seen up to 12 bytes, E whole, X is left out, R replaced, L replaced and what is behind its beginning left out. */
const SEEN = seenBytes('D', { Q: 12, E: 1 << 20, X: 8, R: 7, L: 7 })
const letter = (type: number): string => String.fromCharCode(type)

interface Seen {
  readonly shown: readonly string[]
  readonly forwarded: string
  readonly left: Buffer | null
}

class Recorder implements MessageVisitor {
  readonly shown: string[] = []
  readonly forwarded: Buffer[] = []
  scanner: MessageScanner | null = null
  haltAt = -1

  message(type: number, chunk: Buffer, start: number, seenEnd: number, end: number): Buffer | null {
    this.shown.push(`${letter(type)} ${chunk.toString('hex', start, seenEnd)} of ${end - start}`)
    if (this.shown.length === this.haltAt) this.scanner?.halt()
    switch (letter(type)) {
      case 'X':
        this.scanner?.discardRest()
        return NOTHING
      case 'L':
        this.scanner?.discardRest()
        return Buffer.from('<L>')
      case 'R':
        return Buffer.from('<R>')
      default:
        return null
    }
  }

  forward(bytes: Buffer): void {
    expect(bytes.length).toBeGreaterThan(0)
    this.forwarded.push(Buffer.from(bytes))
  }
}

function scan(chunks: readonly Buffer[], haltAt = -1): Seen {
  const recorder = new Recorder()
  const scanner = new MessageScanner(recorder, SEEN)
  recorder.scanner = scanner
  recorder.haltAt = haltAt
  let left: Buffer | null = null
  for (const chunk of chunks) {
    if (left !== null) left = Buffer.concat([left, chunk])
    else left = scanner.push(Buffer.from(chunk))
  }
  if (left === null) expect(scanner.atBoundary).toBe(true)
  return { shown: recorder.shown, forwarded: Buffer.concat(recorder.forwarded).toString('hex'), left }
}

const message = fc.record({
  type: fc.constantFrom('D', 'Q', 'E', 'X', 'R', 'L'),
  body: fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)),
})

/** What must come out, said without any of the scanner's arithmetic. */
function passed({ type, body }: { readonly type: string; readonly body: Buffer }): Buffer {
  const bytes = frame(type.charCodeAt(0), body)
  if (type === 'X') return NOTHING
  if (type === 'L') return Buffer.from('<L>')
  return type === 'R' ? Buffer.concat([Buffer.from('<R>'), bytes.subarray(7)]) : bytes
}

describe('MessageScanner', () => {
  test('shows and forwards the same, however the stream is split', () => {
    fc.assert(
      fc.property(fc.array(message, { maxLength: 10 }), cuts, (messages, at) => {
        const stream = Buffer.concat(messages.map(({ type, body }) => frame(type.charCodeAt(0), body)))
        const whole = scan([stream])
        expect(whole.shown).toHaveLength(messages.length)
        expect(whole.forwarded).toBe(Buffer.concat(messages.map(passed)).toString('hex'))
        expect(scan(pieces(stream, at))).toEqual(whole)
        expect(scan(oneByOne(stream))).toEqual(whole)
      }),
    )
  })

  test('gives back exactly what is behind the message at which the visitor halts', () => {
    fc.assert(
      fc.property(fc.array(message, { minLength: 1, maxLength: 8 }), fc.nat(), cuts, (messages, n, at) => {
        const frames = messages.map(({ type, body }) => frame(type.charCodeAt(0), body))
        const halt = (n % messages.length) + 1
        const { shown, left, forwarded } = scan(pieces(Buffer.concat(frames), at), halt)
        if (left === null) {
          // It halted in a message that went on in the next piece, and that piece was taken after the halt.
          expect(shown.length).toBeGreaterThanOrEqual(halt)
          return
        }
        expect(shown).toHaveLength(halt)
        expect(left.toString('hex')).toBe(Buffer.concat(frames.slice(halt)).toString('hex'))
        expect(forwarded).toBe(Buffer.concat(messages.slice(0, halt).map(passed)).toString('hex'))
      }),
    )
  })

  test('hands a chunk on as it came, and in one piece', () => {
    const chunk = Buffer.concat([frame(0x44, Buffer.alloc(3)), frame(0x51, Buffer.alloc(30)), frame(0x44)])
    const forwarded: Buffer[] = []
    const scanner = new MessageScanner(
      { message: () => null, forward: (bytes) => forwarded.push(bytes) },
      SEEN,
    )
    scanner.push(chunk)
    expect(forwarded).toHaveLength(1)
    expect(forwarded[0]).toBe(chunk)
  })

  test('keeps nothing of a long message but its beginning', () => {
    let bytes = 0
    const scanner = new MessageScanner(
      {
        message: () => null,
        forward: (part) => {
          bytes += part.length
        },
      },
      SEEN,
    )
    const header = Buffer.from([0x44, 0x3f, 0xff, 0xff, 0xff])
    scanner.push(header)
    const megabyte = Buffer.alloc(1 << 20)
    for (let i = 0; i < 100; i++) {
      scanner.push(megabyte)
      expect(bytes).toBe(5 + (i + 1) * megabyte.length)
      expect(scanner.inMessage).toBe(true)
    }
  })

  test('refuses lengths that lie and types that do not exist', () => {
    const scanner = (): MessageScanner =>
      new MessageScanner({ message: () => null, forward: () => undefined }, SEEN)
    for (const length of [0, 3, -1, -2147483648, 0x40000000, 0x7fffffff]) {
      const header = Buffer.alloc(5, 0x44)
      header.writeInt32BE(length, 1)
      expect(() => scanner().push(header), String(length)).toThrow(ProtocolViolation)
    }
    expect(() => scanner().push(Buffer.from([0x00, 0, 0, 0, 4]))).toThrow('no message of the type 0')
  })

  test('survives garbage: it passes, or is refused, and never more is held than the visitor wants to see', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 100 }), { maxLength: 20 }), (chunks) => {
        const recorder = new Recorder()
        const scanner = new MessageScanner(recorder, SEEN)
        recorder.scanner = scanner
        let sent = 0
        try {
          for (const chunk of chunks) {
            scanner.push(Buffer.from(chunk))
            sent += chunk.length
          }
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolViolation)
        }
        const forwarded = recorder.forwarded.reduce((sum, part) => sum + part.length, 0)
        expect(forwarded).toBeLessThanOrEqual(sent + 3 * recorder.shown.length + 100)
      }),
      { numRuns: 500 },
    )
  })
})
