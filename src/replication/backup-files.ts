/**
 * All files of a base backup: made, filled and made durable while the stream comes in. Memory and open files are bounded by
 * holding the stream back.
 */
import { closeSync, constants, mkdirSync, openSync } from 'node:fs'
import { join } from 'node:path'
import type { UnderstudyError } from '../errors/codes.ts'
import { BackupFile, type BackupFileContext, SMALL_FILE_BYTES } from './backup-file.ts'
import { BlockPool } from './block-pool.ts'
import type { ManifestChecksums } from './checksums.ts'
import { directFlag } from './direct-io.ts'
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
  readonly syncsAtOnce: number
  /** False writes through the page cache even where it could be passed by. */
  readonly direct?: boolean
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

/** 12 MB: enough for the disk to be busy while the event loop is not. */
const BLOCKS = 24
/** One slice of the stream (64 kB at most) can fill one block and begin another. */
const HOLD_BELOW_BLOCKS = 3
const GO_ON_AT_BLOCKS = 8
const HOLD_ABOVE_UNSYNCED = 512
const GO_ON_AT_UNSYNCED = 128

export class BackupFiles {
  readonly #options: BackupFilesOptions
  readonly #pool = new BlockPool(BLOCKS)
  readonly #directFlag: number
  readonly #context: BackupFileContext
  readonly #directories: string[] = []
  readonly #written = new Map<string, WrittenFile>()
  readonly #open = new Set<BackupFile>()
  readonly #syncs: SyncQueue
  #current: { readonly path: string; readonly file: BackupFile } | null = null
  #held = false
  #failure: UnderstudyError | null = null
  #idle: (() => void) | null = null

  constructor(options: BackupFilesOptions) {
    this.#options = options
    const probe = this.#pool.take()
    this.#directFlag = options.direct === false ? 0 : directFlag(options.directory, probe)
    this.#pool.give(probe)
    this.#syncs = new SyncQueue({
      fsync: options.fsync,
      atOnce: options.syncsAtOnce,
      onFailure: (error) => this.#fail(error),
      onProgress: () => {
        this.#regulate()
        this.#checkIdle()
      },
    })
    this.#context = {
      pool: this.#pool,
      checksums: options.checksums,
      direct: this.#directFlag !== 0,
      hasFailed: () => this.#failure !== null,
      onFailure: (error) => this.#fail(error),
      onProgress: () => this.#regulate(),
      onDone: (file, whole) => this.#done(file, whole),
    }
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
    this.#attempt(() => {
      const fd = header.storeAs === null ? -1 : this.#openFile(header.storeAs, header.mode, isSmall)
      const file = new BackupFile(fd, isSmall, this.#context)
      this.#open.add(file)
      this.#current = { path: header.path, file }
    })
  }

  /** The next bytes of the file begun last. Copies them. */
  data(slice: Buffer): void {
    this.#current?.file.append(slice)
    this.#regulate()
  }

  end(): void {
    const current = this.#current
    this.#current = null
    if (current !== null) this.#written.set(current.path, current.file.finish())
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
    for (const file of this.#open) file.giveUp()
    await this.#whenIdle()
  }

  #openFile(name: string, mode: number, isSmall: boolean): number {
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | (isSmall ? 0 : this.#directFlag)
    return openSync(join(this.#options.directory, name), flags, mode)
  }

  #done(file: BackupFile, whole: boolean): void {
    this.#open.delete(file)
    if (file.fd >= 0) {
      if (whole && this.#failure === null) this.#syncs.add(file.fd, file.isSmall ? 'small' : 'large')
      else closeSync(file.fd)
    }
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
