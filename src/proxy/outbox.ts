/**
 * Gathers what is to be written to a socket while one chunk is worked on, and writes it in one system call: most often it is one piece,
 * the chunk itself.
 */
import type { Socket } from 'node:net'

/** Pieces that are short together are joined; a copy of this much costs less than a vectored write. */
const JOIN_BYTES = 16 * 1024

export class Outbox {
  readonly #socket: Socket
  #first: Buffer | null = null
  #more: Buffer[] = []
  #bytes = 0

  constructor(socket: Socket) {
    this.#socket = socket
  }

  add(bytes: Buffer): void {
    if (this.#first === null) this.#first = bytes
    else this.#more.push(bytes)
    this.#bytes += bytes.length
  }

  /** False when the peer does not take it as fast as it comes: wait for 'drain'. */
  flush(): boolean {
    const first = this.#first
    if (first === null) return true
    this.#first = null
    const bytes = this.#bytes
    this.#bytes = 0
    if (this.#more.length === 0) return this.#socket.write(first)
    const all = [first, ...this.#more]
    this.#more = []
    if (bytes <= JOIN_BYTES) return this.#socket.write(Buffer.concat(all, bytes))
    this.#socket.cork()
    for (const each of all) this.#socket.write(each)
    this.#socket.uncork()
    return !this.#socket.writableNeedDrain
  }
}
