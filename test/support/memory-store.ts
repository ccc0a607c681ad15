/** The store as a map: what etcd promises of one key space, with nothing that can fail unless a test says so. */
import type { KeyValue, Store, StoreOperation, StoreResult, Transaction } from '../../src/ports/store.ts'

export class MemoryStore implements Store {
  readonly #keys = new Map<string, KeyValue>()
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
    return { kind: 'ok', value: { succeeded, revision: this.#revision, reads } }
  }

  #apply(operation: StoreOperation): (KeyValue | null)[] {
    if (operation.op === 'get') return [this.#keys.get(operation.key) ?? null]
    if (operation.op === 'delete') this.#keys.delete(operation.key)
    else if (operation.op === 'deletePrefix')
      for (const key of this.keys(operation.prefix)) this.#keys.delete(key)
    else this.#put(operation.key, operation.value)
    return []
  }

  #put(key: string, value: string): void {
    const old = this.#keys.get(key)
    this.#keys.set(key, {
      key,
      value,
      createRevision: old?.createRevision ?? this.#revision,
      modRevision: this.#revision,
      version: (old?.version ?? 0n) + 1n,
      leaseId: 0n,
    })
  }

  async grantLease(ttlMs: number): ReturnType<Store['grantLease']> {
    return { kind: 'ok', value: { leaseId: 1n, ttlMs, sentAtMs: 0 } }
  }

  async renewLease(): ReturnType<Store['renewLease']> {
    return { kind: 'ok', value: { alive: false } }
  }

  async revokeLease(): ReturnType<Store['revokeLease']> {
    return { kind: 'ok', value: null }
  }

  watch(): void {}

  close(): void {}
}

const DOWN = { kind: 'unavailable', reason: 'nothing listens there' } as const
