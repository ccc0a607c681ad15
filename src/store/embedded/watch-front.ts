/**
 * The HTTP side of a watch: messages on the request's body, frames on the response, both open at once. Nothing is queued for a client that
 * reads slowly: its place in the history waits, and when the history has moved on past that place, the client is dropped. It comes
 * back, and is told of the gap.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { asObject, type JsonObject, LineSplitter, parseObject } from '../wire.ts'
import type { StateEvent } from './draft.ts'
import type { Engine } from './engine.ts'
import { header, isWithin, keyText, keyValue } from './execute.ts'
import { isFailure } from './failure.ts'
import type { StoreIdentity } from './recovery.ts'
import { readWatch, type WatchRequest } from './requests.ts'
import type { Watcher, WatchHub } from './watch-hub.ts'

export interface WatchFrontOptions {
  readonly engine: Engine
  readonly hub: WatchHub
  readonly identity: StoreIdentity
  /** Called when a watcher was dropped because it does not read. */
  readonly onDropped: () => void
}

const MAX_MESSAGE_LENGTH = 64 * 1024
const FIRST_MESSAGE_TIMEOUT_MS = 10_000

export function createWatchFront(
  options: WatchFrontOptions,
): (request: IncomingMessage, response: ServerResponse) => void {
  return (request, response) => {
    const connection = new WatchConnection(options, response)
    const lines = new LineSplitter(MAX_MESSAGE_LENGTH)
    request.setEncoding('utf8')
    request.on('data', (chunk: string) => {
      for (const line of lines.push(chunk) ?? ['too long']) connection.onMessage(line)
    })
    request.on('end', () => {
      const last = lines.rest()
      if (last.trim() !== '') connection.onMessage(last)
    })
  }
}

class WatchConnection implements Watcher {
  readonly #options: WatchFrontOptions
  readonly #response: ServerResponse
  readonly #patience: NodeJS.Timeout
  #request: WatchRequest | null = null
  /** The first revision that was not looked at yet. */
  #next = 0
  /** The client has to read before more is sent. */
  #full = false

  constructor(options: WatchFrontOptions, response: ServerResponse) {
    this.#options = options
    this.#response = response
    this.#patience = setTimeout(() => response.destroy(), FIRST_MESSAGE_TIMEOUT_MS)
    response.on('drain', () => {
      this.#full = false
      this.onPublished()
    })
    response.on('close', () => {
      clearTimeout(this.#patience)
      options.hub.remove(this)
    })
  }

  onMessage(line: string): void {
    if (this.#isOver()) return
    const message = parseObject(line)
    const creation = asObject(message?.['create_request'])
    if (creation !== null && this.#request === null) this.#create(creation)
    else if (asObject(message?.['progress_request']) !== null) this.#answerProgress()
    else this.#cancel({ cancel_reason: 'a message that this store does not know' })
  }

  onPublished(): void {
    const { engine } = this.#options
    if (this.#isOver()) return
    if (this.#next < engine.state.compactRevision) this.#fallBehind()
    while (!this.#full && this.#next <= engine.publishedRevision) {
      const commit = engine.state.commitAt(this.#next)
      this.#next++
      const events = commit?.events.filter(({ key }) => this.#isWatched(key)) ?? []
      if (commit !== null && events.length > 0) {
        this.#send({ header: this.#header(commit.revision), events: events.map(eventMessage) })
      }
    }
  }

  onProgress(): void {
    if (this.#request?.progressNotify === true && this.#hasCaughtUp()) this.#send({ header: this.#header() })
  }

  #create(creation: JsonObject): void {
    const { engine, hub } = this.#options
    clearTimeout(this.#patience)
    this.#response.writeHead(200, { 'content-type': 'application/json' })
    const request = readWatch(creation)
    if (isFailure(request)) {
      this.#cancel({ created: true, cancel_reason: request.message })
      return
    }
    this.#request = request
    this.#next = request.startRevision === 0 ? engine.publishedRevision + 1 : request.startRevision
    this.#send({ header: this.#header(), created: true })
    hub.add(this)
    this.onPublished()
  }

  /** Like etcd's: a frame that belongs to no watch (-1). Everything up to its revision was sent before on this connection. */
  #answerProgress(): void {
    if (this.#request !== null && this.#hasCaughtUp()) this.#send({ header: this.#header(), watch_id: '-1' })
  }

  /** What comes next is no longer in the history. */
  #fallBehind(): void {
    if (this.#full) {
      this.#options.onDropped()
      this.#response.destroy()
    } else this.#cancel({ compact_revision: String(this.#options.engine.state.compactRevision) })
  }

  #isWatched(key: string): boolean {
    return this.#request !== null && isWithin(key, this.#request.range)
  }

  #hasCaughtUp(): boolean {
    return !this.#isOver() && !this.#full && this.#next > this.#options.engine.publishedRevision
  }

  #isOver(): boolean {
    return this.#response.destroyed || this.#response.writableEnded
  }

  #header(revision = this.#options.engine.publishedRevision): JsonObject {
    return header(this.#options.identity, revision)
  }

  #send(result: JsonObject): void {
    this.#full = !this.#response.write(`${JSON.stringify({ result })}\n`)
  }

  #cancel(why: JsonObject): void {
    this.#send({ header: this.#header(), canceled: true, ...why })
    this.#response.end()
  }
}

function eventMessage(event: StateEvent): JsonObject {
  if (event.entry !== null) return { kv: keyValue(event.entry) }
  return { type: 'DELETE', kv: { key: keyText(event.key), mod_revision: String(event.modRevision) } }
}
