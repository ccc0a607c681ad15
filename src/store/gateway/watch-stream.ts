/**
 * One connection of a watch: cuts it into frames, asks for a sign of life when it is quiet, and ends it when none comes.
 *
 * Silence is told from quiet by asking: a progress request on the same stream is answered at once by etcd and by the embedded store. For
 * that the request's body stays open, which Go's HTTP server allows on connections that will be closed ("Connection: close", seen with
 * etcd 3.4). What stands between may hold such a request back until its body ends; that is what `keepSending: false` is for: a complete
 * body, and then silence alone ends the stream.
 */
import type { OutgoingHttpHeaders } from 'node:http'
import { LineSplitter } from '../wire.ts'
import { readAnswer } from './answers.ts'
import type { Stream, Transport } from './transport.ts'

/** `ended`: over, but not by the endpoint's fault. */
export type Ending = 'failed' | 'ended' | 'token-refused'

export interface WatchStreamOptions {
  readonly transport: Transport
  readonly nowMs: () => number
  readonly endpoint: URL
  readonly token: string | null
  readonly keepSending: boolean
  readonly createRequest: string
  /** Time until the first frame. */
  readonly creationTimeoutMs: number
  readonly silenceMs: number
  readonly maxFrameLength: number
  /** Takes one frame, and says whether the stream goes on. */
  readonly onFrame: (line: string) => 'alive' | Ending
  /** Called once, when the connection is gone. */
  readonly onEnd: (ending: Ending) => void
}

const PROGRESS_REQUEST = '{"progress_request":{}}\n'

export class WatchStream {
  readonly #options: WatchStreamOptions
  readonly #lines: LineSplitter
  readonly #stream: Stream
  readonly #attention: NodeJS.Timeout
  readonly #creation: NodeJS.Timeout
  #status = 0
  #created = false
  #heardAtMs: number
  #ending: Ending = 'failed'

  constructor(options: WatchStreamOptions) {
    this.#options = options
    this.#lines = new LineSplitter(options.maxFrameLength)
    this.#heardAtMs = options.nowMs()
    this.#attention = setInterval(() => this.#attend(), options.silenceMs / 3)
    this.#creation = setTimeout(() => {
      if (!this.#created) this.close()
    }, options.creationTimeoutMs)
    const { endpoint, token, keepSending, createRequest } = options
    this.#stream = options.transport.stream(
      { endpoint, path: '/v3/watch', headers: headers(token), keepSending, firstMessage: createRequest },
      {
        onStatus: (status) => {
          this.#status = status
        },
        onText: (chunk) => this.#read(chunk),
        onEnd: () => this.#end(),
      },
    )
  }

  close(): void {
    this.#stream.close('closed')
  }

  #attend(): void {
    const { nowMs, silenceMs, keepSending } = this.#options
    const quietMs = nowMs() - this.#heardAtMs
    if (quietMs >= silenceMs) {
      // Without asking, quiet and silence look the same: no fault of the endpoint.
      if (this.#created && !keepSending) this.#ending = 'ended'
      this.close()
    } else if (this.#created && keepSending && quietMs >= silenceMs / 3) this.#stream.send(PROGRESS_REQUEST)
  }

  #read(chunk: string): void {
    this.#heardAtMs = this.#options.nowMs()
    const lines = this.#lines.push(chunk)
    const ending = lines === null ? 'failed' : this.#readFrames(lines)
    if (ending === 'alive') return
    this.#ending = ending
    this.close()
  }

  #readFrames(lines: readonly string[]): 'alive' | Ending {
    for (const line of lines) {
      const next = this.#options.onFrame(line)
      if (next !== 'alive') return next
      this.#created = true
    }
    return 'alive'
  }

  #end(): void {
    clearInterval(this.#attention)
    clearTimeout(this.#creation)
    // An answer that is no stream, an error for instance, need not end with a line end.
    const answer = this.#status === 200 ? null : readAnswer(this.#status, this.#lines.rest())
    this.#options.onEnd(answer?.kind === 'token-refused' ? 'token-refused' : this.#ending)
  }
}

/** Has-leader: a member that is cut off from the others says so and ends the stream, where it would be silent (seen with etcd 3.4). */
function headers(token: string | null): OutgoingHttpHeaders {
  const common = { connection: 'close', 'grpc-metadata-hasleader': 'true' }
  return token === null ? common : { ...common, authorization: token }
}
