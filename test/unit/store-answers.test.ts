import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { readAnswer } from '../../src/store/gateway/answers.ts'
import { parseEvents, parseListing, parseTransaction } from '../../src/store/gateway/messages.ts'
import { encodePrefixEnd, LineSplitter, parseBytes, parseInt64 } from '../../src/store/wire.ts'

const transaction = { compare: [], success: [{ op: 'get', key: 'k' } as const] }

/** JSON that is nearly an answer, so that not everything is refused at the first field. */
const nearly = fc.record(
  {
    header: fc.record({ revision: fc.oneof(fc.constant('7'), fc.jsonValue()) }, { requiredKeys: [] }),
    kvs: fc.oneof(
      fc.jsonValue(),
      fc.array(fc.record({ key: fc.oneof(fc.base64String(), fc.jsonValue()), mod_revision: fc.jsonValue() })),
    ),
    events: fc.oneof(fc.jsonValue(), fc.array(fc.record({ type: fc.jsonValue(), kv: fc.jsonValue() }))),
    responses: fc.jsonValue(),
    succeeded: fc.jsonValue(),
    error: fc.jsonValue(),
    code: fc.jsonValue(),
    message: fc.jsonValue(),
    result: fc.jsonValue(),
  },
  { requiredKeys: [] },
)

test('whatever comes, nothing is thrown and nothing half-read passes for a value', () => {
  void fc.assert(
    fc.property(
      fc.integer({ min: 100, max: 599 }),
      fc.oneof(fc.string(), fc.jsonValue(), nearly),
      (status, body) => {
        const answer = readAnswer(status, typeof body === 'string' ? body : JSON.stringify(body))
        if (answer.kind !== 'ok') return
        expect(status).toBe(200)
        const listing = parseListing(answer.value)
        for (const entry of listing?.entries ?? []) expect(typeof entry.modRevision).toBe('bigint')
        const result = parseTransaction(answer.value, transaction)
        if (result?.succeeded === true) expect(result.reads).toHaveLength(1)
        parseEvents(answer.value['events'])
      },
    ),
    { numRuns: 2_000 },
  )
})

test('int64 are strings, exact to the last digit, and zero when left out', () => {
  expect(parseInt64('9223372036854775807')).toBe(2n ** 63n - 1n)
  expect(parseInt64('-9223372036854775808')).toBe(-(2n ** 63n))
  expect(parseInt64(undefined)).toBe(0n)
  for (const value of ['9223372036854775808', '', ' 1', '1.5', '0x1', '1e3', 1.5, 2 ** 60, true, {}, []]) {
    expect(parseInt64(value)).toBeNull()
  }
})

test('bytes are strict base64', () => {
  void fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      expect(parseBytes(Buffer.from(bytes).toString('base64'))).toEqual(Buffer.from(bytes))
    }),
  )
  for (const value of ['a', 'a===', '!!!!', 'YQ', 7, {}]) expect(parseBytes(value)).toBeNull()
})

test('a prefix ends where its last byte can still be raised', () => {
  const end = (prefix: string) => Buffer.from(encodePrefixEnd(prefix), 'base64')
  expect(end('/a/')).toEqual(Buffer.from('/a0'))
  expect(end('ä')).toEqual(Buffer.from([0xc3, 0xa5]))
  expect(end('')).toEqual(Buffer.from([0]))
})

test('lines come out whole, however the text was cut', () => {
  void fc.assert(
    fc.property(
      fc.array(fc.string().filter((line) => line.trim() !== '' && !line.includes('\n'))),
      fc.array(fc.nat(30)),
      (lines, cuts) => {
        const text = lines.map((line) => `${line}\n`).join('')
        const splitter = new LineSplitter(1_000_000)
        const seen: string[] = []
        let at = 0
        for (const cut of [...cuts, text.length]) {
          seen.push(...(splitter.push(text.slice(at, at + cut)) ?? []))
          at += cut
        }
        expect(seen).toEqual(lines)
        expect(splitter.rest()).toBe('')
      },
    ),
  )
  expect(new LineSplitter(10).push('x'.repeat(11))).toBeNull()
})
