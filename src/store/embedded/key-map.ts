/** A map with ordered keys, for ranges. An array under binary search is enough: a cluster has some dozen keys, not millions. Pure. */

/** Keys from `key` (included) to `end` (excluded); end '' means that one key, '\0' everything from `key` on. */
export interface KeyRange {
  readonly key: string
  readonly end: string
}

export class KeyMap<T> {
  readonly #values = new Map<string, T>()
  #keys: string[] = []

  get(key: string): T | undefined {
    return this.#values.get(key)
  }

  set(key: string, value: T): void {
    if (!this.#values.has(key)) this.#keys.splice(this.#position(key), 0, key)
    this.#values.set(key, value)
  }

  delete(key: string): void {
    if (this.#values.delete(key)) this.#keys.splice(this.#position(key), 1)
  }

  range(bounds: KeyRange): readonly T[] {
    const { key, end } = bounds
    if (end === '') {
      const value = this.#values.get(key)
      return value === undefined ? [] : [value]
    }
    const to = end === '\0' ? this.#keys.length : this.#position(end)
    return this.#keys.slice(this.#position(key), to).flatMap((found) => this.#values.get(found) ?? [])
  }

  copy(): KeyMap<T> {
    const copy = new KeyMap<T>()
    copy.#keys = [...this.#keys]
    for (const [key, value] of this.#values) copy.#values.set(key, value)
    return copy
  }

  /** The index of the first key that is not before `key`. */
  #position(key: string): number {
    let low = 0
    let high = this.#keys.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#keys[middle] ?? '') < key) low = middle + 1
      else high = middle
    }
    return low
  }
}
