/** First come, first served; leaving from the middle costs no more than leaving from the front. Pure. */

export class WaitingLine<T> {
  /** A set keeps the order in which its members came. */
  readonly #members = new Set<T>()

  get size(): number {
    return this.#members.size
  }

  add(member: T): void {
    this.#members.add(member)
  }

  first(): T | null {
    for (const member of this.#members) return member
    return null
  }

  take(): T | null {
    const member = this.first()
    if (member !== null) this.#members.delete(member)
    return member
  }

  remove(member: T): boolean {
    return this.#members.delete(member)
  }
}
