/**
 * HTTP requests and streams with hard deadlines, over sockets kept apart by purpose: a watch or a burst of reads must never stand in
 * front of a lease renewal (etcd#15402). Failure is a value, and says whether a byte of the request can have reached the server.
 */
import * as http from 'node:http'
import * as https from 'node:https'
import * as tls from 'node:tls'
import { UnderstudyError } from '../../errors/codes.ts'

export type Purpose = 'request' | 'lease' | 'watch'

export interface TransportTls {
  readonly ca?: string
  readonly cert?: string
  readonly key?: string
  readonly servername?: string
}

export interface PostRequest {
  readonly endpoint: URL
  readonly purpose: Purpose
  readonly path: string
  readonly body: string
  readonly headers: http.OutgoingHttpHeaders
  readonly timeoutMs: number
  /** Time within `timeoutMs` after which a connection that is still not made is given up, so that another endpoint gets its turn. */
  readonly connectTimeoutMs: number
}

export type PostOutcome =
  | { readonly kind: 'answer'; readonly status: number; readonly text: string }
  /** `sent` false: the connection was never made, so the server cannot have seen the request. */
  | { readonly kind: 'failed'; readonly reason: string; readonly sent: boolean }

export interface StreamRequest {
  readonly endpoint: URL
  readonly path: string
  readonly headers: http.OutgoingHttpHeaders
  /** True: the body stays open for further messages; false: the first message is the whole body. */
  readonly keepSending: boolean
  readonly firstMessage: string
}

export interface StreamHandlers {
  onStatus(status: number): void
  onText(chunk: string): void
  /** Called exactly once, also after `close()`. */
  onEnd(reason: string): void
}

export interface Stream {
  send(message: string): void
  close(reason: string): void
}

export class Transport {
  readonly #agents: Record<'http:' | 'https:', Record<Purpose, http.Agent>>
  readonly #maxAnswerLength: number
  /** What is under way, each as the function that ends it. */
  readonly #open = new Set<(reason: string) => void>()
  #closed = false

