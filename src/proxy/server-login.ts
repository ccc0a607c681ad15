/** Logs in to a server as a client's role: start-up message, SCRAM with keys that the client's own login has shown, first parameters. */
import type { Socket } from 'node:net'
import { type BackendMessage, parseBackendMessage } from '../protocol/backend-messages.ts'
import type { ErrorFields } from '../protocol/error-fields.ts'
import { FrameReader } from '../protocol/frame-reader.ts'
import { saslInitialResponse, saslResponse, startupMessage } from '../protocol/frontend-messages.ts'
import { SCRAM_SHA_256, ScramClient, type ScramLoginKeys } from '../protocol/scram.ts'
import { NEWEST_MINOR_VERSION } from '../protocol/startup-packet.ts'
import { ProtocolViolation } from '../protocol/violation.ts'
import { Parameters } from './parameters.ts'

export interface ServerLogin {
  readonly parameters: Parameters
  readonly processId: number
  readonly secretKey: Buffer
}

export interface LoginAs {
  readonly user: string
  readonly database: string
  /** Further parameters of the start-up message. */
  readonly startup: ReadonlyMap<string, string>
  readonly keys: ScramLoginKeys
}

/** The server's own words: no such database, too many connections, not ready yet. */
export class ServerRefusal extends Error {
  readonly fields: ErrorFields

  constructor(fields: ErrorFields) {
    super(fields.message)
    this.name = 'ServerRefusal'
    this.fields = fields
  }
}

/** Leaves the socket without listeners of ours, paused. Throws ServerRefusal, or whatever broke. */
export async function loginToServer(socket: Socket, as: LoginAs, signal: AbortSignal): Promise<ServerLogin> {
  const exchange = new LoginExchange(socket, as)
  const cleanup: (() => void)[] = []
  const listen = (target: Socket, name: string, listener: (...args: never[]) => void): void => {
    target.on(name, listener as (...args: unknown[]) => void)
    cleanup.push(() => target.off(name, listener as (...args: unknown[]) => void))
  }
  try {
    return await new Promise<ServerLogin>((resolve, reject) => {
      listen(socket, 'data', (chunk: Buffer) => {
        try {
          const login = exchange.take(chunk)
          if (login !== null) resolve(login)
        } catch (error) {
          reject(error)
        }
      })
      listen(socket, 'error', (error: Error) => reject(error))
      listen(socket, 'close', () => reject(new Error('the server closed the connection')))
      const abort = (): void => reject(signal.reason)
      signal.addEventListener('abort', abort, { once: true })
      cleanup.push(() => signal.removeEventListener('abort', abort))
      if (signal.aborted) abort()
      socket.write(
        startupMessage(
          { ...Object.fromEntries(as.startup), user: as.user, database: as.database },
          NEWEST_MINOR_VERSION,
        ),
      )
      socket.resume()
    })
  } finally {
    for (const each of cleanup) each()
    socket.pause()
  }
}

class LoginExchange {
  readonly #socket: Socket
  readonly #scram: ScramClient
  readonly #parameters = new Parameters()
  readonly #reader: FrameReader
  #scramBegan = false
  #processId = 0
  #secretKey: Buffer = Buffer.alloc(0)
  #ready = false

  constructor(socket: Socket, as: LoginAs) {
    this.#socket = socket
    this.#scram = new ScramClient({ keys: as.keys })
    this.#reader = new FrameReader(
      { frame: (type, body) => this.#message(parseBackendMessage(type, body)) },
      { maxBodyBytes: 64 * 1024 },
    )
  }

  take(chunk: Buffer): ServerLogin | null {
    this.#reader.push(chunk)
    if (!this.#ready) return null
    if (!this.#reader.atBoundary) throw new ProtocolViolation('the server went on talking after its login')
    return { parameters: this.#parameters, processId: this.#processId, secretKey: this.#secretKey }
  }

  #message(message: BackendMessage): void {
    switch (message.name) {
      case 'AuthenticationSASL':
        if (!message.mechanisms.includes(SCRAM_SHA_256)) {
          throw new ProtocolViolation(`the server offers no ${SCRAM_SHA_256}`)
        }
        this.#scramBegan = true
        this.#socket.write(saslInitialResponse(SCRAM_SHA_256, this.#scram.first()))
        return
      case 'AuthenticationSASLContinue':
        this.#socket.write(saslResponse(this.#scram.proceed(message.data)))
        return
      case 'AuthenticationSASLFinal':
        this.#scram.finish(message.data)
        return
      case 'AuthenticationOk':
        // Whoever says yes half-way knows no password.
        if (this.#scramBegan && !this.#scram.verified) {
          throw new ProtocolViolation('the server did not prove that it knows the password')
        }
        return
      case 'AuthenticationOther':
        throw new ProtocolViolation(`the server asks for ${message.method}`)
      case 'ParameterStatus':
        this.#parameters.set(message.parameter, message.value)
        return
      case 'BackendKeyData':
        this.#processId = message.processId
        this.#secretKey = Buffer.from(message.secretKey)
        return
      case 'ErrorResponse':
        throw new ServerRefusal(message.fields)
      case 'ReadyForQuery':
        this.#ready = true
        return
      default:
    }
  }
}
