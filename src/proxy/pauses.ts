/** Why a client is not read from: it is read from again when nothing speaks against it any more. */
import type { Socket } from 'node:net'

export const PAUSED = { waiting: 1, server: 2, client: 4 } as const

export class Pauses {
  readonly #socket: Socket
  #reasons = 0

  constructor(socket: Socket) {
    this.#socket = socket
  }

  has(reason: number): boolean {
    return (this.#reasons & reason) !== 0
  }

  add(reason: number): void {
    if (this.#reasons === 0) this.#socket.pause()
    this.#reasons |= reason
  }

  remove(reason: number): void {
    if ((this.#reasons & reason) === 0) return
    this.#reasons &= ~reason
    if (this.#reasons === 0 && !this.#socket.destroyed) this.#socket.resume()
  }
}
