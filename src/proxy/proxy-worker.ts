/** One worker of a proxy: its ports, the sessions behind them, and their end. With a single worker that is the whole proxy. */
import { randomBytes } from 'node:crypto'
import type { Server, Socket } from 'node:net'
import type { SecureContext } from 'node:tls'
import type { Log } from '../ports/log.ts'
import type { Logins, Routing } from '../ports/proxy.ts'
import type { ProxyFleet, ProxyQuestion, ProxyQuestions, Reloaded } from '../ports/proxy-view.ts'
import { type ErrorText, errorResponse } from '../protocol/backend-builders.ts'
import type { ScramLoginKeys } from '../protocol/scram.ts'
import { CancelKeys, type ForeignCancel } from './cancel.ts'
import type { Target } from './classify/verdict.ts'
import { CLIENT_ERRORS } from './client-errors.ts'
import { ClientLogin, type LoggedIn, type LoginContext } from './client-login.ts'
import { ClientSession } from './client-session.ts'
import { resolveCommit } from './commit-resolver.ts'
import { type ConsoleFacts, explainReadWrite, NO_CONSOLE_FACTS, type RouteRow } from './console/context.ts'
import { consoleWelcome, isConsole } from './console/entry.ts'
import { ConsoleSession } from './console/session.ts'
import { listenOn } from './listen.ts'
import type { OpenTarget } from './open-target.ts'
import type { Parameters } from './parameters.ts'
import type { PoolKey } from './pool.ts'
import { Pools } from './pools.ts'
import { type ReadParts, ReadSessions } from './reads/read-sessions.ts'
import type { RotationEntry } from './reads/rotation.ts'
import type { ResolveCommit } from './session-options.ts'
import type { ProxySettings } from './settings.ts'
import { poolModeOf, shareOf } from './shares.ts'
import { TrafficTable } from './traffic.ts'
import { type Answerer, answerQuestion } from './worker-answers.ts'
import { factsOf, type SessionFacts } from './worker-look.ts'

export interface ProxyDependencies {
  readonly routing: Routing
  readonly logins: Logins
  readonly openTarget: OpenTarget
  /** Asked at each login, for a certificate is renewed while it runs; null: no TLS towards clients. */
  readonly secureContext: () => SecureContext | null
  readonly log: Log
  /** Which of several workers this is, from 0. */
  readonly worker: number
  /** How many there are. */
  readonly workers?: number
  /** All of them; left out: this one is alone. */
  readonly fleet?: ProxyFleet
  /** A cancel request for a session of another worker. */
  readonly foreignCancel?: ForeignCancel
  /** The same in every process of a cluster's proxies and after each start: by it nobody can tell roles that exist from others. */
  readonly mockSecret?: Buffer
  /** Looks at the files now. */
  readonly reload?: () => Promise<Reloaded>
  /** Left out: the ports for reads are served by the primary alone. */
  readonly reads?: ReadParts
  readonly console?: ConsoleFacts
}

const SWEEP_INTERVAL_MS = 100
const FORGET_POOLS_EVERY_MS = 1_000
const DRAIN_LOOK_MS = 20
/** Beyond `maxClients`, for whoever has to look why it is full. */
const RESERVED_FOR_CONSOLE = 3
const READ_ONLY_ROUTE: RouteRow = {
  port: 'read-only',
  target: 'standby',
  reason: 'everything on this port goes to a standby, which refuses writes',
}
/** For the last words to a client that does not read them. */
const LINGER_MS = 5_000

export class ProxyWorker implements Answerer {
  /** This worker's share; changed in place, for the pools look at it. */
  readonly settings: ProxySettings
  readonly pools: Pools
  readonly traffic = new TrafficTable()
  readonly sessions = new Map<ClientSession, SessionFacts>()
  readonly refused = { clients: 0, logins: 0 }
  readonly startedAtMs = performance.now()
  readonly fleet: ProxyFleet
  readonly #dependencies: ProxyDependencies
  readonly #log: Log
  readonly #reads: ReadSessions
  readonly #cancelKeys: CancelKeys
  readonly #loginContext: LoginContext
  readonly #consoles = new Set<ConsoleSession>()
  readonly #logins = new Map<ClientLogin, number>()
  readonly #servers: Server[] = []
  /** As accepted, below TLS: what is left of them at the end is closed. */
  readonly #sockets = new Set<Socket>()
  /** Of sessions that are over, and have not read why. */
  readonly #lingering = new Map<Socket, number>()
  #clientsElsewhere = 0
  #sweeper: NodeJS.Timeout | null = null
  #sweptAtMs = performance.now()
  #forgotPoolsAtMs = 0
  #stopping: Promise<void> | null = null

