/** What a fuzzing run draws from its seed: every run with one seed draws the same. */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  /** 0 to `limit` - 1 (mulberry32). */
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit)
  }

  chance(oneIn: number): boolean {
    return this.below(oneIn) === 0
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)] as T
  }

  bytes(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.below(256)))
  }

  /** The same bytes in pieces, some of them very short. */
  pieces(bytes: Buffer): readonly Buffer[] {
    const pieces: Buffer[] = []
    for (let at = 0; at < bytes.length; ) {
      const length = this.chance(3) ? 1 + this.below(7) : 1 + this.below(bytes.length - at)
      pieces.push(bytes.subarray(at, at + length))
      at += length
    }
    return pieces
  }

  /** Another one, for a part of the run that goes on by itself. */
  fork(): Random {
    return new Random(this.below(2 ** 32))
  }
}
