import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseLsn } from '../../src/core/lsn.ts'
import {
  BackupManifestReader,
  type ManifestFile,
  type ManifestSummary,
} from '../../src/protocol/backup-manifest.ts'
import { ProtocolViolation } from '../../src/protocol/violation.ts'
import { cuts, pieces } from './pieces.ts'

/** As src/backend/backup/backup_manifest.c writes it. */
function manifest(options: { version: number; files: readonly string[]; systemIdentifier?: string }): Buffer {
  const identifier =
    options.systemIdentifier === undefined ? '' : `"System-Identifier": ${options.systemIdentifier},\n`
  const body = [
    `{ "PostgreSQL-Backup-Manifest-Version": ${options.version},\n`,
    identifier,
    `"Files": [\n${options.files.join(',\n')}${options.files.length > 0 ? '\n' : ''}],\n`,
    '"WAL-Ranges": [\n',
    '{ "Timeline": 2, "Start-LSN": "0/3000028", "End-LSN": "0/4000000" },\n',
    '{ "Timeline": 3, "Start-LSN": "0/4000000", "End-LSN": "1/50000D8" }\n',
    '],\n',
  ].join('')
  const checksum = createHash('sha256').update(body).digest('hex')
  return Buffer.from(`${body}"Manifest-Checksum": "${checksum}"}\n`)
}

const FILES = [
  '{ "Path": "backup_label", "Size": 225, "Last-Modified": "2026-11-22 12:00:00 GMT", "Checksum-Algorithm": "CRC32C", "Checksum": "8a744722" }',
  '{ "Path": "odd \\"name\\" \\\\ü", "Size": 0, "Last-Modified": "2026-11-22 12:00:00 GMT" }',
  '{ "Encoded-Path": "62ff", "Size": 1, "Last-Modified": "2026-11-22 12:00:00 GMT", "Checksum-Algorithm": "SHA256", "Checksum": "00ff" }',
  '{ "Encoded-Path": "6261736500", "Size": 2, "Last-Modified": "2026-11-22 12:00:00 GMT" }',
]
const IDENTIFIER = '7711099472225316585'
const V2 = { version: 2, files: FILES, systemIdentifier: IDENTIFIER }

function read(chunks: readonly Buffer[]): { files: readonly ManifestFile[]; summary: ManifestSummary } {
  const files: ManifestFile[] = []
  const reader = new BackupManifestReader((file) => files.push(file))
  for (const chunk of chunks) reader.push(chunk)
  return { files, summary: reader.finish() }
}

describe('BackupManifestReader', () => {
  test('reads version 2, its system identifier digit by digit', () => {
    const { files, summary } = read([manifest(V2)])
    expect(summary).toEqual({
      version: 2,
      systemIdentifier: IDENTIFIER,
      fileCount: 4,
      walRanges: [
        { timelineId: 2, startLsn: parseLsn('0/3000028'), endLsn: parseLsn('0/4000000') },
        { timelineId: 3, startLsn: parseLsn('0/4000000'), endLsn: parseLsn('1/50000D8') },
      ],
    })
    // What JSON.parse would have made of it.
    expect(String(JSON.parse(IDENTIFIER))).not.toBe(IDENTIFIER)
    expect(files.map((file) => file.path)).toEqual(['backup_label', 'odd "name" \\ü', 'b\ufffd', 'base\0'])
    expect(files.map((file) => file.rawPath?.toString('hex') ?? null)).toEqual([null, null, '62ff', null])
    expect(files[0]).toMatchObject({ sizeBytes: 225, checksumAlgorithm: 'CRC32C', checksum: '8a744722' })
    expect(files[1]).toMatchObject({ sizeBytes: 0, checksumAlgorithm: null, checksum: null })
  })

  test('reads version 1, which has no system identifier, and one without files', () => {
    expect(read([manifest({ version: 1, files: FILES })]).summary.systemIdentifier).toBeNull()
    expect(read([manifest({ version: 1, files: [] })]).summary.fileCount).toBe(0)
  })

  test('gives the same however the text is split', () => {
    const text = manifest(V2)
    const whole = read([text])
    fc.assert(
      fc.property(cuts, (at) => {
        expect(read(pieces(text, at))).toEqual(whole)
      }),
    )
  })

  test('notices any flipped bit', () => {
    const text = manifest(V2)
    fc.assert(
      fc.property(fc.nat({ max: text.length - 2 }), fc.nat({ max: 7 }), (at, bit) => {
        const flipped = Buffer.from(text)
        flipped[at] = (flipped[at] ?? 0) ^ (1 << bit)
        expect(() => read([flipped])).toThrow(ProtocolViolation)
      }),
      { numRuns: 500 },
    )
  })

  test('notices an end too early, and more after the end', () => {
    const text = manifest(V2)
    fc.assert(
      fc.property(fc.nat({ max: text.length - 3 }), (length) => {
        expect(() => read([text.subarray(0, length)])).toThrow(ProtocolViolation)
      }),
    )
    expect(() => read([text, Buffer.from('x\n')])).toThrow('goes on after its end')
    expect(() => read([manifest({ version: 3, files: [] })])).toThrow('unknown version 3')
  })
})
