/** The port's requests as the gateway's messages (etcd: api/etcdserverpb/rpc.proto), and its answers as the port's values; null is nonsense. */
import type {
  Compare,
  KeyValue,
  Listing,
  StoreOperation,
  Transaction,
  TransactionResult,
  WatchEvent,
} from '../../ports/store.ts'
import {
  asList,
  asObject,
  encodePrefixEnd,
  encodeText,
  type JsonObject,
  parseBytes,
  parseInt64,
} from '../wire.ts'

export function rangeOfKey(key: string): JsonObject {
  return { key: encodeText(key) }
}

/** The empty prefix is everything, and everything begins at the key of one zero byte: an empty key is no key. */
export function rangeOfPrefix(prefix: string): JsonObject {
  if (prefix === '') return { key: encodeText('\0'), range_end: encodeText('\0') }
  return { key: encodeText(prefix), range_end: encodePrefixEnd(prefix) }
}

export function transactionMessage(transaction: Transaction): JsonObject {
  return {
    compare: transaction.compare.map(compareMessage),
    success: transaction.success.map(operationMessage),
    failure: (transaction.failure ?? []).map(operationMessage),
  }
}

function compareMessage(compare: Compare): JsonObject {
  const key = encodeText(compare.key)
  return 'modRevision' in compare
    ? { key, target: 'MOD', result: 'EQUAL', mod_revision: String(compare.modRevision) }
    : { key, target: 'CREATE', result: 'EQUAL', create_revision: String(compare.createRevision) }
}

function operationMessage(operation: StoreOperation): JsonObject {
  switch (operation.op) {
    case 'put': {
      const lease = operation.leaseId === undefined ? {} : { lease: String(operation.leaseId) }
      return { request_put: { key: encodeText(operation.key), value: encodeText(operation.value), ...lease } }
    }
    case 'delete':
      return { request_delete_range: rangeOfKey(operation.key) }
    case 'deletePrefix':
      return { request_delete_range: rangeOfPrefix(operation.prefix) }
    case 'get':
      return { request_range: rangeOfKey(operation.key) }
  }
}

/** Whether neither branch changes anything: such a transaction may be repeated like a read. */
export function readsOnly(transaction: Transaction): boolean {
  return [...transaction.success, ...(transaction.failure ?? [])].every((operation) => operation.op === 'get')
}

export function parseListing(answer: JsonObject): Listing | null {
  const revision = parseRevision(answer)
  const entries = parseEntries(answer['kvs'])
  return revision === null || entries === null ? null : { revision, entries }
}

export function parseTransaction(answer: JsonObject, transaction: Transaction): TransactionResult | null {
  const revision = parseRevision(answer)
  const succeeded = answer['succeeded'] ?? false
  const responses = asList(answer['responses'])
  if (revision === null || typeof succeeded !== 'boolean' || responses === null) return null
  const branch = succeeded ? transaction.success : (transaction.failure ?? [])
  if (responses.length !== branch.length) return null
  const reads: (KeyValue | null)[] = []
  for (const [index, operation] of branch.entries()) {
    if (operation.op !== 'get') continue
    const range = asObject(asObject(responses[index])?.['response_range'])
    const entries = range === null ? null : parseEntries(range['kvs'])
    if (entries === null || entries.length > 1) return null
    reads.push(entries[0] ?? null)
  }
  return { succeeded, revision, reads }
}

/** The store's revision in the header; every answer of a store has one, and it is never 0. */
export function parseRevision(answer: JsonObject): bigint | null {
  const header = asObject(answer['header'])
  const revision = header === null ? null : parseInt64(header['revision'])
  return revision === null || revision <= 0n ? null : revision
}

function parseEntries(value: unknown): readonly KeyValue[] | null {
  const list = asList(value)
  if (list === null) return null
  const entries: KeyValue[] = []
  for (const item of list) {
    const entry = parseEntry(item)
    if (entry === null) return null
    entries.push(entry)
  }
  return entries
}

function parseEntry(value: unknown): KeyValue | null {
  const object = asObject(value)
  if (object === null) return null
  const key = parseBytes(object['key'])
  const text = parseBytes(object['value'])
  const createRevision = parseInt64(object['create_revision'])
  const modRevision = parseInt64(object['mod_revision'])
  const version = parseInt64(object['version'])
  const leaseId = parseInt64(object['lease'])
  if (key === null || text === null || createRevision === null || modRevision === null) return null
  if (version === null || leaseId === null || key.length === 0 || modRevision <= 0n) return null
  return {
    key: key.toString('utf8'),
    value: text.toString('utf8'),
    createRevision,
    modRevision,
    version,
    leaseId,
  }
}

/** A frame's events; an event without type is a put. */
export function parseEvents(value: unknown): readonly WatchEvent[] | null {
  const list = asList(value)
  if (list === null) return null
  const events: WatchEvent[] = []
  for (const item of list) {
    const event = asObject(item)
    const entry = event === null ? null : parseEntry(event['kv'])
    const type = event?.['type'] ?? 'PUT'
    if (entry === null || (type !== 'PUT' && type !== 'DELETE')) return null
    const { key, modRevision } = entry
    if (type === 'PUT') events.push({ type: 'put', key, value: entry.value, modRevision })
    else events.push({ type: 'delete', key, value: null, modRevision })
  }
  return events
}
