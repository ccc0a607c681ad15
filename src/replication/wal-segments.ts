/**
 * WAL segments as files, written in order. A file has its full size from the beginning, because startup ignores short ones;
 * what is not written yet is zeros, as pg_receivewal and pg_basebackup leave it.
 */
import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import { type Lsn, lsnOf } from '../core/lsn.ts'
import { offsetInSegment, segmentNumberOf, segmentStart, walFileName } from '../protocol/wal-names.ts'
import { renameDurably, syncDirectory, writeSynced } from './durable.ts'

export interface WalSegmentsOptions {
  /** Exists already; for `markArchived` also its archive_status. */
  readonly directory: string
  readonly segmentBytes: number
  /** ".partial" until a segment is complete, or '' to give the final name at once (what a base backup needs). */
  readonly partialSuffix: '.partial' | ''
  /** Writes archive_status/<name>.done, so that a promoted copy does not archive again what its source archived. */
  readonly markArchived: boolean
  readonly fileMode: number
}

interface OpenSegment {
  readonly handle: FileHandle
  readonly name: string
  readonly number: bigint
}

const PAD_BYTES = 1024 * 1024

export class WalSegments {
  readonly #options: WalSegmentsOptions
  #segment: OpenSegment | null = null
  #writeLsn: Lsn = lsnOf(0n)
  #flushLsn: Lsn = lsnOf(0n)

  constructor(options: WalSegmentsOptions) {
    this.#options = options
  }

  /** End of what was written, and of what is durable. 0/0 before the first byte. */
  get writeLsn(): Lsn {
    return this.#writeLsn
  }

  get flushLsn(): Lsn {
    return this.#flushLsn
  }

  /** Bytes that still fit into the segment that holds `lsn`. */
  room(lsn: Lsn): number {
    return this.#options.segmentBytes - offsetInSegment(lsn, this.#options.segmentBytes)
  }

  /** Writes `buffers`, which must fit into room(lsn). A complete segment is made durable before this resolves. */
  async write(timelineId: number, lsn: Lsn, buffers: readonly Buffer[]): Promise<void> {
    const { segmentBytes } = this.#options
    const segment = this.#segment ?? (await this.#open(timelineId, segmentNumberOf(lsn, segmentBytes)))
    let bytes = 0
    for (const buffer of buffers) bytes += buffer.length
    await writeAll(segment.handle, buffers, bytes, offsetInSegment(lsn, segmentBytes))
    this.#writeLsn = lsnOf(lsn + BigInt(bytes))
    if (this.#writeLsn === segmentStart(segment.number + 1n, segmentBytes)) await this.#complete(segment)
  }

  /** Makes everything written so far durable. */
  async flush(): Promise<void> {
    const lsn = this.#writeLsn
    await this.#segment?.handle.datasync()
    this.#flushLsn = lsn
  }

  /** Ends with a segment that may be incomplete: zeros to its end, fsynced, neither renamed nor marked as archived. */
  async close(): Promise<void> {
    const segment = this.#segment
    if (segment === null) return
    const { segmentBytes } = this.#options
    const zeros = Buffer.alloc(PAD_BYTES)
    for (let offset = offsetInSegment(this.#writeLsn, segmentBytes); offset < segmentBytes; ) {
      // Written and not left sparse: the standby that goes on in this file must not run out of space in it.
      const { bytesWritten } = await segment.handle.write(
        zeros,
        0,
        Math.min(PAD_BYTES, segmentBytes - offset),
        offset,
      )
      offset += bytesWritten
    }
    await segment.handle.sync()
    this.#flushLsn = this.#writeLsn
    await this.abandon()
    await syncDirectory(this.#options.directory)
  }

  /** Closes the file and makes no promises. */
  async abandon(): Promise<void> {
    const segment = this.#segment
    this.#segment = null
    await segment?.handle.close()
  }

  /** Writes a timeline history file; before the first segment of its timeline, so that none is without it. */
  async writeHistory(fileName: string, content: string): Promise<void> {
    const { directory, fileMode } = this.#options
    const path = join(directory, fileName)
    await writeSynced(`${path}.tmp`, content, fileMode)
    await renameDurably(`${path}.tmp`, path)
    await this.#markArchived(fileName)
  }

  async #open(timelineId: number, number: bigint): Promise<OpenSegment> {
    const { directory, segmentBytes, partialSuffix, fileMode } = this.#options
    const name = walFileName(timelineId, number, segmentBytes)
    const path = join(directory, `${name}${partialSuffix}`)
    const handle = await open(path, constants.O_RDWR | constants.O_CREAT, fileMode)
    this.#segment = { handle, name, number }
    await handle.truncate(segmentBytes)
    return this.#segment
  }

  async #complete(segment: OpenSegment): Promise<void> {
    const { directory, partialSuffix } = this.#options
    await segment.handle.sync()
    await this.abandon()
    const path = join(directory, segment.name)
    if (partialSuffix === '') await syncDirectory(directory)
    else await renameDurably(`${path}${partialSuffix}`, path)
    await this.#markArchived(segment.name)
    this.#flushLsn = this.#writeLsn
  }

  async #markArchived(name: string): Promise<void> {
    if (!this.#options.markArchived) return
    const status = join(this.#options.directory, 'archive_status')
    await writeSynced(join(status, `${name}.done`), '', this.#options.fileMode)
    await syncDirectory(status)
  }
}

async function writeAll(
  handle: FileHandle,
  buffers: readonly Buffer[],
  bytes: number,
  position: number,
): Promise<void> {
  const { bytesWritten } = await handle.writev(buffers, position)
  if (bytesWritten === bytes) return
  // A short write is allowed to happen; the rest is rare enough to be copied.
  const rest = Buffer.concat(buffers).subarray(bytesWritten)
  for (let done = 0; done < rest.length; ) {
    const written = await handle.write(rest, done, rest.length - done, position + bytesWritten + done)
    done += written.bytesWritten
  }
}
