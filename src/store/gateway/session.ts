/**
 * One call on the store: a deadline over everything, attempts on the endpoints within it, authentication on the way. The rule that
 * everything else leans on: what may have reached a server and got no answer is repeated only when repeating it is harmless.
 */
import type { StoreResult } from '../../ports/store.ts'
import type { JsonObject } from '../wire.ts'
import { type Answer, nonsense, readAnswer } from './answers.ts'
import type { Authenticator, TokenResult } from './authenticator.ts'
import type { Endpoints } from './endpoints.ts'
import type { PostOutcome, Transport } from './transport.ts'

export interface Call<T> {
  readonly path: string
  readonly body: JsonObject
  readonly purpose: 'request' | 'lease'
  /**
   * `unanswered`: reads, and writes that change nothing when they happen twice (renewing, revoking): any endpoint, within the deadline.
   * `unsent`: every other write: another endpoint only while no connection was made.
   */
  readonly repeat: 'unanswered' | 'unsent'
  /** Null: the answer makes no sense, which counts as no answer. */
  readonly parse: (answer: JsonObject) => T | null
}

export interface Reply<T> {
  readonly value: T
  /** Monotonic instant before the attempt that was answered was sent. */
  readonly sentAtMs: number
}

export interface SessionParts {
  readonly endpoints: Endpoints
  readonly authenticator: Authenticator
  readonly transport: Transport
  readonly nowMs: () => number
  readonly requestTimeoutMs: number
}

/** What came of one attempt, and whether the call may be tried elsewhere. */
interface Attempt<T> {
  readonly result: StoreResult<Reply<T>>
  readonly repeatable: boolean
}

export class Session {
  readonly #parts: SessionParts
  #closed = false

  constructor(parts: SessionParts) {
    this.#parts = parts
  }

  get parts(): SessionParts {
    return this.#parts
  }

  /** Resolves within `requestTimeoutMs`. */
  async call<T>(call: Call<T>): Promise<StoreResult<Reply<T>>> {
    const { endpoints, nowMs, requestTimeoutMs } = this.#parts
    const deadlineMs = nowMs() + requestTimeoutMs
    // One more than there are endpoints: a kept connection may turn out to be dead, which says nothing about its server.
    const attempts = endpoints.size + 1
    let last: StoreResult<Reply<T>> = { kind: 'unavailable', reason: 'the client is closed' }
    for (let number = 1; number <= attempts && !this.#closed; number++) {
      const leftMs = deadlineMs - nowMs()
      if (leftMs < 1) break
      const endpoint = endpoints.current()
      // A sick member may use half of what is left, so that a healthy one still answers in time; the only one may use it all.
      const shareMs = endpoints.size === 1 || number === attempts ? leftMs : leftMs / 2
      const { result, repeatable } = await this.#attempt(endpoint, call, leftMs, shareMs)
      if (result.kind === 'ok' || !repeatable) {
        if (result.kind === 'unavailable') endpoints.leave(endpoint)
        return result
      }
      endpoints.leave(endpoint)
      last = result
    }
    return last
  }

  /** The token to send along; resolves within `timeoutMs`. */
  token(endpoint: URL, timeoutMs: number): Promise<TokenResult> {
    const { authenticator, requestTimeoutMs } = this.#parts
    if (authenticator.known !== null) return Promise.resolve(authenticator.known)
    const token = authenticator.renew((name, password) =>
      this.#login(endpoint, name, password, requestTimeoutMs),
    )
    return within(timeoutMs, token)
  }

  close(): void {
    this.#closed = true
    this.#parts.transport.close()
  }

