/**
 * A replication connection: session start, and one command at a time with its result sets and COPY streams (manual:
 * "Streaming Replication Protocol"). COPY data goes to a sink as it arrives; the sink holds the server back with pause().
 */
import { dirname } from 'node:path'
import { UnderstudyError } from '../errors/codes.ts'
import type { BackendMessage } from '../protocol/backend-messages.ts'
import type { ErrorFields } from '../protocol/error-fields.ts'
import { copyData, copyDone, query, startupMessage, terminate } from '../protocol/frontend-messages.ts'
import { Authenticator } from './authenticate.ts'
import { type CommandOptions, type CommandResult, Exchange } from './exchange.ts'
import { abortedFailure, connectionFailure, ServerError } from './failures.ts'
import { findPassword, type PasswordSource } from './passfile.ts'
import { describeAddress, openSocket, type ServerAddress, type TlsSettings } from './socket.ts'
import { Wire } from './wire.ts'

export interface ReplicationConnectionOptions {
  readonly address: ServerAddress
  readonly user: string
  /** A passfile's path or a function; not needed where the server trusts the connection. */
  readonly passwordFrom?: PasswordSource
  readonly tls: TlsSettings
  /** Decides which name of synchronous_standby_names this connection matches. */
  readonly applicationName: string
  /** Physical only: replication commands and SHOW, no SQL. */
  readonly replication: 'physical'
  /** For everything until the server is ready for commands; 10 s when left out. */
  readonly connectTimeoutMs?: number
  /** A silent peer is probed after this and given up ten seconds later; 10 s when left out. */
  readonly keepaliveIdleMs?: number
  /** How long a command may bring nothing at all; 30 s when left out. */
  readonly silenceTimeoutMs?: number
  readonly signal?: AbortSignal
  /** NOTICE and WARNING of the server, which may come at any time. */
  readonly onNotice?: (notice: ErrorFields) => void
}

const DEFAULT_CONNECT_TIMEOUT_MS = 10_000
const DEFAULT_KEEPALIVE_IDLE_MS = 10_000
const DEFAULT_SILENCE_TIMEOUT_MS = 30_000
const CLOSE_TIMEOUT_MS = 2_000

/**
 * Connects and authenticates. Throws UnderstudyError: connect-failed, tls-failed, certificate-expired, auth-failed,
 * protocol-violation, or ServerError for whatever else the server says.
 */
export async function connectReplication(
  options: ReplicationConnectionOptions,
): Promise<ReplicationConnection> {
  const where = describeAddress(options.address)
  const timeoutMs = options.connectTimeoutMs ?? DEFAULT_CONNECT_TIMEOUT_MS
  const late = new UnderstudyError('connect-failed', `${where} did not answer within ${timeoutMs} ms`)
  const deadline = new AbortController()
  const timer = setTimeout(() => deadline.abort(late), timeoutMs)
  const abort = (): void => {
    if (options.signal !== undefined) deadline.abort(abortedFailure(options.signal))
  }
  options.signal?.addEventListener('abort', abort, { once: true })
  if (options.signal?.aborted === true) abort()
  try {
    const password = await findPassword(options.passwordFrom, {
      hosts:
        'host' in options.address
          ? [options.address.host]
          : ['localhost', dirname(options.address.socketPath)],
      port: 'port' in options.address ? options.address.port : portOfSocket(options.address.socketPath),
      database: 'replication',
      user: options.user,
    })
    const socket = await openSocket({
      address: options.address,
      tls: options.tls,
      keepaliveIdleMs: options.keepaliveIdleMs ?? DEFAULT_KEEPALIVE_IDLE_MS,
      signal: deadline.signal,
    })
    const connection = new ReplicationConnection(options, (handler) => new Wire(socket, where, handler))
    await connection.start(password, deadline.signal)
    return connection
  } finally {
    clearTimeout(timer)
    options.signal?.removeEventListener('abort', abort)
  }
}

interface Starting {
  readonly authenticator: Authenticator
  readonly ready: () => void
  readonly failed: (failure: UnderstudyError) => void
}

export class ReplicationConnection {
  readonly #options: ReplicationConnectionOptions
  readonly #wire: Wire
  readonly #parameters = new Map<string, string>()
  #exchange: Exchange | null = null
  #starting: Starting | null = null
  #failure: UnderstudyError | null = null

