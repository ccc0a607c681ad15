/**
 * A streaming reader of tar archives: bytes in, in any split, events out, data as slices of the input without a copy.
 * POSIX ustar with base-256 sizes (what BASE_BACKUP sends); pax headers of single files are honoured. What would write
 * outside the directory that it is unpacked into is refused here, so that no caller can forget it.
 */
import {
  checkHeaderSum,
  ENTRY_TYPES,
  type EntryType,
  isInside,
  parsePax,
  safePath,
  TAR_BLOCK_BYTES,
  tarNumber,
  tarText,
} from './tar-header.ts'
import { ProtocolViolation } from './violation.ts'

export interface TarEntry {
  /** Relative, with '/' between the names, without '.', '..' and trailing '/'. */
  readonly path: string
  readonly type: EntryType
  readonly sizeBytes: number
  /** Permission bits only. */
  readonly mode: number
  readonly modifiedAtSeconds: number
  /** Relative and inside the tree; '' unless the entry is a link. */
  readonly linkTarget: string
}

export interface TarHandler {
  entry(entry: TarEntry): void
  /** The next bytes of the entry's content; never empty, aliases the input. */
  data(slice: Buffer): void
  /** The entry is complete; comes for every entry, empty ones too. */
  entryEnd(): void
}

const PAX_LIMIT_BYTES = 1024 * 1024
const ZERO_BLOCK = Buffer.alloc(TAR_BLOCK_BYTES)

export class TarReader {
  readonly #handler: TarHandler
  readonly #header = Buffer.alloc(TAR_BLOCK_BYTES)
  #headerBytes = 0
  #state: 'header' | 'data' | 'pax' | 'padding' = 'header'
  #remaining = 0
  #padding = 0
  #zeroBlocks = 0
  #paxParts: Buffer[] = []
  #pax: ReadonlyMap<string, string> = new Map()
  #paxApplies = false

  constructor(handler: TarHandler) {
    this.#handler = handler
  }

  /** Throws ProtocolViolation; what was handed on before then is to be thrown away. */
  push(chunk: Buffer): void {
    let offset = 0
    while (offset < chunk.length) offset = this.#step(chunk, offset)
  }

  /** To be called at the end of the input: throws when it ends in the middle of an entry. */
  finish(): void {
    if (this.#state !== 'header' || this.#headerBytes > 0 || this.#pax.size > 0) {
      throw new ProtocolViolation('the tar stream ends in the middle of an entry')
    }
  }

  #step(chunk: Buffer, offset: number): number {
    if (this.#state === 'header') return this.#takeHeader(chunk, offset)
    const end = Math.min(chunk.length, offset + this.#remaining)
    this.#remaining -= end - offset
    if (this.#state === 'data') {
      this.#handler.data(offset === 0 && end === chunk.length ? chunk : chunk.subarray(offset, end))
    } else if (this.#state === 'pax') {
      this.#paxParts.push(chunk.subarray(offset, end))
    }
    if (this.#remaining === 0) this.#leave()
    return end
  }

  #leave(): void {
    if (this.#state === 'data') this.#handler.entryEnd()
    if (this.#state === 'pax') {
      const pax = parsePax(Buffer.concat(this.#paxParts))
      if (this.#paxApplies) this.#pax = pax
      this.#paxParts = []
    }
    this.#remaining = this.#state === 'padding' ? 0 : this.#padding
    this.#state = this.#remaining > 0 ? 'padding' : 'header'
  }

  #takeHeader(chunk: Buffer, offset: number): number {
    const wanted = TAR_BLOCK_BYTES - this.#headerBytes
    const copied = chunk.copy(this.#header, this.#headerBytes, offset, offset + wanted)
    this.#headerBytes += copied
    if (this.#headerBytes === TAR_BLOCK_BYTES) {
      this.#headerBytes = 0
      if (this.#header.equals(ZERO_BLOCK)) this.#zeroBlocks++
      else this.#interpretHeader()
    }
    return offset + copied
  }

  #interpretHeader(): void {
    if (this.#zeroBlocks > 0) throw new ProtocolViolation('the tar stream goes on after its end')
    checkHeaderSum(this.#header)
    const flag = String.fromCharCode(this.#header[156] ?? 0)
    if (flag === 'x' || flag === 'g') {
      this.#beginPax(flag)
      return
    }
    const entry = this.#readEntry(flag)
    this.#pax = new Map()
    this.#remaining = entry.sizeBytes
    this.#padding = paddingOf(entry.sizeBytes)
    this.#handler.entry(entry)
    if (entry.sizeBytes === 0) this.#handler.entryEnd()
    else this.#state = 'data'
  }

  #beginPax(flag: string): void {
    const size = tarNumber(this.#header, 124, 12)
    if (size > PAX_LIMIT_BYTES) throw new ProtocolViolation(`a pax header claims ${size} bytes`)
    this.#paxApplies = flag === 'x'
    this.#remaining = size
    this.#padding = paddingOf(size)
    if (size > 0) this.#state = 'pax'
  }

  #readEntry(flag: string): TarEntry {
    const type = ENTRY_TYPES[flag]
    const prefix =
      this.#header.toString('latin1', 257, 262) === 'ustar' ? tarText(this.#header, 345, 155) : ''
    const name = tarText(this.#header, 0, 100)
    const path = safePath(this.#pax.get('path') ?? (prefix === '' ? name : `${prefix}/${name}`))
    if (type === undefined)
      throw new ProtocolViolation(`${path} in the tar stream is of the unknown type '${flag}'`)
    const paxSize = this.#pax.get('size')
    const sizeBytes = paxSize === undefined ? tarNumber(this.#header, 124, 12) : Number(paxSize)
    if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0) {
      throw new ProtocolViolation(`${path} in the tar stream has an impossible size`)
    }
    const link = type === 'symlink' || type === 'hardlink'
    const linkTarget = link ? (this.#pax.get('linkpath') ?? tarText(this.#header, 157, 100)) : ''
    if (link && !isInside(path, linkTarget, type)) {
      throw new ProtocolViolation(`${path} in the tar stream links out of the tree, to ${linkTarget}`)
    }
    return {
      path,
      type,
      // Only files have content; some writers put a size on links.
      sizeBytes: type === 'file' ? sizeBytes : 0,
      mode: tarNumber(this.#header, 100, 8) & 0o7777,
      modifiedAtSeconds: tarNumber(this.#header, 136, 12),
      linkTarget,
    }
  }
}

function paddingOf(sizeBytes: number): number {
  return (TAR_BLOCK_BYTES - (sizeBytes % TAR_BLOCK_BYTES)) % TAR_BLOCK_BYTES
}
