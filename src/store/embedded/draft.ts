/** A change of the keys under way, and what it leaves behind. Pure. */
import type { KeyMap, KeyRange } from './key-map.ts'

export interface Entry {
  readonly key: string
  readonly value: string
  readonly createRevision: number
  readonly modRevision: number
  readonly version: number
  /** '0': none. */
  readonly leaseId: string
}

export type Operation =
  | { readonly op: 'put'; readonly key: string; readonly value: string; readonly leaseId: string }
  | ({ readonly op: 'delete' } & KeyRange)

export interface StateEvent {
  readonly key: string
  readonly modRevision: number
  /** null: deleted. */
  readonly entry: Entry | null
  readonly previous: Entry | null
}

/** Everything that happened in one revision. */
export interface Commit {
  readonly revision: number
  readonly operations: readonly Operation[]
  readonly events: readonly StateEvent[]
}

/** Changes under way: one revision, if anything changes at all. */
export class Draft {
  readonly #entries: KeyMap<Entry>
  readonly #done: (commit: Commit) => void
  readonly #operations: Operation[] = []
  readonly #events: StateEvent[] = []
  readonly revision: number

  constructor(entries: KeyMap<Entry>, revision: number, done: (commit: Commit) => void) {
    this.#entries = entries
    this.revision = revision
    this.#done = done
  }

  get isEmpty(): boolean {
    return this.#events.length === 0
  }

  put(put: { readonly key: string; readonly value: string; readonly leaseId: string }): void {
    const { key, value, leaseId } = put
    const previous = this.#entries.get(key) ?? null
    const entry: Entry = {
      key,
      value,
      createRevision: previous?.createRevision ?? this.revision,
      modRevision: this.revision,
      version: (previous?.version ?? 0) + 1,
      leaseId,
    }
    this.#entries.set(key, entry)
    this.#operations.push({ op: 'put', key, value, leaseId })
    this.#events.push({ key, modRevision: this.revision, entry, previous })
  }

  /** How many keys it deleted. */
  delete(range: KeyRange): number {
    const deleted = this.#entries.range(range)
    for (const previous of deleted) {
      this.#entries.delete(previous.key)
      this.#events.push({ key: previous.key, modRevision: this.revision, entry: null, previous })
    }
    if (deleted.length > 0) this.#operations.push({ op: 'delete', key: range.key, end: range.end })
    return deleted.length
  }

  /** The commit, or null when nothing changed and the revision stays. */
  commit(): Commit | null {
    if (this.#events.length === 0) return null
    const commit = { revision: this.revision, operations: this.#operations, events: this.#events }
    this.#done(commit)
    return commit
  }
}
