/**
 * Reads global/pg_control (src/include/catalog/pg_control.h), which tells what a data directory is without starting it, and without
 * pg_controldata, which the embedded package lacks. Layouts of PostgreSQL 15 to 18 on little-endian 64-bit machines.
 */
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { lsnOf } from '../core/lsn.ts'
import type { ControlFacts, ControlState, Outcome } from '../ports/postgres.ts'
import { crc32c } from './crc32c.ts'
import { failed, fileFailure, ok, systemErrorCode } from './outcome.ts'

/** PG_CONTROL_VERSION: 1300 in PostgreSQL 13 to 17, 1800 in 18. */
interface Layout {
  readonly crcOffset: number
}

/**
 * 18 added one byte before the nonce (default_char_signedness), which moves the CRC behind it; 17's new field in the checkpoint copy
 * (wal_level) lies in what was padding. So every offset below holds for all four versions.
 */
const LAYOUTS: ReadonlyMap<number, Layout> = new Map([
  [1300, { crcOffset: 288 }],
  [1800, { crcOffset: 292 }],
])

const OFFSETS = {
  systemIdentifier: 0,
  controlVersion: 8,
  state: 16,
  checkpoint: 32,
  redo: 40,
  checkpointTimeline: 48,
  minRecoveryPoint: 136,
  minRecoveryTimeline: 144,
  walSegmentSize: 228,
  checksumVersion: 252,
} as const

/** enum DBState, in its order. */
const STATES: readonly ControlState[] = [
  'startingUp',
  'shutDown',
  'shutDownInRecovery',
  'shuttingDown',
  'inCrashRecovery',
  'inArchiveRecovery',
  'inProduction',
]

/** The file is 8 kB; what counts is within the first sector, so that PostgreSQL can write it at once. */
const READ_BYTES = 512

/** PostgreSQL writes in place without a rename: a read in the middle of a write shows a CRC error that is none (pg_controldata: same). */
const TORN_READ_ATTEMPTS = 8
const TORN_READ_PAUSE_MS = 10

export type ControlParse =
  | { readonly kind: 'ok'; readonly facts: ControlFacts }
  | { readonly kind: 'unknownVersion'; readonly controlVersion: number }
  | { readonly kind: 'damaged'; readonly reason: string }

export function parseControlFile(bytes: Buffer): ControlParse {
  if (bytes.length < READ_BYTES) {
    return { kind: 'damaged', reason: `it has ${bytes.length} bytes` }
  }
  const controlVersion = bytes.readUInt32LE(OFFSETS.controlVersion)
  const layout = LAYOUTS.get(controlVersion)
  if (layout === undefined) return { kind: 'unknownVersion', controlVersion }
  if (crc32c(bytes.subarray(0, layout.crcOffset)) !== bytes.readUInt32LE(layout.crcOffset)) {
    return { kind: 'damaged', reason: 'its checksum does not match' }
  }
  const state = STATES[bytes.readUInt32LE(OFFSETS.state)]
  if (state === undefined) return { kind: 'damaged', reason: 'its state is none that PostgreSQL knows' }
  return {
    kind: 'ok',
    facts: {
      systemIdentifier: bytes.readBigUInt64LE(OFFSETS.systemIdentifier).toString(),
      state,
      timelineId: bytes.readUInt32LE(OFFSETS.checkpointTimeline),
      checkpointLsn: lsnOf(bytes.readBigUInt64LE(OFFSETS.checkpoint)),
      redoLsn: lsnOf(bytes.readBigUInt64LE(OFFSETS.redo)),
      minRecoveryLsn: lsnOf(bytes.readBigUInt64LE(OFFSETS.minRecoveryPoint)),
      minRecoveryTimelineId: bytes.readUInt32LE(OFFSETS.minRecoveryTimeline),
      dataChecksums: bytes.readUInt32LE(OFFSETS.checksumVersion) !== 0,
      walSegmentSize: bytes.readUInt32LE(OFFSETS.walSegmentSize),
    },
  }
}

/** `data-damaged` when the file is missing or wrong. The caller has seen in PG_VERSION that it is of a version that we know. */
export async function readControlFile(dataDir: string): Promise<Outcome<ControlFacts>> {
  const path = join(dataDir, 'global', 'pg_control')
  for (let attempt = 1; ; attempt++) {
    const read = await readStart(path)
    if (read.kind === 'failed') return read
    const parsed = parseControlFile(read.value)
    if (parsed.kind === 'ok') return ok(parsed.facts)
    if (attempt < TORN_READ_ATTEMPTS) {
      await sleep(TORN_READ_PAUSE_MS)
      continue
    }
    const reason =
      parsed.kind === 'damaged'
        ? parsed.reason
        : `no PostgreSQL writes version ${parsed.controlVersion} of it`
    return failed('data-damaged', `${path} is damaged: ${reason}`)
  }
}

async function readStart(path: string): Promise<Outcome<Buffer>> {
  try {
    const handle = await open(path, 'r')
    try {
      const buffer = Buffer.alloc(READ_BYTES)
      const { bytesRead } = await handle.read(buffer, 0, READ_BYTES, 0)
      return ok(buffer.subarray(0, bytesRead))
    } finally {
      await handle.close()
    }
  } catch (error) {
    return systemErrorCode(error) === 'ENOENT'
      ? failed('data-damaged', `${path} is missing`)
      : fileFailure(error, path)
  }
}
