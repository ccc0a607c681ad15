/** The only source of chance: mulberry32, so that a seed gives the same run everywhere. */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = Math.imul(seed, 2_654_435_761) >>> 0
  }

  /** In [0, 1). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }

  chance(probability: number): boolean {
    return this.next() < probability
  }

  int(below: number): number {
    return Math.floor(this.next() * below)
  }

  between(low: number, high: number): number {
    return low + this.next() * (high - low)
  }

  pick<T>(list: readonly T[]): T {
    const value = list[this.int(list.length)]
    if (value === undefined) throw new Error('nothing to pick from')
    return value
  }

  exponential(mean: number): number {
    return -Math.log(1 - this.next()) * mean
  }

  /** Mostly between `low` and `high`; seldom up to `worst`: that is how computers answer. */
  delay(low: number, high: number, worst: number, seldom = 0.02): number {
    return this.chance(seldom) ? this.between(high, worst) : this.between(low, high)
  }
}
