/**
 * From a new connection to a session: encryption, the start-up packet, SCRAM against the verifier that the servers themselves store, and
 * the greeting (manual: "Start-up", "SASL Authentication"). Everything here is from somebody unknown until the proof.
 */
import type { Socket } from 'node:net'
import { type SecureContext, TLSSocket } from 'node:tls'
import type { Logins } from '../ports/proxy.ts'
import {
  authenticationOk,
  authenticationSasl,
  authenticationSaslContinue,
  authenticationSaslFinal,
  backendKeyData,
  type ErrorText,
  errorResponse,
  negotiateProtocolVersion,
  parameterStatus,
  readyForQuery,
} from '../protocol/backend-builders.ts'
import { FRONTEND } from '../protocol/message-types.ts'
import { SCRAM_SHA_256, ScramFailure, type ScramLoginKeys } from '../protocol/scram.ts'
import {
  MAX_SASL_MESSAGE_BYTES,
  mockScramVerifier,
  parseScramVerifier,
  readSaslInitialResponse,
  ScramServer,
  type ScramVerifier,
} from '../protocol/scram-server.ts'
import {
  NEWEST_MINOR_VERSION,
  readStartupPacket,
  type Startup,
  type StartupPacket,
} from '../protocol/startup-packet.ts'
import { ProtocolViolation } from '../protocol/violation.ts'
import type { Target } from './classify/verdict.ts'
import { CLIENT_ERRORS } from './client-errors.ts'
import { ClientGone, LoginInput, type Take } from './login-input.ts'
import type { Parameters } from './parameters.ts'
import type { PoolKey } from './pool.ts'
import { type AskedReads, askedReads } from './reads/asked-reads.ts'
import type { ReadDefaults } from './settings.ts'
import { readStartup, sessionParameters, startupFor } from './startup.ts'

export interface LoginContext {
  readonly logins: Logins
  readonly secureContext: () => SecureContext | null
  readonly clientTls: 'allow' | 'require'
  readonly reads: Pick<ReadDefaults, 'level'>
  /** Of the salts of roles that do not exist, which must not change from one process to the next. */
  readonly mockSecret: Buffer
  /** The greeting's parameters; or why there is no server for it. */
  readonly welcome: (
    key: PoolKey,
    keys: ScramLoginKeys,
    gone: AbortSignal,
    target: Target,
  ) => Promise<Parameters | ErrorText>
  readonly cancel: (processId: number, secretKey: Buffer) => Promise<void>
  readonly warn: (message: string) => void
  readonly takeKey: (minorVersion: number) => { readonly processId: number; readonly secretKey: Buffer }
}

export interface LoggedIn {
  /** The TLS socket when the client wanted one. */
  readonly socket: Socket
  readonly key: PoolKey
  readonly keys: ScramLoginKeys
  readonly parameters: Parameters
  /** Those of `parameters` that the client asked for, as the server writes them. */
  readonly began: ReadonlyMap<string, string>
  readonly reads: AskedReads
  readonly processId: number
  readonly secretKey: Buffer
  /** Bytes behind the login. */
  readonly left: Buffer
}

/** Ends the login with words to the client. */
class Refusal extends Error {
  readonly error: ErrorText

  constructor(error: ErrorText) {
    super(error.message)
    this.error = error
  }
}

export class ClientLogin {
  readonly #context: LoginContext
  readonly #port: Target
  #socket: Socket
  #input: LoginInput
  #ended = false
  /** Nobody waits for it any more. */
  readonly #gone = new AbortController()

