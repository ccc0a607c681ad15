/** Who watches. Each watcher reads on in the history by itself, as fast as its client does; the hub only says that there is more. */

export interface Watcher {
  /** More revisions are on disk. */
  onPublished(): void
  /** Time for a sign of life. */
  onProgress(): void
}

export class WatchHub {
  readonly #watchers = new Set<Watcher>()

  add(watcher: Watcher): void {
    this.#watchers.add(watcher)
  }

  remove(watcher: Watcher): void {
    this.#watchers.delete(watcher)
  }

  publish(): void {
    for (const watcher of [...this.#watchers]) watcher.onPublished()
  }

  progress(): void {
    for (const watcher of [...this.#watchers]) watcher.onProgress()
  }
}
