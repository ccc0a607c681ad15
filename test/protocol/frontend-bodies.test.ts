import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  bindStatementName,
  closeStatement,
  describedKind,
  describedName,
  parseMessage,
  parseStatementName,
  textOf,
  withName,
} from '../../src/protocol/frontend-bodies.ts'
import { frame } from '../../src/protocol/frontend-messages.ts'
import { ProtocolViolation } from '../../src/protocol/violation.ts'

const name = fc.string({ unit: fc.constantFrom('a', 'é', '_', ' '), maxLength: 20 })
const code = (letter: string): number => letter.charCodeAt(0)

describe('names in messages of the extended protocol', () => {
  test('are found and replaced, and nothing else changes', () => {
    fc.assert(
      fc.property(name, name, name, fc.uint8Array({ maxLength: 30 }), (portal, old, other, rest) => {
        const before = Buffer.from('before')
        const build = (statement: string): Buffer =>
          frame(code('B'), Buffer.from(`${portal}\0${statement}\0`), Buffer.from(rest))
        const chunk = Buffer.concat([before, build(old), Buffer.from('behind\0')])
        const end = before.length + build(old).length
        const span = bindStatementName(chunk, before.length, end)
        expect(textOf(chunk, span)).toBe(old)
        expect(withName(chunk, before.length, end, span, Buffer.from(other))).toEqual(build(other))
      }),
    )
  })

  test('of Parse, Describe and Close', () => {
    const parse = parseMessage(Buffer.from('u1'), Buffer.from('select 1\0\0\0', 'latin1'))
    expect(parse).toEqual(frame(code('P'), Buffer.from('u1\0select 1\0\0\0', 'latin1')))
    expect(textOf(parse, parseStatementName(parse, 0, parse.length))).toBe('u1')
    const close = closeStatement('é')
    expect(describedKind(close, 0, close.length)).toBe('statement')
    expect(textOf(close, describedName(close, 0, close.length))).toBe('é')
  })

  test('that are not terminated inside their message are refused', () => {
    const chunk = Buffer.concat([frame(code('P'), Buffer.from('abc')), Buffer.from('\0')])
    expect(() => parseStatementName(chunk, 0, chunk.length - 1)).toThrow(ProtocolViolation)
    expect(() => describedKind(frame(code('D')), 0, 5)).toThrow(ProtocolViolation)
    expect(() => describedKind(frame(code('D'), Buffer.from('Q\0')), 0, 7)).toThrow(ProtocolViolation)
  })
})
