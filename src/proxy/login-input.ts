/** What a client sends before it is somebody, in whole messages and within limits: a stranger gets no memory. */
import type { Socket } from 'node:net'

/** The client has gone; there is nobody to tell anything. */
export class ClientGone extends Error {
  constructor() {
    super('the client has gone')
    this.name = 'ClientGone'
  }
}

/** Takes a message off the beginning of `input`; null: it is not whole yet. */
export type Take<T> = (input: Buffer) => { readonly value: T; readonly bytes: number } | null

/** A start-up packet is at most 10,000 bytes, a password message far less. */
const MAX_INPUT_BYTES = 16 * 1024

export class LoginInput {
  readonly #socket: Socket
  #input: Buffer = Buffer.alloc(0)
  #wake: (() => void) | null = null
  #gone = false
  readonly #onData = (chunk: Buffer): void => {
    this.#input = this.#input.length === 0 ? chunk : Buffer.concat([this.#input, chunk])
    if (this.#input.length > MAX_INPUT_BYTES) this.#socket.destroy()
    this.#wake?.()
  }
  readonly #onGone = (): void => {
    this.#gone = true
    this.#wake?.()
  }

  constructor(socket: Socket) {
    this.#socket = socket
    socket.on('data', this.#onData)
    socket.on('error', this.#onGone)
    socket.on('close', this.#onGone)
  }

  /** Throws ClientGone, and whatever `take` throws. */
  async next<T>(take: Take<T>): Promise<T> {
    for (;;) {
      if (this.#gone || this.#socket.destroyed) throw new ClientGone()
      const taken = take(this.#input)
      if (taken !== null) {
        this.#input = this.#input.subarray(taken.bytes)
        return taken.value
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
      this.#wake = null
    }
  }

  /** Bytes that came behind what was taken. */
  get left(): Buffer {
    return this.#input
  }

  get isGone(): boolean {
    return this.#gone
  }

  /** Somebody else reads on, from the bytes that are left. The listener for errors stays: without one they would end the process. */
  detach(): Buffer {
    this.#socket.off('data', this.#onData)
    this.#socket.off('close', this.#onGone)
    return this.#input
  }
}
