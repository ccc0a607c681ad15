/**
 * The few things that the journal needs from a file system. A port of its own, so that tests can let any of them fail: what happens
 * after a failed sync is the one part of this program that cannot be tried on a healthy disk.
 */
import { constants } from 'node:fs'
import * as fs from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'

export interface DiskFile {
  /** All of it, or an error. */
  write(data: Buffer, position: number): Promise<void>
  /** Content and size are on stable storage when it resolves (fdatasync). */
  sync(): Promise<void>
  truncate(size: number): Promise<void>
  close(): Promise<void>
}

export interface Disk {
  /** Names in the directory. */
  list(): Promise<readonly string[]>
  /** null: there is no such file. */
  read(name: string): Promise<Buffer | null>
  /** A new, empty file, readable by its owner only; replaces one of that name. */
  create(name: string): Promise<DiskFile>
  rename(from: string, to: string): Promise<void>
  remove(name: string): Promise<void>
  /** Names that were created, renamed or removed are so on stable storage when it resolves. */
  syncNames(): Promise<void>
}

/** Makes the directory, for its owner only, and its name durable: a store whose directory is gone after a crash has lost everything. */
export async function makeDirectory(directory: string): Promise<void> {
  const path = resolve(directory)
  const first = await fs.mkdir(path, { recursive: true, mode: 0o700 })
  if (first === undefined) return
  for (let made = path; made.length >= first.length; made = dirname(made)) {
    await syncDirectory(dirname(made)).catch((error: unknown) => {
      // One may be allowed to write into a directory and not to open it.
      if (errorCode(error) !== 'EACCES') throw error
    })
  }
}

async function syncDirectory(path: string): Promise<void> {
  const handle = await fs.open(path, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

export function openDisk(directory: string): Disk {
  return {
    list: () => fs.readdir(directory),
    read: (name) => readIfThere(join(directory, name)),
    create: async (name) => new NodeFile(await fs.open(join(directory, name), 'w', 0o600)),
    rename: (from, to) => fs.rename(join(directory, from), join(directory, to)),
    remove: (name) => fs.rm(join(directory, name), { force: true }),
    syncNames: () => syncDirectory(directory),
  }
}

async function readIfThere(path: string): Promise<Buffer | null> {
  try {
    return await fs.readFile(path)
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return null
    throw error
  }
}

/** The system's name of an error (ENOSPC, EIO, …); empty when it has none. */
export function errorCode(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : ''
}

class NodeFile implements DiskFile {
  readonly #handle: fs.FileHandle

  constructor(handle: fs.FileHandle) {
    this.#handle = handle
  }

  async write(data: Buffer, position: number): Promise<void> {
    for (let done = 0; done < data.length; ) {
      const { bytesWritten } = await this.#handle.write(data, done, data.length - done, position + done)
      // A write of nothing is how some file systems say that they are full.
      if (bytesWritten === 0) throw Object.assign(new Error('nothing was written'), { code: 'ENOSPC' })
      done += bytesWritten
    }
  }

  sync(): Promise<void> {
    return this.#handle.datasync()
  }

  truncate(size: number): Promise<void> {
    return this.#handle.truncate(size)
  }

  close(): Promise<void> {
    return this.#handle.close()
  }
}
