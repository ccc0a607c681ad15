/** One proxy process: the port, the sessions behind it, and their end. */
import { createServer, type Server, type Socket } from 'node:net'
import type { SecureContext } from 'node:tls'
import { UnderstudyError } from '../errors/codes.ts'
import type { Log } from '../ports/log.ts'
import type { Logins, Routing } from '../ports/proxy.ts'
import { errorResponse } from '../protocol/backend-builders.ts'
import { CancelKeys } from './cancel.ts'
import type { Target } from './classify/verdict.ts'
import { CLIENT_ERRORS } from './client-errors.ts'
import { ClientLogin, type LoggedIn, type LoginContext } from './client-login.ts'
import { ClientSession } from './client-session.ts'
import type { OpenTarget } from './open-target.ts'
import { Pools } from './pools.ts'
import { type ReadParts, ReadSessions } from './reads/read-sessions.ts'
import type { ProxySettings } from './settings.ts'

export interface ProxyDependencies {
  readonly routing: Routing
  readonly logins: Logins
  readonly openTarget: OpenTarget
  /** Asked at each login, for a certificate is renewed while it runs; null: no TLS towards clients. */
  readonly secureContext: () => SecureContext | null
  readonly log: Log
  /** Which of several workers this is. */
  readonly worker: number
  /** Left out: the ports for reads are served by the primary alone. */
  readonly reads?: ReadParts | undefined
}

const SWEEP_INTERVAL_MS = 100
const FORGET_POOLS_EVERY_MS = 1_000
const KEEPALIVE_IDLE_MS = 30_000
const DRAIN_LOOK_MS = 20

export class ProxyWorker {
  readonly #settings: ProxySettings
  readonly #log: Log
  readonly #pools: Pools
  readonly #reads: ReadSessions
  readonly #cancelKeys: CancelKeys
  readonly #loginContext: LoginContext
  readonly #sessions = new Set<ClientSession>()
  readonly #logins = new Map<ClientLogin, number>()
  readonly #servers: Server[] = []
  /** As accepted, below TLS: what is left of them at the end is closed. */
  readonly #sockets = new Set<Socket>()
  #sweeper: NodeJS.Timeout | null = null
  #forgotPoolsAtMs = 0
  #stopping: Promise<void> | null = null

