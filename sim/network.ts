/** Who reaches whom, one way at a time. Parties: the nodes, `store`, `client`. */
import type { Random } from './random.ts'

export const STORE = 'store'
export const CLIENT = 'client'

export class Network {
  readonly #cut = new Set<string>()
  readonly #random: Random
  /** A bad network is slow for everybody. */
  slow = false
  onChange: () => void = () => {}

  constructor(random: Random) {
    this.#random = random
  }

  passes(from: string, to: string): boolean {
    return !this.#cut.has(`${from}>${to}`)
  }

  /** TCP needs both directions. */
  connects(a: string, b: string): boolean {
    return this.#cut.size === 0 || (this.passes(a, b) && this.passes(b, a))
  }

  cut(from: string, to: string): void {
    this.#cut.add(`${from}>${to}`)
    this.onChange()
  }

  mend(from: string, to: string): void {
    this.#cut.delete(`${from}>${to}`)
    this.onChange()
  }

  mendAll(): void {
    this.#cut.clear()
    this.slow = false
    this.onChange()
  }

  delay(): number {
    return this.slow ? this.#random.delay(5, 80, 1_500, 0.1) : this.#random.delay(0.2, 2, 40, 0.02)
  }

  describe(): string {
    return [...this.#cut].join(' ')
  }
}
