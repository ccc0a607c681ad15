import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Lsn, lsnOf, parseLsn } from '../../src/core/lsn.ts'
import {
  historyFileName,
  offsetInSegment,
  parseHistoryFileName,
  parseWalFileName,
  parseWalSegmentSize,
  segmentNumberOf,
  segmentStart,
  segmentStartOf,
  walFileName,
} from '../../src/protocol/wal-names.ts'

const MB = 1024 * 1024

function lsn(text: string): Lsn {
  return parseLsn(text) ?? lsnOf(0n)
}

/** Each expectation is what pg_walfile_name() of a server with that segment size says. */
describe('WAL file names', () => {
  test.each([
    ['0/3000028', 16 * MB, 1, '000000010000000000000003'],
    ['0/FF000000', 16 * MB, 1, '0000000100000000000000FF'],
    ['1/0', 16 * MB, 1, '000000010000000100000000'],
    ['A/FF000000', 16 * MB, 26, '0000001A0000000A000000FF'],
    ['0/FFF00000', 1 * MB, 1, '000000010000000000000FFF'],
    ['1/80000000', 1024 * MB, 2, '000000020000000100000002'],
    ['0/7000000', 64 * MB, 1, '000000010000000000000001'],
  ])('%s with segments of %i bytes', (position, segmentBytes, timelineId, name) => {
    const segmentNumber = segmentNumberOf(lsn(position), segmentBytes)
    expect(walFileName(timelineId, segmentNumber, segmentBytes)).toBe(name)
    expect(parseWalFileName(name, segmentBytes)).toEqual({ timelineId, segmentNumber })
  })

  test('are read back for every size and position', () => {
    fc.assert(
      fc.property(
        fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
        fc.integer({ min: 1, max: 0xffffffff }),
        fc.integer({ min: 0, max: 10 }),
        (position, timelineId, exponent) => {
          const segmentBytes = MB * 2 ** exponent
          const segmentNumber = segmentNumberOf(lsnOf(position), segmentBytes)
          const name = walFileName(timelineId, segmentNumber, segmentBytes)
          expect(parseWalFileName(name, segmentBytes)).toEqual({ timelineId, segmentNumber })
          const start = segmentStartOf(lsnOf(position), segmentBytes)
          expect(start).toBe(segmentStart(segmentNumber, segmentBytes))
          expect(start + BigInt(offsetInSegment(lsnOf(position), segmentBytes))).toBe(position)
        },
      ),
    )
  })

  test('refuse what is none', () => {
    for (const name of [
      '00000001000000000000000',
      '00000001000000000000000g',
      '000000010000000000000003.partial',
      '00000000000000000000000A',
      '00000001000000000000000a',
      // With 16 MB there are 256 segments in a log.
      '000000010000000000000100',
    ]) {
      expect(parseWalFileName(name, 16 * MB), name).toBeNull()
    }
  })

  test('of timeline histories', () => {
    expect(historyFileName(10)).toBe('0000000A.history')
    expect(parseHistoryFileName('0000000A.history')).toBe(10)
    expect(parseHistoryFileName('0000000A.history.tmp')).toBeNull()
  })
})

describe('parseWalSegmentSize', () => {
  test('reads what SHOW prints, and refuses what cannot be', () => {
    expect(parseWalSegmentSize('16MB')).toBe(16 * MB)
    expect(parseWalSegmentSize('1GB')).toBe(1024 * MB)
    expect(parseWalSegmentSize('1048576B')).toBe(MB)
    for (const text of ['15MB', '2GB', '512kB', '16', 'MB', '']) expect(parseWalSegmentSize(text)).toBeNull()
  })
})
