/** Requests on the state, with etcd's answers. Each function runs in one turn and either does everything or nothing. */
import type { JsonObject } from '../wire.ts'
import type { Draft, Entry } from './draft.ts'
import { type Failure, failure, GRPC } from './failure.ts'
import type { KeyRange } from './key-map.ts'
import type { StoreIdentity } from './recovery.ts'
import type {
  CompareRequest,
  DeleteRequest,
  OperationRequest,
  PutRequest,
  RangeRequest,
  TxnRequest,
} from './requests.ts'
import type { StateRecord, StoreState } from './store-state.ts'

/** An answer, and what has to be on disk before it is given. */
export interface Outcome {
  readonly answer: JsonObject
  readonly record: StateRecord | null
}

/** As in etcd (--max-txn-ops). */
const MAX_OPERATIONS = 128

export function header(identity: StoreIdentity, revision: number): JsonObject {
  return {
    cluster_id: identity.clusterId,
    member_id: identity.memberId,
    revision: String(revision),
    raft_term: String(identity.starts),
  }
}

export function executeRange(state: StoreState, request: RangeRequest): JsonObject | Failure {
  const { revision } = request
  if (revision > state.revision) {
    return failure(GRPC.outOfRange, 'etcdserver: mvcc: required revision is a future revision')
  }
  if (revision !== 0 && revision < state.compactRevision) {
    return failure(GRPC.outOfRange, 'etcdserver: mvcc: required revision has been compacted')
  }
  const found = revision === 0 ? state.range(request.range) : state.rangeAt(request.range, revision)
  if (found.length === 0) return {}
  const count = String(found.length)
  if (request.countOnly) return { count }
  const shown = request.limit > 0 ? found.slice(0, request.limit) : found
  const kvs = shown.map((entry) => keyValue(entry, request.keysOnly))
  return shown.length < found.length ? { kvs, more: true, count } : { kvs, count }
}

/** Operations see what those before them did; the header of each shows the revision as it was then, as etcd does. */
export function executeTxn(state: StoreState, request: TxnRequest): Outcome | Failure {
  const invalid = checkTxn(request)
  if (invalid !== null) return invalid
  const succeeded = request.compare.every((compare) => holds(compare, state.get(compare.key)))
  const branch = succeeded ? request.success : request.failure
  const refused = branch.map((operation) => precheck(state, operation)).find((result) => result !== null)
  if (refused !== undefined) return refused
  const draft = state.begin()
  const before = state.revision
  const responses = branch.map((operation) => {
    const { name, body } = perform(state, draft, operation)
    const revision = draft.isEmpty ? before : draft.revision
    return { [name]: { header: { revision: String(revision) }, ...body } }
  })
  const commit = draft.commit()
  const answer = {
    ...(succeeded ? { succeeded } : {}),
    ...(responses.length > 0 ? { responses } : {}),
  }
  return { answer, record: commit === null ? null : { kind: 'commit', ...commit } }
}

export function executePut(state: StoreState, request: PutRequest): Outcome | Failure {
  return unwrap(executeTxn(state, { compare: [], success: [request], failure: [] }), 'response_put')
}

export function executeDelete(state: StoreState, request: DeleteRequest): Outcome | Failure {
  return unwrap(executeTxn(state, { compare: [], success: [request], failure: [] }), 'response_delete_range')
}

function unwrap(outcome: Outcome | Failure, name: string): Outcome | Failure {
  if (!('answer' in outcome)) return outcome
  const responses = outcome.answer['responses'] as readonly { readonly [name: string]: JsonObject }[]
  const { header: _, ...answer } = responses[0]?.[name] ?? {}
  return { answer, record: outcome.record }
}

interface Response {
  readonly name: string
  readonly body: JsonObject
}

function perform(state: StoreState, draft: Draft, operation: OperationRequest): Response {
  switch (operation.op) {
    case 'put':
      draft.put(operation)
      return { name: 'response_put', body: {} }
    case 'delete': {
      const deleted = draft.delete(operation.range)
      return { name: 'response_delete_range', body: deleted === 0 ? {} : { deleted: String(deleted) } }
    }
    case 'range': {
      const body = executeRange(state, operation)
      return { name: 'response_range', body: 'kind' in body ? {} : body }
    }
  }
}

/** What must hold before anything is changed. */
function precheck(state: StoreState, operation: OperationRequest): Failure | null {
  if (
    operation.op === 'put' &&
    operation.leaseId !== '0' &&
    state.leaseTtlSeconds(operation.leaseId) === null
  ) {
    return failure(GRPC.notFound, 'etcdserver: requested lease not found')
  }
  if (operation.op === 'range' && operation.revision !== 0) {
    return failure(
      GRPC.unimplemented,
      'etcdserver: a revision within a transaction is not supported by this store',
    )
  }
  return null
}

function checkTxn(request: TxnRequest): Failure | null {
  const branches = [request.success, request.failure]
  if (Math.max(request.compare.length, ...branches.map(({ length }) => length)) > MAX_OPERATIONS) {
    return failure(GRPC.invalidArgument, 'etcdserver: too many operations in txn request')
  }
  const duplicate = branches.some(changesTwice)
  return duplicate ? failure(GRPC.invalidArgument, 'etcdserver: duplicate key given in txn request') : null
}

/** A key that is put twice, or put and deleted, has no value that one revision could give it. */
function changesTwice(operations: readonly OperationRequest[]): boolean {
  const puts = operations.flatMap((operation) => (operation.op === 'put' ? [operation.key] : []))
  if (new Set(puts).size < puts.length) return true
  const deleted = operations.flatMap((operation) => (operation.op === 'delete' ? [operation.range] : []))
  return puts.some((key) => deleted.some((range) => isWithin(key, range)))
}

export function isWithin(key: string, range: KeyRange): boolean {
  if (range.end === '') return key === range.key
  return key >= range.key && (range.end === '\0' || key < range.end)
}

/** A key that does not exist compares as all zeros, and never by its value (etcd: applyCompare). */
function holds(compare: CompareRequest, entry: Entry | null): boolean {
  if (compare.target === 'VALUE' && entry === null) return false
  const actual = actualOf(compare, entry)
  switch (compare.result) {
    case 'EQUAL':
      return actual === compare.operand
    case 'NOT_EQUAL':
      return actual !== compare.operand
    case 'GREATER':
      return actual > compare.operand
    case 'LESS':
      return actual < compare.operand
  }
}

function actualOf(compare: CompareRequest, entry: Entry | null): bigint | string {
  switch (compare.target) {
    case 'VALUE':
      return Buffer.from(entry?.value ?? '', 'base64').toString('latin1')
    case 'VERSION':
      return BigInt(entry?.version ?? 0)
    case 'CREATE':
      return BigInt(entry?.createRevision ?? 0)
    case 'MOD':
      return BigInt(entry?.modRevision ?? 0)
    case 'LEASE':
      return BigInt(entry?.leaseId ?? 0)
  }
}

/** In the gateway's order, zeros left out. */
export function keyValue(entry: Entry, keysOnly = false): JsonObject {
  return {
    key: keyText(entry.key),
    create_revision: String(entry.createRevision),
    mod_revision: String(entry.modRevision),
    version: String(entry.version),
    ...(keysOnly || entry.value === '' ? {} : { value: entry.value }),
    ...(entry.leaseId === '0' ? {} : { lease: entry.leaseId }),
  }
}

export function keyText(key: string): string {
  return Buffer.from(key, 'latin1').toString('base64')
}
