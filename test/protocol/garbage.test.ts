/** Whatever a stranger or a server sends, a codec gives a value or says that it is no message: it throws and reads nothing else. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseErrorFields } from '../../src/protocol/error-fields.ts'
import { FrameReader } from '../../src/protocol/frame-reader.ts'
import {
  bindStatementName,
  describedKind,
  describedName,
  parseStatementName,
} from '../../src/protocol/frontend-bodies.ts'
import { frame } from '../../src/protocol/frontend-messages.ts'
import { ScramClient, ScramFailure } from '../../src/protocol/scram.ts'
import { mockScramVerifier, readSaslInitialResponse, ScramServer } from '../../src/protocol/scram-server.ts'
import { readStartupPacket } from '../../src/protocol/startup-packet.ts'
import { ProtocolViolation } from '../../src/protocol/violation.ts'
import { cuts, pieces } from './pieces.ts'

const VERIFIER = mockScramVerifier('somebody', Buffer.from('secret'))
const RUNS = { numRuns: 300 }

/** Text that looks like SCRAM here and there, and is damaged. */
const saslText = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        'n,,',
        'y,,',
        'p=tls-unique,,',
        'n=',
        'r=',
        'c=biws',
        's=',
        'i=4096',
        'p=',
        ',',
        '=',
        'e=other-error',
      ),
      fc.string({ maxLength: 12 }),
      fc.base64String({ maxLength: 48 }),
    ),
    { maxLength: 12 },
  )
  .map((parts) => Buffer.from(parts.join(''), 'utf8'))
const bytes = fc.uint8Array({ maxLength: 300 }).map((each) => Buffer.from(each))

function refusedOrRead(read: () => unknown): void {
  try {
    read()
  } catch (error) {
    if (!(error instanceof ProtocolViolation) && !(error instanceof ScramFailure)) throw error
  }
}

describe('garbage', () => {
  test('in the place of the messages of a login', () => {
    fc.assert(
      fc.property(fc.oneof(bytes, saslText), saslText, (first, final) => {
        refusedOrRead(() => readSaslInitialResponse(first))
        const server = new ScramServer(VERIFIER, 'nonce')
        refusedOrRead(() => server.first(first))
        refusedOrRead(() => server.final(final))
        const begun = new ScramServer(VERIFIER, 'nonce')
        begun.first(Buffer.from('n,,n=,r=client'))
        refusedOrRead(() => begun.final(final))
        refusedOrRead(() => begun.final(Buffer.concat([Buffer.from('c=biws,r=clientnonce,p='), final])))
      }),
      RUNS,
    )
  })

  test('from a server, in the place of its part of SCRAM', () => {
    fc.assert(
      fc.property(saslText, saslText, (first, final) => {
        // One iteration, so that what happens to be right costs nothing.
        const damaged = Buffer.from(first.toString('utf8').replaceAll(/i=\d*/g, 'i=1'))
        const client = new ScramClient({ password: 'secret' })
        client.first()
        refusedOrRead(() => client.proceed(damaged))
        refusedOrRead(() => client.finish(final))
        expect(client.verified).toBe(false)
      }),
      RUNS,
    )
  })

  test('in the place of names, within what is there', () => {
    fc.assert(
      fc.property(bytes, fc.nat(300), (body, limit) => {
        // What stands behind the limit is another message.
        const chunk = Buffer.concat([frame('B'.charCodeAt(0), body), Buffer.from('of another\0')])
        const end = Math.min(limit, 5 + body.length)
        for (const read of [parseStatementName, bindStatementName, describedName]) {
          refusedOrRead(() => {
            const { from, to } = read(chunk, 0, end)
            expect(from).toBeGreaterThanOrEqual(5)
            expect(to).toBeLessThan(end)
          })
        }
        refusedOrRead(() => describedKind(chunk, 0, end))
        refusedOrRead(() => parseErrorFields(body))
      }),
      RUNS,
    )
  })

  test('start-up packets are the same, however they come', () => {
    fc.assert(
      fc.property(bytes, cuts, (packet, at) => {
        const read = (input: Buffer): unknown => {
          try {
            return readStartupPacket(input)
          } catch (error) {
            expect(error).toBeInstanceOf(ProtocolViolation)
            return 'refused'
          }
        }
        let input: Buffer = Buffer.alloc(0)
        let last: unknown = read(input)
        for (const piece of pieces(packet, at)) {
          input = Buffer.concat([input, piece])
          const now = read(input)
          // What was whole, or refused, stays so.
          const isOpen = (last as { kind?: string }).kind === 'incomplete'
          if (!isOpen) expect(now).toEqual(last)
          last = now
        }
        expect(last).toEqual(read(packet))
      }),
      RUNS,
    )
  })

  test('a length that lies is refused before anything is kept for it', () => {
    fc.assert(
      fc.property(fc.integer(), (length) => {
        const header = Buffer.alloc(5, 0x52)
        header.writeInt32BE(length, 1)
        const reader = new FrameReader({ frame: () => undefined }, { maxBodyBytes: 1_000 })
        const isFine = length >= 4 && length <= 1_004
        if (isFine) reader.push(header)
        else expect(() => reader.push(header)).toThrow(ProtocolViolation)
      }),
      RUNS,
    )
  })
})
