/** The rows of an answer to a statement of the proxy's own, out of the bytes in which it comes: for catalogs, not for data. Pure. */
import { parseBackendMessage } from '../../protocol/backend-messages.ts'
import { FrameReader } from '../../protocol/frame-reader.ts'
import { BACKEND } from '../../protocol/message-types.ts'

const MAX_ROW_BYTES = 1024 * 1024

export class RowReader {
  readonly rows: (readonly (string | null)[])[] = []
  readonly #reader = new FrameReader(
    {
      frame: (type, body) => {
        if (type !== BACKEND.DataRow) return
        const message = parseBackendMessage(type, body)
        if (message.name === 'DataRow')
          this.rows.push(message.values.map((value) => value?.toString('utf8') ?? null))
      },
    },
    { maxBodyBytes: MAX_ROW_BYTES },
  )

  push(bytes: Buffer): void {
    this.#reader.push(bytes)
  }
}
