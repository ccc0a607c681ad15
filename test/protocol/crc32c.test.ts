import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Crc32c, Crc32cMemory } from '../../src/protocol/crc32c.ts'
import { cuts, pattern, pieces } from './pieces.ts'

/** The definition, bit by bit. */
function reference(bytes: Buffer): number {
  let crc = -1
  for (const byte of bytes) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1
  }
  return ~crc >>> 0
}

function crcOf(chunks: readonly Buffer[], memory: Crc32cMemory | null = null): Crc32c {
  const crc = new Crc32c(memory)
  for (const chunk of chunks) crc.update(chunk)
  return crc
}

describe('Crc32c', () => {
  test('has the check value of the catalogue, and the digest that PostgreSQL writes for "15\\n"', () => {
    expect(crcOf([Buffer.from('123456789')]).value()).toBe(0xe3069283)
    expect(crcOf([Buffer.from('15\n')]).digest()).toBe('8a744722')
    expect(crcOf([]).digest()).toBe('00000000')
  })

  test('is the same however the bytes are split, and in place', () => {
    const memory = new Crc32cMemory(4096)
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), cuts, fc.nat({ max: 100 }), (array, at, offset) => {
        const bytes = Buffer.from(array)
        const expected = reference(bytes)
        expect(crcOf([bytes]).value()).toBe(expected)
        expect(crcOf(pieces(bytes, at)).value()).toBe(expected)
        const inPlace = memory.data.subarray(offset, offset + bytes.length)
        bytes.copy(inPlace)
        expect(crcOf(pieces(inPlace, at), memory).value()).toBe(expected)
      }),
    )
  })

  test('takes input that is longer than its stage', () => {
    const bytes = pattern(150_001)
    expect(crcOf([bytes]).value()).toBe(reference(bytes))
  })

  test('gives memory that is aligned to pages', () => {
    expect(new Crc32cMemory(8192).data.byteOffset % 4096).toBe(0)
  })
})
