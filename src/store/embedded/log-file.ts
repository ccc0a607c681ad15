/** One log on disk: frames at the front, zeros behind them, synced; and the snapshot that says which log goes on from it. */
import { type Disk, type DiskFile, errorCode } from './disk.ts'
import { encodeFrame } from './frames.ts'

export const SNAPSHOT = 'snapshot'
export const SNAPSHOT_FORMAT = 1
const NEW_SNAPSHOT = 'snapshot.new'

export interface Position {
  readonly generation: number
  /** Number of the last frame. */
  readonly sequence: number
}

export function logName(generation: number): string {
  return `log-${generation}`
}

export function isLogName(name: string): boolean {
  return /^log-\d+$/.test(name)
}

export function encodeLogPayload(sequence: number, records: readonly string[]): string {
  return `{"s":${sequence},"r":[${records.join(',')}]}`
}

export class LogFile {
  readonly name: string
  readonly generation: number
  readonly #file: DiskFile
  /** End of the last frame. */
  #offset: number
  /** End of the zeros that were written and synced. */
  #allocated: number

  private constructor(generation: number, file: DiskFile, offset: number, allocated: number) {
    this.name = logName(generation)
    this.generation = generation
    this.#file = file
    this.#offset = offset
    this.#allocated = allocated
  }

  /** A new log whose first frame, which holds no record, and whose zeros are on disk. */
  static async create(disk: Disk, after: Position, allocationBytes: number): Promise<LogFile> {
    const file = await disk.create(logName(after.generation))
    try {
      const first = encodeFrame(encodeLogPayload(after.sequence, []))
      await file.write(Buffer.concat([first, Buffer.alloc(allocationBytes)]), 0)
      await file.sync()
      return new LogFile(after.generation, file, first.length, first.length + allocationBytes)
    } catch (error) {
      await file.close().catch(() => {})
      throw error
    }
  }

  /** Bytes of frames. */
  get size(): number {
    return this.#offset
  }

  /** Bytes that can be appended without asking the disk for more. */
  get room(): number {
    return this.#allocated - this.#offset
  }

  /** Appends one frame and syncs it. After an error nobody knows what is on disk. */
  async append(payload: string): Promise<void> {
    const frame = encodeFrame(payload)
    await this.#file.write(frame, this.#offset)
    await this.#file.sync()
    this.#offset += frame.length
  }

  /** Takes more room; returns the system's name of the error when the disk has none to give. An error of the sync is thrown. */
  async extend(bytes: number): Promise<string | null> {
    try {
      await this.#file.write(Buffer.alloc(bytes), this.#allocated)
    } catch (error) {
      await this.#file.truncate(this.#allocated).catch(() => {})
      return errorCode(error) || 'unknown error'
    }
    await this.#file.sync()
    this.#allocated += bytes
    return null
  }

  async close(): Promise<void> {
    await this.#file.close().catch(() => {})
  }
}

/** Writes a snapshot beside the one in use. */
export async function writeNewSnapshot(disk: Disk, payload: string): Promise<void> {
  const file = await disk.create(NEW_SNAPSHOT)
  try {
    await file.write(encodeFrame(payload), 0)
    await file.sync()
  } finally {
    await file.close().catch(() => {})
  }
  await disk.syncNames()
}

/** Removes what `writeNewSnapshot` has begun. */
export async function dropNewSnapshot(disk: Disk): Promise<void> {
  await disk.remove(NEW_SNAPSHOT).catch(() => {})
}

/** After an error it is not known which of the two snapshots a crash would leave. */
export async function useNewSnapshot(disk: Disk): Promise<void> {
  await disk.rename(NEW_SNAPSHOT, SNAPSHOT)
  await disk.syncNames()
}