  /** Throws 'tls-failed' when the certificates cannot be used: found here, and not as an exception in the middle of a request. */
  constructor(options: { readonly tls: TransportTls | undefined; readonly maxAnswerLength: number }) {
    const secure = secureOptions(options.tls ?? {})
    this.#maxAnswerLength = options.maxAnswerLength
    this.#agents = {
      'http:': {
        request: new http.Agent({ keepAlive: true, maxSockets: 16 }),
        lease: new http.Agent({ keepAlive: true, maxSockets: 4 }),
        watch: new http.Agent({ keepAlive: false }),
      },
      'https:': {
        request: new https.Agent({ ...secure, keepAlive: true, maxSockets: 16 }),
        lease: new https.Agent({ ...secure, keepAlive: true, maxSockets: 4 }),
        watch: new https.Agent({ ...secure, keepAlive: false }),
      },
    }
  }

  /** Resolves within `timeoutMs`, whatever the server does. */
  post(request: PostRequest): Promise<PostOutcome> {
    if (this.#closed) return Promise.resolve({ kind: 'failed', reason: 'the client is closed', sent: false })
    return new Promise((resolve) => {
      const outgoing = this.#start(request, request.purpose, Buffer.byteLength(request.body))
      const sending = trackSending(outgoing)
      const settle = (outcome: PostOutcome): void => {
        if (!this.#open.delete(fail)) return
        clearTimeout(deadline)
        clearTimeout(connectDeadline)
        if (outcome.kind === 'failed') {
          // A request without an answer takes its socket with it: whatever comes later on it belongs to nobody.
          outgoing.destroy()
          dropIdle(this.#agent(request.endpoint, request.purpose))
        }
        resolve(outcome)
      }
      const fail = (reason: string): void => settle({ kind: 'failed', reason, sent: sending.begun })
      const deadline = setTimeout(() => fail(`no answer within ${ms(request.timeoutMs)}`), request.timeoutMs)
      const connectDeadline = setTimeout(() => {
        if (!sending.begun) fail(`no connection within ${ms(request.connectTimeoutMs)}`)
      }, request.connectTimeoutMs)
      this.#open.add(fail)
      outgoing.on('error', (error) => fail(describe(error)))
      outgoing.on('close', () => fail('the connection was closed without an answer'))
      outgoing.on('response', (incoming) => {
        collect(incoming, this.#maxAnswerLength, fail, (text) => {
          settle({ kind: 'answer', status: incoming.statusCode ?? 0, text })
        })
      })
      outgoing.end(request.body)
    })
  }

  /** Opens a stream that lives until either side ends it; the caller keeps time. */
  stream(request: StreamRequest, handlers: StreamHandlers): Stream {
    const outgoing = this.#start(
      request,
      'watch',
      request.keepSending ? null : Buffer.byteLength(request.firstMessage),
    )
    const close = (reason: string): void => {
      if (!this.#open.delete(close)) return
      outgoing.destroy()
      handlers.onEnd(reason)
    }
    this.#open.add(close)
    outgoing.on('error', (error) => close(describe(error)))
    outgoing.on('close', () => close('the connection was closed'))
    outgoing.on('response', (incoming) => {
      incoming.setEncoding('utf8')
      handlers.onStatus(incoming.statusCode ?? 0)
      incoming.on('data', (chunk: string) => {
        if (this.#open.has(close)) handlers.onText(chunk)
      })
      incoming.on('end', () => close('the server ended the stream'))
      incoming.on('error', (error) => close(describe(error)))
    })
    if (request.keepSending) outgoing.write(request.firstMessage)
    else outgoing.end(request.firstMessage)
    if (this.#closed) queueMicrotask(() => close('the client is closed'))
    return { send: (message) => void outgoing.write(message), close }
  }

  close(): void {
    this.#closed = true
    for (const end of [...this.#open]) end('the client is closed')
    for (const purposes of Object.values(this.#agents)) {
      for (const agent of Object.values(purposes)) agent.destroy()
    }
  }

  #start(
    request: { readonly endpoint: URL; readonly path: string; readonly headers: http.OutgoingHttpHeaders },
    purpose: Purpose,
    contentLength: number | null,
  ): http.ClientRequest {
    const headers: http.OutgoingHttpHeaders = { 'content-type': 'application/json', ...request.headers }
    if (contentLength !== null) headers['content-length'] = contentLength
    const agent = this.#agent(request.endpoint, purpose)
    const options = { method: 'POST', path: request.path, headers, agent }
    return agent instanceof https.Agent
      ? https.request(request.endpoint, options)
      : http.request(request.endpoint, options)
  }

  #agent(endpoint: URL, purpose: Purpose): http.Agent {
    return this.#agents[endpoint.protocol === 'https:' ? 'https:' : 'http:'][purpose]
  }
}

function secureOptions(given: TransportTls): https.AgentOptions {
  const { servername, ...certificates } = given
  try {
    const secureContext = tls.createSecureContext({ ...certificates, minVersion: 'TLSv1.2' })
    return servername === undefined ? { secureContext } : { secureContext, servername }
  } catch (error) {
    throw new UnderstudyError('tls-failed', 'the certificate, key or CA for the store cannot be used', {
      cause: error,
    })
  }
}

/** What broke one connection has mostly broken the idle ones beside it; the next request shall not have to find that out for each. */
function dropIdle(agent: http.Agent): void {
  for (const socket of Object.values(agent.freeSockets).flat()) socket?.destroy()
}

/** `begun` once bytes of the request may be on their way: from the connection being made, or at once on a kept one. */
function trackSending(outgoing: http.ClientRequest): { readonly begun: boolean } {
  const sending = { begun: false }
  outgoing.once('socket', (socket) => {
    const begin = (): void => {
      sending.begun = true
    }
    if (outgoing.reusedSocket || !socket.connecting) begin()
    else socket.once('encrypted' in socket ? 'secureConnect' : 'connect', begin)
  })
  return sending
}

function collect(
  incoming: http.IncomingMessage,
  maxLength: number,
  fail: (reason: string) => void,
  done: (text: string) => void,
): void {
  const parts: string[] = []
  let length = 0
  incoming.setEncoding('utf8')
  incoming.on('data', (chunk: string) => {
    length += chunk.length
    if (length > maxLength) fail(`an answer larger than ${maxLength} characters`)
    else parts.push(chunk)
  })
  incoming.on('error', (error) => fail(describe(error)))
  incoming.on('end', () => done(parts.join('')))
}

function describe(error: Error): string {
  const code = 'code' in error && typeof error.code === 'string' ? error.code : ''
  return error.message || code || error.name
}

function ms(duration: number): string {
  return `${Math.round(duration)} ms`
}
