/**
 * What the store holds: keys with revisions as etcd counts them, leases, and the recent history. Pure: no clock, no disk. Running and
 * recovering go through the same functions, so a replayed log gives the same state.
 *
 * Keys are strings of one character per byte (latin1), because comparing those compares bytes, which is etcd's order; values stay in
 * base64, as they come and go.
 */
import { type Commit, Draft, type Entry, type Operation } from './draft.ts'
import { KeyMap, type KeyRange } from './key-map.ts'

/** What the log holds, in order; the state is what these give. */
export type StateRecord =
  | { readonly kind: 'commit'; readonly revision: number; readonly operations: readonly Operation[] }
  | { readonly kind: 'grant'; readonly leaseId: string; readonly ttlSeconds: number }
  /** Revoked or expired: its keys are deleted, as one revision if there are any. */
  | { readonly kind: 'revoke'; readonly leaseId: string }
  | { readonly kind: 'compact'; readonly revision: number }

/** A state that replays: the keys as they were before the history, and the history. */
export interface StateImage {
  readonly compactRevision: number
  readonly baseRevision: number
  readonly base: readonly Entry[]
  readonly commits: readonly { readonly revision: number; readonly operations: readonly Operation[] }[]
  readonly leases: readonly (readonly [leaseId: string, ttlSeconds: number])[]
}

export interface HistoryLimits {
  readonly commits: number
  /** Of keys and values, counted as they are held. */
  readonly bytes: number
}

export class StoreState {
  readonly #entries = new KeyMap<Entry>()
  readonly #leases = new Map<string, number>()
  #history: Commit[] = []
  #historyBytes = 0
  /** etcd begins at 1 as well: the first write is revision 2. */
  #revision = 1
  #compactRevision = 0

  get revision(): number {
    return this.#revision
  }

  /** The oldest revision that can still be read or watched from; 0 while nothing was compacted. */
  get compactRevision(): number {
    return this.#compactRevision
  }

  get(key: string): Entry | null {
    return this.#entries.get(key) ?? null
  }

  range(range: KeyRange): readonly Entry[] {
    return this.#entries.range(range)
  }

  /** As it was at `revision`, which must be between `compactRevision` and `revision`. */
  rangeAt(range: KeyRange, revision: number): readonly Entry[] {
    if (revision === this.#revision) return this.range(range)
    return this.#before(revision + 1).range(range)
  }

  /** What happened in this revision; null when that is in the future, or compacted away. */
  commitAt(revision: number): Commit | null {
    // One commit per revision, without gaps.
    const first = this.#history[0]?.revision ?? 0
    return this.#history[revision - first] ?? null
  }

  leaseTtlSeconds(leaseId: string): number | null {
    return this.#leases.get(leaseId) ?? null
  }

  leaseIds(): readonly string[] {
    return [...this.#leases.keys()]
  }

  keysOfLease(leaseId: string): readonly string[] {
    return this.range(EVERYTHING).flatMap((entry) => (entry.leaseId === leaseId ? [entry.key] : []))
  }

  /** Applies operations one after the other; reads in between see them. Nothing can fail: the caller has checked the leases. */
  begin(): Draft {
    return new Draft(this.#entries, this.#revision + 1, (commit) => {
      this.#revision = commit.revision
      this.#history.push(commit)
      this.#historyBytes += sizeOf(commit)
    })
  }

  grantLease(leaseId: string, ttlSeconds: number): void {
    this.#leases.set(leaseId, ttlSeconds)
  }

  /** Ends a lease with its keys. */
  revokeLease(leaseId: string): void {
    const keys = this.keysOfLease(leaseId)
    this.#leases.delete(leaseId)
    const draft = this.begin()
    for (const key of keys) draft.delete({ key, end: '' })
    draft.commit()
  }

  /** Forgets what was before `revision`, as far as watches and reads of the past go. */
  compact(revision: number): void {
    this.#compactRevision = revision
    this.#forget(this.#history.findIndex((commit) => commit.revision >= revision))
  }

  /** Compacts down to the limits, but keeps what is newer than `published`: watchers have not seen it yet. */
  trim(limits: HistoryLimits, published: number): void {
    let count = 0
    let bytes = this.#historyBytes
    for (const commit of this.#history) {
      const left = this.#history.length - count
      // The last one stays: a watch from the current revision on would else miss it without being told.
      if (left === 1 || commit.revision > published || (left <= limits.commits && bytes <= limits.bytes))
        break
      bytes -= sizeOf(commit)
      count++
    }
    if (count === 0) return
    this.#forget(count)
    this.#compactRevision = this.#history[0]?.revision ?? this.#compactRevision
  }

  /** Replays one record; false when it does not follow from what was before. */
  apply(record: StateRecord): boolean {
    switch (record.kind) {
      case 'commit':
        return this.#replay(record.revision, record.operations)
      case 'grant':
        this.grantLease(record.leaseId, record.ttlSeconds)
        return true
      case 'revoke':
        this.revokeLease(record.leaseId)
        return true
      case 'compact':
        this.compact(record.revision)
        return record.revision <= this.#revision
    }
  }

  image(): StateImage {
    const baseRevision = (this.#history[0]?.revision ?? this.#revision + 1) - 1
    return {
      compactRevision: this.#compactRevision,
      baseRevision,
      base: this.#before(baseRevision + 1).range(EVERYTHING),
      commits: this.#history.map(({ revision, operations }) => ({ revision, operations })),
      leases: [...this.#leases],
    }
  }

  /** The state of an image; null when its parts do not fit together. */
  static fromImage(image: StateImage): StoreState | null {
    const state = new StoreState()
    state.#revision = image.baseRevision
    state.#compactRevision = image.compactRevision
    for (const entry of image.base) state.#entries.set(entry.key, entry)
    for (const [leaseId, ttlSeconds] of image.leases) state.#leases.set(leaseId, ttlSeconds)
    const fits = image.commits.every((commit) => state.#replay(commit.revision, commit.operations))
    return fits ? state : null
  }

  #replay(revision: number, operations: readonly Operation[]): boolean {
    const draft = this.begin()
    for (const operation of operations) {
      if (operation.op === 'put') draft.put(operation)
      else draft.delete(operation)
    }
    draft.commit()
    return this.#revision === revision
  }

  #forget(count: number): void {
    const forgotten = this.#history.slice(0, count === -1 ? undefined : count)
    this.#history = this.#history.slice(forgotten.length)
    for (const commit of forgotten) this.#historyBytes -= sizeOf(commit)
  }

  /** The keys before `revision`: the history taken back, newest first. */
  #before(revision: number): KeyMap<Entry> {
    const entries = this.#entries.copy()
    for (const commit of this.#history.toReversed()) {
      if (commit.revision < revision) break
      for (const { key, previous } of commit.events.toReversed()) {
        if (previous === null) entries.delete(key)
        else entries.set(key, previous)
      }
    }
    return entries
  }
}

const EVERYTHING: KeyRange = { key: '\0', end: '\0' }

function sizeOf(commit: Commit): number {
  return commit.events.reduce(
    (sum, event) => sum + event.key.length + (event.entry?.value.length ?? 0) + 64,
    0,
  )
}
