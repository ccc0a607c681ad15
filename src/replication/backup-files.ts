/**
 * Writes the files of a base backup while it streams in: checksums on the way, writes and fsyncs in the thread pool, memory
 * bounded by holding the stream back. Large files are fsynced as soon as they are complete, small ones in groups: one
 * journal commit then serves many of them, where an fsync each would cost a commit each.
 */
import { close, closeSync, fsync, mkdirSync, openSync, writev, writevSync } from 'node:fs'
import { join } from 'node:path'
import type { UnderstudyError } from '../errors/codes.ts'
import { type Checksum, type ManifestChecksums, newChecksum } from './checksums.ts'
import { syncDirectory } from './durable.ts'
import { fileFailure } from './failures.ts'

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

interface OpenFile {
  readonly path: string
  /** -1 for a file that is checked and not kept. */
  readonly fd: number
  readonly checksum: Checksum
  sizeBytes: number
  chunks: Buffer[]
  chunkBytes: number
  position: number
  writing: boolean
  complete: boolean
}

const PENDING_HIGH_BYTES = 16 * 1024 * 1024
const PENDING_LOW_BYTES = 8 * 1024 * 1024
const WRITE_BYTES = 512 * 1024
const SMALL_FILE_BYTES = 128 * 1024
const SYNC_GROUP = 128
/** Of the thread pool's four threads one is left for writes. */
const MAX_SYNCS = 3

export class BackupFiles {
  readonly #options: BackupFilesOptions
  readonly #directories: string[] = []
  readonly #written = new Map<string, WrittenFile>()
  readonly #open = new Set<OpenFile>()
  #current: OpenFile | null = null
  #pendingBytes = 0
  #held = false
  #smallToSync: number[] = []
  #syncQueue: number[] = []
  #syncing = 0
  #failure: UnderstudyError | null = null
  #idle: (() => void) | null = null

  constructor(options: BackupFilesOptions) {
    this.#options = options
  }

  /** What was received, by path; complete after finish(). */
  get written(): ReadonlyMap<string, WrittenFile> {
    return this.#written
  }

