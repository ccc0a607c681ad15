/**
 * From the files of a directory to the state that was acknowledged. Reads only: whatever it finds, nothing is changed or deleted here.
 * The layout is that of journal.ts. Damage is never repaired by leaving something out: it is reported, and the server does not start.
 */
import { asList, type JsonObject, parseObject } from '../wire.ts'
import type { Disk } from './disk.ts'
import { scanFrames } from './frames.ts'
import { isLogName, logName, type Position, SNAPSHOT, SNAPSHOT_FORMAT } from './log-file.ts'
import { decodeImage, decodeRecord } from './records.ts'
import { StoreState } from './store-state.ts'

/** What etcd shows in every answer's header. */
export interface StoreIdentity {
  readonly clusterId: string
  readonly memberId: string
  /** How often this store was started; stands for etcd's raft term. */
  readonly starts: number
}

export type Recovery =
  | { readonly kind: 'empty' }
  | {
      readonly kind: 'recovered'
      readonly identity: StoreIdentity
      readonly state: StoreState
      readonly position: Position
      /** A last record that was only partly written, and so never acknowledged; null when there is none. */
      readonly torn: { readonly file: string; readonly offset: number } | null
    }
  | { readonly kind: 'corrupt'; readonly file: string; readonly reason: string }

interface Snapshot {
  readonly identity: StoreIdentity
  readonly state: StoreState
  readonly position: Position
}

/** Rejects with the system's error when a file cannot be read. */
export async function recover(disk: Disk): Promise<Recovery> {
  const file = await disk.read(SNAPSHOT)
  if (file === null) return withoutSnapshot(disk)
  const snapshot = readSnapshot(file)
  if (typeof snapshot === 'string') return corrupt(SNAPSHOT, snapshot)
  const log = logName(snapshot.position.generation)
  const bytes = await disk.read(log)
  return bytes === null ? corrupt(log, 'the file is missing') : replay(snapshot, log, bytes)
}

/** Only a first start that was interrupted leaves a log without a snapshot, and that log holds nothing. */
async function withoutSnapshot(disk: Disk): Promise<Recovery> {
  for (const name of await disk.list()) {
    if (!isLogName(name)) continue
    const scan = scanFrames((await disk.read(name)) ?? Buffer.alloc(0))
    if (scan.kind === 'damaged' || scan.payloads.length > 1)
      return corrupt(SNAPSHOT, `missing beside ${name}`)
  }
  return { kind: 'empty' }
}

/** The snapshot, or what is wrong with it. It was renamed into place whole, so nothing about it can be torn. */
function readSnapshot(file: Buffer): Snapshot | string {
  const scan = scanFrames(file)
  if (scan.kind === 'damaged') return scan.reason
  const [payload] = scan.payloads
  if (payload === undefined || scan.payloads.length > 1 || scan.tornAt !== null) return 'not one whole record'
  const head = parseObject(payload)
  if (head === null) return 'no JSON object'
  if (head['format'] !== SNAPSHOT_FORMAT)
    return `format ${String(head['format'])} is not known to this version`
  const identity = readIdentity(head)
  const image = decodeImage(head['state'])
  const { generation, sequence } = head
  const state = image === null ? null : StoreState.fromImage(image)
  if (identity === null || state === null || !isCount(generation) || !isCount(sequence))
    return 'fields do not fit'
  return { identity, state, position: { generation, sequence } }
}

function readIdentity(head: JsonObject): StoreIdentity | null {
  const { clusterId, memberId, starts } = head
  if (typeof clusterId !== 'string' || typeof memberId !== 'string' || !isCount(starts)) return null
  return { clusterId, memberId, starts }
}

function replay(snapshot: Snapshot, file: string, bytes: Buffer): Recovery {
  const scan = scanFrames(bytes)
  if (scan.kind === 'damaged') return corrupt(file, `${scan.reason} (at byte ${scan.offset})`)
  const { identity, state, position } = snapshot
  let sequence = position.sequence - 1
  for (const payload of scan.payloads) {
    sequence++
    const frame = parseObject(payload)
    if (frame?.['s'] !== sequence) return corrupt(file, `record ${sequence} is missing`)
    const records = asList(frame['r'])
    if (records === null || !applyAll(state, records)) return corrupt(file, `record ${sequence} does not fit`)
  }
  // The first frame is written and synced before the snapshot points to this log.
  if (scan.payloads.length === 0) return corrupt(file, 'the first record is missing')
  const torn = scan.tornAt === null ? null : { file, offset: scan.tornAt }
  return { kind: 'recovered', identity, state, position: { ...position, sequence }, torn }
}

function applyAll(state: StoreState, records: readonly unknown[]): boolean {
  return records.every((item) => {
    const record = decodeRecord(item)
    return record !== null && state.apply(record)
  })
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function corrupt(file: string, reason: string): Recovery {
  return { kind: 'corrupt', file, reason }
}