  constructor(settings: ProxySettings, dependencies: ProxyDependencies) {
    this.#settings = settings
    this.#log = dependencies.log
    this.#reads = new ReadSessions(settings, dependencies)
    this.#pools = new Pools(settings, dependencies.routing, dependencies.openTarget, this.#reads.router)
    this.#cancelKeys = new CancelKeys(dependencies.openTarget, dependencies.worker)
    this.#loginContext = {
      logins: dependencies.logins,
      secureContext: dependencies.secureContext,
      clientTls: settings.clientTls,
      reads: settings.reads,
      welcome: (key, keys, gone, target) =>
        this.#reads.poolToGreet(this.#pools.poolOf(key, keys), target).welcome(gone),
      cancel: (processId, secretKey) => this.#cancelKeys.request(processId, secretKey),
      takeKey: () => this.#cancelKeys.take(),
      warn: (message) => this.#log.warn(message),
    }
  }

  get counts(): {
    readonly clients: number
    readonly logins: number
    readonly waiting: number
    readonly pools: number
  } {
    return {
      clients: this.#sessions.size,
      logins: this.#logins.size,
      waiting: this.#pools.waiting.count,
      pools: this.#pools.size,
    }
  }

  /** Of how many sessions a statement or a transaction is under way on a server. */
  get underWay(): number {
    let count = 0
    for (const session of this.#sessions) if (session.isUnderWay) count++
    return count
  }

  /** Errors: port-taken, wrong-host. */
  async start(): Promise<void> {
    const { listen, ports } = this.#settings
    const served: readonly (readonly [Target, number | null])[] = [
      ['auto', ports.auto],
      ['read-write', ports.readWrite],
      ['read-only', ports.readOnly],
    ]
    for (const [target, port] of served) {
      if (port === null) continue
      for (const address of listen) this.#servers.push(await this.#listenOn(address, port, target))
    }
    await this.#reads.start()
    this.#sweeper = setInterval(() => this.#sweep(), SWEEP_INTERVAL_MS)
  }

  /** Ends sessions when their transaction is over, and what is left after `drainMs`. Can be called twice. */
  stop(drainMs: number): Promise<void> {
    this.#stopping ??= this.#stop(drainMs)
    return this.#stopping
  }

  async #stop(drainMs: number): Promise<void> {
    const closed = this.#servers.map(
      (server) => new Promise<void>((resolve) => server.close(() => resolve())),
    )
    const untilMs = performance.now() + drainMs
    while (this.#sessions.size > 0) {
      const late = performance.now() > untilMs
      for (const session of this.#sessions)
        if (late || session.isQuiet) session.fail(CLIENT_ERRORS.shuttingDown())
      if (this.#sessions.size > 0) await new Promise((resolve) => setTimeout(resolve, DRAIN_LOOK_MS))
    }
    for (const login of this.#logins.keys()) login.refuse(CLIENT_ERRORS.shuttingDown())
    if (this.#sweeper !== null) clearInterval(this.#sweeper)
    this.#reads.stop()
    this.#pools.close('the proxy is shutting down')
    // The last words are with the kernel by now; who does not read them is not waited for.
    for (const socket of this.#sockets) socket.destroySoon()
    await new Promise((resolve) => setTimeout(resolve, DRAIN_LOOK_MS))
    for (const socket of this.#sockets) socket.destroy()
    await Promise.all(closed)
  }

  /** Every address: both families where the machine has both. */
  async #listenOn(address: string, port: number, target: Target): Promise<Server> {
    if (address !== '*') return this.#listen(address, port, target)
    try {
      return await this.#listen('::', port, target)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAFNOSUPPORT') throw error
      return this.#listen('0.0.0.0', port, target)
    }
  }

  #listen(host: string, port: number, target: Target): Promise<Server> {
    const options = { noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEPALIVE_IDLE_MS }
    const server = createServer(options, (socket) => this.#accept(socket, target))
    return new Promise((resolve, reject) => {
      server.once('error', (error: NodeJS.ErrnoException) => reject(listenFailure(error, host, port)))
      server.listen({ host, port, backlog: 1024 }, () => {
        server.on('error', (error) =>
          this.#log.error('the port of the proxy failed', { reason: error.message }),
        )
        resolve(server)
      })
    })
  }

  #accept(socket: Socket, target: Target): void {
    socket.on('error', () => socket.destroy())
    this.#sockets.add(socket)
    socket.on('close', () => this.#sockets.delete(socket))
    const { maxClients, maxLogins } = this.#settings
    const full = this.#sessions.size + this.#logins.size >= maxClients
    if (full || this.#logins.size >= maxLogins || this.#stopping !== null) {
      const many = full ? CLIENT_ERRORS.tooManyClients(maxClients) : CLIENT_ERRORS.tooManyLogins(maxLogins)
      socket.write(errorResponse(this.#stopping === null ? many : CLIENT_ERRORS.shuttingDown()))
      socket.destroySoon()
      return
    }
    void this.#login(socket, target)
  }

  async #login(socket: Socket, target: Target): Promise<void> {
    const login = new ClientLogin(socket, this.#loginContext, target)
    this.#logins.set(login, performance.now())
    try {
      const loggedIn = await login.run()
      if (loggedIn !== null) this.#begin(loggedIn)
    } catch (error) {
      this.#log.error('a login failed in an unforeseen way', { reason: String(error) })
      socket.destroy()
    } finally {
      this.#logins.delete(login)
    }
  }

  #begin({ socket, key, parameters, processId, left, keys, reads }: LoggedIn): void {
    const pool = this.#pools.poolOf(key, keys)
    const session: ClientSession = new ClientSession({
      socket,
      pool,
      reads: this.#reads.begin(reads, pool),
      schemaChanged: () => this.#reads.schemaChanged(key.database),
      mode: this.#settings.poolMode,
      parameters,
      registry: this.#pools.registry,
      maxPreparedStatements: this.#settings.maxPreparedStatements,
      onEnd: () => {
        this.#sessions.delete(session)
        this.#cancelKeys.forget(processId)
      },
    })
    this.#sessions.add(session)
    this.#cancelKeys.bind(processId, session)
    if (left.length > 0) session.take(left)
  }

  #sweep(): void {
    const nowMs = performance.now()
    for (const [login, sinceMs] of this.#logins) {
      if (nowMs - sinceMs > this.#settings.loginTimeoutMs) login.refuse(CLIENT_ERRORS.loginTimeout())
    }
    const limitMs = this.#settings.idleTransactionTimeoutMs
    if (limitMs > 0) {
      for (const session of this.#sessions) {
        const sinceMs = session.idleInTransactionSinceMs
        if (sinceMs !== null && nowMs - sinceMs > limitMs)
          session.fail(CLIENT_ERRORS.idleInTransaction(limitMs))
      }
    }
    this.#pools.sweep(nowMs)
    this.#forgetPools(nowMs)
  }

  /** Clients choose their start-up parameters, and each set of them is a pool. */
  #forgetPools(nowMs: number): void {
    if (nowMs - this.#forgotPoolsAtMs < FORGET_POOLS_EVERY_MS) return
    this.#forgotPoolsAtMs = nowMs
    const inUse = new Set([...this.#sessions].map(({ pool }) => pool))
    this.#pools.forgetUnused((pool) => inUse.has(pool))
  }
}

function listenFailure(error: NodeJS.ErrnoException, host: string, port: number): Error {
  if (error.code === 'EADDRNOTAVAIL')
    return new UnderstudyError(
      'wrong-host',
      `${host}, where the proxy is to listen, is no address of this machine`,
      { cause: error },
    )
  if (error.code !== 'EADDRINUSE') return error
  return new UnderstudyError('port-taken', `port ${port} for the proxy is in use by another program`, {
    cause: error,
  })
}
