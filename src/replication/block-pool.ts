/**
 * Blocks of memory that file contents are gathered in: a fixed number, used again and again, so that a clone of any size
 * needs the same memory; aligned to pages, so that they can be written past the page cache (O_DIRECT).
 */
import { Crc32cMemory } from '../protocol/crc32c.ts'

export const BLOCK_BYTES = 512 * 1024

export class BlockPool {
  readonly memory: Crc32cMemory
  readonly #free: Buffer[] = []

  constructor(count: number) {
    this.memory = new Crc32cMemory(count * BLOCK_BYTES)
    for (let i = 0; i < count; i++) {
      this.#free.push(this.memory.data.subarray(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES))
    }
  }

  get freeBlocks(): number {
    return this.#free.length
  }

  /** Throws when there is none: whoever fills blocks has to hold the stream back before. */
  take(): Buffer {
    const block = this.#free.pop()
    if (block === undefined) throw new Error('no block is free')
    return block
  }

  give(block: Buffer): void {
    this.#free.push(block)
  }
}