  constructor(socket: Socket, context: LoginContext, port: Target = 'read-write') {
    this.#context = context
    this.#port = port
    this.#socket = socket
    this.#input = new LoginInput(socket)
    socket.once('close', () => this.#gone.abort())
  }

  /** null: there is no session; the client was told why when there was somebody to tell. */
  async run(): Promise<LoggedIn | null> {
    try {
      return await this.#login()
    } catch (error) {
      if (error instanceof ClientGone) this.#socket.destroy()
      else if (error instanceof Refusal) this.refuse(error.error)
      else if (error instanceof ProtocolViolation) this.refuse(CLIENT_ERRORS.protocolViolation(error.message))
      else throw error
      return null
    }
  }

  /** Also from outside: it took too long. Can be called twice. */
  refuse(error: ErrorText): void {
    if (this.#ended || this.#socket.destroyed) return
    this.#ended = true
    this.#gone.abort()
    this.#socket.write(errorResponse(error))
    this.#socket.destroySoon()
  }

  async #login(): Promise<LoggedIn | null> {
    const packet = await this.#startup()
    if (packet === null) return null
    const asked = readStartup(packet)
    if (asked.replication) throw new Refusal(CLIENT_ERRORS.replicationRefused())
    if (asked.user === '') throw new Refusal(CLIENT_ERRORS.noUser())
    const reads = askedReads(this.#port, this.#context.reads, asked.own)
    if ('severity' in reads) throw new Refusal({ ...reads, severity: 'FATAL' })
    const minorVersion = Math.min(packet.minorVersion, NEWEST_MINOR_VERSION)
    if (packet.minorVersion > minorVersion || packet.protocolOptions.length > 0) {
      this.#socket.write(negotiateProtocolVersion(minorVersion, packet.protocolOptions))
    }
    const keys = await this.#authenticate(asked.user)
    const { target } = reads.settings
    const startup = startupFor(target, asked.others)
    const key: PoolKey = { user: asked.user, database: asked.database, startup }
    const welcome = await this.#context.welcome(key, keys, this.#gone.signal, target)
    if ('severity' in welcome) throw new Refusal(welcome)
    if (this.#ended || this.#input.isGone) throw new ClientGone()
    const parameters = sessionParameters(welcome, asked.tracked, target)
    const { processId, secretKey } = this.#context.takeKey(minorVersion)
    this.#socket.write(
      Buffer.concat([
        authenticationOk(),
        ...[...parameters.entries()].map(([name, value]) => parameterStatus(name, value)),
        backendKeyData(processId, secretKey),
        readyForQuery('I'),
      ]),
    )
    const left = this.#input.detach()
    const began = new Map([...asked.tracked.keys()].map((name) => [name, parameters.get(name) ?? '']))
    return { socket: this.#socket, key, keys, parameters, began, reads, processId, secretKey, left }
  }

  /** null: it was a cancel request. */
  async #startup(): Promise<Startup | null> {
    for (let encrypted = false; ; ) {
      const packet = await this.#input.next(takePacket)
      switch (packet.kind) {
        case 'startup':
          if (!encrypted && this.#context.clientTls === 'require')
            throw new Refusal(CLIENT_ERRORS.tlsRequired())
          return packet.startup
        case 'cancelRequest':
          // Never answered: whoever guesses learns nothing.
          this.#ended = true
          // Who has sent it goes on when this connection ends, and must not be hit by it then.
          await this.#context.cancel(packet.processId, packet.secretKey)
          this.#socket.destroySoon()
          return null
        case 'gssEncryptionRequest':
          this.#socket.write('N')
          break
        case 'sslRequest': {
          const secureContext = this.#context.secureContext()
          if (encrypted || secureContext === null) {
            this.#socket.write('N')
            break
          }
          // What came behind the request was not encrypted: somebody in between could have put it there (CVE-2021-23222).
          if (this.#input.left.length > 0)
            throw new ProtocolViolation('received unencrypted data after SSL request')
          this.#socket.write('S')
          this.#encrypt(secureContext)
          encrypted = true
          break
        }
        default:
          // Without having asked: what PostgreSQL before 17 does not know either.
          throw new ProtocolViolation('TLS must be asked for first (sslnegotiation=postgres)')
      }
    }
  }

  #encrypt(secureContext: SecureContext): void {
    this.#input.detach()
    const plain = this.#socket
    const secure = new TLSSocket(plain, { isServer: true, secureContext })
    // A failed handshake closes both; the reason is the client's concern.
    secure.on('error', () => plain.destroy())
    plain.on('close', () => secure.destroy())
    this.#socket = secure
    this.#input = new LoginInput(secure)
  }

  async #authenticate(user: string): Promise<ScramLoginKeys> {
    const verifier = await this.#verifier(user)
    this.#socket.write(authenticationSasl([SCRAM_SHA_256]))
    const scram = new ScramServer(verifier)
    const first = readSaslInitialResponse(await this.#input.next(takePasswordMessage))
    this.#socket.write(authenticationSaslContinue(scram.first(first.data)))
    const final = await this.#input.next(takePasswordMessage)
    try {
      const { message, keys } = scram.final(final)
      this.#socket.write(authenticationSaslFinal(message))
      return keys
    } catch (error) {
      if (error instanceof ScramFailure) throw new Refusal(CLIENT_ERRORS.authenticationFailed(user))
      throw error
    }
  }

  async #verifier(user: string): Promise<ScramVerifier> {
    const found = await this.#context.logins.lookUp(user)
    if (found.kind === 'unavailable') throw new Refusal(CLIENT_ERRORS.loginUnavailable(found.reason))
    if (found.kind === 'unknown') return mockScramVerifier(user, this.#context.mockSecret)
    const verifier = found.verifier === null ? null : parseScramVerifier(found.verifier)
    if (verifier !== null) return verifier
    // Told to the operator only: to anybody else it would say that the role exists.
    this.#context.warn(`${user} has no SCRAM-SHA-256 password and cannot log in`)
    return mockScramVerifier(user, this.#context.mockSecret)
  }
}

const takePacket: Take<Exclude<StartupPacket, { kind: 'incomplete' }>> = (input) => {
  const packet = readStartupPacket(input)
  if (packet.kind === 'incomplete') return null
  return { value: packet, bytes: packet.kind === 'directTls' ? 0 : packet.bytes }
}

/** SASLInitialResponse and SASLResponse both have the type 'p'. */
const takePasswordMessage: Take<Buffer> = (input) => {
  if (input.length > 0 && input[0] !== FRONTEND.PasswordMessage) {
    throw new ProtocolViolation('expected a password message')
  }
  if (input.length < 5) return null
  const bytes = 1 + input.readInt32BE(1)
  if (bytes < 5 || bytes > 5 + MAX_SASL_MESSAGE_BYTES)
    throw new ProtocolViolation('a password message is too long')
  return input.length < bytes ? null : { value: input.subarray(5, bytes), bytes }
}
