/**
 * One connected socket as a stream of protocol messages: CopyData in slices, everything else parsed. Knows nothing of
 * commands. It ends exactly once, with a reason, and keeps the deadline for a peer that falls silent.
 */
import type { Socket } from 'node:net'
import { UnderstudyError } from '../errors/codes.ts'
import { type BackendMessage, parseBackendMessage } from '../protocol/backend-messages.ts'
import { FrameReader } from '../protocol/frame-reader.ts'
import { BACKEND } from '../protocol/message-types.ts'
import { connectionFailure } from './failures.ts'

export interface WireHandler {
  message(message: BackendMessage): void
  copyPart(part: Buffer, offset: number, total: number): void
  /** The connection is over; comes once, after the last message. */
  ended(failure: UnderstudyError): void
}

const SILENCE_CHECK_MS = 250

export class Wire {
  readonly #socket: Socket
  readonly #handler: WireHandler
  readonly #where: string
  readonly #reader: FrameReader
  readonly #silenceTimer: NodeJS.Timeout
  #silenceLimitMs = Number.POSITIVE_INFINITY
  /** Whether anything came since the last check: a clock read for each slice of a backup would be felt. */
  #heard = true
  #silentSince = 0
  #paused = false
  #failure: UnderstudyError | null = null
  #ended = false

  /** `socket` must not have been read from yet. */
  constructor(socket: Socket, where: string, handler: WireHandler) {
    this.#socket = socket
    this.#where = where
    this.#handler = handler
    this.#reader = new FrameReader(
      {
        frame: (type, body) => handler.message(parseBackendMessage(type, body)),
        part: (part, offset, total) => handler.copyPart(part, offset, total),
      },
      { streamedType: BACKEND.CopyData },
    )
    this.#silenceTimer = setInterval(() => this.#checkSilence(), SILENCE_CHECK_MS)
    this.#silenceTimer.unref()
    socket.on('data', (chunk: Buffer) => this.#take(chunk))
    socket.on('error', (error) => this.#end(connectionFailure(error, where)))
    // 'close' alone misses nothing: 'end' without it would be a half-open connection, and allowHalfOpen is off.
    socket.on('close', () => this.#end(this.#lost()))
  }

  get isOpen(): boolean {
    return !this.#ended
  }

  /** Bytes that the server has not taken yet are buffered by the socket; what we send is small. */
  send(message: Buffer): void {
    if (!this.#ended) this.#socket.write(message)
  }

  /** Stops reading: TCP then holds the server back. What was received already is still handed on. */
  pause(): void {
    this.#paused = true
    this.#socket.pause()
  }

  resume(): void {
    this.#paused = false
    this.#heard = true
    this.#socket.resume()
  }

  /** From now on the peer may not be silent for longer than this, pauses of ours not counted. */
  limitSilence(limitMs: number): void {
    this.#silenceLimitMs = limitMs
    this.#heard = true
  }

  /** Ends at once, and `ended` gets this reason. Does nothing when it has ended already. */
  destroy(failure: UnderstudyError): void {
    this.#end(failure)
  }

  /** Says goodbye and waits until the socket is closed, at most for `timeoutMs`. */
  async close(lastMessage: Buffer, timeoutMs: number): Promise<void> {
    if (!this.#ended) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, timeoutMs)
        this.#socket.once('close', () => {
          clearTimeout(timer)
          resolve()
        })
        this.#socket.resume()
        this.#socket.end(lastMessage)
      })
    }
    this.#end(this.#lost())
  }

  #take(chunk: Buffer): void {
    this.#heard = true
    if (this.#ended) return
    try {
      this.#reader.push(chunk)
    } catch (error) {
      // Also what a sink throws: its exchange is over, and the rest of the stream has no reader.
      this.#end(connectionFailure(error, this.#where))
    }
  }

  #checkSilence(): void {
    const now = performance.now()
    if (this.#heard || this.#paused) {
      this.#heard = false
      this.#silentSince = now
      return
    }
    const silentMs = now - this.#silentSince
    if (silentMs <= this.#silenceLimitMs) return
    const seconds = Math.round(silentMs / 1000)
    this.#end(new UnderstudyError('connect-failed', `${this.#where} has sent nothing for ${seconds} s`))
  }

  #lost(): UnderstudyError {
    const how = this.#reader.atBoundary ? 'closed the connection' : 'broke off in the middle of a message'
    return new UnderstudyError('connect-failed', `${this.#where} ${how}`)
  }

  #end(failure: UnderstudyError): void {
    if (this.#ended) return
    this.#ended = true
    this.#failure = failure
    clearInterval(this.#silenceTimer)
    this.#socket.destroy()
    this.#handler.ended(this.#failure)
  }
}
