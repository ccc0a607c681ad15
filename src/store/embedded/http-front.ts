/**
 * The HTTP side of the store: who may ask, how large, how long, and how answers look. Nothing here knows what a key is.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import * as http from 'node:http'
import { type JsonObject, parseObject } from '../wire.ts'
import type { Api } from './api.ts'
import { type Failure, failure, GRPC, isFailure } from './failure.ts'

export interface FrontOptions {
  readonly token: string
  readonly maxRequestBytes: number
  readonly api: ReadonlyMap<string, Api>
  readonly watch: (request: http.IncomingMessage, response: http.ServerResponse) => void
  /** For /health, which needs no token. */
  readonly healthy: () => boolean
}

const HEADERS_TIMEOUT_MS = 10_000
const BODY_TIMEOUT_MS = 10_000
/** Longer than a client's pause between requests, so that it does not find its connection closed just as it sends (Node's default is 5 s). */
const IDLE_CONNECTION_MS = 120_000
const MAX_CONNECTIONS = 1_000

/** A server that does not listen yet. */
export function createFront(options: FrontOptions): http.Server {
  const isTokenRight = tokenCheck(options.token)
  const server = http.createServer((request, response) => {
    // A client that goes away in the middle is everyday, and its error has no other place to go.
    request.on('error', () => {})
    response.on('error', () => {})
    void handle(options, isTokenRight, request, response)
  })
  server.headersTimeout = HEADERS_TIMEOUT_MS
  // A watch keeps its request open for as long as it lives; the bodies of other requests are timed by readBody.
  server.requestTimeout = 0
  server.keepAliveTimeout = IDLE_CONNECTION_MS
  server.maxConnections = MAX_CONNECTIONS
  return server
}

async function handle(
  options: FrontOptions,
  isTokenRight: (header: string | undefined) => boolean,
  request: http.IncomingMessage,
  response: http.ServerResponse,
): Promise<void> {
  const path = request.url?.split('?')[0] ?? ''
  if (path === '/health') {
    const healthy = options.healthy()
    return send(response, healthy ? 200 : 503, { health: String(healthy) })
  }
  if (!isTokenRight(request.headers.authorization)) {
    return sendFailure(response, failure(GRPC.unauthenticated, 'etcdserver: invalid auth token'))
  }
  if (request.method !== 'POST') return send(response, 405, { error: 'Method Not Allowed' })
  if (path === '/v3/watch') return options.watch(request, response)
  const api = options.api.get(path)
  if (api === undefined) return send(response, 404, { error: 'Not Found' })
  const text = await readBody(request, options.maxRequestBytes)
  if (text === null) return
  if (isFailure(text)) return sendFailure(response, text)
  const body = text.trim() === '' ? {} : parseObject(text)
  if (body === null) return sendFailure(response, failure(GRPC.invalidArgument, 'the body is no JSON object'))
  const answer = await api.answer(body, Buffer.byteLength(text))
  if (isFailure(answer)) sendFailure(response, answer)
  else if (api.framed) send(response, 200, { result: answer }, '\n')
  else send(response, 200, answer)
}

/** Comparing digests takes the same time however much of a guess is right, and hides the length too. */
function tokenCheck(token: string): (header: string | undefined) => boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
  const expected = digest(token)
  return (header) => timingSafeEqual(digest(header ?? ''), expected)
}

/** The body, a failure to answer with, or null when the client went away in the middle: then nothing was asked. */
function readBody(request: http.IncomingMessage, maxBytes: number): Promise<string | Failure | null> {
  return new Promise((resolve) => {
    const parts: Buffer[] = []
    let size = 0
    const timer = setTimeout(
      () => finish(failure(GRPC.unavailable, 'the body took too long')),
      BODY_TIMEOUT_MS,
    )
    const finish = (result: string | Failure | null): void => {
      clearTimeout(timer)
      resolve(result)
    }
    request.on('data', (chunk: Buffer) => {
      size += chunk.length
      if (size <= maxBytes) parts.push(chunk)
      else finish(failure(GRPC.invalidArgument, 'etcdserver: request is too large'))
    })
    request.on('end', () => finish(Buffer.concat(parts).toString('utf8')))
    request.on('close', () => finish(null))
  })
}

const HTTP_STATUS: Readonly<Record<Failure['grpcCode'], number>> = {
  [GRPC.invalidArgument]: 400,
  [GRPC.notFound]: 404,
  [GRPC.resourceExhausted]: 429,
  [GRPC.failedPrecondition]: 412,
  [GRPC.outOfRange]: 400,
  [GRPC.unimplemented]: 501,
  [GRPC.unavailable]: 503,
  [GRPC.unauthenticated]: 401,
}

export function sendFailure(response: http.ServerResponse, refused: Failure): void {
  // What is left of a body that was not read must not be taken for the next request.
  if (!response.req.complete) response.setHeader('connection', 'close')
  const { message, grpcCode } = refused
  send(response, HTTP_STATUS[grpcCode], { error: message, message, code: grpcCode })
}

function send(response: http.ServerResponse, status: number, body: JsonObject, end = ''): void {
  if (response.destroyed) return
  const text = JSON.stringify(body) + end
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
  })
  response.end(text)
}
