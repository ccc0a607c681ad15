/** Every pool of a proxy process, the route that they follow, and the statements that they share. */
import type { Route, Routing } from '../ports/proxy.ts'
import type { ScramLoginKeys } from '../protocol/scram.ts'
import { sendCancel } from './cancel.ts'
import type { OpenTarget } from './open-target.ts'
import { Pool, type PoolContext, type PoolKey, type Waiting } from './pool.ts'
import { ServerConnection } from './server-connection.ts'
import { loginToServer } from './server-login.ts'
import type { ProxySettings } from './settings.ts'
import { poolSizeOf } from './shares.ts'
import { StatementRegistry } from './statements.ts'

/** Of all pools together; the ones over it are forgotten when they are unused. */
const MAX_STATEMENTS = 10_000

export class Pools {
  readonly registry = new StatementRegistry(MAX_STATEMENTS)
  readonly waiting: Waiting = { count: 0, bytes: 0, refused: 0 }
  readonly #paused = new Set<string>()
  #allPaused = false
  readonly #settings: ProxySettings
  readonly #routing: Routing
  readonly #openTarget: OpenTarget
  readonly #pools = new Map<string, Pool>()
  readonly #context: PoolContext
  readonly #unsubscribe: () => void

  /** `settings` may change while it runs; what they say now counts. */
  constructor(settings: ProxySettings, routing: Routing, openTarget: OpenTarget) {
    this.#settings = settings
    this.#routing = routing
    this.#openTarget = openTarget
    this.#context = {
      size: ({ database, user }) => poolSizeOf(settings, { database, user }),
      get maxWaiting() {
        return settings.maxWaiting
      },
      get maxWaitingBytes() {
        return settings.maxWaitingBytes
      },
      get holdTimeoutMs() {
        return settings.holdTimeoutMs
      },
      get serverIdleTimeoutMs() {
        return settings.serverIdleTimeoutMs
      },
      get serverLifetimeMs() {
        return settings.serverLifetimeMs
      },
      route: () => routing.current,
      isPaused: (database) => this.isPaused(database),
      waiting: this.waiting,
      cancel: (server) => void sendCancel(openTarget, server),
      connect: (key, keys, onClosed) => this.#connect(key, keys, onClosed),
    }
    this.#unsubscribe = routing.subscribe((route) => this.#routeChanged(route))
  }

  /** The pool of a login that was proven; made when there is none. */
  poolOf(key: PoolKey, keys: ScramLoginKeys): Pool {
    const name = poolName(key)
    const known = this.#pools.get(name)
    if (known !== undefined) {
      known.useKeys(keys)
      return known
    }
    const pool = new Pool(key, keys, this.#context)
    this.#pools.set(name, pool)
    return pool
  }

  get size(): number {
    return this.#pools.size
  }

  get all(): readonly Pool[] {
    return [...this.#pools.values()]
  }

  isPaused(database: string): boolean {
    return this.#allPaused || this.#paused.has(database)
  }

  /** Nobody gets a server there any more; gives how many are not released yet. Can be called again. null: everywhere. */
  pause(database: string | null): number {
    if (database === null) this.#allPaused = true
    else this.#paused.add(database)
    return this.#of(database).reduce((left, pool) => left + pool.pause(), 0)
  }

  /** False: it was not paused, or everything is and not this one alone. */
  resume(database: string | null): boolean {
    const was = database === null ? this.#allPaused || this.#paused.size > 0 : this.#paused.has(database)
    if (database === null) {
      this.#allPaused = false
      this.#paused.clear()
    } else {
      this.#paused.delete(database)
    }
    for (const pool of this.#of(database)) pool.resume()
    return was
  }

  /** Every server connection is made anew as soon as it is free. */
  reconnect(database: string | null): number {
    return this.#of(database).reduce((servers, pool) => servers + pool.reconnect(), 0)
  }

  #of(database: string | null): readonly Pool[] {
    return this.all.filter((pool) => database === null || pool.key.database === database)
  }

  sweep(nowMs: number): void {
    for (const pool of this.#pools.values()) pool.sweep(nowMs)
  }

  /** Those that no session can be of any more. */
  forgetUnused(inUse: (pool: Pool) => boolean): void {
    for (const [name, pool] of this.#pools) if (pool.isUnused && !inUse(pool)) this.#pools.delete(name)
  }

  close(why: string): void {
    this.#unsubscribe()
    for (const pool of this.#pools.values()) pool.close(why)
  }

  #routeChanged(route: Route): void {
    for (const pool of this.#pools.values()) pool.routeChanged(route)
  }

  async #connect(
    key: PoolKey,
    keys: ScramLoginKeys,
    onClosed: (server: ServerConnection) => void,
  ): Promise<ServerConnection> {
    const route = this.#routing.current
    if (route.kind !== 'open') throw new Error(route.reason)
    const { serverConnectTimeoutMs: timeoutMs } = this.#settings
    const late = new AbortController()
    const timer = setTimeout(
      () => late.abort(new Error(`${route.primary.name} did not answer within ${timeoutMs} ms`)),
      timeoutMs,
    )
    try {
      const socket = await this.#openTarget(route.primary, late.signal)
      try {
        const login = await loginToServer(socket, { ...key, keys }, late.signal)
        return new ServerConnection(socket, login, { epoch: route.epoch, node: route.primary, onClosed })
      } catch (error) {
        socket.destroy()
        throw error
      }
    } finally {
      clearTimeout(timer)
    }
  }
}

function poolName({ user, database, startup }: PoolKey): string {
  const parameters = [...startup].sort(([a], [b]) => (a < b ? -1 : 1)).flat()
  return [user, database, ...parameters].join('\0')
}
