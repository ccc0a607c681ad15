/** The store as a map: what etcd promises of one key space, with nothing that can fail unless a test says so. */
import type {
  KeyValue,
  Store,
  StoreOperation,
  StoreResult,
  Transaction,
  WatchListener,
} from '../../src/ports/store.ts'

type WatchEvents = Parameters<WatchListener['onEvents']>[0]

export class MemoryStore implements Store {
  readonly #keys = new Map<string, KeyValue>()
  readonly #watchers = new Set<(keys: readonly string[]) => void>()
  #leases = 0n
  #revision = 1n
  /** Nothing answers while it is set. */
  down = false
  /** Called before each transaction: a test can come in between. */
  before: (transaction: Transaction) => Promise<void> = async () => {}

  keys(prefix: string): readonly string[] {
    return [...this.#keys.keys()].filter((key) => key.startsWith(prefix)).sort()
  }

  async get(key: string): Promise<StoreResult<KeyValue | null>> {
    return this.down ? DOWN : { kind: 'ok', value: this.#keys.get(key) ?? null }
  }

  async list(prefix: string): ReturnType<Store['list']> {
    if (this.down) return DOWN
    const entries = this.keys(prefix).flatMap((key) => this.#keys.get(key) ?? [])
    return { kind: 'ok', value: { revision: this.#revision, entries } }
  }

  async transact(transaction: Transaction): ReturnType<Store['transact']> {
    await this.before(transaction)
    if (this.down) return DOWN
    const succeeded = transaction.compare.every((compare) => {
      const found = this.#keys.get(compare.key)
      return 'modRevision' in compare
        ? (found?.modRevision ?? 0n) === compare.modRevision
        : (found?.createRevision ?? 0n) === compare.createRevision
    })
    const operations = succeeded ? transaction.success : (transaction.failure ?? [])
    if (operations.some(({ op }) => op !== 'get')) this.#revision++
    const reads = operations.flatMap((operation) => this.#apply(operation))
    this.#tell(operations.flatMap((operation) => ('key' in operation ? [operation.key] : [])))
    return { kind: 'ok', value: { succeeded, revision: this.#revision, reads } }
  }

  #apply(operation: StoreOperation): (KeyValue | null)[] {
    if (operation.op === 'get') return [this.#keys.get(operation.key) ?? null]
    if (operation.op === 'delete') this.#keys.delete(operation.key)
    else if (operation.op === 'deletePrefix')
      for (const key of this.keys(operation.prefix)) this.#keys.delete(key)
    else this.#put(operation.key, operation.value, operation.leaseId)
    return []
  }

  #tell(keys: readonly string[]): void {
    for (const watcher of this.#watchers) watcher(keys)
  }

  #put(key: string, value: string, leaseId = 0n): void {
    const old = this.#keys.get(key)
    this.#keys.set(key, {
      key,
      value,
      createRevision: old?.createRevision ?? this.#revision,
      modRevision: this.#revision,
      version: (old?.version ?? 0n) + 1n,
      leaseId,
    })
  }

  async grantLease(ttlMs: number): ReturnType<Store['grantLease']> {
    return { kind: 'ok', value: { leaseId: ++this.#leases, ttlMs, sentAtMs: 0 } }
  }

  async renewLease(): ReturnType<Store['renewLease']> {
    return { kind: 'ok', value: { alive: false } }
  }

  async revokeLease(leaseId: bigint): ReturnType<Store['revokeLease']> {
    const ended = [...this.#keys.values()].filter((each) => each.leaseId === leaseId)
    for (const { key } of ended) this.#keys.delete(key)
    this.#tell(ended.map(({ key }) => key))
    return { kind: 'ok', value: null }
  }

  watch(prefix: string, _: bigint, listener: WatchListener, signal: AbortSignal): void {
    const watcher = (keys: readonly string[]): void => {
      const events = keys.filter((key) => key.startsWith(prefix)).map((key) => ({ key }))
      // Later, as over a network: whoever writes is not in the middle of its own news.
      if (events.length > 0)
        setImmediate(() => listener.onEvents(events as unknown as WatchEvents, this.#revision))
    }
    this.#watchers.add(watcher)
    signal.addEventListener('abort', () => this.#watchers.delete(watcher))
  }

  close(): void {}
}

const DOWN = { kind: 'unavailable', reason: 'nothing listens there' } as const
