/**
 * What an answer of the gateway means. etcd sends a gRPC code and a sentence in JSON, with an HTTP status derived from the code; anything
 * else comes from something that is not etcd's gateway. The sentences are those of etcd 3.4-3.6 (etcdserver/api/v3rpc/rpctypes).
 */
import type { ErrorCode } from '../../errors/codes.ts'
import { asObject, type JsonObject, parseObject } from '../wire.ts'

export type Answer =
  | { readonly kind: 'ok'; readonly value: JsonObject }
  | { readonly kind: 'unavailable'; readonly reason: string }
  | { readonly kind: 'refused'; readonly code: ErrorCode; readonly reason: string }
  /** The token is unknown, out of date or missing; nothing was done. A new one may cure it. */
  | { readonly kind: 'token-refused'; readonly reason: string }

// gRPC's status codes (grpc/status/code.proto), as far as etcd uses them to say that something was definitely not done.
const INVALID_ARGUMENT = 3
const NOT_FOUND = 5
const PERMISSION_DENIED = 7
const FAILED_PRECONDITION = 9
const OUT_OF_RANGE = 11
const UNIMPLEMENTED = 12
const UNAUTHENTICATED = 16

/** The answer to a single request. A stream's frame (lease renewal) comes as `{"result": …}` and is unwrapped. */
export function readAnswer(status: number, text: string): Answer {
  const body = parseObject(text)
  const error = body === null ? null : readError(body)
  if (error !== null) return meaning(error.grpcCode, error.message)
  if (status === 200) return readBody(body)
  if (status === 401 || status === 403) return refused('store-auth', `HTTP status ${status}`)
  // etcd answers 404 in plain text where its gateway is switched off; an unknown lease is a 404 with a gRPC code, above.
  if (status === 404) return refused('store-gateway', 'no /v3 API at this address (HTTP status 404)')
  return nonsense(`HTTP status ${status}`)
}

function readBody(body: JsonObject | null): Answer {
  if (body === null) return nonsense('no JSON object')
  if (body['result'] === undefined) return { kind: 'ok', value: body }
  const result = asObject(body['result'])
  return result === null ? nonsense('a frame without result') : { kind: 'ok', value: result }
}

export interface GatewayError {
  readonly grpcCode: number
  readonly message: string
}

/** The error in an answer or in a stream's frame: two shapes, `{error: text, code}` and `{error: {grpc_code, message}}`. */
export function readError(body: JsonObject): GatewayError | null {
  const nested = asObject(body['error'])
  const source = nested ?? body
  const grpcCode = nested === null ? source['code'] : (source['grpc_code'] ?? source['code'])
  const message = source['message'] ?? source['error']
  if (typeof grpcCode !== 'number' || typeof message !== 'string') return null
  return { grpcCode, message }
}

/** Sentences that mean the token, whatever their code; etcd sends most of them as "invalid argument". */
const TOKEN_SENTENCES = ['invalid auth token', 'auth store is old revision', 'user name is empty']
const AUTH_SENTENCES = ['authentication failed', 'permission denied', 'user name not found']

export function meaning(grpcCode: number, message: string): Answer {
  if (TOKEN_SENTENCES.some((sentence) => message.includes(sentence))) {
    return { kind: 'token-refused', reason: message }
  }
  if (grpcCode === UNAUTHENTICATED || grpcCode === PERMISSION_DENIED) return refused('store-auth', message)
  if (AUTH_SENTENCES.some((sentence) => message.includes(sentence))) return refused('store-auth', message)
  switch (grpcCode) {
    case NOT_FOUND:
      return refused(message.includes('lease') ? 'lease-lost' : 'internal', message)
    case INVALID_ARGUMENT:
    case FAILED_PRECONDITION:
    case OUT_OF_RANGE:
    case UNIMPLEMENTED:
      return refused('internal', message)
    default:
      return { kind: 'unavailable', reason: message }
  }
}

function refused(code: ErrorCode, reason: string): Answer {
  return { kind: 'refused', code, reason }
}

export function nonsense(what: string): { readonly kind: 'unavailable'; readonly reason: string } {
  return { kind: 'unavailable', reason: `an answer that is not etcd's: ${what}` }
}
