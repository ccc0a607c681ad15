/**
 * Reads backup manifests (manual: "Backup Manifest Format"; version 1 up to PostgreSQL 16, version 2 since 17) as they are
 * written by src/backend/backup/backup_manifest.c: one JSON object per line, which lets a manifest of any size be read
 * piece by piece. The system identifier is taken from the text, because JSON.parse would round it.
 */
import { createHash, type Hash } from 'node:crypto'
import { type Lsn, parseLsn } from '../core/lsn.ts'
import { ProtocolViolation } from './violation.ts'

export interface ManifestFile {
  /** Relative, '/' between the names. Bytes that are no UTF-8 (Encoded-Path) are kept as latin1 in `rawPath` only. */
  readonly path: string
  /** The path's bytes when they are not UTF-8, else null. */
  readonly rawPath: Buffer | null
  readonly sizeBytes: number
  /** Upper case as in the manifest: SHA256, CRC32C ...; null when the backup was made without checksums. */
  readonly checksumAlgorithm: string | null
  /** Lower-case hex; a CRC32C is in memory order, that is little-endian. Null when there is none. */
  readonly checksum: string | null
}

export interface WalRange {
  readonly timelineId: number
  readonly startLsn: Lsn
  readonly endLsn: Lsn
}

export interface ManifestSummary {
  readonly version: number
  /** Decimal digits; null in version 1, which does not have it. */
  readonly systemIdentifier: string | null
  readonly fileCount: number
  readonly walRanges: readonly WalRange[]
}

const NEWLINE = 0x0a
const MAX_LINE_BYTES = 64 * 1024

type Section = 'start' | 'head' | 'files' | 'wal' | 'checksum' | 'end'

export class BackupManifestReader {
  readonly #onFile: (file: ManifestFile) => void
  readonly #hash: Hash = createHash('sha256')
  #line: Buffer[] = []
  #lineBytes = 0
  #section: Section = 'start'
  #version = 0
  #systemIdentifier: string | null = null
  #fileCount = 0
  readonly #walRanges: WalRange[] = []

  /** `onFile` is called for each file in the manifest's order, BEFORE the manifest's own checksum is known to be right. */
  constructor(onFile: (file: ManifestFile) => void) {
    this.#onFile = onFile
  }

  /** Throws ProtocolViolation for anything that PostgreSQL does not write. */
  push(chunk: Buffer): void {
    let offset = 0
    while (offset < chunk.length) {
      const newline = chunk.indexOf(NEWLINE, offset)
      const end = newline < 0 ? chunk.length : newline + 1
      this.#line.push(chunk.subarray(offset, end))
      this.#lineBytes += end - offset
      if (this.#lineBytes > MAX_LINE_BYTES) throw new ProtocolViolation('a line of the manifest is too long')
      if (newline >= 0) this.#takeLine()
      offset = end
    }
  }

  /** At the end of the text. Throws ProtocolViolation when it is cut short or does not match its own checksum. */
  finish(): ManifestSummary {
    if (this.#lineBytes > 0) this.#takeLine()
    if (this.#section !== 'end') throw new ProtocolViolation('the manifest is cut short')
    return {
      version: this.#version,
      systemIdentifier: this.#systemIdentifier,
      fileCount: this.#fileCount,
      walRanges: this.#walRanges,
    }
  }

  #takeLine(): void {
    const bytes = Buffer.concat(this.#line, this.#lineBytes)
    this.#line = []
    this.#lineBytes = 0
    const line = bytes.toString('utf8').replace(/\n$/, '')
    // The manifest's own checksum covers every byte before the line that carries it.
    if (this.#section !== 'checksum' && this.#section !== 'end') this.#hash.update(bytes)
    switch (this.#section) {
      case 'start':
        this.#version = Number(capture(line, /^\{ "PostgreSQL-Backup-Manifest-Version": (\d{1,4}),$/))
        if (this.#version < 1 || this.#version > 2) {
          throw new ProtocolViolation(`the manifest has the unknown version ${this.#version}`)
        }
        this.#section = 'head'
        return
      case 'head':
        if (line === '"Files": [') this.#section = 'files'
        else this.#systemIdentifier = capture(line, /^"System-Identifier": (\d{1,20}),$/)
        return
      case 'files':
        if (line === '"WAL-Ranges": [') this.#section = 'wal'
        else if (line !== '],') this.#takeFile(line)
        return
      case 'wal':
        if (line === '],') this.#section = 'checksum'
        else this.#walRanges.push(parseWalRange(line))
        return
      case 'checksum':
        this.#checkOwnChecksum(line)
        this.#section = 'end'
        return
      case 'end':
        if (line !== '') throw new ProtocolViolation('the manifest goes on after its end')
    }
  }

  #takeFile(line: string): void {
    this.#fileCount++
    this.#onFile(parseFile(line))
  }

  #checkOwnChecksum(line: string): void {
    const expected = capture(line, /^"Manifest-Checksum": "([0-9a-f]{64})"\}$/)
    if (this.#hash.digest('hex') !== expected) {
      throw new ProtocolViolation('the manifest does not match its own checksum')
    }
  }
}

function capture(line: string, pattern: RegExp): string {
  const found = pattern.exec(line)?.[1]
  if (found === undefined)
    throw new ProtocolViolation(`the manifest has the unexpected line ${line.slice(0, 200)}`)
  return found
}

function parseFile(line: string): ManifestFile {
  const object = parseObject(line)
  const path = object['Path']
  const encodedPath = object['Encoded-Path']
  const sizeBytes = object['Size']
  const algorithm = object['Checksum-Algorithm'] ?? null
  const checksum = object['Checksum'] ?? null
  const hasPath = typeof path === 'string' || isHex(encodedPath)
  const validSize = typeof sizeBytes === 'number' && Number.isSafeInteger(sizeBytes) && sizeBytes >= 0
  if (!hasPath || !validSize || !(checksum === null || isHex(checksum))) {
    throw new ProtocolViolation(`the manifest has the unreadable entry ${line.slice(0, 200)}`)
  }
  const rawPath = isHex(encodedPath) ? Buffer.from(encodedPath, 'hex') : null
  const decoded = typeof path === 'string' ? path : (rawPath?.toString('utf8') ?? '')
  // MANIFEST 'force-encode' encodes every path; then the bytes are UTF-8 after all.
  const isUtf8 = rawPath === null || Buffer.from(decoded, 'utf8').equals(rawPath)
  return {
    path: decoded,
    rawPath: isUtf8 ? null : rawPath,
    sizeBytes,
    checksumAlgorithm: typeof algorithm === 'string' ? algorithm : null,
    checksum,
  }
}

function parseWalRange(line: string): WalRange {
  const object = parseObject(line)
  const timelineId = object['Timeline']
  const startLsn = parseLsn(String(object['Start-LSN']))
  const endLsn = parseLsn(String(object['End-LSN']))
  if (typeof timelineId !== 'number' || startLsn === null || endLsn === null) {
    throw new ProtocolViolation(`the manifest has the unreadable WAL range ${line.slice(0, 200)}`)
  }
  return { timelineId, startLsn, endLsn }
}

function parseObject(line: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(line.replace(/,$/, ''))
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>
  } catch {
    // Said below, with the line.
  }
  throw new ProtocolViolation(`the manifest has the unreadable line ${line.slice(0, 200)}`)
}

function isHex(value: unknown): value is string {
  return typeof value === 'string' && value.length % 2 === 0 && /^[0-9a-f]*$/i.test(value)
}
