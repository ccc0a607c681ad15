import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { cancelRequest, sslRequest, startupMessage } from '../../src/protocol/frontend-messages.ts'
import { readStartupPacket } from '../../src/protocol/startup-packet.ts'
import { ProtocolViolation } from '../../src/protocol/violation.ts'

function packet(version: number, body: string): Buffer {
  const bytes = Buffer.concat([Buffer.alloc(8), Buffer.from(body, 'latin1')])
  bytes.writeInt32BE(bytes.length, 0)
  bytes.writeInt32BE(version, 4)
  return bytes
}

describe('readStartupPacket', () => {
  test('reads what a client begins with, and waits for the rest of each', () => {
    const start = startupMessage({ user: 'app', database: 'shop', application_name: 'x' })
    const key = Buffer.from('0123456789abcdef')
    const cases = [
      [sslRequest(), { kind: 'sslRequest', bytes: 8 }],
      [packet(80877104, ''), { kind: 'gssEncryptionRequest', bytes: 8 }],
      [cancelRequest(7, key), { kind: 'cancelRequest', processId: 7, secretKey: key, bytes: 28 }],
      [
        start,
        {
          kind: 'startup',
          bytes: start.length,
          startup: {
            minorVersion: 0,
            parameters: new Map([
              ['user', 'app'],
              ['database', 'shop'],
              ['application_name', 'x'],
            ]),
            protocolOptions: [],
          },
        },
      ],
    ] as const
    for (const [bytes, expected] of cases) {
      for (let cut = 0; cut < bytes.length; cut++) {
        expect(readStartupPacket(bytes.subarray(0, cut))).toEqual({ kind: 'incomplete' })
      }
      expect(readStartupPacket(Buffer.concat([bytes, Buffer.from('more')]))).toEqual(expected)
    }
    expect(readStartupPacket(Buffer.from([0x16]))).toEqual({ kind: 'directTls' })
  })

  test('keeps protocol options apart, and the minor version that was asked for', () => {
    const read = readStartupPacket(packet(0x0003270f, 'user\0a\0_pq_.x\0y\0user\0b\0\0'))
    expect(read).toMatchObject({
      startup: { minorVersion: 9999, protocolOptions: ['_pq_.x'], parameters: new Map([['user', 'b']]) },
    })
  })

  test('refuses what PostgreSQL refuses', () => {
    for (const bytes of [
      packet(0x00020000, 'user\0a\0\0'),
      packet(0x00030000, 'user\0a\0'),
      packet(0x00030000, 'user\0a'),
      packet(0x00030000, ''),
      packet(0x00030000, 'user\0a\0\0rest'),
      packet(80877103, 'stuffed'),
      packet(80877102, 'abc'),
      Buffer.from([0, 0, 0, 7]),
      Buffer.from([0, 0, 0x27, 0x11]),
      Buffer.from('GET / HTTP/1.1\r\n'),
    ]) {
      expect(() => readStartupPacket(bytes), bytes.toString('latin1')).toThrow(ProtocolViolation)
    }
  })

  test('survives garbage', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        try {
          readStartupPacket(Buffer.from(bytes))
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolViolation)
        }
      }),
      { numRuns: 1000 },
    )
  })
})
