/** Who waits for which record to be on disk. Pure bookkeeping. */
export class Durability {
  #appended = 0
  #durable = 0
  #failed = false
  #waiting: { readonly upTo: number; readonly resolve: (durable: boolean) => void }[] = []

  appended(): void {
    this.#appended++
  }

  /** The next `count` records are on disk. */
  reached(count: number): void {
    this.#durable += count
    const done = this.#waiting.filter(({ upTo }) => upTo <= this.#durable)
    this.#waiting = this.#waiting.slice(done.length)
    for (const { resolve } of done) resolve(true)
  }

  /** Nothing more will be on disk. */
  failed(): void {
    this.#failed = true
    for (const { resolve } of this.#waiting.splice(0)) resolve(false)
  }

  /** Resolves true once everything appended so far is on disk, at once if it is; false when it will never be. */
  wait(): Promise<boolean> {
    if (this.#failed) return Promise.resolve(false)
    if (this.#durable === this.#appended) return Promise.resolve(true)
    return new Promise((resolve) => {
      this.#waiting.push({ upTo: this.#appended, resolve })
    })
  }
}
