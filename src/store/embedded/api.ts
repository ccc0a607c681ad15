/** The subset of etcd's gateway that this store serves: each path with what it reads and what it answers. */
import { randomBytes } from 'node:crypto'
import type { JsonObject } from '../wire.ts'
import type { Engine } from './engine.ts'
import { revoke } from './engine.ts'
import {
  executeDelete,
  executePut,
  executeRange,
  executeTxn,
  header,
  keyText,
  type Outcome,
} from './execute.ts'
import { type Failure, failure, GRPC, isFailure } from './failure.ts'
import type { StoreIdentity } from './recovery.ts'
import {
  readDelete,
  readGrant,
  readLeaseId,
  readPut,
  readRange,
  readRevision,
  readTxn,
  type TxnRequest,
} from './requests.ts'
import type { StoreState } from './store-state.ts'

export interface Api {
  /** Whether requests are answered with one object or with a frame of a stream (`{"result": …}`). */
  readonly framed: boolean
  /** `requestBytes`: the size of the request, which bounds what it may need on disk. */
  readonly answer: (body: JsonObject, requestBytes: number) => Promise<JsonObject | Failure>
}

/** etcd's minimum follows from its election timeout; here a second is enough, because nothing has to be elected. */
const MIN_TTL_SECONDS = 1
const MAX_TTL_SECONDS = 9_000_000_000

export function createApi(engine: Engine, identity: StoreIdentity): ReadonlyMap<string, Api> {
  const context: Context = { engine, head: (state) => ({ header: header(identity, state.revision) }) }
  const routes: readonly (readonly [string, Api['answer'], boolean?])[] = [
    ['/v3/kv/range', (body) => read(context, readRange(body), executeRange)],
    ['/v3/kv/put', (body, bytes) => write(context, bytes, readPut(body), executePut)],
    ['/v3/kv/deleterange', (body, bytes) => write(context, bytes, readDelete(body), executeDelete)],
    ['/v3/kv/txn', (body, bytes) => transact(context, bytes, readTxn(body))],
    ['/v3/kv/compaction', (body, bytes) => write(context, bytes, readRevision(body), compact)],
    ['/v3/lease/grant', (body, bytes) => write(context, bytes, readGrant(body), grant)],
    ['/v3/lease/revoke', (body, bytes) => write(context, bytes, readLeaseId(body), revokeKnown)],
    ['/v3/lease/keepalive', (body) => read(context, readLeaseId(body), keepAlive(engine)), true],
    ['/v3/lease/timetolive', (body) => read(context, readLeaseId(body), timeToLive(engine))],
    [
      '/v3/maintenance/status',
      () => read(context, {}, () => ({ version: VERSION, leader: identity.memberId })),
    ],
    ['/v3/auth/authenticate', () => Promise.resolve(failure(GRPC.failedPrecondition, NO_AUTHENTICATION))],
  ]
  return new Map(routes.map(([path, answer, framed]) => [path, { answer, framed: framed === true }]))
}

/** What a version check sees: the API is that of etcd 3.4. */
const VERSION = '3.4.0-understudy'
const NO_AUTHENTICATION = 'etcdserver: authentication is not enabled'

interface Context {
  readonly engine: Engine
  readonly head: (state: StoreState) => JsonObject
}

function read<R extends object>(
  context: Context,
  request: R | Failure,
  action: (state: StoreState, request: R) => JsonObject | Failure,
): Promise<JsonObject | Failure> {
  if (isFailure(request)) return Promise.resolve(request)
  return context.engine.read((state) => {
    const answer = action(state, request)
    return isFailure(answer) ? answer : { ...context.head(state), ...answer }
  })
}

function write<R extends object>(
  context: Context,
  requestBytes: number,
  request: R | Failure,
  action: (state: StoreState, request: R) => Outcome | Failure,
): Promise<JsonObject | Failure> {
  if (isFailure(request)) return Promise.resolve(request)
  return context.engine.write(requestBytes, (state) => {
    const outcome = action(state, request)
    if (isFailure(outcome)) return outcome
    return { ...outcome, answer: { ...context.head(state), ...outcome.answer } }
  })
}

/** One that only reads is a read: it must not need room on a disk that is full. */
function transact(
  context: Context,
  requestBytes: number,
  request: TxnRequest | Failure,
): Promise<JsonObject | Failure> {
  const operations = isFailure(request) ? [] : [...request.success, ...request.failure]
  if (operations.some(({ op }) => op !== 'range')) return write(context, requestBytes, request, executeTxn)
  return read(context, request, (state, transaction) => {
    const outcome = executeTxn(state, transaction)
    return isFailure(outcome) ? outcome : outcome.answer
  })
}

function compact(state: StoreState, request: { readonly revision: number }): Outcome | Failure {
  const { revision } = request
  if (revision > state.revision) {
    return failure(GRPC.outOfRange, 'etcdserver: mvcc: required revision is a future revision')
  }
  if (revision <= state.compactRevision) {
    return failure(GRPC.outOfRange, 'etcdserver: mvcc: required revision has been compacted')
  }
  state.compact(revision)
  return { answer: {}, record: { kind: 'compact', revision } }
}

function grant(
  state: StoreState,
  request: { readonly ttlSeconds: number; readonly leaseId: string },
): Outcome | Failure {
  if (request.ttlSeconds > MAX_TTL_SECONDS) return failure(GRPC.outOfRange, 'etcdserver: too large lease TTL')
  const leaseId = request.leaseId === '0' ? newLeaseId() : request.leaseId
  if (state.leaseTtlSeconds(leaseId) !== null) {
    return failure(GRPC.failedPrecondition, 'etcdserver: lease already exists')
  }
  const ttlSeconds = Math.max(MIN_TTL_SECONDS, request.ttlSeconds)
  state.grantLease(leaseId, ttlSeconds)
  const answer = { ID: leaseId, TTL: String(ttlSeconds) }
  return { answer, record: { kind: 'grant', leaseId, ttlSeconds } }
}

function revokeKnown(state: StoreState, request: { readonly leaseId: string }): Outcome | Failure {
  const known = state.leaseTtlSeconds(request.leaseId) !== null
  return known
    ? revoke(state, request.leaseId)
    : failure(GRPC.notFound, 'etcdserver: requested lease not found')
}

/** An unknown lease is answered without TTL, as etcd does. */
function keepAlive(engine: Engine): (state: StoreState, request: { readonly leaseId: string }) => JsonObject {
  return (state, { leaseId }) => {
    const ttl = engine.renewLease(leaseId) ? state.leaseTtlSeconds(leaseId) : null
    return { ID: leaseId, ...(ttl === null ? {} : { TTL: String(ttl) }) }
  }
}

function timeToLive(
  engine: Engine,
): (state: StoreState, request: { readonly leaseId: string; readonly keys: boolean }) => JsonObject {
  return (state, { leaseId, keys }) => {
    const granted = state.leaseTtlSeconds(leaseId)
    if (granted === null) return { ID: leaseId, TTL: '-1' }
    const seconds = Math.floor(engine.remainingMs(leaseId) / 1000)
    const attached = keys ? state.keysOfLease(leaseId).map(keyText) : []
    return {
      ID: leaseId,
      ...(seconds === 0 ? {} : { TTL: String(seconds) }),
      grantedTTL: String(granted),
      ...(attached.length === 0 ? {} : { keys: attached }),
    }
  }
}

/** 63 random bits, never 0: an id must not come back after a restart, when a client may still hold the old one. */
export function newLeaseId(): string {
  return String((randomBytes(8).readBigUInt64BE() >> 1n) | 1n)
}
