import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseBackendMessage } from '../../src/protocol/backend-messages.ts'
import { cancelRequest, query, sslRequest, startupMessage } from '../../src/protocol/frontend-messages.ts'
import { BACKEND } from '../../src/protocol/message-types.ts'
import { ProtocolViolation } from '../../src/protocol/violation.ts'

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex')

describe('parseBackendMessage', () => {
  test('reads result sets', () => {
    const description = Buffer.concat([
      hex('0002'),
      Buffer.from('systemid\0'),
      hex('00000000 0000 00000019 ffff ffffffff 0000'),
      Buffer.from('timeline\0'),
      hex('00000000 0000 00000017 0004 ffffffff 0001'),
    ])
    expect(parseBackendMessage(BACKEND.RowDescription, description)).toEqual({
      name: 'RowDescription',
      fields: [
        { name: 'systemid', typeOid: 25, format: 0 },
        { name: 'timeline', typeOid: 23, format: 1 },
      ],
    })
    const row = Buffer.concat([hex('0003 00000002'), Buffer.from('ab'), hex('ffffffff 00000000')])
    expect(parseBackendMessage(BACKEND.DataRow, row)).toEqual({
      name: 'DataRow',
      values: [Buffer.from('ab'), null, Buffer.alloc(0)],
    })
  })

  test('reads authentication requests', () => {
    const sasl = Buffer.concat([hex('0000000a'), Buffer.from('SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0')])
    expect(parseBackendMessage(BACKEND.Authentication, sasl)).toEqual({
      name: 'AuthenticationSASL',
      mechanisms: ['SCRAM-SHA-256-PLUS', 'SCRAM-SHA-256'],
    })
    expect(parseBackendMessage(BACKEND.Authentication, hex('00000005 01020304'))).toEqual({
      name: 'AuthenticationOther',
      method: 'MD5',
    })
    expect(parseBackendMessage(BACKEND.Authentication, hex('00000000'))).toEqual({ name: 'AuthenticationOk' })
  })

  test('reads the fields of an error, the untranslated severity first', () => {
    const body = Buffer.from('SFEHLER\0VERROR\0CXX001\0Mchecksum verification failure\0Dmore\0Fx.c\0\0')
    const message = parseBackendMessage(BACKEND.ErrorResponse, body)
    if (message.name !== 'ErrorResponse') throw new Error(message.name)
    expect(message.fields).toMatchObject({
      severity: 'ERROR',
      code: 'XX001',
      message: 'checksum verification failure',
      detail: 'more',
    })
    expect(message.fields.all.get('F')).toBe('x.c')
  })

  test('never reads past the end, whatever comes', () => {
    const types = Object.values(BACKEND)
    fc.assert(
      fc.property(fc.constantFrom(...types), fc.uint8Array({ maxLength: 60 }), (type, bytes) => {
        try {
          parseBackendMessage(type, Buffer.from(bytes))
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolViolation)
        }
      }),
      { numRuns: 2000 },
    )
  })
})

describe('frontend messages', () => {
  test('have the bytes of the manual', () => {
    expect(sslRequest()).toEqual(hex('00000008 04d2162f'))
    expect(startupMessage({ user: 'u', replication: 'true' })).toEqual(
      Buffer.concat([hex('00000021 00030000'), Buffer.from('user\0u\0replication\0true\0\0')]),
    )
    expect(query('SHOW x')).toEqual(Buffer.concat([hex('51 0000000b'), Buffer.from('SHOW x\0')]))
    expect(cancelRequest(1, hex('00000002'))).toEqual(hex('00000010 04d2162e 00000001 00000002'))
  })

  test('refuse a zero byte, which would end a string early', () => {
    expect(() => query('SHOW x\0; DROP')).toThrow(ProtocolViolation)
    expect(() => startupMessage({ user: 'a\0b' })).toThrow(ProtocolViolation)
  })
})
