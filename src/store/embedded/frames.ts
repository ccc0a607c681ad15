/**
 * The records of the log and of the snapshot on disk. Pure: bytes to texts and back.
 *
 * A frame is a header of 16 bytes (length, its complement, CRC-32 of the payload, magic; little-endian), the payload (JSON in UTF-8) and
 * zeros up to the next multiple of 16. Frames stand in a file that was filled with zeros and synced before, and each frame is synced
 * before the next one is written. Three things follow, and recovery leans on them:
 * - only the LAST frame can be torn; a whole frame behind a bad one proves that the bad one was synced once, so it was damaged later;
 * - what a torn frame lacks reads as zeros, and JSON holds no zero byte;
 * - a header never straddles a sector, so it is there or it is not.
 */
import { crc32 } from 'node:zlib'

const HEADER_BYTES = 16
const MAGIC = 0x31_72_74_73 // "str1"

export type Scan =
  | {
      readonly kind: 'ok'
      readonly payloads: readonly string[]
      /** Where a last frame was only partly written; null when the file ends cleanly. Nothing in it was ever acknowledged. */
      readonly tornAt: number | null
    }
  | { readonly kind: 'damaged'; readonly offset: number; readonly reason: string }

/** Bytes that a payload of this many bytes takes in the file. */
export function frameSize(payloadBytes: number): number {
  return align(HEADER_BYTES + payloadBytes)
}

export function encodeFrame(payload: string): Buffer {
  const bytes = Buffer.from(payload, 'utf8')
  const frame = Buffer.alloc(frameSize(bytes.length))
  frame.writeUInt32LE(bytes.length, 0)
  frame.writeUInt32LE(~bytes.length >>> 0, 4)
  frame.writeUInt32LE(crc32(bytes), 8)
  frame.writeUInt32LE(MAGIC, 12)
  bytes.copy(frame, HEADER_BYTES)
  return frame
}

/** Reads every frame of a file. */
export function scanFrames(file: Buffer): Scan {
  const payloads: string[] = []
  let at = 0
  for (;;) {
    const payload = readFrame(file, at)
    if (payload === null) return classifyEnd(file, at, payloads)
    payloads.push(payload.toString('utf8'))
    at += frameSize(payload.length)
  }
}

/** The payload of a whole frame with the right checksum, else null. */
function readFrame(file: Buffer, at: number): Buffer | null {
  const length = readHeader(file, at)
  if (length === null || at + HEADER_BYTES + length > file.length) return null
  const payload = file.subarray(at + HEADER_BYTES, at + HEADER_BYTES + length)
  return crc32(payload) === file.readUInt32LE(at + 8) ? payload : null
}

function readHeader(file: Buffer, at: number): number | null {
  if (at + HEADER_BYTES > file.length) return null
  const length = file.readUInt32LE(at)
  const consistent = file.readUInt32LE(at + 4) === ~length >>> 0 && file.readUInt32LE(at + 12) === MAGIC
  return consistent ? length : null
}

/** What it means that no whole frame stands at `at`: the end, a torn last frame, or damage. In doubt it is damage. */
function classifyEnd(file: Buffer, at: number, payloads: readonly string[]): Scan {
  if (isZero(file, at, file.length)) return { kind: 'ok', payloads, tornAt: null }
  for (let later = align(at + 1); later < file.length; later += HEADER_BYTES) {
    if (readFrame(file, later) === null) continue
    return { kind: 'damaged', offset: at, reason: `a bad record before a whole one at byte ${later}` }
  }
  const length = readHeader(file, at)
  const end = at + HEADER_BYTES + (length ?? 0)
  const torn =
    length === null
      ? // No header: the file was cut in it, its sector never came while later ones did, or nothing came behind its first bytes.
        end > file.length || isZero(file, at, end) || isZero(file, end, file.length)
      : end > file.length || file.subarray(at + HEADER_BYTES, end).includes(0)
  if (torn) return { kind: 'ok', payloads, tornAt: at }
  return { kind: 'damaged', offset: at, reason: 'a record that is complete has a wrong checksum' }
}

function isZero(file: Buffer, from: number, to: number): boolean {
  const part = file.subarray(from, to)
  return part.equals(Buffer.alloc(part.length))
}

function align(offset: number): number {
  return Math.ceil(offset / HEADER_BYTES) * HEADER_BYTES
}
