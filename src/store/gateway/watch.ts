/** A watch that keeps itself alive: it resumes behind the last event that it delivered, on whichever endpoint answers. */
import type { WatchListener } from '../../ports/store.ts'
import { asObject, type JsonObject, parseInt64, parseObject } from '../wire.ts'
import { type GatewayError, meaning, readError } from './answers.ts'
import { parseEvents, parseRevision, rangeOfPrefix } from './messages.ts'
import type { Session } from './session.ts'
import { type Ending, WatchStream } from './watch-stream.ts'

export interface WatchOptions {
  readonly session: Session
  readonly prefix: string
  /** 0: from now on. */
  readonly fromRevision: bigint
  readonly listener: WatchListener
  readonly random: () => number
  /** Silence in spite of asking that ends a connection. */
  readonly silenceMs: number
  readonly maxFrameLength: number
}

const FIRST_PAUSE_MS = 50
const LONGEST_PAUSE_MS = 5_000

export class Watch {
  readonly #options: WatchOptions
  /** The first revision that was not delivered yet. */
  #nextRevision: bigint
  /** Streams in a row that did not last. */
  #failures = 0
  /** Whether the stream under way has delivered a frame. */
  #begun = false
  #stopped = false
  #interrupt: () => void = () => {}

  constructor(options: WatchOptions) {
    this.#options = options
    this.#nextRevision = options.fromRevision
  }

  /** Ends when `stop` was called. */
  async run(): Promise<void> {
    const { endpoints, nowMs } = this.#options.session.parts
    while (!this.#stopped) {
      const endpoint = endpoints.current()
      const startedAtMs = nowMs()
      const healthy = await this.#connect(endpoint)
      if (this.#stopped) return
      if (!healthy) endpoints.leave(endpoint)
      const lasted = this.#begun && nowMs() - startedAtMs >= this.#options.silenceMs
      this.#failures = lasted ? 0 : this.#failures + 1
      await this.#pause()
    }
  }

  stop(): void {
    this.#stopped = true
    this.#interrupt()
  }

  /** Runs one stream to its end; false when the endpoint is not to be trusted with the next one. */
  async #connect(endpoint: URL): Promise<boolean> {
    const { session } = this.#options
    const { authenticator, requestTimeoutMs } = session.parts
    const token = await session.token(endpoint, requestTimeoutMs)
    if (token.kind !== 'ok' || this.#stopped) return token.kind !== 'unavailable'
    const ending = await this.#stream(endpoint, token.token)
    if (ending === 'token-refused') authenticator.discard(token.token)
    return ending !== 'failed'
  }

  #stream(endpoint: URL, token: string | null): Promise<Ending> {
    this.#begun = false
    return new Promise((resolve) => {
      const { session, silenceMs, maxFrameLength } = this.#options
      const { nowMs, requestTimeoutMs, transport } = session.parts
      const stream = new WatchStream({
        transport,
        nowMs,
        endpoint,
        token,
        // After a stream that failed at once, the other way of asking has its turn: see watch-stream.ts.
        keepSending: this.#failures % 2 === 0,
        createRequest: this.#createRequest(),
        creationTimeoutMs: requestTimeoutMs,
        silenceMs,
        maxFrameLength,
        onFrame: (line) => this.#frame(line),
        onEnd: resolve,
      })
      this.#interrupt = () => stream.close()
    })
  }

  /** One frame: delivers its events, and says whether the stream goes on. */
  #frame(line: string): 'alive' | Ending {
    const frame = parseObject(line)
    const error = frame === null ? null : readError(frame)
    if (error !== null) return endingOf(error)
    const result = frame === null ? null : asObject(frame['result'])
    if (result === null) return 'failed'
    if (result['canceled'] === true) return this.#canceled(result)
    const revision = parseRevision(result)
    const events = parseEvents(result['events'])
    if (revision === null || events === null) return 'failed'
    this.#begun = true
    if (result['created'] === true) this.#created(revision)
    const last = events.at(-1)
    if (last === undefined) return 'alive'
    // Not the header's revision: while a watch catches up, that one is ahead of the events that are still to come.
    if (last.modRevision >= this.#nextRevision) this.#nextRevision = last.modRevision + 1n
    this.#options.listener.onEvents(events, last.modRevision)
    return 'alive'
  }

  /** A store that is behind what was already delivered was restored from a copy, or is another one: its watch would be silent for long. */
  #created(storeRevision: bigint): void {
    // From 0 means from now on: what `now` was must be known when the stream has to be resumed.
    if (this.#nextRevision === 0n) this.#nextRevision = storeRevision + 1n
    if (storeRevision + 1n >= this.#nextRevision) return
    const reason = `the store is at revision ${storeRevision}, behind ${this.#nextRevision - 1n} that was already seen`
    this.#nextRevision = storeRevision + 1n
    this.#options.listener.onGap(reason)
  }

  #canceled(result: JsonObject): Ending {
    const compacted = parseInt64(result['compact_revision']) ?? 0n
    if (compacted > 0n) {
      const from = this.#nextRevision
      this.#nextRevision = compacted + 1n
      this.#options.listener.onGap(`events from revision ${from} on were compacted away, up to ${compacted}`)
      return 'ended'
    }
    const reason = result['cancel_reason']
    const sentence = typeof reason === 'string' ? reason : ''
    return endingOf({ grpcCode: 0, message: sentence })
  }

  #createRequest(): string {
    const { prefix } = this.#options
    const request = {
      ...rangeOfPrefix(prefix),
      start_revision: String(this.#nextRevision),
      progress_notify: true,
    }
    return `${JSON.stringify({ create_request: request })}\n`
  }

  /** Jittered, so that the agents of a cluster do not all come back to a restarted store in the same millisecond. */
  #pause(): Promise<void> {
    const base = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(this.#failures, 10))
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, base * (0.5 + this.#options.random()))
      this.#interrupt = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }
}

function endingOf(error: GatewayError): Ending {
  return meaning(error.grpcCode, error.message).kind === 'token-refused' ? 'token-refused' : 'failed'
}
