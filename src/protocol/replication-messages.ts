/**
 * What travels inside CopyData while WAL is streamed (manual: "Streaming Replication Protocol", START_REPLICATION):
 * XLogData and keepalives from the server, standby status updates to it. All integers are big-endian; times are
 * microseconds since 2000-01-01 00:00 UTC on the sender's clock.
 */
import { type Lsn, lsnOf } from '../core/lsn.ts'
import { ProtocolViolation } from './violation.ts'

const XLOG_DATA = 'w'.charCodeAt(0)
const KEEPALIVE = 'k'.charCodeAt(0)
const STATUS_UPDATE = 'r'.charCodeAt(0)
const XLOG_HEADER_BYTES = 25
const KEEPALIVE_BYTES = 18
/** 2000-01-01 in milliseconds of the Unix epoch. */
const POSTGRES_EPOCH_MS = 946_684_800_000

export interface WalStreamHandler {
  /** WAL bytes that begin at `lsn`. `data` aliases the input; one XLogData may come as several calls. */
  xlogData(lsn: Lsn, data: Buffer): void
  /** The server's end of WAL, and whether it wants a status update at once (else it gives up after wal_sender_timeout). */
  keepalive(message: PrimaryKeepalive): void
}

export interface PrimaryKeepalive {
  /** The end of WAL on the server when it sent this. */
  readonly walEndLsn: Lsn
  readonly replyRequested: boolean
}

/** Reads the bodies of CopyData messages in the slices in which they arrive (FrameReader's `part`). */
export class WalStreamReader {
  readonly #handler: WalStreamHandler
  readonly #header = Buffer.alloc(XLOG_HEADER_BYTES)
  #startLsn = 0n

  constructor(handler: WalStreamHandler) {
    this.#handler = handler
  }

  /** Throws ProtocolViolation on another message or a wrong length. */
  part(part: Buffer, offset: number, total: number): void {
    if (total === 0) throw new ProtocolViolation('the WAL stream has an empty message')
    const headerBytes = this.#takeHeader(part, offset)
    if (offset + headerBytes < this.#headerLength(total)) return
    if (this.#header[0] === KEEPALIVE) {
      if (total !== KEEPALIVE_BYTES) throw new ProtocolViolation(`a keepalive has ${total} bytes`)
      this.#handler.keepalive({
        walEndLsn: lsnOf(this.#header.readBigUInt64BE(1)),
        replyRequested: this.#header[17] === 1,
      })
      return
    }
    // The header is complete from here on; the data of this part may still be empty.
    if (offset < XLOG_HEADER_BYTES) this.#startLsn = this.#header.readBigUInt64BE(1)
    if (headerBytes === part.length) return
    const lsn = this.#startLsn + BigInt(offset + headerBytes - XLOG_HEADER_BYTES)
    this.#handler.xlogData(lsnOf(lsn), headerBytes === 0 ? part : part.subarray(headerBytes))
  }

  /** Copies what `part` holds of the header and says how many bytes that were. */
  #takeHeader(part: Buffer, offset: number): number {
    if (offset >= XLOG_HEADER_BYTES) return 0
    return part.copy(this.#header, offset, 0, XLOG_HEADER_BYTES - offset)
  }

  #headerLength(total: number): number {
    if (this.#header[0] === KEEPALIVE) return total
    if (this.#header[0] !== XLOG_DATA) {
      throw new ProtocolViolation(`the WAL stream has a message of the unknown type ${this.#header[0]}`)
    }
    if (total < XLOG_HEADER_BYTES) throw new ProtocolViolation(`an XLogData message has ${total} bytes`)
    return XLOG_HEADER_BYTES
  }
}

/**
 * Standby status update, the body of a CopyData. Each LSN is the last byte + 1. Never report a flushLsn that is not
 * fsynced: the server believes it unchecked, and an acknowledged commit would be lost with this machine.
 */
export function standbyStatusUpdate(status: {
  readonly writeLsn: Lsn
  readonly flushLsn: Lsn
  /** 0 for a receiver that replays nothing. */
  readonly applyLsn: Lsn
  /** Milliseconds of the Unix epoch, for the server's statistics only. */
  readonly nowMs: number
  readonly replyRequested: boolean
}): Buffer {
  const body = Buffer.alloc(34)
  body[0] = STATUS_UPDATE
  body.writeBigUInt64BE(status.writeLsn, 1)
  body.writeBigUInt64BE(status.flushLsn, 9)
  body.writeBigUInt64BE(status.applyLsn, 17)
  body.writeBigInt64BE(BigInt(Math.trunc((status.nowMs - POSTGRES_EPOCH_MS) * 1000)), 25)
  body[33] = status.replyRequested ? 1 : 0
  return body
}