  directory(path: string, mode: number): void {
    if (this.#failure !== null) return
    const full = join(this.#options.directory, path)
    this.#try(() => mkdirSync(full, { mode, recursive: true }))
    this.#directories.push(full)
  }

  /** Begins a file. `storeAs` differs from `path` for a file that gets its name last, and is null for one not kept. */
  begin(path: string, storeAs: string | null, mode: number): void {
    if (this.#failure !== null) return
    this.#current = null
    const fd =
      storeAs === null ? -1 : this.#try(() => openSync(join(this.#options.directory, storeAs), 'wx', mode))
    if (fd === undefined) return
    this.#current = {
      path,
      fd,
      checksum: newChecksum(this.#options.checksums),
      sizeBytes: 0,
      chunks: [],
      chunkBytes: 0,
      position: 0,
      writing: false,
      complete: false,
    }
    if (fd >= 0) this.#open.add(this.#current)
  }

  /** The next bytes of the file begun last. Keeps `slice`. */
  data(slice: Buffer): void {
    const file = this.#current
    if (file === null) return
    file.checksum.update(slice)
    file.sizeBytes += slice.length
    if (file.fd < 0) return
    file.chunks.push(slice)
    file.chunkBytes += slice.length
    this.#pendingBytes += slice.length
    if (file.chunkBytes >= WRITE_BYTES && !file.writing) this.#write(file)
    this.#regulate()
  }

  end(): void {
    const file = this.#current
    this.#current = null
    if (file === null) return
    this.#written.set(file.path, { sizeBytes: file.sizeBytes, checksum: file.checksum.digest() })
    if (file.fd < 0) return
    file.complete = true
    if (file.sizeBytes <= SMALL_FILE_BYTES) this.#writeSmall(file)
    else if (!file.writing) this.#write(file)
  }

  /** Waits until everything is written, and durable if asked for, directories included. Throws the first failure. */
  async finish(): Promise<void> {
    this.#flushSmall()
    await this.#whenIdle()
    if (this.#failure !== null) throw this.#failure
    if (!this.#options.fsync) return
    // Children first is not needed: all of it must be durable before the copy gets its pg_control.
    for (const directory of this.#directories) await syncDirectory(directory)
  }

  /** Gives up: closes what is open once running operations are done. */
  async abandon(): Promise<void> {
    this.#failure ??= fileFailure(new Error('given up'), this.#options.directory, 'clone-failed')
    for (const fd of [...this.#smallToSync, ...this.#syncQueue]) closeSync(fd)
    this.#smallToSync = []
    this.#syncQueue = []
    for (const file of this.#open) if (!file.writing) this.#forget(file)
    await this.#whenIdle()
  }

  #write(file: OpenFile): void {
    const chunks = file.chunks
    const bytes = file.chunkBytes
    if (bytes === 0) {
      this.#complete(file)
      return
    }
    file.chunks = []
    file.chunkBytes = 0
    file.writing = true
    this.#writeChunks(file, chunks, bytes)
  }

  #writeChunks(file: OpenFile, chunks: Buffer[], bytes: number): void {
    writev(file.fd, chunks, file.position, (error, written) => {
      if (error !== null) {
        file.writing = false
        this.#fail(error)
        this.#forget(file)
        return
      }
      file.position += written
      this.#pendingBytes -= written
      if (written < bytes) {
        this.#writeChunks(file, dropBytes(chunks, written), bytes - written)
        return
      }
      file.writing = false
      this.#regulate()
      if (this.#failure !== null) this.#forget(file)
      else if (file.complete || file.chunkBytes >= WRITE_BYTES) this.#write(file)
    })
  }

  /** Small files are written at once: a trip through the thread pool takes longer than the copy into the page cache. */
  #writeSmall(file: OpenFile): void {
    const written = file.chunkBytes === 0 ? 0 : this.#try(() => writevSync(file.fd, file.chunks, 0))
    if (written !== file.chunkBytes) {
      // A short write: the next attempt, in the pool, says why.
      if (written !== undefined) this.#write(file)
      return
    }
    this.#pendingBytes -= written
    file.chunks = []
    this.#open.delete(file)
    this.#smallToSync.push(file.fd)
    if (this.#smallToSync.length >= SYNC_GROUP) this.#flushSmall()
  }

  #flushSmall(): void {
    this.#syncQueue.push(...this.#smallToSync)
    this.#smallToSync = []
    this.#sync()
  }

  #complete(file: OpenFile): void {
    this.#open.delete(file)
    this.#syncQueue.push(file.fd)
    this.#sync()
  }

  #sync(): void {
    while (this.#syncing < MAX_SYNCS) {
      const fd = this.#syncQueue.shift()
      if (fd === undefined) break
      this.#syncing++
      const done = (error: Error | null): void => {
        close(fd, (closeError) => {
          this.#syncing--
          if (error !== null || closeError) this.#fail(error ?? closeError)
          this.#regulate()
          this.#sync()
        })
      }
      if (this.#options.fsync) fsync(fd, done)
      else done(null)
    }
    this.#checkIdle()
  }

  #regulate(): void {
    const waiting = this.#syncQueue.length
    const hold = this.#held
      ? this.#pendingBytes > PENDING_LOW_BYTES || waiting > SYNC_GROUP
      : this.#pendingBytes > PENDING_HIGH_BYTES || waiting > 4 * SYNC_GROUP
    if (hold === this.#held) return
    this.#held = hold
    this.#options.onPressure(hold)
  }

  #forget(file: OpenFile): void {
    if (!this.#open.delete(file)) return
    closeSync(file.fd)
    this.#checkIdle()
  }

  #checkIdle(): void {
    if (this.#open.size > 0 || this.#syncing > 0 || this.#syncQueue.length > 0) return
    this.#idle?.()
  }

  #whenIdle(): Promise<void> {
    return new Promise((resolve) => {
      this.#idle = resolve
      this.#checkIdle()
    })
  }

  #try<T>(action: () => T): T | undefined {
    try {
      return action()
    } catch (error) {
      this.#fail(error)
      return undefined
    }
  }

  #fail(error: unknown): void {
    if (this.#failure !== null) return
    this.#failure = fileFailure(error, this.#options.directory, 'clone-failed')
    this.#options.onFailure(this.#failure)
  }
}

function dropBytes(chunks: readonly Buffer[], count: number): Buffer[] {
  return [Buffer.concat(chunks).subarray(count)]
}
