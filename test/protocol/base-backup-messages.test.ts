import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { BaseBackupReader, baseBackupCommand } from '../../src/protocol/base-backup-messages.ts'
import { FrameReader } from '../../src/protocol/frame-reader.ts'
import { copyData } from '../../src/protocol/frontend-messages.ts'
import { ProtocolViolation } from '../../src/protocol/violation.ts'
import { cuts, oneByOne, pattern, pieces } from './pieces.ts'

function progress(bytes: number): Buffer {
  const body = Buffer.alloc(9)
  body.write('p')
  body.writeBigUInt64BE(BigInt(bytes), 1)
  return body
}

const STREAM = [
  Buffer.from('nbase.tar\0\0'),
  Buffer.concat([Buffer.from('d'), pattern(300)]),
  progress(2 ** 40),
  Buffer.concat([Buffer.from('d'), pattern(70, 9)]),
  Buffer.from('m'),
  Buffer.from('d{ "Postgre'),
  Buffer.from('dSQL"'),
]

function read(chunks: readonly Buffer[]): readonly string[] {
  const log: string[] = []
  let data: Buffer[] = []
  const flush = (): void => {
    if (data.length > 0) log.push(Buffer.concat(data).toString('hex'))
    data = []
  }
  const messages = new BaseBackupReader({
    archive: (name, location) => log.push(`archive ${name} ${location}`),
    manifest: () => {
      flush()
      log.push('manifest')
    },
    data: (slice) => {
      expect(slice.length).toBeGreaterThan(0)
      data.push(Buffer.from(slice))
    },
    progress: (bytes) => log.push(`progress ${bytes}`),
  })
  const reader = new FrameReader(
    { frame: () => undefined, part: (part, offset, total) => messages.part(part, offset, total) },
    { streamedType: 'd'.charCodeAt(0) },
  )
  for (const chunk of chunks) reader.push(chunk)
  flush()
  return log
}

describe('BaseBackupReader', () => {
  test('takes the stream apart, however it is split', () => {
    const bytes = Buffer.concat(STREAM.map(copyData))
    const expected = [
      'archive base.tar ',
      `progress ${2 ** 40}`,
      Buffer.concat([pattern(300), pattern(70, 9)]).toString('hex'),
      'manifest',
      Buffer.from('{ "PostgreSQL"').toString('hex'),
    ]
    expect(read([bytes])).toEqual(expected)
    expect(read(oneByOne(bytes))).toEqual(expected)
    fc.assert(
      fc.property(cuts, (at) => {
        expect(read(pieces(bytes, at))).toEqual(expected)
      }),
    )
  })

  test.each([
    ['data before an archive', Buffer.from('dabc')],
    ['an unknown message', Buffer.from('zabc')],
    ['an empty message', Buffer.alloc(0)],
    ['a progress report of the wrong length', Buffer.from('p123')],
    ['a name that does not end', Buffer.from('nbase.tar')],
    ['a name that is too long', Buffer.concat([Buffer.from('n'), Buffer.alloc(20_000, 'x')])],
  ])('refuses %s', (_, message) => {
    expect(() => read([copyData(message)])).toThrow(ProtocolViolation)
  })
})

describe('baseBackupCommand', () => {
  test('is the option list that PostgreSQL 15 and later take, quotes doubled', () => {
    const options = { label: "it's", checkpoint: 'fast', manifestChecksums: 'CRC32C' } as const
    expect(baseBackupCommand({ ...options, maxRateKb: 32 })).toBe(
      "BASE_BACKUP (LABEL 'it''s', PROGRESS, CHECKPOINT 'fast', WAIT false, MANIFEST 'yes', MANIFEST_CHECKSUMS 'CRC32C', MAX_RATE 32)",
    )
    expect(baseBackupCommand(options)).not.toContain('MAX_RATE')
  })
})