  /** `settings` are those of the whole proxy. */
  constructor(settings: ProxySettings, dependencies: ProxyDependencies) {
    const { worker, workers = 1, openTarget, log, fleet } = dependencies
    this.settings = { ...shareOf(settings, worker, workers) }
    this.#dependencies = dependencies
    this.#log = log
    this.#reads = new ReadSessions(this.settings, dependencies)
    this.pools = new Pools(this.settings, dependencies.routing, openTarget, this.#reads.router)
    this.#cancelKeys = new CancelKeys(openTarget, worker, dependencies.foreignCancel)
    this.fleet = fleet ?? { ask: async (question, input) => [await this.answer(question, input)] }
    const current = this.settings
    this.#loginContext = {
      logins: dependencies.logins,
      secureContext: dependencies.secureContext,
      get clientTls() {
        return current.clientTls
      },
      mockSecret: dependencies.mockSecret ?? randomBytes(32),
      get reads() {
        return current.reads
      },
      welcome: (key, keys, gone, target) => this.#welcome(key, keys, gone, target),
      cancel: (processId, secretKey) => this.#cancelKeys.request(processId, secretKey),
      takeKey: (minorVersion) => this.#cancelKeys.take(minorVersion),
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
      clients: this.sessions.size,
      logins: this.#logins.size,
      waiting: this.pools.waiting.count,
      pools: this.pools.size,
    }
  }

  get worker(): number {
    return this.#dependencies.worker
  }

  get route(): Routing['current'] {
    return this.#dependencies.routing.current
  }

  get standbys(): readonly RotationEntry[] {
    return this.#reads.router?.entries() ?? []
  }

  /** Connections of clients, whatever state they are in. */
  get connections(): number {
    return this.#sockets.size
  }

  get logins(): number {
    return this.#logins.size
  }

  /** Of how many sessions a statement or a transaction is under way on a server. */
  get underWay(): number {
    let count = 0
    for (const session of this.sessions.keys()) if (session.isUnderWay) count++
    return count
  }

  /** Errors: port-taken, wrong-host. */
  async start(): Promise<void> {
    const { auto, readWrite, readOnly } = this.settings.ports
    await this.#listen(auto, 'auto')
    await this.#listen(readWrite, 'read-write')
    await this.#listen(readOnly, 'read-only')
    await this.#reads.start()
    this.#sweeper = setInterval(() => this.#sweep(), SWEEP_INTERVAL_MS)
  }

