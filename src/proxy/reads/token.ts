/**
 * A bound as text that clients carry from one session to another (`SHOW understudy.token`). Nobody is meant to read it; a sum at its end tells
 * one that was cut or mistyped, for a wrong bound would be a stale read. Pure.
 */
import { lsnOf } from '../../core/lsn.ts'
import type { ReadBound } from '../../core/read-bound.ts'
import { Crc32c } from '../../protocol/crc32c.ts'

const PREFIX = 'u1.'
/** System identifier, timeline, LSN, sum. */
const BYTES = 8 + 4 + 8 + 4
const SHAPE = /^u1\.[\w-]{32}$/

export function formatToken({ systemIdentifier, timelineId, lsn }: ReadBound): string {
  const bytes = Buffer.alloc(BYTES)
  bytes.writeBigUInt64BE(BigInt(systemIdentifier), 0)
  bytes.writeUInt32BE(timelineId, 8)
  bytes.writeBigUInt64BE(lsn, 12)
  bytes.writeUInt32BE(sumOf(bytes), 20)
  return PREFIX + bytes.toString('base64url')
}

/** null: it is no token, or not a whole one. */
export function parseToken(text: string): ReadBound | null {
  if (!SHAPE.test(text)) return null
  const bytes = Buffer.from(text.slice(PREFIX.length), 'base64url')
  if (bytes.length !== BYTES || bytes.readUInt32BE(20) !== sumOf(bytes)) return null
  return {
    systemIdentifier: bytes.readBigUInt64BE(0).toString(),
    timelineId: bytes.readUInt32BE(8),
    lsn: lsnOf(bytes.readBigUInt64BE(12)),
  }
}

function sumOf(bytes: Buffer): number {
  const crc = new Crc32c()
  crc.update(bytes.subarray(0, 20))
  return crc.value()
}
