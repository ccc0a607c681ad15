/**
 * What travels inside CopyData after BASE_BACKUP (manual: "Streaming Replication Protocol", BASE_BACKUP; the format since
 * PostgreSQL 15): archives one after the other, then the manifest, with progress reports between.
 */
import { ProtocolViolation } from './violation.ts'

export interface BaseBackupHandler {
  /** A new archive begins: "base.tar" with an empty location, or "<oid>.tar" with its tablespace's. */
  archive(name: string, location: string): void
  /** The manifest begins: the data that follows is its text. */
  manifest(): void
  /** The next bytes of the archive or the manifest; never empty, aliases the input. */
  data(slice: Buffer): void
  /** Uncompressed bytes that the server has read so far. */
  progress(bytesDone: number): void
}

const NEW_ARCHIVE = 'n'.charCodeAt(0)
const MANIFEST = 'm'.charCodeAt(0)
const DATA = 'd'.charCodeAt(0)
const PROGRESS = 'p'.charCodeAt(0)
/** Two names; more is not a name. */
const SMALL_MESSAGE_LIMIT = 16 * 1024

/** Reads the bodies of CopyData messages in the slices in which they arrive (FrameReader's `part`). */
export class BaseBackupReader {
  readonly #handler: BaseBackupHandler
  #type = 0
  #gathered: Buffer[] = []
  #inContent = false

  constructor(handler: BaseBackupHandler) {
    this.#handler = handler
  }

  /** Throws ProtocolViolation on another message or order. */
  part(part: Buffer, offset: number, total: number): void {
    if (offset === 0) {
      if (part[0] === undefined) throw new ProtocolViolation('the backup stream has an empty message')
      this.#type = part[0]
      this.#gathered = []
    }
    if (this.#type === DATA) {
      if (!this.#inContent) throw new ProtocolViolation('the backup stream has data that belongs to nothing')
      const slice = offset === 0 ? part.subarray(1) : part
      if (slice.length > 0) this.#handler.data(slice)
      return
    }
    if (total > SMALL_MESSAGE_LIMIT) {
      throw new ProtocolViolation(`the backup stream has a message of type ${this.#type} with ${total} bytes`)
    }
    this.#gathered.push(part)
    if (offset + part.length === total) this.#small(Buffer.concat(this.#gathered, total))
  }

  #small(message: Buffer): void {
    switch (this.#type) {
      case NEW_ARCHIVE: {
        const end = message.indexOf(0, 1)
        const locationEnd = message.indexOf(0, end + 1)
        if (end < 0 || locationEnd < 0)
          throw new ProtocolViolation('the name of an archive is not terminated')
        this.#inContent = true
        this.#handler.archive(
          message.toString('utf8', 1, end),
          message.toString('utf8', end + 1, locationEnd),
        )
        return
      }
      case MANIFEST:
        this.#inContent = true
        this.#handler.manifest()
        return
      case PROGRESS:
        if (message.length !== 9) throw new ProtocolViolation(`a progress report has ${message.length} bytes`)
        this.#handler.progress(Number(message.readBigUInt64BE(1)))
        return
      default:
        throw new ProtocolViolation(`the backup stream has a message of the unknown type ${this.#type}`)
    }
  }
}

export interface BaseBackupOptions {
  /** Shown in the server's log and in backup_label. */
  readonly label: string
  readonly checkpoint: 'fast' | 'spread'
  readonly manifestChecksums: 'SHA256' | 'CRC32C'
  /** Kilobytes per second, 32 to 1048576. */
  readonly maxRateKb?: number
}

/** The command, in the option list that PostgreSQL 15 and later take (the older keywords are refused there). */
export function baseBackupCommand(options: BaseBackupOptions): string {
  const parts = [
    `LABEL '${options.label.replaceAll("'", "''")}'`,
    'PROGRESS',
    `CHECKPOINT '${options.checkpoint}'`,
    // With WAIT, a primary whose archiving is broken would hold the backup back for ever; the WAL is streamed beside it.
    'WAIT false',
    "MANIFEST 'yes'",
    `MANIFEST_CHECKSUMS '${options.manifestChecksums}'`,
    ...(options.maxRateKb === undefined ? [] : [`MAX_RATE ${options.maxRateKb}`]),
  ]
  return `BASE_BACKUP (${parts.join(', ')})`
}
