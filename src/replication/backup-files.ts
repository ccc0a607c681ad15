/**
 * Writes the files of a base backup while it streams in: checksums on the way, large files in blocks past the page cache,
 * writes and fsyncs in the thread pool, memory bounded by holding the stream back.
 */
import { closeSync, constants, ftruncate, mkdirSync, openSync, write, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { UnderstudyError } from '../errors/codes.ts'
import { BLOCK_BYTES, BlockPool } from './block-pool.ts'
import { type Checksum, type ManifestChecksums, newChecksum } from './checksums.ts'
import { DIRECT_ALIGNMENT, directFlag } from './direct-io.ts'
import { syncDirectory } from './durable.ts'
import { fileFailure } from './failures.ts'
import { SyncQueue } from './sync-queue.ts'

export interface WrittenFile {
  readonly sizeBytes: number
  readonly checksum: string
}

export interface BackupFilesOptions {
  /** Exists. */
  readonly directory: string
  readonly checksums: ManifestChecksums
  readonly fsync: boolean
  /** True: hold the stream back; false: go on. */
  readonly onPressure: (hold: boolean) => void
  /** The first failure; nothing is written after it. */
  readonly onFailure: (failure: UnderstudyError) => void
}

export interface FileHeader {
  readonly path: string
  /** Differs from `path` for a file that gets its name last; null for one that is checked and not kept. */
  readonly storeAs: string | null
  readonly sizeBytes: number
  readonly mode: number
}

interface OpenFile {
  readonly header: FileHeader
  /** -1 for a file that is not kept. */
  readonly fd: number
  readonly isSmall: boolean
  readonly checksum: Checksum
  receivedBytes: number
  /** The block being filled, and how far it is filled and check-summed. */
  block: Buffer | null
  filled: number
  summed: number
  /** Full blocks that wait for the one being written. */
  readonly queue: { readonly block: Buffer; readonly bytes: number }[]
  /** Where the next block goes. */
  position: number
  /** Writes under way. */
  writes: number
  complete: boolean
}

interface PartialWrite {
  readonly block: Buffer
  readonly length: number
  readonly position: number
  readonly done: number
}

const BLOCKS = 24
/** The disk has the next one while the event loop is busy with the stream. */
const WRITES_PER_FILE = 3
/** One slice of the stream (64 kB at most) can fill one block and begin another. */
const HOLD_BELOW_BLOCKS = 3
const GO_ON_AT_BLOCKS = 8
const HOLD_ABOVE_UNSYNCED = 512
const GO_ON_AT_UNSYNCED = 128
/** A file that fits into one block is written at once: a trip through the thread pool takes longer. */
const SMALL_FILE_BYTES = 128 * 1024
/** Check-summed in steps that are still in the nearest cache. */
const SUM_BYTES = 64 * 1024

export class BackupFiles {
  readonly #options: BackupFilesOptions
  readonly #pool = new BlockPool(BLOCKS)
  readonly #directFlag: number
  readonly #directories: string[] = []
  readonly #written = new Map<string, WrittenFile>()
  readonly #open = new Set<OpenFile>()
  readonly #syncs: SyncQueue
  #current: OpenFile | null = null
  #held = false
  #failure: UnderstudyError | null = null
  #idle: (() => void) | null = null

  constructor(options: BackupFilesOptions) {
    this.#options = options
    const probe = this.#pool.take()
    this.#directFlag = directFlag(options.directory, probe)
    this.#pool.give(probe)
    this.#syncs = new SyncQueue({
      fsync: options.fsync,
      onFailure: (error) => this.#fail(error),
      onProgress: () => {
        this.#regulate()
        this.#checkIdle()
      },
    })
  }

  /** What was received, by path; complete after finish(). */
  get written(): ReadonlyMap<string, WrittenFile> {
    return this.#written
  }

  directory(path: string, mode: number): void {
    const full = join(this.#options.directory, path)
    if (this.#attempt(() => mkdirSync(full, { mode, recursive: true }))) this.#directories.push(full)
  }

  begin(header: FileHeader): void {
    this.#current = null
    const isSmall = header.sizeBytes <= SMALL_FILE_BYTES
    const { storeAs } = header
    let fd = -1
    const opened = this.#attempt(() => {
      if (storeAs !== null) fd = this.#openFile(storeAs, header.mode, isSmall)
    })
    if (!opened) return
    this.#current = {
      header,
      fd,
      isSmall,
      checksum: newChecksum(this.#options.checksums, this.#pool.memory),
      receivedBytes: 0,
      block: null,
      filled: 0,
      summed: 0,
      queue: [],
      position: 0,
      writes: 0,
      complete: false,
    }
    this.#open.add(this.#current)
  }

  /** The next bytes of the file begun last. Copies them. */
  data(slice: Buffer): void {
    const file = this.#current
    if (file === null) return
    file.receivedBytes += slice.length
    for (let offset = 0; offset < slice.length; ) {
      file.block ??= this.#pool.take()
      const copied = slice.copy(file.block, file.filled, offset)
      file.filled += copied
      offset += copied
      if (file.filled - file.summed >= SUM_BYTES || file.filled === BLOCK_BYTES) sum(file)
      if (file.filled === BLOCK_BYTES) this.#seal(file)
    }
    this.#regulate()
  }

  end(): void {
    const file = this.#current
    this.#current = null
    if (file === null) return
    sum(file)
    this.#written.set(file.header.path, { sizeBytes: file.receivedBytes, checksum: file.checksum.digest() })
    file.complete = true
    if (file.isSmall && file.fd >= 0) this.#writeSmall(file)
    else this.#seal(file)
    this.#regulate()
  }

  /** Waits until everything is written, and durable if asked for, directories included. Throws the first failure. */
  async finish(): Promise<void> {
    this.#syncs.flush()
    await this.#whenIdle()
    if (this.#failure !== null) throw this.#failure
    if (!this.#options.fsync) return
    for (const directory of this.#directories) await syncDirectory(directory)
  }

  /** Gives up: closes what is open once running operations are done. Can be called twice. */
  async abandon(): Promise<void> {
    this.#failure ??= fileFailure(new Error('given up'), this.#options.directory, 'clone-failed')
    this.#current = null
    this.#syncs.abandon()
    for (const file of this.#open) if (file.writes === 0) this.#forget(file)
    await this.#whenIdle()
  }

  #openFile(name: string, mode: number, isSmall: boolean): number {
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | (isSmall ? 0 : this.#directFlag)
    return openSync(join(this.#options.directory, name), flags, mode)
  }

  /** The block is as full as it gets: to the queue, or back to the pool when the file is not kept. */
  #seal(file: OpenFile): void {
    const { block, filled } = file
    file.block = null
    file.filled = 0
    file.summed = 0
    if (block !== null) {
      if (file.fd < 0) this.#pool.give(block)
      else file.queue.push({ block, bytes: filled })
    }
    this.#continue(file)
  }

  #continue(file: OpenFile): void {
    while (this.#failure === null && file.writes < WRITES_PER_FILE) {
      const next = file.queue.shift()
      if (next === undefined) break
      file.writes++
      // A direct write has to have a round length; what is too much is cut off at the end.
      const length = this.#directFlag === 0 ? next.bytes : roundUp(next.bytes)
      this.#write(file, { block: next.block, length, position: file.position, done: 0 })
      file.position += next.bytes
    }
    if (file.writes > 0) return
    if (this.#failure !== null) this.#forget(file)
    else if (file.complete) this.#trim(file)
  }

  #write(file: OpenFile, part: PartialWrite): void {
    const { block, length, position, done } = part
    write(file.fd, block, done, length - done, position + done, (error, written) => {
      if (error !== null || written === 0) {
        this.#fail(error ?? Object.assign(new Error('a write wrote nothing'), { code: 'ENOSPC' }))
      } else if (done + written < length) {
        this.#write(file, { ...part, done: done + written })
        return
      }
      file.writes--
      this.#pool.give(block)
      this.#regulate()
      this.#continue(file)
    })
  }

  #trim(file: OpenFile): void {
    if (this.#directFlag === 0 || file.position % DIRECT_ALIGNMENT === 0) {
      this.#close(file, 'large')
      return
    }
    file.writes++
    ftruncate(file.fd, file.position, (error) => {
      file.writes--
      if (error !== null) this.#fail(error)
      if (this.#failure === null) this.#close(file, 'large')
      else this.#forget(file)
    })
  }

  #writeSmall(file: OpenFile): void {
    const { block, filled } = file
    file.block = null
    const written = this.#attempt(() => {
      for (let done = 0; block !== null && done < filled; ) {
        done += writeSync(file.fd, block, done, filled - done, done)
      }
    })
    if (block !== null) this.#pool.give(block)
    if (written) this.#close(file, 'small')
    else this.#forget(file)
  }

  #close(file: OpenFile, size: 'small' | 'large'): void {
    this.#open.delete(file)
    if (file.fd >= 0) this.#syncs.add(file.fd, size)
    this.#checkIdle()
  }

  /** Closes a file that nothing comes of. */
  #forget(file: OpenFile): void {
    if (!this.#open.delete(file)) return
    if (file.fd >= 0) closeSync(file.fd)
    this.#checkIdle()
  }

  #regulate(): void {
    const free = this.#pool.freeBlocks
    const unsynced = this.#syncs.backlog
    const hold = this.#held
      ? free < GO_ON_AT_BLOCKS || unsynced > GO_ON_AT_UNSYNCED
      : free < HOLD_BELOW_BLOCKS || unsynced > HOLD_ABOVE_UNSYNCED
    if (hold === this.#held) return
    this.#held = hold
    this.#options.onPressure(hold)
  }

  #whenIdle(): Promise<void> {
    return new Promise((resolve) => {
      this.#idle = resolve
      this.#checkIdle()
    })
  }

  #checkIdle(): void {
    if (this.#open.size === 0 && this.#syncs.isIdle) this.#idle?.()
  }

  /** False when `action` threw, or something failed before. */
  #attempt(action: () => void): boolean {
    if (this.#failure !== null) return false
    try {
      action()
      return true
    } catch (error) {
      this.#fail(error)
      return false
    }
  }

  #fail(error: unknown): void {
    if (this.#failure !== null) return
    this.#failure = fileFailure(error, this.#options.directory, 'clone-failed')
    this.#options.onFailure(this.#failure)
  }
}

function roundUp(bytes: number): number {
  return Math.ceil(bytes / DIRECT_ALIGNMENT) * DIRECT_ALIGNMENT
}

function sum(file: OpenFile): void {
  if (file.block === null || file.summed === file.filled) return
  file.checksum.update(file.block.subarray(file.summed, file.filled))
  file.summed = file.filled
}
