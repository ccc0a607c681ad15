/**
 * The token that goes with each request: none, a fixed one, or one fetched with name and password and fetched again when etcd forgets
 * it (simple tokens live 300 s and die with a restart).
 */
import { isToken } from '../wire.ts'
import type { Answer } from './answers.ts'

export type Credentials =
  | 'none'
  | { readonly token: string }
  | { readonly username: string; readonly password: string }

export type TokenResult =
  | { readonly kind: 'ok'; readonly token: string | null }
  | Exclude<Answer, { kind: 'ok' }>

/** Asks one endpoint for a token (POST /v3/auth/authenticate). */
export type Login = (username: string, password: string) => Promise<Answer>

export class Authenticator {
  readonly #credentials: Credentials
  #token: string | null = null
  #known: boolean
  /** Many requests find the token dead at the same moment, and etcd takes 0.1 s of CPU for each password check: one asks for all. */
  #pending: Promise<TokenResult> | null = null

  constructor(credentials: Credentials) {
    this.#credentials = credentials
    this.#known = credentials === 'none' || 'token' in credentials
    if (credentials !== 'none' && 'token' in credentials) this.#token = credentials.token
  }

  /** Whether a token that was refused can be replaced by a new one. */
  get canRenew(): boolean {
    return this.#credentials !== 'none' && 'username' in this.#credentials
  }

  /** The token in use (null when requests go without), or null when one has to be fetched first. */
  get known(): TokenResult | null {
    return this.#known ? { kind: 'ok', token: this.#token } : null
  }

  renew(login: Login): Promise<TokenResult> {
    this.#pending ??= this.#login(login).finally(() => {
      this.#pending = null
    })
    return this.#pending
  }

  /** Forgets a token that was refused, unless it was replaced in the meantime. */
  discard(refused: string | null): void {
    if (this.canRenew && this.#token === refused) this.#known = false
  }

  async #login(login: Login): Promise<TokenResult> {
    const credentials = this.#credentials
    if (credentials === 'none' || 'token' in credentials) return { kind: 'ok', token: this.#token }
    const answer = await login(credentials.username, credentials.password)
    // Before an operator has switched etcd's authentication on, a password is no error: the agents get theirs first.
    const off = answer.kind === 'refused' && answer.reason.includes('authentication is not enabled')
    if (answer.kind !== 'ok' && !off) return answer
    const token = answer.kind === 'ok' ? answer.value['token'] : null
    if (token !== null && !isToken(token)) {
      return { kind: 'unavailable', reason: 'a login answered without a token' }
    }
    this.#token = token
    this.#known = true
    return { kind: 'ok', token }
  }
}
