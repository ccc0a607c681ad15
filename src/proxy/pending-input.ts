/** What a client has sent and nobody has taken yet, in the pieces in which it came. */
export class PendingInput {
  readonly #counted: (bytes: number) => boolean
  #chunks: Buffer[] = []
  #bytes = 0

  /** `counted` hears of bytes that are held more, or fewer, than before; it says false when all clients together hold too many. */
  constructor(counted: (bytes: number) => boolean) {
    this.#counted = counted
  }

  get isEmpty(): boolean {
    return this.#chunks.length === 0
  }

  get bytes(): number {
    return this.#bytes
  }

  /** False when all clients together hold too many. */
  push(chunk: Buffer): boolean {
    this.#chunks.push(chunk)
    return this.#count(chunk.length)
  }

  /** It comes before everything else. */
  putBack(chunk: Buffer): void {
    this.#chunks.unshift(chunk)
    this.#count(chunk.length)
  }

  shift(): Buffer | undefined {
    const chunk = this.#chunks.shift()
    if (chunk !== undefined) this.#count(-chunk.length)
    return chunk
  }

  clear(): void {
    this.#chunks = []
    this.#count(-this.#bytes)
  }

  /** All of it, behind what was held back of a message that had begun; null: there is nothing. */
  joined(begun: readonly Buffer[]): Buffer | null {
    const [first] = this.#chunks
    if (begun.length === 0 && this.#chunks.length === 1) return first ?? null
    return begun.length + this.#chunks.length === 0 ? null : Buffer.concat([...begun, ...this.#chunks])
  }

  #count(bytes: number): boolean {
    this.#bytes += bytes
    return this.#counted(bytes)
  }
}
