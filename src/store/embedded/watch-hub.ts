/** Who watches what. Watchers are told in order, once, and only of what is on disk; one that does not read is dropped. */
import type { JsonObject } from '../wire.ts'
import type { Commit, StateEvent } from './draft.ts'
import { isWithin, keyText, keyValue } from './execute.ts'
import type { WatchRequest } from './requests.ts'

export interface Watcher {
  readonly request: WatchRequest
  /** Sends a frame's result; false when the watcher is gone or does not keep up. */
  readonly send: (result: JsonObject) => boolean
}

export class WatchHub {
  readonly #watchers = new Set<Watcher>()
  readonly #header: (revision: number) => JsonObject

  constructor(header: (revision: number) => JsonObject) {
    this.#header = header
  }

  get size(): number {
    return this.#watchers.size
  }

  /** Adds a watcher after telling it of what it has missed: `missed` reaches up to `revision`, which is published. */
  add(watcher: Watcher, missed: readonly Commit[], revision: number): void {
    this.#watchers.add(watcher)
    if (this.#send(watcher, { header: this.#header(revision), created: true })) this.#tell(watcher, missed)
  }

  remove(watcher: Watcher): void {
    this.#watchers.delete(watcher)
  }

  publish(commits: readonly Commit[]): void {
    for (const watcher of [...this.#watchers]) this.#tell(watcher, commits)
  }

  /** A sign of life for those who asked for it: everything up to `revision` was sent. */
  progress(revision: number): void {
    for (const watcher of [...this.#watchers]) {
      if (watcher.request.progressNotify) this.#send(watcher, { header: this.#header(revision) })
    }
  }

  #tell(watcher: Watcher, commits: readonly Commit[]): void {
    const { range, startRevision } = watcher.request
    for (const commit of commits) {
      if (commit.revision < startRevision) continue
      const events = commit.events.filter((event) => isWithin(event.key, range))
      if (events.length === 0) continue
      if (!this.#send(watcher, { header: this.#header(commit.revision), events: events.map(eventMessage) }))
        return
    }
  }

  #send(watcher: Watcher, result: JsonObject): boolean {
    const sent = watcher.send(result)
    if (!sent) this.remove(watcher)
    return sent
  }
}

function eventMessage(event: StateEvent): JsonObject {
  if (event.entry !== null) return { kv: keyValue(event.entry) }
  return { type: 'DELETE', kv: { key: keyText(event.key), mod_revision: String(event.modRevision) } }
}
