/** The HTTP side of a watch: messages on the request's body, frames on the response, both open at once. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { asObject, type JsonObject, LineSplitter, parseObject } from '../wire.ts'
import type { Engine } from './engine.ts'
import { header } from './execute.ts'
import { isFailure } from './failure.ts'
import type { StoreIdentity } from './recovery.ts'
import { readWatch } from './requests.ts'
import type { Watcher, WatchHub } from './watch-hub.ts'

export interface WatchFrontOptions {
  readonly engine: Engine
  readonly hub: WatchHub
  readonly identity: StoreIdentity
  /** What may wait for a client that does not read; more, and it is dropped: it can come back and resume. */
  readonly maxBufferedBytes: number
  /** Called when a watcher was dropped. */
  readonly onDropped: (bufferedBytes: number) => void
}

const MAX_MESSAGE_LENGTH = 64 * 1024
const FIRST_MESSAGE_TIMEOUT_MS = 10_000

export function createWatchFront(
  options: WatchFrontOptions,
): (request: IncomingMessage, response: ServerResponse) => void {
  return (request, response) => new WatchConnection(options, request, response)
}

class WatchConnection {
  readonly #options: WatchFrontOptions
  readonly #response: ServerResponse
  readonly #lines = new LineSplitter(MAX_MESSAGE_LENGTH)
  readonly #patience: NodeJS.Timeout
  #watcher: Watcher | null = null

  constructor(options: WatchFrontOptions, request: IncomingMessage, response: ServerResponse) {
    this.#options = options
    this.#response = response
    this.#patience = setTimeout(() => response.destroy(), FIRST_MESSAGE_TIMEOUT_MS)
    request.setEncoding('utf8')
    request.on('data', (chunk: string) => {
      for (const line of this.#lines.push(chunk) ?? ['too long']) this.#message(line)
    })
    request.on('end', () => {
      const last = this.#lines.rest()
      if (last.trim() !== '') this.#message(last)
    })
    response.on('close', () => this.#forget())
  }

  #message(line: string): void {
    if (this.#response.writableEnded || this.#response.destroyed) return
    const message = parseObject(line)
    const creation = asObject(message?.['create_request'])
    if (creation !== null && this.#watcher === null) this.#create(creation)
    else if (asObject(message?.['progress_request']) !== null) this.#progress()
    else this.#end({ canceled: true, cancel_reason: 'a message that this store does not know' })
  }

  #create(creation: JsonObject): void {
    const { engine, hub } = this.#options
    clearTimeout(this.#patience)
    this.#response.writeHead(200, { 'content-type': 'application/json' })
    const request = readWatch(creation)
    if (isFailure(request)) {
      this.#end({ created: true, canceled: true, cancel_reason: request.message })
      return
    }
    const { startRevision } = request
    const { compactRevision } = engine.state
    if (startRevision !== 0 && startRevision < compactRevision) {
      this.#send({ header: this.#header(), created: true })
      this.#end({ canceled: true, compact_revision: String(compactRevision) })
      return
    }
    const published = engine.publishedRevision
    const from = startRevision === 0 ? published + 1 : startRevision
    const missed = engine.state.commitsFrom(from).filter(({ revision }) => revision <= published)
    this.#watcher = { request, send: (result) => this.#send(result) }
    hub.add(this.#watcher, missed, published)
  }

  /** Like etcd's: a frame that belongs to no watch (-1). Everything up to its revision was sent before on this connection. */
  #progress(): void {
    if (this.#watcher !== null) this.#send({ header: this.#header(), watch_id: '-1' })
  }

  #header(): JsonObject {
    return header(this.#options.identity, this.#options.engine.publishedRevision)
  }

  #send(result: JsonObject): boolean {
    const response = this.#response
    if (response.destroyed || response.writableEnded) return false
    response.write(`${JSON.stringify({ result })}\n`)
    const buffered = response.writableLength
    if (buffered <= this.#options.maxBufferedBytes) return true
    this.#options.onDropped(buffered)
    response.destroy()
    return false
  }

  #end(result: JsonObject): void {
    this.#send({ header: this.#header(), ...result })
    if (!this.#response.writableEnded) this.#response.end()
  }

  #forget(): void {
    clearTimeout(this.#patience)
    if (this.#watcher !== null) this.#options.hub.remove(this.#watcher)
    this.#watcher = null
  }
}
