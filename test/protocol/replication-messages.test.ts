import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { lsnOf } from '../../src/core/lsn.ts'
import { FrameReader } from '../../src/protocol/frame-reader.ts'
import { copyData } from '../../src/protocol/frontend-messages.ts'
import { standbyStatusUpdate, WalStreamReader } from '../../src/protocol/replication-messages.ts'
import { ProtocolViolation } from '../../src/protocol/violation.ts'
import { cuts, oneByOne, pattern, pieces } from './pieces.ts'

function xlogData(lsn: bigint, data: Buffer): Buffer {
  const header = Buffer.alloc(25)
  header[0] = 'w'.charCodeAt(0)
  header.writeBigUInt64BE(lsn, 1)
  header.writeBigUInt64BE(lsn + BigInt(data.length), 9)
  return copyData(Buffer.concat([header, data]))
}

function keepalive(lsn: bigint, replyRequested: boolean): Buffer {
  const body = Buffer.alloc(18)
  body[0] = 'k'.charCodeAt(0)
  body.writeBigUInt64BE(lsn, 1)
  body[17] = replyRequested ? 1 : 0
  return copyData(body)
}

/** What was received, neighbouring data joined: how it was sliced does not matter. */
function read(chunks: readonly Buffer[]): readonly string[] {
  const seen: { at: bigint; bytes: Buffer }[] = []
  const log: string[] = []
  const stream = new WalStreamReader({
    xlogData: (lsn, data) => {
      const last = seen.at(-1)
      if (last !== undefined && last.at + BigInt(last.bytes.length) === lsn) {
        last.bytes = Buffer.concat([last.bytes, data])
      } else {
        seen.push({ at: lsn, bytes: Buffer.from(data) })
      }
    },
    keepalive: ({ walEndLsn, replyRequested }) => log.push(`keepalive ${walEndLsn} ${replyRequested}`),
  })
  const reader = new FrameReader(
    { frame: () => undefined, part: (part, offset, total) => stream.part(part, offset, total) },
    { streamedType: 'd'.charCodeAt(0) },
  )
  for (const chunk of chunks) reader.push(chunk)
  return [...log, ...seen.map(({ at, bytes }) => `${at} ${bytes.toString('hex')}`)]
}

describe('WalStreamReader', () => {
  test('gives the same WAL however the stream is split', () => {
    const step = fc.oneof(
      fc.record({ length: fc.nat({ max: 120 }) }),
      fc.record({ replyRequested: fc.boolean() }),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 8 }), cuts, (steps, at) => {
        let lsn = 0x1_0000_0000n - 50n
        const messages = steps.map((step) => {
          if ('replyRequested' in step) return keepalive(lsn, step.replyRequested)
          const message = xlogData(lsn, pattern(step.length, Number(lsn & 0xffn)))
          lsn += BigInt(step.length)
          return message
        })
        const bytes = Buffer.concat(messages)
        const whole = read([bytes])
        expect(read(pieces(bytes, at))).toEqual(whole)
        expect(read(oneByOne(bytes))).toEqual(whole)
      }),
    )
  })

  test('refuses what is neither', () => {
    const reader = new WalStreamReader({ xlogData: () => undefined, keepalive: () => undefined })
    expect(() => reader.part(Buffer.from('x12345'), 0, 6)).toThrow(ProtocolViolation)
    expect(() => reader.part(Buffer.alloc(0), 0, 0)).toThrow(ProtocolViolation)
    expect(() => reader.part(Buffer.from('k12'), 0, 3)).toThrow(ProtocolViolation)
    expect(() => reader.part(Buffer.from('w12'), 0, 3)).toThrow(ProtocolViolation)
  })
})

describe('standbyStatusUpdate', () => {
  test('has the layout of the manual, with microseconds since 2000', () => {
    const body = standbyStatusUpdate({
      writeLsn: lsnOf(0x1_0000_0001n),
      flushLsn: lsnOf(0x1_0000_0000n),
      applyLsn: lsnOf(0n),
      nowMs: Date.UTC(2000, 0, 1, 0, 0, 1),
      replyRequested: true,
    })
    expect(body.toString('hex')).toBe(
      ['72', '0000000100000001', '0000000100000000', '0000000000000000', '00000000000f4240', '01'].join(''),
    )
  })
})
