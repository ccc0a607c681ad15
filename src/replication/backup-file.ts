/**
 * One file of a base backup on its way to the disk: gathered in blocks, check-summed while it is in the nearest cache,
 * written by the thread pool. Small files are written at once, because a trip through the thread pool takes longer.
 */
import { ftruncate, write, writeSync } from 'node:fs'
import { BLOCK_BYTES, type BlockPool } from './block-pool.ts'
import { type Checksum, type ManifestChecksums, newChecksum } from './checksums.ts'
import { DIRECT_ALIGNMENT } from './direct-io.ts'

export interface BackupFileContext {
  readonly pool: BlockPool
  readonly checksums: ManifestChecksums
  /** Large files were opened for direct writes. */
  readonly direct: boolean
  /** True after any file has failed: nothing more is written. */
  readonly hasFailed: () => boolean
  readonly onFailure: (error: Error) => void
  /** Blocks came back to the pool. */
  readonly onProgress: () => void
  /** No write is under way any more, and none will be; `whole` when everything was written. Comes once. */
  readonly onDone: (file: BackupFile, whole: boolean) => void
}

/** Fits into one block. */
export const SMALL_FILE_BYTES = 128 * 1024
const SUM_BYTES = 64 * 1024
/** The disk has the next one while the event loop is busy with the stream. */
const WRITES_AT_ONCE = 3

export class BackupFile {
  readonly fd: number
  readonly isSmall: boolean
  readonly #context: BackupFileContext
  readonly #checksum: Checksum
  readonly #queue: { readonly block: Buffer; readonly bytes: number }[] = []
  /** The block being filled, and how far it is filled and check-summed. */
  #block: Buffer | null = null
  #filled = 0
  #summed = 0
  #receivedBytes = 0
  /** Where the next block goes. */
  #position = 0
  /** Operations under way. */
  #running = 0
  #complete = false
  #done = false

  /** `fd` is -1 for a file that is checked and not kept. */
  constructor(fd: number, isSmall: boolean, context: BackupFileContext) {
    this.fd = fd
    this.isSmall = isSmall
    this.#context = context
    this.#checksum = newChecksum(context.checksums, context.pool.memory)
  }

  /** Takes a copy of the next bytes. */
  append(slice: Buffer): void {
    this.#receivedBytes += slice.length
    for (let offset = 0; offset < slice.length; ) {
      this.#block ??= this.#context.pool.take()
      const copied = slice.copy(this.#block, this.#filled, offset)
      this.#filled += copied
      offset += copied
      if (this.#filled - this.#summed >= SUM_BYTES) this.#sum()
      if (this.#filled === BLOCK_BYTES) this.#seal()
    }
  }

  /** No more bytes come. Gives what was received; writing goes on. */
  finish(): { readonly sizeBytes: number; readonly checksum: string } {
    this.#sum()
    const checksum = this.#checksum.digest()
    this.#complete = true
    if (this.isSmall) this.#writeSmall()
    else this.#seal()
    return { sizeBytes: this.#receivedBytes, checksum }
  }

  /** After a failure: done as soon as nothing is under way. */
  giveUp(): void {
    if (this.#running === 0) this.#end(false)
  }

  #sum(): void {
    if (this.#block === null || this.#summed === this.#filled) return
    this.#checksum.update(this.#block.subarray(this.#summed, this.#filled))
    this.#summed = this.#filled
  }

  /** The block is as full as it gets: to be written, or back to the pool when the file is not kept. */
  #seal(): void {
    this.#sum()
    const block = this.#block
    if (block !== null) {
      if (this.fd < 0) this.#context.pool.give(block)
      else this.#queue.push({ block, bytes: this.#filled })
    }
    this.#block = null
    this.#filled = 0
    this.#summed = 0
    this.#continue()
  }

  #continue(): void {
    while (!this.#context.hasFailed() && this.#running < WRITES_AT_ONCE) {
      const next = this.#queue.shift()
      if (next === undefined) break
      this.#running++
      this.#write(next.block, this.#position, 0, next.bytes)
      this.#position += next.bytes
    }
    if (this.#running > 0) return
    if (this.#context.hasFailed()) this.#end(false)
    else if (this.#complete) this.#trim()
  }

  #write(block: Buffer, position: number, done: number, bytes: number): void {
    // A direct write has to have a round length; what is too much is cut off at the end.
    const length = this.#context.direct ? roundUp(bytes) : bytes
    write(this.fd, block, done, length - done, position + done, (error, written) => {
      if (error === null && written > 0 && done + written < length) {
        this.#write(block, position, done + written, bytes)
        return
      }
      if (error !== null || written === 0) this.#context.onFailure(error ?? noProgress())
      this.#running--
      this.#context.pool.give(block)
      this.#context.onProgress()
      this.#continue()
    })
  }

  #trim(): void {
    if (!this.#context.direct || this.#position % DIRECT_ALIGNMENT === 0) {
      this.#end(true)
      return
    }
    this.#running++
    ftruncate(this.fd, this.#position, (error) => {
      this.#running--
      if (error !== null) this.#context.onFailure(error)
      this.#end(error === null)
    })
  }

  #writeSmall(): void {
    const block = this.#block
    this.#block = null
    let whole = true
    try {
      for (let done = 0; block !== null && this.fd >= 0 && done < this.#filled; ) {
        done += writeSync(this.fd, block, done, this.#filled - done, done)
      }
    } catch (error) {
      whole = false
      this.#context.onFailure(error instanceof Error ? error : new Error(String(error)))
    }
    if (block !== null) this.#context.pool.give(block)
    this.#end(whole)
  }

  #end(whole: boolean): void {
    if (this.#done) return
    this.#done = true
    this.#context.onDone(this, whole)
  }
}

function roundUp(bytes: number): number {
  return Math.ceil(bytes / DIRECT_ALIGNMENT) * DIRECT_ALIGNMENT
}

/** A write that writes nothing and reports no error means that there is no space for it. */
function noProgress(): Error {
  return Object.assign(new Error('a write wrote nothing'), { code: 'ENOSPC' })
}