  /** `port` null: it is not served. */
  async #listen(port: number | null, target: Target): Promise<void> {
    if (port === null) return
    for (const address of this.settings.listen)
      this.#servers.push(
        await listenOn({
          ...{ address, port },
          accept: (socket) => this.#accept(socket, target),
          onError: (error) => this.#log.error('the port of the proxy failed', { reason: error.message }),
        }),
      )
  }

  /** Where a statement goes, for `SHOW ROUTE`. */
  explainRoute(sql: string): readonly RouteRow[] {
    const { auto, readWrite, readOnly } = this.settings.ports
    const ofAuto = this.#reads.explain(sql).map(({ database, sentence }) => ({
      port: 'auto',
      target: sentence.startsWith('Goes to the primary') ? 'primary' : 'standby',
      reason: `${database}: ${sentence}`,
    }))
    return [
      ...(auto === null ? [] : ofAuto),
      ...(readWrite === null ? [] : explainReadWrite()),
      ...(readOnly === null ? [] : [READ_ONLY_ROUTE]),
    ]
  }

  /** Other settings of the whole proxy; its ports and addresses, and what it asks of reads, stay as they are. */
  reconfigure(settings: ProxySettings): void {
    const { worker, workers = 1 } = this.#dependencies
    const { listen, ports, reads } = this.settings
    Object.assign(this.settings, shareOf(settings, worker, workers), { listen, ports, reads })
    // A pool may be larger now.
    for (const pool of this.pools.all) pool.resume()
  }

  /** Connections of clients that the other workers have: `maxClients` is for all of them. */
  setClientsElsewhere(connections: number): void {
    this.#clientsElsewhere = connections
  }

  answer<Q extends ProxyQuestion>(
    question: Q,
    input: ProxyQuestions[Q]['input'],
  ): Promise<ProxyQuestions[Q]['answer']> {
    return answerQuestion(this, question, input)
  }

  reload(): Promise<Reloaded> {
    const refused: Reloaded = { kind: 'refused', reason: 'there is no file that could be looked at' }
    return this.#dependencies.reload?.() ?? Promise.resolve(refused)
  }

  /** A cancel request that came to another worker. */
  cancel(processId: number, secretKey: Buffer): void {
    void this.#cancelKeys.request(processId, secretKey)
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
    for (const each of this.#consoles) each.end(CLIENT_ERRORS.shuttingDown())
    while (this.sessions.size > 0) {
      const late = performance.now() > untilMs
      for (const session of this.sessions.keys())
        if (late || session.isQuiet) session.fail(CLIENT_ERRORS.shuttingDown())
      if (this.sessions.size > 0) await new Promise((resolve) => setTimeout(resolve, DRAIN_LOOK_MS))
    }
    for (const login of this.#logins.keys()) login.refuse(CLIENT_ERRORS.shuttingDown())
    if (this.#sweeper !== null) clearInterval(this.#sweeper)
    this.#reads.stop()
    this.pools.close('the proxy is shutting down')
    // The last words are with the kernel by now; who does not read them is not waited for.
    for (const socket of this.#sockets) socket.destroySoon()
    await new Promise((resolve) => setTimeout(resolve, DRAIN_LOOK_MS))
    for (const socket of this.#sockets) socket.destroy()
    await Promise.all(closed)
  }

  #accept(socket: Socket, target: Target): void {
    socket.on('error', () => socket.destroy())
    this.#sockets.add(socket)
    socket.on('close', () => this.#sockets.delete(socket))
    const refusal = this.#refusal()
    if (refusal === null) {
      void this.#login(socket, target)
      return
    }
    socket.write(errorResponse(refusal))
    socket.destroySoon()
  }

  /** Of a new connection, before anything is known of it. */
  #refusal(): ErrorText | null {
    const { maxClients, maxLogins } = this.settings
    if (this.#stopping !== null) return CLIENT_ERRORS.shuttingDown()
    if (this.#excess > RESERVED_FOR_CONSOLE) {
      this.refused.clients++
      return CLIENT_ERRORS.tooManyClients(maxClients)
    }
    if (this.#logins.size < maxLogins) return null
    this.refused.logins++
    return CLIENT_ERRORS.tooManyLogins(maxLogins)
  }

  /** How many connections there are more than `maxClients`. */
  get #excess(): number {
    return this.#sockets.size + this.#clientsElsewhere - this.settings.maxClients
  }

  #welcome(
    key: PoolKey,
    keys: ScramLoginKeys,
    gone: AbortSignal,
    target: Target,
  ): Promise<Parameters | ErrorText> {
    if (isConsole(key.database)) return Promise.resolve(this.#consoleWelcome(key))
    if (this.#excess <= 0) return this.#reads.poolToGreet(this.pools.poolOf(key, keys), target).welcome(gone)
    this.refused.clients++
    return Promise.resolve(CLIENT_ERRORS.tooManyClients(this.settings.maxClients))
  }

  #consoleWelcome(key: PoolKey): Parameters | ErrorText {
    const { version } = this.#consoleFacts
    return consoleWelcome(key, this.settings.consoleRoles, version)
  }

  get #consoleFacts(): ConsoleFacts {
    return this.#dependencies.console ?? NO_CONSOLE_FACTS
  }

  async #login(socket: Socket, target: Target): Promise<void> {
    const login = new ClientLogin(socket, this.#loginContext, target)
    this.#logins.set(login, performance.now())
    try {
      const loggedIn = await login.run()
      if (loggedIn === null) return
      if (isConsole(loggedIn.key.database)) this.#beginConsole(loggedIn)
      else this.#begin(loggedIn)
    } catch (error) {
      this.#log.error('a login failed in an unforeseen way', { reason: String(error) })
      socket.destroy()
    } finally {
      this.#logins.delete(login)
    }
  }

  #begin({ socket, key, parameters, began, processId, left, keys, reads }: LoggedIn): void {
    const pool = this.pools.poolOf(key, keys)
    const facts = factsOf(socket, processId)
    const session: ClientSession = new ClientSession({
      socket,
      pool,
      reads: this.#reads.begin(reads, pool),
      schemaChanged: () => this.#reads.schemaChanged(key.database),
      mode: poolModeOf(this.settings, key),
      parameters,
      began,
      registry: this.pools.registry,
      maxPreparedStatements: this.settings.maxPreparedStatements,
      maxStatementBytes: this.settings.maxClientStatements,
      traffic: this.traffic.of(key.database, key.user),
      resolveCommit: this.settings.resolveCommits ? this.#resolveCommit : null,
      onEnd: () => {
        this.sessions.delete(session)
        this.#cancelKeys.forget(processId)
        if (!socket.destroyed) this.#lingering.set(socket, performance.now())
      },
    })
    this.sessions.set(session, facts)
    this.#cancelKeys.bind(processId, session)
    if (left.length > 0) session.take(left)
  }

  readonly #resolveCommit: ResolveCommit = (doubt, before, pool, gone) => {
    const { holdTimeoutMs } = this.settings
    return resolveCommit(doubt, before, { pool, gone, holdTimeoutMs, routing: this.#dependencies.routing })
  }

  #beginConsole({ socket, key, processId, left }: LoggedIn): void {
    const session: ConsoleSession = new ConsoleSession({
      ...{ socket, user: key.user, fleet: this.fleet },
      facts: this.#consoleFacts,
      onEnd: () => {
        this.#consoles.delete(session)
        this.#cancelKeys.forget(processId)
      },
    })
    this.#consoles.add(session)
    this.#cancelKeys.bind(processId, session)
    if (left.length > 0) session.take(left)
  }

  #sweep(): void {
    const nowMs = performance.now()
    for (const [login, sinceMs] of this.#logins) {
      if (nowMs - sinceMs > this.settings.loginTimeoutMs) login.refuse(CLIENT_ERRORS.loginTimeout())
    }
    this.#sampleSessions(nowMs)
    for (const [socket, sinceMs] of this.#lingering) {
      if (nowMs - sinceMs > LINGER_MS) socket.destroy()
      if (socket.destroyed) this.#lingering.delete(socket)
    }
    this.traffic.roll(nowMs)
    this.pools.sweep(nowMs)
    this.#forgetPools(nowMs)
  }

  #sampleSessions(nowMs: number): void {
    const sinceLastMs = nowMs - this.#sweptAtMs
    this.#sweptAtMs = nowMs
    const limitMs = this.settings.idleTransactionTimeoutMs
    for (const session of this.sessions.keys()) {
      const { server, traffic } = session
      if (server !== null && session.isUnderWay) {
        traffic.transactionMs += sinceLastMs
        if (!server.requests.isEmpty) traffic.queryMs += sinceLastMs
      }
      const sinceMs = limitMs > 0 ? session.idleInTransactionSinceMs : null
      if (sinceMs !== null && nowMs - sinceMs > limitMs)
        session.fail(CLIENT_ERRORS.idleInTransaction(limitMs))
    }
  }

  /** Clients choose their start-up parameters, and each set of them is a pool. */
  #forgetPools(nowMs: number): void {
    if (nowMs - this.#forgotPoolsAtMs < FORGET_POOLS_EVERY_MS) return
    this.#forgotPoolsAtMs = nowMs
    const inUse = new Set([...this.sessions.keys()].map(({ pool }) => pool))
    this.pools.forgetUnused((pool) => inUse.has(pool))
  }
}
