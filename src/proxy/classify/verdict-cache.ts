/** Verdicts by text, bounded in entries and bytes. What was used lately stays; a hit is one look into a Map. */

/**
 * Two generations instead of a list in order of use, which would have to be written at every hit: when the young one is half of the
 * bounds, it becomes the old one, and what was old and not asked for since is forgotten.
 */
export class VerdictCache<Value> {
  readonly #maxEntries: number
  readonly #maxBytes: number
  #young = new Map<string, Value>()
  #old = new Map<string, Value>()
  #youngBytes = 0

  constructor(bounds: { readonly entries: number; readonly bytes: number }) {
    this.#maxEntries = bounds.entries / 2
    this.#maxBytes = bounds.bytes / 2
  }

  get size(): number {
    return this.#young.size + this.#old.size
  }

  get(text: string): Value | undefined {
    const found = this.#young.get(text)
    return found === undefined ? this.#fromOld(text) : found
  }

  set(text: string, value: Value): void {
    const bytes = costOf(text)
    if (bytes > this.#maxBytes) return
    if (this.#young.size >= this.#maxEntries || this.#youngBytes + bytes > this.#maxBytes) {
      this.#old = this.#young
      this.#young = new Map()
      this.#youngBytes = 0
    }
    if (!this.#young.has(text)) this.#youngBytes += bytes
    this.#young.set(text, value)
  }

  delete(text: string): void {
    if (this.#young.delete(text)) this.#youngBytes -= costOf(text)
    this.#old.delete(text)
  }

  clear(): void {
    this.#young.clear()
    this.#old.clear()
    this.#youngBytes = 0
  }

  #fromOld(text: string): Value | undefined {
    const found = this.#old.get(text)
    if (found === undefined) return undefined
    this.#old.delete(text)
    this.set(text, found)
    return found
  }
}

/** Two bytes for each character at most, and what the entry and the verdict take. */
function costOf(text: string): number {
  return text.length * 2 + 200
}
