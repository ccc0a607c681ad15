/**
 * The gateway's requests, read from JSON. What etcd does and this store does not (sorting, previous values, nested transactions, …) is
 * refused by name: an answer that ignores half of a question is worse than none.
 */
import type { JsonObject } from '../wire.ts'
import { type Failure, failure, GRPC } from './failure.ts'
import { Fields } from './fields.ts'
import type { KeyRange } from './key-map.ts'

export interface RangeRequest {
  readonly op: 'range'
  readonly range: KeyRange
  /** 0: no limit. */
  readonly limit: number
  /** 0: now. */
  readonly revision: number
  readonly countOnly: boolean
  readonly keysOnly: boolean
}

export interface PutRequest {
  readonly op: 'put'
  readonly key: string
  readonly value: string
  readonly leaseId: string
}

export interface DeleteRequest {
  readonly op: 'delete'
  readonly range: KeyRange
}

export type OperationRequest = RangeRequest | PutRequest | DeleteRequest

export type CompareTarget = 'VERSION' | 'CREATE' | 'MOD' | 'VALUE' | 'LEASE'
export type CompareResult = 'EQUAL' | 'GREATER' | 'LESS' | 'NOT_EQUAL'

export interface CompareRequest {
  readonly key: string
  readonly target: CompareTarget
  readonly result: CompareResult
  /** A number, or for VALUE the bytes, one character each. */
  readonly operand: bigint | string
}

export interface TxnRequest {
  readonly compare: readonly CompareRequest[]
  readonly success: readonly OperationRequest[]
  readonly failure: readonly OperationRequest[]
}

export interface WatchRequest {
  readonly range: KeyRange
  /** 0: from now on. */
  readonly startRevision: number
  readonly progressNotify: boolean
}

export function readRange(body: JsonObject): RangeRequest | Failure {
  const fields = new Fields(body)
  fields.refuse('sort_order', 'sort_target', 'min_mod_revision', 'max_mod_revision')
  fields.refuse('min_create_revision', 'max_create_revision')
  return fields.done({
    op: 'range',
    range: fields.range(),
    limit: fields.count('limit'),
    revision: fields.count('revision'),
    countOnly: fields.flag('count_only'),
    keysOnly: fields.flag('keys_only'),
  })
}

export function readPut(body: JsonObject): PutRequest | Failure {
  const fields = new Fields(body)
  fields.refuse('prev_kv', 'ignore_value', 'ignore_lease')
  const { key } = fields.range()
  return fields.done({ op: 'put', key, value: fields.base64('value'), leaseId: String(fields.int('lease')) })
}

export function readDelete(body: JsonObject): DeleteRequest | Failure {
  const fields = new Fields(body)
  fields.refuse('prev_kv')
  return fields.done({ op: 'delete', range: fields.range() })
}

export function readTxn(body: JsonObject): TxnRequest | Failure {
  const fields = new Fields(body)
  return fields.done({
    compare: fields.each('compare', readCompare),
    success: fields.each('success', readOperation),
    failure: fields.each('failure', readOperation),
  })
}

function readOperation(body: JsonObject): OperationRequest | Failure {
  const fields = new Fields(body)
  const put = fields.nested('request_put')
  if (put !== null) return readPut(put)
  const range = fields.nested('request_range')
  if (range !== null) return readRange(range)
  const deletion = fields.nested('request_delete_range')
  if (deletion !== null) return readDelete(deletion)
  return failure(GRPC.unimplemented, 'etcdserver: an operation that this store does not know')
}

const TARGETS: readonly CompareTarget[] = ['VERSION', 'CREATE', 'MOD', 'VALUE', 'LEASE']
const RESULTS: readonly CompareResult[] = ['EQUAL', 'GREATER', 'LESS', 'NOT_EQUAL']
const NUMBERS = {
  VERSION: 'version',
  CREATE: 'create_revision',
  MOD: 'mod_revision',
  LEASE: 'lease',
} as const

function readCompare(body: JsonObject): CompareRequest | Failure {
  const fields = new Fields(body)
  fields.refuse('range_end')
  const { key } = fields.range()
  const target = fields.choice('target', TARGETS)
  const result = fields.choice('result', RESULTS)
  const operand = target === 'VALUE' ? fields.bytes('value') : fields.int(NUMBERS[target])
  return fields.done({ key, target, result, operand })
}

export function readWatch(body: JsonObject): WatchRequest | Failure {
  const fields = new Fields(body)
  fields.refuse('prev_kv', 'filters', 'fragment', 'watch_id')
  return fields.done({
    range: fields.range(),
    startRevision: fields.count('start_revision'),
    progressNotify: fields.flag('progress_notify'),
  })
}

export function readGrant(
  body: JsonObject,
): { readonly ttlSeconds: number; readonly leaseId: string } | Failure {
  const fields = new Fields(body)
  return fields.done({ ttlSeconds: fields.count('TTL'), leaseId: String(fields.int('ID')) })
}

export function readLeaseId(
  body: JsonObject,
): { readonly leaseId: string; readonly keys: boolean } | Failure {
  const fields = new Fields(body)
  return fields.done({ leaseId: String(fields.int('ID')), keys: fields.flag('keys') })
}

export function readRevision(body: JsonObject): { readonly revision: number } | Failure {
  const fields = new Fields(body)
  fields.refuse('physical')
  return fields.done({ revision: fields.count('revision') })
}
