/** State records and images as JSON and back. Reading checks every part: what was written by us and damaged later must not half apply. */
import { asList, asObject, type JsonObject, parseBytes, parseInt64 } from '../wire.ts'
import type { Entry, Operation } from './draft.ts'
import type { StateImage, StateRecord } from './store-state.ts'

/** Upper bound of what a record takes beyond the JSON of the request that caused it. */
export const RECORD_OVERHEAD_BYTES = 128

export function encodeRecord(record: StateRecord): unknown {
  switch (record.kind) {
    case 'commit':
      return ['c', record.revision, record.operations.map(encodeOperation)]
    case 'grant':
      return ['g', record.leaseId, record.ttlSeconds]
    case 'revoke':
      return ['r', record.leaseId]
    case 'compact':
      return ['x', record.revision]
  }
}

export function decodeRecord(value: unknown): StateRecord | null {
  const [kind, first, second] = asList(value) ?? []
  if (kind === 'c' && isRevision(first)) {
    const operations = decodeAll(second, decodeOperation)
    return operations === null ? null : { kind: 'commit', revision: first, operations }
  }
  if (kind === 'g' && isLeaseId(first) && isRevision(second)) {
    return { kind: 'grant', leaseId: first, ttlSeconds: second }
  }
  if (kind === 'r' && isLeaseId(first)) return { kind: 'revoke', leaseId: first }
  if (kind === 'x' && isRevision(first)) return { kind: 'compact', revision: first }
  return null
}

export function encodeImage(image: StateImage): JsonObject {
  return {
    compactRevision: image.compactRevision,
    baseRevision: image.baseRevision,
    base: image.base.map((entry) => [
      toBase64(entry.key),
      entry.value,
      entry.createRevision,
      entry.modRevision,
      entry.version,
      entry.leaseId,
    ]),
    commits: image.commits.map((commit) => [commit.revision, commit.operations.map(encodeOperation)]),
    leases: image.leases,
  }
}

export function decodeImage(value: unknown): StateImage | null {
  const object = asObject(value)
  const base = decodeAll(object?.['base'], decodeEntry)
  const commits = decodeAll(object?.['commits'], decodeCommit)
  const leases = decodeAll(object?.['leases'], decodeLease)
  const compactRevision = object?.['compactRevision']
  const baseRevision = object?.['baseRevision']
  if (base === null || commits === null || leases === null) return null
  if (!isRevision(compactRevision) || !isRevision(baseRevision)) return null
  return { compactRevision, baseRevision, base, commits, leases }
}

function encodeOperation(operation: Operation): readonly string[] {
  const key = toBase64(operation.key)
  if (operation.op === 'delete') return ['d', key, toBase64(operation.end)]
  return operation.leaseId === '0'
    ? ['p', key, operation.value]
    : ['p', key, operation.value, operation.leaseId]
}

function decodeOperation(value: unknown): Operation | null {
  const [op, rawKey, second, rawLease] = asList(value) ?? []
  const key = decodeKey(rawKey)
  if (key === null || key === '') return null
  if (op === 'd') {
    const end = decodeKey(second)
    return end === null ? null : { op: 'delete', key, end }
  }
  const leaseId = rawLease ?? '0'
  if (op !== 'p' || typeof second !== 'string' || !isLeaseId(leaseId)) return null
  return { op: 'put', key, value: second, leaseId }
}

function decodeEntry(value: unknown): Entry | null {
  const [rawKey, text, createRevision, modRevision, version, leaseId] = asList(value) ?? []
  const key = decodeKey(rawKey)
  if (key === null || typeof text !== 'string' || !isLeaseId(leaseId)) return null
  if (!isRevision(createRevision) || !isRevision(modRevision) || !isRevision(version)) return null
  return { key, value: text, createRevision, modRevision, version, leaseId }
}

function decodeCommit(value: unknown): StateImage['commits'][number] | null {
  const [revision, rawOperations] = asList(value) ?? []
  const operations = decodeAll(rawOperations, decodeOperation)
  return operations === null || !isRevision(revision) ? null : { revision, operations }
}

function decodeLease(value: unknown): readonly [string, number] | null {
  const [leaseId, ttlSeconds] = asList(value) ?? []
  return isLeaseId(leaseId) && isRevision(ttlSeconds) ? [leaseId, ttlSeconds] : null
}

function decodeAll<T>(value: unknown, decode: (item: unknown) => T | null): readonly T[] | null {
  if (!Array.isArray(value)) return null
  const decoded: T[] = []
  for (const item of value) {
    const one = decode(item)
    if (one === null) return null
    decoded.push(one)
  }
  return decoded
}

/** Keys are held one character per byte; see store-state.ts. */
function toBase64(key: string): string {
  return Buffer.from(key, 'latin1').toString('base64')
}

function decodeKey(value: unknown): string | null {
  return typeof value === 'string' ? (parseBytes(value)?.toString('latin1') ?? null) : null
}

function isRevision(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function isLeaseId(value: unknown): value is string {
  return typeof value === 'string' && parseInt64(value) !== null
}
