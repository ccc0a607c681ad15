/**
 * The answer to a simple query that the proxy sends ahead of a client's own, and that the client does not see: one value. What a server may say at
 * any time (notices, settings, notifications) is the client's all the same (manual: "Asynchronous Operations").
 */
import { BACKEND } from '../protocol/message-types.ts'
import { ProtocolViolation } from '../protocol/violation.ts'

const HEADER_BYTES = 5
/** It asks for a line of text. */
const MAX_ANSWER_BYTES = 64 * 1024
const FATAL = new Set(['FATAL', 'PANIC'])

/** Of a question of the proxy's own. */
export interface HiddenAnswer {
  readonly value: string | null
  /** SQLSTATE; null: it did not fail. */
  readonly code: string | null
}

export interface Hidden {
  readonly exchange: HiddenExchange
  /** null: it was asked ahead of a client's COMMIT. */
  readonly done: ((answer: HiddenAnswer) => void) | null
}

export class HiddenExchange {
  /** First column of the first row; null: there is none, or it is NULL. */
  value: string | null = null
  /** The whole ErrorResponse; null: it did not fail. */
  error: Buffer | null = null
  /** For the client, whole messages. */
  readonly passed: Buffer[] = []
  #bytes: Buffer = Buffer.alloc(0)

  /** Gives what follows the answer; null: it is not over. The server's last words, when it ends, are not taken. */
  take(chunk: Buffer): Buffer | null {
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk])
    for (;;) {
      if (this.#bytes.length < HEADER_BYTES) return null
      const length = this.#bytes.readInt32BE(1)
      if (length < 4 || length > MAX_ANSWER_BYTES)
        throw new ProtocolViolation('an answer of one line is too long')
      const end = 1 + length
      if (this.#bytes.length < end) return null
      const message = this.#bytes.subarray(0, end)
      if (message[0] === BACKEND.ErrorResponse && FATAL.has(severityOf(message))) return this.#bytes
      this.#bytes = this.#bytes.subarray(end)
      if (this.#message(message)) return this.#bytes
    }
  }

  /** True when it was the last one. */
  #message(message: Buffer): boolean {
    switch (message[0]) {
      case BACKEND.ReadyForQuery:
        return true
      case BACKEND.DataRow:
        this.value ??= firstColumn(message)
        return false
      case BACKEND.ErrorResponse:
        this.error = Buffer.from(message)
        return false
      case BACKEND.NoticeResponse:
      case BACKEND.ParameterStatus:
      case BACKEND.NotificationResponse:
        this.passed.push(Buffer.from(message))
        return false
      default:
        return false
    }
  }
}

/** Its second field is the severity that is never translated. */
function severityOf(message: Buffer): string {
  const second = message.indexOf(0, HEADER_BYTES) + 1
  return message[second] === 0x56 ? message.toString('latin1', second + 1, message.indexOf(0, second)) : ''
}

function firstColumn(row: Buffer): string | null {
  const length = row.readInt32BE(HEADER_BYTES + 2)
  const from = HEADER_BYTES + 6
  return length < 0 ? null : row.toString('utf8', from, from + length)
}