  async #attempt<T>(endpoint: URL, call: Call<T>, leftMs: number, shareMs: number): Promise<Attempt<T>> {
    const { authenticator, nowMs } = this.#parts
    const startedAtMs = nowMs()
    for (let renewals = 0; ; renewals++) {
      const token = await this.token(endpoint, shareMs)
      // Nothing was sent yet, so a login that got no answer may be tried elsewhere; a password that is wrong is wrong everywhere.
      if (token.kind !== 'ok')
        return { result: located(endpoint, token), repeatable: token.kind === 'unavailable' }
      const usedMs = nowMs() - startedAtMs
      const timeoutMs = (call.repeat === 'unanswered' ? shareMs : leftMs) - usedMs
      const sentAtMs = nowMs()
      const outcome = await this.#post(endpoint, call, token.token, timeoutMs, shareMs - usedMs)
      if (outcome.kind === 'failed') {
        const repeatable = !outcome.sent || call.repeat === 'unanswered'
        return { result: { kind: 'unavailable', reason: `${endpoint.host}: ${outcome.reason}` }, repeatable }
      }
      const answer = understand(outcome.status, outcome.text, call.parse)
      if (answer.kind === 'ok') {
        return { result: { kind: 'ok', value: { value: answer.value, sentAtMs } }, repeatable: false }
      }
      // A refused token is a definite no before anything was done, so the same request, even a write, may be sent again.
      if (answer.kind === 'token-refused' && authenticator.canRenew && renewals === 0) {
        authenticator.discard(token.token)
      } else return { result: located(endpoint, answer), repeatable: isRepeatable(answer, call.repeat) }
    }
  }

  #post(
    endpoint: URL,
    call: Pick<Call<unknown>, 'path' | 'body' | 'purpose'>,
    token: string | null,
    timeoutMs: number,
    connectTimeoutMs: number,
  ): Promise<PostOutcome> {
    return this.#parts.transport.post({
      endpoint,
      purpose: call.purpose,
      path: call.path,
      body: JSON.stringify(call.body),
      headers: token === null ? {} : { authorization: token },
      timeoutMs: Math.max(1, timeoutMs),
      connectTimeoutMs: Math.max(1, connectTimeoutMs),
    })
  }

  async #login(endpoint: URL, name: string, password: string, timeoutMs: number): Promise<Answer> {
    const call = { path: '/v3/auth/authenticate', body: { name, password }, purpose: 'request' } as const
    const outcome = await this.#post(endpoint, call, null, timeoutMs, timeoutMs)
    if (outcome.kind === 'failed') return { kind: 'unavailable', reason: outcome.reason }
    return readAnswer(outcome.status, outcome.text)
  }
}

type Failure = Exclude<Answer, { kind: 'ok' }>

function understand<T>(
  status: number,
  text: string,
  parse: (answer: JsonObject) => T | null,
): Failure | { readonly kind: 'ok'; readonly value: T } {
  const answer = readAnswer(status, text)
  if (answer.kind !== 'ok') return answer
  const value = parse(answer.value)
  return value === null ? nonsense('fields that do not fit') : { kind: 'ok', value }
}

/** An address without gateway did nothing, so another may be asked; refused credentials are the same everywhere. */
function isRepeatable(answer: Failure, repeat: Call<unknown>['repeat']): boolean {
  if (answer.kind === 'unavailable') return repeat === 'unanswered'
  return answer.kind === 'refused' && answer.code === 'store-gateway'
}

function located(endpoint: URL, answer: Failure): StoreResult<never> {
  const reason = `${endpoint.host}: ${answer.reason}`
  if (answer.kind === 'unavailable') return { kind: 'unavailable', reason }
  return { kind: 'refused', code: answer.kind === 'refused' ? answer.code : 'store-auth', reason }
}

function within(timeoutMs: number, token: Promise<TokenResult>): Promise<TokenResult> {
  return new Promise((resolve) => {
    const reason = `no login within ${Math.round(timeoutMs)} ms`
    const timer = setTimeout(() => resolve({ kind: 'unavailable', reason }), timeoutMs)
    void token.then((result) => {
      clearTimeout(timer)
      resolve(result)
    })
  })
}