  /** Not for callers: connectReplication makes connections. */
  constructor(
    options: ReplicationConnectionOptions,
    openWire: (handler: ConstructorParameters<typeof Wire>[2]) => Wire,
  ) {
    this.#options = options
    this.#wire = openWire({
      message: (message) => this.#take(message),
      copyPart: (part, offset, total) => this.#takeCopyPart(part, offset, total),
      ended: (failure) => this.#ended(failure),
    })
  }

  get isOpen(): boolean {
    return this.#wire.isOpen
  }

  /** What the server reported by ParameterStatus: server_version, in_hot_standby, ... */
  get parameters(): ReadonlyMap<string, string> {
    return this.#parameters
  }

  /** 15, 16, ...; 0 when the server did not say. */
  get serverMajor(): number {
    return Number.parseInt(this.#parameters.get('server_version') ?? '0', 10)
  }

  /** Not for callers. Sends the StartupMessage and resolves at the first ReadyForQuery. */
  async start(password: string | null, signal: AbortSignal): Promise<void> {
    const { user, address } = this.#options
    const abort = (): void => this.#wire.destroy(connectionFailure(signal.reason, describeAddress(address)))
    signal.addEventListener('abort', abort, { once: true })
    try {
      await new Promise<void>((resolve, reject) => {
        const authenticator = new Authenticator(password, `${user} at ${describeAddress(address)}`)
        this.#starting = { authenticator, ready: resolve, failed: reject }
        this.#wire.send(
          startupMessage({
            user,
            replication: 'true',
            application_name: this.#options.applicationName,
            client_encoding: 'UTF8',
          }),
        )
        if (signal.aborted) abort()
      })
    } finally {
      this.#starting = null
      signal.removeEventListener('abort', abort)
    }
  }

  /**
   * Runs one command. Throws ServerError when the server refuses it (the connection stays usable unless it was FATAL), and
   * UnderstudyError when the connection ends or the signal aborts (which ends the connection).
   */
  async execute(command: string, options: CommandOptions = {}): Promise<CommandResult> {
    if (this.#failure !== null) throw this.#failure
    if (this.#exchange !== null) {
      throw new UnderstudyError('internal', `"${command}" was sent while another command is running`)
    }
    const { signal } = options
    if (signal?.aborted === true) throw abortedFailure(signal)
    const exchange = new Exchange(options, () => this.#wire.send(copyDone()))
    this.#exchange = exchange
    const abort = (): void => {
      if (signal !== undefined) this.#wire.destroy(abortedFailure(signal))
    }
    signal?.addEventListener('abort', abort, { once: true })
    const silenceMs = this.#options.silenceTimeoutMs ?? DEFAULT_SILENCE_TIMEOUT_MS
    this.#wire.limitSilence(options.silenceTimeoutMs ?? silenceMs)
    this.#wire.send(query(command))
    try {
      return await exchange.result
    } finally {
      this.#exchange = null
      this.#wire.limitSilence(Number.POSITIVE_INFINITY)
      signal?.removeEventListener('abort', abort)
    }
  }

  /** Changes the deadline of the running command, when one of its phases may be quiet for longer than another. */
  limitSilence(limitMs: number): void {
    this.#wire.limitSilence(limitMs)
  }

  /** Inside COPY BOTH. */
  sendCopyData(body: Buffer): void {
    this.#wire.send(copyData(body))
  }

  /** Inside COPY BOTH: we send nothing more. The server answers with its own CopyDone. */
  sendCopyDone(): void {
    this.#exchange?.sendCopyDone()
  }

  pause(): void {
    this.#wire.pause()
  }

  resume(): void {
    this.#wire.resume()
  }

  /** Ends the session in an orderly way; can be called twice. */
  async close(): Promise<void> {
    await this.#wire.close(terminate(), CLOSE_TIMEOUT_MS)
  }

  /** Ends it at once; a running command fails with `failure`. */
  destroy(failure: UnderstudyError): void {
    this.#wire.destroy(failure)
  }

  #take(message: BackendMessage): void {
    if (message.name === 'ParameterStatus') {
      this.#parameters.set(message.parameter, message.value)
    } else if (message.name === 'NoticeResponse') {
      this.#options.onNotice?.(message.fields)
    } else if (this.#starting !== null) {
      this.#takeWhileStarting(message, this.#starting)
    } else if (this.#exchange !== null) {
      this.#exchange.message(message)
    } else if (message.name === 'ErrorResponse') {
      // FATAL between commands: the server shuts down or an administrator ended the session.
      this.#wire.destroy(new ServerError(message.fields))
    }
  }

  #takeWhileStarting(message: BackendMessage, starting: Starting): void {
    switch (message.name) {
      case 'ErrorResponse':
        this.#wire.destroy(new ServerError(message.fields))
        return
      case 'ReadyForQuery':
        starting.ready()
        return
      case 'BackendKeyData':
      case 'NegotiateProtocolVersion':
        return
      default: {
        const answer = starting.authenticator.answer(message)
        if (answer !== null) this.#wire.send(answer)
      }
    }
  }

  #takeCopyPart(part: Buffer, offset: number, total: number): void {
    this.#exchange?.copyPart(part, offset, total)
  }

  #ended(failure: UnderstudyError): void {
    this.#failure = failure
    this.#starting?.failed(failure)
    this.#exchange?.ended(failure)
  }
}

function portOfSocket(socketPath: string): number {
  return Number(/\.s\.PGSQL\.(\d+)$/.exec(socketPath)?.[1] ?? 5432)
}
